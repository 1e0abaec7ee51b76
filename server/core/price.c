#include "server/core/price.h"

#include "server/core/check.h"

#define BIT(meter) QD_METER_BIT(meter)

/* What a model's sheet has to price, what a pool's, and what nobody bills. */
#define MODEL_METERS                                                  \
    (BIT(QD_METER_INPUT_TOKENS) | BIT(QD_METER_CACHED_INPUT_TOKENS) | \
     BIT(QD_METER_CACHE_WRITE_TOKENS) | BIT(QD_METER_OUTPUT_TOKENS) | \
     BIT(QD_METER_REASONING_TOKENS) | BIT(QD_METER_IMAGES))
#define POOL_METERS \
    (BIT(QD_METER_GPU_MS) | BIT(QD_METER_PROCESSING_MS) | BIT(QD_METER_MEMORY_GB_MS))
#define UNBILLED_METERS \
    (BIT(QD_METER_TOKENS) | BIT(QD_METER_COST) | BIT(QD_METER_CHARGE) | BIT(QD_METER_CONCURRENCY))

/* The sheet in force, or NULL. */
static const struct qd_price_sheet *sheet_at(const struct qd_price_list *list, struct qd_wall_ns at)
{
    if (list == NULL) {
        return NULL;
    }
    size_t i = list->count;
    while (i > 0 && list->sheets[i - 1].effective.ns > at.ns) {
        i--;
    }
    return i > 0 ? &list->sheets[i - 1] : NULL;
}

/* The whole input, which selects a tier above N tokens. */
static int64_t whole_input(const struct qd_usage *u)
{
    qd_int128 sum = (qd_int128)qd_usage_get(u, QD_METER_INPUT_TOKENS) +
                    qd_usage_get(u, QD_METER_CACHED_INPUT_TOKENS) +
                    qd_usage_get(u, QD_METER_CACHE_WRITE_TOKENS);
    return sum < INT64_MAX ? (int64_t)sum : INT64_MAX;
}

/* The line in force of each meter, of one sheet. */
struct lines {
    uint32_t meters; /* bit m: line[m] is set */
    const struct qd_price_line *line[QD_METERS_MAX];
};

/* Of two lines of one meter that fit: the request's own tier before the standard one, then the
 * larger tier of input. */
static bool is_better(const struct qd_price_line *a, const struct qd_price_line *b)
{
    if (a->tier != b->tier) {
        return a->tier != QD_TIER_STANDARD;
    }
    return a->above_input > b->above_input;
}

/* One pass over the sheet's lines. */
static void find_lines(const struct qd_price_sheet *sheet, const struct qd_price_query *query,
                       int64_t input, struct lines *ret_lines)
{
    ret_lines->meters = 0;
    for (size_t i = 0; sheet != NULL && i < sheet->line_count; i++) {
        const struct qd_price_line *line = &sheet->lines[i];
        if (line->tier != (unsigned)query->tier && line->tier != QD_TIER_STANDARD) {
            continue;
        }
        if (line->meter == QD_METER_CACHE_WRITE_TOKENS &&
            line->cache_write_ttl != (unsigned)query->cache_write_ttl) {
            continue;
        }
        if (line->above_input != 0 && line->above_input >= input) {
            continue;
        }
        if ((ret_lines->meters & BIT(line->meter)) == 0 ||
            is_better(line, ret_lines->line[line->meter])) {
            ret_lines->meters |= BIT(line->meter);
            ret_lines->line[line->meter] = line;
        }
    }
}

static const struct qd_price_line *line_of(const struct lines *lines, unsigned meter)
{
    if (lines->meters & BIT(meter)) {
        return lines->line[meter];
    }
    if (meter == QD_METER_REASONING_TOKENS && (lines->meters & BIT(QD_METER_OUTPUT_TOKENS))) {
        /* Hidden output is output, unless a sheet says otherwise. */
        return lines->line[QD_METER_OUTPUT_TOKENS];
    }
    return NULL;
}

