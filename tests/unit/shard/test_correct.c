/* CorrectUsage and PriceUnpriced: the ledger, the budgets, and the same after a restart (L3, P8).
 */
#include "fixture.h"

#include "server/ledger/scan.h"
#include "server/ledger/usage.h"
#include "server/ledger/verify.h"
#include "server/shard/correct.h"
#include "server/shard/price_unpriced.h"
#include "server/shard/reset.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN                                                                   \
    "version: 1\n"                                                             \
    "models:\n  m: {max_output_tokens: 100}\n  m2: {max_output_tokens: 100}\n" \
    "  m3: {max_output_tokens: 100}\n"                                         \
    "unknown_price: unpriced\n"                                                \
    "plans:\n  two:\n"                                                         \
    "    day: {limit: 100000/day, meter: input_tokens}\n"                      \
    "    calls: {limit: 1000/day, meter: requests}\n"                          \
    "    cost: $500/month\n"                                                   \
    "    split: {limit: 100000/day, meter: input_tokens, per: model}\n"        \
    "    mine: {limit: 100000/day, meter: input_tokens, per: user}\n"          \
    "    third: {limit: 100000/day, settle: {input_tokens: 0.333333}}\n"       \
    "    rate: {limit: 100000/min, meter: input_tokens}\n"                     \
    "tenants:\n  acme: {plan: two}\n  other: {plan: two}\n"

static struct fixture f;
static struct qd_correct_work *work;

static const char policy[] = PLAN "prices:\n"
                                  "  m: {input_token: $1.001/1M, output_token: $3/1M}\n"
                                  "  m2: {input_token: $0.07/1M, output_token: $0.1/1M}\n";
static const char later[] = PLAN "prices:\n"
                                 "  m: {input_token: $1.001/1M, output_token: $3/1M}\n"
                                 "  m2: {input_token: $0.07/1M, output_token: $0.1/1M}\n"
                                 "  m3:\n"
                                 "    - {effective: 2025-11-24, input_token: $7/1M, output_token: "
                                 "$9/1M}\n";

static void open_node(void)
{
    fixture_open(&f, policy);
    work = qd_correct_work_new();
}

static void end_node(void)
{
    struct qd_verify_report verified;
    cr_assert_eq(qd_ledger_verify(f.ledger, &verified, NULL), QD_STORE_OK);
    cr_expect(verified.clean, "%s", verified.difference);
    qd_correct_work_free(work);
    fixture_end(&f);
}

TestSuite(correct, .init = open_node, .fini = end_node, .timeout = 120);

static void boot_again(void)
{
    fixture_close(&f);
    fixture_open(&f, policy);
}

/* A post-paid report; its entry's sequence. */
static uint64_t report(const char *tenant, const char *model, int64_t tokens)
{
    static unsigned number;
    static char id[16];
    struct qd_report_args args = report_of("", tokens);

    (void)snprintf(id, sizeof(id), "r%u", ++number);
    args.tenant = str(tenant);
    args.model = str(model);
    args.user = str("ann");
    args.request_id = str(id);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    return f.report.entry_sequence;
}

static struct qd_correct_args correction_of(uint64_t sequence)
{
    return (struct qd_correct_args){
        .sequence = sequence, .correction_id = str("c1"), .reason = str("wrong tokens")};
}

static struct qd_correct_args to_tokens(uint64_t sequence, int64_t tokens)
{
    struct qd_correct_args args = correction_of(sequence);
    args.usage[0] = (struct qd_amount_arg){str("input_tokens"), tokens};
    args.usage_count = 1;
    return args;
}

static enum qd_error_code correct(const struct qd_correct_args *args)
{
    qd_correct_work_free(work);
    work = qd_correct_work_new();
    (void)qd_worker_enter(f.worker);
    enum qd_error_code code = qd_correct(f.worker, args, work, &f.error);
    qd_worker_leave(f.worker);
    return code;
}

