/* The table of counters and the roots: who is found, who makes room, who is counted where (D12). */
#include "fixture.h"
#include "server/core/root.h"
#include "server/core/table.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(table, .timeout = 60);

static void use_tenant(struct fx *f, const char *tenant, const struct qd_limit *limit)
{
    f->tenant = tenant;
    f->item_count = 0;
    fx_apply(f, limit, 1000, tenant);
}

static void check_and_settle(struct fx *f, int64_t tokens)
{
    cr_assert_eq(fx_check(f, tokens, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(f, tokens, 0), QD_OK);
}

/* Identities that share the index's hash, a half, or all but a bit are different counters. */
Test(table, D12_a_shared_hash_is_no_identity)
{
    const struct qd_hash128 ids[] = {{1, 9}, {2, 9}, {1, UINT64_C(1) << 32 | 9}, {3, 9}};
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    for (unsigned i = 0; i < 4; i++) {
        use_tenant(&f, "acme", month);
        f.items[0].counter = ids[i];
        f.epoch++;
        fx_bind(&f);
        cr_expect_eq(qd_core_bound_new(f.home), 1);
        check_and_settle(&f, 10 + i);
    }
    for (unsigned i = 0; i < 4; i++) {
        struct qd_limit_state state;
        cr_assert(qd_core_counter(f.home, ids[i], f.now, &state));
        cr_expect_eq(state.used, 10 + i);
    }
    struct qd_limit_state state;
    cr_expect_not(qd_core_counter(f.home, (struct qd_hash128){4, 9}, f.now, &state));
    fx_release(&f);
}

/* P6: the identity hashes all that makes a counter the same one. Should two kinds share one all the
 * same, the counter starts anew rather than being read as what it isn't. */
Test(table, P6_a_counter_of_another_kind_starts_empty)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *slots = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *width = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *token = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *leaky = fx_limit(&f, QD_LEAKY_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const struct qd_limit *kinds[] = {window, slots, window, width, window, token,
                                      leaky,  month, window, month, token};
    slots->slots = 30;
    width->window_ns = 2 * QD_NS_PER_MINUTE;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        use_tenant(&f, "acme/search", kinds[i]);
        f.items[0].counter = fx_request(1);
        f.epoch++;
        fx_bind(&f);
        cr_expect_eq(qd_core_bound_new(f.home), 1, "kind %u", i);
        check_and_settle(&f, 10);
        fx_bind(&f);
        cr_expect_eq(qd_core_bound_new(f.home), 0, "it is the same one now");
    }
    f.items[0].depth = 1; /* another scope */
    fx_bind(&f);
    cr_expect_eq(qd_core_bound_new(f.home), 1);
    fx_release(&f);
}

/* What was charged to a counter that is gone is gone with it; the rest of the hold lives on. */
Test(table, D13_a_hold_outlives_one_of_its_counters)
{
    for (unsigned end = 0; end < 4; end++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
        struct qd_limit *other = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
        month->on_expiry = QD_KEEP_ALL;
        use_tenant(&f, "acme", month);
        fx_apply(&f, window, 1000, "acme");
        f.items[1].counter = fx_request(1);
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        uint64_t hold = f.verdict.reservation;
        f.items[1].limit = other; /* takes its place */
        f.epoch++;
        fx_bind(&f);
        struct qd_limit_state state;
        switch (end) {
        case 0:
            cr_expect_eq(fx_extend(&f, hold, 50), QD_OK);
            cr_expect_eq(fx_cancel(&f, hold), QD_OK);
            cr_expect_eq(fx_held(&f, month, "acme"), 0);
            break;
        case 1:
            fx_advance(&f, QD_TTL_DEFAULT_NS + QD_NS_PER_S);
            cr_expect_eq(fx_expire(&f), 1);
            cr_expect_eq(fx_held(&f, month, "acme"), 100, "kept (S5)");
            cr_expect_eq(fx_stats(&f).reservations_kept, 1);
            break;
        case 2:
            cr_expect_eq(fx_settle(&f, 30, 0), QD_OK);
            cr_expect_eq(fx_held(&f, month, "acme"), 0);
            cr_expect_eq(fx_used(&f, month, "acme"), 30);
            break;
        default:
            cr_expect_eq(fx_cancel(&f, hold), QD_OK);
            cr_expect_eq(fx_held(&f, month, "acme"), 0);
            break;
        }
        cr_assert(qd_core_counter(f.home, fx_request(1), f.now, &state));
        cr_expect_eq(state.used, end == 2 ? 30 : 0, "end %u: the hold never charged this one", end);
        fx_release(&f);
    }
}

