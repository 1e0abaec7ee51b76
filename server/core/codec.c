#include "codec.h"

#include <string.h>

/* 1: a bucket without its amount. States end with the boot that wrote them (server/shard/evict.c),
 * so an older one is refused like any other bytes. */
#define VERSION 2U

struct writer {
    uint8_t *at;
};
struct reader {
    const uint8_t *at;
};

static void put(struct writer *w, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        *w->at++ = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get(struct reader *r, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)*r->at++ << (8 * i);
    }
    return value;
}

static int64_t get_i64(struct reader *r)
{
    return (int64_t)get(r, 8);
}

#define HEAD_SIZE 4U
static const uint32_t sizes[QD_CLASS_COUNT] = {
    [QD_CLASS_NARROW] = HEAD_SIZE + 24 + 4 * QD_WINDOW_RING,
    [QD_CLASS_WIDE] = HEAD_SIZE + 24 + 8 * QD_WINDOW_RING,
    [QD_CLASS_BUCKET] = HEAD_SIZE + 32 + 8 * QD_BUCKET_STEPS,
    [QD_CLASS_GAUGE] = HEAD_SIZE + 32,
};
_Static_assert(HEAD_SIZE + 24 + 8 * QD_WINDOW_RING <= QD_COUNTER_STATE_MAX, "the largest fits");

static void write_window(struct writer *w, const struct qd_at *at)
{
    bool wide = at->class == QD_CLASS_WIDE;
    const struct qd_window_narrow *n = &((struct qd_counter_narrow *)(void *)at->counter)->window;
    const struct qd_window_wide *v = &((struct qd_counter_wide *)(void *)at->counter)->window;
    put(w, (uint64_t)n->base.head, 8);
    put(w, (uint64_t)n->base.head_end_ns, 8);
    put(w, (uint64_t)n->base.total, 8);
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        if (wide) {
            put(w, (uint64_t)v->own[i], 8);
        } else {
            put(w, (uint32_t)n->own[i], 4);
        }
    }
}

static void write_bucket(struct writer *w, const struct qd_at *at)
{
    const struct qd_bucket *b = &((struct qd_counter_bucket *)(void *)at->counter)->bucket;
    put(w, (uint64_t)at->counter->amount, 8);
    put(w, (uint64_t)b->level, 8);
    put(w, (uint64_t)b->frac, 8);
    put(w, (uint64_t)b->updated_ns, 8);
    for (unsigned i = 0; i < QD_BUCKET_STEPS; i++) {
        put(w, b->slot[i], 4);
        put(w, b->low[i], 4);
    }
}

static void write_gauge(struct writer *w, const struct qd_gauge *g)
{
    put(w, (uint64_t)g->used, 8);
    put(w, (uint64_t)g->held, 8);
    put(w, (uint64_t)g->start_ns, 8);
    put(w, (uint64_t)g->end_ns, 8);
}

void qd_codec_write(const struct qd_at *at, struct qd_counter_state *ret_state)
{
    struct writer w = {.at = ret_state->bytes};
    ret_state->id = qd_table_id(at);
    ret_state->size = sizes[at->class];
    put(&w, VERSION, 1);
    put(&w, (uint64_t)at->class, 1);
    put(&w, at->counter->resets, 1);
    put(&w, at->counter->alert, 1);
    if (at->class == QD_CLASS_BUCKET) {
        write_bucket(&w, at);
    } else if (at->class == QD_CLASS_GAUGE) {
        write_gauge(&w, &((struct qd_counter_gauge *)(void *)at->counter)->gauge);
    } else {
        write_window(&w, at);
    }
    QD_CHECK(w.at == ret_state->bytes + ret_state->size);
}

/* A slot as its kind may hold it, whatever the bytes say: sums over slots rely on that. */
static int64_t clamp_slot(int64_t value, int64_t max)
{
    if (value > max) {
        return max;
    }
    return value < -max ? -max : value;
}

