/* What is stored of a slice, and a slice of the next boot that goes on from it (X5, S1, D7). */
#include "fixture.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(snapshot, .timeout = 120);

#define KEPT_MAX 4096
#define OPEN_MAX 64

/* The newest of each. */
struct list {
    struct qd_saved *items;
    size_t count;
};

/* What a caller stores. */
struct stored {
    struct list records;
    struct list journal;
    unsigned writes;
};

static struct qd_saved *find(const struct list *list, const struct qd_saved *saved)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind == saved->kind && qd_hash128_equal(list->items[i].id, saved->id)) {
            return &list->items[i];
        }
    }
    return NULL;
}

static void put(struct list *list, const struct qd_saved *saved)
{
    struct qd_saved *item = find(list, saved);
    if (item == NULL) {
        cr_assert_lt(list->count, KEPT_MAX);
        item = &list->items[list->count++];
    }
    *item = *saved;
    if (saved->size == 0) {
        *item = list->items[--list->count];
    }
}

static void walk(struct stored *s, struct qd_core *core, struct qd_core *commons, enum qd_walk how,
                 struct qd_wall_ns now)
{
    static struct qd_saved saved;
    uint64_t cursor = 0;
    if (how != QD_WALK_CHANGED) {
        s->journal.count = 0;
    }
    while (qd_core_walk(core, commons, how, &cursor, now, &saved)) {
        bool is_hold = saved.kind == QD_SAVED_HOLD;
        if (is_hold && saved.size == 0) {
            cr_assert_not_null(find(&s->journal, &saved), "forgotten, but was never there");
        }
        cr_assert(is_hold || saved.size > 0 || how != QD_WALK_CHANGED, "a fold forgets records");
        put(is_hold || how == QD_WALK_CHANGED ? &s->journal : &s->records, &saved);
        s->writes++;
    }
}

/* The boot brings the records up to date; the holds stay where they are. */
static void renew(struct stored *s)
{
    for (size_t i = 0; i < s->journal.count; i++) {
        if (s->journal.items[i].kind != QD_SAVED_HOLD) {
            put(&s->records, &s->journal.items[i]);
        }
    }
}

static const struct qd_limit *limit_of(const struct fx *f, const struct qd_saved_counter *counter)
{
    for (unsigned i = 0; i < f->limit_count; i++) {
        if (f->limits[i].spec == counter->limit_spec) {
            return &f->limits[i];
        }
    }
    return NULL;
}

/* Two stores: of home and of commons. */
struct disk {
    struct stored home;
    struct stored commons;
};

static void disk_open(struct disk *d)
{
    *d = (struct disk){0};
    struct list *lists[] = {&d->home.records, &d->home.journal, &d->commons.records,
                            &d->commons.journal};
    for (size_t i = 0; i < 4; i++) {
        lists[i]->items = calloc(KEPT_MAX, sizeof(*lists[i]->items));
        cr_assert_not_null(lists[i]->items);
    }
}

static void disk_close(struct disk *d)
{
    free(d->home.records.items);
    free(d->home.journal.items);
    free(d->commons.records.items);
    free(d->commons.journal.items);
}

static void save(struct disk *d, struct fx *f, enum qd_walk how)
{
    walk(&d->home, f->home, f->commons, how, f->now);
    walk(&d->commons, f->commons, NULL, how, f->now);
}

static void load_counters(const struct stored *s, struct fx *f, struct qd_core *core)
{
    const struct list *l = &s->records;
    for (size_t i = 0; i < l->count; i++) {
        struct qd_saved_counter counter;
        if (l->items[i].kind != QD_SAVED_COUNTER) {
            continue;
        }
        cr_assert(qd_core_saved_counter(&l->items[i], &counter));
        enum qd_load result =
            qd_core_load_counter(core, limit_of(f, &counter), &l->items[i], f->now);
        cr_assert(result == QD_LOADED || result == QD_LOAD_OVER, "%d", (int)result);
    }
}

