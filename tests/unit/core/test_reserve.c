/* Reservations: repeats, numbers, bounds (S1, D12, D13). */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(reserve, .timeout = 60);

Test(reserve, S1_a_repeated_check_returns_the_same_reservation)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    f.check.attempt = 1;
    f.check.content = 5;
    cr_assert_eq(fx_check(&f, 1, 7), QD_ALLOW);
    uint64_t first = f.verdict.reservation;
    struct qd_wall_ns expires = f.verdict.expires;
    fx_advance(&f, QD_NS_PER_S);
    cr_expect_eq(fx_check(&f, 1, 7), QD_ALLOW);
    cr_expect(f.verdict.repeated);
    cr_expect_eq(f.verdict.reservation, first);
    cr_expect_eq(f.verdict.expires.ns, expires.ns);
    cr_expect_eq(f.verdict.estimate.amount[QD_METER_OUTPUT_TOKENS], 7);
    cr_expect_eq(fx_used(&f, window, "acme"), 1, "charged once");
    f.check.attempt = 2;
    cr_expect_eq(fx_check(&f, 1, 7), QD_ALLOW);
    cr_expect_not(f.verdict.repeated);
    cr_expect_neq(f.verdict.reservation, first);
    fx_release(&f);
}

Test(reserve, S1_the_same_id_with_another_content_is_a_conflict)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    f.check.content = 5;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    f.check.content = 6;
    cr_expect_eq(fx_check(&f, 1, 0), QD_CONFLICT);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_used(&f, window, "acme"), 1);
    fx_release(&f);
}

Test(reserve, S1_a_repeat_after_the_expiry_is_a_new_check)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 10, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    for (unsigned i = 0; i < 70; i++) { /* so many that checks don't end them all by the way */
        f.check.request = fx_request(100 + i);
        cr_assert_eq(fx_check(&f, 1, 0), i < 10 ? QD_ALLOW : QD_DENY);
    }
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    for (unsigned i = 0; i < 10; i++) {
        f.check.request = fx_request(100 + i);
        cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_expect_not(f.verdict.repeated);
    }
    fx_expire(&f);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 10);
    cr_expect_eq(fx_stats(&f).reservations_open, 10);
    fx_release(&f);
}

Test(reserve, D12_a_full_table_ends_due_holds_first_and_then_says_capacity)
{
    struct qd_core_config config = {.reservations = 100};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 100000, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    }
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_used(&f, window, "acme"), 100, "a refused check charges nothing (D2)");
    cr_expect_eq(fx_stats(&f).capacity_denied, 1);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    for (unsigned i = 0; i < 100; i++) {
        cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    }
    fx_release(&f);
}

Test(reserve, D12_a_root_has_its_quota_of_reservations_and_due_ones_go_first)
{
    struct qd_core_config config = {.reservations_per_root = 5};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 100000, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 8; i++) {
        f.check.ttl_ns = (i < 3 ? 1 : 100) * QD_NS_PER_S;
        cr_expect_eq(fx_check(&f, 1, 0), i < 5 ? QD_ALLOW : QD_DENY);
    }
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 5);
    f.tenant = "globex";
    f.item_count = 0;
    fx_apply(&f, parallel, 10, "globex");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW, "its neighbour is not concerned");
    f.tenant = "acme/search/key-7";
    f.item_count = 0;
    fx_apply(&f, parallel, 100000, "acme");
    fx_bind(&f);
    fx_advance(&f, 2 * QD_NS_PER_S);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(fx_check(&f, 1, 0), i < 3 ? QD_ALLOW : QD_DENY);
    }
    fx_release(&f);
}

/* A full table whose due holds must make room, however many checks came by before. */
Test(reserve, D12_room_is_made_from_due_holds_when_the_table_is_full)
{
    struct qd_core_config config = {.reservations = 64, .reservations_per_root = 8};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    const char *tenants[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (unsigned t = 0; t < 8; t++) {
        f.tenant = tenants[t];
        f.item_count = 0;
        fx_apply(&f, window, 1000, f.tenant);
        fx_bind(&f);
        for (unsigned i = 0; i < 8; i++) {
            cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        }
    }
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    f.tenant = "a";
    f.item_count = 0;
    fx_apply(&f, window, 1000, "a");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW, "a's own holds are due, behind the others'");
    fx_release(&f);
}

