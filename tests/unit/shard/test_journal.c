/* Journals of slices: what they and the records say together, when they end, and what is left of
 * one that could not be written (X5, D12). Chunks that are damaged: test_recover.c. */
#include "tests/unit/shard/fixture.h"

#include "server/shard/journal.h"
#include "server/shard/snapshot.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(journal, .timeout = 120);

static const char policy[] =
    "version: 1\n"
    "models:\n"
    "  m: {max_output_tokens: 100, limits: {common: {limit: 4M/hour, algorithm: sliding_window, "
    "meter: input_tokens}}}\n"
    "prices:\n  m: {input_tokens: $2/1M, output_tokens: $4/1M}\n"
    "plans:\n"
    "  basic:\n"
    "    hourly: {limit: 500k/hour, algorithm: sliding_window, meter: input_tokens}\n"
    "    bucket: {limit: 900k/hour, algorithm: token_bucket, burst: 900000, meter: input_tokens}\n"
    "    concurrency: 3000\n"
    "    cost: $100/month\n"
    "tenants:\n  \"*\": {plan: basic}\n";

static const char *const limits[] = {"hourly", "bucket", "concurrency", "cost"};
static const char *const tenants[] = {"acme", "globex", "initech", "hooli", "umbrella"};

#define LIMITS  (sizeof(limits) / sizeof(limits[0]))
#define TENANTS (sizeof(tenants) / sizeof(tenants[0]))

static struct fixture f;

/* --- what lies in the store --- */

static unsigned count_keys(char kind)
{
    const char bounds[2] = {kind, (char)(kind + 1)};
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {&bounds[0], 1}, .upper = {&bounds[1], 1}};
    struct qd_store_iter *iter = qd_store_iter_open(f.store, &range);
    struct qd_str key;
    struct qd_str value;
    unsigned count = 0;

    cr_assert_not_null(iter);
    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        count++;
    }
    qd_store_iter_close(iter);
    return count;
}

static enum qd_store_err count_hold(void *context, struct qd_stored_place place,
                                    const struct qd_journal_item *item)
{
    (void)place;
    *(unsigned *)context += item->kind == QD_SAVED_HOLD && item->bytes.len > 0;
    return QD_STORE_OK;
}

static unsigned count_holds(void)
{
    unsigned count = 0;
    const struct qd_journal_visitor visitor = {NULL, count_hold, &count};

    cr_assert_eq(qd_journal_read(f.store, &visitor, NULL), QD_STORE_OK);
    return count;
}

