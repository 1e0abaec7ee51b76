#include "server/credentials_file.h"

#include "server/log/log.h"
#include "server/policy/look.h"

#include <stdlib.h>
#include <string.h>

struct qd_credentials *qd_credentials_file_load(const char *path, struct qd_reread_mark *ret_mark,
                                                char **ret_why)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_credentials *set = NULL;

    *ret_why = NULL;
    ret_mark->look = qd_look_at(path, 0); /* before: what changes meanwhile is loaded next time */
    if (problems != NULL) {
        set = qd_credentials_load(path, problems);
        *ret_why = set == NULL ? qd_problems_text(problems) : NULL;
    }
    if (set == NULL && *ret_why == NULL) {
        *ret_why = strdup("out of memory");
    }
    if (set != NULL) {
        ret_mark->content = qd_credentials_content(set);
    }
    qd_problems_free(problems);
    return set;
}

struct qd_credentials_watch {
    const char *path;
    struct qd_node *node; /* its figures */
    struct qd_rpc *rpc;
    uint64_t refused; /* what it looked like: the last one that was, and was told of */
    struct qd_reread *reread;
};

static uint64_t look(void *context)
{
    const struct qd_credentials_watch *w = context;

    return qd_look_at(w->path, 0);
}

static bool reload(void *context, struct qd_reread_mark *ret_mark)
{
    struct qd_credentials_watch *w = context;
    char *why;
    struct qd_credentials *set = qd_credentials_file_load(w->path, ret_mark, &why);

    atomic_store_explicit(&w->node->credentials_are_old, set == NULL, memory_order_relaxed);
    if (set == NULL) {
        if (ret_mark->look != w->refused) {
            qd_log(QD_LOG_ERROR, "credentials refused; those in force stay", "file=%s why=%s",
                   qd_log_quote(w->path).text, qd_log_quote(why != NULL ? why : "").text);
        }
        w->refused = ret_mark->look;
        free(why);
        return false;
    }
    size_t count = qd_credentials_count(set);
    qd_rpc_publish_credentials(w->rpc, set);
    qd_log(QD_LOG_INFO, "credentials reloaded", "file=%s count=%zu", qd_log_quote(w->path).text,
           count);
    return true;
}

struct qd_credentials_watch *qd_credentials_watch_start(const char *path,
                                                        struct qd_reread_mark loaded,
                                                        struct qd_node *node, struct qd_rpc *rpc)
{
    struct qd_credentials_watch *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    *w = (struct qd_credentials_watch){.path = path, .node = node, .rpc = rpc};
    w->reread = qd_reread_start(&(struct qd_reread_config){.look = look,
                                                           .load = reload,
                                                           .context = w,
                                                           .action = "ReloadCredentials",
                                                           .subject = "(credentials)",
                                                           .path = path,
                                                           .node = node},
                                loaded);
    if (w->reread == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void qd_credentials_watch_stop(struct qd_credentials_watch *watch)
{
    if (watch != NULL) {
        qd_reread_stop(watch->reread);
        free(watch);
    }
}
