/* ResetCounter of counters that lie in the store (P2, D7, D12). */
#include "fixture.h"

#include "server/shard/reconcile.h"
#include "server/shard/reset.h"
#include "server/shard/snapshot.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define USERS 100U /* more than a slice's 64 places */
#define EACH  10
#define IDLE  (4 * S) /* after it, no hold needs a counter */

#define POLICY(thresholds)                                                                 \
    "version: 1\n"                                                                         \
    "models:\n  m: {max_output_tokens: 100,\n"                                             \
    "      limits: {rpu: {limit: 1000/day, meter: input_tokens, per: user}}}\n"            \
    "unknown_price: unpriced\n"                                                            \
    "plans:\n  two:\n"                                                                     \
    "    day: {limit: 1000/day, meter: input_tokens, per: user" thresholds "}\n"           \
    "    rate: {limit: 1000, window: 8h, meter: input_tokens, algorithm: sliding_window, " \
    "per: user}\n"                                                                         \
    "tenants:\n  acme: {plan: two}\n"

static const char policy[] = POLICY("");
static const char other_policy[] = POLICY(", warn: 50%");

static struct fixture f;

static void use(unsigned user, int64_t tokens)
{
    struct qd_check_args a = args_of("acme", 1);
    char name[16];

    (void)snprintf(name, sizeof(name), "u%u", user);
    a.user = str(name);
    a.ttl_ms = 1000;
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s: %s", name, f.answer.message);
    cr_assert_eq(report_tokens(&f, tokens), QD_ERROR_NONE, "%s", f.error.text);
    fixture_pass(&f, IDLE);
}

static void open_with_evicted(void)
{
    fixture_open(&f, policy);
    for (unsigned i = 0; i < USERS; i++) {
        use(i, EACH);
    }
    cr_assert_gt(f.worker->figures.evictions, 0);
}

static void end(void)
{
    fixture_end(&f);
}

TestSuite(reset_evicted, .init = open_with_evicted, .fini = end, .timeout = 60);

static int64_t in_memory(unsigned user, const char *limit)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "u%u", user);
    struct qd_attributes a = {
        .tenant = str("acme"), .model = str("m"), .family = str("m"), .user = str(name)};
    return used_by(&f, &a, limit);
}

/* As the next request of this user finds it. */
static int64_t used(unsigned user, const char *limit)
{
    use(user, 0);
    return in_memory(user, limit);
}

static void expect_used(const char *limit, int64_t each)
{
    for (unsigned i = 0; i < USERS; i++) {
        int64_t n = used(i, limit);
        cr_expect_eq(n, each, "u%u %s: %lld", i, limit, (long long)n);
    }
}

struct heard {
    int64_t used;
    uint32_t count;
};

static void hear(void *context, const struct qd_policy *p, const struct qd_limit_state *before,
                 struct qd_wall_ns now)
{
    struct heard *heard = context;

    (void)p;
    (void)now;
    cr_expect_gt(before->name.len, 0);
    heard->used += before->used;
    heard->count++;
}

static uint32_t reset_heard(const char *tenant, const char *limit, const char *user,
                            const struct qd_reset_listener *listener)
{
    struct qd_reset_args args = {.tenant = str(tenant), .limit = str(limit)};
    uint32_t count = 0;

    if (user != NULL) {
        args.keys[args.key_count++] = (struct qd_label){str("user"), str(user)};
    }
    (void)qd_worker_enter(f.worker);
    enum qd_error_code code = qd_reset(f.worker, &args, listener, &count, &f.error);
    qd_worker_leave(f.worker);
    return code == QD_ERROR_NONE ? count : UINT32_MAX;
}

static uint32_t reset(const char *tenant, const char *limit, const char *user,
                      struct heard *ret_heard)
{
    struct qd_reset_listener listener = {hear, ret_heard, UINT32_MAX};

    *ret_heard = (struct heard){0, 0};
    return reset_heard(tenant, limit, user, &listener);
}

