#include "estimator.h"

#include "bytes.h"

#include <string.h>

#define SAMPLE 16U

static struct qd_estimator *at(const struct qd_core *core, uint32_t index)
{
    return qd_slab_at(&core->estimators, index);
}

static uint32_t find(const struct qd_core *core, struct qd_hash128 id)
{
    struct qd_index_walk walk = {0};
    uint32_t index;
    while ((index = qd_index_next(&core->estimator_index, (uint32_t)id.hi, &walk)) !=
           QD_INDEX_NONE) {
        if (qd_hash128_equal(at(core, index)->id, id)) {
            return index;
        }
    }
    return QD_SLAB_NONE;
}

/* Free the least recently used of a few. */
static void make_room(struct qd_core *core)
{
    uint32_t victim = QD_SLAB_NONE;
    for (unsigned i = 0; i < SAMPLE && i < core->estimators.high; i++) {
        if (core->estimator_hand >= core->estimators.high) {
            core->estimator_hand = 0;
        }
        uint32_t index = core->estimator_hand++;
        if (victim == QD_SLAB_NONE || at(core, index)->used_s < at(core, victim)->used_s) {
            victim = index;
        }
    }
    if (victim == QD_SLAB_NONE) {
        return;
    }
    qd_index_remove(&core->estimator_index, (uint32_t)at(core, victim)->id.hi, victim);
    at(core, victim)->generation++;
    qd_slab_give(&core->estimators, victim);
}

void qd_estimator_obtain(struct qd_core *core, struct qd_hash128 id, struct qd_wall_ns now,
                         uint32_t *ret_handle, uint16_t *ret_generation)
{
    uint32_t index = find(core, id);
    if (index == QD_SLAB_NONE) {
        if (core->estimators.live == core->estimators.capacity) {
            make_room(core);
        }
        index = qd_slab_take(&core->estimators);
        if (index == QD_SLAB_NONE) {
            *ret_handle = 0;
            *ret_generation = 0;
            return;
        }
        struct qd_estimator *e = at(core, index);
        uint16_t generation = (uint16_t)(e->generation + 1U);
        memset(e, 0, sizeof(*e));
        e->id = id;
        e->generation = generation;
        e->used_s = qd_seconds_of(now);
        bool inserted = qd_index_insert(&core->estimator_index, (uint32_t)id.hi, index);
        QD_CHECK(inserted && (generation & 1U));
    }
    *ret_handle = index + 1;
    *ret_generation = at(core, index)->generation;
}

static struct qd_estimator *of(const struct qd_core *core, const struct qd_binding *binding)
{
    if (binding->estimator == 0) {
        return NULL;
    }
    struct qd_estimator *e = at(core, binding->estimator - 1);
    return e->generation == binding->estimator_generation ? e : NULL; /* D13 */
}

bool qd_estimator_get(struct qd_core *core, const struct qd_binding *binding, unsigned permille,
                      int64_t *ret_value)
{
    struct qd_estimator *e = of(core, binding);
    return e != NULL && qd_quantile_get(&e->outputs, permille, ret_value);
}

void qd_estimator_add(struct qd_core *core, const struct qd_binding *binding, int64_t output,
                      struct qd_wall_ns now)
{
    struct qd_estimator *e = of(core, binding);
    if (e == NULL) {
        return;
    }
    e->used_s = qd_seconds_of(now);
    e->changed = 1;
    qd_quantile_add(&e->outputs, output);
}

/* --- stored, and back (X5) --- */

#define VERSION 1U

void qd_estimator_write(const struct qd_estimator *e, struct qd_saved *ret_saved)
{
    struct qd_writer w = {.at = ret_saved->bytes};
    unsigned used = 0;
    for (unsigned i = 0; i < QD_QUANTILE_BUCKETS; i++) {
        used += e->outputs.count[i] != 0;
    }
    qd_write(&w, VERSION, 1);
    qd_write(&w, used, 1);
    for (unsigned i = 0; i < QD_QUANTILE_BUCKETS; i++) {
        if (e->outputs.count[i] != 0) {
            qd_write(&w, i, 1);
            qd_write_varint(&w, e->outputs.count[i]);
        }
    }
    ret_saved->kind = QD_SAVED_ESTIMATOR;
    ret_saved->id = e->id;
    ret_saved->size = (uint32_t)(w.at - ret_saved->bytes);
    QD_CHECK(ret_saved->size <= QD_SAVED_MAX);
}

static bool read_outputs(const struct qd_saved *saved, struct qd_quantile *ret_outputs)
{
    struct qd_bytes r = {.at = saved->bytes, .end = saved->bytes + saved->size};
    if (saved->size > QD_SAVED_MAX || qd_read(&r, 1) != VERSION) {
        return false;
    }
    memset(ret_outputs, 0, sizeof(*ret_outputs));
    unsigned used = (unsigned)qd_read(&r, 1);
    for (unsigned k = 0; k < used && !r.failed; k++) {
        unsigned i = (unsigned)qd_read(&r, 1);
        uint16_t count = (uint16_t)qd_read_varint(&r, QD_QUANTILE_SAMPLES_MAX);
        if (i >= QD_QUANTILE_BUCKETS || ret_outputs->count[i] != 0) {
            return false;
        }
        ret_outputs->count[i] = count;
        ret_outputs->total += count;
    }
    return qd_read_all(&r) && ret_outputs->total < QD_QUANTILE_SAMPLES_MAX;
}

enum qd_load qd_core_load_estimator(struct qd_core *core, const struct qd_saved *saved,
                                    struct qd_wall_ns now)
{
    struct qd_quantile outputs;
    uint32_t handle;
    uint16_t generation;
    if (!read_outputs(saved, &outputs)) {
        return QD_LOAD_BAD;
    }
    if (core->estimators.live == core->estimators.capacity) {
        return QD_LOAD_FULL;
    }
    qd_estimator_obtain(core, saved->id, now, &handle, &generation);
    QD_CHECK(handle != 0);
    at(core, handle - 1)->outputs = outputs;
    return QD_LOADED;
}
