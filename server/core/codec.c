#include "codec.h"

#include <string.h>

/* 3: whose it is, and only what is in use. Older ones ended with the boot that wrote them. */
#define VERSION 3U

static struct qd_window_narrow *narrow_of(const struct qd_at *at)
{
    return &((struct qd_counter_narrow *)(void *)at->counter)->window;
}

static struct qd_window_wide *wide_of(const struct qd_at *at)
{
    return &((struct qd_counter_wide *)(void *)at->counter)->window;
}

static struct qd_bucket *bucket_of(const struct qd_at *at)
{
    return &((struct qd_counter_bucket *)(void *)at->counter)->bucket;
}

static struct qd_gauge *gauge_of(const struct qd_at *at)
{
    return &((struct qd_counter_gauge *)(void *)at->counter)->gauge;
}

/* --- writing --- */

static int64_t own_at(const struct qd_at *at, unsigned i)
{
    return at->class == QD_CLASS_WIDE ? wide_of(at)->own[i] : narrow_of(at)->own[i];
}

/* The slots in use, each with its place. The total is summed anew when it comes back. */
static void write_window(struct qd_writer *w, const struct qd_at *at)
{
    unsigned used = 0;
    qd_write(w, (uint64_t)narrow_of(at)->base.head, 8); /* wide ones begin alike */
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        used += own_at(at, i) != 0;
    }
    qd_write(w, used, 1);
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        if (own_at(at, i) != 0) {
            qd_write(w, i, 1);
            qd_write_signed(w, own_at(at, i));
        }
    }
}

static void write_bucket(struct qd_writer *w, const struct qd_bucket *b)
{
    unsigned used = 0;
    qd_write_signed(w, b->level);
    qd_write_signed(w, b->frac);
    qd_write(w, (uint64_t)b->updated_ns, 8);
    while (used < QD_BUCKET_STEPS && b->low[used] != 0) {
        used++;
    }
    qd_write(w, used, 1);
    for (unsigned i = 0; i < used; i++) {
        qd_write(w, b->slot[i], 4);
        qd_write(w, b->low[i], 4);
    }
}

/* What is held comes back with its holds. */
static void write_gauge(struct qd_writer *w, const struct qd_gauge *g)
{
    qd_write_signed(w, g->used);
    qd_write(w, (uint64_t)g->start_ns, 8);
    qd_write(w, (uint64_t)g->end_ns, 8);
}

void qd_codec_write(const struct qd_at *at, struct qd_saved *ret_saved)
{
    struct qd_writer w = {.at = ret_saved->bytes};
    ret_saved->kind = QD_SAVED_COUNTER;
    ret_saved->id = qd_table_id(at);
    qd_write(&w, VERSION, 1);
    qd_write(&w, (uint64_t)at->class, 1);
    qd_write(&w, at->counter->depth, 1);
    qd_write(&w, at->counter->resets, 1);
    qd_write(&w, at->counter->alert, 1);
    qd_write(&w, at->counter->busy_until_s > at->core->latest_ns / QD_NS_PER_S, 1);
    qd_write(&w, at->limit->spec, 8);
    qd_write(&w, at->limit->identity.lo, 8);
    qd_write_signed(&w, at->counter->amount);
    qd_write_varint(&w, at->counter->burst);
    qd_write_varint(&w, qd_table_since(at));
    qd_write_str(&w, qd_table_name(at));
    if (at->class == QD_CLASS_BUCKET) {
        write_bucket(&w, bucket_of(at));
    } else if (at->class == QD_CLASS_GAUGE) {
        write_gauge(&w, gauge_of(at));
    } else {
        write_window(&w, at);
    }
    ret_saved->size = (uint32_t)(w.at - ret_saved->bytes);
    QD_CHECK(ret_saved->size <= QD_SAVED_MAX);
}

/* --- reading --- */

bool qd_codec_open(const struct qd_saved *saved, struct qd_codec_head *ret_head)
{
    struct qd_codec_head *h = ret_head;
    struct qd_bytes r = {.at = saved->bytes, .end = saved->bytes + saved->size};
    if (saved->size > QD_SAVED_MAX || qd_read(&r, 1) != VERSION) {
        return false;
    }
    uint64_t class = qd_read(&r, 1);
    uint64_t depth = qd_read(&r, 1);
    h->resets = (unsigned)qd_read(&r, 1);
    h->alert = (unsigned)qd_read(&r, 1);
    h->counter.leased = qd_read(&r, 1) != 0;
    h->counter.limit_spec = qd_read(&r, 8);
    h->counter.limit_identity = qd_read(&r, 8);
    h->counter.amount = qd_read_signed(&r);
    h->counter.burst = (int64_t)qd_read_varint(&r, QD_BURST_MAX);
    h->since = qd_read_varint(&r, INT64_MAX);
    h->counter.name = qd_read_str(&r, QD_NAME_BYTES_MAX);
    if (r.failed || class >= QD_CLASS_COUNT || depth > QD_TENANT_SEGMENTS_MAX || h->resets > 3 ||
        h->alert > QD_THRESHOLDS_MAX || h->counter.amount < 0) {
        return false;
    }
    h->class = (enum qd_class) class;
    h->counter.depth = (uint8_t)depth;
    h->state = r;
    return true;
}

