#include "server/rpc/limits.h"

#include "server/rpc/codec.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/peek.h"

#include <stdlib.h>

void qd_limits_open(struct qd_place *place, const struct qd_subject_args *args, bool all,
                    struct qd_limits *ret_limits)
{
    struct qd_limits *l = ret_limits;

    l->place = place;
    l->published = atomic_load_explicit(&place->node->published, memory_order_acquire);
    l->now = qd_clock_now(&place->node->clock);
    qd_subject_init(&l->subject, l->published->policy, place->node->shards.seed, args);
    l->home = qd_shards_of(&place->node->shards, args->tenant);
    qd_directory_lock_shared(place->node->directory);
    qd_bind_resolve(place->worker, l->published, &l->subject.attributes, all, l->now);
}

void qd_limits_close(struct qd_limits *limits)
{
    qd_directory_unlock_shared(limits->place->node->directory);
}

void qd_limits_full_name(const struct qd_resolved_limit *limit, char *name, size_t size)
{
    struct qd_limit_state state = {.limit = limit->use->limit, .name = limit->name};
    struct qd_text text;

    qd_text_init(&text, name, size);
    qd_describe_name(&text, &state);
}

enum qd_error_code qd_limits_find(const struct qd_limits *limits, struct qd_str name,
                                  const struct qd_resolved_limit **ret_limit,
                                  struct qd_error *ret_error)
{
    const struct qd_resolution *r = &limits->place->worker->resolution;
    const struct qd_resolved_limit *found = NULL;
    char known[320];
    char full[QD_STATE_NAME_MAX];
    struct qd_text text;
    size_t matches = 0;

    qd_text_init(&text, known, sizeof(known));
    for (size_t i = 0; i < r->count; i++) {
        qd_limits_full_name(&r->limit[i], full, sizeof(full));
        qd_text_add(&text, i > 0 ? ", " : "");
        qd_text_add(&text, full);
        if (qd_slice_equal(name, qd_str_of(full))) {
            *ret_limit = &r->limit[i];
            return QD_ERROR_NONE;
        }
        if (qd_slice_equal(name, qd_str_of(r->limit[i].use->limit->name))) {
            found = &r->limit[i];
            matches++;
        }
    }
    if (matches == 1) {
        *ret_limit = found;
        return QD_ERROR_NONE;
    }
    return qd_error_set(ret_error, QD_ERROR_UNKNOWN_LIMIT, "limit: %s %s; this tenant has %s",
                        qd_quote(name).text,
                        matches == 0 ? "does not apply" : "is ambiguous: give its full name",
                        r->count > 0 ? known : "no limits");
}

struct qd_core *qd_limits_lock(const struct qd_limits *limits,
                               const struct qd_resolved_limit *limit)
{
    struct qd_shards *shards = &limits->place->node->shards;

    qd_shards_lock(shards, limits->home);
    return limit->depth == 0 ? shards->commons.core : limits->home->core;
}

void qd_limits_unlock(const struct qd_limits *limits)
{
    qd_shards_unlock(&limits->place->node->shards, limits->home);
}

void qd_limits_state(const struct qd_limits *limits, const struct qd_resolved_limit *limit,
                     struct qd_state_copy *ret_state)
{
    struct qd_limit_state *state = &ret_state->state;
    struct qd_core *core = qd_limits_lock(limits, limit);
    bool found = qd_core_counter(core, limit->counter, limits->now, state);

    qd_limits_unlock(limits);
    if (!found) { /* D12: out in the store, or never counted */
        struct qd_bind_item item = {.limit = limit->use->limit,
                                    .amount = limit->amount,
                                    .burst = limit->burst,
                                    .counter = limit->counter};
        found = qd_peek_stored(limits->place->node, &item, limits->now, state);
    }
    if (!found) {
        memset(state, 0, sizeof(*state));
        state->resets_at.ns = QD_WALL_NEVER;
        state->retry_at.ns = QD_WALL_NEVER;
    }
    state->limit = limit->use->limit;
    state->amount = limit->amount; /* boosts that the counter has not seen yet */
    state->burst = limit->burst;
    state->depth = limit->depth;
    state->estimate = 0;
    size_t len = limit->name.len < QD_STATE_NAME_MAX ? limit->name.len : QD_STATE_NAME_MAX;
    if (len > 0) {
        memcpy(ret_state->name, limit->name.ptr, len);
    }
    state->name = (struct qd_str){ret_state->name, len};
}

static bool has_label(const struct qd_attributes *a, const char *name)
{
    for (size_t i = 0; i < a->label_count; i++) {
        if (qd_slice_equal(a->labels[i].name, qd_str_of(name))) {
            return true;
        }
    }
    return false;
}

