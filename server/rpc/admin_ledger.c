/* quota.v1.AdminService: the ledger as a whole (L4). */
#include "quota/v1/admin.pb-c.h"
#include "server/ledger/rebuild_rollups.h"
#include "server/ledger/verify.h"
#include "server/rpc/admin.h"
#include "server/shard/reconcile.h"
#include "server/shard/tenants.h"

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

static enum qd_error_code rebuild_failed(const struct qd_store_error *error,
                                         struct qd_error *ret_error)
{
    if (error->code == QD_STORE_CORRUPT || error->code == QD_STORE_NEWER_FORMAT) {
        return qd_error_set(ret_error, QD_ERROR_LEDGER_DAMAGED,
                            "rollups are made from entries, and not all can be read: %s; nothing "
                            "was changed",
                            error->text);
    }
    return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "rollups cannot be rebuilt: %s",
                        error->text);
}

enum qd_error_code qd_admin_rebuild_rollups(struct qd_place *place, struct qd_call *call,
                                            struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_node *node = place->node;
    struct qd_rebuild_report report;
    struct qd_store_error error = {0};

    if (qd_place_unpack(place, &quota__v1__rebuild_rollups_request__descriptor, bytes, ret_error) ==
        NULL) {
        return ret_error->code;
    }
    struct qd_rebuild_options options = {
        .tenants = node->tenants,
        .change = {.actor = qd_place_actor(place, call),
                   .action = qd_slice_of("RebuildRollups"),
                   .now = qd_clock_now(&node->clock)},
    };
    if (qd_ledger_rebuild_rollups(node->ledger, &options, &report, &error) != QD_STORE_OK) {
        return rebuild_failed(&error, ret_error);
    }
    qd_out_number(&place->out, 1, report.groups);
    qd_out_number(&place->out, 2, report.unlabelled);
    qd_out_number(&place->out, 3, report.rows);
    qd_out_number(&place->out, 4, report.added);
    qd_out_number(&place->out, 5, report.changed);
    qd_out_number(&place->out, 6, report.dropped);
    qd_out_number(&place->out, 7, report.entries);
    qd_out_number(&place->out, 8, report.through);
    qd_out_number(&place->out, 9, report.expired);
    return QD_ERROR_NONE;
}
