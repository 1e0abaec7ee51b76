#include "server/credentials_file.h"

#include "server/ledger/ticker.h"
#include "server/log/log.h"
#include "server/look.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000U

struct qd_credentials *qd_credentials_file_load(const char *path, uint64_t *ret_look,
                                                char **ret_why)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_credentials *set = NULL;

    *ret_why = NULL;
    *ret_look = qd_look_at(path, 0); /* before: what changes meanwhile is loaded next time */
    if (problems != NULL) {
        set = qd_credentials_load(path, problems);
        *ret_why = set == NULL ? qd_problems_text(problems) : NULL;
    }
    if (set == NULL && *ret_why == NULL) {
        *ret_why = strdup("out of memory");
    }
    qd_problems_free(problems);
    return set;
}

struct qd_credentials_watch {
    const char *path;
    struct qd_node *node; /* its figures */
    struct qd_rpc *rpc;
    uint64_t loaded;  /* what the file looked like */
    uint64_t seen;    /* at the last look */
    uint64_t refused; /* the last one that was, and was told of; tried again all the same: what was
                       * missing may have been a descriptor */
    struct qd_ticker *ticker;
};

/* Once it looks the same twice, whoever writes it has ended. */
static void watch(void *context)
{
    struct qd_credentials_watch *w = context;
    uint64_t now = qd_look_at(w->path, 0);
    bool settled = now == w->seen;
    char *why;

    w->seen = now;
    if (!settled || now == w->loaded) {
        return;
    }
    uint64_t looked = 0;
    struct qd_credentials *set = qd_credentials_file_load(w->path, &looked, &why);
    atomic_store_explicit(&w->node->credentials_are_old, set == NULL, memory_order_relaxed);
    if (set == NULL) {
        if (now != w->refused) {
            qd_log(QD_LOG_ERROR, "credentials refused; those in force stay", "file=%s why=%s",
                   qd_log_quote(w->path).text, qd_log_quote(why != NULL ? why : "").text);
        }
        w->refused = now;
        free(why);
        return;
    }
    w->loaded = looked;
    size_t count = qd_credentials_count(set);
    qd_rpc_publish_credentials(w->rpc, set);
    qd_log(QD_LOG_INFO, "credentials reloaded", "file=%s count=%zu", qd_log_quote(w->path).text,
           count);
}

struct qd_credentials_watch *qd_credentials_watch_start(const char *path, uint64_t loaded,
                                                        struct qd_node *node, struct qd_rpc *rpc)
{
    struct qd_credentials_watch *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    w->path = path;
    w->node = node;
    w->rpc = rpc;
    w->loaded = loaded;
    w->ticker = qd_ticker_start(LOOK_MS, watch, w);
    if (w->ticker == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void qd_credentials_watch_stop(struct qd_credentials_watch *watch)
{
    if (watch != NULL) {
        qd_ticker_stop(watch->ticker);
        free(watch);
    }
}
