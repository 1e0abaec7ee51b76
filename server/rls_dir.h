/* The folder of --rls-config: loaded at the start, and again whenever one of its files has changed
 * (I3).
 *
 * Layer:    composition
 * Threads:  load: any; watching: a thread of its own.
 * Memory:   the set goes to the server that it is published to.
 */
#ifndef QD_SERVER_RLS_DIR_H
#define QD_SERVER_RLS_DIR_H

#include "server/config.h"
#include "server/reread.h"
#include "server/rpc/rls.h"
#include "server/rpc/server.h"

struct qd_rls_dir {
    const char *path;     /* "": none */
    const char *reserved; /* the domain of the policy's tenants, which no file may have; "": none */
    bool merge_domains;   /* several files may have one domain */
};

/* Its texts are the settings'. */
struct qd_rls_dir qd_rls_dir_of(const struct qd_config *config);

/* NULL: something is wrong with one of its files, or it has the domain `reserved`, or, `serving`,
 * its files have all gone. *ret_why says what, or is a set's warnings; to be freed; NULL or empty:
 * none. *ret_mark: what the folder looked like, and says. */
struct qd_rls_set *qd_rls_dir_load(const struct qd_rls_dir *dir, bool serving,
                                   struct qd_reread_mark *ret_mark, char **ret_why);

/* Publish what the folder says, each time that it looks different from `loaded`, and then from what
 * was loaded last. A folder with a wrong file, or without any, changes nothing, is logged and
 * counted in `node`, and tried again once a minute. NULL: no memory or threads. */
struct qd_rls_watch *qd_rls_watch_start(const struct qd_rls_dir *dir, struct qd_reread_mark loaded,
                                        struct qd_node *node, struct qd_rpc *rpc);
void qd_rls_watch_stop(struct qd_rls_watch *watch); /* before the server stops; NULL is fine */

#endif /* QD_SERVER_RLS_DIR_H */
