#include "server/descriptors.h"

#include "server/log/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define OWN           36U  /* what is open without any connection, the store's logs among it */
#define STORE_MAX     512U /* the store's default */
#define PASSING_MAX   160U /* admin HTTP, compactions, backups */
#define PASSING_SHARE 4U   /* a quarter of what is left */
#define STORE_SHARE   3U

void qd_descriptors_share(uint64_t limit, uint32_t connections_max,
                          struct qd_descriptors *ret_descriptors)
{
    assert(limit >= QD_DESCRIPTORS_MIN);
    uint64_t left = limit - OWN;
    uint64_t store = left / STORE_SHARE < STORE_MAX ? left / STORE_SHARE : STORE_MAX;
    uint64_t passing = left / PASSING_SHARE < PASSING_MAX ? left / PASSING_SHARE : PASSING_MAX;
    uint64_t connections = left - store - passing;

    ret_descriptors->store = (int)store;
    ret_descriptors->connections =
        connections < connections_max ? (uint32_t)connections : connections_max;
    assert(ret_descriptors->connections > 0);
}

static uint64_t raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return QD_DESCRIPTORS_MIN; /* it doesn't fail */
    }
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            limit.rlim_cur = before;
        }
    }
    return limit.rlim_cur;
}

char *qd_descriptors_take(uint32_t connections_max, struct qd_descriptors *ret_descriptors)
{
    uint64_t limit = raise_limit();
    char text[160];

    if (limit < QD_DESCRIPTORS_MIN) {
        (void)snprintf(text, sizeof(text),
                       "%llu open files are allowed (ulimit -n); at least %u are needed, and "
                       "%u for --max-connections",
                       (unsigned long long)limit, QD_DESCRIPTORS_MIN,
                       connections_max + OWN + STORE_MAX + PASSING_MAX);
        return strdup(text);
    }
    qd_descriptors_share(limit, connections_max, ret_descriptors);
    if (ret_descriptors->connections < connections_max) {
        qd_log(QD_LOG_WARN, "few open files are allowed: fewer connections than --max-connections",
               "ulimit=%llu connections=%u wanted=%u", (unsigned long long)limit,
               ret_descriptors->connections, connections_max);
    }
    return NULL;
}
