/* A restart goes on from the last snapshot and counts what came after, once (X5, S1, D7). */
#include "tests/unit/shard/fixture.h"

#include "server/shard/reconcile.h"
#include "server/shard/recover.h"
#include "server/shard/reset.h"
#include "server/shard/snapshot.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(recover, .timeout = 120);

static const char policy[] =
    "version: 1\n"
    "models:\n"
    "  m: {max_output_tokens: 100, limits: {common: {limit: 40000/hour, algorithm: sliding_window, "
    "meter: input_tokens}}}\n"
    "prices:\n"
    "  m: {input_tokens: $2/1M, output_tokens: $4/1M}\n"
    "unknown_price: unpriced\n"
    "plans:\n"
    "  basic:\n"
    "    hourly: {limit: 5000/hour, algorithm: sliding_window, meter: input_tokens}\n"
    "    bucket: {limit: 9000/hour, algorithm: token_bucket, burst: 9000, meter: input_tokens}\n"
    "    concurrency: 30\n"
    "    cost: $1/month\n"
    "tenants:\n"
    "  acme: {plan: basic}\n"
    "  globex: {plan: basic}\n"
    "  initech: {plan: basic}\n";

static struct fixture f;

/* The process is killed: what is in memory is gone, what was written stays. */
static void kill_and_boot(const char *yaml)
{
    fixture_close(&f);
    fixture_open(&f, yaml);
}

static struct qd_reconciled reconcile(void)
{
    struct qd_reconciled answer;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_reconcile(f.worker, &answer, &f.error), QD_ERROR_NONE, "%s", f.error.text);
    qd_worker_leave(f.worker);
    return answer;
}

static int64_t common_use(void)
{
    struct qd_limit_state state;
    struct qd_hash128 id;
    uint64_t cursor = 0;
    struct qd_wall_ns now = qd_clock_now(&f.node->clock);
    struct qd_core *core = f.node->shards.commons.core;

    return qd_core_counter_next(core, &cursor, now, &id, &state) ? state.used : 0;
}

Test(recover, X5_rates_budgets_and_holds_go_on_where_the_snapshot_left_them)
{
    char token[QD_TOKEN_TEXT_MAX + 1];
    char id[QD_SHORT_ID_MAX + 1];
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 3000));
    cr_assert_eq(report_tokens(&f, 2500), QD_ERROR_NONE);
    cr_assert(check(&f, "acme", 1000));
    (void)strcpy(token, f.token);
    (void)snprintf(id, sizeof(id), "%.*s", (int)f.answer.id_len, f.answer.id);
    fixture_snapshot(&f);
    kill_and_boot(policy);
    cr_expect_not(f.recovery.from_ledger);
    cr_expect_eq(f.recovery.holds, 1);
    cr_expect_eq(f.recovery.entries, 0);
    cr_expect_eq(used_of(&f, "acme", "hourly"), 3500);
    cr_expect_eq(used_of(&f, "acme", "bucket"), 3500);
    cr_expect_eq(used_of(&f, "acme", "cost"), 5000000);
    cr_expect_eq(held_of(&f, "acme", "cost"), 2000000 + 400000);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 1);
    cr_expect_eq(common_use(), 3500);
    cr_expect_not(check(&f, "acme", 1600), "a restart forgives no rate");

    struct qd_report_args args = report_of(id, 0);
    args.partial = true;
    args.usage_count = 0;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "its short id means it still: %s",
                 f.error.text);
    args = report_of(token, 200);
    args.sequence = 1;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_CLOSED, "its hold is here again");
    cr_expect_eq(used_of(&f, "acme", "hourly"), 2700);
    cr_expect_eq(held_of(&f, "acme", "cost"), 0);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 0);
    cr_expect_eq(common_use(), 2700);
    fixture_end(&f);
}

