/* Money against __int128 arithmetic and decimal strings (P7, P8). */
#include "server/core/decimal.h"
#include "server/core/price.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define USD      INT64_C(1000000000000) /* in pico-USD */
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct qd_price_line gpt_lines[] = {
    {.meter = QD_METER_INPUT_TOKENS, .amount_pico = 2500000, .quantity = 1},
    {.meter = QD_METER_CACHED_INPUT_TOKENS, .amount_pico = 1250000, .quantity = 1},
    {.meter = QD_METER_CACHE_WRITE_TOKENS, .amount_pico = 3125000, .quantity = 1},
    {.meter = QD_METER_CACHE_WRITE_TOKENS,
     .cache_write_ttl = QD_CACHE_WRITE_1H,
     .amount_pico = 5000000,
     .quantity = 1},
    {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = 10000000, .quantity = 1},
    {.meter = QD_METER_INPUT_TOKENS, .tier = QD_TIER_BATCH, .amount_pico = 1250000, .quantity = 1},
    {.meter = QD_METER_INPUT_TOKENS, .above_input = 200000, .amount_pico = 5000000, .quantity = 1},
    {.meter = QD_METER_OUTPUT_TOKENS,
     .above_input = 200000,
     .amount_pico = 15000000,
     .quantity = 1},
    {.meter = QD_METER_OUTPUT_TOKENS, .above_input = 1000, .amount_pico = 11000000, .quantity = 1},
};
static const struct qd_price_line gpt_lines_2[] = {
    {.meter = QD_METER_INPUT_TOKENS, .amount_pico = 1, .quantity = 3},
    {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = 2, .quantity = 3},
    {.meter = QD_METER_REASONING_TOKENS, .amount_pico = 7, .quantity = 1},
    {.meter = QD_METER_REQUESTS, .amount_pico = 100, .quantity = 1},
    {.meter = QD_METER_IMAGES, .amount_pico = USD / 25, .quantity = 1},
};
static const struct qd_price_sheet gpt_sheets[] = {
    {1, {1000 * QD_NS_PER_S}, gpt_lines, COUNT(gpt_lines)},
    {2, {2000 * QD_NS_PER_S}, gpt_lines_2, COUNT(gpt_lines_2)},
};
static const struct qd_price_list gpt = {"gpt-4o", gpt_sheets, 2};

static const struct qd_price_line h100_lines[] = {
    {.meter = QD_METER_GPU_MS, .amount_pico = 1100000, .quantity = 1},
};
static const struct qd_price_sheet h100_sheets[] = {{3, {0}, h100_lines, 1}};
static const struct qd_price_list h100 = {"h100", h100_sheets, 1};

static const struct qd_price_list unpriced = {"unpriced", NULL, 0};

struct answer {
    enum qd_price_result result;
    int64_t pico;
    uint32_t missing;
};

static struct answer compute(const struct qd_price_list *model, const struct qd_price_list *pool,
                             const struct qd_usage *u, enum qd_price_tier tier, int64_t at_s)
{
    struct qd_price_query query = {.usage = u, .tier = tier, .at = {at_s * QD_NS_PER_S}};
    struct answer a = {0};
    qd_int128 pico = -1;
    a.result = qd_price_compute(model, pool, &query, &pico, &a.missing);
    a.pico = (int64_t)pico;
    cr_assert(a.result == QD_PRICE_OK || pico == -1, "untouched unless OK");
    cr_assert((a.result == QD_PRICE_OK) == (a.missing == 0));
    return a;
}

static struct qd_usage tokens(int64_t input, int64_t output)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_REQUESTS, 1);
    qd_usage_set(&u, QD_METER_INPUT_TOKENS, input);
    qd_usage_set(&u, QD_METER_OUTPUT_TOKENS, output);
    qd_usage_set(&u, QD_METER_TOKENS, input + output); /* derived: never billed */
    qd_usage_set(&u, QD_METER_CONCURRENCY, 1);
    return u;
}

Test(price, P7_sheets_take_effect_at_their_instant)
{
    struct qd_usage u = tokens(3, 3);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 999).result, QD_PRICE_UNKNOWN);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1000).pico, 37500000);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1999).pico, 37500000);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 2000).pico, 1 + 2 + 100);
}

