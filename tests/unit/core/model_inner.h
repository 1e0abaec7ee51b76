/* What the model's two files share. */
#ifndef QD_TESTS_CORE_MODEL_INNER_H
#define QD_TESTS_CORE_MODEL_INNER_H

#include "model.h"

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline bool is_window(const struct qd_limit *l)
{
    return l->algorithm == QD_SLIDING_WINDOW;
}

static inline bool is_bucket(const struct qd_limit *l)
{
    return l->algorithm == QD_TOKEN_BUCKET || l->algorithm == QD_LEAKY_BUCKET;
}

static inline bool is_budget(const struct qd_limit *l)
{
    return l->algorithm == QD_CALENDAR || l->algorithm == QD_PREPAID ||
           (l->algorithm == QD_FIXED_WINDOW && l->window_ns >= QD_NS_PER_HOUR);
}

static inline bool is_short_fixed(const struct qd_limit *l)
{
    return l->algorithm == QD_FIXED_WINDOW && l->window_ns < QD_NS_PER_HOUR;
}

static inline bool is_rate(const struct qd_limit *l)
{
    return is_window(l) || is_bucket(l) || is_short_fixed(l);
}

/* The number of the slot or period that `at` lies in, and a slot's width. */
int64_t m_slot_width(const struct qd_limit *l);
int64_t m_period_of(const struct qd_limit *l, int64_t at);
struct qd_bucket_spec m_bucket_spec(const struct m_counter *c);
/* What was charged at `at` changes by `delta`; a budget books. */
void m_change(struct model *m, struct m_counter *c, int64_t at, int64_t delta);

#endif /* QD_TESTS_CORE_MODEL_INNER_H */
