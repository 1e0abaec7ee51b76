/* The rate limits in force as text, for the admin port's /rlconfig. */
#include "server/rls/show.h"

#include "server/rpc/rls.h"
#include "server/rpc/server_internal.h"

bool qd_rpc_show_rls(struct qd_rpc *rpc, FILE *out)
{
    struct qd_quiesce *quiesce = &rpc->node->quiesce;
    struct qd_quiesce_slot *slot = qd_quiesce_join(quiesce);

    if (slot == NULL) {
        return false;
    }
    qd_quiesce_enter(quiesce, slot); /* what is replaced from now on is freed after the leave */
    const struct qd_rls_set *set = atomic_load_explicit(&rpc->rls, memory_order_seq_cst);
    if (set != NULL) {
        qd_rls_rules_show(set->rules, out);
    } else {
        (void)fputs("# there is no --rls-config DIR\n", out);
    }
    qd_quiesce_leave(slot);
    qd_quiesce_part(slot);
    return true;
}
