#include "server/shard/bind.h"

#include "server/core/check.h"
#include "server/core/mutant.h"
#include "server/shard/directory.h"
#include "server/shard/evict.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <assert.h>
#include <string.h>

/* How long a limit that found no room, and fails open, is left out before it is tried again (D12).
 */
#define QD_FAIL_OPEN_NS QD_NS_PER_S

struct qd_str qd_path_root(struct qd_str path)
{
    const char *slash = memchr(path.ptr, '/', path.len);

    return (struct qd_str){path.ptr, slash != NULL ? (size_t)(slash - path.ptr) : path.len};
}

/* --- the key --- */

struct key_text {
    size_t used;
    char bytes[4096];
};

/* One field: its bytes and a NUL, which no valid name contains. Absent and empty count as the same.
 */
static void key_add(struct key_text *key, struct qd_str field)
{
    assert(field.len < sizeof(key->bytes) - key->used);
    if (field.ptr != NULL && field.len > 0) {
        memcpy(key->bytes + key->used, field.ptr, field.len);
        key->used += field.len;
    }
    key->bytes[key->used++] = '\0';
}

static struct qd_str label_value(const struct qd_attributes *a, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < a->label_count; i++) {
        if (a->labels[i].name.len == len && memcmp(a->labels[i].name.ptr, name, len) == 0) {
            return a->labels[i].value;
        }
    }
    return (struct qd_str){NULL, 0};
}

static struct qd_hash128 subject_key(const struct qd_attributes *a, const struct qd_policy *policy,
                                     uint64_t seed)
{
    struct key_text key;

    key.used = 0;
    key_add(&key, a->tenant);
    key_add(&key, a->model);
    key_add(&key, a->pool);
    if (policy->uses_user) {
        key_add(&key, a->user);
    }
    for (size_t i = 0; i < policy->attribute_label_count && i < QD_LABELS_MAX + 8; i++) {
        struct qd_str value = label_value(a, policy->attribute_labels[i]);
        key.bytes[key.used++] =
            value.ptr != NULL ? '1' : '0'; /* absent is not empty for a selector */
        key_add(&key, value);
    }
    XXH128_hash_t hash = XXH3_128bits_withSeed(key.bytes, key.used, seed);
    return (struct qd_hash128){hash.low64, hash.high64};
}

static void add_provider(struct qd_subject *subject, struct qd_str provider)
{
    static const char name[] = "provider";
    struct qd_attributes *a = &subject->attributes;

    for (size_t i = 0; i < a->label_count; i++) {
        if (subject->labels[i].name.len == sizeof(name) - 1 &&
            memcmp(subject->labels[i].name.ptr, name, sizeof(name) - 1) == 0) {
            subject->labels[i].value = provider;
            return;
        }
    }
    subject->labels[a->label_count++] = (struct qd_label){{name, sizeof(name) - 1}, provider};
}

static struct qd_str str_of(const char *text)
{
    return (struct qd_str){text, text != NULL ? strlen(text) : 0};
}

struct qd_hash128 qd_request_hash(const struct qd_node *node, struct qd_str tenant,
                                  struct qd_str request_id)
{
    XXH64_hash_t of = XXH3_64bits_withSeed(tenant.ptr, tenant.len, node->shards.seed);
    XXH128_hash_t id = XXH3_128bits_withSeed(request_id.ptr, request_id.len, of);

    return (struct qd_hash128){id.low64 | 1, id.high64};
}

void qd_subject_init(struct qd_subject *subject, const struct qd_policy *policy, uint64_t seed,
                     const struct qd_subject_args *args)
{
    struct qd_attributes *a = &subject->attributes;

    QD_CHECK(args->label_count <= QD_LABELS_MAX + (args->provider.len == 0 ? 1U : 0U));
    a->tenant = args->tenant;
    a->model = args->model;
    a->pool = args->pool;
    a->user = args->user;
    a->family = (struct qd_str){NULL, 0};
    a->labels = args->labels;
    a->label_count = args->label_count;
    if (args->provider.len > 0) {
        if (args->label_count > 0) {
            memcpy(subject->labels, args->labels, args->label_count * sizeof(args->labels[0]));
        }
        a->labels = subject->labels;
        add_provider(subject, args->provider);
    }
    subject->model = a->model.len > 0 ? qd_policy_model(policy, a->model) : NULL;
    if (subject->model != NULL) {
        a->family = subject->model->family != NULL ? str_of(subject->model->family) : a->model;
        if (a->pool.len == 0) {
            a->pool = str_of(subject->model->pool);
        }
    } else {
        a->family = a->model;
    }
    subject->pool = a->pool.len > 0 ? qd_policy_pool(policy, a->pool) : NULL;
    subject->key = subject_key(a, policy, seed);
}