static enum qd_error_code take_back(uint64_t sequence)
{
    struct qd_correct_args args = correction_of(sequence);
    args.take_back = true;
    return correct(&args);
}

/* --- counters --- */

static const char *const limits[] = {"day", "calls", "cost", "split", "mine", "third"};
#define LIMITS (sizeof(limits) / sizeof(limits[0]))

struct used {
    int64_t of[2][3][LIMITS]; /* tenant, model, limit */
};

static void look(struct used *ret_used)
{
    static const char *const tenants[] = {"acme", "other"};
    static const char *const models[] = {"m", "m2", "m3"};
    for (size_t t = 0; t < 2; t++) {
        for (size_t m = 0; m < 3; m++) {
            for (size_t i = 0; i < LIMITS; i++) {
                struct qd_attributes a = {.tenant = str(tenants[t]),
                                          .model = str(models[m]),
                                          .family = str(models[m]),
                                          .user = str("ann")};
                ret_used->of[t][m][i] = used_by(&f, &a, limits[i]);
            }
        }
    }
}

/* X5: what is counted now is what a restart counts. */
static void check_restart(void)
{
    struct used before;
    struct used after;
    look(&before);
    boot_again();
    look(&after);
    for (size_t i = 0; i < sizeof(before.of) / sizeof(int64_t); i++) {
        cr_expect_eq((&before.of[0][0][0])[i], (&after.of[0][0][0])[i], "%zu %s: %lld, then %lld",
                     i, limits[i % LIMITS], (long long)(&before.of[0][0][0])[i],
                     (long long)(&after.of[0][0][0])[i]);
    }
}

static int64_t used_with(const char *model, const char *limit)
{
    struct qd_attributes a = {.tenant = str("acme"), .model = str(model), .family = str(model)};

    return used_by(&f, &a, limit);
}

Test(correct, L3_budgets_follow_a_correction_at_once_and_after_a_restart)
{
    uint64_t first = report("acme", "m", 1000);
    (void)report("acme", "m", 10);
    cr_assert_eq(used_of(&f, "acme", "day"), 1010);
    int64_t rate = used_of(&f, "acme", "rate");
    struct qd_correct_args args = to_tokens(first, 400);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(work->correction.reversal.sequence, 3);
    cr_expect_eq(work->correction.rebooked.sequence, 4);
    cr_expect_eq(used_of(&f, "acme", "day"), 410, "%lld", (long long)used_of(&f, "acme", "day"));
    cr_expect_eq(used_of(&f, "acme", "split"), 410);
    cr_expect_eq(used_of(&f, "acme", "calls"), 2, "requests stay where nobody says otherwise");
    cr_expect_eq(used_of(&f, "acme", "cost"), 400400 + 10010);
    cr_expect_eq(used_of(&f, "acme", "rate"), rate, "a rate has let pass what it has let pass");
    check_restart();
    cr_assert_eq(take_back(4), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "day"), 10);
    cr_expect_eq(used_of(&f, "acme", "calls"), 1);
    cr_expect_eq(used_of(&f, "acme", "cost"), 10010);
    check_restart();
}

/* Weights round up once an entry: a reversal must not round its own way. */
Test(correct, L3_what_was_rounded_up_goes_as_it_came)
{
    uint64_t first = report("acme", "m", 10);
    cr_assert_eq(used_of(&f, "acme", "third"), 4);
    cr_assert_eq(take_back(first), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "third"), 0);
    first = report("acme", "m2", 7); /* 0.07 micro-dollars a token: 490 nano-dollars */
    cr_assert_eq(take_back(first), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "cost"), 0);
    check_restart();
}

Test(correct, L3_wrong_model_and_wrong_tenant_move_to_where_they_belong)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = correction_of(first);
    args.model = str("m2");
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_with("m", "split"), 0);
    cr_expect_eq(used_with("m2", "split"), 1000);
    cr_expect_eq(used_of(&f, "acme", "cost"), 70000);
    cr_expect(qd_slice_equal(work->correction.rebooked.prices[0], str("m2")));
    check_restart();
    args = correction_of(3);
    args.tenant = str("other");
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "day"), 0);
    cr_expect_eq(used_of(&f, "other", "day"), 1000);
    cr_expect_eq(used_of(&f, "other", "cost"), 70000);
    check_restart();
}

