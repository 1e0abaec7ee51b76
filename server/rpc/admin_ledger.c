/* quota.v1.AdminService: the ledger as a whole (L4). */
#include "quota/v1/admin.pb-c.h"
#include "server/ledger/verify.h"
#include "server/rpc/admin.h"

enum qd_error_code qd_admin_verify_ledger(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_verify_report report;
    struct qd_store_error error = {0};

    (void)call;
    if (qd_place_unpack(place, &quota__v1__verify_ledger_request__descriptor, bytes, ret_error) ==
        NULL) {
        return ret_error->code;
    }
    if (qd_ledger_verify(place->node->ledger, &report, &error) != QD_STORE_OK) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "the ledger cannot be verified: %s",
                            error.text);
    }
    qd_out_number(&place->out, 1, report.clean);
    qd_out_text(&place->out, 2, report.clean ? "" : report.difference);
    qd_out_number(&place->out, 3, report.entries);
    qd_out_number(&place->out, 4, report.rollups);
    qd_out_number(&place->out, 5, report.groups);
    qd_out_number(&place->out, 6, report.through);
    return QD_ERROR_NONE;
}