Test(recover, S1_a_hold_of_an_earlier_boot_can_be_extended_and_cancelled_and_expires)
{
    bool cancelled = false;
    char token[3][QD_TOKEN_TEXT_MAX + 1];
    fixture_open(&f, policy);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(check(&f, "acme", 100));
        (void)strcpy(token[i], f.token);
    }
    fixture_snapshot(&f);
    for (unsigned boot = 0; boot < 3; boot++) {
        kill_and_boot(policy);
        cr_assert_eq(f.recovery.holds, 3, "boot %u", boot);
    }
    (void)qd_worker_enter(f.worker);
    struct qd_extend_args extend = {.reservation = str(token[0]), .ttl_ms = 600000};
    struct qd_extend_answer answer;
    cr_assert_eq(qd_node_extend(f.worker, &extend, &answer, &f.error), QD_ERROR_NONE, "%s",
                 f.error.text);
    cr_expect(answer.go_on);
    cr_assert_eq(qd_node_cancel(f.worker, str(token[1]), str(NULL), &cancelled, &f.error),
                 QD_ERROR_NONE);
    cr_expect(cancelled);
    qd_worker_leave(f.worker);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 2);
    fixture_snapshot(&f);
    kill_and_boot(policy);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 2);
    fixture_pass(&f, 301 * S);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 1, "the one that was extended");
    fixture_pass(&f, 300 * S);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 0, "none leaks");
    fixture_snapshot(&f);
    kill_and_boot(policy);
    cr_expect_eq(f.recovery.holds, 0);
    fixture_end(&f);
}

/* What the ledger has after the snapshot is counted, in budgets and in rates, and settles its hold.
 */
Test(recover, X5_entries_after_the_snapshot_are_counted_once)
{
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 1000));
    fixture_snapshot(&f);
    cr_assert_eq(report_tokens(&f, 700), QD_ERROR_NONE);
    cr_assert(check(&f, "acme", 100)); /* made and settled within the second that is lost */
    cr_assert_eq(report_tokens(&f, 50), QD_ERROR_NONE);
    for (unsigned boot = 0; boot < 3; boot++) {
        kill_and_boot(policy);
        cr_expect_eq(f.recovery.entries, boot == 0 ? 2 : 0, "boot %u: %llu", boot,
                     (unsigned long long)f.recovery.entries);
        cr_expect_eq(used_of(&f, "acme", "cost"), 1500000, "boot %u", boot);
        cr_expect_eq(held_of(&f, "acme", "cost"), 0);
        cr_expect_eq(held_of(&f, "acme", "concurrency"), 0);
        cr_expect_eq(used_of(&f, "acme", "hourly"), 750, "boot %u", boot);
        cr_expect_eq(common_use(), 750, "boot %u", boot);
    }
    fixture_end(&f);
}

static const char with_day[] = "version: 1\n"
                               "models:\n"
                               "  m: {max_output_tokens: 100}\n"
                               "plans:\n"
                               "  basic:\n"
                               "    day: {limit: 5000/day, meter: input_tokens}\n"
                               "%s"
                               "tenants:\n"
                               "  acme: {plan: basic}\n";

/* P6: what starts empty in the middle of its period has counted the same after a restart. */
Test(recover, P6_a_budget_that_was_added_late_counts_the_same_after_a_restart)
{
    char before[512];
    char after[512];
    (void)snprintf(before, sizeof(before), with_day, "");
    (void)snprintf(after, sizeof(after), with_day,
                   "    month: {limit: 90000/month, meter: input_tokens}\n");
    fixture_open(&f, before);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    fixture_publish(&f, after);
    cr_assert(check(&f, "acme", 300));
    cr_assert_eq(report_tokens(&f, 300), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "month"), 300);
    fixture_snapshot(&f);
    cr_assert(check(&f, "acme", 20));
    cr_assert_eq(report_tokens(&f, 20), QD_ERROR_NONE);
    kill_and_boot(after);
    cr_expect_eq(used_of(&f, "acme", "month"), 320);
    cr_expect_eq(used_of(&f, "acme", "day"), 1320);
    fixture_end(&f);
}

