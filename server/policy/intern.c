#include "server/policy/intern.h"

#include "server/policy/tzif.h"

#define XXH_INLINE_ALL
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* One table for all kinds: content bytes -> value. The content starts with a letter for its kind.
 */
struct entry {
    struct qd_hash128 hash;
    uint8_t *content;
    size_t size;
    void *value; /* owned with the entry; NULL: the content is the value */
    uint32_t number;
};

static struct {
    pthread_mutex_t lock;
    struct entry **slots; /* open addressing, a power of two, at most half full */
    size_t capacity;
    size_t count;
    const struct qd_limit **limits;
    size_t limit_count;
    size_t limit_capacity;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- content as bytes ---------------------------------------------------------------------------
 */

struct bytes {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

static void put(struct bytes *b, const void *data, size_t size)
{
    if (b->failed || size == 0) {
        return;
    }
    if (b->size + size > b->capacity) {
        size_t more = (b->size + size) * 2;
        uint8_t *grown = realloc(b->data, more);
        if (grown == NULL) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->capacity = more;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put_i64(struct bytes *b, int64_t value)
{
    uint8_t le[8];
    for (size_t i = 0; i < 8; i++) {
        le[i] = (uint8_t)((uint64_t)value >> (8 * i));
    }
    put(b, le, sizeof le);
}

/* A text with its length, so that no two sequences of fields look the same; NULL differs from "".
 */
static void put_text(struct bytes *b, const char *text)
{
    put_i64(b, text == NULL ? -1 : (int64_t)strlen(text));
    if (text != NULL) {
        put(b, text, strlen(text));
    }
}

static void put_weights(struct bytes *b, const struct qd_weights *w)
{
    put_i64(b, w->count);
    put_i64(b, w->den);
    for (size_t i = 0; i < w->count; i++) {
        put_i64(b, w->item[i].meter);
        put_i64(b, w->item[i].num);
    }
}

static void put_matches(struct bytes *b, const struct qd_limit *l)
{
    put_i64(b, (int64_t)l->selector_count);
    for (size_t i = 0; i < l->selector_count; i++) {
        const struct qd_match *m = &l->selector[i];
        put_i64(b, m->attribute);
        put_text(b, m->label);
        put_i64(b, m->negate);
        put_i64(b, m->any == NULL ? -1 : (int64_t)m->any_count);
        for (size_t k = 0; m->any != NULL && k < m->any_count; k++) {
            put_text(b, m->any[k]);
        }
    }
}

/* P6: what makes a counter the same counter. */
static void put_identity(struct bytes *b, const struct qd_limit *l, const char *scope_kind)
{
    put_text(b, scope_kind);
    put_text(b, l->name);
    put_i64(b, l->algorithm);
    if (l->algorithm == QD_CALENDAR) {
        put_i64(b, l->calendar.unit);
        put_i64(b, l->calendar.anchor);
        put_text(b, l->calendar.zone->name);
    } else {
        put_i64(b, l->window_ns);
    }
    put_i64(b, l->algorithm == QD_SLIDING_WINDOW ? l->slots : 0);
    put_i64(b, l->per);
    put_text(b, l->per_label);
    put_text(b, l->unit);
}

static void put_limit(struct bytes *b, const struct qd_limit *l, const char *scope_kind)
{
    put_identity(b, l, scope_kind);
    put_text(b, l->owner);
    put_i64(b, l->admit_test);
    put_i64(b, l->action);
    put_i64(b, l->consistency);
    put_i64(b, l->failure_mode);
    put_i64(b, l->weighted);
    put_matches(b, l);
    put_weights(b, &l->admit);
    put_weights(b, &l->settle);
    put_i64(b, l->output_estimate);
    put_i64(b, l->quantile_permille);
    put_i64(b, l->default_max_output);
    put_i64(b, l->clamp_permille_of_amount);
    put_i64(b, l->refunds);
    put_i64(b, l->unbooked);
    put_i64(b, l->on_expiry);
    put_i64(b, l->on_failed);
    for (size_t i = 0; i < QD_THRESHOLDS_MAX; i++) {
        put_i64(b, l->threshold_permille[i]);
    }
    put_i64(b, l->unit_scale);
    put_i64(b, l->money);
}

static struct qd_hash128 hash_of(const struct bytes *b)
{
    XXH128_hash_t h = XXH3_128bits(b->data, b->size);
    return (struct qd_hash128){.lo = h.low64, .hi = h.high64};
}

/* --- the table, with the lock held --------------------------------------------------------------
 */

static struct entry *find(struct qd_hash128 hash, const struct bytes *b)
{
    if (table.capacity == 0) {
        return NULL;
    }
    size_t mask = table.capacity - 1;
    for (size_t i = hash.lo & mask; table.slots[i] != NULL; i = (i + 1) & mask) {
        struct entry *e = table.slots[i];
        if (qd_hash128_equal(e->hash, hash) && e->size == b->size &&
            memcmp(e->content, b->data, b->size) == 0) {
            return e;
        }
    }
    return NULL;
}

static void place(struct entry **slots, size_t capacity, struct entry *e)
{
    size_t i = e->hash.lo & (capacity - 1);
    while (slots[i] != NULL) {
        i = (i + 1) & (capacity - 1);
    }
    slots[i] = e;
}

static bool make_room(void)
{
    if (table.capacity > 0 && table.count < table.capacity / 2) {
        return true;
    }
    size_t more = table.capacity == 0 ? 256 : table.capacity * 2;
    struct entry **slots = calloc(more, sizeof(struct entry *));
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < table.capacity; i++) {
        if (table.slots[i] != NULL) {
            place(slots, more, table.slots[i]);
        }
    }
    free(table.slots);
    table.slots = slots;
    table.capacity = more;
    return true;
}

/* Takes over b->data and `value`; both are freed on failure. */
static struct entry *add(struct qd_hash128 hash, struct bytes *b, void *value)
{
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL || !make_room()) {
        free(e);
        free(value);
        free(b->data);
        *b = (struct bytes){0};
        return NULL;
    }
    *e = (struct entry){.hash = hash, .content = b->data, .size = b->size, .value = value};
    *b = (struct bytes){0};
    place(table.slots, table.capacity, e);
    table.count++;
    return e;
}

static const char *intern_text(const char *ptr, size_t len)
{
    struct bytes b = {0};
    put(&b, "t", 1);
    put(&b, ptr, len);
    put(&b, "", 1);
    if (b.failed) {
        free(b.data);
        return NULL;
    }
    struct qd_hash128 hash = hash_of(&b);
    struct entry *e = find(hash, &b);
    if (e != NULL) {
        free(b.data);
    } else {
        e = add(hash, &b, NULL);
    }
    return e == NULL ? NULL : (const char *)e->content + 1;
}

static bool intern_into(const char **text)
{
    if (*text != NULL) {
        *text = intern_text(*text, strlen(*text));
        return *text != NULL;
    }
    return true;
}

/* A spec and its selector in one block. */
struct limit_block {
    struct qd_limit limit;
    struct qd_match matches[];
};

/* Copies the selector of b->limit to behind it, with interned texts. */
static bool copy_selector(struct limit_block *b)
{
    struct qd_limit *l = &b->limit;
    const char **any = (const char **)(void *)&b->matches[l->selector_count];
    for (size_t i = 0; i < l->selector_count; i++) {
        struct qd_match *m = &b->matches[i];
        *m = l->selector[i];
        if (!intern_into(&m->label)) {
            return false;
        }
        for (size_t k = 0; m->any != NULL && k < m->any_count; k++) {
            any[k] = m->any[k];
            if (!intern_into(&any[k])) {
                return false;
            }
        }
        if (m->any != NULL) {
            m->any = any;
            any += m->any_count;
        }
    }
    l->selector = l->selector_count > 0 ? b->matches : NULL;
    return true;
}

/* Bytes of the block that `spec` becomes. */
static size_t block_size(const struct qd_limit *spec)
{
    size_t words = 0;
    for (size_t i = 0; i < spec->selector_count; i++) {
        words += spec->selector[i].any_count;
    }
    return sizeof(struct limit_block) + spec->selector_count * sizeof(struct qd_match) +
           words * sizeof(char *);
}

static bool remember_limit(const struct qd_limit *limit)
{
    if (table.limit_count == table.limit_capacity) {
        size_t more = table.limit_capacity == 0 ? 64 : table.limit_capacity * 2;
        const struct qd_limit **grown =
            (const struct qd_limit **)realloc((void *)table.limits, more * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        table.limits = grown;
        table.limit_capacity = more;
    }
    table.limits[table.limit_count++] = limit;
    return true;
}

/* Deep copy of `spec` under the identity; NULL without memory. */
static struct limit_block *copy_limit(const struct qd_limit *spec, struct qd_hash128 identity,
                                      struct qd_hash128 all)
{
    if (table.limit_count == QD_INTERN_LIMITS_MAX) {
        return NULL;
    }
    struct limit_block *b = calloc(1, block_size(spec));
    if (b == NULL) {
        return NULL;
    }
    struct qd_limit *copy = &b->limit;
    *copy = *spec;
    copy->index = (uint32_t)table.limit_count;
    copy->identity = identity;
    copy->spec = all.lo;
    if (!intern_into(&copy->name) || !intern_into(&copy->owner) || !intern_into(&copy->unit) ||
        !intern_into(&copy->per_label) || !copy_selector(b) || !remember_limit(copy)) {
        free(b);
        return NULL;
    }
    return b;
}

/* --- public -------------------------------------------------------------------------------------
 */

const char *qd_intern_text(const char *ptr, size_t len)
{
    (void)pthread_mutex_lock(&table.lock);
    const char *text = intern_text(ptr, len);
    (void)pthread_mutex_unlock(&table.lock);
    return text;
}

const struct qd_limit *qd_intern_limit(const struct qd_limit *spec, const char *scope_kind)
{
    struct bytes id = {0};
    struct bytes all = {0};
    put_identity(&id, spec, scope_kind);
    put(&all, "l", 1);
    put_limit(&all, spec, scope_kind);
    const struct qd_limit *limit = NULL;
    if (id.failed || all.failed) {
        free(id.data);
        free(all.data);
        return NULL;
    }
    struct qd_hash128 identity = hash_of(&id);
    struct qd_hash128 hash = hash_of(&all);
    free(id.data);
    (void)pthread_mutex_lock(&table.lock);
    struct entry *e = find(hash, &all);
    if (e != NULL) {
        free(all.data);
    } else {
        struct limit_block *block = copy_limit(spec, identity, hash);
        if (block == NULL) {
            free(all.data);
        } else {
            e = add(hash, &all, block);
            table.limit_count -= e == NULL; /* the block went with it */
        }
    }
    limit = e == NULL ? NULL : e->value;
    (void)pthread_mutex_unlock(&table.lock);
    return limit;
}

uint32_t qd_intern_limit_count(void)
{
    (void)pthread_mutex_lock(&table.lock);
    size_t count = table.limit_count;
    (void)pthread_mutex_unlock(&table.lock);
    return (uint32_t)count;
}

const struct qd_limit *qd_intern_limit_at(uint32_t index)
{
    (void)pthread_mutex_lock(&table.lock);
    const struct qd_limit *limit = index < table.limit_count ? table.limits[index] : NULL;
    (void)pthread_mutex_unlock(&table.lock);
    return limit;
}

const struct qd_zone *qd_intern_zone(const char *name)
{
    if (strcmp(name, qd_zone_utc.name) == 0) {
        return &qd_zone_utc;
    }
    struct bytes b = {0};
    put(&b, "z", 1);
    put(&b, name, strlen(name));
    if (b.failed) {
        free(b.data);
        return NULL;
    }
    struct qd_hash128 hash = hash_of(&b);
    (void)pthread_mutex_lock(&table.lock);
    struct entry *e = find(hash, &b);
    if (e != NULL) {
        free(b.data);
    } else {
        struct qd_zone *zone = qd_tzif_load(name);
        if (zone != NULL) {
            e = add(hash, &b, zone);
        } else {
            free(b.data);
        }
    }
    const struct qd_zone *zone = e == NULL ? NULL : e->value;
    (void)pthread_mutex_unlock(&table.lock);
    return zone;
}

/* A number that no other content has: `wanted`, or the next free one. */
static uint32_t free_version(uint32_t wanted)
{
    for (size_t i = 0; i < table.capacity; i++) {
        const struct entry *e = table.slots[i];
        if (e != NULL && e->content[0] == 'p' && e->number == wanted) {
            return free_version(wanted == INT32_MAX ? 1 : wanted + 1);
        }
    }
    return wanted;
}

uint32_t qd_intern_price_version(const char *book, const char *subject,
                                 const struct qd_price_sheet *sheet)
{
    struct bytes b = {0};
    put(&b, "p", 1);
    put_text(&b, book);
    put_text(&b, subject);
    put_i64(&b, sheet->effective.ns);
    for (size_t i = 0; i < sheet->line_count; i++) {
        const struct qd_price_line *line = &sheet->lines[i];
        put_i64(&b, line->meter);
        put_i64(&b, line->tier);
        put_i64(&b, line->cache_write_ttl);
        put_i64(&b, line->above_input);
        put_i64(&b, line->amount_pico);
        put_i64(&b, line->quantity);
    }
    if (b.failed) {
        free(b.data);
        return 0;
    }
    struct qd_hash128 hash = hash_of(&b);
    (void)pthread_mutex_lock(&table.lock);
    struct entry *e = find(hash, &b);
    if (e != NULL) {
        free(b.data);
    } else {
        uint32_t wanted = (uint32_t)(hash.hi & INT32_MAX);
        uint32_t version = free_version(wanted == 0 ? 1 : wanted);
        e = add(hash, &b, NULL);
        if (e != NULL) {
            e->number = version;
        }
    }
    uint32_t version = e == NULL ? 0 : e->number;
    (void)pthread_mutex_unlock(&table.lock);
    return version;
}

void qd_intern_clear(void)
{
    (void)pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < table.capacity; i++) {
        struct entry *e = table.slots[i];
        if (e == NULL) {
            continue;
        }
        free(e->value);
        free(e->content);
        free(e);
    }
    free(table.slots);
    free((void *)table.limits);
    table.slots = NULL;
    table.limits = NULL;
    table.capacity = table.count = table.limit_count = table.limit_capacity = 0;
    (void)pthread_mutex_unlock(&table.lock);
}
