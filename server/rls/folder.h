/* The YAML files of a folder and of those below it. Internal to this folder.
 *
 * Layer:    rls (blocks on the file system)
 * Threads:  any.
 * Memory:   the list is the caller's to release.
 */
#ifndef QD_RLS_FOLDER_H
#define QD_RLS_FOLDER_H

#include "server/policy/problem.h"

#include <stdbool.h>

struct qd_rls_folder {
    char **paths; /* "dir/a.yaml", "dir/team/b.yml": by bytes */
    size_t count;
    size_t capacity;
};

/* List the files whose names end in .yaml or .yml, at most QD_RLS_FILES_MAX. Names that begin with
 * a dot are left out: in a mounted ConfigMap `x.yaml` is a link into the folder `..data`, and must
 * not count twice. Links to files are followed, links to folders are not (they may lead round in a
 * circle); `dir` itself may be one. False with a problem: it cannot be read, too many files, too
 * deep, out of memory. */
bool qd_rls_folder_list(const char *dir, struct qd_rls_folder *ret_folder,
                        struct qd_problems *problems);
void qd_rls_folder_release(struct qd_rls_folder *folder);

#endif /* QD_RLS_FOLDER_H */
