#include "server/core/limit.h"

#include "server/core/check.h"

int64_t qd_weights_apply(const struct qd_weights *w, const struct qd_usage *u)
{
    QD_CHECK(w->den >= 1);
    QD_CHECK(w->count <= QD_WEIGHTS_MAX);
    qd_int128 sum = 0;
    for (unsigned i = 0; i < w->count; i++) {
        sum += (qd_int128)qd_usage_get(u, w->item[i].meter) * w->item[i].num;
    }
    if (sum <= 0) {
        return 0;
    }
    if (w->den != 1) {
        sum = (sum + w->den - 1) / w->den;
    }
    return sum < INT64_MAX ? (int64_t)sum : INT64_MAX;
}
