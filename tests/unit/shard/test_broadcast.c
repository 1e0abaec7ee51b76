/* I2: events on their way to watchers: filters, bounds, slow ones; and what a node tells. */
#include "server/shard/broadcast.h"

#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(broadcast, .timeout = 60);

static void count_wake(void *context)
{
    (*(unsigned *)context)++;
}

static struct qd_watch_filter of_tenant(const char *tenant)
{
    struct qd_watch_filter filter = {.kinds = 0};
    (void)snprintf(filter.tenant, sizeof(filter.tenant), "%s", tenant);
    return filter;
}

static struct qd_event event_of(enum qd_event_kind kind, const char *name, uint64_t number)
{
    struct qd_event event = {.kind = kind, .reservation = number};
    (void)snprintf(event.name, sizeof(event.name), "%s", name);
    return event;
}

static void tell(struct qd_broadcast *b, enum qd_event_kind kind, const char *name, uint64_t number)
{
    struct qd_event event = event_of(kind, name, number);
    qd_broadcast_tell(b, &event);
}

Test(broadcast, I2_a_filter_takes_a_tenant_and_all_below_and_the_kinds)
{
    static const struct {
        const char *filter, *name;
        bool hears;
    } cases[] = {
        {"", "acme", true},
        {"", "", true},
        {"acme", "acme", true},
        {"acme", "acme/search", true},
        {"acme", "acme/search model=gpt-4o", true},
        {"acme", "acme model=gpt-4o", true},
        {"acme", "acmeX", false},
        {"acme", "acm", false},
        {"acme", "", false},
        {"acme", "other/acme", false},
        {"acme/search", "acme", false},
        {"acme/search", "acme/search/key-7", true},
        {"acme/search", "acme/searching", false},
    };
    struct qd_broadcast b;
    struct qd_event event;
    uint64_t lost = 0;
    qd_broadcast_init(&b);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned woken = 0;
        struct qd_watch_filter filter = of_tenant(cases[i].filter);
        struct qd_watch *watch = qd_broadcast_join(&b, &filter, count_wake, &woken);
        tell(&b, QD_EVENT_EXPIRED, cases[i].name, 1);
        cr_expect_eq(woken, cases[i].hears, "case %zu", i);
        cr_expect_eq(qd_watch_next(watch, &event, &lost), cases[i].hears, "case %zu", i);
        qd_broadcast_leave(&b, watch);
    }
    struct qd_watch_filter kinds = {.kinds = 1U << QD_EVENT_THRESHOLD | 1U << QD_EVENT_CORRECTION};
    unsigned woken = 0;
    struct qd_watch *watch = qd_broadcast_join(&b, &kinds, count_wake, &woken);
    for (unsigned kind = 0; kind < QD_EVENT_KINDS; kind++) {
        tell(&b, (enum qd_event_kind)kind, "acme", kind);
    }
    cr_expect_eq(woken, 2);
    cr_expect(qd_watch_next(watch, &event, &lost) && event.kind == QD_EVENT_THRESHOLD);
    cr_expect(qd_watch_next(watch, &event, &lost) && event.kind == QD_EVENT_CORRECTION);
    cr_expect_not(qd_watch_next(watch, &event, &lost));
    qd_broadcast_leave(&b, watch);
    qd_broadcast_release(&b);
}

/* A shared counter's name begins with what splits it, which may look like a tenant. */
Test(broadcast, I2_a_limit_that_all_tenants_share_is_no_tenants)
{
    struct qd_broadcast b;
    struct qd_event event = event_of(QD_EVENT_THRESHOLD, "acme", 0);
    struct qd_watch_filter all = of_tenant("");
    struct qd_watch_filter acme = of_tenant("acme");
    unsigned woken[2] = {0, 0};
    event.shared = true;
    qd_broadcast_init(&b);
    struct qd_watch *watches[] = {qd_broadcast_join(&b, &all, count_wake, &woken[0]),
                                  qd_broadcast_join(&b, &acme, count_wake, &woken[1])};
    qd_broadcast_tell(&b, &event);
    cr_expect(woken[0] == 1 && woken[1] == 0);
    qd_broadcast_leave(&b, watches[0]);
    qd_broadcast_leave(&b, watches[1]);
    qd_broadcast_release(&b);
}

