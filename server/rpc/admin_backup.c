/* AdminService: Checkpoint. */
#include "quota/v1/admin.pb-c.h"
#include "server/rpc/admin.h"
#include "server/rpc/audit.h"

enum qd_error_code qd_admin_checkpoint(struct qd_place *place, struct qd_call *call,
                                       struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__CheckpointRequest *q =
        qd_place_unpack(place, &quota__v1__checkpoint_request__descriptor, bytes, ret_error);
    const struct qd_rpc_hooks *hooks = qd_rpc_hooks_of(place->rpc);
    struct qd_checkpoint *done = qd_scratch_take(&place->arena, sizeof(*done));

    if (q == NULL) {
        return ret_error->code;
    }
    if (done == NULL || hooks->checkpoint == NULL) {
        return qd_error_set(ret_error, QD_ERROR_BACKUP_FAILED,
                            "no backup was made: this node keeps nothing on a disk");
    }
    enum qd_error_code code =
        hooks->checkpoint(hooks->context, q->name[0] != '\0' ? q->name : NULL, done, ret_error);
    if (code != QD_ERROR_NONE) {
        return code;
    }
    qd_audit_write(place, call,
                   &(struct qd_audit_action){.action = "Checkpoint",
                                             .subject = qd_slice_of("(node)"),
                                             .detail = qd_slice_of(done->path),
                                             .after = qd_slice_of(done->path)});
    qd_out_text(&place->out, 1, done->name);
    qd_out_text(&place->out, 2, done->path);
    qd_out_number(&place->out, 3, done->bytes);
    qd_out_number(&place->out, 4, done->files);
    qd_out_number(&place->out, 5, done->sequence);
    qd_out_number(&place->out, 6, (uint64_t)done->complete_through.ns);
    return QD_ERROR_NONE;
}
