#include "server/shard/clock.h"

#include <assert.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    int result = clock_gettime(id, &ts);

    assert(result == 0);
    (void)result;
    return (int64_t)ts.tv_sec * QD_NS_PER_S + ts.tv_nsec;
}

static struct qd_mono_ns system_mono(void *context)
{
    (void)context;
    return (struct qd_mono_ns){(uint64_t)read_clock(CLOCK_MONOTONIC)};
}

static struct qd_wall_ns system_wall(void *context)
{
    (void)context;
    return (struct qd_wall_ns){read_clock(CLOCK_REALTIME)};
}

const struct qd_clock_source qd_clock_system = {.mono = system_mono, .wall = system_wall};

struct reading {
    uint64_t base_mono;
    int64_t base_wall;
    int64_t slew;
};

/* What the clock shows at `mono`: the base, plus what has passed, less what was slewed away so far.
 */
static int64_t wall_at(const struct reading *r, uint64_t mono)
{
    int64_t elapsed = mono > r->base_mono ? (int64_t)(mono - r->base_mono) : 0;
    int64_t lost = elapsed / 2 < r->slew ? elapsed / 2 : r->slew;

    return r->base_wall + elapsed - lost;
}

/* Acquire loads of the fields: whoever sees a field of a write also sees its odd mark in the second
 * look, which cannot come before them. The first look acquires what the last whole write released.
 */
static struct reading read_base(const struct qd_clock *clock)
{
    struct reading r;

    for (;;) {
        uint32_t before = atomic_load_explicit(&clock->sequence, memory_order_acquire);
        r.base_mono = atomic_load_explicit(&clock->base_mono, memory_order_acquire);
        r.base_wall = atomic_load_explicit(&clock->base_wall, memory_order_acquire);
        r.slew = atomic_load_explicit(&clock->slew, memory_order_acquire);
        if ((before & 1U) == 0 &&
            atomic_load_explicit(&clock->sequence, memory_order_relaxed) == before) {
            return r;
        }
    }
}

/* One writer only. Release stores keep the odd mark before the fields, and the fields before the
 * even one. */
static void write_base(struct qd_clock *clock, struct reading r)
{
    uint32_t sequence = atomic_load_explicit(&clock->sequence, memory_order_relaxed);

    atomic_store_explicit(&clock->sequence, sequence + 1, memory_order_relaxed);
    atomic_store_explicit(&clock->base_mono, r.base_mono, memory_order_release);
    atomic_store_explicit(&clock->base_wall, r.base_wall, memory_order_release);
    atomic_store_explicit(&clock->slew, r.slew, memory_order_release);
    atomic_store_explicit(&clock->sequence, sequence + 2, memory_order_release);
}

void qd_clock_init(struct qd_clock *clock, struct qd_clock_source source)
{
    clock->source = source;
    atomic_init(&clock->sequence, 0);
    atomic_init(&clock->base_mono, source.mono(source.context).ns);
    atomic_init(&clock->base_wall, source.wall(source.context).ns);
    atomic_init(&clock->slew, 0);
    atomic_init(&clock->step, 0);
    atomic_init(&clock->step_since, 0);
}

void qd_clock_resume(struct qd_clock *clock, struct qd_wall_ns seen)
{
    uint64_t mono = qd_clock_mono(clock).ns;
    int64_t now = qd_clock_now(clock).ns;

    if (seen.ns > now) {
        write_base(clock, (struct reading){
                              .base_mono = mono, .base_wall = seen.ns, .slew = seen.ns - now});
    }
}

struct qd_mono_ns qd_clock_mono(const struct qd_clock *clock)
{
    return clock->source.mono(clock->source.context);
}

/* The base is read first: a base that is written later starts at a later monotonic time, so a
 * reader with the old base and a younger monotonic time may run ahead of the new base only while it
 * slews, and then by less than the length of this function. */
struct qd_wall_ns qd_clock_now_and_mono(const struct qd_clock *clock, struct qd_mono_ns *ret_mono)
{
    struct reading r = read_base(clock);

    *ret_mono = qd_clock_mono(clock);
    return (struct qd_wall_ns){wall_at(&r, ret_mono->ns)};
}

struct qd_wall_ns qd_clock_now(const struct qd_clock *clock)
{
    struct qd_mono_ns mono;

    return qd_clock_now_and_mono(clock, &mono);
}

void qd_clock_discipline(struct qd_clock *clock)
{
    struct reading r = read_base(clock);
    uint64_t mono = qd_clock_mono(clock).ns;
    int64_t system = clock->source.wall(clock->source.context).ns;
    int64_t ours = wall_at(&r, mono);
    int64_t ahead = system - ours;

    if (ahead > QD_CLOCK_STEP_NS || ahead < -QD_CLOCK_STEP_NS) {
        if (atomic_load_explicit(&clock->step, memory_order_relaxed) == 0) {
            atomic_store_explicit(&clock->step_since, ours, memory_order_relaxed);
        }
        atomic_store_explicit(&clock->step, ahead, memory_order_release);
        return;
    }
    atomic_store_explicit(&clock->step, 0, memory_order_release);
    write_base(clock, (struct reading){.base_mono = mono,
                                       .base_wall = ahead > 0 ? system : ours,
                                       .slew = ahead < 0 ? -ahead : 0});
}

int64_t qd_clock_alarm(const struct qd_clock *clock, struct qd_wall_ns *ret_since)
{
    int64_t step = atomic_load_explicit(&clock->step, memory_order_acquire);

    if (ret_since != NULL) {
        ret_since->ns = atomic_load_explicit(&clock->step_since, memory_order_relaxed);
    }
    return step;
}
