#include "random_records.h"

#include "storage/buf.h"

#include <assert.h>

struct qd_str random_text(struct qd_prng *prng, struct text_arena *arena, size_t min, size_t max)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-/@ \xc3\xa9\xff";
    size_t span = max - min;
    size_t len = min + (size_t)(qd_prng_chance(prng, 1, 20) ? span : qd_prng_skewed(prng, span));
    assert(len <= max && arena->used + len <= sizeof arena->bytes);
    if (len == 0) {
        return (struct qd_str){0};
    }
    char *text = arena->bytes + arena->used;
    arena->used += len;
    for (size_t i = 0; i < len; i++) {
        text[i] = letters[qd_prng_below(prng, sizeof letters - 1)];
    }
    return (struct qd_str){text, len};
}

static struct qd_str random_path(struct qd_prng *prng, struct text_arena *arena)
{
    static const char letters[] = "abcxyzABC019._-/";
    size_t len = 1 + (size_t)qd_prng_skewed(prng, QD_TENANT_PATH_MAX - 1);
    char *text = arena->bytes + arena->used;
    arena->used += len;
    for (size_t i = 0; i < len; i++) {
        text[i] = letters[qd_prng_below(prng, sizeof letters - 1)];
    }
    return (struct qd_str){text, len};
}

static qd_int128 random_money(struct qd_prng *prng)
{
    qd_int128 bound = (qd_int128)INT64_MAX * 1000;
    qd_int128 value =
        (qd_int128)qd_prng_skewed(prng, UINT64_MAX) * (qd_int128)(1 + qd_prng_below(prng, 499));
    value = value > bound ? bound : value;
    return qd_prng_chance(prng, 1, 2) ? value : -value;
}

static size_t drop_twins(struct qd_label *labels, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !qd_slice_equal(labels[kept - 1].name, labels[i].name)) {
            labels[kept++] = labels[i];
        }
    }
    return kept;
}

static void random_quantities(struct qd_prng *prng, struct text_arena *arena,
                              struct qd_entry *entry)
{
    static const char *const meters[] = {"requests", "input_tokens", "output_tokens", "gpu_ms"};
    size_t count = (size_t)qd_prng_below(prng, QD_ENTRY_QUANTITIES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        int64_t amount = (int64_t)qd_prng_skewed(prng, QD_AMOUNT_MAX);
        bool negative = entry->kind != QD_ENTRY_USAGE && qd_prng_chance(prng, 1, 2);
        struct qd_str meter = i < 4 && qd_prng_chance(prng, 3, 4)
                                  ? qd_slice_of(meters[i])
                                  : random_text(prng, arena, 1, QD_ENTRY_METER_MAX);
        entry->quantities[i] = (struct qd_entry_quantity){meter, negative ? -amount : amount};
    }
    entry->quantity_count = count;
    qd_entry_sort(entry);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 ||
            !qd_slice_equal(entry->quantities[kept - 1].meter, entry->quantities[i].meter)) {
            entry->quantities[kept++] = entry->quantities[i];
        }
    }
    entry->quantity_count = kept;
}