static void change_snapshot(char kind, size_t at, int change)
{
    const char bounds[2] = {kind, (char)(kind + 1)};
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {&bounds[0], 1}, .upper = {&bounds[1], 1}};
    struct qd_store_iter *iter = qd_store_iter_open(f.store, &range);
    struct qd_str key;
    struct qd_str value;
    struct qd_batch batch;
    char bytes[4096];

    cr_assert_not_null(iter);
    cr_assert_eq(qd_store_iter_next(iter, &key, &value, NULL), QD_STORE_OK, "%c", kind);
    memcpy(bytes, value.ptr, value.len);
    bytes[at] = (char)(bytes[at] + change);
    qd_batch_init(&batch);
    qd_batch_put(&batch, QD_STORE_SNAPSHOT, key, (struct qd_str){bytes, value.len});
    qd_store_iter_close(iter);
    cr_assert_eq(qd_store_write(f.store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

/* X4: nothing that was acknowledged is lost with it. */
Test(recover, X4_with_a_damaged_snapshot_budgets_are_counted_from_the_ledger)
{
    static const char kinds[] = {'c', 'j', 'k'};
    for (unsigned i = 0; i < 3; i++) {
        fixture_open(&f, policy);
        cr_assert(check(&f, "acme", 1000));
        cr_assert_eq(report_tokens(&f, 700), QD_ERROR_NONE);
        cr_assert(check(&f, "acme", 100));
        fixture_fold(&f);
        fixture_close(&f);
        change_snapshot(kinds[i], 7, 1);
        fixture_open(&f, policy);
        cr_expect(f.recovery.from_ledger);
        cr_expect_neq(f.recovery.damage[0], '\0', "%c", kinds[i]);
        cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
        cr_expect_eq(held_of(&f, "acme", "cost"), 0);
        kill_and_boot(policy);
        cr_expect_not(f.recovery.from_ledger, "the boot has stored a new one");
        cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
        fixture_end(&f);
    }
}

/* The ledger lost its end: its numbers will be given anew, to other entries. */
Test(recover, X4_a_snapshot_that_is_ahead_of_the_ledger_is_not_used)
{
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 700), QD_ERROR_NONE);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 50), QD_ERROR_NONE);
    fixture_snapshot(&f);
    fixture_close(&f);
    static const char second[8] = {0, 0, 0, 0, 0, 0, 0, 2}; /* the entry's key */
    struct qd_batch batch;
    qd_batch_init(&batch);
    qd_batch_delete(&batch, QD_STORE_LEDGER, (struct qd_str){second, sizeof(second)});
    cr_assert_eq(qd_store_write(f.store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    fixture_open(&f, policy);
    cr_expect(f.recovery.from_ledger);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
    cr_assert(check(&f, "acme", 100));
    cr_assert_eq(report_tokens(&f, 10), QD_ERROR_NONE, "%s", f.error.text);
    kill_and_boot(policy);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1420000, "the new second entry counts");
    fixture_end(&f);
}

Test(recover, X5_a_snapshot_of_a_newer_version_is_refused)
{
    static const char kinds[] = {'c', 'j', 'k'};
    for (unsigned i = 0; i < 3; i++) {
        struct qd_recovery recovery;
        fixture_open(&f, policy);
        cr_assert(check(&f, "acme", 1000));
        fixture_fold(&f);
        change_snapshot(kinds[i], 1, 1); /* the record's version */
        qd_shards_clear(&f.node->shards);
        cr_expect_not(qd_node_recover(f.node, f.worker, &recovery, &f.error), "%c", kinds[i]);
        cr_expect_not_null(strstr(f.error.text, "newer version"), "%s", f.error.text);
        fixture_end(&f);
    }
}

/* Numbers of holds name their slice: with another number of slices they settle by their tokens
 * (S1).
 */