/* X5: what the check reserved as m was reported as m2: counted as m, priced as m2. */
Test(correct, L3_a_correction_counts_where_the_original_was_counted)
{
    cr_assert(check(&f, "acme", 100));
    struct qd_report_args r = report_of(f.token, 100);
    r.model = str("m2");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(used_with("m", "split"), 100);
    struct qd_correct_args args = to_tokens(f.report.entry_sequence, 40);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_with("m", "split"), 40);
    cr_expect_eq(used_with("m2", "split"), 0);
    cr_expect_eq(used_of(&f, "acme", "cost"), 2800);
    check_restart();
    args = correction_of(work->correction.rebooked.sequence);
    args.model = str("m3"); /* said again: counted as said */
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_with("m", "split"), 0);
    cr_expect_eq(used_with("m3", "split"), 40);
    check_restart();
}

Test(correct, L3_a_correction_of_a_closed_period_changes_no_counter_of_today)
{
    uint64_t yesterday = report("acme", "m", 1000);
    fixture_pass(&f, QD_NS_PER_DAY);
    (void)report("acme", "m", 7);
    cr_assert_eq(used_of(&f, "acme", "day"), 7);
    struct qd_correct_args args = to_tokens(yesterday, 5000);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "day"), 7);
    cr_expect_eq(used_of(&f, "acme", "cost"), 5005000 + 7007, "the month is open");
    check_restart();
    /* A correction concerns any time: reports have a horizon, corrections none. */
    fixture_pass(&f, 400 * QD_NS_PER_DAY);
    cr_assert_eq(take_back(work->correction.rebooked.sequence), QD_ERROR_NONE, "%s", f.error.text);
    check_restart();
}

/* D12: the counter made room for others' since: it comes back, with what it has counted. */
Test(correct, L3_a_counter_that_was_evicted_is_corrected_too)
{
    char user[16];
    struct qd_report_args args = report_of("", 100);
    args.tenant = str("acme");
    args.model = str("m");
    for (unsigned i = 0; i < 300; i++) { /* a slice has 64 places */
        (void)snprintf(user, sizeof(user), "u%u", i);
        args.user = args.request_id = str(user);
        cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
        fixture_pass(&f, 2 * S);
    }
    cr_assert_gt(f.worker->figures.evictions, 0);
    struct qd_attributes first = {
        .tenant = str("acme"), .model = str("m"), .family = str("m"), .user = str("u0")};
    cr_assert_eq(used_by(&f, &first, "mine"), 0, "it is not in memory");
    uint64_t restores = f.worker->figures.restores;
    struct qd_correct_args correction = to_tokens(1, 30);
    cr_assert_eq(correct(&correction), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_gt(f.worker->figures.restores, restores);
    cr_expect_eq(used_by(&f, &first, "mine"), 30, "%lld", (long long)used_by(&f, &first, "mine"));
    cr_expect_eq(used_of(&f, "acme", "day"), 29930);
}

/* Nor does it come back as credit: now, after a restart, and when the correction is corrected. */
Test(correct, L3_what_a_reset_has_forgotten_stays_forgotten_corrected_or_not)
{
    struct qd_reset_args reset = {.tenant = str("acme"), .limit = str("two.day")};
    uint32_t count = 0;
    uint64_t first = report("acme", "m", 1000);
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_reset(f.worker, &reset, NULL, &count, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_assert_eq(count, 1);
    struct qd_correct_args args = to_tokens(first, 1200);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "day"), 0);
    check_restart();
    uint64_t rebooked = work->correction.rebooked.sequence;
    (void)report("acme", "m", 1500);
    cr_assert_eq(take_back(rebooked), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "day"), 1500, "what came after the reset, and all of it");
    check_restart();
}

