/* Laying a slice out in its block, its clock, its figures. */
#include "slice.h"

#include "event.h"
#include "mutant.h"

#include <string.h>

_Static_assert(sizeof(struct qd_counter) == 24, "the header is part of every counter's cost");
_Static_assert(sizeof(struct qd_ref) == 8, "a reference is one word");
_Static_assert(sizeof(struct qd_binding) == 128, "two lines");
_Static_assert(sizeof(struct qd_reservation) == 384, "six lines");
_Static_assert(sizeof(struct qd_counter_bucket) == 96, "two lines, wherever it lies");
_Static_assert(sizeof(struct qd_counter_gauge) <= 64, "one line");
_Static_assert(sizeof(struct qd_counter_narrow) <= 320, "five lines");
_Static_assert(sizeof(struct qd_counter_wide) <= 576, "nine lines");

static const uint32_t strides[QD_CLASS_COUNT] = {
    [QD_CLASS_NARROW] = 320,
    [QD_CLASS_WIDE] = 576,
    [QD_CLASS_BUCKET] = 96,
    [QD_CLASS_GAUGE] = 64,
};

#define CAPACITY_MAX   (UINT32_C(1) << QD_REF_INDEX_BITS)
#define NAME_BYTES_MAX ((size_t)1 << 35)

/* Where the next table goes. With base NULL nothing is placed, only measured. */
struct layout {
    uint8_t *base;
    size_t size;
};

static void *place(struct layout *l, size_t bytes)
{
    void *at = l->base != NULL ? l->base + l->size : NULL;
    l->size += (bytes + 63) & ~(size_t)63;
    return at;
}

static uint64_t *place_index(struct layout *l, uint32_t capacity)
{
    return place(l, sizeof(uint64_t) * qd_index_slots(capacity));
}

static uint32_t class_capacity(const struct qd_core_config *c, enum qd_class class)
{
    const uint32_t capacities[QD_CLASS_COUNT] = {
        [QD_CLASS_NARROW] = c->narrow_windows,
        [QD_CLASS_WIDE] = c->wide_windows,
        [QD_CLASS_BUCKET] = c->buckets,
        [QD_CLASS_GAUGE] = c->gauges,
    };
    return capacities[class];
}

static bool config_valid(const struct qd_core_config *c)
{
    return c->narrow_windows < CAPACITY_MAX && c->wide_windows < CAPACITY_MAX &&
           c->buckets < CAPACITY_MAX && c->gauges < CAPACITY_MAX && c->bindings < CAPACITY_MAX &&
           c->reservations < CAPACITY_MAX && c->progress < CAPACITY_MAX &&
           c->estimators < CAPACITY_MAX && c->roots < CAPACITY_MAX &&
           c->name_bytes < NAME_BYTES_MAX;
}

/* Half full when `bindings` are in, so that a key lies in its first two places. */
static uint32_t binding_slots(const struct qd_core_config *c)
{
    return c->bindings == 0 ? 0 : 2 * c->bindings + QD_BINDING_WINDOW;
}

static uint32_t name_granules(const struct qd_core_config *c)
{
    size_t blocks = (c->name_bytes + QD_NAME_BLOCK_SIZE - 1) / QD_NAME_BLOCK_SIZE;
    return (uint32_t)(blocks * (QD_NAME_BLOCK_SIZE / QD_NAME_GRANULE));
}

static void place_counters(struct layout *l, const struct qd_core_config *c, struct qd_core *core)
{
    uint32_t all = 0;
    for (unsigned class = 0; class < QD_CLASS_COUNT; class ++) {
        uint32_t capacity = class_capacity(c, (enum qd_class) class);
        qd_slab_init(&core->counters[class], place(l, (size_t)strides[class] * capacity),
                     strides[class], capacity);
        core->cold[class] = place(l, sizeof(struct qd_counter_cold) * capacity);
        all += capacity;
    }
    qd_index_init(&core->counter_index, place_index(l, all), all);
    core->limits = place(l, sizeof(core->limits[0]) * QD_LIMITS_INTERNED_MAX);
}

