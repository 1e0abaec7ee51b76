/* quota.v1.AdminService: the table of its calls. They may wait for the disk or walk tables: on
 * booking threads. */
#include "server/rpc/admin.h"

#define ROW(name, text) \
    {"/quota.v1.AdminService/" text, QD_METHOD_BOOKING, 2, qd_admin_##name, NULL},

const struct qd_method qd_admin_methods[] = {
    QD_ADMIN_HANDLERS(ROW){NULL, QD_METHOD_INLINE, 0, NULL, NULL},
};