Test(price, P7_a_tier_above_n_input_tokens_switches_the_whole_request)
{
    struct qd_usage u = tokens(200000, 10);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1500).pico,
                 INT64_C(200000) * 2500000 + 10 * INT64_C(11000000));
    u = tokens(200001, 10);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1500).pico,
                 INT64_C(200001) * 5000000 + 10 * INT64_C(15000000));
    /* Cached and written input count towards the size. */
    u = tokens(100000, 10);
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, 100000);
    qd_usage_set(&u, QD_METER_CACHE_WRITE_TOKENS, 1);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1500).pico,
                 INT64_C(100000) * 5000000 + INT64_C(100000) * 1250000 + 3125000 +
                     10 * INT64_C(15000000));
}

Test(price, P7_tiers_fall_back_to_standard)
{
    struct qd_usage u = tokens(100, 10);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_BATCH, 1500).pico,
                 100 * INT64_C(1250000) + 10 * INT64_C(10000000));
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_PRIORITY, 1500).pico,
                 100 * INT64_C(2500000) + 10 * INT64_C(10000000));
}

Test(price, P7_cache_writes_are_priced_by_their_time_to_live)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_CACHE_WRITE_TOKENS, 10);
    struct qd_price_query query = {.usage = &u, .at = {1500 * QD_NS_PER_S}};
    qd_int128 pico;
    uint32_t missing;
    cr_assert_eq(qd_price_compute(&gpt, NULL, &query, &pico, &missing), QD_PRICE_OK);
    cr_assert_eq((int64_t)pico, 31250000);
    query.cache_write_ttl = QD_CACHE_WRITE_1H;
    cr_assert_eq(qd_price_compute(&gpt, NULL, &query, &pico, &missing), QD_PRICE_OK);
    cr_assert_eq((int64_t)pico, 50000000);
}

Test(price, P7_reasoning_is_output_unless_the_sheet_says_otherwise)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_REASONING_TOKENS, 10);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1500).pico, 100000000);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 2500).pico, 70);
}

Test(price, P7_images_requests_and_gpu_time)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_REQUESTS, 1);
    qd_usage_set(&u, QD_METER_IMAGES, 3);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 2500).pico, 3 * USD / 25 + 100);
    /* A self-hosted model priced by GPU-time needs no token price. */
    u = tokens(1000, 500);
    qd_usage_set(&u, QD_METER_GPU_MS, 2500);
    cr_assert_eq(compute(&unpriced, &h100, &u, QD_TIER_STANDARD, 1).pico, INT64_C(2500) * 1100000);
    cr_assert_eq(compute(NULL, &h100, &u, QD_TIER_STANDARD, 1).pico, INT64_C(2500) * 1100000);
    /* The gateway's part of a report: tokens only. The pool's part brings the time. */
    u = tokens(1000, 500);
    struct answer a = compute(NULL, &h100, &u, QD_TIER_STANDARD, 1);
    cr_assert_eq(a.result, QD_PRICE_OK);
    cr_assert_eq(a.pico, 0);
    /* Both have prices: both count. */
    qd_usage_set(&u, QD_METER_GPU_MS, 10);
    cr_assert_eq(compute(&gpt, &h100, &u, QD_TIER_STANDARD, 2500).pico, 333 + 333 + 100 + 11000000);
}