/* --- making room ------------------------------------------------------------------------------ */

Test(table, D12_only_what_equals_a_new_counter_is_dropped_silently)
{
    struct qd_core_config config = {.buckets = 2, .gauges = 2};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_saved state;
    bucket->window_ns = QD_NS_PER_HOUR; /* 1000: one token takes 3.6 s */
    f.check.reserve = false;
    use_tenant(&f, "a", bucket);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 2, 0), QD_ALLOW);
    use_tenant(&f, "b", bucket);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    fx_advance(&f, 5 * QD_NS_PER_S); /* a: 0.6 tokens are left */
    use_tenant(&f, "c", bucket);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL, "a fraction and 899 are something");
    fx_advance(&f, 3 * QD_NS_PER_S); /* a: empty */
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    cr_expect_eq(fx_used(&f, bucket, "a"), 0);
    cr_expect_eq(fx_used(&f, bucket, "b"), 898);

    /* A restored state is refused by a counter that is not as it was begun. */
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    use_tenant(&f, "a", fx_month(&f, QD_METER_INPUT_TOKENS));
    fx_bind(&f);
    f.check.reserve = true;
    cr_assert_eq(fx_check(&f, 5, 0), QD_ALLOW);
    state.id = f.items[0].counter;
    cr_expect_not(qd_core_restore(f.home, &state, f.now), "nothing used, but something held");
    cr_expect_eq(fx_stats(&f).states_lost, 0);
    fx_release(&f);
}

/* A hold whose second has come, and that nobody has ended yet, still needs its counter. */
Test(table, D12_what_is_held_stays_though_its_lease_is_over)
{
    struct qd_core_config config = {.gauges = 2};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    use_tenant(&f, "a", month);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    use_tenant(&f, "b", month);
    fx_bind(&f);
    fx_advance(&f, QD_TTL_DEFAULT_NS + QD_NS_PER_S);
    cr_expect_not(qd_core_evict(f.home, f.now, &state) &&
                  qd_hash128_equal(state.id, fx_counter_id(month, "a")));
    cr_expect_eq(fx_held(&f, month, "a"), 10);
    use_tenant(&f, "c", month);
    fx_bind(&f); /* in b's place */
    use_tenant(&f, "d", month);
    fx_advance(&f, 0);
    cr_expect_eq(fx_held(&f, month, "a"), 10);
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_try_bind(&f), QD_BOUND, "now a may go");
    fx_release(&f);
}

