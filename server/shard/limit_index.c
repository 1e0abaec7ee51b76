#include "server/shard/limit_index.h"

#include "server/policy/intern.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const struct qd_limit_place *left = a;
    const struct qd_limit_place *right = b;

    return (left->hash > right->hash) - (left->hash < right->hash);
}

bool qd_limit_index_init(struct qd_limit_index *index)
{
    uint32_t known = qd_intern_limit_count();

    *index = (struct qd_limit_index){.by_spec = calloc((size_t)known + 1, sizeof(*index->by_spec)),
                                     .by_identity =
                                         calloc((size_t)known + 1, sizeof(*index->by_identity))};
    if (index->by_spec == NULL || index->by_identity == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < known; i++) {
        const struct qd_limit *limit = qd_intern_limit_at(i);
        if (limit != NULL && limit->index < QD_LIMITS_INTERNED_MAX) {
            index->by_spec[index->count] = (struct qd_limit_place){limit->spec, limit};
            index->by_identity[index->count++] = (struct qd_limit_place){limit->identity.lo, limit};
        }
    }
    qsort(index->by_spec, index->count, sizeof(*index->by_spec), compare);
    qsort(index->by_identity, index->count, sizeof(*index->by_identity), compare);
    return true;
}

void qd_limit_index_release(struct qd_limit_index *index)
{
    free(index->by_spec);
    free(index->by_identity);
    *index = (struct qd_limit_index){.count = 0};
}

static const struct qd_limit *find(const struct qd_limit_place *places, size_t count, uint64_t hash)
{
    struct qd_limit_place wanted = {.hash = hash};
    const struct qd_limit_place *found = bsearch(&wanted, places, count, sizeof(*places), compare);

    return found != NULL ? found->limit : NULL;
}

const struct qd_limit *qd_limit_index_find(const struct qd_limit_index *index,
                                           const struct qd_saved_counter *counter)
{
    const struct qd_limit *limit = find(index->by_spec, index->count, counter->limit_spec);

    return limit != NULL ? limit : find(index->by_identity, index->count, counter->limit_identity);
}
