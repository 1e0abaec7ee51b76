/* A window driven by bytes, beside an exact log: no interval admits more than it may, and it admits
 * again at retry_at and not 1 ns earlier. */
#include "server/core/window.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <assert.h>
#include <string.h>

#define CHARGES_MAX 256

static struct qd_wall_ns wall(int64_t ns)
{
    return (struct qd_wall_ns){ns};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t kind = (uint8_t)take(&in, 1);
    struct qd_window_spec spec = {
        .slots = (uint16_t)(take(&in, 1) % QD_WINDOW_SLOTS_MAX + 1),
        .weighted = kind & 1,
        .wide = kind & 2,
    };
    spec.window_ns = spec.slots + (int64_t)(take(&in, 4) % (uint64_t)(QD_WINDOW_NS_MAX / 2));
    int64_t amount = (int64_t)(take(&in, 2) + 1);
    int64_t bound = spec.weighted ? 2 * amount : amount;
    struct {
        int64_t at_ns;
        int64_t cost;
    } log[CHARGES_MAX];
    size_t count = 0;
    struct qd_window_wide w;
    struct qd_window_wide copy;
    int64_t now = (int64_t)take(&in, 6);
    qd_window_init(&w.base, &spec, wall(now));
    while (in.left > 0 && count < CHARGES_MAX) {
        uint8_t op = (uint8_t)take(&in, 1);
        int64_t width = (spec.window_ns + spec.slots - 1) / spec.slots;
        int64_t steps[] = {0,
                           1,
                           width - now % width,
                           width - now % width - 1,
                           spec.window_ns,
                           spec.window_ns - 1,
                           (int64_t)take(&in, 3),
                           width};
        now += steps[op & 7];
        int64_t cost = (int64_t)take(&in, 2) % (amount + 1);
        if (op & 8) { /* a late settle of nothing must change nothing */
            qd_window_adjust(&w.base, &spec, wall(now - (int64_t)take(&in, 2)), 0, wall(now));
        }
        copy = w;
        int64_t at = qd_window_retry_at(&copy.base, &spec, amount, cost, wall(now)).ns;
        assert(at >= now && at != QD_WALL_NEVER);
        copy = w;
        assert(qd_window_fits(&copy.base, &spec, amount, cost, wall(at)));
        copy = w;
        assert(at == now || !qd_window_fits(&copy.base, &spec, amount, cost, wall(at - 1)));
        if (op & 16) {
            now = at;
        }
        if (!qd_window_fits(&w.base, &spec, amount, cost, wall(now))) {
            continue;
        }
        qd_window_charge(&w.base, &spec, cost, wall(now));
        log[count].at_ns = now;
        log[count].cost = cost;
        count++;
        int64_t sum = 0;
        for (size_t i = 0; i < count; i++) {
            sum += log[i].at_ns >= now - spec.window_ns ? log[i].cost : 0;
        }
        assert(sum <= bound);
    }
    return 0;
}
