#include "server/core/slab.h"

#include "server/core/check.h"

#include <string.h>

void qd_slab_init(struct qd_slab *slab, void *base, uint32_t stride, uint32_t capacity)
{
    QD_CHECK(stride % 8 == 0);
    *slab = (struct qd_slab){.base = base, .stride = stride, .capacity = capacity};
}

uint32_t qd_slab_take(struct qd_slab *slab)
{
    uint32_t index;
    if (slab->free != 0) {
        index = slab->free - 1;
        memcpy(&slab->free, qd_slab_at(slab, index), sizeof(slab->free));
    } else if (slab->high < slab->capacity) {
        index = slab->high++;
    } else {
        return QD_SLAB_NONE;
    }
    slab->live++;
    QD_CHECK(slab->live <= slab->high);
    return index;
}

void qd_slab_give(struct qd_slab *slab, uint32_t index)
{
    QD_CHECK(index < slab->high && slab->live > 0);
    memcpy(qd_slab_at(slab, index), &slab->free, sizeof(slab->free));
    slab->free = index + 1;
    slab->live--;
}