/* A root at its quota makes room among its own, of any kind, and leaves others alone. */
Test(table, D12_a_root_at_its_quota_drops_its_own_empty_counters_first)
{
    struct qd_core_config config = {.counters_per_root = 3};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    use_tenant(&f, "globex", window); /* empty too, and not acme's */
    fx_bind(&f);
    use_tenant(&f, "acme/1", window);
    fx_apply(&f, month, 1000, "acme/1");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    f.check.reserve = false;
    cr_assert_eq(fx_check(&f, 1000, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    use_tenant(&f, "acme/2", window);
    fx_bind(&f); /* the months are empty: budgets hold, and nothing was reserved */
    cr_expect_eq(fx_used(&f, window, "acme/1"), 1000, "it isn't empty");
    struct qd_limit_state state;
    cr_expect(qd_core_counter(f.home, fx_counter_id(window, "globex"), f.now, &state));
    cr_expect_neq(qd_core_counter(f.home, fx_counter_id(month, "acme/1"), f.now, &state),
                  qd_core_counter(f.home, fx_counter_id(month, "acme"), f.now, &state),
                  "one of the two went");
    fx_release(&f);
}

/* Eviction for a root's quota takes one of the root's own, of whatever kind. */
Test(table, D12_a_root_at_its_quota_evicts_any_kind_of_its_own)
{
    struct qd_core_config config = {.counters_per_root = 1};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const char *tenants[] = {"globex", "acme"};
    for (unsigned i = 0; i < 2; i++) {
        use_tenant(&f, tenants[i], month);
        fx_bind(&f);
        check_and_settle(&f, 10);
    }
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    use_tenant(&f, "acme", window);
    f.epoch++;
    cr_expect_eq(fx_try_bind(&f), QD_BIND_ROOT_QUOTA);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    cr_expect(qd_hash128_equal(state.id, fx_counter_id(month, "acme")));
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

static void name_item(struct fx *f, const struct qd_limit *limit, const char *name)
{
    f->item_count = 0;
    fx_apply(f, limit, 1000, "acme");
    f->items[0].name = fx_str(name);
    f->items[0].counter = fx_request(f->epoch++);
}

/* 16 granules of 32 bytes: the names of counters fill them, and empty counters make room. */
Test(table, D12_counters_names_find_room_where_empty_ones_leave_it)
{
    struct qd_core_config config = {.name_bytes = 1024};
    struct fx f;
    char name[40];
    size_t failed = 9;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    f.tenant = "acme";
    unsigned bound = 0;
    for (;; bound++) {
        (void)snprintf(name, sizeof(name), "acme model=%02u", bound);
        name_item(&f, month, name);
        if (fx_try_bind(&f) != QD_BOUND) {
            break;
        }
        check_and_settle(&f, 10); /* none of them is empty */
        cr_assert_lt(bound, 64);
    }
    struct qd_bind bind = {.key = fx_request(1),
                           .tenant = fx_str("acme"),
                           .valid_until.ns = QD_WALL_NEVER,
                           .items = f.items,
                           .item_count = 1};
    cr_expect_eq(qd_core_bind(f.home, f.commons, &bind, f.now, &failed), QD_BIND_FULL);
    cr_expect_eq(failed, 0, "the item that found no room");

    /* A week later they have long been idle, and a reset made one of them empty. */
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    uint64_t cursor = 0;
    struct qd_hash128 id;
    struct qd_limit_state state;
    cr_assert(qd_core_counter_next(f.home, &cursor, f.now, &id, &state));
    cr_assert(qd_core_counter_reset(f.home, id, 0, f.now));
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    cr_expect_not(qd_core_counter(f.home, id, f.now, &state), "it made room");
    fx_release(&f);
}

/* A shared counter may go without a name. */
Test(table, D12_a_counter_without_a_name_needs_no_room_for_it)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    window->per = QD_ATTR_MODEL;
    fx_apply(&f, window, 1000, "");
    f.items[0].name = (struct qd_str){NULL, 0};
    fx_bind(&f);
    struct qd_core_stats stats;
    qd_core_stats(f.commons, &stats);
    cr_expect_eq(stats.name_bytes_used, 0);
    check_and_settle(&f, 10);
    cr_expect_eq(f.verdict.binding.name.len, 0);
    cr_expect_eq(fx_used(&f, window, ""), 10);
    fx_advance(&f, QD_TTL_DEFAULT_NS + QD_NS_PER_MINUTE * 2);
    struct qd_saved state;
    cr_expect(qd_core_evict(f.commons, f.now, &state));
    fx_release(&f);
}

/* When names are short any kind may go: the largest first, then those that have something idle. */
Test(table, D12_for_a_name_any_kind_of_counter_goes)
{
    for (unsigned idle = 0; idle < 2; idle++) {
        struct qd_core_config config = {.name_bytes = 1024};
        struct fx f;
        struct qd_saved state;
        char tenants[40][24];
        fx_init(&f, &config);
        struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
        struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
        bucket->window_ns = 30 * QD_NS_PER_DAY;
        f.check.ttl_ns = QD_TTL_MAX_NS;
        f.check.reserve = true;
        unsigned i = 0;
        for (;; i++) {
            (void)snprintf(tenants[i], sizeof(tenants[i]), "tenant-%02u", i);
            use_tenant(&f, tenants[i], i == 3 ? bucket : month);
            if (fx_try_bind(&f) != QD_BOUND) {
                break;
            }
            f.check.reserve = i != 3 || idle == 0;
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        }
        fx_advance(&f,
                   2 * QD_NS_PER_S); /* months are held for hours; the bucket only if reserved */
        cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
        cr_expect_eq(qd_core_evict(f.home, f.now, &state), idle == 1);
        if (idle == 1) {
            cr_expect(qd_hash128_equal(state.id, fx_counter_id(bucket, "tenant-03")));
        }
        fx_release(&f);
    }
}

/* Of more idle ones than are looked at, the least recently used of those goes. */
Test(table, D12_a_search_ends_after_64_idle_counters)
{
    struct qd_core_config config = {.gauges = 100, .roots = 128};
    struct fx f;
    struct qd_saved state;
    char tenants[101][8];
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    for (unsigned i = 0; i < 100; i++) { /* the last one made was used first */
        (void)snprintf(tenants[i], sizeof(tenants[i]), "t%u", i);
        use_tenant(&f, tenants[i], month);
        fx_bind(&f);
    }
    for (unsigned i = 100; i-- > 0;) {
        use_tenant(&f, tenants[i], month);
        fx_bind(&f);
        check_and_settle(&f, 10);
        fx_advance(&f, 2 * QD_NS_PER_S);
    }
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    use_tenant(&f, "new", month);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    cr_expect(qd_hash128_equal(state.id, fx_counter_id(month, "t63")),
              "the 64th that it looked at");
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

/* --- a window that outgrew the narrow kind ---------------------------------------------------- */

/* The old record points to the new one while a lease may follow it, and is nobody's after that. */
Test(table, P6_a_moved_counters_record_is_free_when_its_leases_are_over)
{
    struct qd_core_config config = {.narrow_windows = 1};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    use_tenant(&f, "a", window);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    uint64_t hold = f.verdict.reservation;
    fx_set_amount(&f, window, INT64_C(5000000000));
    f.epoch++;
    fx_bind(&f);
    cr_expect_eq(fx_used(&f, window, "a"), 100);
    unsigned seen = 0;
    uint64_t cursor = 0;
    struct qd_hash128 id;
    struct qd_limit_state state;
    while (qd_core_counter_next(f.home, &cursor, f.now, &id, &state)) {
        seen++;
    }
    cr_expect_eq(seen, 1, "it is listed once");

    use_tenant(&f, "b", window);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL, "the lease still follows it");
    f.tenant = "a";
    struct qd_settle *s = fx_settle_begin(&f, hold);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 40);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, window, "a"), 40);
    f.tenant = "b";
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    fx_advance(&f, QD_TTL_DEFAULT_NS + QD_NS_PER_S);
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