static bool read_window(struct reader *r, const struct qd_at *at, bool from_wide)
{
    struct qd_window base = {.head = get_i64(r), .head_end_ns = get_i64(r), .total = get_i64(r)};
    int64_t width = (at->limit->window_ns + at->limit->slots - 1) / at->limit->slots;
    if (base.head < 0 || base.head > QD_WINDOW_TIME_MAX / width ||
        base.head_end_ns != (base.head + 1) * width) {
        return false;
    }
    struct qd_window_narrow *n = &((struct qd_counter_narrow *)(void *)at->counter)->window;
    struct qd_window_wide *v = &((struct qd_counter_wide *)(void *)at->counter)->window;
    bool to_wide = at->class == QD_CLASS_WIDE;
    n->base = base;
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        int64_t value = from_wide ? get_i64(r) : (int32_t)(uint32_t)get(r, 4);
        if (to_wide) {
            v->own[i] = clamp_slot(value, QD_WINDOW_WIDE_MAX);
        } else {
            n->own[i] = (int32_t)clamp_slot(value, QD_WINDOW_NARROW_MAX);
        }
    }
    struct qd_window_spec spec = {.window_ns = at->limit->window_ns,
                                  .slots = at->limit->slots,
                                  .weighted = at->limit->weighted,
                                  .wide = to_wide};
    /* The total is summed anew where the window stands (time 0 moves nothing): moving on subtracts
     * from it what leaves, so the bytes' own total cannot be trusted first. */
    qd_window_refold(&n->base, &spec, (struct qd_wall_ns){.ns = 0});
    return true;
}

/* P6: it drained at the amount of when it went, until now; as one does that stayed in memory until
 * the binding that amends it. */
static bool read_bucket(struct reader *r, const struct qd_at *at, struct qd_wall_ns now)
{
    struct qd_bucket_spec then = {.window_ns = at->limit->window_ns, .amount = get_i64(r)};
    struct qd_bucket b = {.level = get_i64(r), .frac = get_i64(r), .updated_ns = get_i64(r)};
    for (unsigned i = 0; i < QD_BUCKET_STEPS; i++) {
        b.slot[i] = (uint32_t)get(r, 4);
        b.low[i] = (uint32_t)get(r, 4);
    }
    if (then.amount < 0 || !qd_bucket_is_valid(&b, at->limit->window_ns)) {
        return false;
    }
    qd_bucket_level(&b, &then, now);
    ((struct qd_counter_bucket *)(void *)at->counter)->bucket = b;
    return true;
}

static bool read_gauge(struct reader *r, const struct qd_at *at, struct qd_wall_ns now)
{
    struct qd_gauge g = {.used = get_i64(r), .held = get_i64(r), .start_ns = get_i64(r)};
    g.end_ns = get_i64(r);
    /* D12: only what nobody holds was taken out. A hold that no reservation ends would stay. */
    if (g.start_ns > now.ns || g.start_ns >= g.end_ns || g.held != 0 || g.used > QD_GAUGE_MAX ||
        g.used < -QD_GAUGE_MAX) {
        return false;
    }
    ((struct qd_counter_gauge *)(void *)at->counter)->gauge = g;
    return true;
}

bool qd_codec_read(const struct qd_at *at, const struct qd_counter_state *state,
                   struct qd_wall_ns now)
{
    struct reader r = {.at = state->bytes};
    if (state->size < HEAD_SIZE || state->size > QD_COUNTER_STATE_MAX || get(&r, 1) != VERSION) {
        return false;
    }
    uint64_t class = get(&r, 1);
    uint64_t resets = get(&r, 1);
    uint64_t alert = get(&r, 1);
    bool windows = class <= QD_CLASS_WIDE && at->class <= QD_CLASS_WIDE;
    if (class >= QD_CLASS_COUNT || state->size != sizes[class] ||
        (!windows && class != (uint64_t)at->class)) {
        return false;
    }
    bool good;
    if (at->class == QD_CLASS_BUCKET) {
        good = read_bucket(&r, at, now);
    } else if (at->class == QD_CLASS_GAUGE) {
        good = read_gauge(&r, at, now);
    } else {
        good = read_window(&r, at, class == QD_CLASS_WIDE);
    }
    if (!good) {
        return false;
    }
    at->counter->resets = resets & 3U;
    at->counter->alert = alert <= QD_THRESHOLDS_MAX ? alert & 15U : 0;
    return true;
}
