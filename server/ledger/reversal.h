/* A reversal: the entry that takes another one back, to the pico-dollar (L3).
 *
 * Layer:    server/ledger
 * Threads:  values only; the look-ups any.
 * Memory:   a reversal points to what the original points to, to its id and its note.
 *
 * Its idempotency key names what it corrects: of all corrections of one entry the ledger books one
 * (S6), however many race for it, and however late: this key lives as long as the original does.
 * What is booked instead goes with it as its companion.
 */
#ifndef QD_LEDGER_REVERSAL_H
#define QD_LEDGER_REVERSAL_H

#include "server/ledger/ledger.h"

/* The source of corrections. No report may carry it: it would take a correction's key. */
#define QD_CORRECTION_SOURCE "correction"
/* Its companion's part: another key than the reversal's, and than the original's. */
#define QD_CORRECTION_REBOOKED 1U

#define QD_REVERSAL_ID_MAX 24 /* digits of a sequence */

/* Whether it is an entry that can be taken back: usage, or a rebooking of it. */
bool qd_reversal_possible(const struct qd_entry *original);

/* All that the original counted, negated: same time, slot, subject and price versions. */
void qd_reversal_make(const struct qd_entry *original, char id[QD_REVERSAL_ID_MAX],
                      struct qd_str note, struct qd_entry *ret_reversal);

/* Make a rebooking of an entry that says what is right: a correction of the same original. */
void qd_reversal_mark_rebooked(const struct qd_entry *reversal, struct qd_entry *rebooked);

/* OK and the sequence of the entry that took it back, 0: nothing did; or a store's error. */
__attribute__((warn_unused_result)) enum qd_store_err qd_reversal_find(
    struct qd_ledger *ledger, const struct qd_entry *original, uint64_t *ret_sequence,
    struct qd_store_error *error);

#endif /* QD_LEDGER_REVERSAL_H */
