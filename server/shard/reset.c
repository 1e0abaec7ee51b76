#include "server/shard/reset.h"

#include "server/ledger/tenant_store.h"
#include "server/policy/intern.h"
#include "server/shard/bind.h"
#include "server/shard/counter_keys.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/recount.h"
#include "server/shard/reset_stored.h"
#include "server/shard/snapshot.h"
#include "server/shard/tenants.h"
#include "server/shard/validate.h"

#include <stdio.h>
#include <string.h>

/* A limit as it applies to the tenant, and where its counters are. */
struct reset {
    struct qd_worker *worker;
    const struct qd_published *published;
    const struct qd_reset_args *args;
    const struct qd_reset_listener *listener; /* may be NULL */
    struct qd_subject subject;
    struct qd_label labels[QD_LABELS_MAX];
    struct qd_label wanted[QD_LABELS_MAX]; /* of the keys, those that the limit is split by */
    size_t wanted_count;
    struct qd_shard *home;
    struct qd_wall_ns now;
    uint64_t sequence; /* its entry's */
    uint32_t count;
    uint32_t told; /* states, to the listener */
};

/* A limit that all tenants share is named after what it belongs to: the "h100" of
 * "pool:h100.concurrency" for "pool:". Empty: it is none of those. */
static struct qd_str named_after(struct qd_str limit, const char *prefix)
{
    struct qd_str kind = qd_slice_of(prefix);
    size_t end = limit.len;

    if (!qd_slice_starts(limit, kind)) {
        return (struct qd_str){NULL, 0};
    }
    while (end > kind.len && limit.ptr[end - 1] != '.') {
        end--;
    }
    return (struct qd_str){limit.ptr + kind.len, end > kind.len ? end - 1 - kind.len : 0};
}

enum qd_error_code qd_reset_subject(const struct qd_reset_args *args,
                                    struct qd_label labels[QD_LABELS_MAX],
                                    struct qd_subject_args *ret_subject, struct qd_error *ret_error)
{
    struct qd_subject_args subject = {.tenant = args->tenant,
                                      .model = named_after(args->limit, "model:"),
                                      .pool = named_after(args->limit, "pool:"),
                                      .labels = labels};