Test(recover, X5_counters_survive_another_number_of_slices)
{
    static const uint32_t counts[] = {16, 2, 1, 8, 4};
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 1000));
    fixture_snapshot(&f);
    cr_assert_eq(report_tokens(&f, 700), QD_ERROR_NONE);
    cr_assert(check(&f, "globex", 500));
    fixture_snapshot(&f);
    for (unsigned i = 0; i < 5; i++) {
        f.shards = counts[i];
        kill_and_boot(policy);
        cr_expect_eq(f.recovery.holds_lost, i == 0 ? 1 : 0, "%u slices", counts[i]);
        cr_expect_eq(used_of(&f, "acme", "hourly"), 700, "%u slices", counts[i]);
        cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
        cr_expect_eq(used_of(&f, "globex", "hourly"), 500, "as charged: its hold is unknown");
        cr_expect_eq(held_of(&f, "globex", "cost"), 0);
        cr_expect_eq(common_use(), 1200);
    }
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "globex", "cost"), 200000);
    f.shards = 0;
    fixture_end(&f);
}

/* X4: a write that failed and was there all the same is in the ledger, so in the budgets. */
Test(recover, X5_what_a_failing_store_took_all_the_same_is_counted)
{
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE);
    cr_assert(check(&f, "acme", 1000));
    qd_store_memory_faults(f.store)->sync = (struct qd_store_fault){.countdown = 0};
    struct qd_report_args args = report_of(f.token, 700);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_STORE_ERROR);
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1600000);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.duplicate);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1600000);
    cr_expect_eq(held_of(&f, "acme", "cost"), 0);
    fixture_snapshot(&f);
    cr_assert(check(&f, "acme", 10));
    cr_assert_eq(report_tokens(&f, 10), QD_ERROR_NONE);
    kill_and_boot(policy);
    cr_expect_eq(f.recovery.entries, 1);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1620000);
    fixture_end(&f);
}

/* --- any order of everything, with kills in between --- */

#define TENANTS 3
#define TOKENS  32

static const char *const tenants[TENANTS] = {"acme", "globex", "initech"};

struct story {
    struct qd_prng g;
    int64_t cost[TENANTS]; /* what was acknowledged, since the last reset */
    char token[TOKENS][QD_TOKEN_TEXT_MAX + 1];
    unsigned owner[TOKENS];
    unsigned count;
    unsigned boots;
    unsigned posts;
};

static void do_check(struct story *s)
{
    unsigned who = (unsigned)qd_prng_below(&s->g, TENANTS);
    if (s->count < TOKENS && check(&f, tenants[who], qd_prng_between(&s->g, 1, 200))) {
        s->owner[s->count] = who;
        (void)strcpy(s->token[s->count++], f.token);
    }
}

static void do_report(struct story *s)
{
    unsigned at = (unsigned)qd_prng_below(&s->g, s->count);
    int64_t tokens = qd_prng_between(&s->g, 0, 300);
    struct qd_report_args args = report_of(s->token[at], tokens);
    args.partial = qd_prng_chance(&s->g, 1, 4);
    args.sequence = (uint32_t)qd_prng_below(&s->g, 1000000) + 1;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_not(f.report.duplicate);
    s->cost[s->owner[at]] += 2000 * tokens;
    if (!args.partial) {
        s->count--;
        memmove(s->token[at], s->token[s->count], sizeof(s->token[at])); /* maybe itself */
        s->owner[at] = s->owner[s->count];
    }
}

static void do_post_paid(struct story *s)
{
    unsigned who = (unsigned)qd_prng_below(&s->g, TENANTS);
    int64_t tokens = qd_prng_between(&s->g, 0, 300);
    struct qd_report_args args = report_of(NULL, tokens);
    char id[32];
    (void)snprintf(id, sizeof(id), "post-%u", s->posts++);
    args.tenant = str(tenants[who]);
    args.model = str("m");
    args.request_id = str(id);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    s->cost[who] += 2000 * tokens;
}

static void do_reset(struct story *s)
{
    unsigned who = (unsigned)qd_prng_below(&s->g, TENANTS);
    struct qd_reset_args args = {.tenant = str(tenants[who]), .limit = str("basic.cost")};
    uint32_t count;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_reset(f.worker, &args, NULL, &count, &f.error), QD_ERROR_NONE, "%s",
                 f.error.text);
    qd_worker_leave(f.worker);
    s->cost[who] = 0;
}

