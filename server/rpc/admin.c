/* quota.v1.AdminService: the table of its calls. They may wait for the disk or walk tables: on
 * booking threads. */
#include "server/rpc/admin.h"

#define ROW(name, text, roles, bound) \
    {"/quota.v1.AdminService/" text, QD_METHOD_BOOKING, 2, qd_admin_##name, NULL, roles, bound},

const struct qd_method qd_admin_methods[] = {
    QD_ADMIN_HANDLERS(ROW){NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED},
};
