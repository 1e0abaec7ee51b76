/* ResetCounter: at once, and the same after a restart (P2, D7, X6). */
#include "fixture.h"

#include "server/shard/reset.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct fixture f;

static const char policy[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100}\n  m2: {max_output_tokens: 100}\n"
    "unknown_price: unpriced\n"
    "plans:\n  two:\n"
    "    day: {limit: 1000/day, meter: input_tokens}\n"
    "    split: {limit: 1000/day, meter: input_tokens, per: model}\n"
    "    rate: {limit: 1000/min, meter: input_tokens}\n"
    "tenants:\n  acme: {plan: two}\n  other: {plan: two}\n";

static void open_node(void)
{
    fixture_open(&f, policy);
}

static void end_node(void)
{
    fixture_end(&f);
}

TestSuite(reset, .init = open_node, .fini = end_node, .timeout = 60);

static void boot_again(void)
{
    fixture_close(&f);
    fixture_open(&f, policy);
}

static void use(const char *tenant, const char *model, int64_t tokens)
{
    struct qd_check_args a = args_of(tenant, 1);
    a.model = str(model);
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    cr_assert_eq(report_tokens(&f, tokens), QD_ERROR_NONE, "%s", f.error.text);
}

static void add_used(void *context, const struct qd_policy *p, const struct qd_limit_state *before,
                     struct qd_wall_ns now)
{
    (void)p;
    (void)now;
    *(int64_t *)context += before->used;
}

/* How many counters; *ret_used: what they had counted. */
static uint32_t reset(const char *tenant, const char *limit, const char *model, int64_t *ret_used)
{
    struct qd_reset_args args = {.tenant = str(tenant), .limit = str(limit)};
    struct qd_reset_listener listener = {add_used, ret_used, UINT32_MAX};
    uint32_t count = 0;

    if (model != NULL) {
        args.keys[args.key_count++] = (struct qd_label){str("model"), str(model)};
    }
    *ret_used = 0;
    (void)qd_worker_enter(f.worker);
    enum qd_error_code code = qd_reset(f.worker, &args, &listener, &count, &f.error);
    qd_worker_leave(f.worker);
    return code == QD_ERROR_NONE ? count : UINT32_MAX;
}

static int64_t used_with(const char *model, const char *limit)
{
    struct qd_attributes a = {.tenant = str("acme"), .model = str(model), .family = str(model)};

    return used_by(&f, &a, limit);
}

Test(reset, D7_a_budget_that_was_reset_stays_so_after_a_restart)
{
    int64_t used;

    use("acme", "m", 600);
    use("other", "m", 500);
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1, "%s", f.error.text);
    cr_assert_eq(used, 600);
    cr_assert_eq(used_of(&f, "acme", "day"), 0);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 0, "%lld", (long long)used_of(&f, "acme", "day"));
    cr_expect_eq(used_of(&f, "acme", "split"), 600, "another limit");
    cr_expect_eq(used_of(&f, "other", "day"), 500, "another tenant");
    use("acme", "m", 70);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 70, "what came after");
    cr_expect_eq(used_of(&f, "acme", "split"), 670);
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1);
    cr_assert_eq(used, 70);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 0);
}

Test(reset, D7_a_hold_from_before_counts_when_it_is_reported)
{
    int64_t used;

    use("acme", "m", 300);
    cr_assert(check(&f, "acme", 100));
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1);
    cr_assert_eq(held_of(&f, "acme", "day"), 100);
    cr_assert_eq(report_tokens(&f, 90), QD_ERROR_NONE);
    cr_assert_eq(used_of(&f, "acme", "day"), 90);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 90, "%lld", (long long)used_of(&f, "acme", "day"));
}

Test(reset, D7_keys_choose_among_the_counters_of_a_limit)
{
    int64_t used;

    use("acme", "m", 100);
    use("acme", "m2", 200);
    cr_assert_eq(reset("acme", "two.split", "m2", &used), 1, "%s", f.error.text);
    cr_assert_eq(used, 200);
    boot_again();
    cr_expect_eq(used_with("m", "split"), 100);
    cr_expect_eq(used_with("m2", "split"), 0);
    cr_expect_eq(used_with("m2", "day"), 300);
    cr_assert_eq(reset("acme", "two.split", NULL, &used), 2);
    boot_again();
    cr_expect_eq(used_with("m", "split"), 0);
    cr_expect_eq(used_with("m2", "split"), 0);
}

/* Its period was over long before the restart. */
Test(reset, D7_a_reset_of_yesterday_forgets_nothing_of_today)
{
    int64_t used;

    use("acme", "m", 100);
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1);
    fixture_pass(&f, QD_NS_PER_DAY);
    use("acme", "m", 55);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 55);
}

Test(reset, P2_a_rate_is_reset_at_once_and_a_restart_starts_it_empty)
{
    int64_t used;

    use("acme", "m", 600);
    cr_assert_eq(reset("acme", "two.rate", NULL, &used), 1);
    cr_assert_eq(used, 600);
    cr_assert_eq(used_of(&f, "acme", "rate"), 0);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 600);
}