/* --- binding --- */

static void resolve_under_lock(struct qd_worker *worker, const struct qd_published *published,
                               const struct qd_attributes *attributes, bool all,
                               struct qd_wall_ns now)
{
    const struct qd_override *overrides[QD_TENANT_SEGMENTS_MAX];

    qd_directory_overrides(worker->node->directory, attributes->tenant, overrides);
    struct qd_resolve_input input = {.policy = published->policy,
                                     .attributes = attributes,
                                     .overrides = overrides,
                                     .now = now,
                                     .seed = worker->node->shards.seed,
                                     .all = all};
    qd_resolve(&input, &worker->resolution);
}

void qd_bind_resolve(struct qd_worker *worker, const struct qd_published *published,
                     const struct qd_attributes *attributes, bool all, struct qd_wall_ns now)
{
    resolve_under_lock(worker, published, attributes, all, now);
}

struct qd_str qd_name_tenant(struct qd_str name, struct qd_str *ret_keys)
{
    const char *blank = name.len > 0 ? memchr(name.ptr, ' ', name.len) : NULL;
    size_t len = blank != NULL ? (size_t)(blank - name.ptr) : name.len;

    *ret_keys =
        blank != NULL ? (struct qd_str){blank + 1, name.len - len - 1} : (struct qd_str){NULL, 0};
    return (struct qd_str){name.ptr, len};
}

/* Items from the worker's resolution. */
static size_t fill_items(struct qd_worker *worker)
{
    const struct qd_resolution *r = &worker->resolution;

    for (size_t i = 0; i < r->count; i++) {
        const struct qd_resolved_limit *limit = &r->limit[i];
        worker->items[i] = (struct qd_bind_item){.limit = limit->use->limit,
                                                 .amount = limit->amount,
                                                 .burst = limit->burst,
                                                 .counter = limit->counter,
                                                 .depth = limit->depth,
                                                 .name = limit->name};
    }
    return r->count;
}

/* A binding of a part of the limits lies under a key of its own, where no check finds it. */
static struct qd_hash128 partial_key(struct qd_hash128 key)
{
    key.hi ^= UINT64_C(0x517cc1b727220a95);
    return key;
}

/* D10: a shadow limit never denies. A counter that finds no room has no share to answer from. */
static bool fails_open(const struct qd_limit *limit)
{
    bool open = limit->failure_mode == QD_FAIL_OPEN || limit->action == QD_SHADOW;

    return (open || QD_MUTANT(D12_closed)) && !QD_MUTANT(D12_open);
}

/* D12: the item that found no room is left out for a while if its limit fails open; else the check
 * is denied. Usage that has happened is counted wherever there is room. Returns false when nothing
 * can be left out. */
static bool leave_out(struct qd_worker *worker, struct qd_bind *bind, size_t item,
                      struct qd_wall_ns now, const struct qd_subject *settled)
{
    if (item >= bind->item_count || (settled == NULL && !fails_open(worker->items[item].limit))) {
        return false;
    }
    if (settled != NULL) {
        qd_count(&worker->figures.unsettled);
        bind->key = partial_key(settled->key);
    } else {
        qd_count(&worker->figures.failed_open);
        bind->partial = true;
    }
    memmove(&worker->items[item], &worker->items[item + 1],
            (bind->item_count - item - 1) * sizeof(worker->items[0]));
    bind->item_count--;
    if (bind->valid_until.ns > now.ns + QD_FAIL_OPEN_NS) {
        bind->valid_until.ns = now.ns + QD_FAIL_OPEN_NS;
    }
    return true;
}

/* The item that denies: the one that found no room; the first that fails closed if the binding
 * itself found none. item_count: all fail open. */
static size_t denying_item(const struct qd_bind *bind, size_t item)
{
    if (item < bind->item_count) {
        return item;
    }
    for (item = 0; item < bind->item_count && fails_open(bind->items[item].limit); item++) {
    }
    return item;
}

static void describe_full(const struct qd_bind_item *item, struct qd_limit_state *ret_state)
{
    *ret_state = (struct qd_limit_state){.limit = item->limit,
                                         .name = item->name,
                                         .amount = item->amount,
                                         .burst = item->burst,
                                         .depth = item->depth,
                                         .resets_at = {QD_WALL_NEVER}};
}

/* With all locks that it takes held: bind, making room where there is none. */
static enum qd_bind_outcome make_binding(struct qd_worker *worker, struct qd_shard *home,
                                         struct qd_bind *bind, struct qd_wall_ns now,
                                         const struct qd_subject *settled,
                                         struct qd_limit_state *ret_state)
{
    struct qd_core *commons = qd_shards_commons(&worker->node->shards);
    unsigned evictions = 0;
    size_t item = 0;