static void cancel(const char *token, const char *tenant)
{
    bool cancelled;

    cr_assert_eq(qd_node_cancel(f.worker, str(token), str(tenant), &cancelled, &f.error),
                 QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(cancelled);
}

static void kill_and_boot(void)
{
    fixture_close(&f);
    fixture_open(&f, policy);
    cr_assert_not(f.recovery.from_ledger, "%s", f.recovery.damage);
}

/* --- together they tell everything --- */

#define OPEN_MAX 50

struct story {
    struct qd_prng g;
    char token[OPEN_MAX][QD_TOKEN_TEXT_MAX + 1];
    unsigned owner[OPEN_MAX];
    unsigned open;
};

struct figures {
    int64_t used[TENANTS][LIMITS];
    int64_t held[TENANTS][LIMITS];
};

static void look(struct figures *ret_figures)
{
    for (size_t t = 0; t < TENANTS; t++) {
        for (size_t i = 0; i < LIMITS; i++) {
            ret_figures->used[t][i] = used_of(&f, tenants[t], limits[i]);
            ret_figures->held[t][i] = held_of(&f, tenants[t], limits[i]);
        }
    }
}

static void boot(const struct story *s)
{
    struct figures before;
    struct figures after;

    fixture_snapshot(&f);
    look(&before);
    cr_assert_eq(count_holds(), s->open, "%u holds are stored, %u open", count_holds(), s->open);
    kill_and_boot();
    look(&after);
    cr_assert_eq(f.recovery.holds, s->open);
    for (size_t t = 0; t < TENANTS; t++) {
        for (size_t i = 0; i < LIMITS; i++) {
            cr_assert(before.used[t][i] == after.used[t][i] &&
                          before.held[t][i] == after.held[t][i],
                      "%s, %s: used %ld and held %ld, after the boot %ld and %ld", tenants[t],
                      limits[i], (long)before.used[t][i], (long)before.held[t][i],
                      (long)after.used[t][i], (long)after.held[t][i]);
        }
    }
}

static void end_one(struct story *s)
{
    unsigned at = (unsigned)qd_prng_below(&s->g, s->open);

    if (qd_prng_chance(&s->g, 1, 2)) {
        cancel(s->token[at], tenants[s->owner[at]]);
    } else {
        struct qd_report_args args = report_of(s->token[at], qd_prng_between(&s->g, 0, 900));
        cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    }
    s->open--;
    memmove(s->token[at], s->token[s->open], sizeof(s->token[at]));
    s->owner[at] = s->owner[s->open];
}

static void begin_one(struct story *s)
{
    unsigned who = (unsigned)qd_prng_below(&s->g, TENANTS);

    if (s->open < OPEN_MAX && check(&f, tenants[who], qd_prng_between(&s->g, 1, 900))) {
        s->owner[s->open] = who;
        (void)strcpy(s->token[s->open++], f.token);
    }
}

/* The store refuses a round, or takes it and says that it did not. */
static void fail_a_round(struct story *s)
{
    struct qd_store_faults *faults = qd_store_memory_faults(f.store);
    struct qd_store_error error;

    faults->write = (struct qd_store_fault){.countdown = (int64_t)qd_prng_below(&s->g, 5),
                                            .lands = qd_prng_chance(&s->g, 1, 2)};
    (void)qd_snapshot_round(f.node, false, &error);
    faults->write = (struct qd_store_fault){.countdown = -1};
}

static void tell(uint64_t seed)
{
    static struct story s;

    s.open = 0;
    qd_prng_init(&s.g, seed);
    fixture_open(&f, policy);
    for (unsigned n = 0; n < 300; n++) {
        uint64_t what = qd_prng_below(&s.g, 100);
        if (what < 45) {
            begin_one(&s);
        } else if (what < 65 && s.open > 0) {
            end_one(&s);
        } else if (what < 90) {
            fixture_snapshot(&f);
        } else if (what < 93) {
            fixture_fold(&f);
        } else if (what < 95) {
            fail_a_round(&s);
        } else if (what < 98) {
            boot(&s);
        } else {
            fixture_pass(&f, qd_prng_between(&s.g, 0, S / 10));
        }
    }
    boot(&s);
    fixture_end(&f);
}

Test(journal, X5_records_and_journal_tell_every_counter_and_every_hold)
{
    uint64_t first = qd_prng_seed("journal", 17);
    for (uint64_t seed = first; seed < first + 60; seed++) {
        tell(seed);
    }
}

/* --- its length --- */

Test(journal, X5_a_hold_that_came_and_went_between_two_rounds_is_never_written)
{
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 10));
    cancel(f.token, "acme");
    fixture_snapshot(&f);
    cr_expect_eq(count_holds(), 0);
    cr_assert(check(&f, "acme", 10));
    fixture_snapshot(&f);
    cr_expect_eq(count_holds(), 1);
    cancel(f.token, "acme");
    fixture_snapshot(&f);
    cr_expect_eq(count_holds(), 0);
    fixture_end(&f);
}

/* A boot reads it all. */
Test(journal, X5_a_journal_ends_before_it_is_long)
{
    unsigned longest = 0;

    fixture_open(&f, policy);
    cr_assert(check(&f, "globex", 10), "a hold that stays");
    for (unsigned i = 0; i < 400; i++) {
        cr_assert(check(&f, "acme", 10));
        fixture_snapshot(&f);
        cancel(f.token, "acme");
        fixture_pass(&f, S / 10);
        unsigned chunks = count_keys(QD_JOURNAL_KIND);
        longest = chunks > longest ? chunks : longest;
    }
    cr_expect_gt(longest, 30, "it is not written anew each time");
    cr_expect_leq(longest, 3 * 66, "of two tenants' slices and commons, at most 64 rounds each");
    cr_expect_eq(count_holds(), 2);
    cr_expect_gt(count_keys('c'), 0, "records were brought up to date");
    fixture_end(&f);
}

Test(journal, X5_more_holds_than_a_chunk_takes_all_come_back)
{
    static char token[QD_TOKEN_TEXT_MAX + 1];

    fixture_open(&f, policy);
    fixture_close(&f);
    f.shards = 1;
    f.reservations = 8192;
    f.name_bytes = 1 << 20;
    fixture_open(&f, policy);
    for (unsigned i = 0; i < 7000; i++) {
        cr_assert(check(&f, tenants[i % TENANTS], 1), "%s", f.answer.message);
        if (i == 4321) {
            (void)strcpy(token, f.token);
        }
    }
    fixture_snapshot(&f);
    cr_expect_gt(count_keys(QD_JOURNAL_KIND), 1);
    for (unsigned i = 0; i < 3; i++) {
        kill_and_boot(); /* which folds */
        cr_expect_eq(f.recovery.holds, 7000);
        cr_expect_gt(count_keys(QD_JOURNAL_KIND), 1);
        cr_expect_eq(held_of(&f, "acme", "concurrency"), 1400);
    }
    struct qd_report_args args = report_of(token, 5);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    fixture_end(&f);
}