Test(reset, P2_what_cannot_be_written_resets_nothing)
{
    int64_t used;

    use("acme", "m", 600);
    qd_store_memory_faults(f.store)->write =
        (struct qd_store_fault){.countdown = 0, .repeat = true};
    cr_assert_eq(reset("acme", "two.day", NULL, &used), UINT32_MAX);
    cr_expect_eq(f.error.code, QD_ERROR_STORE_ERROR);
    cr_expect_eq(used_of(&f, "acme", "day"), 600);
    qd_store_memory_faults(f.store)->write = (struct qd_store_fault){.countdown = -1};
    cr_assert_eq(reset("acme", "two.days", NULL, &used), UINT32_MAX);
    cr_expect_eq(f.error.code, QD_ERROR_UNKNOWN_LIMIT);
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1, "%s", f.error.text);
    boot_again();
    cr_expect_eq(used_of(&f, "acme", "day"), 0);
}

static bool keep_audit(void *context, const struct qd_audit_record *record)
{
    struct qd_buf *text = context;

    qd_buf_append_str(text, record->action);
    qd_buf_append(text, " ", 1);
    qd_buf_append_str(text, record->subject);
    qd_buf_append(text, ": ", 2);
    qd_buf_append_str(text, record->detail);
    qd_buf_append(text, "\n", 1);
    return true;
}

Test(reset, X6_each_reset_leaves_an_audit_record)
{
    struct qd_buf text = {0};
    int64_t used;

    use("acme", "m", 1);
    cr_assert_eq(reset("acme", "two.day", NULL, &used), 1);
    cr_assert_eq(put_tenant(&f, "newco", "two", NULL, NULL), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(reset("acme", "two.split", "m", &used), 1);
    boot_again();
    cr_assert_eq(qd_tenant_store_audit(f.tenants, 0, keep_audit, &text, NULL), QD_STORE_OK);
    cr_expect(qd_slice_equal(qd_buf_str(&text), str("ResetCounter acme: two.day\n"
                                                    "PutTenant newco: \n"
                                                    "ResetCounter acme: two.split model=m\n")),
              "%.*s", (int)text.size, (const char *)text.data);
    qd_buf_release(&text);
}

/* --- limits that all tenants share --- */

static const char shared_policy[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100, pool: p,\n"
    "      limits: {rpu: {limit: 1000/day, meter: input_tokens, per: user}}}\n"
    "pools:\n  p: {limits: {day: {limit: 9000/day, meter: input_tokens}}}\n"
    "unknown_price: unpriced\n"
    "plans:\n  open: {concurrency: 5}\n"
    "tenants:\n  acme: {plan: open}\n  other: {plan: open}\n";

static void use_as(const char *tenant, const char *user, int64_t tokens)
{
    struct qd_check_args a = args_of(tenant, 1);
    a.user = str(user);
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    cr_assert_eq(report_tokens(&f, tokens), QD_ERROR_NONE, "%s", f.error.text);
}

static uint32_t reset_key(const char *tenant, const char *limit, const char *key, const char *value)
{
    struct qd_reset_args args = {.tenant = str(tenant), .limit = str(limit)};
    uint32_t count = 0;

    if (key != NULL) {
        args.keys[args.key_count++] = (struct qd_label){str(key), str(value)};
    }
    (void)qd_worker_enter(f.worker);
    enum qd_error_code code = qd_reset(f.worker, &args, NULL, &count, &f.error);
    qd_worker_leave(f.worker);
    return code == QD_ERROR_NONE ? count : UINT32_MAX;
}

static int64_t user_used(const char *user, const char *limit)
{
    struct qd_attributes a = {.tenant = str("acme"),
                              .model = str("m"),
                              .family = str("m"),
                              .pool = str("p"),
                              .user = str(user)};

    return used_by(&f, &a, limit);
}

Test(reset_shared, P2_limits_that_all_share_are_reset_without_a_tenant)
{
    fixture_open(&f, shared_policy);
    use_as("acme", "ann", 100);
    use_as("other", "bob", 200);
    cr_expect_eq(user_used("ann", "day"), 300);
    cr_expect_eq(reset_key(QD_RESET_SHARED, "pool:p.day", NULL, NULL), 1, "%s", f.error.text);
    cr_expect_eq(user_used("ann", "day"), 0);
    cr_expect_eq(reset_key(QD_RESET_SHARED, "model:m.rpu", "user", "bob"), 1, "%s", f.error.text);
    cr_expect_eq(user_used("ann", "rpu"), 100);
    cr_expect_eq(user_used("bob", "rpu"), 0);
    fixture_close(&f);
    fixture_open(&f, shared_policy);
    cr_expect_eq(user_used("ann", "day"), 0);
    cr_expect_eq(user_used("ann", "rpu"), 100);
    cr_expect_eq(user_used("bob", "rpu"), 0);
    cr_expect_eq(reset_key(QD_RESET_SHARED, "model:m.rpu", NULL, NULL), 2, "%s", f.error.text);
    cr_expect_eq(user_used("ann", "rpu"), 0);
    fixture_end(&f);
}

Test(reset_shared, P2_what_cannot_be_reset_is_refused_and_not_booked)
{
    fixture_open(&f, shared_policy);
    use_as("acme", "ann", 100);
    uint64_t before = qd_ledger_watermark(f.ledger).sequence;
    cr_expect_eq(reset_key("acme", "model:m.rpu", "label", "x"), UINT32_MAX);
    cr_expect_str_eq(f.error.text,
                     "keys: \"label\" is not in the `per` of \"model:m.rpu\"; leave it "
                     "out, nothing was reset");
    cr_expect_eq(reset_key("acme", "open.concurrency", NULL, NULL), UINT32_MAX);
    cr_expect_str_eq(f.error.text,
                     "limit: \"open.concurrency\" counts open holds and nothing else; end them "
                     "with: quotactl reservations release");
    cr_expect_eq(qd_ledger_watermark(f.ledger).sequence, before);
    fixture_end(&f);
}