/* --- once --- */

Test(correct, S6_the_same_correction_is_answered_again)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = to_tokens(first, 400);
    cr_assert_eq(correct(&args), QD_ERROR_NONE);
    cr_assert_not(work->duplicate);
    boot_again();
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(work->duplicate);
    cr_expect(work->correction.rebooks);
    cr_expect_eq(work->correction.reversal.sequence, 2);
    cr_expect_eq(work->correction.rebooked.sequence, 3);
    cr_expect_eq(work->correction.rebooked.cost_pico_usd, 400400000);
    cr_expect_eq(used_of(&f, "acme", "day"), 400);
    check_restart();
}

Test(correct, L3_an_entry_is_taken_back_once_and_the_error_names_what_did)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = to_tokens(first, 400);
    cr_assert_eq(correct(&args), QD_ERROR_NONE);
    args.usage[0].amount = 500;
    cr_assert_eq(correct(&args), QD_ERROR_ENTRY_CORRECTED);
    cr_expect_str_eq(f.error.text, "entry: 1 was corrected before, by entry 2; entry 3 stands "
                                   "instead: correct that one. Nothing was booked");
    args.dry_run = true;
    cr_assert_eq(correct(&args), QD_ERROR_ENTRY_CORRECTED);
    cr_assert_eq(take_back(3), QD_ERROR_NONE, "%s", f.error.text);
    args.dry_run = false;
    args.sequence = 3;
    cr_assert_eq(correct(&args), QD_ERROR_ENTRY_CORRECTED);
    cr_expect_str_eq(f.error.text, "entry: 3 was taken back before, by entry 4; nothing stands "
                                   "instead. Nothing was booked");
    cr_assert_eq(take_back(4), QD_ERROR_NOT_CORRECTABLE);
    cr_expect_str_eq(f.error.text,
                     "entry: 4 takes entry 3 back and cannot be taken back itself: report or "
                     "correct what is right instead");
    cr_assert_eq(take_back(99), QD_ERROR_UNKNOWN_ENTRY);
    cr_expect_eq(used_of(&f, "acme", "day"), 0);
}

Test(correct, L3_the_report_itself_sent_again_is_still_a_duplicate)
{
    struct qd_report_args r = report_of("", 1000);
    r.tenant = str("acme");
    r.model = str("m");
    r.request_id = str("req-1");
    r.source = str("proxy");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE);
    struct qd_correct_args args = to_tokens(0, 400);
    args.key_tenant = str("acme");
    args.key_request_id = str("req-1");
    cr_assert_eq(correct(&args), QD_ERROR_UNKNOWN_ENTRY, "another source");
    args.key_source = str("proxy");
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(work->correction.reversal.corrects_sequence, 1);
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE);
    cr_expect(f.report.duplicate);
    cr_expect_eq(used_of(&f, "acme", "day"), 400);
    /* Nobody can take a correction's key by a report. */
    r.source = str("correction");
    r.request_id = str("7");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_INVALID_NAME);
}

Test(correct, L3_a_dry_run_shows_both_and_books_nothing)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = to_tokens(first, 400);
    args.dry_run = true;
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(work->correction.reversal.cost_pico_usd, -1001000000);
    cr_expect_eq(work->correction.rebooked.cost_pico_usd, 400400000);
    cr_expect_eq(work->correction.reversal.sequence, 0);
    cr_expect_eq(qd_ledger_watermark(f.ledger).sequence, 1);
    cr_expect_eq(used_of(&f, "acme", "day"), 1000);
}

