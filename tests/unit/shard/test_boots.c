/* More budgets than the tables hold, boots that evict while they count, boots that die, with as
 * many slices as before or another number: each budget is what was acknowledged (D7, D12, X5). */
#include "tests/unit/shard/fixture.h"

#include "server/shard/reconcile.h"
#include "server/shard/reset.h"
#include "server/shard/snapshot.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(boots, .timeout = 300);

static const char budgets[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100,\n"
    "      limits: {day: {limit: 1000M/day, meter: input_tokens, per: user}}}\n"
    "unknown_price: unpriced\n"
    "plans:\n  two: {budget: {limit: 1000M/day, meter: input_tokens, per: user}}\n"
    "tenants:\n  acme: {plan: two}\n  globex: {plan: two}\n";

#define USERS 90

static struct fixture f;
static int64_t total[USERS]; /* acknowledged, since the last reset */
static unsigned posts;

static struct qd_str user_of(unsigned user, char name[16])
{
    (void)snprintf(name, 16, "u%u", user);
    return str(name);
}

/* What the user's budget counts, once a check has bound it; false: there was no room. */
static bool counted(unsigned user, int64_t *ret_used)
{
    char name[16];
    struct qd_check_args args = args_of("acme", 1);

    args.user = user_of(user, name);
    args.no_reservation = true;
    args.dry_run = true;
    if (check_args(&f, &args) != QD_ERROR_NONE || !f.answer.allowed) {
        return false;
    }
    struct qd_attributes by = {
        .tenant = str("acme"), .model = str("m"), .family = str("m"), .user = args.user};
    *ret_used = used_by(&f, &by, "budget");
    return true;
}

static void expect_total(unsigned user, const char *when, uint64_t seed)
{
    int64_t used;

    if (counted(user, &used)) {
        cr_assert_eq(used, total[user], "%s, seed %lu: u%u has used %ld, not %ld", when,
                     (unsigned long)seed, user, (long)used, (long)total[user]);
    }
}

static void post_paid(unsigned user, int64_t tokens)
{
    char name[16];
    char id[32];
    struct qd_report_args args = report_of(NULL, tokens);

    (void)snprintf(id, sizeof(id), "post-%u", posts++);
    args.tenant = str("acme");
    args.model = str("m");
    args.user = user_of(user, name);
    args.request_id = str(id);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    total[user] += tokens;
}

static void check_and_report(unsigned user, int64_t tokens)
{
    char name[16];
    struct qd_check_args args = args_of("acme", 1);

    args.user = user_of(user, name);
    args.ttl_ms = 1000;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    if (f.answer.allowed) {
        cr_assert_eq(report_tokens(&f, tokens), QD_ERROR_NONE, "%s", f.error.text);
        total[user] += tokens;
    }
}

static void reset(unsigned user)
{
    char name[16];
    uint32_t count;
    struct qd_reset_args args = {.tenant = str("acme"), .limit = str("two.budget")};

    args.keys[0] = (struct qd_label){str("user"), user_of(user, name)};
    args.key_count = 1;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_reset(f.worker, &args, NULL, &count, &f.error), QD_ERROR_NONE, "%s",
                 f.error.text);
    qd_worker_leave(f.worker);
    total[user] = 0;
}

static void begin(uint32_t shards, uint32_t gauges)
{
    memset(total, 0, sizeof(total));
    fixture_open(&f, budgets);
    fixture_close(&f);
    f.shards = shards;
    f.gauges = gauges;
    fixture_open(&f, budgets);
}

static void end(void)
{
    f.shards = 0;
    f.gauges = 0;
    fixture_end(&f);
}

/* --- any order of everything --- */

struct variant {
    bool power;  /* what was not synced is lost, but for some of the first writes */
    bool dies;   /* boots, too */
    bool shards; /* another number with each boot */
};

static void lose_power(const struct variant *v, struct qd_prng *g)
{
    if (v->power && qd_prng_chance(g, 1, 2)) {
        qd_store_memory_crash(f.store, qd_prng_below(g, 8));
    }
}

static void choose_shards(const struct variant *v, struct qd_prng *g)
{
    static const uint32_t counts[] = {1, 2, 4, 1};

    if (v->shards) {
        f.shards = counts[qd_prng_below(g, 4)];
    }
}