static void place_reservations(struct layout *l, const struct qd_core_config *c,
                               struct qd_core *core)
{
    core->reservations = place(l, sizeof(struct qd_reservation) * c->reservations);
    core->reservation_bits = place(l, sizeof(uint64_t) * (c->reservations / 64 + 1));
    core->hold_changed = place(l, sizeof(uint64_t) * (c->reservations / 64 + 1));
    core->hold_journaled = place(l, sizeof(uint64_t) * (c->reservations / 64 + 1));
    core->next_number = c->first_number != 0 ? c->first_number : 1;
    core->ring_shift = c->reservations >> QD_RING_SHIFT_MAX != 0 ? QD_RING_SHIFT_MAX : 0;
    qd_index_init(&core->request_index, place_index(l, c->reservations), c->reservations);
    qd_slab_init(&core->spills, place(l, sizeof(struct qd_spill) * c->progress),
                 sizeof(struct qd_spill), c->progress);
    core->wheel.slots = place(l, sizeof(uint32_t) * QD_WHEEL_SECONDS);
}

/* One function measures and places, so that the two cannot differ. */
static void lay_out(struct layout *l, const struct qd_core_config *c, struct qd_core *core)
{
    place(l, sizeof(*core));
    core->config = *c;
    place_counters(l, c, core);

    core->binding_slots = binding_slots(c);
    core->bindings = place(l, sizeof(struct qd_binding) * core->binding_slots);
    qd_slab_init(&core->roots, place(l, sizeof(struct qd_root) * c->roots), sizeof(struct qd_root),
                 c->roots);
    qd_index_init(&core->root_index, place_index(l, c->roots), c->roots);
    qd_slab_init(&core->estimators, place(l, sizeof(struct qd_estimator) * c->estimators),
                 sizeof(struct qd_estimator), c->estimators);
    qd_index_init(&core->estimator_index, place_index(l, c->estimators), c->estimators);

    uint32_t granules = name_granules(c);
    uint8_t *arena = place(l, (size_t)granules * QD_NAME_GRANULE);
    uint8_t *orders = place(l, granules);
    qd_names_init(&core->names, arena, orders, granules, place_index(l, granules), c->hash_seed);

    place_reservations(l, c, core);
    core->events = place(l, sizeof(struct qd_event_kept) * QD_EVENTS);
}

size_t qd_core_memory(const struct qd_core_config *config)
{
    if (!config_valid(config)) {
        return 0;
    }
    struct qd_core measured;
    memset(&measured, 0, sizeof(measured));
    struct layout l = {0};
    lay_out(&l, config, &measured);
    return l.size;
}

struct qd_core *qd_core_init(void *memory, size_t size, const struct qd_core_config *config)
{
    QD_CHECK(((uintptr_t)memory & 63) == 0);
    QD_CHECK(config_valid(config) && size >= qd_core_memory(config));
    struct layout l = {.base = memory};
    struct qd_core *core = memory;
    memset(core, 0, sizeof(*core));
    lay_out(&l, config, core);
    return core;
}

struct qd_wall_ns qd_slice_now(struct qd_core *home, struct qd_core *commons, struct qd_wall_ns now)
{
    int64_t ns = now.ns > home->latest_ns ? now.ns : home->latest_ns; /* D5 */
    if (commons != NULL) {
        if (ns < commons->latest_ns) {
            ns = commons->latest_ns;
        }
        commons->latest_ns = ns;
    }
    home->latest_ns = ns;
    return (struct qd_wall_ns){.ns = QD_MUTANT(D5_latest) ? now.ns : ns};
}

struct qd_wall_ns qd_core_latest(const struct qd_core *core)
{
    return (struct qd_wall_ns){.ns = core->latest_ns};
}

void qd_core_stats(const struct qd_core *core, struct qd_core_stats *ret_stats)
{
    *ret_stats = core->stats;
    for (unsigned class = 0; class < QD_CLASS_COUNT; class ++) {
        ret_stats->counters_live[class] = core->counters[class].live;
    }
    ret_stats->bindings_live = core->bindings_live;
    ret_stats->reservations_open = core->reservations_open;
    ret_stats->reservations_kept = core->reservations_kept;
    ret_stats->roots_live = core->roots.live;
    ret_stats->estimators_live = core->estimators.live;
    ret_stats->name_bytes_used = (size_t)core->names.used * QD_NAME_GRANULE;
}