Test(reserve, D13_a_number_never_names_a_later_reservation)
{
    struct qd_core_config config = {.reservations = 4};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    uint64_t first = f.verdict.reservation;
    cr_expect_eq(first, 1, "short ids stay short");
    cr_assert_eq(fx_cancel(&f, first), QD_OK);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_expect_gt(f.verdict.reservation, first);
    }
    cr_expect_eq(fx_cancel(&f, first), QD_NO_RESERVATION);
    cr_expect_eq(fx_cancel(&f, 0), QD_NO_RESERVATION);
    cr_expect_eq(fx_cancel(&f, UINT64_MAX), QD_NO_RESERVATION);
    cr_expect_eq(fx_extend(&f, first, 5), QD_NO_RESERVATION);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 4);
    fx_release(&f);
}

Test(reserve, S9_holds_are_listed)
{
    struct fx f;
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 100, "acme");
    fx_bind(&f);
    for (int64_t i = 1; i <= 3; i++) {
        cr_assert_eq(fx_check(&f, 100 * i, 10), QD_ALLOW);
    }
    struct qd_hold hold;
    uint64_t cursor = 0;
    int64_t tokens = 0;
    unsigned count = 0;
    while (qd_core_hold_next(f.home, &cursor, &hold)) {
        tokens += hold.held_tokens;
        count++;
        cr_expect_eq(hold.tenant.len, 17);
        cr_expect_not(hold.expired);
    }
    cr_expect_eq(count, 3);
    cr_expect_eq(tokens, 630);
    fx_release(&f);
}

Test(reserve, S1_many_limits_spill_and_without_room_that_is_capacity)
{
    struct qd_core_config config = {.progress = 2};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *limits[20];
    for (unsigned i = 0; i < 20; i++) {
        limits[i] = fx_token_limit(&f, QD_SLIDING_WINDOW);
        fx_apply(&f, limits[i], 1000000, "acme");
    }
    fx_bind(&f);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fx_check(&f, 100, 10), i < 2 ? QD_ALLOW : QD_DENY);
    }
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
    cr_expect_eq(fx_stats(&f).reservations_open, 2);
    struct qd_settle *s = fx_settle_begin(&f, 1);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 50);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    for (unsigned i = 0; i < 20; i++) {
        cr_expect_eq(fx_used(&f, limits[i], "acme"), 110 + 50);
    }
    cr_expect_eq(fx_check(&f, 100, 10), QD_ALLOW, "its spill is free again");
    fx_release(&f);
}

/* Reservations go round in a part of their table that grows with what is open at once: a number
 * names its hold through every widening, and a table that is hardly used is hardly touched. */
Test(reserve, D13_numbers_name_their_holds_while_the_ring_widens)
{
    enum {
        HOLDS = 1500
    };
    struct fx f;
    struct qd_core_config config = {.hash_seed = 7,
                                    .buckets = 8,
                                    .gauges = 8,
                                    .bindings = 8,
                                    .reservations = 1600,
                                    .roots = 8,
                                    .name_bytes = 4096};
    fx_init(&f, &config);
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), HOLDS, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 10000; i++) { /* one at a time: many numbers, few places */
        cr_assert_eq(fx_check(&f, 1, 7), QD_ALLOW);
        cr_assert_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    }
    cr_expect_eq(qd_core_hold_places(f.home), 100);

    static uint64_t numbers[HOLDS];
    for (unsigned i = 0; i < HOLDS; i++) {
        cr_assert_eq(fx_check(&f, 1, 7), QD_ALLOW);
        numbers[i] = f.verdict.reservation;
        cr_expect(i == 0 || numbers[i] > numbers[i - 1]);
    }
    cr_expect_eq(qd_core_hold_places(f.home), 1600);
    struct qd_hold hold;
    for (unsigned i = 0; i < HOLDS; i++) {
        cr_assert(qd_core_hold(f.home, numbers[i], &hold), "hold %u", i);
        cr_expect_eq(hold.reservation, numbers[i]);
    }
    uint64_t cursor = 0;
    unsigned listed = 0;
    while (qd_core_hold_next(f.home, &cursor, &hold)) {
        listed++;
    }
    cr_expect_eq(listed, HOLDS);
    for (unsigned i = 0; i < HOLDS; i++) {
        cr_assert_eq(fx_cancel(&f, numbers[i]), QD_OK);
        cr_expect_not(qd_core_hold(f.home, numbers[i], &hold));
    }
    fx_release(&f);
}

