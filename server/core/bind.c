/* Binding a request's key to its counters, making those that are missing (P2, P6, D12). */
#include "binding.h"
#include "estimator.h"
#include "event.h"
#include "mutant.h"
#include "root.h"
#include "table.h"

struct binding_up {
    struct qd_core *home;
    struct qd_core *commons;
    const struct qd_bind *bind;
    struct qd_wall_ns now;
    uint32_t root;
    uint32_t made; /* items whose counter this call made */
    struct qd_at at[QD_LIMITS_PER_CHECK_MAX];
};

/* P6: what makes a counter the same one. The identity hashes it all; this guards against a table
 * that would otherwise be read as something else. */
static bool same_kind(const struct qd_at *at, const struct qd_bind_item *item)
{
    enum qd_class class = qd_class_for(item->limit, item->amount);
    bool window = class == QD_CLASS_NARROW || class == QD_CLASS_WIDE;
    bool same_class =
        window ? at->class == QD_CLASS_NARROW || at->class == QD_CLASS_WIDE : at->class == class;
    return same_class && at->limit->algorithm == item->limit->algorithm &&
           at->limit->window_ns == item->limit->window_ns &&
           at->limit->slots == item->limit->slots && at->counter->depth == item->depth;
}

/* D12: a root that has its quota of counters gets no more, unless one of its own can go. */
static bool quota_allows(struct binding_up *b, const struct qd_bind_item *item)
{
    uint32_t quota = b->home->config.counters_per_root;
    const struct qd_root *root = qd_root_at(b->home, b->root);
    if (item->depth == 0 || quota == 0 || root->counters < quota || QD_MUTANT(D12_quota)) {
        return true;
    }
    enum qd_class class = qd_class_for(item->limit, item->amount);
    b->home->full_class = class;
    b->home->full_names = false;
    b->home->full_root = true;
    b->home->full_root_id = root->id;
    for (unsigned i = 0; i < QD_CLASS_COUNT; i++) {
        enum qd_class other = (enum qd_class)((class + i) % QD_CLASS_COUNT);
        if (qd_table_sweep(b->home, other, &root->id, 1, b->now) > 0) {
            return true;
        }
    }
    return false;
}

static bool make(struct binding_up *b, struct qd_core *core, const struct qd_bind_item *item,
                 struct qd_at *ret_at)
{
    if (qd_table_make(core, item, b->now, ret_at)) {
        return true;
    }
    if (!core->full_names) {
        return false;
    }
    qd_binding_trim(core, b->now);
    for (unsigned class = 0; class < QD_CLASS_COUNT; class ++) {
        qd_table_sweep(core, (enum qd_class) class, NULL, 8, b->now);
    }
    return qd_table_make(core, item, b->now, ret_at);
}

static enum qd_bind_result bind_item(struct binding_up *b, size_t i)
{
    const struct qd_bind_item *item = &b->bind->items[i];
    struct qd_core *core = qd_slice_of(b->home, b->commons, item->depth);
    QD_CHECK(core != NULL && item->limit->index < QD_LIMITS_INTERNED_MAX);

    bool found = qd_table_find(core, item->counter, &b->at[i]);
    if (found && !same_kind(&b->at[i], item)) {
        qd_table_drop(&b->at[i]);
        found = false;
    }
    if (!found) {
        if (!quota_allows(b, item)) {
            return QD_BIND_ROOT_QUOTA;
        }
        if (!make(b, core, item, &b->at[i])) {
            return QD_BIND_FULL;
        }
        qd_table_set_since(&b->at[i], b->bind->since);
        b->made |= UINT32_C(1) << i;
    }
    /* So that making room for the next item leaves this one alone. */
    qd_table_pin(&b->at[i], qd_seconds_of(b->now) + 1);
    return QD_BOUND;
}

static void unmake(struct binding_up *b)
{
    for (unsigned i = 0; i < QD_LIMITS_PER_CHECK_MAX; i++) {
        if (b->made >> i & 1U) {
            qd_table_drop(&b->at[i]);
        }
    }
    b->made = 0;
}

