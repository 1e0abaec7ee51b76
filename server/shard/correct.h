/* CorrectUsage: an entry is taken back, and what is right is booked instead (L3).
 *
 * Layer:    shard
 * Threads:  the worker's own, entered. node->booking is shared for the whole of it, as by a report:
 * a correction comes wholly before or wholly after a reset, and after other prices.
 * Memory:   a work is large: keep it on the heap.
 *
 * Nothing is edited: both entries are new, in one write, with an audit record (X6). Budgets follow
 * the ledger (D7) in the period of the original's charged time; rates (D7) have let pass what they
 * have let pass, and stay. What a budget has never counted, because it was added later or a reset
 * has forgotten it, stays out of it, corrected or not. At boot both entries are counted by the same
 * function as here.
 */
#ifndef QD_SHARD_CORRECT_H
#define QD_SHARD_CORRECT_H

#include "server/ledger/tenant_store.h"
#include "server/shard/correction.h"
#include "server/shard/node.h"

#define QD_CORRECT_BATCH_MAX  64U
#define QD_CORRECT_DETAIL_MAX 512U

/* One correction on its way, and what came of it. */
struct qd_correct_work {
    struct qd_correction correction; /* as it stands in the ledger, or, of a dry run, would */
    bool duplicate;                  /* it was booked before: the first answer again (S6) */
    enum qd_error_code code;
    struct qd_error error;
    /* Its own. */
    struct qd_buf original_bytes;
    struct qd_buf rebooked_bytes;
    struct qd_buf hashed;
    char detail[QD_CORRECT_DETAIL_MAX];
    struct qd_receipt receipt;
    struct qd_tenant_note note;
};

struct qd_correct_work *qd_correct_work_new(void);       /* NULL: out of memory */
void qd_correct_work_free(struct qd_correct_work *work); /* NULL is fine */

/* Correct one entry, or with dry_run say how. Blocks for a synced write. UNKNOWN_ENTRY: there is
 * none, or it was retired; NOT_CORRECTABLE: a grant, a reset, or what took another back;
 * ENTRY_CORRECTED: another correction was first, the text names it. */
enum qd_error_code qd_correct(struct qd_worker *worker, const struct qd_correct_args *args,
                              struct qd_correct_work *work, struct qd_error *ret_error);

/* --- for those who correct many --- */

/* Read entry `sequence` as the one to correct. TENANT_FORBIDDEN: it is not of `within` (empty: of
 * any tenant). */
enum qd_error_code qd_correct_read(struct qd_node *node, uint64_t sequence, struct qd_str within,
                                   struct qd_correct_work *work, struct qd_error *ret_error);

/* Book corrections that are made, together, and count them; node->booking is shared. Each one's
 * `code` says what came of it. `action` is the audit's. */
void qd_correct_book(struct qd_worker *worker, const struct qd_published *published,
                     const struct qd_correct_args *args, const char *action,
                     struct qd_correct_work *const *works, uint32_t count);

#endif /* QD_SHARD_CORRECT_H */
