/* Reading a whole file, bounded.
 *
 * Layer:    policy (blocks). Threads: any. Memory: the caller's, from malloc.
 */
#ifndef QD_POLICY_FILE_H
#define QD_POLICY_FILE_H

#include "server/policy/problem.h"

#include <stdbool.h>
#include <stddef.h>

struct qd_file {
    char *bytes; /* with a NUL behind the last */
    size_t size;
};

/* False with a problem: no such file, not a regular file, larger than `max`, not readable. */
bool qd_file_read(const char *path, size_t max, struct qd_file *ret_file,
                  struct qd_problems *problems);
void qd_file_release(struct qd_file *file);

/* The folder of a path: "deploy/policy.yaml" -> "deploy", "policy.yaml" -> ".". Free it with
 * free(). NULL: out of memory. */
char *qd_file_folder(const char *path);

#endif /* QD_POLICY_FILE_H */
