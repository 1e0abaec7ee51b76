/* quota.v1.AdminService: the ledger as a whole (L4). */
#include "quota/v1/admin.pb-c.h"
#include "server/ledger/verify.h"
#include "server/rpc/admin.h"
#include "server/shard/reconcile.h"

enum qd_error_code qd_admin_verify_ledger(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_verify_report report;
    struct qd_store_error error = {0};

    struct qd_reconciled counters;

    (void)call;
    if (qd_place_unpack(place, &quota__v1__verify_ledger_request__descriptor, bytes, ret_error) ==
        NULL) {
        return ret_error->code;
    }
    if (qd_ledger_verify(place->node->ledger, &report, &error) != QD_STORE_OK) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "the ledger cannot be verified: %s",
                            error.text);
    }
    if (qd_node_reconcile(place->worker, &counters, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    qd_out_number(&place->out, 1, report.clean && counters.clean);
    qd_out_text(&place->out, 2, report.clean ? counters.difference : report.difference);
    qd_out_number(&place->out, 3, report.entries);
    qd_out_number(&place->out, 4, report.rollups);
    qd_out_number(&place->out, 5, report.groups);
    qd_out_number(&place->out, 6, report.through);
    qd_out_number(&place->out, 7, counters.budgets);
    qd_out_number(&place->out, 8, counters.skipped);
    qd_out_number(&place->out, 9, report.expired);
    return QD_ERROR_NONE;
}