    for (size_t i = 0; i < args->key_count; i++) {
        const struct qd_label *key = &args->keys[i];
        if (qd_slice_equal(key->name, qd_slice_of("model"))) {
            subject.model = key->value;
        } else if (qd_slice_equal(key->name, qd_slice_of("pool"))) {
            subject.pool = key->value;
        } else if (qd_slice_equal(key->name, qd_slice_of("user"))) {
            subject.user = key->value;
        } else {
            labels[subject.label_count++] = *key;
        }
    }
    if (qd_validate_labels(args->keys, args->key_count, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    *ret_subject = subject;
    return QD_ERROR_NONE;
}

static enum qd_error_code prepare(struct reset *r, struct qd_worker *worker,
                                  const struct qd_published *published,
                                  const struct qd_reset_args *args, struct qd_error *ret_error)
{
    struct qd_shards *shards = &worker->node->shards;
    struct qd_subject_args subject;

    r->worker = worker;
    r->published = published;
    r->args = args;
    r->listener = NULL;
    r->count = 0;
    r->told = 0;
    if (qd_reset_subject(args, r->labels, &subject, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    qd_subject_init(&r->subject, published->policy, shards->seed, &subject);
    r->home = qd_shards_of(shards, args->tenant);
    r->now = qd_clock_now(&worker->node->clock);
    return QD_ERROR_NONE;
}

static bool has_name(const struct reset *r, const struct qd_limit *limit, struct qd_str name)
{
    struct qd_limit_state state = {.limit = limit, .name = name};
    char full[QD_STATE_NAME_MAX];
    struct qd_text text;

    qd_text_init(&text, full, sizeof(full));
    qd_describe_name(&text, &state);
    return qd_slice_equal(r->args->limit, (struct qd_str){full, text.used});
}

/* By its full name in the worker's resolution; NULL: it does not apply (any more). */
static const struct qd_resolved_limit *find_limit(const struct reset *r)
{
    const struct qd_resolution *resolution = &r->worker->resolution;

    for (size_t i = 0; i < resolution->count; i++) {
        const struct qd_resolved_limit *limit = &resolution->limit[i];
        if (has_name(r, limit->use->limit, limit->name)) {
            return limit;
        }
    }
    return NULL;
}

/* --- the counters --- */

static bool tell(void *context, const struct qd_limit_state *before)
{
    struct reset *r = context;

    if (r->listener == NULL || r->told >= r->listener->most) {
        return false;
    }
    r->told++;
    r->listener->on_counter(r->listener->context, r->published->policy, before, r->now);
    return true;
}

static void reset_one(struct reset *r, struct qd_core *core, struct qd_hash128 id,
                      const struct qd_limit_state *before)
{
    (void)tell(r, before);
    if (qd_core_counter_reset(core, id, r->sequence, r->now)) {
        r->count++;
    }
}

/* True if only the counter of the resolved limit can be meant: each value that it is split by is
 * given. (A family's is the model's, a tenant's the subject's own: these name no counter.) */
static bool is_one(const struct reset *r, const struct qd_limit *limit)
{
    const uint32_t given = QD_ATTR_MODEL | QD_ATTR_POOL | QD_ATTR_USER | QD_ATTR_LABEL;

    return (limit->per & ~given) == 0 && r->wanted_count == (size_t)__builtin_popcount(limit->per);
}

/* In memory or, if it was evicted, in the store (D12). */
static enum qd_store_err reset_single(struct reset *r, struct qd_reset_stored *stored)
{
    struct qd_hash128 id = stored->limit->counter;
    struct qd_limit_state state;

    if (qd_core_counter(stored->core, id, r->now, &state)) {
        reset_one(r, stored->core, id, &state);
        return QD_STORE_OK;
    }
    return qd_reset_stored_one(stored, id);
}

/* Those that the limit is split into are found by walking the slice. */
static enum qd_store_err reset_split(struct reset *r, struct qd_reset_stored *stored)
{
    struct qd_limit_state state;
    struct qd_hash128 id;
    uint64_t cursor = 0;

    enum qd_store_err err = qd_reset_stored_begin(stored);
    while (qd_core_counter_next(stored->core, &cursor, r->now, &id, &state)) {
        if (qd_reset_is_of(stored->limit, state.limit->identity.lo) &&
            qd_counter_has_keys(stored->subject, stored->node->shards.seed, stored->limit, id,
                                state.name, stored->wanted)) {
            reset_one(r, stored->core, id, &state);
            qd_reset_stored_pass(stored, id);
        }
    }
    return err;
}

/* All of them: in memory at one moment, then in the store. An error: some in the store are as they
 * were. */
static enum qd_store_err reset_counters(struct reset *r, const struct qd_resolved_limit *limit)
{
    struct qd_shards *shards = &r->worker->node->shards;
    struct qd_reset_stored stored = {.node = r->worker->node,
                                     .home = r->home,
                                     .core =
                                         limit->depth == 0 ? shards->commons.core : r->home->core,
                                     .limit = limit,
                                     .subject = &r->subject.attributes,
                                     .wanted = {r->wanted, r->wanted_count},
                                     .since = r->sequence,
                                     .now = r->now,
                                     .on_state = tell,
                                     .context = r};
    bool one = is_one(r, limit->use->limit);

    qd_shards_reset_begin(shards);
    qd_shards_lock(shards, r->home);
    enum qd_store_err err = one ? reset_single(r, &stored) : reset_split(r, &stored);
    qd_shards_unlock(shards, r->home);
    if (err == QD_STORE_OK && !one) {
        err = qd_reset_stored_walk(&stored);
    }
    qd_shards_reset_end(shards, limit->depth == 0 ? NULL : r->home);
    r->count += stored.count;
    qd_reset_stored_end(&stored);
    return err;
}

static bool splits(const struct qd_limit *limit, struct qd_str key)
{
    static const struct {
        const char *name;
        uint32_t attribute;
    } attributes[] = {{"model", QD_ATTR_MODEL},
                      {"family", QD_ATTR_FAMILY},
                      {"pool", QD_ATTR_POOL},
                      {"user", QD_ATTR_USER},
                      {"tenant", QD_ATTR_TENANT}};

    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        if ((limit->per & attributes[i].attribute) != 0 &&
            qd_slice_equal(key, qd_slice_of(attributes[i].name))) {
            return true;
        }
    }
    return (limit->per & QD_ATTR_LABEL) != 0 && qd_slice_equal(key, qd_slice_of(limit->per_label));
}

/* What a limit that all share is named after may be said once more. */
static bool is_own_name(struct qd_str limit, const struct qd_label *key)
{
    struct qd_str model = named_after(limit, "model:");
    struct qd_str pool = named_after(limit, "pool:");

    return (model.len > 0 && qd_slice_equal(key->name, qd_slice_of("model")) &&
            qd_slice_equal(key->value, model)) ||
           (pool.len > 0 && qd_slice_equal(key->name, qd_slice_of("pool")) &&
            qd_slice_equal(key->value, pool));
}

/* Of the keys, those that choose among the limit's counters. One that splits nothing is a mistake.
 */
static enum qd_error_code choose_keys(struct reset *r, const struct qd_limit *limit,
                                      struct qd_error *ret_error)
{
    r->wanted_count = 0;
    for (size_t i = 0; i < r->args->key_count; i++) {
        const struct qd_label *key = &r->args->keys[i];
        if (splits(limit, key->name)) {
            r->wanted[r->wanted_count++] = *key;
        } else if (!is_own_name(r->args->limit, key)) {
            return qd_error_set(
                ret_error, QD_ERROR_INVALID_FIELD,
                "keys: %s is not in the `per` of %s; leave it out, nothing was reset",
                qd_quote(key->name).text, qd_quote(r->args->limit).text);
        }
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code check_limit(struct reset *r, const struct qd_resolved_limit *limit,
                                      struct qd_error *ret_error)
{
    if (limit == NULL) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_LIMIT, "limit: %s does not apply",
                            qd_quote(r->args->limit).text);
    }
    if (limit->use->limit->algorithm == QD_CONCURRENCY) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "limit: %s counts open holds and nothing else; end them with: quotactl "
                            "reservations release",
                            qd_quote(r->args->limit).text);
    }
    if (limit->depth > 0 && qd_slice_equal(r->args->tenant, qd_slice_of(QD_RESET_SHARED))) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_TENANT,
                            "tenant: required: %s is no limit that all tenants share",
                            qd_quote(r->args->limit).text);
    }
    return choose_keys(r, limit->use->limit, ret_error);
}

