#include "server/rls_dir.h"

#include "server/log/log.h"
#include "server/policy/look.h"
#include "server/rls/folder.h"

#include <stdlib.h>
#include <string.h>

/* A wrong folder may be large. */
#define RETRY_LOOKS 60U

struct qd_rls_dir qd_rls_dir_of(const struct qd_config *config)
{
    return (struct qd_rls_dir){.path = qd_config_get(config, QD_SET_RLS_CONFIG),
                               .reserved = qd_config_get(config, QD_SET_RLS_TENANT_DOMAIN),
                               .merge_domains =
                                   qd_config_number(config, QD_SET_RLS_MERGE_DOMAINS) != 0};
}

/* --- what it looks like --- */

/* Of the files that a load would read; 0: they cannot be listed. */
static uint64_t look_at(const char *dir)
{
    struct qd_rls_folder folder = {0};
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    uint64_t seen = 0;

    if (problems != NULL && qd_rls_folder_list(dir, &folder, problems)) {
        seen = 1;
        for (size_t i = 0; i < folder.count; i++) {
            seen = qd_look_at(folder.paths[i], seen);
        }
    }
    qd_rls_folder_release(&folder);
    qd_problems_free(problems);
    return seen;
}

/* --- loading --- */

/* A domain that the files share with the policy's tenants would mean two things. */
static bool has_reserved(const struct qd_rls_rules *rules, const char *reserved,
                         struct qd_problems *problems)
{
    struct qd_str name = {reserved, strlen(reserved)};
    const struct qd_rls_domain *domain = name.len > 0 ? qd_rls_rules_domain(rules, name) : NULL;

    if (domain != NULL) {
        qd_problems_add(
            problems, QD_SEVERITY_ERROR, domain->file, 0, 0,
            "domain: \"%s\" is the domain whose descriptors name tenants of the policy; "
            "rename it, or name another one there: --rls-tenant-domain NAME",
            reserved);
    }
    return domain != NULL;
}

/* Somebody moved the files, or a ConfigMap has gone: that must not be the end of all limits. */
static bool is_emptied(const char *dir, const struct qd_rls_rules *rules, bool serving,
                       struct qd_problems *problems)
{
    bool emptied = serving && qd_rls_rules_file_count(rules) == 0;

    if (emptied) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, dir, 0, 0,
                        "its files have gone, and nothing would be limited any more; if that is "
                        "meant, restart without --rls-config");
    }
    return emptied;
}

struct qd_rls_set *qd_rls_dir_load(const struct qd_rls_dir *dir, bool serving,
                                   struct qd_reread_mark *ret_mark, char **ret_why)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_set *set = NULL;

    *ret_why = NULL;
    ret_mark->look = look_at(dir->path); /* before: what changes meanwhile is loaded next time */
    struct qd_rls_rules *rules =
        problems != NULL ? qd_rls_rules_load_dir(dir->path, dir->merge_domains, problems) : NULL;
    if (rules != NULL && qd_rls_rules_failed_count(rules) == 0 &&
        !is_emptied(dir->path, rules, serving, problems) &&
        !has_reserved(rules, dir->reserved, problems)) {
        struct qd_hash128 content = qd_rls_rules_content(rules);
        set = qd_rls_set_new(rules);
        ret_mark->content = set != NULL ? content : ret_mark->content;
    } else {
        qd_rls_rules_free(rules);
    }
    *ret_why = problems != NULL ? qd_problems_text(problems) : NULL;
    if (set == NULL && (*ret_why == NULL || (*ret_why)[0] == '\0')) {
        free(*ret_why);
        *ret_why = strdup("out of memory");
    }
    qd_problems_free(problems);
    return set;
}

/* --- watching --- */

struct qd_rls_watch {
    struct qd_rls_dir dir;
    struct qd_node *node; /* its figures */
    struct qd_rpc *rpc;
    struct qd_reread *reread;
};

static uint64_t look(void *context)
{
    const struct qd_rls_watch *w = context;

    return look_at(w->dir.path);
}

static bool reload(void *context, struct qd_reread_mark *ret_mark)
{
    struct qd_rls_watch *w = context;
    char *why;
    struct qd_rls_set *set = qd_rls_dir_load(&w->dir, true, ret_mark, &why);

    atomic_store_explicit(&w->node->rls_is_old, set == NULL, memory_order_relaxed);
    if (set == NULL) {
        atomic_fetch_add_explicit(&w->node->rls_refused, 1, memory_order_relaxed);
        qd_log(QD_LOG_ERROR, "rate limits refused; those in force stay", "dir=%s why=%s",
               qd_log_quote(w->dir.path).text, qd_log_quote(why != NULL ? why : "").text);
        free(why);
        return false;
    }
    if (why != NULL && why[0] != '\0') {
        qd_log(QD_LOG_WARN, "rate limits have warnings", "why=%s", qd_log_quote(why).text);
    }
    free(why);
    qd_rpc_publish_rls(w->rpc, set);
    qd_log(QD_LOG_INFO, "rate limits reloaded", "dir=%s", qd_log_quote(w->dir.path).text);
    return true;
}

struct qd_rls_watch *qd_rls_watch_start(const struct qd_rls_dir *dir, struct qd_reread_mark loaded,
                                        struct qd_node *node, struct qd_rpc *rpc)
{
    struct qd_rls_watch *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    *w = (struct qd_rls_watch){.dir = *dir, .node = node, .rpc = rpc};
    w->reread = qd_reread_start(&(struct qd_reread_config){.look = look,
                                                           .load = reload,
                                                           .context = w,
                                                           .retry_looks = RETRY_LOOKS,
                                                           .action = "ReloadRateLimits",
                                                           .subject = "(rate limits)",
                                                           .path = dir->path,
                                                           .node = node},
                                loaded);
    if (w->reread == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void qd_rls_watch_stop(struct qd_rls_watch *watch)
{
    if (watch != NULL) {
        qd_reread_stop(watch->reread);
        free(watch);
    }
}