/* Kept holds (S5) give way to new ones: what they charged stays, a later report books anew. */
Test(reserve, D12_a_full_table_forgets_what_is_kept_before_it_denies)
{
    for (uint32_t quota = 0; quota <= 100; quota += 100) {
        struct qd_core_config config = {.reservations = 32, .reservations_per_root = quota};
        struct fx f;
        fx_init(&f, &config);
        struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
        month->on_expiry = QD_KEEP_ALL;
        fx_apply(&f, month, 100000, "acme");
        fx_bind(&f);
        f.check.ttl_ns = QD_NS_PER_S;
        for (unsigned i = 0; i < 12; i++) {
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        }
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert_eq(fx_expire(&f), 12);
        cr_assert_eq(fx_stats(&f).reservations_kept, 12);
        f.check.ttl_ns = QD_TTL_DEFAULT_NS;
        for (unsigned i = 0; i < 32; i++) {
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW, "%u", i);
        }
        struct qd_core_stats stats = fx_stats(&f);
        cr_expect_eq(stats.reservations_kept, 0);
        cr_expect_eq(stats.kept_forgotten, 12);
        cr_expect_eq(fx_held(&f, month, "acme"), INT64_C(440), "their charges stay");
        cr_expect_eq(fx_check(&f, 10, 0), QD_DENY, "open ones are not forgotten");
        cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
        fx_release(&f);
    }
}

/* Holds that end to make room help only those whose quota they are in. */
Test(reserve, D12_others_due_holds_make_no_room_in_a_roots_quota)
{
    for (unsigned others = 2; others <= 60;
         others += 58) { /* a few, and more than one search ends */
        struct qd_core_config config = {.reservations_per_root = 3};
        struct fx f;
        char tenants[60][8];
        fx_init(&f, &config);
        struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
        for (unsigned t = 0; t <= others; t++) {
            f.tenant = "acme";
            if (t < others) {
                (void)snprintf(tenants[t], sizeof(tenants[t]), "t%u", t);
                f.tenant = tenants[t];
            }
            f.item_count = 0;
            fx_apply(&f, window, 1000, f.tenant);
            fx_bind(&f);
            f.check.ttl_ns = t < others ? QD_NS_PER_S : QD_TTL_DEFAULT_NS;
            for (unsigned i = 0; i < 3; i++) {
                cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
            }
        }
        fx_advance(&f, QD_NS_PER_S);
        cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
        struct qd_core_stats stats = fx_stats(&f);
        uint64_t most = 1 + 2 * 64; /* what one check may end */
        cr_expect_eq(stats.expired, UINT64_C(3) * others < most ? UINT64_C(3) * others : most);
        cr_expect_eq(stats.reservations_open, UINT64_C(3) * (others + 1) - stats.expired);
        fx_release(&f);
    }
}

/* Requests that share a hash, and attempts of one request, are told apart. */
Test(reserve, S1_requests_that_share_a_hash_are_not_the_same)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 10000, "acme");
    fx_bind(&f);
    uint64_t holds[4];
    for (unsigned i = 0; i < 4; i++) { /* two requests, two attempts of each */
        f.check.request = (struct qd_hash128){.lo = 1 + i / 2, .hi = 7};
        f.check.attempt = 1 + i % 2;
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        holds[i] = f.verdict.reservation;
        cr_expect_not(f.verdict.repeated);
    }
    for (unsigned i = 0; i < 4; i++) {
        f.check.request = (struct qd_hash128){.lo = 1 + i / 2, .hi = 7};
        f.check.attempt = 1 + i % 2;
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_expect(f.verdict.repeated);
        cr_expect_eq(f.verdict.reservation, holds[i]);
    }
    /* Booking one releases the other attempt of its own request alone. */
    struct qd_settle *s = fx_settle_begin(&f, holds[0]);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 10);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(f.settled.released_attempts, 1);
    cr_expect_eq(fx_stats(&f).reservations_open, 2);
    cr_expect_eq(fx_used(&f, window, "acme"), 30);
    fx_release(&f);
}