/* --- booking --- */

static enum qd_error_code book(struct reset *r, struct qd_error *ret_error)
{
    struct qd_node *node = r->worker->node;
    const struct qd_reset_args *args = r->args;
    char detail[QD_STATE_NAME_MAX];
    struct qd_receipt receipt;
    struct qd_text text;
    struct qd_entry entry;

    memset(&entry, 0, sizeof(entry));
    entry.kind = QD_ENTRY_ADJUSTMENT;
    entry.event_time = r->now;
    entry.charged_time = r->now;
    entry.tenant = args->tenant;
    entry.source = qd_slice_of("admin");
    entry.limit = args->limit;
    entry.note = qd_slice_of("counters reset");
    memcpy(entry.labels, args->keys, args->key_count * sizeof(args->keys[0]));
    entry.label_count = args->key_count;
    qd_entry_sort(&entry);
    qd_text_init(&text, detail, sizeof(detail));
    qd_text_add_str(&text, args->limit);
    for (size_t i = 0; i < entry.label_count; i++) {
        qd_text_add(&text, " ");
        qd_text_add_str(&text, entry.labels[i].name);
        qd_text_add(&text, "=");
        qd_text_add_str(&text, entry.labels[i].value);
    }
    struct qd_tenant_change change = {.actor = qd_actor_or_local(args->actor),
                                      .action = qd_slice_of("ResetCounter"),
                                      .detail = {detail, text.used},
                                      .now = r->now};
    struct qd_booking booking = {
        .entry = &entry, .content = qd_ledger_content(&entry, false), .now = r->now};
    qd_receipt_init(&receipt);
    enum qd_book_result result =
        qd_tenant_store_note(node->tenants, &change, node->ledger, &booking, &receipt);
    enum qd_error_code code = QD_ERROR_NONE;
    if (result == QD_BOOK_STORE_ERROR) {
        code = qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "nothing was reset: %s; retry",
                            receipt.text);
    } else if (result != QD_BOOK_BOOKED) {
        code = qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", receipt.text);
    }
    r->sequence = receipt.sequence;
    qd_receipt_release(&receipt);
    return code;
}