Test(price, P8_an_unknown_price_is_never_zero)
{
    struct qd_usage u = tokens(1000, 500);
    struct answer a = compute(NULL, NULL, &u, QD_TIER_STANDARD, 1);
    cr_assert_eq(a.result, QD_PRICE_UNKNOWN);
    cr_assert_eq(a.missing, QD_METER_BIT(QD_METER_REQUESTS) | QD_METER_BIT(QD_METER_INPUT_TOKENS) |
                                QD_METER_BIT(QD_METER_OUTPUT_TOKENS));
    /* The sheet knows tokens, but not these. */
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, 7);
    a = compute(&gpt, NULL, &u, QD_TIER_STANDARD, 2500);
    cr_assert_eq(a.result, QD_PRICE_UNKNOWN);
    cr_assert_eq(a.missing, QD_METER_BIT(QD_METER_CACHED_INPUT_TOKENS));
    /* Explicit zeros need no price. */
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, 0);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 2500).result, QD_PRICE_OK);
    /* A pool that is priced, but not by the time that was reported. */
    struct qd_usage times = {0};
    qd_usage_set(&times, QD_METER_PROCESSING_MS, 9);
    a = compute(NULL, &h100, &times, QD_TIER_STANDARD, 1);
    cr_assert_eq(a.result, QD_PRICE_UNKNOWN);
    cr_assert_eq(a.missing, QD_METER_BIT(QD_METER_PROCESSING_MS));
    /* Two measures of the same work: one price is enough. */
    qd_usage_set(&times, QD_METER_GPU_MS, 2);
    cr_assert_eq(compute(NULL, &h100, &times, QD_TIER_STANDARD, 1).pico, 2200000);
    /* A model's price may be by time, and a pool's by token. */
    struct qd_price_sheet by_time = {9, {0}, h100_lines, 1};
    struct qd_price_list timed = {"timed", &by_time, 1};
    struct qd_usage gpu = {0};
    qd_usage_set(&gpu, QD_METER_GPU_MS, 2);
    cr_assert_eq(compute(&timed, NULL, &gpu, QD_TIER_STANDARD, 1).pico, 2200000);
    cr_assert_eq(compute(&timed, &gpt, &gpu, QD_TIER_STANDARD, 1500).pico, 2200000);
    u = tokens(3, 0);
    cr_assert_eq(compute(NULL, &gpt, &u, QD_TIER_STANDARD, 1500).pico, 7500000);
    qd_usage_set(&u, QD_METER_IMAGES, 1);
    cr_assert_eq(compute(NULL, &gpt, &u, QD_TIER_STANDARD, 1500).missing,
                 QD_METER_BIT(QD_METER_IMAGES));
}

Test(price, P7_overflow_is_told)
{
    struct qd_usage u = tokens(QD_AMOUNT_MAX, 0);
    cr_assert_eq(compute(&gpt, NULL, &u, QD_TIER_STANDARD, 1500).result, QD_PRICE_OVERFLOW);
    struct qd_price_line most = {
        .meter = QD_METER_INPUT_TOKENS, .amount_pico = INT64_MAX, .quantity = 1};
    struct qd_price_sheet sheet = {9, {0}, &most, 1};
    struct qd_price_list list = {"most", &sheet, 1};
    cr_assert_eq(compute(&list, NULL, &u, QD_TIER_STANDARD, 1).result, QD_PRICE_OVERFLOW);
    u = tokens(1, 0);
    cr_assert_eq(compute(&list, NULL, &u, QD_TIER_STANDARD, 1).pico, INT64_MAX);
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, INT64_MAX); /* the tier's size saturates */
    cr_assert_eq(compute(&list, NULL, &u, QD_TIER_STANDARD, 1).result, QD_PRICE_UNKNOWN);
}

Test(price, P7_products_equal_int128_rounded_half_up)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P7_products_equal_int128_rounded_half_up", 1));
    for (int i = 0; i < 200000; i++) {
        struct qd_price_line line = {.meter = QD_METER_OUTPUT_TOKENS,
                                     .amount_pico = qd_prng_magnitude(&r, 62),
                                     .quantity = qd_prng_magnitude(&r, 62) + 1};
        struct qd_price_sheet sheet = {1, {0}, &line, 1};
        struct qd_price_list list = {"m", &sheet, 1};
        struct qd_usage u = {0};
        qd_usage_set(&u, QD_METER_OUTPUT_TOKENS, qd_prng_magnitude(&r, 53));
        qd_uint128 twice =
            2 * (qd_uint128)(uint64_t)u.amount[QD_METER_OUTPUT_TOKENS] * (uint64_t)line.amount_pico;
        qd_uint128 exact = (twice / (uint64_t)line.quantity + 1) / 2;
        struct answer a = compute(&list, NULL, &u, QD_TIER_STANDARD, 1);
        if (exact > INT64_MAX) {
            cr_assert_eq(a.result, QD_PRICE_OVERFLOW);
        } else {
            cr_assert_eq((uint64_t)a.pico, (uint64_t)exact);
        }
    }
}

