/* The process's file descriptors, shared out before anything takes them.
 *
 * Layer:    composition (main.c)
 * Threads:  main, at start.
 *
 * A store that finds no descriptor for its log fails its writes for good; so connections never get
 * what it needs (X2, X3).
 */
#ifndef QD_SERVER_DESCRIPTORS_H
#define QD_SERVER_DESCRIPTORS_H

#include <stdint.h>

#define QD_DESCRIPTORS_MIN 64U /* a node starts with so many */

struct qd_descriptors {
    int store;            /* files that the store keeps open, at most */
    uint32_t connections; /* gRPC connections, at most */
    uint32_t admin;       /* connections of the admin HTTP port, at most */
    uint32_t http;        /* of --http-listen; 0: there is no such port */
};

/* Divide `limit` descriptors, at least QD_DESCRIPTORS_MIN: of connections no more than are wanted.
 * The store takes what it is given. */
void qd_descriptors_share(uint64_t limit, const struct qd_descriptors *wanted,
                          struct qd_descriptors *ret_descriptors);

/* Raise this process's limit as far as it may go, and divide it. NULL, or what is wrong, to be
 * freed. Fewer gRPC connections than are wanted are told by a log line. */
char *qd_descriptors_take(const struct qd_descriptors *wanted,
                          struct qd_descriptors *ret_descriptors);

#endif /* QD_SERVER_DESCRIPTORS_H */
