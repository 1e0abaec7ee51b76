#include "server/core/quantile.h"

#include "server/core/check.h"

/* Values 0..15 have a bucket each; then eight to the octave: bucket 16 + 8 * (e - 4) + the three
 * bits after the leading one, for a value with its leading bit at e. */
#define LINEAR   16U
#define PER_HALF 8U

static unsigned bucket_of(int64_t value)
{
    if (value < 0) {
        return 0;
    }
    if (value > QD_QUANTILE_VALUE_MAX) {
        return QD_QUANTILE_BUCKETS - 1;
    }
    uint64_t v = (uint64_t)value;
    if (v < LINEAR) {
        return (unsigned)v;
    }
    unsigned e = 63U - (unsigned)__builtin_clzll(v);
    return LINEAR + PER_HALF * (e - 4U) + (unsigned)((v >> (e - 3U)) & (PER_HALF - 1U));
}

/* The largest value that falls into bucket `i`. */
static uint32_t upper_edge(unsigned i)
{
    if (i < LINEAR) {
        return i;
    }
    unsigned e = (i - LINEAR) / PER_HALF + 4U;
    uint32_t step = (i - LINEAR) % PER_HALF;
    return ((PER_HALF + step + 1U) << (e - 3U)) - 1U;
}

static void halve(struct qd_quantile *q)
{
    q->total = 0;
    for (unsigned i = 0; i < QD_QUANTILE_BUCKETS; i++) {
        q->count[i] /= 2;
        q->total += q->count[i];
    }
}

void qd_quantile_add(struct qd_quantile *q, int64_t value)
{
    q->count[bucket_of(value)]++;
    q->total++;
    q->cached_permille = 0;
    if (q->total == QD_QUANTILE_SAMPLES_MAX) {
        halve(q);
    }
    QD_CHECK(q->total < QD_QUANTILE_SAMPLES_MAX);
}

bool qd_quantile_get(struct qd_quantile *q, unsigned permille, int64_t *ret_value)
{
    QD_CHECK(permille >= 1);
    QD_CHECK(permille <= 1000);
    if (q->total < QD_QUANTILE_SAMPLES_MIN) {
        return false;
    }
    if (q->cached_permille != permille) {
        uint32_t needed = (q->total * permille + 999) / 1000;
        uint32_t sum = 0;
        unsigned i = 0;
        while ((sum += q->count[i]) < needed) {
            i++;
        }
        QD_CHECK(i < QD_QUANTILE_BUCKETS);
        q->cached = upper_edge(i);
        q->cached_permille = (uint16_t)permille;
    }
    *ret_value = q->cached;
    return true;
}
