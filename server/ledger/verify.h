/* The ledger against itself: Σ entries + Σ expired = Σ rollups, no gap, no damage (L4, L7).
 *
 * Layer:    server/ledger
 * Threads:  any; reads a snapshot, stops nobody. Takes as long as reading every entry.
 * Memory:   sums of every (quarter hour, tenant, model, pool, prices) while it runs.
 */
#ifndef QD_LEDGER_VERIFY_H
#define QD_LEDGER_VERIFY_H

#include "server/ledger/ledger.h"

#define QD_VERIFY_GROUPS_MAX 4000000

struct qd_verify_report {
    bool clean;
    uint64_t entries;                         /* read */
    uint64_t through;                         /* sequence of the last one; 0: none */
    uint64_t rollups;                         /* rows read */
    uint64_t groups;                          /* compared */
    uint64_t expired;                         /* entries that are gone (L7); their sums are not */
    char difference[QD_STORE_ERROR_TEXT_MAX]; /* the first one, if not clean */
};

/* OK and a report (clean or not), or an error that kept it from ending: IO, NO_MEMORY, INVALID
 * (more than QD_VERIFY_GROUPS_MAX groups). A damaged record makes the report unclean. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_verify(
    struct qd_ledger *ledger, struct qd_verify_report *ret_report, struct qd_store_error *error);

#endif /* QD_LEDGER_VERIFY_H */