/* Boots that take long enough for counters to become idle and make room. */
static unsigned boot(const struct variant *v, struct qd_prng *g, uint64_t seed)
{
    struct qd_store_faults *faults = qd_store_memory_faults(f.store);
    unsigned died = 0;

    fixture_close(&f);
    lose_power(v, g);
    f.step_ns = 200 * QD_NS_PER_MS;
    for (unsigned i = 0; v->dies && i < 2 && qd_prng_chance(g, 2, 3); i++) {
        choose_shards(v, g);
        faults->write =
            (struct qd_store_fault){.countdown = (int64_t)qd_prng_below(g, 7), .repeat = true};
        died += !fixture_try_open(&f, budgets);
        faults->write = (struct qd_store_fault){.countdown = -1};
        fixture_close(&f);
        lose_power(v, g);
    }
    choose_shards(v, g);
    fixture_open(&f, budgets);
    f.step_ns = 0;
    struct qd_reconciled verified;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_reconcile(f.worker, &verified, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_assert(verified.clean, "seed %lu: %s", (unsigned long)seed, verified.difference);
    return died;
}

static void store(struct qd_prng *g)
{
    struct qd_store_error error;
    struct qd_store_faults *faults = qd_store_memory_faults(f.store);

    if (qd_prng_chance(g, 1, 6)) {
        faults->write = (struct qd_store_fault){.countdown = (int64_t)qd_prng_below(g, 3),
                                                .lands = qd_prng_chance(g, 1, 2)};
    }
    (void)qd_snapshot_round(f.node, qd_prng_chance(g, 1, 2), &error);
    faults->write = (struct qd_store_fault){.countdown = -1};
}

static unsigned tell(const struct variant *v, uint64_t seed, uint64_t *evictions)
{
    struct qd_prng g;
    unsigned died = 0;

    qd_prng_init(&g, seed);
    begin(1, 24);
    for (unsigned n = 0; n < 500; n++) {
        unsigned user = (unsigned)qd_prng_below(&g, USERS);
        uint64_t what = qd_prng_below(&g, 100);
        if (what < 55) {
            check_and_report(user, qd_prng_between(&g, 0, 50));
            expect_total(user, "as it goes", seed);
        } else if (what < 60) {
            post_paid(user, qd_prng_between(&g, 0, 50));
        } else if (what < 78) {
            store(&g);
        } else if (what < 80) {
            fixture_fold(&f);
        } else if (what < 81) {
            reset(user);
        } else if (what < 84) {
            *evictions += f.worker->figures.evictions;
            died += boot(v, &g, seed);
        }
        fixture_pass(&f, qd_prng_between(&g, 0, 4 * S));
    }
    died += boot(v, &g, seed);
    for (unsigned user = 0; user < USERS; user++) {
        expect_total(user, "at the end", seed);
        fixture_pass(&f, 4 * S);
    }
    end();
    return died;
}

static void tell_many(const struct variant *v, unsigned least_died)
{
    uint64_t first = qd_prng_seed("boots", 100);
    uint64_t evictions = 0;
    unsigned died = 0;

    for (uint64_t seed = first; seed < first + 15; seed++) {
        died += tell(v, seed, &evictions);
    }
    cr_expect_gt(evictions, 500);
    cr_expect_geq(died, least_died);
}

Test(boots, D7_budgets_beyond_the_tables_survive_kills)
{
    tell_many(&(struct variant){false, false, false}, 0);
}

Test(boots, D7_budgets_beyond_the_tables_survive_losses_of_power)
{
    tell_many(&(struct variant){true, false, false}, 0);
}

Test(boots, D7_budgets_beyond_the_tables_survive_boots_that_die)
{
    tell_many(&(struct variant){true, true, false}, 20);
}

Test(boots, D7_budgets_beyond_the_tables_survive_another_number_of_slices)
{
    tell_many(&(struct variant){true, true, true}, 20);
}

/* --- two that went wrong --- */

static void expect_all(unsigned users, const char *what)
{
    unsigned seen = 0;
    int64_t used;

    for (unsigned user = 0; user < users; user++) {
        if (counted(user, &used)) {
            seen++;
            cr_assert_eq(used, total[user], "%s: u%u has used %ld, not %ld", what, user, (long)used,
                         (long)total[user]);
        }
        fixture_pass(&f, 4 * S);
    }
    cr_expect_eq(seen, users);
}

/* Records of yesterday are forgotten at boot; the ledger's end, which is counted after that, binds
 * the same counters again, evicts them, and stores them under the same keys. */
Test(boots, D7_a_record_that_is_over_is_not_forgotten_after_it_was_written_anew)
{
    begin(4, 12);
    for (unsigned user = 0; user < 40; user++) {
        check_and_report(user, 10);
        fixture_pass(&f, 4 * S);
    }
    fixture_fold(&f);
    fixture_pass(&f, QD_NS_PER_DAY);
    memset(total, 0, sizeof(total));
    for (unsigned user = 0; user < 40; user++) {
        post_paid(user, 7);
    }
    fixture_close(&f);
    f.step_ns = 200 * QD_NS_PER_MS;
    fixture_open(&f, budgets);
    f.step_ns = 0;
    cr_assert_not(f.recovery.from_ledger);
    cr_assert_gt(f.worker->figures.evictions, 0);
    expect_all(40, "yesterday's");
    end();
}

/* What an eviction of such a boot stores has counted a part of the ledger's end: the next boot must
 * not take it for what the last process had. */
Test(boots, D7_a_boot_with_another_number_of_slices_that_dies_while_it_evicts)
{
    unsigned died = 0;

    for (uint32_t shards = 1; shards <= 4; shards *= 2) {
        for (int64_t writes = 0; writes < 12; writes++) {
            begin(1, 64);
            for (unsigned user = 0; user < 40; user++) {
                check_and_report(user, 10);
                fixture_pass(&f, 4 * S);
            }
            fixture_fold(&f);
            for (unsigned i = 0; i < 80; i++) {
                post_paid(i % 40, 7);
            }
            fixture_close(&f);
            f.shards = shards;
            f.gauges = 24;
            f.step_ns = 200 * QD_NS_PER_MS;
            qd_store_memory_faults(f.store)->write =
                (struct qd_store_fault){.countdown = writes, .repeat = true};
            died += !fixture_try_open(&f, budgets);
            qd_store_memory_faults(f.store)->write = (struct qd_store_fault){.countdown = -1};
            fixture_close(&f);
            fixture_open(&f, budgets);
            f.step_ns = 0;
            expect_all(40, "another number of slices");
            end();
        }
    }
    cr_expect_gt(died, 10);
}
