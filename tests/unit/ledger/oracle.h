/* A naive ledger: an array of entries, sums by looking at each of them. And random reports for it.
 *
 * Layer:    tests/unit/ledger. Threads: none; the owner's.
 * Memory:   entries' texts are literals.
 */
#ifndef QD_TESTS_LEDGER_ORACLE_H
#define QD_TESTS_LEDGER_ORACLE_H

#include "server/ledger/ledger.h"
#include "server/ledger/usage.h"
#include "tests/lib/prng.h"

#define ORACLE_ENTRIES_MAX 20000
#define ORACLE_NOW_NS      (INT64_C(1790000000) * QD_NS_PER_S) /* 2026-09-21 */

struct oracle {
    struct qd_entry entries[ORACLE_ENTRIES_MAX];
    struct qd_hash128 content[ORACLE_ENTRIES_MAX];
    size_t count;
};

/* A random valid usage entry without a key: tenants, models, labels and prices from a small world,
 * event times within the last `days` before ORACLE_NOW_NS. Sorted. */
void oracle_random_entry(struct qd_prng *prng, int64_t days, struct qd_entry *ret_entry);

/* Number of the entry with the same idempotency key, or -1. */
long oracle_find(const struct oracle *oracle, const struct qd_entry *entry);

/* Sums of all entries with an event time in [from, to) for which `fits` (NULL: all) is true. */
typedef bool (*oracle_test)(const struct qd_entry *entry, const void *context);
void oracle_sum(const struct oracle *oracle, int64_t from_ns, int64_t to_ns, oracle_test fits,
                const void *context, struct qd_sums *ret_sums);

/* Both hold the same names and values. */
bool oracle_same_sums(const struct qd_sums *a, const struct qd_sums *b);

#endif /* QD_TESTS_LEDGER_ORACLE_H */