/* X5: snapshots of before it lack it, those of after it have it. */
static void counted(struct reset *r)
{
    struct qd_shards *shards = &r->worker->node->shards;

    qd_shards_lock(shards, r->home);
    qd_snapshot_counted(r->home, r->sequence);
    if (qd_shards_commons(shards) != NULL) {
        qd_snapshot_counted(&shards->commons, r->sequence);
    }
    qd_shards_unlock(shards, r->home);
    qd_frontier_mark(&r->worker->node->frontier, r->sequence);
}

/* What applies, of the limit that the reset names; NULL: it does not, or cannot be reset. The
 * directory's lock is shared. */
static const struct qd_resolved_limit *resolve(struct reset *r, struct qd_error *ret_error)
{
    qd_bind_resolve(r->worker, r->published, &r->subject.attributes, true, r->now);
    const struct qd_resolved_limit *limit = find_limit(r);
    return check_limit(r, limit, ret_error) == QD_ERROR_NONE ? limit : NULL;
}

static enum qd_error_code not_in_store(const struct reset *r, enum qd_store_err err,
                                       struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                        "%u counters were reset, others that lie in the store were not: %s; retry",
                        r->count, qd_store_err_text(err));
}

/* The admin lock and the reports' gate are held: what applies stays, and what is booked is counted.
 */
static enum qd_error_code reset_alone(struct reset *r, struct qd_error *ret_error)
{
    struct qd_node *node = r->worker->node;

