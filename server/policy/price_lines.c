#include "server/policy/price_lines.h"

void qd_lines_add(struct qd_arena *arena, struct qd_line_list *list,
                  const struct qd_price_line *line)
{
    list->lines =
        qd_arena_grow(arena, list->lines, list->count, &list->capacity, sizeof *list->lines);
    list->lines[list->count++] = *line;
}

struct qd_price_line *qd_lines_find(const struct qd_line_list *list,
                                    const struct qd_price_line *line)
{
    for (size_t i = 0; i < list->count; i++) {
        struct qd_price_line *l = &list->lines[i];
        if (l->meter == line->meter && l->tier == line->tier &&
            l->cache_write_ttl == line->cache_write_ttl && l->above_input == line->above_input) {
            return l;
        }
    }
    return NULL;
}

bool qd_line_same_price(const struct qd_price_line *a, const struct qd_price_line *b)
{
    return (qd_int128)a->amount_pico * b->quantity == (qd_int128)b->amount_pico * a->quantity;
}

static bool has_meter(const struct qd_line_list *list, unsigned meter)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->lines[i].meter == meter) {
            return true;
        }
    }
    return false;
}

/* True if there is a price without tier and threshold. */
static bool has_base(const struct qd_line_list *list, enum qd_meter meter,
                     enum qd_cache_write_ttl ttl)
{
    struct qd_price_line base = {.meter = (uint8_t)meter, .cache_write_ttl = (uint8_t)ttl};
    return qd_lines_find(list, &base) != NULL;
}

/* Copies every input line as a line of `meter`, where there is none for the variant. */
static void copy_input(struct qd_arena *arena, struct qd_line_list *list, enum qd_meter meter,
                       enum qd_cache_write_ttl ttl)
{
    size_t count = list->count;
    for (size_t i = 0; i < count; i++) {
        struct qd_price_line line = list->lines[i];
        line.meter = (uint8_t)meter;
        line.cache_write_ttl = (uint8_t)ttl;
        if (list->lines[i].meter == QD_METER_INPUT_TOKENS && qd_lines_find(list, &line) == NULL) {
            qd_lines_add(arena, list, &line);
        }
    }
}

void qd_lines_complete(struct qd_arena *arena, struct qd_line_list *list, bool free_tokens)
{
    bool has_input = has_meter(list, QD_METER_INPUT_TOKENS);
    bool has_output = has_meter(list, QD_METER_OUTPUT_TOKENS);
    if (has_input && !has_base(list, QD_METER_CACHED_INPUT_TOKENS, QD_CACHE_WRITE_5M)) {
        copy_input(arena, list, QD_METER_CACHED_INPUT_TOKENS, QD_CACHE_WRITE_5M);
    }
    if (has_input && !has_base(list, QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_5M)) {
        copy_input(arena, list, QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_5M);
        if (!has_base(list, QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_1H)) {
            copy_input(arena, list, QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_1H);
        }
    }
    if (!free_tokens || has_input || has_output || list->count == 0) {
        return;
    }
    static const enum qd_meter tokens[] = {QD_METER_INPUT_TOKENS, QD_METER_CACHED_INPUT_TOKENS,
                                           QD_METER_CACHE_WRITE_TOKENS, QD_METER_OUTPUT_TOKENS};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        if (!has_meter(list, tokens[i])) {
            struct qd_price_line line = {.meter = (uint8_t)tokens[i], .quantity = 1};
            qd_lines_add(arena, list, &line);
        }
    }
    if (has_meter(list, QD_METER_CACHE_WRITE_TOKENS)) {
        struct qd_price_line line = {.meter = QD_METER_CACHE_WRITE_TOKENS,
                                     .cache_write_ttl = QD_CACHE_WRITE_1H,
                                     .quantity = 1};
        if (qd_lines_find(list, &line) == NULL) {
            qd_lines_add(arena, list, &line);
        }
    }
}

bool qd_lines_mark_up(struct qd_line_list *list, uint16_t permille)
{
    for (size_t i = 0; i < list->count; i++) {
        struct qd_price_line *l = &list->lines[i];
        qd_int128 amount = (qd_int128)l->amount_pico * (1000 + permille);
        qd_int128 quantity = (qd_int128)l->quantity * 1000;
        while (amount % 10 == 0 && quantity % 10 == 0) {
            amount /= 10;
            quantity /= 10;
        }
        if (amount > INT64_MAX || quantity > INT64_MAX) {
            return false;
        }
        l->amount_pico = (int64_t)amount;
        l->quantity = (int64_t)quantity;
    }
    return true;
}