Test(table, I7_a_walk_passes_over_free_records)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const char *tenants[] = {"a", "b", "c"};
    for (unsigned i = 0; i < 3; i++) {
        use_tenant(&f, tenants[i], month);
        fx_bind(&f);
        fx_advance(&f, 2 * QD_NS_PER_S);
    }
    struct qd_saved out;
    f.home->hand[QD_CLASS_GAUGE] = 1;
    f.home->full_class = QD_CLASS_GAUGE;
    cr_assert(qd_core_evict(f.home, f.now, &out));
    unsigned seen = 0;
    uint64_t cursor = 0;
    struct qd_hash128 id;
    struct qd_limit_state state;
    while (qd_core_counter_next(f.home, &cursor, f.now, &id, &state)) {
        cr_expect_not(qd_hash128_equal(id, out.id));
        seen++;
    }
    cr_expect_eq(seen, 2);
    cr_expect_eq(qd_table_sweep(f.home, QD_CLASS_GAUGE, NULL, 9, f.now), 2,
                 "a and c, which are empty");
    fx_release(&f);
}

/* --- roots ------------------------------------------------------------------------------------ */

/* Two segments whose hashes share the index's 32 bits, found by trying. */
static void find_collision(const struct qd_core *core, char ret_a[16], char ret_b[16])
{
    enum {
        PLACES = 1 << 20
    };
    static uint32_t seen[PLACES]; /* number + 1 of a segment by the low bits of its hash */
    for (uint32_t i = 0; i < 1000000; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "r%u", i);
        uint32_t hash = (uint32_t)qd_root_id(core, fx_str(text)).hi;
        uint32_t *place = &seen[hash % PLACES];
        if (*place != 0) {
            char other[16];
            (void)snprintf(other, sizeof(other), "r%u", *place - 1);
            if ((uint32_t)qd_root_id(core, fx_str(other)).hi == hash) {
                memcpy(ret_a, other, sizeof(other));
                memcpy(ret_b, text, sizeof(text));
                return;
            }
        }
        *place = i + 1;
    }
    cr_assert_fail("no two of a million collide");
}