static void load_rest(struct stored *s, struct fx *f)
{
    for (size_t i = 0; i < s->journal.count; i++) {
        struct qd_saved *saved = &s->journal.items[i];
        cr_assert(saved->kind != QD_SAVED_HOLD ||
                  qd_core_load_hold(f->home, f->commons, saved, f->now) == QD_LOADED);
    }
    for (size_t i = 0; i < s->records.count; i++) {
        struct qd_saved *saved = &s->records.items[i];
        cr_assert(saved->kind != QD_SAVED_ESTIMATOR ||
                  qd_core_load_estimator(f->home, saved, f->now) == QD_LOADED);
    }
}

/* New slices take the place of f's, and what is stored comes back. */
static void reboot(struct fx *f, struct disk *d, uint64_t first_number)
{
    struct qd_core_config config = {.first_number = first_number};
    struct fx fresh;
    fx_init(&fresh, NULL);
    free(fresh.memory[0]);
    config = (struct qd_core_config){.hash_seed = 7,
                                     .narrow_windows = 64,
                                     .wide_windows = 16,
                                     .buckets = 64,
                                     .gauges = 64,
                                     .bindings = 64,
                                     .reservations = 256,
                                     .progress = 8,
                                     .estimators = 8,
                                     .roots = 64,
                                     .name_bytes = 65536,
                                     .first_number = first_number};
    size_t size = (qd_core_memory(&config) + 63) & ~(size_t)63;
    fresh.memory[0] = aligned_alloc(64, size);
    cr_assert_not_null(fresh.memory[0]);
    memset(fresh.memory[0], 0, size);
    free(f->memory[0]);
    free(f->memory[1]);
    f->memory[0] = fresh.memory[0];
    f->memory[1] = fresh.memory[1];
    f->home = qd_core_init(f->memory[0], size, &config);
    f->commons = fresh.commons;
    renew(&d->commons);
    renew(&d->home);
    load_counters(&d->commons, f, f->commons);
    load_counters(&d->home, f, f->home);
    load_rest(&d->home, f);
    save(d, f, QD_WALK_FOLD); /* a new journal begins, with the holds where they lie now */
    fx_bind(f);
}

/* --- one story, told by two slices: one of them is booted again and again --- */