static void do_boot(struct story *s)
{
    bool power = qd_prng_chance(&s->g, 1, 2);
    fixture_close(&f);
    if (power) { /* what was not synced is lost, but for some of the first writes */
        qd_store_memory_crash(f.store, qd_prng_below(&s->g, 8));
    }
    fixture_open(&f, policy);
    s->boots++;
    struct qd_reconciled verified = reconcile();
    cr_assert(verified.clean, "%s", verified.difference);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert_eq(used_of(&f, tenants[i], "cost"), s->cost[i], "boot %u, %s: %ld, not %ld",
                     s->boots, tenants[i], (long)used_of(&f, tenants[i], "cost"), (long)s->cost[i]);
    }
}

static void tell(uint64_t seed)
{
    struct story s = {.count = 0};
    qd_prng_init(&s.g, seed);
    fixture_open(&f, policy);
    for (unsigned n = 0; n < 400; n++) {
        uint64_t what = qd_prng_below(&s.g, 100);
        if (what < 40) {
            do_check(&s);
        } else if (what < 65 && s.count > 0) {
            do_report(&s);
        } else if (what < 75) {
            do_post_paid(&s);
        } else if (what < 77) {
            do_reset(&s);
        } else if (what < 85) {
            struct qd_store_error error;
            cr_assert(qd_snapshot_round(f.node, qd_prng_chance(&s.g, 1, 2), &error));
        } else if (what < 90) {
            fixture_pass(&f, qd_prng_between(&s.g, 0, 20 * S));
        } else if (what < 95) {
            do_boot(&s);
        }
    }
    do_boot(&s);
    fixture_pass(&f, QD_NS_PER_HOUR);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_expect_eq(held_of(&f, tenants[i], "cost"), 0, "no hold leaks (S5)");
        cr_expect_eq(held_of(&f, tenants[i], "concurrency"), 0);
    }
    fixture_end(&f);
}

Test(recover, D7_used_is_what_was_acknowledged_whenever_the_process_dies)
{
    uint64_t first = qd_prng_seed("recover", 5);
    for (uint64_t seed = first; seed < first + 60; seed++) {
        tell(seed);
    }
}

/* --- verify (D7) --- */