Test(correct, I8_what_cannot_be_corrected_says_why)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = correction_of(first);
    cr_assert_eq(correct(&args), QD_ERROR_INVALID_FIELD);
    cr_expect_str_eq(f.error.text, "nothing to correct: give what is right (usage, tenant, model, "
                                   "pool, user, labels), or take_back");
    args = to_tokens(first, 1);
    args.take_back = true;
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_FIELD);
    args = to_tokens(first, 1);
    args.reason = str("");
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_FIELD);
    args = to_tokens(first, 1);
    args.correction_id = str("");
    cr_expect_eq(correct(&args), QD_ERROR_REQUEST_ID_REQUIRED);
    args = to_tokens(first, 1);
    args.key_request_id = str("r1");
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_FIELD);
    args = to_tokens(first, 1);
    args.node = str("elsewhere");
    cr_expect_eq(correct(&args), QD_ERROR_UNKNOWN_ENTRY);
    args = to_tokens(first, -1);
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_AMOUNT);
    args = to_tokens(first, QD_AMOUNT_MAX);
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_AMOUNT);
    args = to_tokens(first, 1);
    args.usage[0].meter = str("cost");
    cr_expect_neq(correct(&args), QD_ERROR_NONE);
    args = correction_of(first);
    args.tenant = str("no tenant");
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_TENANT);
    cr_expect_eq(qd_ledger_watermark(f.ledger).sequence, 1);
}

static bool last_audit(void *context, const struct qd_audit_record *record)
{
    struct qd_audit_record *last = context;
    static char detail[256];
    *last = *record;
    memcpy(detail, record->detail.ptr, record->detail.len);
    last->detail.ptr = detail;
    last->action =
        qd_slice_equal(record->action, str("CorrectUsage")) ? str("CorrectUsage") : str("other");
    return true;
}

Test(correct, X6_each_correction_leaves_an_audit_record)
{
    struct qd_audit_record last = {0};
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = to_tokens(first, 400);
    cr_assert_eq(correct(&args), QD_ERROR_NONE);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "the same again is no action");
    cr_assert_eq(qd_tenant_store_audit(f.tenants, 0, last_audit, &last, NULL), QD_STORE_OK);
    cr_expect_eq(last.sequence, 1);
    cr_expect(qd_slice_equal(last.action, str("CorrectUsage")));
    cr_expect(qd_slice_equal(last.detail, str("entry 1 corrected, id c1: wrong tokens")));
    cr_expect_neq(last.before.lo, 0);
    cr_expect_neq(last.after.lo, 0);
    cr_assert_eq(take_back(3), QD_ERROR_NONE);
    cr_assert_eq(qd_tenant_store_audit(f.tenants, 0, last_audit, &last, NULL), QD_STORE_OK);
    cr_expect_eq(last.sequence, 2);
    cr_expect_eq(last.after.lo, 0);
}

Test(correct, X4_a_failed_write_corrects_nothing_and_may_be_asked_again)
{
    uint64_t first = report("acme", "m", 1000);
    struct qd_correct_args args = to_tokens(first, 400);
    qd_store_memory_faults(f.store)->write.countdown = 0;
    cr_assert_eq(correct(&args), QD_ERROR_STORE_ERROR);
    cr_expect_eq(used_of(&f, "acme", "day"), 1000);
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_not(work->duplicate);
    cr_expect_eq(used_of(&f, "acme", "day"), 400);
    check_restart();
}

/* --- what had no price --- */

/* All pages; *ret_priced of them, and how many still have no price, once some have one all of model
 * m4. */
static uint64_t price(const char *model, bool dry_run, uint64_t *ret_priced)
{
    static struct qd_price_unpriced_page page;
    uint64_t unpriced = 0;
    struct qd_price_unpriced_args args = {.model = str(model), .dry_run = dry_run};
    *ret_priced = 0;
    do {
        (void)qd_worker_enter(f.worker);
        enum qd_error_code code = qd_price_unpriced(f.worker, &args, &page, &f.error);
        qd_worker_leave(f.worker);
        cr_assert_eq(code, QD_ERROR_NONE, "%s", f.error.text);
        *ret_priced += page.priced;
        unpriced += page.unpriced;
        cr_expect(page.still_count == 0 || strcmp(page.still[0].model, "m4") == 0 ||
                  page.priced == 0);
        args.cursor = page.next_cursor;
    } while (!page.end);
    return unpriced;
}