static void apply_limits(struct fx *f)
{
    static const enum qd_algorithm algorithms[] = {
        QD_SLIDING_WINDOW, QD_TOKEN_BUCKET, QD_LEAKY_BUCKET, QD_FIXED_WINDOW,
        QD_CALENDAR,       QD_CONCURRENCY,  QD_PREPAID,      QD_SLIDING_WINDOW};
    for (unsigned i = 0; i < 8; i++) {
        bool holds = algorithms[i] == QD_CONCURRENCY;
        struct qd_limit *limit =
            fx_limit(f, algorithms[i], holds ? QD_METER_CONCURRENCY : QD_METER_INPUT_TOKENS);
        limit->spec = limit->index;
        limit->on_expiry = (enum qd_keep)(i % 3);
        limit->threshold_permille[0] = 500;
        int64_t amount = holds ? 20 : i == 7 ? INT64_C(5000000000) : 20000;
        fx_apply(f, limit, amount, i % 2 == 0 ? "acme" : "acme/search/key-7");
    }
    struct qd_limit *output = fx_token_limit(f, QD_CALENDAR);
    output->spec = output->index;
    output->output_estimate = QD_OUTPUT_QUANTILE;
    output->quantile_permille = 900;
    fx_apply(f, output, 400000, "acme/search");
    struct qd_limit *shared = fx_month(f, QD_METER_INPUT_TOKENS);
    shared->spec = shared->index;
    fx_apply(f, shared, 60000, "");
    struct qd_limit *common_rate = fx_limit(f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    common_rate->spec = common_rate->index;
    fx_apply(f, common_rate, 30000, "");
    fx_bind(f);
}

struct twins {
    struct fx f[2]; /* [1] is booted again */
    uint64_t open[2][OPEN_MAX];
    unsigned open_count;
    struct disk disk;
    uint64_t request;
};

static void expect_same(struct twins *t, const char *what, unsigned step)
{
    struct fx *a = &t->f[0];
    struct fx *b = &t->f[1];
    for (unsigned i = 0; i < a->item_count; i++) {
        const char *path = a->items[i].depth == 0 ? "" : a->items[i].name.ptr;
        struct qd_limit_state x = fx_state(a, a->items[i].limit, path);
        struct qd_limit_state y = fx_state(b, b->items[i].limit, path);
        cr_assert(
            x.used == y.used && x.held == y.held && x.resets_at.ns == y.resets_at.ns,
            "%s, step %u, limit %u: used %ld held %ld resets %ld, and after boots %ld %ld %ld",
            what, step, i, (long)x.used, (long)x.held, (long)x.resets_at.ns, (long)y.used,
            (long)y.held, (long)y.resets_at.ns);
    }
    cr_assert_eq(fx_stats(a).reservations_open, fx_stats(b).reservations_open, "%s", what);
    cr_assert_eq(fx_stats(a).reservations_kept, fx_stats(b).reservations_kept, "%s", what);
}

static void check_both(struct twins *t, struct qd_prng *g)
{
    int64_t input = qd_prng_between(g, 0, 900);
    int64_t output = qd_prng_chance(g, 1, 2) ? qd_prng_between(g, 1, 500) : 0;
    bool reserve = t->open_count < OPEN_MAX && qd_prng_chance(g, 4, 5);
    bool named = qd_prng_chance(g, 1, 2);
    int64_t ttl = qd_prng_between(g, 1, 300) * QD_NS_PER_S;
    t->request += named;
    for (unsigned i = 0; i < 2; i++) {
        struct fx *f = &t->f[i];
        f->check.reserve = reserve;
        f->check.ttl_ns = ttl;
        f->check.priority = 3;
        f->check.weight = 2;
        f->check.request = named ? fx_request(t->request) : (struct qd_hash128){0, 0};
        if (fx_check(f, input, output) == QD_NEEDS_BINDING) {
            fx_bind(f);
            (void)fx_check(f, input, output);
        }
        if (f->verdict.reservation != 0) {
            t->open[i][t->open_count] = f->verdict.reservation;
        }
    }
    const struct qd_verdict *a = &t->f[0].verdict;
    const struct qd_verdict *b = &t->f[1].verdict;
    /* A hint tells of leases that were made, also of those that are over; that is not stored. */
    bool hint = a->retry_is_hint || b->retry_is_hint;
    cr_assert(a->decision == b->decision && a->reason == b->reason &&
                  (hint || a->retry_at.ns == b->retry_at.ns) &&
                  (a->reservation == 0) == (b->reservation == 0),
              "decision %d and %d, retry %ld and %ld", (int)a->decision, (int)b->decision,
              (long)a->retry_at.ns, (long)b->retry_at.ns);
    cr_assert_eq(qd_usage_get(&a->estimate, QD_METER_OUTPUT_TOKENS),
                 qd_usage_get(&b->estimate, QD_METER_OUTPUT_TOKENS), "the same past outputs");
    t->open_count += a->reservation != 0;
}

static void end_one(struct twins *t, unsigned at)
{
    t->open_count--;
    for (unsigned i = 0; i < 2; i++) {
        t->open[i][at] = t->open[i][t->open_count];
    }
}

static void settle_both(struct twins *t, struct qd_prng *g)
{
    unsigned at = (unsigned)qd_prng_below(g, t->open_count);
    int64_t input = qd_prng_between(g, 0, 900);
    int64_t output = qd_prng_between(g, 1, 500);
    bool final = qd_prng_chance(g, 2, 3);
    enum qd_outcome outcome = (enum qd_outcome)qd_prng_below(g, 4);
    enum qd_result result[2];
    for (unsigned i = 0; i < 2; i++) {
        struct qd_settle *s = fx_settle_begin(&t->f[i], t->open[i][at]);
        s->final = final;
        s->outcome = outcome;
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, input);
        if (final) {
            qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, output);
        }
        result[i] = fx_settle_as_is(&t->f[i]);
        if (result[i] == QD_RESULT_NEEDS_BINDING) {
            fx_bind(&t->f[i]);
            result[i] = fx_settle_as_is(&t->f[i]);
        }
    }
    cr_assert_eq(result[0], result[1]);
    cr_assert_eq(t->f[0].settled.had_reservation, t->f[1].settled.had_reservation);
    cr_assert_eq(t->f[0].settled.over_limits, t->f[1].settled.over_limits);
    if (final) {
        end_one(t, at);
    }
}