Test(recover, D7_budgets_are_verified_against_their_entries)
{
    char after[512];
    char before[512];
    (void)snprintf(before, sizeof(before), with_day, "");
    (void)snprintf(after, sizeof(after), with_day,
                   "    month: {limit: 90000/month, meter: input_tokens, per: model}\n");
    fixture_open(&f, before);
    cr_expect(reconcile().clean);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    fixture_publish(&f, after);
    cr_assert(check(&f, "acme", 300));
    cr_assert_eq(report_tokens(&f, 300), QD_ERROR_NONE);
    struct qd_reconciled answer = reconcile();
    cr_expect(answer.clean, "%s", answer.difference);
    cr_expect_eq(answer.budgets, 2, "the one that was added late among them");
    cr_expect_eq(answer.skipped, 0);
    cr_expect_eq(answer.entries, 2);
    struct qd_reset_args args = {.tenant = str("acme"), .limit = str("basic.month")};
    uint32_t count;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_reset(f.worker, &args, NULL, &count, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_assert(check(&f, "acme", 7));
    cr_assert_eq(report_tokens(&f, 7), QD_ERROR_NONE);
    answer = reconcile();
    cr_expect(answer.clean, "%s", answer.difference);
    fixture_snapshot(&f);
    kill_and_boot(after);
    answer = reconcile();
    cr_expect(answer.clean, "%s", answer.difference);
    cr_expect_eq(answer.budgets, 2);
    fixture_end(&f);
}

/* A counter that went astray is named, with both figures. */
Test(recover, D7_a_budget_that_differs_from_its_entries_is_named)
{
    char yaml[512];
    (void)snprintf(yaml, sizeof(yaml), with_day, "");
    fixture_open(&f, yaml);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    cr_expect(reconcile().clean);
    struct qd_hash128 id = {0, 0};
    struct qd_budget budget;
    struct qd_wall_ns now = qd_clock_now(&f.node->clock);
    struct qd_core *core = qd_shards_of(&f.node->shards, str("acme"))->core;
    uint64_t cursor = 0;
    while (qd_core_budget_next(core, &cursor, now, &budget)) {
        id = budget.id;
    }
    cr_assert(qd_core_counter_reset(core, id, 0, now), "which no entry says");
    struct qd_reconciled answer = reconcile();
    cr_expect_not(answer.clean);
    cr_expect_str_eq(
        answer.difference,
        "limit basic.day of acme has counted 0, its entries in the ledger are 1000 (in "
        "its smallest unit)");
    fixture_end(&f);
}

/* What no entry finds any more cannot be compared, and that is said. */
Test(recover, D7_a_budget_of_a_plan_that_was_left_is_not_compared)
{
    char yaml[512];
    (void)snprintf(yaml, sizeof(yaml), with_day, "");
    fixture_open(&f, yaml);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    fixture_publish(&f, policy);
    struct qd_reconciled answer = reconcile();
    cr_expect(answer.clean, "%s", answer.difference);
    cr_expect_eq(answer.skipped, 1);
    fixture_end(&f);
}

static const char conc2[] = "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
                            "plans:\n  basic:\n"
                            "    concurrency: 1\n"
                            "    day: {limit: 5000/day, meter: input_tokens}\n"
                            "tenants: {\"*\": {plan: basic}}\n";

Test(recover, X5_holds_find_their_counters_where_the_store_has_more_than_fit)
{
    char name[32];
    f.shards = 0;
    fixture_open(&f, conc2);
    for (unsigned i = 0; i < 600; i++) {
        (void)snprintf(name, sizeof name, "t%u", i);
        struct qd_check_args a = args_of(name, 10);
        a.ttl_ms = 1000;
        cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
        cr_assert(f.answer.allowed, "%s", f.answer.message);
        cr_assert_eq(report_tokens(&f, 10), QD_ERROR_NONE);
        fixture_pass(&f, 4 * S);
    }
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "t%u", 580 + i);
        struct qd_check_args a = args_of(name, 10);
        a.ttl_ms = 600000;
        cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
        cr_assert(f.answer.allowed, "%s", f.answer.message);
        fixture_pass(&f, S);
    }
    fixture_snapshot(&f);
    unsigned twice = 0;
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "t%u", 580 + i);
        twice += check(&f, name, 10);
    }
    cr_expect_eq(twice, 0);
    fixture_close(&f);
    fixture_open(&f, conc2);
    cr_expect_eq(f.recovery.holds, 20, "%lu", (unsigned long)f.recovery.holds);
    twice = 0;
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "t%u", 580 + i);
        twice += check(&f, name, 10);
    }
    cr_expect_eq(twice, 0, "%u of 20 with concurrency 1 admitted a second one", twice);
    fixture_end(&f);
}