    qd_count(&worker->figures.binds);
    while (qd_evict_unreadable(worker, home, bind, now, &item)) {
        if (!leave_out(worker, bind, item, now, settled)) {
            describe_full(&bind->items[item], ret_state);
            return QD_BIND_NO_ROOM;
        }
    }
    for (;;) {
        item = 0;
        enum qd_bind_result result = qd_core_bind(home->core, commons, bind, now, &item);
        if (result == QD_BOUND) {
            qd_evict_bring_back(worker, home, bind, now);
            return QD_BIND_DONE;
        }
        bool in_commons = item < bind->item_count && bind->items[item].depth == 0;
        if (evictions++ < QD_EVICT_TRIES &&
            qd_evict_one(worker, in_commons ? &worker->node->shards.commons : home, now)) {
            continue;
        }
        qd_count(&worker->figures.bind_full);
        if (leave_out(worker, bind, item, now, settled)) {
            continue;
        }
        item = denying_item(bind, item);
        if (item < bind->item_count) {
            describe_full(&bind->items[item], ret_state);
            return QD_BIND_NO_ROOM;
        }
        if (settled != NULL) {
            return QD_BIND_NO_ROOM;
        }
        qd_count(&worker->figures.failed_open);
        return QD_BIND_ALL_OPEN;
    }
}

enum qd_bind_outcome qd_bind_items(struct qd_worker *worker, struct qd_shard *home,
                                   struct qd_bind *bind, struct qd_wall_ns now,
                                   struct qd_limit_state *ret_state)
{
    return make_binding(worker, home, bind, now, NULL, ret_state);
}

/* `settling`: usage that has happened is bound to whatever limits there are and have room. */
static enum qd_bind_outcome bind_subject(struct qd_worker *worker,
                                         const struct qd_published *published,
                                         const struct qd_subject *subject, struct qd_shard *home,
                                         struct qd_wall_ns now, bool settling,
                                         struct qd_hash128 *ret_key,
                                         struct qd_limit_state *ret_state)
{
    struct qd_node *node = worker->node;
    const struct qd_attributes *a = &subject->attributes;
    enum qd_bind_outcome outcome = QD_BIND_STALE;

    /* The directory's lock is held until the binding is made: a change of a tenant that comes after
     * the resolution forgets the binding after it was made (P2: effective at once). */
    qd_directory_lock_shared(node->directory);
    resolve_under_lock(worker, published, a, false, now);
    const struct qd_resolution *r = &worker->resolution;
    bool whole = r->status == QD_RESOLVED;
    if (!whole && !settling) {
        qd_directory_unlock_shared(node->directory);
        return r->status == QD_RESOLVE_UNKNOWN_TENANT ? QD_BIND_UNKNOWN_TENANT : QD_BIND_TOO_MANY;
    }
    XXH128_hash_t tenant = XXH3_128bits_withSeed(a->tenant.ptr, a->tenant.len, node->shards.seed);
    XXH128_hash_t model = XXH3_128bits_withSeed(a->model.ptr, a->model.len, tenant.low64);
    struct qd_bind bind = {.key = whole ? subject->key : partial_key(subject->key),
                           .epoch = published->policy->epoch,
                           .valid_until = r->valid_until,
                           .tenant = a->tenant,
                           .estimator = {model.low64 ^ tenant.high64, model.high64},
                           .blocked = r->blocked,
                           .since = qd_frontier_through(&node->frontier),
                           .items = worker->items,
                           .item_count = fill_items(worker)};
    qd_shards_lock(&node->shards, home);
    if (atomic_load_explicit(&node->published, memory_order_acquire) == published) {
        outcome = make_binding(worker, home, &bind, now, settling ? subject : NULL, ret_state);
    }
    *ret_key = bind.key;
    qd_directory_unlock_shared(node->directory);
    bool decides = !settling && (outcome == QD_BIND_NO_ROOM || outcome == QD_BIND_ALL_OPEN);
    if (outcome != QD_BIND_DONE && !decides) {
        qd_shards_unlock(&node->shards, home);
    }
    return outcome;
}

enum qd_bind_outcome qd_bind_locked(struct qd_worker *worker, const struct qd_published *published,
                                    const struct qd_subject *subject, struct qd_shard *home,
                                    struct qd_wall_ns now, struct qd_limit_state *ret_state)
{
    struct qd_hash128 key;

    return bind_subject(worker, published, subject, home, now, false, &key, ret_state);
}

enum qd_bind_outcome qd_bind_to_settle(struct qd_worker *worker,
                                       const struct qd_published *published,
                                       const struct qd_subject *subject, struct qd_shard *home,
                                       struct qd_wall_ns now, struct qd_hash128 *ret_key)
{
    struct qd_limit_state state;

    return bind_subject(worker, published, subject, home, now, true, ret_key, &state);
}