/* A kept hold and its successors by the same (request, attempt): the newest is the one meant. */
Test(reserve, S1_of_several_holds_of_one_attempt_the_newest_is_meant)
{
    struct qd_core_config config = {.reservations = 64};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->on_expiry = QD_KEEP_ALL;
    fx_apply(&f, month, 10000, "acme");
    fx_bind(&f);
    f.check.ttl_ns = QD_NS_PER_S;
    f.check.request = fx_request(1);
    f.check.attempt = 1;
    uint64_t newest = 0;
    for (unsigned i = 0; i < 6; i++) {
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_expect_gt(f.verdict.reservation, newest);
        newest = f.verdict.reservation;
        if (i == 2) { /* a gap in the index, which the next one takes: it comes before the others */
            cr_assert_eq(fx_cancel(&f, newest - 2), QD_OK);
        }
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_expect(f.verdict.repeated);
        cr_expect_eq(f.verdict.reservation, newest);
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert_eq(fx_expire(&f), 1);
    }
    cr_expect_eq(fx_stats(&f).reservations_kept, 5);
    fx_release(&f);
}

Test(reserve, D13_numbers_begin_where_they_are_told)
{
    struct qd_core_config config = {
        .gauges = 4, .bindings = 4, .reservations = 8, .roots = 4, .name_bytes = 1024};
    struct fx f;
    config.first_number = 123456789012;
    fx_init_exactly(&f, &config);
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), 10, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_expect_eq(f.verdict.reservation, config.first_number + i);
        cr_expect_eq(fx_cancel(&f, i), QD_NO_RESERVATION);
    }
    fx_release(&f);
}

/* Of what is kept the hold goes first that has been kept longest, wherever it lies; one kept hold
 * among many open ones is found at once. */
Test(reserve, D12_the_hold_that_was_kept_longest_is_forgotten_first)
{
    enum {
        PLACES = 8192,
        KEPT = 7
    };
    static const unsigned place_of_nth[KEPT] = {5000, 3, 8191, 4096, 0, 6000, 17};
    uint64_t number_of_nth[KEPT];
    struct qd_core_config config = {.reservations = PLACES};
    struct qd_hold hold;
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->on_expiry = QD_KEEP_ALL;
    fx_apply(&f, month, INT64_C(1) << 40, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < PLACES; i++) {
        f.check.ttl_ns = QD_TTL_DEFAULT_NS;
        unsigned nth = KEPT;
        for (unsigned n = 0; n < KEPT; n++) {
            nth = place_of_nth[n] == i ? n : nth;
        }
        if (nth < KEPT) {
            f.check.ttl_ns = (int64_t)(nth + 1) * QD_NS_PER_S;
        }
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        if (nth < KEPT) {
            number_of_nth[nth] = f.verdict.reservation;
        }
    }
    for (unsigned n = 0; n < KEPT; n++) {
        fx_advance(&f, QD_NS_PER_S);
        cr_assert_eq(fx_expire(&f), 1);
    }
    cr_assert_eq(fx_stats(&f).reservations_kept, KEPT);
    cr_assert_eq(fx_cancel(&f, number_of_nth[3]), QD_OK); /* each neighbour's link is mended */
    cr_assert_eq(fx_cancel(&f, number_of_nth[0]), QD_OK);
    cr_assert_eq(fx_cancel(&f, number_of_nth[6]), QD_OK);
    f.check.ttl_ns = QD_TTL_DEFAULT_NS;
    for (unsigned i = 0; i < 3; i++) { /* into the three places that became free */
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    }
    static const unsigned left[] = {1, 2, 4, 5};
    for (unsigned i = 0; i < 4; i++) {
        cr_expect(qd_core_hold(f.home, number_of_nth[left[i]], &hold), "%u", left[i]);
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW, "%u", i);
        cr_expect_not(qd_core_hold(f.home, number_of_nth[left[i]], &hold), "%u", left[i]);
        cr_expect_eq(fx_stats(&f).kept_forgotten, i + 1);
    }
    cr_expect_eq(fx_stats(&f).reservations_kept, 0);
    cr_expect_eq(fx_check(&f, 10, 0), QD_DENY);
    fx_release(&f);
}
