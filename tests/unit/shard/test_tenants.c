/* P2: tenants at run time are durable, audited, and effective at once. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char policy[] = "version: 1\n"
                             "models:\n"
                             "  m: {max_output_tokens: 100}\n"
                             "plans:\n"
                             "  small:\n"
                             "    input: {limit: 100/min, meter: input_tokens}\n"
                             "  large:\n"
                             "    input: {limit: 1000/min, meter: input_tokens}\n"
                             "  paid:\n"
                             "    balance: {limit: 10, meter: requests, algorithm: prepaid}\n"
                             "tenants:\n"
                             "  acme: {plan: small}\n";

static struct fixture f;

static void open_node(void)
{
    fixture_open(&f, policy);
}

static void end_node(void)
{
    fixture_end(&f);
}

TestSuite(tenants, .init = open_node, .fini = end_node);

Test(tenants, P2_a_new_tenant_is_effective_at_once)
{
    cr_assert_not(check(&f, "newco", 50));
    cr_assert_eq(put_tenant(&f, "newco", "small", NULL, NULL), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(check(&f, "newco", 50));
    cr_assert_not(check(&f, "newco", 60));
}

Test(tenants, P2_another_plan_is_effective_at_once)
{
    cr_assert_eq(put_tenant(&f, "newco", "small", NULL, NULL), QD_ERROR_NONE);
    cr_assert(check(&f, "newco", 100));
    cr_assert_not(check(&f, "newco", 100));
    cr_assert_eq(put_tenant(&f, "newco", "large", NULL, NULL), QD_ERROR_NONE);
    cr_assert(check(&f, "newco", 100));
}

Test(tenants, P2_a_record_survives_a_crash)
{
    cr_assert_eq(put_tenant(&f, "newco", "small", "input", "70/min"), QD_ERROR_NONE, "%s",
                 f.error.text);
    fixture_close(&f);
    qd_store_memory_crash(f.store, 0);
    open_node();
    cr_assert(check(&f, "newco", 70));
    cr_assert_not(check(&f, "newco", 1));
}

Test(tenants, P2_a_limit_that_does_not_compile_changes_nothing)
{
    cr_assert_eq(put_tenant(&f, "newco", "small", "inptu", "70/min"), QD_ERROR_INVALID_LIMIT);
    cr_assert_not_null(strstr(f.error.text, "inptu"), "%s", f.error.text);
    cr_assert_eq(qd_directory_count(f.node->directory), 0);
}

static enum qd_error_code edit_block(void *context, const struct qd_policy *p, bool exists,
                                     struct qd_tenant_record *record, struct qd_error *e)
{
    (void)p;
    (void)exists;
    (void)e;
    record->block =
        (struct qd_tenant_block){true, str("unpaid invoice"), {T0}, {*(int64_t *)context}};
    return QD_ERROR_NONE;
}

static void change(const char *path, qd_tenant_edit edit, void *context)
{
    struct qd_tenants_edit e = {str(path), "Test", edit, context, false, {NULL, 0}};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    cr_assert_eq(qd_tenants_change(f.node, &e, work, &f.error), QD_ERROR_NONE, "%s", f.error.text);
    qd_buf_release(&work->bytes);
    free(work);
}

/* Refused with the sentence that the policy's file gets, and nothing changed. */
static void expect_refused(const char *limit, const char *size, const char *sentence)
{
    size_t count = qd_directory_count(f.node->directory);

    cr_expect_eq(put_tenant(&f, "newco", NULL, limit, size), QD_ERROR_INVALID_LIMIT, "%s", size);
    cr_expect_str_eq(f.error.text, sentence);
    cr_expect_eq(qd_directory_count(f.node->directory), count);
}

static const char unbounded[] = "version: 1\n"
                                "models: {m: {}}\n"
                                "plans: {small: {input: {limit: 100/min, meter: input_tokens}}}\n"
                                "tenants: {acme: {plan: small}}\n";

