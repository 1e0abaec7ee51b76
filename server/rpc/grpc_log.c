#include "server/rpc/grpc_log.h"

#include "server/log/log.h"

#include <grpc/support/log.h>
#include <stdatomic.h>

/* Written before gRPC has threads. */
static struct qd_rpc_hooks taken;
/* Relaxed: a line more or less at the edges does no harm. */
static _Atomic bool muted;
static struct qd_log_sampler sampler = {.per_second = 5};

static void on_line(gpr_log_func_args *line)
{
    uint64_t left_out = 0;

    if (line->severity < GPR_LOG_SEVERITY_ERROR || taken.log == NULL ||
        atomic_load_explicit(&muted, memory_order_relaxed) || !qd_log_sample(&sampler, &left_out)) {
        return;
    }
    taken.log(taken.context, QD_LOG_WARN, "grpc", line->message);
}

void qd_grpc_log_take(const struct qd_rpc_hooks *hooks)
{
    taken = *hooks;
    gpr_set_log_function(on_line);
}

void qd_grpc_log_mute(bool mute)
{
    atomic_store_explicit(&muted, mute, memory_order_relaxed);
}