Test(table, D12_roots_that_share_a_hash_are_counted_apart)
{
    struct qd_core_config config = {.counters_per_root = 1};
    struct fx f;
    char a[16];
    char b[16];
    fx_init(&f, &config);
    find_collision(f.home, a, b);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    use_tenant(&f, a, month);
    fx_bind(&f);
    use_tenant(&f, b, month);
    fx_bind(&f);
    cr_expect_eq(fx_stats(&f).roots_live, 2);
    qd_core_forget_root(f.home, fx_str(a));
    cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW, "b is not forgotten");
    f.tenant = a;
    f.candidates[0].binding = fx_key(&f, a, f.model);
    cr_expect_eq(fx_check(&f, 10, 0), QD_NEEDS_BINDING);
    fx_release(&f);
}

/* A counter's name is its tenant's path, and what splits it after a blank. */
Test(table, D12_a_split_counter_counts_for_its_tenants_root)
{
    struct qd_core_config config = {.counters_per_root = 2};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const char *names[] = {"acme user=1", "acme user=2", "acme user=3"};
    f.tenant = "acme";
    for (unsigned i = 0; i < 3; i++) {
        name_item(&f, month, names[i]);
        cr_expect_eq(fx_try_bind(&f), i < 2 ? QD_BOUND : QD_BIND_ROOT_QUOTA);
        if (i < 2) {
            check_and_settle(&f, 10);
        }
    }
    fx_release(&f);
}

/* A name that starts with nobody's path counts for nobody, and is nobody's loss. */
Test(table, D12_a_name_of_no_root_counts_for_nobody)
{
    struct qd_core_config config = {.gauges = 1, .counters_per_root = 1};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    f.tenant = "acme";
    name_item(&f, month, "someone/else");
    fx_bind(&f);
    check_and_settle(&f, 10);
    use_tenant(&f, "someone", window); /* there is such a root by now */
    fx_bind(&f);
    cr_expect_eq(qd_root_at(f.home, qd_root_obtain(f.home, fx_str("someone"), f.now))->counters, 1);
    check_and_settle(&f, 10);
    fx_advance(&f, QD_TTL_DEFAULT_NS + 2 * QD_NS_PER_MINUTE);
    use_tenant(&f, "acme", month);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    cr_expect_eq(qd_root_at(f.home, qd_root_obtain(f.home, fx_str("someone"), f.now))->counters, 0,
                 "taken back, though never given");
    f.home->full_class = QD_CLASS_NARROW;
    cr_assert(qd_core_evict(f.home, f.now, &state));
    cr_assert(qd_hash128_equal(state.id, fx_counter_id(window, "someone")));
    cr_expect_eq(qd_root_at(f.home, qd_root_obtain(f.home, fx_str("someone"), f.now))->counters, 0,
                 "it stops at 0");
    use_tenant(&f, "someone", window);
    f.epoch++;
    fx_advance(&f, QD_NS_PER_MINUTE);
    fx_bind(&f);
    fx_release(&f);
}

/* Bound to shared limits only, a root has no counters; its holds keep it. */
Test(table, D12_a_root_with_open_holds_stays)
{
    struct qd_core_config config = {.roots = 1};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *shared = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    f.tenant = "a";
    fx_apply(&f, shared, 1000, "");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    uint64_t hold = f.verdict.reservation;
    f.tenant = "b";
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_assert_eq(fx_cancel(&f, hold), QD_OK);
    cr_expect_eq(fx_try_bind(&f), QD_BOUND, "nothing is left of a");
    fx_release(&f);
}

/* D5: all slices go by the latest time that any of those involved has seen. */
Test(table, D5_a_shared_slice_carries_the_latest_time_to_the_others)
{
    struct fx f;
    struct fx g;
    fx_init(&f, NULL);
    fx_init(&g, NULL);
    struct qd_core *own = g.commons;
    struct qd_limit *shared = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, shared, 1000, "");
    fx_apply(&g, shared, 1000, "");
    g.commons = f.commons;
    fx_advance(&g, 90 * QD_NS_PER_S);
    fx_bind(&g);
    cr_assert_eq(fx_check(&g, 10, 0), QD_ALLOW);
    fx_bind(&f); /* whose clock is 90 s behind */
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.made_at.ns, g.now.ns);
    g.commons = own;
    fx_release(&f);
    fx_release(&g);
}
