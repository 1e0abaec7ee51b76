/* The file of --credentials: loaded at the start, and again when it changes (X1). As rls_dir.h.
 *
 * Layer:    composition (main.c)
 * Threads:  one starts and stops; a thread of its own looks once a second.
 * Memory:   opaque.
 */
#ifndef QD_SERVER_CREDENTIALS_FILE_H
#define QD_SERVER_CREDENTIALS_FILE_H

#include "server/reread.h"
#include "server/rpc/credentials.h"
#include "server/rpc/server.h"

/* NULL: *ret_why says why, to be freed. *ret_mark: what the file looked like, and says. */
struct qd_credentials *qd_credentials_file_load(const char *path, struct qd_reread_mark *ret_mark,
                                                char **ret_why);

struct qd_credentials_watch;

/* Look at a file that was `loaded`. A new one is published once it looks the same
 * twice; of a bad one the log and `node`'s figures tell, and the credentials in force stay. NULL:
 * out of memory or threads. `path` must outlive it. */
struct qd_credentials_watch *qd_credentials_watch_start(const char *path,
                                                        struct qd_reread_mark loaded,
                                                        struct qd_node *node, struct qd_rpc *rpc);
void qd_credentials_watch_stop(struct qd_credentials_watch *watch); /* NULL is fine */

#endif /* QD_SERVER_CREDENTIALS_FILE_H */
