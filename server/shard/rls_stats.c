#include "server/shard/rls_stats.h"

#include "server/core/hash.h"
#include "server/policy/utf8.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SEED \
    UINT64_C(0x3d1f7a9e5b26c084) /* any: what is in the table is bounded, whoever chose it */

struct series {
    uint64_t hash;
    uint32_t tables; /* that have it; under the lock */
    char domain[QD_RLS_STATS_DOMAIN_MAX];
    char rule[QD_RLS_STATS_RULE_MAX];
    _Atomic uint64_t hits[QD_RLS_OUTCOMES];
};

struct qd_rls_table {
    struct qd_rls_stats *stats;
    uint32_t holders; /* under the lock */
    size_t mask;
    _Atomic size_t count;             /* of `series` */
    struct series **series;           /* as they came */
    _Atomic(struct series *) *places; /* by hash; NULL: free. At least half of them are */
};

struct qd_rls_stats {
    size_t max;
    uint32_t near_percent;
    pthread_mutex_t lock;
    struct qd_rls_table *shown;
    struct series other; /* of those without their own */
};

const char *qd_rls_outcome_name(enum qd_rls_outcome outcome)
{
    static const char *const names[QD_RLS_OUTCOMES] = {"total_hits", "within_limit", "near_limit",
                                                       "over_limit", "shadow_mode"};

    assert(outcome < QD_RLS_OUTCOMES);
    return names[outcome];
}

/* --- tables --- */

struct qd_rls_stats *qd_rls_stats_new(size_t max, uint32_t near_percent)
{
    struct qd_rls_stats *stats = calloc(1, sizeof(*stats));

    if (stats == NULL) {
        return NULL;
    }
    stats->max = max < QD_RLS_STATS_MAX ? max : QD_RLS_STATS_MAX;
    stats->near_percent = near_percent;
    (void)pthread_mutex_init(&stats->lock, NULL);
    memcpy(stats->other.rule, "other", sizeof("other"));
    stats->shown = qd_rls_table_new(stats);
    if (stats->shown == NULL) {
        qd_rls_stats_free(stats);
        return NULL;
    }
    return stats;
}

void qd_rls_stats_free(struct qd_rls_stats *stats)
{
    if (stats != NULL) {
        qd_rls_table_release(stats->shown);
        (void)pthread_mutex_destroy(&stats->lock);
        free(stats);
    }
}

static void free_table(struct qd_rls_table *table)
{
    free(table->series);
    free(table->places);
    free(table);
}

struct qd_rls_table *qd_rls_table_new(struct qd_rls_stats *stats)
{
    struct qd_rls_table *table = calloc(1, sizeof(*table));
    size_t places = 2;

    if (table == NULL) {
        return NULL;
    }
    while (places < 2 * stats->max) {
        places *= 2;
    }
    table->stats = stats;
    table->holders = 1;
    table->mask = places - 1;
    table->places = calloc(places, sizeof(*table->places));
    table->series = calloc(stats->max + 1, sizeof(struct series *));
    if (table->places == NULL || table->series == NULL) {
        free_table(table);
        return NULL;
    }
    return table;
}

void qd_rls_table_release(struct qd_rls_table *table)
{
    if (table == NULL) {
        return;
    }
    struct qd_rls_stats *stats = table->stats;
    (void)pthread_mutex_lock(&stats->lock);
    bool last = --table->holders == 0;
    size_t count = atomic_load_explicit(&table->count, memory_order_relaxed);
    for (size_t i = 0; last && i < count; i++) {
        if (--table->series[i]->tables == 0) {
            free(table->series[i]);
        }
    }
    (void)pthread_mutex_unlock(&stats->lock);
    if (last) {
        free_table(table);
    }
}

void qd_rls_stats_show(struct qd_rls_stats *stats, struct qd_rls_table *table)
{
    (void)pthread_mutex_lock(&stats->lock);
    struct qd_rls_table *before = stats->shown;
    stats->shown = table;
    table->holders++;
    (void)pthread_mutex_unlock(&stats->lock);
    qd_rls_table_release(before);
}

struct qd_rls_table *qd_rls_stats_hold(struct qd_rls_stats *stats)
{
    (void)pthread_mutex_lock(&stats->lock);
    struct qd_rls_table *table = stats->shown;
    table->holders++;
    (void)pthread_mutex_unlock(&stats->lock);
    return table;
}

/* --- series --- */

/* As much of `text` as there is room for: whole characters. */
static struct qd_str cut(struct qd_str text, size_t size)
{
    if (text.len >= size) {
        text.len = qd_utf8_valid_prefix(text.ptr, size - 1);
    }
    return text;
}

static bool is_text(const char *kept, struct qd_str text)
{
    return strncmp(kept, text.len > 0 ? text.ptr : "", text.len) == 0 && kept[text.len] == '\0';
}

/* What a series is found by. */
struct name {
    struct qd_str domain;
    struct qd_str rule;
    uint64_t hash;
};

static struct name name_of(struct qd_str domain, struct qd_str rule)
{
    struct name name = {.domain = cut(domain, QD_RLS_STATS_DOMAIN_MAX),
                        .rule = cut(rule, QD_RLS_STATS_RULE_MAX)};

    name.hash = qd_hash64_bytes(name.rule.ptr, name.rule.len,
                                qd_hash64_bytes(name.domain.ptr, name.domain.len, SEED));
    return name;
}

