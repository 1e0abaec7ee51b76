#include "server/admin/reloader.h"

#include "server/log/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

struct qd_reloader {
    struct qd_reloader_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool asked;
    bool stop;
};

static void log_problems(const struct qd_problems *problems)
{
    for (size_t i = 0; i < qd_problems_count(problems); i++) {
        const struct qd_problem *problem = qd_problems_at(problems, i);
        char line[QD_PROBLEM_TEXT_MAX];
        qd_problem_format(problem, line, sizeof(line));
        qd_log(problem->severity == QD_SEVERITY_ERROR ? QD_LOG_ERROR : QD_LOG_WARN,
               "policy problem", "problem=%s", qd_log_quote(line).text);
    }
}

static void reload(const struct qd_reloader_config *config)
{
    if (!config->policy_file) {
        qd_log(QD_LOG_WARN, "no policy file to reload: the node runs with --dev", NULL);
        return;
    }
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    if (!problems) {
        qd_log(QD_LOG_ERROR, "out of memory; the policy was not reloaded", NULL);
        return;
    }
    struct qd_reload_change change;
    enum qd_reload result = qd_reload_file(config->node, config->policy_file, problems, &change);
    log_problems(problems);
    uint64_t revision = atomic_load_explicit(&config->node->revision, memory_order_relaxed);
    switch (result) {
    case QD_RELOAD_DONE:
        qd_log(QD_LOG_INFO, "policy reloaded", "revision=r%" PRIu64, revision);
        config->reloaded(config->context, &change);
        break;
    case QD_RELOAD_UNCHANGED:
        qd_log(QD_LOG_INFO, "policy unchanged", "revision=r%" PRIu64, revision);
        break;
    case QD_RELOAD_BAD:
        qd_log(QD_LOG_ERROR, "policy refused; the one in force stays",
               "revision=r%" PRIu64 " errors=%zu", revision, qd_problems_errors(problems));
        break;
    }
    qd_problems_free(problems);
}

/* False: stop. What is asked from here on is for the next round. */
static bool wait_for_ask(struct qd_reloader *reloader)
{
    (void)pthread_mutex_lock(&reloader->mutex);
    while (!reloader->asked && !reloader->stop) {
        (void)pthread_cond_wait(&reloader->wake, &reloader->mutex);
    }
    bool go_on = !reloader->stop;
    reloader->asked = false;
    (void)pthread_mutex_unlock(&reloader->mutex);
    return go_on;
}

static void *reloader_main(void *argument)
{
    struct qd_reloader *reloader = argument;

    while (wait_for_ask(reloader)) {
        reload(&reloader->config);
        reloader->config.done(reloader->config.context);
    }
    return NULL;
}

struct qd_reloader *qd_reloader_new(const struct qd_reloader_config *config)
{
    struct qd_reloader *reloader = calloc(1, sizeof(*reloader));

    if (!reloader) {
        return NULL;
    }
    reloader->config = *config;
    (void)pthread_mutex_init(&reloader->mutex, NULL);
    (void)pthread_cond_init(&reloader->wake, NULL);
    if (pthread_create(&reloader->thread, NULL, reloader_main, reloader) != 0) {
        (void)pthread_cond_destroy(&reloader->wake);
        (void)pthread_mutex_destroy(&reloader->mutex);
        free(reloader);
        return NULL;
    }
    return reloader;
}

void qd_reloader_free(struct qd_reloader *reloader)
{
    if (!reloader) {
        return;
    }
    (void)pthread_mutex_lock(&reloader->mutex);
    reloader->stop = true;
    (void)pthread_cond_signal(&reloader->wake);
    (void)pthread_mutex_unlock(&reloader->mutex);
    (void)pthread_join(reloader->thread, NULL);
    (void)pthread_cond_destroy(&reloader->wake);
    (void)pthread_mutex_destroy(&reloader->mutex);
    free(reloader);
}

void qd_reloader_ask(struct qd_reloader *reloader)
{
    (void)pthread_mutex_lock(&reloader->mutex);
    reloader->asked = true;
    (void)pthread_cond_signal(&reloader->wake);
    (void)pthread_mutex_unlock(&reloader->mutex);
}
