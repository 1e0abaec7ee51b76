/* What is read again when its files change: a thread that looks once a second, and has it loaded
 * once it looks the same twice: then whoever writes it has ended. What never rests is loaded every
 * QD_REREAD_UNSETTLED_MAX looks. What then says something else leaves an audit record (X6); what
 * was refused changes nothing: the log tells of it.
 *
 * Layer:    composition (main.c)
 * Threads:  one starts and stops; `look` and `load` run on a thread of its own, never twice at
 * once. Memory:   opaque; the context is the caller's and outlives it.
 */
#ifndef QD_SERVER_REREAD_H
#define QD_SERVER_REREAD_H

#include "server/shard/node.h"

#define QD_REREAD_UNSETTLED_MAX 5U

struct qd_reread; /* opaque */

/* What was loaded. */
struct qd_reread_mark {
    uint64_t look;             /* look.h, of all its files, before they were read */
    struct qd_hash128 content; /* of what they say */
};

struct qd_reread_config {
    uint64_t (*look)(void *context);
    /* Load what is there, and put it in force or tell why not. True: it is done with until it looks
     * different from ret_mark->look. False: it is tried again after `retry_looks`, for what was
     * missing may have been a descriptor. ret_mark->content is what was in force until now, and is
     * left so by what is refused. */
    bool (*load)(void *context, struct qd_reread_mark *ret_mark);
    void *context;
    uint32_t retry_looks; /* 1: with the next */
    /* Of the audit record. */
    const char *action;   /* "ReloadCredentials" */
    const char *subject;  /* "(credentials)" */
    const char *path;     /* must outlive it */
    struct qd_node *node; /* NULL: there is none */
};

/* `loaded` last. NULL: out of memory or threads. */
struct qd_reread *qd_reread_start(const struct qd_reread_config *config,
                                  struct qd_reread_mark loaded);
void qd_reread_stop(struct qd_reread *reread); /* waits for a load under way; NULL is fine */

#endif /* QD_SERVER_REREAD_H */