Test(broadcast, X2_a_slow_watcher_loses_the_oldest_and_hears_how_many)
{
    struct qd_broadcast b;
    struct qd_event event;
    struct qd_watch_filter filter = of_tenant("");
    unsigned woken[2] = {0, 0};
    uint64_t lost = 0;
    qd_broadcast_init(&b);
    struct qd_watch *slow = qd_broadcast_join(&b, &filter, count_wake, &woken[0]);
    struct qd_watch *quick = qd_broadcast_join(&b, &filter, count_wake, &woken[1]);
    for (uint64_t i = 1; i <= QD_WATCH_EVENTS + 7; i++) {
        tell(&b, QD_EVENT_EXPIRED, "acme", i);
        cr_assert(qd_watch_next(quick, &event, &lost));
        cr_assert(event.reservation == i && lost == 0);
    }
    for (uint64_t i = 8; i <= QD_WATCH_EVENTS + 7; i++) {
        cr_assert(qd_watch_next(slow, &event, &lost));
        cr_assert(event.reservation == i && lost == (i == 8 ? 7 : 0));
    }
    cr_expect_not(qd_watch_next(slow, &event, &lost));
    cr_expect_eq(atomic_load(&b.lost), 7);
    cr_expect_eq(atomic_load(&b.told[QD_EVENT_EXPIRED]), QD_WATCH_EVENTS + 7);
    /* What a slice's ring had no room for is told to everybody, with what comes next. */
    struct qd_event next = event_of(QD_EVENT_EXPIRED, "acme", 0);
    next.lost = 5;
    qd_broadcast_tell(&b, &next);
    cr_expect(qd_watch_next(slow, &event, &lost) && lost == 5);
    cr_expect(qd_watch_next(quick, &event, &lost) && lost == 5);
    qd_broadcast_leave(&b, slow);
    qd_broadcast_leave(&b, quick);
    qd_broadcast_release(&b);
}

Test(broadcast, X2_watchers_are_bounded_and_leave_nothing_behind)
{
    struct qd_broadcast b;
    struct qd_watch_filter filter = of_tenant("");
    struct qd_watch *watches[QD_WATCHERS_MAX];
    unsigned woken = 0;
    qd_broadcast_init(&b);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < QD_WATCHERS_MAX; i++) {
            watches[i] = qd_broadcast_join(&b, &filter, count_wake, &woken);
            cr_assert_not_null(watches[i]);
        }
        cr_expect_null(qd_broadcast_join(&b, &filter, count_wake, &woken));
        cr_expect_eq(qd_broadcast_watchers(&b), QD_WATCHERS_MAX);
        for (unsigned i = 0; i < QD_WATCHERS_MAX; i++) { /* from the middle, both ways */
            qd_broadcast_leave(&b, watches[(i * 7 + 3) % QD_WATCHERS_MAX]);
        }
        cr_expect_eq(qd_broadcast_watchers(&b), 0);
    }
    tell(&b, QD_EVENT_EXPIRED, "acme", 1);
    cr_expect_eq(woken, 0);
    qd_broadcast_leave(&b, NULL);
    qd_broadcast_release(&b);
}

/* --- a node's --- */

static void nothing(void *context)
{
    (void)context;
}

/* Budgets warn at 50%, 80% and 100% unless their limit says otherwise. */
static const char yaml[] =
    "version: 1\nmodels: {m: {}}\nplans: {free: {input_tokens: 1000/month}}\n"
    "tenants: {'*': {plan: free}}\n";

static unsigned heard;

static void hear(void *context, const struct qd_event *event)
{
    (void)context;
    heard += 1U << (8 * event->kind);
}