bool qd_limits_has_counter(const struct qd_limits *limits, const struct qd_resolved_limit *limit)
{
    const struct qd_attributes *a = &limits->subject.attributes;
    const struct qd_limit *spec = limit->use->limit;
    uint32_t given = QD_ATTR_TENANT;

    given |= a->model.len > 0 ? QD_ATTR_MODEL : 0U;
    given |= a->family.len > 0 ? QD_ATTR_FAMILY : 0U;
    given |= a->pool.len > 0 ? QD_ATTR_POOL : 0U;
    given |= a->user.len > 0 ? QD_ATTR_USER : 0U;
    if ((spec->per & QD_ATTR_LABEL) != 0 && has_label(a, spec->per_label)) {
        given |= QD_ATTR_LABEL;
    }
    return (spec->per & ~given) == 0;
}

/* What there is to say of a limit without one of its counters: neither keys nor uses. */
static void state_without_counter(const struct qd_resolved_limit *limit,
                                  struct qd_limit_state *ret_state)
{
    struct qd_str keys;

    memset(ret_state, 0, sizeof(*ret_state));
    ret_state->limit = limit->use->limit;
    ret_state->amount = limit->amount;
    ret_state->burst = limit->burst;
    ret_state->depth = limit->depth;
    ret_state->resets_at.ns = QD_WALL_NEVER;
    ret_state->retry_at.ns = QD_WALL_NEVER;
    ret_state->name = qd_name_tenant(limit->name, &keys);
}

static void put_per(struct qd_out *out, uint32_t id, const struct qd_limit *limit)
{
    static const struct {
        uint32_t attribute;
        const char *name;
    } names[] = {{QD_ATTR_TENANT, "tenant"},
                 {QD_ATTR_MODEL, "model"},
                 {QD_ATTR_FAMILY, "family"},
                 {QD_ATTR_POOL, "pool"},
                 {QD_ATTR_USER, "user"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (limit->per & names[i].attribute) {
            qd_out_text(out, id, names[i].name);
        }
    }
    if (limit->per & QD_ATTR_LABEL) {
        char text[QD_NAME_MAX + 8];
        struct qd_text t;
        qd_text_init(&t, text, sizeof(text));
        qd_text_addf(&t, "label:%s", limit->per_label);
        qd_out_text(out, id, text);
    }
}

void qd_limits_put(const struct qd_limits *limits, uint32_t id,
                   const struct qd_resolved_limit *limit, const struct qd_limit_state *state)
{
    struct qd_out *out = &limits->place->out;
    char size[QD_MESSAGE_MAX];
    struct qd_text text;
    struct qd_limit_state none;
    bool has_counter = state != NULL;
    uint8_t *message = qd_out_begin(out, id);

    if (!has_counter) {
        state_without_counter(limit, &none);
        state = &none;
    }
    qd_codec_put_state(out, 1, limits->published->policy, state, limits->now);
    qd_out_text(out, 2, limit->plan != NULL ? limit->plan->name : "");
    qd_out_number(out, 3, limit->runtime ? 2 : 1);
    if (!limit->runtime) {
        qd_out_text(out, 4, limit->use->file != NULL ? limit->use->file : "");
        qd_out_number(out, 5, limit->use->line);
        qd_out_number(out, 6, limit->use->column);
    }
    qd_text_init(&text, size, sizeof(size));
    qd_describe_size(&text, limit->use->limit, limit->amount);
    qd_out_str(out, 7, (struct qd_str){size, text.used});
    put_per(out, 8, limit->use->limit);
    qd_out_number(out, 9, (uint64_t)limit->boosted_until.ns);
    qd_out_number(out, 10, !has_counter);
    qd_out_end(out, message);
}

void qd_limits_put_block(struct qd_place *place, uint32_t id, struct qd_str path,
                         struct qd_wall_ns now)
{
    struct qd_tenant_record *record = malloc(sizeof(*record));
    struct qd_buf buf = {0};

    for (uint8_t depth = qd_tenant_path_depth(path); depth > 0 && record != NULL; depth--) {
        bool blocked = qd_directory_get(place->node->directory, qd_tenant_path_prefix(path, depth),
                                        &buf, record) &&
                       record->block.blocked &&
                       (record->block.until.ns == 0 || record->block.until.ns > now.ns);
        if (blocked) {
            uint8_t *block = qd_out_begin(&place->out, id);
            qd_out_str(&place->out, 1, record->block.reason);
            qd_out_number(&place->out, 2, (uint64_t)record->block.until.ns);
            qd_out_number(&place->out, 3, (uint64_t)record->block.since.ns);
            qd_out_end(&place->out, block);
            break;
        }
    }
    qd_buf_release(&buf);
    free(record);
}
