/* Price tables that a policy imports, read once each. Internal to this folder.
 *
 * Threads, memory: the compiler's; tables are freed with qd_imports_release.
 */
#ifndef QD_POLICY_IMPORT_H
#define QD_POLICY_IMPORT_H

#include "server/policy/compile.h"
#include "server/policy/file.h"
#include "server/policy/price_table.h"

struct qd_import {
    const char *path; /* as opened */
    struct qd_file file;
    struct qd_price_table *table; /* NULL: it is broken, which was reported */
};

/* The entry `name` of the file that `node` names; NULL and reported if there is none or it has no
 * price. Reports as warnings what of it cannot be represented. */
const struct qd_table_model *qd_import_model(struct qd_compiler *c, const struct qd_at *at,
                                             const struct qd_node *node, const char *name);

/* Whether the file that `node` names has a priced entry of this name. Reports a broken file once.
 */
bool qd_import_has(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                   const char *name);

void qd_imports_release(struct qd_compiler *c);

#endif /* QD_POLICY_IMPORT_H */