/* --- what a failed write has left --- */

/* It may be there after all: what it says of a hold must not come back. */
Test(journal, X5_a_journal_whose_write_failed_is_void)
{
    struct qd_store_faults *faults;
    struct qd_store_error error;

    fixture_open(&f, policy);
    fixture_close(&f);
    f.shards = 1;
    fixture_open(&f, policy);
    faults = qd_store_memory_faults(f.store);
    cr_assert(check(&f, "acme", 10));
    fixture_snapshot(&f);
    cancel(f.token, "acme");
    faults->write = (struct qd_store_fault){.countdown = 0};
    cr_expect_not(qd_snapshot_round(f.node, false, &error), "the slice's own write");
    cr_expect_eq(count_holds(), 1, "as it was");
    faults->write = (struct qd_store_fault){.countdown = -1};
    unsigned before = count_keys(QD_JOURNAL_KIND);
    fixture_snapshot(&f);
    cr_expect_eq(count_holds(), 0);
    cr_expect_leq(count_keys(QD_JOURNAL_KIND), before, "the old one went as commons had a new one");
    kill_and_boot();
    cr_expect_eq(f.recovery.holds, 0);
    cr_expect_eq(held_of(&f, "acme", "cost"), 0);
    fixture_end(&f);
}

/* --- parts of a round --- */

Test(journal, X5_the_parts_of_a_round_store_every_slice_once)
{
    struct qd_store_error error;

    for (uint32_t parts = 1; parts <= 40; parts++) {
        fixture_open(&f, policy);
        for (size_t t = 0; t < TENANTS; t++) {
            cr_assert(check(&f, tenants[t], 10));
        }
        for (uint32_t part = 0; part < parts; part++) {
            cr_assert(qd_snapshot_part(f.node, part, parts, part + 1 == parts, &error));
        }
        cr_expect_eq(atomic_load(&f.node->snapshot.rounds), 1);
        cr_expect_eq(count_holds(), TENANTS, "%u parts", parts);
        cr_expect_eq(qd_store_memory_synced(f.store), qd_store_memory_writes(f.store));
        uint64_t writes = qd_store_memory_writes(f.store);
        for (uint32_t part = 0; part < parts; part++) {
            cr_assert(qd_snapshot_part(f.node, part, parts, true, &error));
        }
        cr_expect_eq(qd_store_memory_writes(f.store), writes, "nothing has changed");
        fixture_end(&f);
    }
}

/* A round is one only if all of its parts were stored; how old the oldest slice is tells the same.
 */
Test(journal, X5_a_round_with_a_part_that_failed_is_none)
{
    struct qd_store_faults *faults;
    struct qd_store_error error;

    fixture_open(&f, policy);
    fixture_close(&f);
    f.shards = 1;
    fixture_open(&f, policy);
    faults = qd_store_memory_faults(f.store);
    fixture_snapshot(&f);
    struct qd_wall_ns stored = qd_snapshot_oldest(f.node);
    cr_expect_eq(stored.ns, atomic_load(&f.node->snapshot.stored_at));
    fixture_pass(&f, S);
    cr_assert(check(&f, "acme", 10));
    faults->write = (struct qd_store_fault){.countdown = 0};
    cr_expect_not(qd_snapshot_part(f.node, 0, 2, false, &error));
    faults->write = (struct qd_store_fault){.countdown = -1};
    cr_expect(qd_snapshot_part(f.node, 1, 2, false, &error), "commons, where nothing has changed");
    cr_expect_eq(atomic_load(&f.node->snapshot.rounds), 1);
    cr_expect_eq(atomic_load(&f.node->snapshot.stored_at), stored.ns);
    cr_expect_eq(qd_snapshot_oldest(f.node).ns, stored.ns);
    fixture_snapshot(&f);
    cr_expect_eq(atomic_load(&f.node->snapshot.rounds), 2);
    cr_expect_eq(qd_snapshot_oldest(f.node).ns, stored.ns + S);
    fixture_end(&f);
}

/* --- with evictions (D12) --- */

#define USERS 200