/* digits * factor, both decimal strings, schoolbook. */
static void multiply(const char *digits, const char *factor, char *ret_product, size_t size)
{
    int sums[128] = {0};
    size_t n = strlen(digits);
    size_t m = strlen(factor);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < m; k++) {
            sums[i + k] += (digits[n - 1 - i] - '0') * (factor[m - 1 - k] - '0');
        }
    }
    for (size_t i = 0; i + 1 < 128; i++) {
        sums[i + 1] += sums[i] / 10;
        sums[i] %= 10;
    }
    size_t top = n + m;
    while (top > 1 && sums[top - 1] == 0) {
        top--;
    }
    cr_assert_lt(top, size);
    for (size_t i = 0; i < top; i++) {
        ret_product[i] = (char)('0' + sums[top - 1 - i]);
    }
    ret_product[top] = '\0';
}

Test(price, P7_dollars_equal_schoolbook_arithmetic_on_decimal_strings)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P7_dollars_equal_schoolbook_arithmetic_on_decimal_strings", 2));
    for (int i = 0; i < 50000; i++) {
        /* A price such as 0.000002675, in pico-USD: the digits at twelve places. */
        char price[64];
        char wanted_pico[128];
        char amount[32];
        int64_t pico = qd_prng_magnitude(&r, 40);
        int64_t count = qd_prng_magnitude(&r, 20);
        snprintf(price, sizeof price, "%" PRId64 ".%012" PRId64, pico / USD, pico % USD);
        snprintf(amount, sizeof amount, "%" PRId64, count);
        struct qd_decimal d;
        struct qd_price_line line = {.meter = QD_METER_INPUT_TOKENS};
        cr_assert_eq(qd_decimal_parse_usd((struct qd_str){price, strlen(price)}, &d),
                     QD_DECIMAL_OK);
        cr_assert_eq(qd_decimal_to_price(&d, 1, &line.amount_pico, &line.quantity), QD_DECIMAL_OK);
        struct qd_price_sheet sheet = {1, {0}, &line, 1};
        struct qd_price_list list = {"m", &sheet, 1};
        struct qd_usage u = tokens(count, 0);
        struct answer a = compute(&list, NULL, &u, QD_TIER_STANDARD, 1);
        char whole[64];
        snprintf(whole, sizeof whole, "%" PRId64, pico);
        multiply(whole, amount, wanted_pico, sizeof wanted_pico);
        char got[QD_DECIMAL_TEXT_MAX];
        qd_decimal_format(a.pico, 0, got);
        cr_assert_str_eq(got, wanted_pico);
    }
}

Test(price, P7_nano_is_pico_rounded_up_once)
{
    cr_assert_eq(qd_nano_usd_from_pico(0), 0);
    cr_assert_eq(qd_nano_usd_from_pico(1), 1);
    cr_assert_eq(qd_nano_usd_from_pico(999), 1);
    cr_assert_eq(qd_nano_usd_from_pico(1000), 1);
    cr_assert_eq(qd_nano_usd_from_pico(1001), 2);
    cr_assert_eq(qd_nano_usd_from_pico((qd_int128)INT64_MAX * 1000), INT64_MAX);
    cr_assert_eq(qd_nano_usd_from_pico((qd_int128)1 << 120), INT64_MAX);
}

Test(price, P7_nano_of_more_than_63_bits_is_the_largest)
{
    cr_assert_eq(qd_nano_usd_from_pico((qd_int128)INT64_MAX * 1000 + 1), INT64_MAX);
    cr_assert_eq(qd_nano_usd_from_pico((qd_int128)INT64_MAX * 1000000), INT64_MAX);
    cr_assert_eq(qd_nano_usd_from_pico((qd_int128)INT64_MAX * 999), INT64_MAX / 1000 * 999 + 807);
}

Test(price, P8_reasoning_has_no_price_where_output_has_none)
{
    static const struct qd_price_line input = {
        .meter = QD_METER_INPUT_TOKENS, .amount_pico = 5, .quantity = 1};
    static const struct qd_price_sheet sheet = {.version = 4, .lines = &input, .line_count = 1};
    static const struct qd_price_list list = {.name = "embed", .sheets = &sheet, .count = 1};
    struct qd_usage u = tokens(3, 0);
    cr_assert_eq(compute(&list, NULL, &u, QD_TIER_STANDARD, 1).pico, 15);
    qd_usage_set(&u, QD_METER_REASONING_TOKENS, 10);
    struct answer a = compute(&list, NULL, &u, QD_TIER_STANDARD, 1);
    cr_assert_eq(a.result, QD_PRICE_UNKNOWN);
    cr_assert_eq(a.missing, QD_METER_BIT(QD_METER_REASONING_TOKENS));
}