static void random_reserved(struct qd_prng *prng, struct text_arena *arena,
                            struct qd_entry_reserved *r)
{
    r->differs = (uint8_t)(qd_prng_chance(prng, 1, 2) ? qd_prng_below(prng, 16) : 0);
    if ((r->differs & QD_RESERVED_MODEL) != 0) {
        r->model = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    if ((r->differs & QD_RESERVED_POOL) != 0) {
        r->pool = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    if ((r->differs & QD_RESERVED_USER) != 0) {
        r->user = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    if ((r->differs & QD_RESERVED_LABELS) != 0) { /* sorted by their first letter */
        r->label_count = (size_t)qd_prng_below(prng, QD_ENTRY_LABELS_MAX + 1);
        for (size_t i = 0; i < r->label_count; i++) {
            struct qd_str name = random_text(prng, arena, 1, QD_ENTRY_METER_MAX);
            arena->bytes[name.ptr - arena->bytes] = (char)('a' + i);
            r->labels[i] = (struct qd_label){name, random_text(prng, arena, 0, QD_ENTRY_NAME_MAX)};
        }
    }
}

void random_entry(struct qd_prng *prng, struct text_arena *arena, struct qd_entry *ret_entry)
{
    arena->used = 0;
    struct qd_entry *e = ret_entry;
    *e = (struct qd_entry){
        .sequence = qd_prng_skewed(prng, UINT64_MAX),
        .event_time = {(int64_t)qd_prng_skewed(prng, INT64_MAX)},
        .recorded_time = {(int64_t)qd_prng_skewed(prng, INT64_MAX)},
        .charged_time = {(int64_t)qd_prng_skewed(prng, INT64_MAX)},
        .kind = (enum qd_entry_kind)(1 + qd_prng_below(prng, 4)),
        .outcome = (enum qd_outcome)qd_prng_below(prng, 4),
        .tier = (enum qd_price_tier)qd_prng_below(prng, QD_TIER_COUNT),
        .flags = (uint8_t)qd_prng_below(prng, 4),
        .attempt = (uint32_t)qd_prng_skewed(prng, UINT32_MAX),
        .part = (uint32_t)qd_prng_skewed(prng, UINT32_MAX),
        .cache_write_1h_tokens = qd_prng_between(prng, -QD_AMOUNT_MAX, QD_AMOUNT_MAX),
        .cost_pico_usd = random_money(prng),
        .charge_pico_usd = random_money(prng),
        .cost_nano_usd = qd_prng_between(prng, -INT64_MAX, INT64_MAX),
        .charge_nano_usd = qd_prng_between(prng, -INT64_MAX, INT64_MAX),
        .corrects_sequence = qd_prng_skewed(prng, UINT64_MAX),
        .reservation_incarnation = qd_prng_skewed(prng, UINT64_MAX),
        .reservation = qd_prng_skewed(prng, UINT64_MAX),
    };
    if (e->kind == QD_ENTRY_CORRECTION && e->corrects_sequence > 0 && qd_prng_chance(prng, 1, 2)) {
        e->flags |= QD_ENTRY_REVERSAL;
    }
    e->tenant = random_path(prng, arena);
    struct qd_str *names[] = {&e->model,      &e->pool,          &e->user, &e->source,
                              &e->request_id, &e->corrects_node, &e->note, &e->reservation_node};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i] = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    e->limit = random_text(prng, arena, 0, QD_ENTRY_LIMIT_MAX);
    e->price_count = (size_t)qd_prng_below(prng, QD_ENTRY_PRICES_MAX + 1);
    for (size_t i = 0; i < e->price_count; i++) {
        e->prices[i] = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    e->label_count = (size_t)qd_prng_below(prng, QD_ENTRY_LABELS_MAX + 1);
    for (size_t i = 0; i < e->label_count; i++) {
        e->labels[i].name = random_text(prng, arena, 1, QD_ENTRY_METER_MAX);
        e->labels[i].value = random_text(prng, arena, 0, QD_ENTRY_NAME_MAX);
    }
    qd_entry_sort(e);
    e->label_count = drop_twins(e->labels, e->label_count);
    random_quantities(prng, arena, e);
    random_reserved(prng, arena, &e->reserved);
}

void random_tenant(struct qd_prng *prng, struct text_arena *arena,
                   struct qd_tenant_record *ret_record)
{
    arena->used = 0;
    struct qd_tenant_record *r = ret_record;
    *r = (struct qd_tenant_record){
        .tenant = random_path(prng, arena),
        .plan = random_text(prng, arena, 0, QD_TENANT_TEXT_MAX),
        .block = {.blocked = qd_prng_chance(prng, 1, 2),
                  .since = {(int64_t)qd_prng_next(prng)},
                  .until = {(int64_t)qd_prng_next(prng)}},
        .created = {(int64_t)qd_prng_next(prng)},
        .updated = {(int64_t)qd_prng_next(prng)},
        .audit_sequence = qd_prng_skewed(prng, UINT64_MAX),
        .limit_count = (size_t)qd_prng_below(prng, QD_TENANT_LIMITS_MAX + 1),
        .label_count = (size_t)qd_prng_below(prng, QD_TENANT_LABELS_MAX + 1),
        .boost_count = (size_t)qd_prng_below(prng, QD_TENANT_BOOSTS_MAX + 1),
        .grant_count = (size_t)qd_prng_below(prng, QD_TENANT_GRANTS_MAX + 1),
    };
    r->block.reason = random_text(prng, arena, 0, QD_TENANT_TEXT_MAX);
    for (size_t i = 0; i < r->limit_count; i++) {
        r->limits[i].name = random_text(prng, arena, 1, 64);
        r->limits[i].value = random_text(prng, arena, 0, 64);
    }
    for (size_t i = 0; i < r->label_count; i++) {
        r->labels[i].name = random_text(prng, arena, 1, 64);
        r->labels[i].value = random_text(prng, arena, 0, 64);
    }
    for (size_t i = 0; i < r->boost_count; i++) {
        r->boosts[i] = (struct qd_tenant_boost){
            .limit = random_text(prng, arena, 1, 64),
            .percent = (uint32_t)qd_prng_skewed(prng, UINT32_MAX),
            .amount = (int64_t)qd_prng_next(prng),
            .until = {(int64_t)qd_prng_next(prng)},
            .reason = random_text(prng, arena, 0, 64),
        };
    }
    for (size_t i = 0; i < r->grant_count; i++) {
        r->grants[i] = (struct qd_tenant_grant){
            .limit = random_text(prng, arena, 1, 64),
            .keys = random_text(prng, arena, 0, 64),
            .amount = (int64_t)qd_prng_next(prng),
            .count = (uint32_t)qd_prng_skewed(prng, UINT32_MAX),
        };
    }
}
