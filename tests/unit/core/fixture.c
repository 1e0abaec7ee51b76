#include "fixture.h"

#include "server/core/hash.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SEED 7U

struct qd_str fx_str(const char *text)
{
    return (struct qd_str){.ptr = text, .len = strlen(text)};
}

struct qd_hash128 fx_request(uint64_t number)
{
    return qd_hash_bytes(&number, sizeof(number), 99);
}

static struct qd_core *make_core(const struct qd_core_config *config, void **ret_memory)
{
    size_t size = qd_core_memory(config);
    cr_assert(size > 0);
    size = (size + 63) & ~(size_t)63;
    *ret_memory = aligned_alloc(64, size);
    cr_assert_not_null(*ret_memory);
    memset(*ret_memory, 0, size);
    return qd_core_init(*ret_memory, size, config);
}

#define TAKE(field)                           \
    if (given != NULL && given->field != 0) { \
        config.field = given->field;          \
    }

void fx_init(struct fx *f, const struct qd_core_config *given)
{
    struct qd_core_config config = {.hash_seed = SEED,
                                    .narrow_windows = 64,
                                    .wide_windows = 16,
                                    .buckets = 64,
                                    .gauges = 64,
                                    .bindings = 64,
                                    .reservations = 256,
                                    .progress = 8,
                                    .estimators = 8,
                                    .roots = 64,
                                    .name_bytes = 65536};
    TAKE(narrow_windows)
    TAKE(wide_windows)
    TAKE(buckets)
    TAKE(gauges)
    TAKE(bindings)
    TAKE(reservations)
    TAKE(progress)
    TAKE(estimators)
    TAKE(roots)
    TAKE(name_bytes)
    TAKE(counters_per_root)
    TAKE(reservations_per_root)
    fx_init_exactly(f, &config);
}

void fx_init_exactly(struct fx *f, const struct qd_core_config *config)
{
    memset(f, 0, sizeof(*f));
    f->home = make_core(config, &f->memory[0]);
    f->commons = make_core(config, &f->memory[1]);
    f->now.ns = FX_START_NS;
    f->tenant = "acme/search/key-7";
    f->model = "gpt-4o";
    f->epoch = 1;
    f->valid_until.ns = QD_WALL_NEVER;
    f->check = (struct qd_check){.candidate_count = 1,
                                 .unknown_price = QD_UNKNOWN_PRICE_UNPRICED,
                                 .ttl_ns = QD_TTL_DEFAULT_NS,
                                 .reserve = true};
}

void fx_release(struct fx *f)
{
    free(f->memory[0]);
    free(f->memory[1]);
}

struct qd_limit *fx_limit(struct fx *f, enum qd_algorithm algorithm, enum qd_meter meter)
{
    static const struct qd_zone_transition transitions[] = {{INT64_MIN, 0}};
    static const struct qd_zone utc = {"UTC", transitions, 1};
    cr_assert(f->limit_count < FX_LIMITS_MAX);
    struct qd_limit *limit = &f->limits[f->limit_count];
    memset(limit, 0, sizeof(*limit));
    limit->index = ++f->limit_count;
    limit->name = "limit";
    limit->algorithm = algorithm;
    limit->window_ns = QD_NS_PER_MINUTE;
    limit->slots = 60;
    limit->refunds = true;
    limit->calendar = (struct qd_calendar){QD_CALENDAR_MONTH, 0, &utc};
    limit->admit = (struct qd_weights){.count = 1, .den = 1, .item = {{(uint8_t)meter, 1}}};
    limit->settle = limit->admit;
    return limit;
}

struct qd_limit *fx_token_limit(struct fx *f, enum qd_algorithm algorithm)
{
    struct qd_limit *limit = fx_limit(f, algorithm, QD_METER_INPUT_TOKENS);
    limit->admit.count = 5;
    for (uint8_t i = 0; i < 5; i++) {
        limit->admit.item[i] = (struct qd_weight){(uint8_t)(QD_METER_INPUT_TOKENS + i), 1};
    }
    limit->settle = limit->admit;
    return limit;
}

struct qd_limit *fx_month(struct fx *f, enum qd_meter meter)
{
    return fx_limit(f, QD_CALENDAR, meter);
}

struct qd_hash128 fx_key(const struct fx *f, const char *tenant, const char *model)
{
    struct qd_hasher h;
    (void)f;
    qd_hasher_init(&h, SEED);
    qd_hasher_str(&h, fx_str(tenant));
    qd_hasher_str(&h, fx_str(model));
    return qd_hasher_end(&h);
}

struct qd_hash128 fx_counter_id(const struct qd_limit *limit, const char *path)
{
    struct qd_hasher h;
    qd_hasher_init(&h, SEED);
    qd_hasher_str(&h, fx_str(path));
    qd_hasher_u64(&h, limit->index);
    return qd_hasher_end(&h);
}

static uint8_t depth_of(const char *path)
{
    uint8_t depth = path[0] != '\0';
    for (; *path != '\0'; path++) {
        depth = (uint8_t)(depth + (*path == '/'));
    }
    return depth;
}

