/* Events: thresholds that what was used reaches, and leaves by a tenth before it can again (P3). */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(event, .timeout = 60);

/* The thresholds that were reported since the last look, as "800 1000 "; "" if none. */
static const char *reported(struct qd_core *core)
{
    static char text[128];
    struct qd_event event;
    size_t size = 0;
    text[0] = '\0';
    while (qd_core_event(core, &event)) {
        if (event.kind == QD_EVENT_THRESHOLD) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%u ", event.permille);
        }
    }
    return text;
}

/* A report of this many input tokens, without a hold. */
static void book(struct fx *f, int64_t tokens)
{
    struct qd_settle *s = fx_settle_begin(f, 0);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, tokens);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
}

/* A check of this many; returns its hold. */
static uint64_t charge(struct fx *f, int64_t tokens)
{
    cr_assert_eq(fx_check(f, tokens, 0), QD_ALLOW);
    return f->verdict.reservation;
}

static void settle(struct fx *f, uint64_t hold, int64_t tokens)
{
    struct qd_settle *s = fx_settle_begin(f, hold);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, tokens);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
}

Test(event, P3_a_threshold_is_reported_once_until_it_was_left_by_a_tenth)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    limit->threshold_permille[0] = 500;
    fx_apply(&f, limit, 100, "acme");
    fx_bind(&f);
    uint64_t held[100];
    unsigned open = 0;
    while (open < 49) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "");
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    held[open++] = f.verdict.reservation;
    cr_expect_str_eq(reported(f.home), "500 ", "at half, of what is held");

    /* Down to 45, which is nine tenths of it, and up again: nothing. */
    while (open > 45) {
        cr_assert_eq(fx_cancel(&f, held[--open]), QD_OK);
    }
    while (open < 60) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "", "it was not left");

    /* Down to 43 and one more, which is 44 and below nine tenths, then up: reported again. */
    while (open > 43) {
        cr_assert_eq(fx_cancel(&f, held[--open]), QD_OK);
    }
    while (open < 60) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "500 ", "it was left");
    fx_release(&f);
}

/* The exact edges of "left": at nine tenths of the threshold not yet, one below it. */
Test(event, P3_a_threshold_is_left_below_nine_tenths_and_not_at_them)
{
    const struct {
        int64_t down_to;
        const char *again;
    } cases[] = {{799, ""}, {721, ""}, {720, ""}, {719, "800 "}, {1, "800 "}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        limit->threshold_permille[0] = 800;
        fx_apply(&f, limit, 1000, "acme");
        fx_bind(&f);
        uint64_t hold = charge(&f, 799);
        cr_expect_str_eq(reported(f.home), "");
        (void)charge(&f, 1);
        cr_expect_str_eq(reported(f.home), "800 ");
        settle(&f, hold, cases[i].down_to - 1);
        cr_assert_eq(fx_used(&f, limit, "acme"), cases[i].down_to);
        cr_expect_str_eq(reported(f.home), "");
        (void)charge(&f, 800 - cases[i].down_to);
        cr_expect_str_eq(reported(f.home), cases[i].again, "down to %ld", (long)cases[i].down_to);
        fx_release(&f);
    }
}

Test(event, P3_thresholds_are_passed_together_and_left_one_by_one)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    for (uint16_t i = 0; i < QD_THRESHOLDS_MAX; i++) { /* all that there may be */
        limit->threshold_permille[i] = (uint16_t)(100 * (i + 1));
    }
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    (void)charge(&f, 350);
    cr_expect_str_eq(reported(f.home), "100 200 300 ");
    uint64_t hold = charge(&f, 650);
    cr_expect_str_eq(reported(f.home), "400 500 600 700 800 ");
    book(&f, 100);
    cr_expect_str_eq(reported(f.home), "", "there is none above");
    settle(&f, hold, 150); /* 600: 700 and 800 are left (below 630 and 720), 600 isn't */
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 500);
    cr_expect_str_eq(reported(f.home), "700 800 ");
    fx_release(&f);
}

Test(event, P3_an_event_tells_which_limit_how_much_and_whose)
{
    struct fx f;
    struct qd_event event;
    char path[200];
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_month(&f, QD_METER_INPUT_TOKENS);
    limit->threshold_permille[0] = 500;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    const char *names[] = {"acme", path, ""}; /* as it is, cut off, none at all */
    for (unsigned i = 0; i < 3; i++) {
        f.item_count = 0;
        fx_apply(&f, limit, 1000, i < 2 ? names[i] : "x");
        f.items[0].name = fx_str(names[i]);
        f.items[0].counter = fx_request(i + 1);
        f.epoch++;
        fx_bind(&f);
        book(&f, 600);
        cr_assert(qd_core_event(f.home, &event));
        cr_expect_eq(event.kind, QD_EVENT_THRESHOLD);
        cr_expect_eq(event.limit, limit);
        cr_expect(event.permille == 500 && event.used == 600 && event.amount == 1000);
        size_t shown =
            strlen(names[i]) < sizeof(event.name) ? strlen(names[i]) : sizeof(event.name) - 1;
        cr_expect(strlen(event.name) == shown && memcmp(event.name, names[i], shown) == 0);
        cr_expect_not(qd_core_event(f.home, &event));
    }
    fx_release(&f);
}