static void expect_clean(void)
{
    struct qd_reconciled answer;

    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_reconcile(f.worker, &answer, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect(answer.clean, "%s", answer.difference);
    cr_expect_gt(answer.budgets, 0);
}

static void boot_again(void)
{
    fixture_close(&f);
    fixture_open(&f, policy);
}

Test(reset_evicted, D12_all_counters_of_a_split_limit_are_reset)
{
    static const char *const limits[] = {"day", "rate"};
    struct heard heard;

    for (size_t k = 0; k < 2; k++) {
        char full[16];
        (void)snprintf(full, sizeof(full), "two.%s", limits[k]);
        cr_expect_eq(reset("acme", full, NULL, &heard), USERS, "%s", f.error.text);
        cr_expect_eq(heard.count, USERS);
        cr_expect_eq(heard.used, USERS * EACH, "%s: %lld", full, (long long)heard.used);
        expect_clean();
        expect_used(limits[k], 0);
        expect_clean();
    }
}

Test(reset_evicted, D12_counters_that_all_tenants_share_are_reset)
{
    struct heard heard;

    cr_expect_eq(reset(QD_RESET_SHARED, "model:m.rpu", NULL, &heard), USERS, "%s", f.error.text);
    cr_expect_eq(heard.used, USERS * EACH);
    expect_used("rpu", 0);
    expect_clean();
    expect_used("day", EACH);
}

Test(reset_evicted, D12_the_one_that_the_keys_name_is_reset_and_no_other)
{
    struct heard heard;

    cr_assert_eq(in_memory(0, "day"), 0, "it is in the store");
    cr_expect_eq(reset("acme", "two.day", "u0", &heard), 1, "%s", f.error.text);
    cr_expect_eq(heard.used, EACH);
    cr_expect_eq(reset("acme", "two.day", "u0", &heard), 0, "there is none any more");
    cr_expect_eq(reset("acme", "two.day", "u99", &heard), 1, "in memory");
    cr_expect_eq(used(0, "day"), 0);
    cr_expect_eq(used(1, "day"), EACH);
    cr_expect_eq(used(99, "day"), 0);
    cr_expect_eq(used(98, "day"), EACH);
    expect_clean();
    boot_again();
    cr_expect_eq(used(0, "day"), 0);
    cr_expect_eq(used(1, "day"), EACH);
}

/* X5: with and without a snapshot after it, and what came later counts. */
Test(reset_evicted, D7_a_restart_keeps_the_reset)
{
    struct heard heard;

    fixture_snapshot(&f);
    cr_assert_eq(reset("acme", "two.day", NULL, &heard), USERS);
    use(3, 7);
    boot_again();
    cr_expect_eq(used(3, "day"), 7);
    expect_clean();
    cr_assert_gt(reset("acme", "two.day", NULL, &heard), 0);
    fixture_snapshot(&f);
    boot_again();
    expect_used("day", 0);
    expect_clean();
}

/* X5: the reset's entry is synced, what it deleted is not: however many of the writes after it are
 * left, the boot does the rest. */
Test(reset_evicted, D7_a_loss_of_power_keeps_the_reset)
{
    struct heard heard;

    for (uint64_t keep = 0; keep < 12; keep++) {
        for (unsigned i = 0; i < USERS; i++) {
            use(i, 1);
        }
        fixture_snapshot(&f);
        cr_assert_eq(reset("acme", "two.day", NULL, &heard), USERS, "%s", f.error.text);
        cr_assert_gt(heard.used, 0);
        qd_store_memory_faults(f.store)->sync =
            (struct qd_store_fault){.countdown = 0, .repeat = true};
        struct qd_store_error error;
        (void)qd_snapshot_round(f.node, false, &error);
        fixture_close(&f);
        qd_store_memory_faults(f.store)->sync = (struct qd_store_fault){.countdown = -1};
        qd_store_memory_crash(f.store, keep);
        fixture_open(&f, policy);
        expect_used("day", 0);
        expect_clean();
    }
}

/* P6: a limit whose counters go on under another specification has them in both places. */
Test(reset_evicted, P6_counters_made_before_a_reload_are_reset_as_well)
{
    struct heard heard;

    fixture_publish(&f, other_policy);
    cr_expect_eq(reset("acme", "two.day", NULL, &heard), USERS, "%s", f.error.text);
    cr_expect_eq(heard.used, USERS * EACH);
    expect_clean();
    expect_used("day", 0);
}

Test(reset_evicted, P2_so_many_states_are_told_as_wanted)
{
    struct heard heard = {0, 0};
    struct qd_reset_listener listener = {hear, &heard, USERS - 1};

    cr_expect_eq(reset_heard("acme", "two.day", NULL, &listener), USERS);
    cr_expect_eq(heard.count, USERS - 1);
    expect_used("day", 0);
}

/* --- requests meanwhile --- */

/* By another worker: the reset goes on using its own. */
static void use_meanwhile(unsigned user, int64_t tokens)
{
    struct qd_worker *own = f.worker;
    struct qd_check_args a = args_of("acme", tokens);
    char name[16];

    (void)snprintf(name, sizeof(name), "u%u", user);
    a.user = str(name);
    a.no_reservation = true;
    f.worker = qd_worker_new(f.node);
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    qd_worker_free(f.worker);
    f.worker = own;
    f.wall += IDLE;
    f.mono += (uint64_t)IDLE;
}

static bool told_once;

/* u0 was evicted; it comes back before its turn. */
static void bring_back(void *context, const struct qd_policy *p,
                       const struct qd_limit_state *before, struct qd_wall_ns now)
{
    (void)context;
    (void)p;
    (void)now;
    if (qd_slice_equal(before->name, str("acme user=u0"))) {
        use_meanwhile(0, 3);
        cr_expect_eq(in_memory(0, "rate"), EACH + 3);
        told_once = true;
    }
}

Test(reset_evicted, D12_one_that_comes_back_meanwhile_is_reset_in_memory)
{
    struct qd_reset_listener listener = {bring_back, NULL, UINT32_MAX};

    told_once = false;
    cr_expect_eq(reset_heard("acme", "two.rate", NULL, &listener), USERS, "%s", f.error.text);
    cr_assert(told_once);
    cr_expect_eq(in_memory(0, "rate"), 0);
    expect_used("rate", 0);
}

/* u99 was in memory; it is used after it was reset, and evicted. */
static void evict_another(void *context, const struct qd_policy *p,
                          const struct qd_limit_state *before, struct qd_wall_ns now)
{
    (void)context;
    (void)p;
    (void)now;
    if (!told_once && qd_slice_equal(before->name, str("acme user=u0"))) {
        told_once = true;
        use_meanwhile(99, 3);
        for (unsigned i = 0; i < 70; i++) {
            use_meanwhile(1000 + i, 1);
        }
        cr_expect_eq(in_memory(99, "rate"), 0, "it is in the store");
    }
}

Test(reset_evicted, D12_one_that_goes_meanwhile_keeps_what_it_has_counted_since)
{
    struct qd_reset_listener listener = {evict_another, NULL, UINT32_MAX};

    told_once = false;
    fixture_snapshot(&f); /* u99 has a record, too */
    cr_expect_eq(reset_heard("acme", "two.rate", NULL, &listener), USERS, "%s", f.error.text);
    cr_assert(told_once);
    cr_expect_eq(used(99, "rate"), 3);
    cr_expect_eq(used(98, "rate"), 0);
}

/* --- a store that fails --- */

Test(reset_evicted, X4_a_store_that_cannot_be_read_is_said)
{
    struct heard heard;

    qd_store_memory_faults(f.store)->read =
        (struct qd_store_fault){.countdown = 20, .repeat = true};
    cr_expect_eq(reset("acme", "two.day", NULL, &heard), UINT32_MAX);
    cr_expect_eq(f.error.code, QD_ERROR_STORE_ERROR);
    cr_expect_str_eq(f.error.text, "64 counters were reset, others that lie in the store were not: "
                                   "input/output error; retry");
    qd_store_memory_faults(f.store)->read = (struct qd_store_fault){.countdown = -1};
    cr_expect_eq(reset("acme", "two.day", NULL, &heard), USERS, "%s", f.error.text);
    expect_used("day", 0);
    expect_clean();
}

Test(reset_evicted, X4_a_store_that_cannot_be_written_is_said)
{
    struct heard heard;

    qd_store_memory_faults(f.store)->write =
        (struct qd_store_fault){.countdown = 1, .repeat = true}; /* the entry is */
    cr_expect_eq(reset("acme", "two.day", NULL, &heard), UINT32_MAX);
    cr_expect_eq(f.error.code, QD_ERROR_STORE_ERROR, "%s", f.error.text);
    qd_store_memory_faults(f.store)->write = (struct qd_store_fault){.countdown = -1};
    cr_expect_eq(reset("acme", "two.day", NULL, &heard), USERS, "%s", f.error.text);
    expect_used("day", 0);
    expect_clean();
}