Test(broadcast, P3_a_restart_tells_no_threshold_again)
{
    struct fixture f = {.store = NULL};
    struct qd_event event;
    struct qd_watch_filter filter = of_tenant("acme");
    uint64_t lost = 0;
    fixture_open(&f, yaml);
    struct qd_watch *watch = qd_broadcast_join(&f.node->broadcast, &filter, nothing, NULL);
    cr_assert(check(&f, "acme/search", 600));
    cr_assert_eq(report_tokens(&f, 600), QD_ERROR_NONE);
    fixture_pass(&f, S);
    cr_assert(qd_watch_next(watch, &event, &lost));
    cr_expect(event.kind == QD_EVENT_THRESHOLD && event.permille == 500);
    cr_expect_str_eq(event.name, "acme", "the plan is the root's");
    cr_expect_eq(event.period.end.ns, INT64_C(1764547200) * S, "2025-12-01");
    cr_expect_not(qd_watch_next(watch, &event, &lost));
    qd_broadcast_leave(&f.node->broadcast, watch);
    fixture_close(&f);

    fixture_open(&f, yaml);
    watch = qd_broadcast_join(&f.node->broadcast, &filter, nothing, NULL);
    cr_assert(check(&f, "acme/search", 100));
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE);
    fixture_pass(&f, S);
    cr_expect_not(qd_watch_next(watch, &event, &lost), "%u", event.permille);
    cr_assert(check(&f, "acme/search", 100));
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE);
    fixture_pass(&f, S);
    cr_expect(qd_watch_next(watch, &event, &lost) && event.permille == 800);
    qd_broadcast_leave(&f.node->broadcast, watch);
    fixture_end(&f);
}

/* What people see in the event is what CheckQuota told them. */
Test(broadcast, S5_an_expired_hold_is_told_by_the_number_that_its_check_was_told)
{
    static const char *const tenants[] = {"a", "b", "c", "d", "e"}; /* in several slices */
    struct fixture f = {.store = NULL};
    struct qd_event event;
    struct qd_watch_filter filter = {.kinds = 1U << QD_EVENT_EXPIRED};
    uint64_t lost = 0;
    fixture_open(&f, yaml);
    struct qd_watch *watch = qd_broadcast_join(&f.node->broadcast, &filter, nothing, NULL);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert(check(&f, tenants[i], 1));
        uint64_t number = f.answer.number;
        fixture_pass(&f, QD_TTL_DEFAULT_NS + S);
        cr_assert(qd_watch_next(watch, &event, &lost), "%s", tenants[i]);
        cr_expect_str_eq(event.name, tenants[i]);
        cr_expect_eq(event.reservation, number, "%s", tenants[i]);
    }
    qd_broadcast_leave(&f.node->broadcast, watch);
    fixture_end(&f);
}

Test(broadcast, L3_a_correction_is_logged_counted_and_told)
{
    struct fixture f = {.store = NULL};
    struct qd_event event;
    struct qd_watch_filter filter = {.kinds = 1U << QD_EVENT_CORRECTION};
    uint64_t lost = 0;
    fixture_open(&f, yaml);
    f.node->listener.on_event = hear;
    heard = 0;
    struct qd_watch *watch = qd_broadcast_join(&f.node->broadcast, &filter, nothing, NULL);
    qd_node_tell_correction(f.node, str("acme/search"), 17, 3);
    cr_assert(qd_watch_next(watch, &event, &lost));
    cr_expect_eq(event.kind, QD_EVENT_CORRECTION);
    cr_expect(event.entry == 17 && event.reservation == 3 && event.limit == NULL);
    cr_expect_eq(event.at.ns, T0);
    cr_expect_str_eq(event.name, "acme/search");
    cr_expect_eq(heard, 1U << (8 * QD_EVENT_CORRECTION));
    cr_expect_eq(atomic_load(&f.node->broadcast.told[QD_EVENT_CORRECTION]), 1);
    qd_broadcast_leave(&f.node->broadcast, watch);
    fixture_end(&f);
}