static bool prices_any(const struct qd_price_sheet *sheet, uint32_t meters)
{
    for (size_t i = 0; i < sheet->line_count; i++) {
        if (BIT(sheet->lines[i].meter) & meters) {
            return true;
        }
    }
    return false;
}

/* Meters with an amount above 0 that somebody could bill. */
static uint32_t billable_amounts(const struct qd_usage *u)
{
    uint32_t meters = 0;
    for (uint32_t left = u->present & ~(uint32_t)UNBILLED_METERS; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (u->amount[meter] > 0) {
            meters |= BIT(meter);
        }
    }
    return meters;
}

/* Exact, rounded half up to a pico-USD. Both factors are below 2^63. */
static qd_int128 line_cost(const struct qd_price_line *line, int64_t amount)
{
    QD_CHECK(line->quantity >= 1);
    QD_CHECK(line->amount_pico >= 0);
    qd_uint128 product = (qd_uint128)(uint64_t)amount * (uint64_t)line->amount_pico;
    if (line->quantity != 1) {
        product = (product + (uint64_t)line->quantity / 2) / (uint64_t)line->quantity;
    }
    return (qd_int128)product;
}

enum qd_price_result qd_price_compute(const struct qd_price_list *model,
                                      const struct qd_price_list *pool,
                                      const struct qd_price_query *query, qd_int128 *ret_pico_usd,
                                      uint32_t *ret_unpriced_meters)
{
    const struct qd_price_sheet *by_model = sheet_at(model, query->at);
    const struct qd_price_sheet *by_pool = sheet_at(pool, query->at);
    uint32_t amounts = billable_amounts(query->usage);
    int64_t input = whole_input(query->usage);
    uint32_t priced = 0;
    qd_int128 total = 0;
    struct lines model_lines;
    struct lines pool_lines;

    find_lines(by_model, query, input, &model_lines);
    find_lines(by_pool, query, input, &pool_lines);
    *ret_unpriced_meters = 0;
    for (uint32_t left = amounts; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        bool pool_first = (BIT(meter) & POOL_METERS) != 0;
        const struct qd_price_line *line = line_of(pool_first ? &pool_lines : &model_lines, meter);
        if (line == NULL) {
            line = line_of(pool_first ? &model_lines : &pool_lines, meter);
        }
        if (line == NULL) {
            continue;
        }
        priced |= BIT(meter);
        total += line_cost(line, query->usage->amount[meter]);
        if (total > INT64_MAX) {
            *ret_unpriced_meters = BIT(meter);
            return QD_PRICE_OVERFLOW;
        }
    }

    uint32_t missing = 0;
    if (by_model == NULL && by_pool == NULL) {
        missing = amounts;
    } else {
        /* Tokens and images need a price where anything prices them; requests and meters of the
         * policy's own only cost something if a line says so. */
        if (by_model != NULL || prices_any(by_pool, MODEL_METERS)) {
            missing = amounts & ~priced & MODEL_METERS;
        }
        /* Times measure the same work in several ways: one price is enough. */
        if (by_pool != NULL && (priced & POOL_METERS) == 0 && prices_any(by_pool, POOL_METERS)) {
            missing |= amounts & POOL_METERS;
        }
    }
    *ret_unpriced_meters = missing; /* P8: never $0 */
    if (missing != 0) {
        return QD_PRICE_UNKNOWN;
    }
    *ret_pico_usd = total;
    return QD_PRICE_OK;
}

int64_t qd_nano_usd_from_pico(qd_int128 pico_usd)
{
    QD_CHECK(pico_usd >= 0);
    if (pico_usd <= INT64_MAX) { /* without a division of 128 bits */
        uint64_t pico = (uint64_t)pico_usd;
        return (int64_t)(pico / 1000 + (pico % 1000 != 0 ? 1 : 0));
    }
    qd_int128 nano = pico_usd / 1000 + (pico_usd % 1000 != 0 ? 1 : 0);
    return nano < INT64_MAX ? (int64_t)nano : INT64_MAX;
}