static void end_both(struct twins *t, struct qd_prng *g)
{
    unsigned at = (unsigned)qd_prng_below(g, t->open_count);
    bool extend = qd_prng_chance(g, 1, 2);
    int64_t output = qd_prng_between(g, 0, 600);
    enum qd_result result[2];
    for (unsigned i = 0; i < 2; i++) {
        result[i] = extend ? fx_extend(&t->f[i], t->open[i][at], output)
                           : fx_cancel(&t->f[i], t->open[i][at]);
    }
    cr_assert_eq(result[0], result[1]);
    if (!extend || result[0] == QD_NO_RESERVATION) {
        end_one(t, at);
    }
}

static void reset_both(struct twins *t, struct qd_prng *g)
{
    unsigned i = (unsigned)qd_prng_below(g, t->f[0].item_count);
    for (unsigned k = 0; k < 2; k++) {
        const struct qd_bind_item *item = &t->f[k].items[i];
        (void)fx_reset(&t->f[k], item->depth == 0 ? t->f[k].commons : t->f[k].home, item->counter);
    }
}

static void amend_both(struct twins *t, struct qd_prng *g)
{
    unsigned i = (unsigned)qd_prng_below(g, t->f[0].item_count);
    int64_t amount = qd_prng_between(g, 10, 40000);
    for (unsigned k = 0; k < 2; k++) {
        t->f[k].epoch++;
        fx_set_amount(&t->f[k], t->f[k].items[i].limit, amount);
        fx_bind(&t->f[k]);
    }
}

static void step(struct twins *t, struct qd_prng *g)
{
    uint64_t what = qd_prng_below(g, 100);
    if (what < 45) {
        check_both(t, g);
    } else if (what < 65 && t->open_count > 0) {
        settle_both(t, g);
    } else if (what < 72 && t->open_count > 0) {
        end_both(t, g);
    } else if (what < 74) {
        reset_both(t, g);
    } else if (what < 76) {
        amend_both(t, g);
    } else if (what < 84) {
        save(&t->disk, &t->f[1], what < 82 ? QD_WALK_CHANGED : QD_WALK_FOLD);
    } else {
        int64_t ns = qd_prng_between(g, 0, 1) == 0 ? qd_prng_between(g, 0, QD_NS_PER_S)
                                                   : qd_prng_between(g, 0, 60 * QD_NS_PER_S);
        for (unsigned i = 0; i < 2; i++) {
            fx_advance(&t->f[i], ns);
            while (fx_expire(&t->f[i]) > 0) {
            }
        }
    }
}