static int64_t sum_of(const char *name)
{
    struct qd_wall_ns ends[2] = {{0}, {(T0 / QD_ROLLUP_NS + 100000) * QD_ROLLUP_NS}};
    struct qd_usage_query all = {.boundaries = ends, .boundary_count = 2};
    struct qd_usage_table table;
    cr_assert_eq(qd_usage_query(f.ledger, &all, &table, NULL), QD_STORE_OK);
    int64_t value =
        table.row_count == 0 ? 0 : (int64_t)qd_sums_value(&table.rows[0].sums, str(name));
    qd_usage_table_release(&table);
    return value;
}

/* A cap assumes a price; it is none. */
Test(correct, P8_a_cap_prices_nothing_that_was_booked_without_a_price)
{
    uint64_t priced = 0;
    char capped[2048];
    const char *rest = strstr(policy, "plans:");
    (void)report("acme", "m3", 1000);
    (void)snprintf(capped, sizeof(capped),
                   "version: 1\nmodels:\n  m: {}\n  m2: {}\n"
                   "unknown_price: {cap: {input_token: $20/1M, output_token: $80/1M}}\n%s",
                   rest);
    fixture_publish(&f, capped);
    cr_expect_eq(price("", false, &priced), 1);
    cr_expect_eq(priced, 0);
    cr_expect_eq(sum_of("#unpriced"), 1);
}

Test(correct, P8_unpriced_entries_are_priced_once_there_is_a_price)
{
    uint64_t priced = 0;
    for (int i = 0; i < 150; i++) { /* more than a page */
        (void)report("acme", "m3", 1000);
    }
    (void)report("acme", "m4", 50);
    cr_expect_eq(price("", false, &priced), 151);
    cr_expect_eq(priced, 0, "no price yet");
    cr_expect_eq(qd_ledger_watermark(f.ledger).sequence, 151);
    fixture_publish(&f, later);
    cr_expect_eq(sum_of("#unpriced"), 151);
    (void)price("", true, &priced);
    cr_expect_eq(priced, 150, "a dry run says how many");
    cr_expect_eq(used_of(&f, "acme", "cost"), 0);
    cr_expect_eq(price("", false, &priced), 1, "m4");
    cr_expect_eq(priced, 150);
    cr_expect_eq(used_of(&f, "acme", "cost"), INT64_C(150) * 7000000);
    cr_expect_eq(used_of(&f, "acme", "day"), 150050);
    cr_expect_eq(sum_of("#unpriced"), 1);
    cr_expect_eq(sum_of("#entries"), 151);
    cr_expect_eq(sum_of("input_tokens"), 150050);
    cr_expect_eq(sum_of("#cost_pico"), INT64_C(150) * 7000000000);
    /* Run again, after a restart: nothing twice. */
    fixture_close(&f);
    fixture_open(&f, later);
    cr_expect_eq(used_of(&f, "acme", "cost"), INT64_C(150) * 7000000);
    (void)price("", false, &priced);
    cr_expect_eq(priced, 0);
    cr_expect_eq(qd_ledger_watermark(f.ledger).sequence, 451);
    (void)price("m4", false, &priced);
    cr_expect_eq(priced, 0);
}

/* --- against a naive model --- */

#define MODEL_ENTRIES 400

struct standing {
    uint64_t sequence;
    unsigned tenant;
    unsigned model;
    int64_t tokens;
    bool priced;
};

static const char *const model_names[] = {"m", "m2", "m3"};
static const char *const tenant_names[] = {"acme", "other"};
static const int64_t pico_per_token[] = {1001000, 70000, 7000000};

