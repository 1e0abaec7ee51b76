#include "server/descriptors.h"

#include "server/log/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define OWN           36U  /* what is open without any connection, the store's logs among it */
#define OWN_HTTP      3U   /* of --http-listen: the port, and what wakes its thread */
#define STORE_MAX     512U /* the store's default */
#define STORE_SHARE   3U   /* a third of what is left */
#define PASSING_MAX   96U  /* compactions, backups */
#define PASSING_SHARE 7U
#define HTTP_SHARE    8U /* for each of the ports of HTTP */

static uint64_t part(uint64_t left, uint64_t share, uint64_t max)
{
    return left / share < max ? left / share : max;
}

void qd_descriptors_share(uint64_t limit, const struct qd_descriptors *wanted,
                          struct qd_descriptors *ret_descriptors)
{
    assert(limit >= QD_DESCRIPTORS_MIN);
    uint64_t left = limit - OWN - (wanted->http > 0 ? OWN_HTTP : 0);
    uint64_t store = part(left, STORE_SHARE, STORE_MAX);
    uint64_t passing = part(left, PASSING_SHARE, PASSING_MAX);
    uint64_t admin = part(left, HTTP_SHARE, wanted->admin);
    uint64_t http = part(left, HTTP_SHARE, wanted->http);

    ret_descriptors->store = (int)store;
    ret_descriptors->admin = (uint32_t)admin;
    ret_descriptors->http = (uint32_t)http;
    ret_descriptors->connections =
        (uint32_t)part(left - store - passing - admin - http, 1, wanted->connections);
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

char *qd_descriptors_take(const struct qd_descriptors *wanted,
                          struct qd_descriptors *ret_descriptors)
{
    uint64_t limit = raise_limit();
    char text[160];

    if (limit < QD_DESCRIPTORS_MIN) {
        (void)snprintf(text, sizeof(text),
                       "%llu open files are allowed (ulimit -n); at least %u are needed, and "
                       "%u for --max-connections",
                       (unsigned long long)limit, QD_DESCRIPTORS_MIN,
                       wanted->connections + wanted->admin + wanted->http + OWN + OWN_HTTP +
                           STORE_MAX + PASSING_MAX);
        return strdup(text);
    }
    qd_descriptors_share(limit, wanted, ret_descriptors);
    if (ret_descriptors->connections < wanted->connections) {
        qd_log(QD_LOG_WARN, "few open files are allowed: fewer connections than --max-connections",
               "ulimit=%llu connections=%u wanted=%u", (unsigned long long)limit,
               ret_descriptors->connections, wanted->connections);
    }
    return NULL;
}
