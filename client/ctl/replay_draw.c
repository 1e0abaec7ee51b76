/* What the trace does not say, drawn from (seed, row). */
#include "client/ctl/replay.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* splitmix64: one independent stream for each (seed, row). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct stream {
    uint64_t state;
};

static uint64_t next(struct stream *s)
{
    s->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(s->state);
}

/* In [0, 1), 53 bits. */
static double next_unit(struct stream *s)
{
    return (double)(next(s) >> 11) * 0x1p-53;
}

bool replay_zipf_init(struct replay *replay)
{
    size_t count = replay->options.tenants;
    double sum = 0;
    replay->zipf = malloc(count * sizeof *replay->zipf);
    if (replay->zipf == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sum += 1.0 / pow((double)(i + 1), replay->options.zipf);
        replay->zipf[i] = sum;
    }
    for (size_t i = 0; i < count; i++) {
        replay->zipf[i] /= sum;
    }
    replay->zipf[count - 1] = 1.0;
    return true;
}

static uint32_t rank_of(const struct replay *replay, double unit)
{
    size_t low = 0;
    size_t high = replay->options.tenants - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (replay->zipf[middle] > unit) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return (uint32_t)low;
}

void replay_draw(const struct replay *replay, size_t row, struct replay_draw *ret)
{
    const struct replay_options *options = &replay->options;
    const struct ctl_trace_row *actual = &replay->trace.rows[row];
    struct stream s = {mix(options->seed * UINT64_C(0xd1342543de82ef95) + (uint64_t)row)};
    /* Always the same number of draws, so that changing a rate moves nothing else. */
    double tenant = next_unit(&s);
    uint64_t model = next(&s);
    int64_t percent = 8000 + (int64_t)(next(&s) % 4001);
    double max_output = next_unit(&s);
    double fate = next_unit(&s);
    double part = next_unit(&s);

    ret->tenant = rank_of(replay, tenant);
    ret->model = (uint32_t)(model % options->model_count);
    int64_t input = actual->input + actual->cached;
    ret->input_estimate = (input * percent + 9999) / 10000;
    ret->max_output_given = max_output >= 0.3;
    ret->output = actual->output;
    ret->fate = REPLAY_FINE;
    if (fate < options->disconnect_rate) {
        ret->fate = REPLAY_DISCONNECTED;
        ret->output = (int64_t)((double)actual->output * part);
    } else if (fate < options->disconnect_rate + options->lost_rate) {
        ret->fate = REPLAY_LOST;
    } else if (fate < options->disconnect_rate + options->lost_rate + options->twice_rate) {
        ret->fate = REPLAY_TWICE;
    }
}

void replay_tenant_name(const struct replay *replay, uint32_t tenant, char *ret, size_t size)
{
    if (tenant < replay->options.named_count) {
        (void)snprintf(ret, size, "%s", replay->options.named[tenant]);
    } else {
        (void)snprintf(ret, size, "tenant-%03" PRIu32, tenant + 1);
    }
}

int64_t replay_gpu_ms(const struct ctl_trace_row *row, int64_t output)
{
    int64_t us = REPLAY_GPU_US_INPUT * row->input + REPLAY_GPU_US_CACHED * row->cached +
                 REPLAY_GPU_US_OUTPUT * output;
    return (us + 999) / 1000;
}

int64_t replay_run_ns(const struct ctl_trace_row *row, int64_t output)
{
    int64_t us =
        REPLAY_RUN_US_START + REPLAY_GPU_US_INPUT * row->input + REPLAY_RUN_US_OUTPUT * output;
    return us * 1000;
}
