/* What is read again when its files change: a thread that looks once a second, and has it loaded
 * once it looks the same twice: then whoever writes it has ended.
 *
 * Layer:    composition (main.c)
 * Threads:  one starts and stops; `look` and `load` run on a thread of its own, never twice at
 * once. Memory:   opaque; the context is the caller's and outlives it.
 */
#ifndef QD_SERVER_REREAD_H
#define QD_SERVER_REREAD_H

#include <stdbool.h>
#include <stdint.h>

struct qd_reread; /* opaque */

struct qd_reread_config {
    uint64_t (*look)(void *context); /* look.h: of all its files */
    /* Load what is there, and put it in force or tell why not. True: it is done with until it looks
     * different from *ret_look, which it looked like before it was read. False: it is tried again
     * with the next look, for what was missing may have been a descriptor. */
    bool (*load)(void *context, uint64_t *ret_look);
    void *context;
};

/* `loaded`: what it looked like when it was loaded last. NULL: out of memory or threads. */
struct qd_reread *qd_reread_start(const struct qd_reread_config *config, uint64_t loaded);
void qd_reread_stop(struct qd_reread *reread); /* waits for a load under way; NULL is fine */

#endif /* QD_SERVER_REREAD_H */