    qd_directory_lock_shared(node->directory);
    const struct qd_resolved_limit *limit = resolve(r, ret_error);
    qd_directory_unlock_shared(node->directory);
    if (limit == NULL || book(r, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    /* The ledger may have called meanwhile, who takes the directory as well: see
     * qd_ledger_on_found. */
    qd_directory_lock_shared(node->directory);
    limit = resolve(r, ret_error);
    enum qd_store_err err = limit != NULL ? reset_counters(r, limit) : QD_STORE_OK;
    counted(r);
    qd_directory_unlock_shared(node->directory);
    return err == QD_STORE_OK ? QD_ERROR_NONE : not_in_store(r, err, ret_error);
}

enum qd_error_code qd_reset(struct qd_worker *worker, const struct qd_reset_args *args,
                            const struct qd_reset_listener *listener, uint32_t *ret_count,
                            struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    struct reset r;

    (void)pthread_mutex_lock(&node->admin);
    (void)pthread_rwlock_wrlock(&node->booking);
    const struct qd_published *published =
        atomic_load_explicit(&node->published, memory_order_acquire);
    enum qd_error_code code = prepare(&r, worker, published, args, ret_error);
    if (code == QD_ERROR_NONE) {
        r.listener = listener;
        code = reset_alone(&r, ret_error);
        *ret_count = r.count;
    }
    (void)pthread_rwlock_unlock(&node->booking);
    (void)pthread_mutex_unlock(&node->admin);
    return code;
}

/* P6: the limit of another plan, by its full name, whose counters this tenant's limit goes on with.
 */
static const struct qd_resolved_limit *find_heir(const struct reset *r)
{
    const struct qd_resolution *resolution = &r->worker->resolution;
    const struct qd_limit *named = NULL;

    for (uint32_t i = 0; i < qd_intern_limit_count() && named == NULL; i++) {
        const struct qd_limit *limit = qd_intern_limit_at(i);
        if (limit != NULL && limit->owner != NULL && has_name(r, limit, (struct qd_str){NULL, 0})) {
            named = limit;
        }
    }
    for (size_t i = 0; named != NULL && i < resolution->count; i++) {
        if (qd_hash128_equal(resolution->limit[i].use->limit->identity, named->identity)) {
            return &resolution->limit[i];
        }
    }
    return NULL;
}

/* The limit that an entry's reset names, with the keys that choose among its counters; NULL: there
 * is no such limit any more. The directory's lock is shared. */
static const struct qd_resolved_limit *limit_of_entry(struct reset *r, struct qd_reset_args *args,
                                                      struct qd_worker *worker,
                                                      const struct qd_published *published,
                                                      const struct qd_entry *entry)
{
    struct qd_error error;

    *args = (struct qd_reset_args){.tenant = entry->tenant, .limit = entry->limit};
    for (size_t i = 0; i < entry->label_count && i < QD_LABELS_MAX; i++) {
        args->keys[args->key_count++] = entry->labels[i];
    }
    if (entry->limit.len == 0 || prepare(r, worker, published, args, &error) != QD_ERROR_NONE) {
        return NULL;
    }
    r->sequence = entry->sequence;
    qd_bind_resolve(worker, published, &r->subject.attributes, true, r->now);
    const struct qd_resolved_limit *limit = find_limit(r);
    if (limit == NULL) {
        limit = find_heir(r);
    }
    bool found = limit != NULL && choose_keys(r, limit->use->limit, &error) == QD_ERROR_NONE;
    return found ? limit : NULL;
}

bool qd_reset_again(struct qd_worker *worker, const struct qd_published *published,
                    const struct qd_entry *entry, const struct qd_recount_how *how)
{
    struct qd_directory *directory = worker->node->directory;
    struct qd_reset_args args;
    struct reset r;
    bool whole = true;

    qd_directory_lock_shared(directory);
    const struct qd_resolved_limit *limit = limit_of_entry(&r, &args, worker, published, entry);
    if (limit != NULL && (limit->depth == 0 ? how->in_commons : how->in_home) &&
        (!how->budgets_only || qd_limit_is_budget(limit->use->limit))) {
        whole = reset_counters(&r, limit) == QD_STORE_OK;
    }
    qd_directory_unlock_shared(directory);
    return whole;
}

void qd_reset_find(struct qd_worker *worker, const struct qd_published *published,
                   const struct qd_entry *entry, const struct qd_budget *budgets, size_t count,
                   void (*hit)(void *context, size_t place), void *context)
{
    struct qd_directory *directory = worker->node->directory;
    struct qd_reset_args args;
    struct reset r;

    qd_directory_lock_shared(directory);
    const struct qd_resolved_limit *limit = limit_of_entry(&r, &args, worker, published, entry);
    const struct qd_wanted_keys wanted = {r.wanted, limit != NULL ? r.wanted_count : 0};
    for (size_t i = 0; limit != NULL && i < count; i++) {
        const struct qd_budget *b = &budgets[i];
        bool named = limit->use->limit->per == 0
                         ? qd_hash128_equal(b->id, limit->counter)
                         : qd_reset_is_of(limit, b->limit->identity.lo) &&
                               qd_counter_has_keys(&r.subject.attributes, worker->node->shards.seed,
                                                   limit, b->id, b->name, wanted);
        if (named) {
            hit(context, i);
        }
    }
    qd_directory_unlock_shared(directory);
}