/* A slot as its kind may hold it, whatever the bytes say: sums over slots rely on that. */
static int64_t clamp_slot(int64_t value, int64_t max)
{
    if (value > max) {
        return max;
    }
    return value < -max ? -max : value;
}

static bool read_slots(struct qd_bytes *r, int64_t own[QD_WINDOW_RING])
{
    memset(own, 0, sizeof(own[0]) * QD_WINDOW_RING);
    unsigned used = (unsigned)qd_read(r, 1);
    for (unsigned i = 0; i < used && !r->failed; i++) {
        unsigned slot = (unsigned)qd_read(r, 1);
        int64_t value = qd_read_signed(r);
        if (slot >= QD_WINDOW_RING) {
            return false;
        }
        own[slot] = value;
    }
    return qd_read_all(r);
}

static bool read_window(struct qd_bytes *r, const struct qd_at *at)
{
    int64_t own[QD_WINDOW_RING];
    struct qd_window base = {.head = (int64_t)qd_read(r, 8)};
    int64_t width = (at->limit->window_ns + at->limit->slots - 1) / at->limit->slots;
    if (base.head < 0 || base.head > QD_WINDOW_TIME_MAX / width || !read_slots(r, own)) {
        return false;
    }
    base.head_end_ns = (base.head + 1) * width;
    bool wide = at->class == QD_CLASS_WIDE;
    narrow_of(at)->base = base;
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        if (wide) {
            wide_of(at)->own[i] = clamp_slot(own[i], QD_WINDOW_WIDE_MAX);
        } else {
            narrow_of(at)->own[i] = (int32_t)clamp_slot(own[i], QD_WINDOW_NARROW_MAX);
        }
    }
    struct qd_window_spec spec = {.window_ns = at->limit->window_ns,
                                  .slots = at->limit->slots,
                                  .weighted = at->limit->weighted,
                                  .wide = wide};
    /* Time 0 moves nothing: moving on subtracts from the total what leaves. */
    qd_window_refold(&narrow_of(at)->base, &spec, (struct qd_wall_ns){.ns = 0});
    return true;
}

/* P6: it drained at the amount of when it went, until now; as one does that stayed in memory until
 * the binding that amends it. */
static bool read_bucket(struct qd_bytes *r, const struct qd_at *at, int64_t amount,
                        struct qd_wall_ns now)
{
    struct qd_bucket_spec then = {.window_ns = at->limit->window_ns, .amount = amount};
    struct qd_bucket b = {.level = qd_read_signed(r), .frac = qd_read_signed(r)};
    b.updated_ns = (int64_t)qd_read(r, 8);
    unsigned used = (unsigned)qd_read(r, 1);
    for (unsigned i = 0; i < used && i < QD_BUCKET_STEPS; i++) {
        b.slot[i] = (uint32_t)qd_read(r, 4);
        b.low[i] = (uint32_t)qd_read(r, 4);
    }
    if (!qd_read_all(r) || !qd_bucket_is_valid(&b, at->limit->window_ns)) {
        return false;
    }
    qd_bucket_level(&b, &then, now);
    *bucket_of(at) = b;
    return true;
}

static bool read_gauge(struct qd_bytes *r, const struct qd_at *at, struct qd_wall_ns now)
{
    struct qd_gauge g = {.used = qd_read_signed(r)};
    g.start_ns = (int64_t)qd_read(r, 8);
    g.end_ns = (int64_t)qd_read(r, 8);
    if (!qd_read_all(r) || g.start_ns > now.ns || g.start_ns >= g.end_ns || g.used > QD_GAUGE_MAX ||
        g.used < -QD_GAUGE_MAX) {
        return false;
    }
    *gauge_of(at) = g;
    return true;
}

bool qd_codec_read(const struct qd_at *at, const struct qd_codec_head *head, struct qd_wall_ns now)
{
    struct qd_bytes r = head->state;
    bool windows = head->class <= QD_CLASS_WIDE && at->class <= QD_CLASS_WIDE;
    if (!windows && head->class != at->class) {
        return false;
    }
    bool good;
    if (at->class == QD_CLASS_BUCKET) {
        good = read_bucket(&r, at, head->counter.amount, now);
    } else if (at->class == QD_CLASS_GAUGE) {
        good = read_gauge(&r, at, now);
    } else {
        good = read_window(&r, at);
    }
    if (!good) {
        return false;
    }
    at->counter->resets = head->resets & 3U;
    at->counter->alert = head->alert & 15U;
    qd_table_set_since(at, head->since);
    return true;
}
