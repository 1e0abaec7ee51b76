#include "server/rpc/rls_unknown.h"

#include "server/log/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Relaxed: a request more or less in a line does no harm. */
static _Atomic int64_t next_ns; /* before it no line is written */
static _Atomic uint64_t left_out;

/* Of the threads that meet one has the line. */
static bool is_due(struct qd_wall_ns now)
{
    int64_t due = atomic_load_explicit(&next_ns, memory_order_relaxed);
    int64_t next = now.ns + QD_RLS_UNKNOWN_EVERY_S * QD_NS_PER_S;

    return now.ns >= due && atomic_compare_exchange_strong_explicit(
                                &next_ns, &due, next, memory_order_relaxed, memory_order_relaxed);
}

void qd_rls_unknown_tell(struct qd_str domain, uint64_t domains, struct qd_wall_ns now)
{
    if (!is_due(now)) {
        (void)atomic_fetch_add_explicit(&left_out, 1, memory_order_relaxed);
        return;
    }
    /* Whoever calls chooses its bytes and its length: qd_quote makes it short and printable; its
     * quotes are replaced by those of the log, which escape what is between them. */
    struct qd_quoted quoted = qd_quote(domain);
    quoted.text[strlen(quoted.text) - 1] = '\0';
    qd_log(QD_LOG_WARN,
           "no file of --rls-config has this domain: its requests pass unlimited; /rlconfig of the "
           "admin port shows the domains that there are",
           "domain=%s domains=%" PRIu64 " left_out=%" PRIu64, qd_log_quote(quoted.text + 1).text,
           domains, atomic_exchange_explicit(&left_out, 0, memory_order_relaxed));
}
