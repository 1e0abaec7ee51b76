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
    char domain[QD_RLS_STATS_DOMAIN_MAX];
    char rule[QD_RLS_STATS_RULE_MAX];
    _Atomic uint64_t hits[QD_RLS_OUTCOMES];
};

struct qd_rls_stats {
    size_t max;
    size_t mask;
    struct series *series;    /* max + 1: the first is for those without their own */
    _Atomic size_t count;     /* of those that are whole, the first included */
    _Atomic uint32_t *places; /* in `series`, by hash; 0: free. At least half of them are */
    pthread_mutex_t adding;
};

const char *qd_rls_outcome_name(enum qd_rls_outcome outcome)
{
    static const char *const names[QD_RLS_OUTCOMES] = {"total_hits", "within_limit", "near_limit",
                                                       "over_limit", "shadow_mode"};

    assert(outcome < QD_RLS_OUTCOMES);
    return names[outcome];
}

struct qd_rls_stats *qd_rls_stats_new(size_t max)
{
    struct qd_rls_stats *stats = calloc(1, sizeof(*stats));
    size_t places = 2;

    if (stats == NULL) {
        return NULL;
    }
    stats->max = max < QD_RLS_STATS_MAX ? max : QD_RLS_STATS_MAX;
    while (places < 2 * stats->max) {
        places *= 2;
    }
    stats->mask = places - 1;
    stats->places = calloc(places, sizeof(*stats->places));
    stats->series = calloc(stats->max + 1, sizeof(*stats->series));
    atomic_init(&stats->count, 1);
    (void)pthread_mutex_init(&stats->adding, NULL);
    if (stats->places == NULL || stats->series == NULL) {
        qd_rls_stats_free(stats);
        return NULL;
    }
    memcpy(stats->series[0].rule, "other", sizeof("other"));
    return stats;
}

void qd_rls_stats_free(struct qd_rls_stats *stats)
{
    if (stats != NULL) {
        (void)pthread_mutex_destroy(&stats->adding);
        free(stats->places);
        free(stats->series);
        free(stats);
    }
}

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

/* The place of a rule's series, or the free one where it would be. */
static size_t find(const struct qd_rls_stats *stats, uint64_t hash, struct qd_str domain,
                   struct qd_str rule, uint32_t *ret_series)
{
    for (size_t place = hash & stats->mask;; place = (place + 1) & stats->mask) {
        /* Acquire: what was written into the series before its place told of it. */
        *ret_series = atomic_load_explicit(&stats->places[place], memory_order_acquire);
        const struct series *series = &stats->series[*ret_series];
        if (*ret_series == 0 || (series->hash == hash && is_text(series->domain, domain) &&
                                 is_text(series->rule, rule))) {
            return place;
        }
    }
}

/* Another thread may have added it meanwhile. 0: no room. */
static uint32_t add(struct qd_rls_stats *stats, uint64_t hash, struct qd_str domain,
                    struct qd_str rule)
{
    uint32_t index;

    (void)pthread_mutex_lock(&stats->adding);
    size_t place = find(stats, hash, domain, rule, &index);
    size_t count = atomic_load_explicit(&stats->count, memory_order_relaxed);
    if (index == 0 && count <= stats->max) {
        struct series *series = &stats->series[count];
        index = (uint32_t)count;
        series->hash = hash;
        memcpy(series->domain, domain.ptr, domain.len);
        memcpy(series->rule, rule.ptr, rule.len);
        atomic_store_explicit(&stats->places[place], index, memory_order_release);
        atomic_store_explicit(&stats->count, count + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&stats->adding);
    return index;
}

/* A text with a NUL would be another one when it is read; and Prometheus takes nothing of a page on
 * which a label is no UTF-8. A client chooses some of these (X2). */
static bool is_label(struct qd_str text)
{
    return text.len == 0 || (memchr(text.ptr, '\0', text.len) == NULL &&
                             qd_utf8_valid_prefix(text.ptr, text.len) == text.len);
}

static struct series *series_of(struct qd_rls_stats *stats, const struct qd_rls_seen *seen)
{
    struct qd_str domain = cut(seen->domain, QD_RLS_STATS_DOMAIN_MAX);
    struct qd_str rule = cut(seen->rule, QD_RLS_STATS_RULE_MAX);
    uint64_t hash =
        qd_hash64_bytes(rule.ptr, rule.len, qd_hash64_bytes(domain.ptr, domain.len, SEED));
    uint32_t index;

    if (!is_label(domain) || !is_label(rule)) {
        return &stats->series[0];
    }
    (void)find(stats, hash, domain, rule, &index);
    if (index == 0 && atomic_load_explicit(&stats->count, memory_order_relaxed) <= stats->max) {
        index = add(stats, hash, domain, rule);
    }
    return &stats->series[index];
}

/* Several threads: a rule's counters are under one lock, or many; and this is once a descriptor. */
static void count(struct series *series, enum qd_rls_outcome outcome, int64_t hits)
{
    if (hits > 0) {
        (void)atomic_fetch_add_explicit(&series->hits[outcome], (uint64_t)hits,
                                        memory_order_relaxed);
    }
}

void qd_rls_stats_add(struct qd_rls_stats *stats, const struct qd_rls_seen *seen)
{
    struct series *series = series_of(stats, seen);
    int64_t before = seen->before > 0 ? seen->before : 0; /* a full counter counts no more */
    int64_t after = before + seen->hits;
    int64_t near = seen->amount / 5 * 4 + seen->amount % 5 * 4 / 5; /* 80% */
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

size_t qd_rls_stats_count(const struct qd_rls_stats *stats)
{
    return atomic_load_explicit(&stats->count, memory_order_acquire);
}

void qd_rls_stats_get(const struct qd_rls_stats *stats, size_t index,
                      struct qd_rls_series *ret_series)
{
    const struct series *series = &stats->series[index];

    assert(index < qd_rls_stats_count(stats));
    *ret_series = (struct qd_rls_series){.domain = series->domain, .rule = series->rule};
    for (size_t i = 0; i < QD_RLS_OUTCOMES; i++) {
        ret_series->hits[i] = atomic_load_explicit(&series->hits[i], memory_order_relaxed);
    }
}