Test(tenants, H1_a_run_time_limit_gets_the_checks_of_the_policys_file)
{
    fixture_publish(&f, unbounded);
    expect_refused("tokens", "{limit: 5M/day, hard: true}",
                   "limits.tokens: a hard limit needs an upper bound of the output, and model "
                   "\"m\" has no \"max_output_tokens\"; give it there, or "
                   "\"default_max_output\" here");
    expect_refused("gpu_seconds", "{limit: 5/day, hard: true, default_max_output: 9}",
                   "limits.gpu_seconds: a hard limit of GPU-time needs an estimate of it, and "
                   "model \"m\" has none; a \"gpu_time\" above 0 there is accepted");
    expect_refused("cost", "$5/day",
                   "limits.cost: a limit of money needs prices; add a \"prices\" section");
    cr_expect_eq(put_tenant(&f, "newco", NULL, "tokens",
                            "{limit: 5M/day, hard: true, default_max_output: 9}"),
                 QD_ERROR_NONE, "%s", f.error.text);

    fixture_publish(&f, "version: 1\nmodels: {m: {max_output_tokens: 9}}\n"
                        "unknown_price: unpriced\n"
                        "prices: {m: {processing_second: $1}}\n");
    expect_refused("cost", "{limit: $5/day, hard: true}",
                   "limits.cost: a hard limit of money needs an estimate of what costs money, and "
                   "model \"m\" has a price by \"processing_second\" and no estimate of that "
                   "time; a price by \"gpu_second\" is estimated from the tokens");
    cr_expect_eq(put_tenant(&f, "newco", NULL, "cost", "$5/day"), QD_ERROR_NONE,
                 "a warning refuses nothing: %s", f.error.text);
}

Test(tenants, H1_a_hard_limit_that_was_taken_before_stays)
{
    int64_t until = T0 + 60 * S;
    cr_assert_eq(put_tenant(&f, "newco", NULL, "tokens", "{limit: 300/day, hard: true}"),
                 QD_ERROR_NONE, "%s", f.error.text);
    fixture_publish(&f, unbounded);
    change("newco", edit_block, &until);
    fixture_pass(&f, 61 * S);
    cr_assert_not(check(&f, "newco", 400));
}