Test(recover, X5_a_hold_that_has_another_place_now_is_there_once)
{
    static const char many[] = "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
                               "plans:\n  basic:\n"
                               "    concurrency: 10000\n"
                               "tenants: {\"*\": {plan: basic}}\n";
    f.shards = 0;
    fixture_open(&f, many);
    f.reservations = 512;
    fixture_close(&f);
    fixture_open(&f, many);
    char first[QD_TOKEN_TEXT_MAX + 1];
    for (unsigned i = 0; i < 200; i++) {
        cr_assert(check(&f, "acme", 10), "%u %s", i, f.answer.message);
        if (i == 199)
            strcpy(first, f.token);
    }
    /* all but the last end */
    fixture_snapshot(&f);
    fixture_pass(&f, 200 * S);
    cr_assert(check(&f, "acme", 10));
    strcpy(first, f.token);
    fixture_pass(&f, 150 * S);
    fixture_snapshot(&f);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 1);
    fixture_close(&f);
    f.reservations = 64;
    for (unsigned boot = 0; boot < 3; boot++) {
        fixture_open(&f, many);
        cr_expect_eq(f.recovery.holds, 1, "boot %u: %lu holds", boot,
                     (unsigned long)f.recovery.holds);
        cr_expect_eq(held_of(&f, "acme", "concurrency"), 1, "boot %u held %ld", boot,
                     (long)held_of(&f, "acme", "concurrency"));
        fixture_snapshot(&f);
        fixture_close(&f);
    }
    fixture_open(&f, many);
    struct qd_report_args args = report_of(first, 10);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 0, "settled, held %ld",
                 (long)held_of(&f, "acme", "concurrency"));
    fixture_snapshot(&f);
    fixture_close(&f);
    fixture_open(&f, many);
    cr_expect_eq(f.recovery.holds, 0, "settled, and back: %lu", (unsigned long)f.recovery.holds);
    fixture_end(&f);
}

static const char hour[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
    "plans:\n  basic:\n"
    "    concurrency: 1\n"
    "    hourly: {limit: 5000/hour, algorithm: sliding_window, meter: input_tokens}\n"
    "    budget: {limit: 5000/day, meter: input_tokens, algorithm: calendar}\n"
    "    fixed: {limit: 5000/hour, meter: input_tokens, algorithm: fixed_window}\n"
    "tenants: {acme: {plan: basic}}\n";

Test(recover, D5_a_clock_that_went_back_over_a_boot_forgets_nothing)
{
    f.shards = 0;
    fixture_open(&f, hour);
    cr_assert(check(&f, "acme", 1000));
    fixture_snapshot(&f);
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    fixture_close(&f);
    f.wall -= S;
    fixture_open(&f, hour);
    cr_expect_not(f.recovery.from_ledger, "%s", f.recovery.damage);
    cr_expect_not(check(&f, "acme", 1000), "a second one, and the first is open");
    fixture_end(&f);
}

static const char minute[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
    "plans:\n  basic:\n"
    "    fixed: {limit: 1000/minute, meter: input_tokens, algorithm: fixed_window}\n"
    "    sliding: {limit: 1000/minute, meter: input_tokens, algorithm: sliding_window}\n"
    "tenants: {acme: {plan: basic}}\n";

/* No heartbeat has told the ledger of the time: the slices have seen it. */
Test(recover, D5_time_goes_on_after_a_clock_that_went_back_ten_minutes)
{
    f.shards = 0;
    fixture_open(&f, minute);
    fixture_pass(&f, 300 * S);
    cr_assert(check(&f, "acme", 1000));
    fixture_snapshot(&f);
    fixture_close(&f);
    f.wall -= 600 * S;
    fixture_open(&f, minute);
    cr_expect_not(f.recovery.from_ledger, "%s", f.recovery.damage);
    cr_expect_not(check(&f, "acme", 1000), "the window is full");
    qd_clock_discipline(&f.node->clock);
    cr_expect_eq(qd_clock_alarm(&f.node->clock, NULL), -600 * S);
    fixture_pass(&f, 130 * S);
    cr_expect(check(&f, "acme", 1000), "at half speed a minute has passed: %s", f.answer.message);
    fixture_pass(&f, 1200 * S);
    cr_expect_eq(qd_clock_now(&f.node->clock).ns, f.wall, "near again");
    fixture_end(&f);
}

Test(recover, D5_a_clock_that_was_a_year_ahead_is_not_kept)
{
    f.shards = 0;
    fixture_open(&f, minute);
    cr_assert(check(&f, "acme", 1000));
    fixture_snapshot(&f);
    fixture_close(&f);
    f.wall -= 365 * QD_NS_PER_DAY;
    fixture_open(&f, minute);
    cr_expect_eq(qd_clock_now(&f.node->clock).ns, f.wall);
    cr_expect(f.recovery.from_ledger, "counters of next year are not used");
    cr_expect(check(&f, "acme", 1000));
    fixture_end(&f);
}
