/* Expiry: old idempotency keys go, and by policy old entries (L7, S6).
 *
 * Layer:    server/ledger
 * Units:    wall ns of recorded times; entries are counted by sequence.
 * Threads:  any; one call at a time.
 * Memory:   none stays.
 *
 * Entries go from the oldest on, by when they were recorded, so what is left begins at one number.
 * What an entry has added to its rollup row is moved to the space EXPIRED in the batch that deletes
 * it: Σ entries + Σ expired = Σ rollups, always, and `verify` checks it. The last entry stays: it
 * says where the ledger goes on.
 *
 * The key of a usage entry goes with its entry or before it. A report whose key may have gone is
 * refused as too old, whatever report_horizon says by then: nothing is booked twice. Keys of grants
 * and corrections stay: no time says when one is too old to be repeated.
 */
#ifndef QD_LEDGER_EXPIRE_H
#define QD_LEDGER_EXPIRE_H

#include "server/ledger/ledger.h"

#define QD_EXPIRE_STEP_DEFAULT 1000

struct qd_expiry {
    struct qd_wall_ns keys_before;    /* keys of entries that were recorded earlier */
    struct qd_wall_ns entries_before; /* entries that were; 0: none */
    uint32_t max;                     /* entries of one step; 0: QD_EXPIRE_STEP_DEFAULT */
};

/* One bounded step, one atomic write, unsynced. *ret_more: there is more to do. After an error
 * nothing is lost: the next step begins where the store is. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_expire(
    struct qd_ledger *ledger, const struct qd_expiry *expiry, bool *ret_more,
    struct qd_store_error *error);

/* What has expired, or is about to: set before it disappears, so who reads and then asks knows
 * whether something can have been missing. */
struct qd_expired qd_ledger_expired(struct qd_ledger *ledger);

/* After a scan of entries for events from `from` on: GONE, with a sentence, if some are gone. */
__attribute__((warn_unused_result)) enum qd_store_err qd_expired_check_events(
    struct qd_ledger *ledger, struct qd_wall_ns from, struct qd_store_error *error);

/* After a list from `cursor` (0: from the first one) on: GONE if what follows it is gone. */
__attribute__((warn_unused_result)) enum qd_store_err qd_expired_check_cursor(
    struct qd_ledger *ledger, uint64_t cursor, struct qd_store_error *error);

/* Each group of expired entries as an entry that has only their price versions. */
__attribute__((warn_unused_result)) enum qd_store_err qd_expired_visit_prices(
    struct qd_ledger *ledger, bool (*visit)(void *context, const struct qd_entry *entry),
    void *context, struct qd_store_error *error);

#endif /* QD_LEDGER_EXPIRE_H */