static void tell(uint64_t seed, enum qd_walk last)
{
    struct twins t = {.open_count = 0};
    struct qd_prng g;
    unsigned boots = 0;
    qd_prng_init(&g, seed);
    disk_open(&t.disk);
    for (unsigned i = 0; i < 2; i++) {
        fx_init(&t.f[i], NULL);
        apply_limits(&t.f[i]);
    }
    for (unsigned n = 0; n < 1500; n++) {
        step(&t, &g);
        if (n % 40 == 39) {
            expect_same(&t, "before a boot", n);
            save(&t.disk, &t.f[1], last);
            reboot(&t.f[1], &t.disk, (uint64_t)++boots << 32);
            fx_bind(&t.f[0]);
            expect_same(&t, "after a boot", n);
        }
    }
    cr_expect_gt(t.disk.home.writes, 300);
    size_t count = t.disk.home.records.count + t.disk.home.journal.count;
    cr_expect_leq(count, 300, "what is over is forgotten: %zu", count);
    disk_close(&t.disk);
    fx_release(&t.f[0]);
    fx_release(&t.f[1]);
}

Test(snapshot, X5_a_slice_that_was_stored_goes_on_as_if_it_had_not_stopped)
{
    uint64_t first = qd_prng_seed("snapshot", 11);
    for (uint64_t seed = first; seed < first + 40; seed++) {
        tell(seed, (enum qd_walk)(seed % 3));
    }
}

Test(snapshot, X5_what_has_not_changed_is_not_stored_again)
{
    struct fx f;
    struct disk d;
    disk_open(&d);
    fx_init(&f, NULL);
    apply_limits(&f);
    save(&d, &f, QD_WALK_CHANGED);
    cr_expect_eq(d.home.writes + d.commons.writes, 0, "nothing was charged");
    cr_assert_eq(fx_check(&f, 10, 10), QD_ALLOW);
    save(&d, &f, QD_WALK_CHANGED);
    cr_expect_eq(d.home.writes, 10, "nine counters and the hold");
    cr_expect_eq(d.commons.writes, 2);
    save(&d, &f, QD_WALK_CHANGED);
    cr_expect_eq(d.home.writes, 10);
    cr_assert_eq(fx_settle(&f, 10, 10), QD_OK);
    save(&d, &f, QD_WALK_CHANGED);
    cr_expect_eq(d.home.writes, 21, "the counters, the past output, and that the hold is gone");
    disk_close(&d);
    fx_release(&f);
}

Test(snapshot, X5_a_fold_brings_the_records_up_to_date_and_begins_the_journal_anew)
{
    struct fx f;
    struct disk d;
    disk_open(&d);
    fx_init(&f, NULL);
    apply_limits(&f);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(fx_check(&f, 10, 10), QD_ALLOW);
        save(&d, &f, QD_WALK_CHANGED);
    }
    cr_expect_eq(d.home.records.count, 0);
    cr_expect_eq(d.home.journal.count, 12, "nine counters and three holds");
    save(&d, &f, QD_WALK_FOLD);
    cr_expect_eq(d.home.records.count, 9);
    cr_expect_eq(d.home.journal.count, 3);
    unsigned writes = d.home.writes;
    save(&d, &f, QD_WALK_FOLD);
    cr_expect_eq(d.home.writes, writes + 3, "only the holds");
    save(&d, &f, QD_WALK_ALL);
    cr_expect_geq(d.home.writes, writes + 3 + 12, "the records as well");
    disk_close(&d);
    fx_release(&f);
}

/* D12: what the record lacks would be forgotten with the counter. */
Test(snapshot, D12_a_counter_that_only_the_journal_has_is_not_stored_for_eviction)
{
    static struct qd_saved saved;
    struct fx f;
    struct disk d;
    disk_open(&d);
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 10, "acme");
    fx_bind(&f);
    f.check.reserve = false;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    save(&d, &f, QD_WALK_CHANGED);
    cr_assert(qd_core_evict_begin(f.home, f.now, &saved));
    cr_expect_not(saved.stored);
    save(&d, &f, QD_WALK_FOLD);
    cr_assert(qd_core_evict_begin(f.home, f.now, &saved));
    cr_expect(saved.stored);
    disk_close(&d);
    fx_release(&f);
}