static void check_sums(const struct standing *entries, size_t count)
{
    struct qd_usage_group groups[2] = {{.dimension = QD_BY_TENANT}, {.dimension = QD_BY_MODEL}};
    struct qd_wall_ns ends[2] = {{0}, {(T0 / QD_ROLLUP_NS + 100000) * QD_ROLLUP_NS}};
    struct qd_usage_query query = {
        .boundaries = ends, .boundary_count = 2, .groups = groups, .group_count = 2};
    struct qd_usage_table table;
    cr_assert_eq(qd_usage_query(f.ledger, &query, &table, NULL), QD_STORE_OK);
    for (size_t r = 0; r < table.row_count; r++) {
        const struct qd_usage_row *row = &table.rows[r];
        int64_t tokens = 0;
        int64_t pico = 0;
        int64_t standing = 0;
        int64_t unpriced = 0;
        for (size_t i = 0; i < count; i++) {
            const struct standing *e = &entries[i];
            if (e->sequence == 0 || !qd_slice_equal(row->values[0], str(tenant_names[e->tenant])) ||
                !qd_slice_equal(row->values[1], str(model_names[e->model]))) {
                continue;
            }
            standing++;
            tokens += e->tokens;
            unpriced += !e->priced;
            pico += e->priced ? e->tokens * pico_per_token[e->model] : 0;
        }
        cr_assert_eq((int64_t)qd_sums_value(&row->sums, str("#entries")), standing);
        cr_assert_eq((int64_t)qd_sums_value(&row->sums, str("#unpriced")), unpriced);
        cr_assert_eq((int64_t)qd_sums_value(&row->sums, str("input_tokens")), tokens);
        cr_assert_eq((int64_t)qd_sums_value(&row->sums, str("#cost_pico")), pico);
    }
    qd_usage_table_release(&table);
}

static void correct_at_random(struct qd_prng *prng, struct standing *e)
{
    struct qd_correct_args args = correction_of(e->sequence);
    bool model = qd_prng_chance(prng, 1, 3);
    bool tenant = qd_prng_chance(prng, 1, 3);
    args.take_back = qd_prng_chance(prng, 1, 4);
    if (!args.take_back) {
        e->tokens = model || tenant ? e->tokens : (int64_t)qd_prng_below(prng, 3000);
        args.usage[0] = (struct qd_amount_arg){str("input_tokens"), e->tokens};
        args.usage_count = 1;
        e->model = model ? (unsigned)qd_prng_below(prng, 3) : e->model;
        e->tenant = tenant ? (unsigned)qd_prng_below(prng, 2) : e->tenant;
        args.model = model ? str(model_names[e->model]) : str("");
        args.tenant = tenant ? str(tenant_names[e->tenant]) : str("");
        e->priced = e->model != 2 || e->tokens == 0;
    }
    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
    e->sequence = args.take_back ? 0 : work->correction.rebooked.sequence;
}

Test(correct, L3_random_reports_and_corrections_against_a_naive_model)
{
    struct qd_prng prng;
    static struct standing entries[MODEL_ENTRIES];
    size_t count = 0;
    uint64_t priced;
    qd_prng_init(&prng, qd_prng_seed("correct", 7));
    for (int step = 0; step < 600; step++) {
        if (count < MODEL_ENTRIES && (count == 0 || qd_prng_chance(&prng, 1, 2))) {
            struct standing *e = &entries[count++];
            e->tenant = (unsigned)qd_prng_below(&prng, 2);
            e->model = (unsigned)qd_prng_below(&prng, 3);
            e->tokens = (int64_t)qd_prng_below(&prng, 3000);
            e->priced = e->model != 2 || e->tokens == 0;
            e->sequence = report(tenant_names[e->tenant], model_names[e->model], e->tokens);
        } else {
            struct standing *e = &entries[qd_prng_below(&prng, count)];
            if (e->sequence != 0) {
                correct_at_random(&prng, e);
            }
        }
        if (step % 100 == 99) {
            check_sums(entries, count);
            check_restart();
        }
        fixture_pass(&f, (int64_t)qd_prng_below(&prng, 600) * S);
    }
    fixture_publish(&f, later);
    (void)price("", false, &priced);
    cr_expect_gt(priced, 0);
    for (size_t i = 0; i < count; i++) {
        entries[i].priced = true;
    }
    check_sums(entries, count);
}
