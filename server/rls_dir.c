#include "server/rls_dir.h"

#include "server/ledger/ticker.h"
#include "server/log/log.h"

#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define LOOK_MS    1000U
#define OPEN_FILES 8

/* --- what it looks like --- */

/* nftw has no context. */
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static uint64_t looks;

/* Files are written in any order of events: a sum. */
static int look_at(const char *path, const struct stat *found, int type, struct FTW *where)
{
    struct {
        uint64_t device, inode, size, seconds, nanoseconds, name;
    } seen = {found->st_dev,
              found->st_ino,
              (uint64_t)found->st_size,
              (uint64_t)found->st_mtim.tv_sec,
              (uint64_t)found->st_mtim.tv_nsec,
              XXH3_64bits(path, strlen(path))};

    (void)where;
    if (type == FTW_F) {
        looks += XXH3_64bits(&seen, sizeof(seen));
    }
    return 0;
}

/* Not inotify: a ConfigMap changes by a link on the way there. */
static uint64_t look(const char *dir)
{
    (void)pthread_mutex_lock(&looking);
    looks = 1;
    if (nftw(dir, look_at, OPEN_FILES, 0) != 0) {
        looks = 0;
    }
    uint64_t result = looks;
    (void)pthread_mutex_unlock(&looking);
    return result;
}

/* --- loading --- */

struct qd_rls_set *qd_rls_dir_load(const char *dir, uint64_t *ret_look, char **ret_why)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_set *set = NULL;

    *ret_why = NULL;
    *ret_look = look(dir); /* before: what changes meanwhile is loaded next time */
    struct qd_rls_rules *rules = problems != NULL ? qd_rls_rules_load_dir(dir, problems) : NULL;
    if (rules != NULL && qd_rls_rules_failed_count(rules) == 0) {
        set = qd_rls_set_new(rules);
    } else {
        qd_rls_rules_free(rules);
        *ret_why = problems != NULL ? qd_problems_text(problems) : NULL;
    }
    if (set == NULL && *ret_why == NULL) {
        *ret_why = strdup("out of memory");
    }
    qd_problems_free(problems);
    return set;
}

/* --- watching --- */

struct qd_rls_watch {
    const char *dir;
    struct qd_rpc *rpc;
    uint64_t loaded; /* what the folder looked like */
    uint64_t seen;   /* at the last look */
    struct qd_ticker *ticker;
};

/* Once it looks the same twice, whoever writes it has ended. */
static void watch(void *context)
{
    struct qd_rls_watch *w = context;
    uint64_t now = look(w->dir);
    bool settled = now == w->seen;
    char *why;

    w->seen = now;
    if (!settled || now == w->loaded) {
        return;
    }
    struct qd_rls_set *set = qd_rls_dir_load(w->dir, &w->loaded, &why);
    if (set == NULL) {
        qd_log(QD_LOG_ERROR, "rate limits refused; those in force stay", "dir=%s why=%s",
               qd_log_quote(w->dir).text, qd_log_quote(why != NULL ? why : "").text);
        free(why);
        return;
    }
    qd_rpc_publish_rls(w->rpc, set);
    qd_log(QD_LOG_INFO, "rate limits reloaded", "dir=%s", qd_log_quote(w->dir).text);
}

struct qd_rls_watch *qd_rls_watch_start(const char *dir, uint64_t loaded, struct qd_rpc *rpc)
{
    struct qd_rls_watch *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    w->dir = dir;
    w->rpc = rpc;
    w->loaded = loaded;
    w->ticker = qd_ticker_start(LOOK_MS, watch, w);
    if (w->ticker == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void qd_rls_watch_stop(struct qd_rls_watch *watch)
{
    if (watch != NULL) {
        qd_ticker_stop(watch->ticker);
        free(watch);
    }
}