/* The place of a series, or the free one where it would be. NULL: it has none. */
static size_t find(const struct qd_rls_table *table, const struct name *name,
                   struct series **ret_series)
{
    for (size_t place = name->hash & table->mask;; place = (place + 1) & table->mask) {
        /* Acquire: what was written into the series before its place told of it. */
        struct series *series = atomic_load_explicit(&table->places[place], memory_order_acquire);
        if (series == NULL ||
            (series->hash == name->hash && is_text(series->domain, name->domain) &&
             is_text(series->rule, name->rule))) {
            *ret_series = series;
            return place;
        }
    }
}

static bool is_full(const struct qd_rls_table *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed) >= table->stats->max;
}

/* Locked, and there is room. NULL: out of memory. */
static struct series *make(const struct name *name)
{
    struct series *series = calloc(1, sizeof(*series));

    if (series != NULL) {
        series->hash = name->hash;
        memcpy(series->domain, name->domain.ptr, name->domain.len);
        memcpy(series->rule, name->rule.ptr, name->rule.len);
    }
    return series;
}

/* Another thread may have entered it meanwhile; it is that of `shown` (NULL: none) if that has it.
 * NULL: no room. */
static struct series *enter(struct qd_rls_table *table, const struct name *name,
                            const struct qd_rls_table *shown)
{
    struct series *series;
    size_t count = atomic_load_explicit(&table->count, memory_order_relaxed);
    size_t place = find(table, name, &series);

    if (series != NULL || is_full(table)) {
        return series;
    }
    if (shown != NULL) {
        (void)find(shown, name, &series);
    }
    series = series != NULL ? series : make(name);
    if (series != NULL) {
        series->tables++;
        table->series[count] = series;
        atomic_store_explicit(&table->places[place], series, memory_order_release);
        atomic_store_explicit(&table->count, count + 1, memory_order_release);
    }
    return series;
}

/* A text with a NUL would be another one when it is read; and Prometheus takes nothing of a page on
 * which a label is no UTF-8. A client chooses some of these (X2). */
static bool is_label(struct qd_str text)
{
    return text.len == 0 || (memchr(text.ptr, '\0', text.len) == NULL &&
                             qd_utf8_valid_prefix(text.ptr, text.len) == text.len);
}

bool qd_rls_table_name(struct qd_rls_table *table, struct qd_str domain, struct qd_str rule)
{
    struct name name = name_of(domain, rule);
    struct qd_rls_stats *stats = table->stats;

    if (is_label(name.domain) && is_label(name.rule)) {
        (void)pthread_mutex_lock(&stats->lock);
        (void)enter(table, &name, stats->shown);
        (void)pthread_mutex_unlock(&stats->lock);
    }
    return !is_full(table);
}

static struct series *series_of(struct qd_rls_table *table, const struct qd_rls_seen *seen)
{
    struct name name = name_of(seen->domain, seen->rule);
    struct qd_rls_stats *stats = table->stats;
    struct series *series;

    if (!is_label(name.domain) || !is_label(name.rule)) {
        return &stats->other;
    }
    (void)find(table, &name, &series);
    if (series == NULL && !is_full(table)) {
        (void)pthread_mutex_lock(&stats->lock);
        series = enter(table, &name, NULL);
        (void)pthread_mutex_unlock(&stats->lock);
    }
    return series != NULL ? series : &stats->other;
}

/* Several threads: a rule's counters are under one lock, or many; and this is once a descriptor. */
static void count(struct series *series, enum qd_rls_outcome outcome, int64_t hits)
{
    if (hits > 0) {
        (void)atomic_fetch_add_explicit(&series->hits[outcome], (uint64_t)hits,
                                        memory_order_relaxed);
    }
}

void qd_rls_stats_add(struct qd_rls_table *table, const struct qd_rls_seen *seen)
{
    struct series *series = series_of(table, seen);
    int64_t before = seen->before > 0 ? seen->before : 0; /* a full counter counts no more */
    int64_t after = before + seen->hits;
    int64_t percent = table->stats->near_percent;
    int64_t near = seen->amount / 100 * percent + seen->amount % 100 * percent / 100;
    int64_t above_near = before > near ? before : near;

    assert(seen->hits >= 0);
    count(series, QD_RLS_TOTAL_HITS, seen->hits);
    if (after <= seen->amount) {
        count(series, QD_RLS_WITHIN_LIMIT, seen->hits);
        count(series, QD_RLS_NEAR_LIMIT, after - above_near);
        return;
    }
    int64_t over = before >= seen->amount ? seen->hits : after - seen->amount;
    count(series, QD_RLS_NEAR_LIMIT, seen->amount - above_near);
    count(series, QD_RLS_OVER_LIMIT_HITS, over);
    count(series, QD_RLS_SHADOW_MODE, seen->shadow ? over : 0);
}

size_t qd_rls_table_count(const struct qd_rls_table *table)
{
    return 1 + atomic_load_explicit(&table->count, memory_order_acquire);
}

void qd_rls_table_get(const struct qd_rls_table *table, size_t index,
                      struct qd_rls_series *ret_series)
{
    const struct series *series = index > 0 ? table->series[index - 1] : &table->stats->other;

    assert(index < qd_rls_table_count(table));
    *ret_series = (struct qd_rls_series){.domain = series->domain, .rule = series->rule};
    for (size_t i = 0; i < QD_RLS_OUTCOMES; i++) {
        ret_series->hits[i] = atomic_load_explicit(&series->hits[i], memory_order_relaxed);
    }
}
