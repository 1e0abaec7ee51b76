/* A bucket driven by bytes, beside the recomputed path of its level: exact while nothing is given
 * back, never below the path after, and it admits again at retry_at and not 1 ns earlier. */
#include "server/core/bucket.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <assert.h>

#define CHARGES_MAX 128

static struct qd_wall_ns wall(int64_t ns)
{
    return (struct qd_wall_ns){ns};
}

struct path {
    int64_t at_ns[CHARGES_MAX];
    int64_t cost[CHARGES_MAX];
    size_t count;
};

static qd_uint128 drain(qd_uint128 level, const struct qd_bucket_spec *spec, int64_t passed_ns)
{
    qd_uint128 drained = (qd_uint128)(uint64_t)passed_ns * (uint64_t)spec->amount;
    return level > drained ? level - drained : 0;
}

static qd_uint128 path_level(const struct path *p, const struct qd_bucket_spec *spec,
                             int64_t now_ns)
{
    qd_uint128 level = 0;
    int64_t last = 0;
    for (size_t i = 0; i < p->count; i++) {
        level = drain(level, spec, p->at_ns[i] - last);
        level += (qd_uint128)(uint64_t)p->cost[i] * (uint64_t)spec->window_ns;
        last = p->at_ns[i];
    }
    return drain(level, spec, now_ns - last);
}

static void check_retry(const struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                        int64_t now)
{
    struct qd_bucket copy = *b;
    int64_t at = qd_bucket_retry_at(&copy, spec, cost, wall(now)).ns;
    assert(at >= now);
    if (at == QD_WALL_NEVER) {
        return;
    }
    copy = *b;
    assert(qd_bucket_fits(&copy, spec, cost, wall(at)));
    copy = *b;
    assert(at == now || !qd_bucket_fits(&copy, spec, cost, wall(at - 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t kind = (uint8_t)take(&in, 1);
    struct qd_bucket_spec spec = {
        .window_ns = (int64_t)(take(&in, 6) % (uint64_t)QD_BUCKET_NS_MAX) + 1,
        .amount = (int64_t)take(&in, (kind >> 1 & 3) + 1),
        .burst = (int64_t)take(&in, 3),
        .leaky = kind & 1,
    };
    struct path p = {.count = 0};
    struct qd_bucket b;
    int64_t now = (int64_t)take(&in, 6);
    qd_bucket_init(&b, wall(now));
    bool gave_back = false;
    while (in.left > 0 && p.count < CHARGES_MAX) {
        uint8_t op = (uint8_t)take(&in, 1);
        now += (int64_t)(take(&in, 2) << (op & 31));
        int64_t cost = (int64_t)take(&in, 2);
        check_retry(&b, &spec, cost, now);
        if (op & 32 && p.count > 0) {
            size_t i = (size_t)cost % p.count;
            int64_t less = (int64_t)(take(&in, 2) % (uint64_t)(p.cost[i] + 1));
            qd_bucket_adjust(&b, &spec, wall(p.at_ns[i]), -less, wall(now));
            p.cost[i] -= less;
            gave_back = true;
        } else {
            qd_bucket_charge(&b, &spec, cost, wall(now));
            p.at_ns[p.count] = now;
            p.cost[p.count] = cost;
            p.count++;
        }
        qd_uint128 ours =
            (qd_uint128)(uint64_t)b.level * (uint64_t)spec.window_ns + (uint64_t)b.frac;
        qd_uint128 exact = path_level(&p, &spec, now);
        assert(gave_back ? ours >= exact : ours == exact);
    }
    return 0;
}
