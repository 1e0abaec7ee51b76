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
};

/* Divide `limit` descriptors, at least QD_DESCRIPTORS_MIN. */
void qd_descriptors_share(uint64_t limit, uint32_t connections_max,
                          struct qd_descriptors *ret_descriptors);

/* Raise this process's limit as far as it may go, and divide it. NULL, or what is wrong, to be
 * freed. Fewer than `connections_max` are told by a log line. */
char *qd_descriptors_take(uint32_t connections_max, struct qd_descriptors *ret_descriptors);

#endif /* QD_SERVER_DESCRIPTORS_H */