/* P6: the amounts of now, on what was used before. */
static void amend(struct binding_up *b, size_t i)
{
    const struct qd_bind_item *item = &b->bind->items[i];
    struct qd_at *at = &b->at[i];
    const struct qd_limit *before = at->limit;
    int64_t capacity = qd_counter_capacity(at);
    qd_counter_amend(at, item->amount, item->burst, b->now);
    at->core->limits[item->limit->index] = item->limit;
    at->counter->limit = (uint16_t)item->limit->index;
    at->limit = item->limit;
    qd_event_amended(at, before, capacity, b->now);
    if (at->class == QD_CLASS_NARROW && qd_class_for(item->limit, item->amount) == QD_CLASS_WIDE) {
        qd_table_widen(at, b->now);
    }
}

static bool uses_estimator(const struct qd_bind *bind)
{
    for (size_t i = 0; i < bind->item_count; i++) {
        if (bind->items[i].limit->output_estimate == QD_OUTPUT_QUANTILE) {
            return true;
        }
    }
    return false;
}

static void enter(struct binding_up *b, uint32_t name)
{
    struct qd_ref items[QD_LIMITS_PER_CHECK_MAX];
    for (size_t i = 0; i < b->bind->item_count; i++) {
        items[i] = qd_table_ref(&b->at[i]);
    }
    struct qd_binding first = {.key = b->bind->key,
                               .valid_until_ns = b->bind->valid_until.ns,
                               .epoch = b->bind->epoch,
                               .root = b->root,
                               .root_generation = qd_root_at(b->home, b->root)->generation,
                               .name = name,
                               .blocked = b->bind->blocked,
                               .partial = b->bind->partial};
    if (uses_estimator(b->bind)) {
        qd_estimator_obtain(b->home, b->bind->estimator, b->now, &first.estimator,
                            &first.estimator_generation);
    }
    qd_binding_put(b->home, &first, items, (unsigned)b->bind->item_count, b->now);
}

static enum qd_bind_result give_up(struct binding_up *b, enum qd_bind_result result, size_t item,
                                   size_t *ret_item)
{
    unmake(b);
    if (b->home->full_event_s != qd_seconds_of(b->now)) {
        b->home->full_event_s = qd_seconds_of(b->now);
        qd_event_full(b->home, b->bind->tenant, b->now);
    }
    if (ret_item != NULL) {
        *ret_item = item;
    }
    return result;
}

enum qd_bind_result qd_core_bind(struct qd_core *home, struct qd_core *commons,
                                 const struct qd_bind *bind, struct qd_wall_ns now,
                                 size_t *ret_item)
{
    QD_CHECK(bind->item_count <= QD_LIMITS_PER_CHECK_MAX);
    struct binding_up b = {.home = home, .commons = commons, .bind = bind};
    b.now = qd_slice_now(home, commons, now);
    home->bound_new = 0;
    home->full_root = false;
    b.root = qd_root_obtain(home, bind->tenant, b.now);
    if (b.root == QD_SLAB_NONE) {
        home->full_names = true; /* whichever counters go, roots go with them */
        return give_up(&b, QD_BIND_FULL, bind->item_count, ret_item); /* none of them: all */
    }

    uint32_t name = qd_names_intern(&home->names, bind->tenant);
    if (name == 0) {
        qd_binding_trim(home, b.now);
        name = qd_names_intern(&home->names, bind->tenant);
    }
    if (name == 0) {
        home->full_names = true;
        return give_up(&b, QD_BIND_FULL, bind->item_count, ret_item); /* none of them: all */
    }
    for (size_t i = 0; i < bind->item_count; i++) {
        enum qd_bind_result result = bind_item(&b, i);
        if (result != QD_BOUND) {
            qd_names_drop(&home->names, name);
            return give_up(&b, result, i, ret_item);
        }
    }
    for (size_t i = 0; i < bind->item_count; i++) {
        amend(&b, i);
    }
    enter(&b, name);
    home->bound_new = b.made;
    return QD_BOUND;
}

uint32_t qd_core_bound_new(const struct qd_core *home)
{
    return home->bound_new;
}
