/* A stored hold or estimator (X5): any bytes are refused or taken in, and what was taken in lives
 * on like any other: it ends, is stored again, and its slice goes on deciding.
 *
 * Input: kind, place, and the bytes. */
#include "server/core/core.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define START_NS (INT64_C(1790000000) * QD_NS_PER_S)

static const struct qd_core_config config = {.hash_seed = 1,
                                             .narrow_windows = 2,
                                             .wide_windows = 2,
                                             .buckets = 2,
                                             .gauges = 2,
                                             .bindings = 2,
                                             .reservations = 64,
                                             .progress = 2,
                                             .estimators = 2,
                                             .roots = 2,
                                             .name_bytes = 4096};

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static struct qd_core *new_slice(void)
{
    static _Alignas(64) uint8_t memory[2 << 20];
    require(qd_core_memory(&config) <= sizeof(memory));
    memset(memory, 0, qd_core_memory(&config));
    return qd_core_init(memory, sizeof(memory), &config);
}

/* The counters that a hold of the seeds has charged. */
static void bind(struct qd_core *core, struct qd_wall_ns now)
{
    static const struct qd_limit limits[2] = {
        {.index = 1,
         .name = "budget",
         .algorithm = QD_PREPAID,
         .refunds = true,
         .admit = {.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}}},
         .settle = {.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}}}},
        {.index = 2,
         .name = "open",
         .algorithm = QD_CONCURRENCY,
         .refunds = true,
         .admit = {.count = 1, .den = 1, .item = {{QD_METER_CONCURRENCY, 1}}},
         .settle = {.count = 1, .den = 1, .item = {{QD_METER_CONCURRENCY, 1}}}}};
    struct qd_bind_item items[2];
    for (unsigned i = 0; i < 2; i++) {
        items[i] = (struct qd_bind_item){.limit = &limits[i],
                                         .amount = 1000,
                                         .counter = {1, 2 + i},
                                         .depth = 1,
                                         .name = {"a", 1}};
    }
    struct qd_bind all = {.key = {3, 4},
                          .epoch = 1,
                          .valid_until = {QD_WALL_NEVER},
                          .tenant = {"a", 1},
                          .items = items,
                          .item_count = 2};
    require(qd_core_bind(core, NULL, &all, now, NULL) == QD_BOUND);
}

/* Each goes out of the slice once more as bytes that come in again. */
static void store_again(struct qd_core *core, struct qd_wall_ns now)
{
    static struct qd_saved saved[4];
    unsigned count = 0;
    uint64_t cursor = 0;
    while (count < 4 && qd_core_walk(core, NULL, QD_WALK_ALL, &cursor, now, &saved[count])) {
        count += saved[count].kind != QD_SAVED_COUNTER && saved[count].size > 0;
    }
    core = new_slice();
    bind(core, now);
    for (unsigned i = 0; i < count; i++) {
        require((saved[i].kind == QD_SAVED_HOLD
                     ? qd_core_load_hold(core, NULL, &saved[i], now)
                     : qd_core_load_estimator(core, &saved[i], now)) == QD_LOADED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_saved saved;
    struct qd_wall_ns now = {START_NS};
    if (size < 2 || size - 2 > QD_SAVED_MAX) {
        return 0;
    }
    struct qd_core *core = new_slice();
    bind(core, now);
    saved = (struct qd_saved){.kind = data[0] & 1 ? QD_SAVED_ESTIMATOR : QD_SAVED_HOLD,
                              .id = {data[1], 7},
                              .size = (uint32_t)(size - 2)};
    memcpy(saved.bytes, data + 2, size - 2);
    enum qd_load load = saved.kind == QD_SAVED_HOLD ? qd_core_load_hold(core, NULL, &saved, now)
                                                    : qd_core_load_estimator(core, &saved, now);
    if (load == QD_LOADED) {
        store_again(core, now);
        core = new_slice();
        bind(core, now);
        if (saved.kind == QD_SAVED_HOLD) {
            require(qd_core_load_hold(core, NULL, &saved, now) == QD_LOADED);
        }
        now.ns += 366 * QD_NS_PER_DAY;
        while (qd_core_expire(core, NULL, now, 64) > 0) {
        }
        (void)qd_core_cancel(core, NULL, saved.reservation, now);
        struct qd_core_stats stats;
        qd_core_stats(core, &stats);
        require(stats.reservations_open + stats.reservations_kept <= 1);
    }
    return 0;
}