static const char rates[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100,\n"
    "      limits: {shared: {limit: 1000M/hour, algorithm: sliding_window, meter: input_tokens,\n"
    "                        per: user, failure_mode: closed}}}\n"
    "unknown_price: unpriced\n"
    "plans:\n"
    "  two: {rate: {limit: 1000M/hour, algorithm: sliding_window, meter: input_tokens, per: user,\n"
    "               failure_mode: closed}}\n"
    "  held: {concurrency: 1000}\n"
    "tenants:\n  acme: {plan: two}\n  globex: {plan: held}\n";

static int64_t charged[USERS];

/* A check that holds nothing, if there is room for it; and that its rates have counted all. */
static void charge(unsigned user, int64_t tokens, uint64_t seed)
{
    char name[16];
    struct qd_check_args args = args_of("acme", tokens);

    (void)snprintf(name, sizeof(name), "u%u", user);
    args.user = str(name);
    args.no_reservation = true;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    if (!f.answer.allowed) {
        return;
    }
    charged[user] += tokens;
    struct qd_attributes by = {
        .tenant = str("acme"), .model = str("m"), .family = str("m"), .user = args.user};
    cr_assert_eq(used_by(&f, &by, "rate"), charged[user], "seed %lu, u%u: %ld, not %ld",
                 (unsigned long)seed, user, (long)used_by(&f, &by, "rate"), (long)charged[user]);
    cr_assert_eq(used_by(&f, &by, "shared"), charged[user], "seed %lu, u%u, in commons",
                 (unsigned long)seed, user);
}

static void fail_while_charging(struct qd_prng *g, uint64_t seed)
{
    struct qd_store_faults *faults = qd_store_memory_faults(f.store);
    struct qd_store_error error;

    faults->write = (struct qd_store_fault){.countdown = (int64_t)qd_prng_below(g, 3),
                                            .repeat = true,
                                            .lands = qd_prng_chance(g, 1, 3)};
    (void)qd_snapshot_round(f.node, qd_prng_chance(g, 1, 2), &error);
    for (unsigned i = 0; i < 3; i++) {
        charge((unsigned)qd_prng_below(g, USERS), 1, seed);
    }
    faults->write = (struct qd_store_fault){.countdown = -1};
}

static void tell_rates(uint64_t seed, uint64_t *evictions)
{
    struct qd_prng g;
    struct qd_store_error error;

    qd_prng_init(&g, seed);
    memset(charged, 0, sizeof(charged));
    fixture_open(&f, rates);
    fixture_close(&f);
    f.shards = 1;
    fixture_open(&f, rates);
    for (unsigned n = 0; n < 1000; n++) {
        uint64_t what = qd_prng_below(&g, 100);
        if (what < 72) {
            charge((unsigned)qd_prng_below(&g, USERS), qd_prng_between(&g, 1, 50), seed);
            fixture_pass(&f, 300 * QD_NS_PER_MS);
        } else if (what < 86) {
            (void)qd_snapshot_part(f.node, (uint32_t)qd_prng_below(&g, 2), 2, false, &error);
        } else if (what < 88) {
            fixture_fold(&f);
        } else if (what < 97) {
            fail_while_charging(&g, seed);
        } else {
            fixture_snapshot(&f);
            *evictions += f.worker->figures.evictions;
            fixture_close(&f);
            fixture_open(&f, rates);
            cr_assert_not(f.recovery.from_ledger, "%s", f.recovery.damage);
        }
    }
    f.shards = 0;
    fixture_end(&f);
}

/* What an old journal says of a counter that was evicted must not come back, nor what a failed
 * write has left be taken for stored. */
Test(journal, D12_rates_beyond_the_tables_survive_folds_failures_and_kills)
{
    uint64_t first = qd_prng_seed("rates", 1);
    uint64_t evictions = 0;

    for (uint64_t seed = first; seed < first + 15; seed++) {
        tell_rates(seed, &evictions);
    }
    cr_expect_gt(evictions, 1000);
}

/* S1: what an eviction has stored of its slice is on disk soon, whether or not anything follows. */
Test(journal, S1_what_an_eviction_wrote_is_synced_by_the_next_round)
{
    struct qd_store_error error;

    fixture_open(&f, rates);
    fixture_close(&f);
    f.shards = 1;
    fixture_open(&f, rates);
    for (unsigned user = 0; f.worker->figures.evictions == 0; user++) {
        cr_assert_lt(user, USERS);
        charge(user, 1, 0);
        fixture_pass(&f, 2 * S);
    }
    cr_assert(check(&f, "globex", 1), "a hold");
    fixture_fold(&f); /* as an eviction does */
    cr_assert_lt(qd_store_memory_synced(f.store), qd_store_memory_writes(f.store));
    cr_assert(qd_snapshot_round(f.node, true, &error));
    cr_expect_eq(qd_store_memory_synced(f.store), qd_store_memory_writes(f.store));
    f.shards = 0;
    fixture_end(&f);
}