Test(tenants, P1_more_limits_than_one_check_holds_are_refused)
{
    char yaml[2048] = "version: 1\nmodels: {m: {max_output_tokens: 100}}\nplans:\n  big:\n";
    for (int i = 0; i < 16; i++) {
        char line[80];
        (void)snprintf(line, sizeof(line), "    l%d: {limit: 100/min, meter: requests}\n", i);
        (void)strncat(yaml, line, sizeof(yaml) - strlen(yaml) - 1);
    }
    fixture_publish(&f, yaml);
    cr_assert_eq(put_tenant(&f, "a", "big", NULL, NULL), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(put_tenant(&f, "a/b", "big", NULL, NULL), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(put_tenant(&f, "a/b/c", NULL, "requests", "5/min"), QD_ERROR_INVALID_LIMIT);
    cr_assert_str_eq(f.error.text, "limits: more than 32 limits would apply to \"a/b/c\"");
    cr_assert(check(&f, "a/b/c", 1), "%s", f.answer.message);
}

Test(tenants, P2_deleting_needs_subtree_when_there_are_children)
{
    uint32_t deleted = 0;
    cr_assert_eq(put_tenant(&f, "newco", "small", NULL, NULL), QD_ERROR_NONE);
    cr_assert_eq(put_tenant(&f, "newco/a", "small", NULL, NULL), QD_ERROR_NONE);
    cr_assert_eq(put_tenant(&f, "newco-b", "small", NULL, NULL), QD_ERROR_NONE);
    cr_assert_eq(qd_tenants_delete(f.node, str("newco"), false, str(""), &deleted, &f.error),
                 QD_ERROR_TENANT_HAS_CHILDREN);
    cr_assert_str_eq(
        f.error.text,
        "tenant: there are records below \"newco\", such as \"newco/a\"; delete them first, or "
        "set subtree");
    cr_assert_eq(qd_tenants_delete(f.node, str("newco"), true, str(""), &deleted, &f.error),
                 QD_ERROR_NONE);
    cr_assert_eq(deleted, 2);
    cr_assert_eq(qd_directory_count(f.node->directory), 1);
    cr_assert_not(check(&f, "newco", 1));
    cr_assert_eq(qd_tenants_delete(f.node, str("newco"), true, str(""), &deleted, &f.error),
                 QD_ERROR_UNKNOWN_TENANT);
}

struct boost {
    int64_t until;
    uint32_t percent;
};

static enum qd_error_code edit_boost(void *context, const struct qd_policy *p, bool exists,
                                     struct qd_tenant_record *record, struct qd_error *e)
{
    const struct boost *boost = context;
    (void)p;
    (void)exists;
    (void)e;
    record->boosts[0] = (struct qd_tenant_boost){
        .limit = str("input"), .percent = boost->percent, .until = {boost->until}};
    record->boost_count = 1;
    return QD_ERROR_NONE;
}

Test(tenants, P6_a_boost_ends_by_itself)
{
    struct boost boost = {T0 + 10 * S, 200};
    change("acme", edit_boost, &boost);
    cr_assert(check(&f, "acme", 150), "%s", f.answer.message);
    fixture_pass(&f, 11 * S);
    cr_assert_not(check(&f, "acme", 1), "150 of 100 are used");
    fixture_pass(&f, 62 * S);
    cr_assert_not(check(&f, "acme", 150));
    cr_assert(check(&f, "acme", 100));
}

Test(tenants, P2_a_block_is_said_in_the_operators_words_and_ends_by_itself)
{
    int64_t until = T0 + 60 * S;
    change("acme", edit_block, &until);
    cr_assert_not(check(&f, "acme", 1));
    cr_assert_eq(f.answer.denial, QD_DENIAL_BLOCKED);
    cr_assert_str_eq(f.answer.message,
                     "acme is blocked: unpaid invoice; until 2025-11-24T16:01:00Z");
    cr_assert_not(check(&f, "acme/team", 1), "and all below it");
    fixture_pass(&f, 61 * S);
    cr_assert(check(&f, "acme", 1));
}

Test(tenants, P2_a_grant_raises_a_balance_once)
{
    struct qd_grant_args args = {
        .path = str("prepaid-co"), .limit = "balance", .amount = 5, .grant_id = str("g1")};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    bool duplicate = true;
    uint64_t sequence = 0;

    cr_assert_eq(put_tenant(&f, "prepaid-co", "paid", NULL, NULL), QD_ERROR_NONE, "%s",
                 f.error.text);
    struct qd_check_args ten = args_of("prepaid-co", 0);
    ten.estimate[0] = (struct qd_amount_arg){str("requests"), 12};
    cr_assert_eq(check_args(&f, &ten), QD_ERROR_NONE);
    cr_assert_not(f.answer.allowed);
    cr_expect_eq(f.answer.denial, QD_DENIAL_LIMIT, "a grant helps: it may fit yet");
    cr_expect_not(f.answer.retry_useful);
    cr_expect_str_eq(f.answer.message,
                     "paid.balance 0 used + 12 estimated > 10 granted; only a grant helps: "
                     "quotactl tenants grant prepaid-co balance 2");
    cr_assert_eq(qd_tenants_grant(f.node, &args, work, &duplicate, &sequence, &f.error),
                 QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_not(duplicate);
    cr_assert_eq(qd_tenants_grant(f.node, &args, work, &duplicate, &sequence, &f.error),
                 QD_ERROR_NONE);
    cr_assert(duplicate);
    args.amount = 6;
    cr_assert_eq(qd_tenants_grant(f.node, &args, work, &duplicate, &sequence, &f.error),
                 QD_ERROR_GRANT_CONFLICT);
    qd_buf_release(&work->bytes);
    free(work);
    cr_assert_eq(check_args(&f, &ten), QD_ERROR_NONE);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    ten.estimate[0].amount = 4;
    cr_assert_eq(check_args(&f, &ten), QD_ERROR_NONE);
    cr_assert_not(f.answer.allowed, "12 of 15 are held");
}

Test(tenants, P2_a_grant_that_cannot_take_effect_is_not_booked)
{
    static const char with[] = "version: 1\nmodels: {m: {}}\nmeters: {calls: {unit: calls}}\n"
                               "plans: {paid: {balance: {limit: 10, meter: requests, algorithm: "
                               "prepaid}}}\n";
    static const char without[] = "version: 1\nmodels: {m: {}}\n"
                                  "plans: {paid: {balance: {limit: 10, meter: requests, algorithm: "
                                  "prepaid}}}\n";
    struct qd_grant_args args = {
        .path = str("newco"), .limit = "balance", .amount = 5, .grant_id = str("g1")};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    bool duplicate = false;
    uint64_t sequence = 0;
    fixture_publish(&f, with);
    cr_assert_eq(put_tenant(&f, "newco", "paid", "calls", "5/min"), QD_ERROR_NONE, "%s",
                 f.error.text);
    fixture_publish(&f, without);
    cr_assert_eq(qd_tenants_grant(f.node, &args, work, &duplicate, &sequence, &f.error),
                 QD_ERROR_INVALID_LIMIT);
    fixture_publish(&f, with);
    cr_assert_eq(qd_tenants_grant(f.node, &args, work, &duplicate, &sequence, &f.error),
                 QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_not(duplicate);
    qd_buf_release(&work->bytes);
    free(work);
}

Test(tenants, X6_every_change_leaves_an_audit_record)
{
    cr_assert_eq(put_tenant(&f, "newco", "small", NULL, NULL), QD_ERROR_NONE);
    struct qd_buf bytes = {0};
    struct qd_tenant_record *record = calloc(1, sizeof(*record));
    cr_assert(qd_directory_get(f.node->directory, str("newco"), &bytes, record));
    cr_assert_eq(record->audit_sequence, 1);
    cr_assert_eq(record->created.ns, T0);
    qd_buf_release(&bytes);
    free(record);
}
