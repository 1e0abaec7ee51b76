/* A store whose writes wait while its gate is shut: a slow disk, as long as a test wants it.
 *
 * Threads:  any.
 * Memory:   the inner store becomes the gate's; qd_store_close frees both.
 */
#ifndef QD_TESTS_LIB_STORE_GATE_H
#define QD_TESTS_LIB_STORE_GATE_H

#include "storage/store.h"

struct qd_store *gate_new(struct qd_store *inner);
/* Writes that come from now on wait. */
void gate_shut(struct qd_store *store);
void gate_open(struct qd_store *store);
/* Returns once a write waits. */
void gate_await_writer(struct qd_store *store);

#endif /* QD_TESTS_LIB_STORE_GATE_H */