void fx_apply(struct fx *f, const struct qd_limit *limit, int64_t amount, const char *path)
{
    cr_assert(f->item_count < QD_LIMITS_PER_CHECK_MAX);
    f->items[f->item_count++] = (struct qd_bind_item){.limit = limit,
                                                      .amount = amount,
                                                      .burst = amount,
                                                      .counter = fx_counter_id(limit, path),
                                                      .depth = depth_of(path),
                                                      .name = fx_str(path[0] ? path : "shared")};
}

void fx_set_amount(struct fx *f, const struct qd_limit *limit, int64_t amount)
{
    for (unsigned i = 0; i < f->item_count; i++) {
        if (f->items[i].limit == limit) {
            f->items[i].amount = amount;
            f->items[i].burst = amount;
        }
    }
}

enum qd_bind_result fx_try_bind(struct fx *f)
{
    struct qd_bind bind = {.key = fx_key(f, f->tenant, f->model),
                           .epoch = f->epoch,
                           .valid_until = f->valid_until,
                           .tenant = fx_str(f->tenant),
                           .estimator = fx_key(f, f->tenant, "estimator"),
                           .blocked = f->blocked,
                           .items = f->items,
                           .item_count = f->item_count};
    f->candidates[0].binding = bind.key;
    return qd_core_bind(f->home, f->commons, &bind, f->now, NULL);
}

void fx_bind(struct fx *f)
{
    cr_assert_eq(fx_try_bind(f), QD_BOUND);
}

enum qd_decision fx_check_as_is(struct fx *f)
{
    f->check.epoch = f->epoch;
    f->check.candidates = f->candidates;
    qd_core_check(f->home, f->commons, &f->check, f->now, &f->verdict, f->states, &f->state_count);
    return f->verdict.decision;
}

enum qd_decision fx_check(struct fx *f, int64_t input, int64_t max_output)
{
    f->check.estimate.present = 0;
    qd_usage_set(&f->check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&f->check.estimate, QD_METER_INPUT_TOKENS, input);
    f->candidates[0].max_output_given = max_output > 0;
    f->candidates[0].max_output_tokens = max_output;
    return fx_check_as_is(f);
}

struct qd_settle *fx_settle_begin(struct fx *f, uint64_t reservation)
{
    f->settle = (struct qd_settle){.reservation = reservation,
                                   .binding = fx_key(f, f->tenant, f->model),
                                   .epoch = f->epoch,
                                   .charged_at = f->now,
                                   .outcome = QD_OUTCOME_OK,
                                   .final = true};
    return &f->settle;
}

enum qd_result fx_settle_as_is(struct fx *f)
{
    return qd_core_settle(f->home, f->commons, &f->settle, f->now, &f->settled);
}

enum qd_result fx_settle(struct fx *f, int64_t input, int64_t output)
{
    struct qd_settle *s = fx_settle_begin(f, f->verdict.reservation);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, input);
    qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, output);
    return fx_settle_as_is(f);
}

enum qd_result fx_extend(struct fx *f, uint64_t reservation, int64_t output_so_far)
{
    struct qd_usage used = {0};
    struct qd_wall_ns expires;
    if (output_so_far > 0) {
        qd_usage_set(&used, QD_METER_OUTPUT_TOKENS, output_so_far);
    }
    return qd_core_extend(f->home, f->commons, reservation, &used, QD_TTL_DEFAULT_NS, f->now,
                          &expires, &f->states[0]);
}

enum qd_result fx_cancel(struct fx *f, uint64_t reservation)
{
    return qd_core_cancel(f->home, f->commons, reservation, f->now);
}

size_t fx_expire(struct fx *f)
{
    return qd_core_expire(f->home, f->commons, f->now, SIZE_MAX);
}

void fx_advance(struct fx *f, int64_t ns)
{
    f->now.ns += ns;
}

struct qd_limit_state fx_state(struct fx *f, const struct qd_limit *limit, const char *path)
{
    struct qd_limit_state state = {0};
    struct qd_core *core = path[0] == '\0' ? f->commons : f->home;
    qd_core_counter(core, fx_counter_id(limit, path), f->now, &state);
    return state;
}

int64_t fx_used(struct fx *f, const struct qd_limit *limit, const char *path)
{
    return fx_state(f, limit, path).used;
}

int64_t fx_held(struct fx *f, const struct qd_limit *limit, const char *path)
{
    return fx_state(f, limit, path).held;
}

bool fx_reset(struct fx *f, struct qd_core *core, struct qd_hash128 counter)
{
    uint64_t cursor = 0;
    bool found = qd_core_counter_reset(core, counter, 0, f->now);
    while (qd_core_forgive(f->home, f->commons, &cursor, 5)) {
    }
    return found;
}

struct qd_core_stats fx_stats(const struct fx *f)
{
    struct qd_core_stats stats;
    qd_core_stats(f->home, &stats);
    return stats;
}
