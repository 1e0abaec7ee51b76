/* The thread that reloads the policy file: a large one takes seconds, and the loop has pages to
 * answer and holds to expire meanwhile.
 *
 * Layer:    admin
 * Threads:  new and free on one thread; qd_reloader_ask from any.
 * Memory:   node, path and context are the caller's.
 */
#ifndef QD_ADMIN_RELOADER_H
#define QD_ADMIN_RELOADER_H

#include "server/shard/reload.h"

struct qd_reloader_config {
    struct qd_node *node;
    const char *policy_file; /* NULL: --dev, nothing to reload */
    /* On the reloader's thread: another policy is in force, this is what changed. */
    void (*reloaded)(void *context, const struct qd_reload_change *change);
    /* Likewise, after it: a reload is over, another policy may be in force. */
    void (*done)(void *context);
    void *context;
};

struct qd_reloader;

/* NULL: out of memory or threads. */
struct qd_reloader *qd_reloader_new(const struct qd_reloader_config *config);

/* Waits for a reload that is under way; one that was only asked for is left out. NULL is fine. */
void qd_reloader_free(struct qd_reloader *reloader);

/* Reload soon. Asked while a reload is under way, which may have read the file before it changed:
 * one more after it. */
void qd_reloader_ask(struct qd_reloader *reloader);

#endif /* QD_ADMIN_RELOADER_H */
