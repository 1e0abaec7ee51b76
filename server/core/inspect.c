/* Looking at counters and holds (for operators, S9). */
#include "estimate.h"
#include "mutant.h"
#include "reservation.h"
#include "state.h"

bool qd_core_counter(struct qd_core *core, struct qd_hash128 counter, struct qd_wall_ns now,
                     struct qd_limit_state *ret_state)
{
    struct qd_at at;
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    if (!qd_table_find(core, counter, &at)) {
        return false;
    }
    qd_state_of(&at, seen, ret_state);
    return true;
}

/* The next live record from *cursor on. */
static bool next_record(struct qd_core *core, uint64_t *cursor, struct qd_at *ret_at)
{
    while (*cursor >> QD_REF_INDEX_BITS < QD_CLASS_COUNT) {
        enum qd_class class = (enum qd_class)(*cursor >> QD_REF_INDEX_BITS);
        uint32_t index = (uint32_t)*cursor & QD_REF_INDEX_MAX;
        if (index >= core->counters[class].high) {
            *cursor = ((uint64_t) class + 1) << QD_REF_INDEX_BITS;
            continue;
        }
        ++*cursor;
        if (qd_table_at(core, class, index, ret_at)) {
            return true;
        }
    }
    return false;
}

bool qd_core_counter_next(struct qd_core *core, uint64_t *cursor, struct qd_wall_ns now,
                          struct qd_hash128 *ret_id, struct qd_limit_state *ret_state)
{
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    struct qd_at at;
    if (!next_record(core, cursor, &at)) {
        return false;
    }
    *ret_id = qd_table_id(&at);
    qd_state_of(&at, seen, ret_state);
    return true;
}

bool qd_core_budget_next(struct qd_core *core, uint64_t *cursor, struct qd_wall_ns now,
                         struct qd_budget *ret_budget)
{
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    struct qd_at at;
    do {
        if (!next_record(core, cursor, &at)) {
            return false;
        }
    } while (qd_role_of(at.limit) != QD_ROLE_BUDGET);
    (void)qd_counter_total(&at, seen); /* which moves it into the period of now */
    const struct qd_gauge *g = &((struct qd_counter_gauge *)(void *)at.counter)->gauge;
    *ret_budget = (struct qd_budget){.id = qd_table_id(&at),
                                     .limit = at.limit,
                                     .depth = (uint8_t)at.counter->depth,
                                     .name = qd_table_name(&at),
                                     .used = g->used,
                                     .start.ns = g->start_ns,
                                     .end.ns = g->end_ns,
                                     .since = qd_table_since(&at)};
    return true;
}

int64_t qd_core_booking(const struct qd_limit *limit, const struct qd_usage *usage)
{
    return qd_booking_of(limit, usage);
}

static void describe(const struct qd_core *home, const struct qd_reservation *r,
                     struct qd_hold *ret_hold)
{
    struct qd_usage expected;
    qd_reservation_expected(home, r, &expected);
    int64_t tokens = 0;
    for (unsigned m = QD_METER_INPUT_TOKENS; m <= QD_METER_REASONING_TOKENS; m++) {
        tokens += qd_usage_get(&expected, m);
    }
    *ret_hold = (struct qd_hold){
        .reservation = r->number,
        .tenant = qd_names_text(&home->names, r->name),
        .made_at.ns = r->made_at_ns,
        .expires.ns = r->expires_ns,
        .held_cost_nano = qd_usage_get(&expected, QD_METER_COST),
        .held_tokens = tokens,
        .expired = r->state == QD_RESERVATION_KEPT,
        .priority = r->priority,
        .weight = r->weight,
    };
}

bool qd_core_hold(struct qd_core *home, uint64_t reservation, struct qd_hold *ret_hold)
{
    const struct qd_reservation *r = qd_reservation_find(home, reservation);
    if (r == NULL) {
        return false;
    }
    describe(home, r, ret_hold);
    return true;
}

bool qd_core_hold_next(struct qd_core *home, uint64_t *cursor, struct qd_hold *ret_hold)
{
    while (*cursor < qd_core_hold_places(home)) {
        uint64_t place = (*cursor)++;
        if (home->reservation_bits[place / 64] >> (place % 64) & 1U) {
            describe(home, &home->reservations[place], ret_hold);
            return true;
        }
    }
    return false;
}
