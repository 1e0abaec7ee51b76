/* The stored state of a counter (D12): any bytes are refused or read, and what was read lives on
 * like any other counter: it decides, settles, empties, is taken out and comes back the same.
 *
 * Input: algorithm, slots, flags, 8 bytes of what happens next; the rest is the state. */
#include "server/core/core.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_SIZE 3
#define STEPS     8
#define START_NS  (INT64_C(1790000000) * QD_NS_PER_S)
#define AMOUNT    1000
#define WIDE      (INT64_C(1) << 40)

static const struct qd_core_config config = {.hash_seed = 1,
                                             .narrow_windows = 2,
                                             .wide_windows = 2,
                                             .buckets = 2,
                                             .gauges = 2,
                                             .bindings = 2,
                                             .reservations = 4,
                                             .roots = 2,
                                             .name_bytes = 1024};

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct world {
    struct qd_core *core;
    struct qd_wall_ns now;
    struct qd_limit limit;
    struct qd_bind_item item;
    struct qd_bind bind;
};

/* A slice in the same memory each time, as if it were new. */
static struct qd_core *new_slice(void)
{
    static _Alignas(64) uint8_t memory[1 << 20];
    require(qd_core_memory(&config) <= sizeof(memory));
    memset(memory, 0, qd_core_memory(&config));
    return qd_core_init(memory, sizeof(memory), &config);
}

static void make_world(struct world *w, const uint8_t head[HEAD_SIZE])
{
    static const struct qd_zone_transition transitions[] = {{INT64_MIN, 0}};
    static const struct qd_zone utc = {"UTC", transitions, 1};
    *w = (struct world){.core = new_slice(), .now = {START_NS}};
    w->limit = (struct qd_limit){
        .index = 1,
        .name = "limit",
        .algorithm = (enum qd_algorithm)(head[0] % (QD_PREPAID + 1)),
        .window_ns = head[2] & 2 ? 2 * QD_NS_PER_HOUR : QD_NS_PER_MINUTE,
        .slots = (uint16_t)(head[1] % 60 + 1),
        .weighted = head[2] & 1,
        .refunds = true,
        .calendar = {.unit = QD_CALENDAR_MONTH, .zone = &utc},
        .admit = {.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}}},
        .settle = {.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}}},
    };
    int64_t amount = head[2] & 4 ? WIDE : AMOUNT;
    w->item = (struct qd_bind_item){.limit = &w->limit,
                                    .amount = amount,
                                    .burst = amount,
                                    .counter = {1, 2},
                                    .depth = 1,
                                    .name = {"a", 1}};
    w->bind = (struct qd_bind){.key = {3, 4},
                               .epoch = 1,
                               .valid_until = {QD_WALL_NEVER},
                               .tenant = {"a", 1},
                               .items = &w->item,
                               .item_count = 1};
}

static bool restore(struct world *w, const uint8_t *bytes, size_t size)
{
    struct qd_saved state = {.id = w->item.counter, .size = (uint32_t)size};
    if (size > sizeof(state.bytes)) {
        return false;
    }
    if (size > 0) {
        memcpy(state.bytes, bytes, size);
    }
    return qd_core_restore(w->core, &state, w->now);
}

static struct qd_limit_state look(struct world *w)
{
    struct qd_limit_state state;
    require(qd_core_counter(w->core, w->item.counter, w->now, &state));
    require(state.used >= 0 && state.held >= 0 && state.remaining >= 0);
    return state;
}

/* One check of what `op` says, settled by something else; then time passes. */
static void step(struct world *w, uint8_t op)
{
    static const int64_t steps_ns[8] = {0,
                                        1,
                                        QD_NS_PER_MS,
                                        QD_NS_PER_S,
                                        30 * QD_NS_PER_S,
                                        QD_NS_PER_MINUTE,
                                        QD_NS_PER_HOUR,
                                        QD_NS_PER_DAY};
    struct qd_candidate candidate = {.binding = w->bind.key};
    struct qd_check check = {.epoch = 1,
                             .candidates = &candidate,
                             .candidate_count = 1,
                             .ttl_ns = QD_NS_PER_S,
                             .reserve = op & 1};
    struct qd_verdict verdict;
    struct qd_wall_ns before = w->now;
    qd_usage_set(&check.estimate, QD_METER_INPUT_TOKENS, (op & 15) * INT64_C(100));
    qd_core_check(w->core, NULL, &check, w->now, &verdict, NULL, NULL);
    if (verdict.decision == QD_NEEDS_BINDING) { /* it was idle for hours */
        require(qd_core_bind(w->core, NULL, &w->bind, w->now, NULL) == QD_BOUND);
        qd_core_check(w->core, NULL, &check, w->now, &verdict, NULL, NULL);
    }
    require(verdict.decision == QD_ALLOW || verdict.decision == QD_DENY);
    require(verdict.retry_at.ns >= w->now.ns);
    w->now.ns += steps_ns[op >> 4 & 7];
    if (verdict.reservation != 0 && (op & 2)) {
        struct qd_settle settle = {.reservation = verdict.reservation,
                                   .binding = w->bind.key,
                                   .epoch = 1,
                                   .charged_at = before,
                                   .final = true};
        struct qd_settled settled;
        qd_usage_set(&settle.used, QD_METER_INPUT_TOKENS, (op >> 4) * INT64_C(100));
        require(qd_core_settle(w->core, NULL, &settle, w->now, &settled) != QD_STOP);
    }
    (void)look(w);
}

/* Idle, it goes, and comes back saying the same. */
static void go_and_come_back(struct world *w)
{
    struct qd_saved state;
    w->now.ns += 10 * QD_NS_PER_S;
    (void)qd_core_expire(w->core, NULL, w->now, SIZE_MAX);
    int64_t used = look(w).used;
    require(qd_core_evict(w->core, w->now, &state));
    require(qd_core_bind(w->core, NULL, &w->bind, w->now, NULL) == QD_BOUND);
    require(restore(w, state.bytes, state.size));
    require(look(w).used == used && look(w).held == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    if (size < HEAD_SIZE + STEPS) {
        return 0;
    }
    make_world(&w, data);
    w.now.ns += 10 * QD_NS_PER_S; /* the seeds' states are of a moment earlier */
    require(qd_core_bind(w.core, NULL, &w.bind, w.now, NULL) == QD_BOUND);
    size_t head = HEAD_SIZE + STEPS;
    if (!restore(&w, data + head, size - head)) {
        require(look(&w).used == 0); /* refused: nothing changed */
        return 0;
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step(&w, data[HEAD_SIZE + i]);
    }
    go_and_come_back(&w);
    return 0;
}