/* D12: the store does not grow with all tenants that ever came. */
Test(snapshot, D12_a_counter_that_counts_nothing_any_more_is_forgotten)
{
    struct fx f;
    struct disk d;
    disk_open(&d);
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_bind(&f);
    f.check.reserve = false;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    save(&d, &f, QD_WALK_FOLD);
    fx_advance(&f, QD_NS_PER_S);
    save(&d, &f, QD_WALK_FOLD);
    cr_assert_eq(d.home.records.count, 1);
    fx_advance(&f, 2 * QD_NS_PER_MINUTE);
    save(&d, &f, QD_WALK_FOLD);
    cr_expect_eq(d.home.records.count, 0);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    save(&d, &f, QD_WALK_FOLD);
    cr_expect_eq(d.home.records.count, 1, "and stored again when it counts");
    disk_close(&d);
    fx_release(&f);
}

/* Any bytes are refused, or give a hold that lives and ends like others. */
Test(snapshot, X5_broken_holds_break_nothing)
{
    uint64_t seed = qd_prng_seed("holds", 3);
    struct qd_prng g;
    unsigned loaded = 0;
    qd_prng_init(&g, seed);
    for (unsigned n = 0; n < 3000; n++) {
        struct fx f;
        struct disk d;
        disk_open(&d);
        fx_init(&f, NULL);
        apply_limits(&f);
        cr_assert_eq(fx_check(&f, 10, 10), QD_ALLOW);
        save(&d, &f, QD_WALK_CHANGED);
        for (size_t i = 0; i < d.home.journal.count; i++) {
            struct qd_saved *hold = &d.home.journal.items[i];
            if (hold->kind != QD_SAVED_HOLD) {
                continue;
            }
            for (uint64_t k = qd_prng_below(&g, 4); k > 0; k--) {
                hold->bytes[qd_prng_below(&g, hold->size)] = (uint8_t)qd_prng_next(&g);
            }
            if (qd_prng_chance(&g, 1, 8)) {
                hold->size = (uint32_t)qd_prng_below(&g, hold->size);
            }
            hold->id.lo = qd_prng_chance(&g, 1, 4) ? qd_prng_below(&g, 400) : hold->id.lo;
            struct fx other;
            fx_init(&other, NULL);
            apply_limits(&other);
            if (qd_core_load_hold(other.home, other.commons, hold, other.now) == QD_LOADED) {
                loaded++;
                fx_advance(&other, 10 * 366 * QD_NS_PER_DAY);
                while (fx_expire(&other) > 0) {
                }
                walk(&d.home, other.home, other.commons, QD_WALK_CHANGED, other.now);
            }
            fx_release(&other);
        }
        disk_close(&d);
        fx_release(&f);
    }
    cr_expect_gt(loaded, 500);
}

/* S1: what finds no place is as a hold that the snapshot missed. */
Test(snapshot, S1_a_hold_whose_place_is_taken_is_refused)
{
    struct fx f;
    struct disk d;
    disk_open(&d);
    fx_init(&f, NULL);
    apply_limits(&f);
    cr_assert_eq(fx_check(&f, 10, 10), QD_ALLOW);
    save(&d, &f, QD_WALK_CHANGED);
    struct qd_core_config small = {.reservations = 1};
    struct fx other;
    fx_init(&other, &small);
    apply_limits(&other);
    cr_assert_eq(fx_check(&other, 10, 10), QD_ALLOW);
    for (size_t i = 0; i < d.home.journal.count; i++) {
        if (d.home.journal.items[i].kind == QD_SAVED_HOLD) {
            cr_expect_eq(
                qd_core_load_hold(other.home, other.commons, &d.home.journal.items[i], other.now),
                QD_LOAD_FULL);
        }
    }
    cr_expect_eq(fx_stats(&other).reservations_open, 1);
    disk_close(&d);
    fx_release(&f);
    fx_release(&other);
}
