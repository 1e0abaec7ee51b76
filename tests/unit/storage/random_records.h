/* Random valid records, for round-trip tests.
 *
 * Layer:    tests/unit/storage. Threads: none.
 * Memory:   texts lie in the arena, which one record uses up at most once.
 */
#ifndef QD_TESTS_RANDOM_RECORDS_H
#define QD_TESTS_RANDOM_RECORDS_H

#include "storage/entry.h"
#include "storage/tenant_record.h"
#include "tests/lib/prng.h"

struct text_arena {
    char bytes[1 << 16];
    size_t used;
};

/* A text of at most `max` bytes (at least `min`), printable ASCII or UTF-8. */
struct qd_str random_text(struct qd_prng *prng, struct text_arena *arena, size_t min, size_t max);

/* A valid entry, sorted; every field is random, bounds come often. */
void random_entry(struct qd_prng *prng, struct text_arena *arena, struct qd_entry *ret_entry);

void random_tenant(struct qd_prng *prng, struct text_arena *arena,
                   struct qd_tenant_record *ret_record);

#endif /* QD_TESTS_RANDOM_RECORDS_H */
