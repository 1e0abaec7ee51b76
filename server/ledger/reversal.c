#include "server/ledger/reversal.h"

#include "server/core/mutant.h"
#include "server/ledger/scan.h"

#include <inttypes.h>
#include <stdio.h>

bool qd_reversal_possible(const struct qd_entry *original)
{
    return qd_entry_is_usage(original) && !qd_entry_is_reversal(original);
}

static void set_key(const struct qd_entry *original, char id[QD_REVERSAL_ID_MAX],
                    struct qd_entry *reversal)
{
    (void)snprintf(id, QD_REVERSAL_ID_MAX, "%" PRIu64, original->sequence);
    reversal->tenant = original->tenant;
    reversal->source = qd_slice_of(QD_CORRECTION_SOURCE);
    reversal->request_id = qd_slice_of(id);
    reversal->attempt = 0;
    reversal->part = 0;
}

void qd_reversal_make(const struct qd_entry *original, char id[QD_REVERSAL_ID_MAX],
                      struct qd_str note, struct qd_entry *ret_reversal)
{
    struct qd_entry *r = ret_reversal;
    *r = *original;
    set_key(original, id, r);
    r->sequence = 0;
    r->recorded_time.ns = 0;
    r->kind = QD_ENTRY_CORRECTION;
    r->flags |= QD_ENTRY_REVERSAL;
    r->corrects_node = (struct qd_str){0};
    r->corrects_sequence = original->sequence;
    r->note = note;
    r->reservation_node = (struct qd_str){0};
    r->reservation_incarnation = 0;
    r->reservation = 0; /* the original closed it */
    for (size_t i = 0; i < r->quantity_count; i++) {
        r->quantities[i].amount = -r->quantities[i].amount;
    }
    r->cache_write_1h_tokens = -r->cache_write_1h_tokens;
    r->cost_pico_usd = QD_MUTANT(L3_money) ? r->cost_pico_usd : -r->cost_pico_usd;
    r->charge_pico_usd = -r->charge_pico_usd;
    /* Not rounded anew: what was counted goes, whatever it was rounded from. */
    r->cost_nano_usd = -r->cost_nano_usd;
    r->charge_nano_usd = -r->charge_nano_usd;
}

void qd_reversal_mark_rebooked(const struct qd_entry *reversal, struct qd_entry *rebooked)
{
    rebooked->sequence = 0;
    rebooked->recorded_time.ns = 0;
    rebooked->kind = QD_ENTRY_CORRECTION;
    rebooked->source = reversal->source;
    rebooked->request_id = reversal->request_id;
    rebooked->attempt = reversal->attempt;
    rebooked->part = QD_CORRECTION_REBOOKED;
    rebooked->corrects_node = reversal->corrects_node;
    rebooked->corrects_sequence = reversal->corrects_sequence;
    rebooked->note = reversal->note;
    rebooked->reservation_node = (struct qd_str){0};
    rebooked->reservation_incarnation = 0;
    rebooked->reservation = 0;
}

enum qd_store_err qd_reversal_find(struct qd_ledger *ledger, const struct qd_entry *original,
                                   uint64_t *ret_sequence, struct qd_store_error *error)
{
    char id[QD_REVERSAL_ID_MAX];
    struct qd_entry key = {0};
    uint64_t sequence = 0;
    set_key(original, id, &key);
    enum qd_store_err err = qd_ledger_find(ledger, &key, &sequence, error);
    if (err == QD_STORE_OK || err == QD_STORE_NOT_FOUND) {
        *ret_sequence = sequence;
        return QD_STORE_OK;
    }
    return err;
}
