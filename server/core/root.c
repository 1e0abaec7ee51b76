#include "root.h"

#include "hash.h"

#define SEARCH_MAX 4096U

static struct qd_str first_segment(struct qd_str path)
{
    size_t len = 0;
    while (len < path.len && path.ptr[len] != '/' && path.ptr[len] != ' ') {
        len++;
    }
    return (struct qd_str){.ptr = path.ptr, .len = len};
}

struct qd_hash128 qd_root_id(const struct qd_core *core, struct qd_str path)
{
    struct qd_str segment = first_segment(path);
    return qd_hash_bytes(segment.ptr, segment.len, core->config.hash_seed);
}

static uint32_t find(struct qd_core *core, struct qd_hash128 id)
{
    struct qd_index_walk walk = {0};
    uint32_t index;
    while ((index = qd_index_next(&core->root_index, (uint32_t)id.hi, &walk)) != QD_INDEX_NONE) {
        if (qd_hash128_equal(qd_root_at(core, index)->id, id)) {
            return index;
        }
    }
    return QD_SLAB_NONE;
}

/* Free one root that nothing in memory belongs to. Its bindings notice by the generation. */
static void reclaim(struct qd_core *core)
{
    uint32_t looks = core->roots.high < SEARCH_MAX ? core->roots.high : SEARCH_MAX;
    for (uint32_t i = 0; i < looks; i++) {
        if (core->root_hand >= core->roots.high) {
            core->root_hand = 0;
        }
        uint32_t index = core->root_hand++;
        struct qd_root *root = qd_root_at(core, index);
        QD_CHECK(root->generation & 1U); /* all are live, or there were room */
        if (root->counters == 0 && root->reservations == 0) {
            qd_index_remove(&core->root_index, (uint32_t)root->id.hi, index);
            root->generation++;
            qd_slab_give(&core->roots, index);
            return;
        }
    }
}

uint32_t qd_root_obtain(struct qd_core *core, struct qd_str path, struct qd_wall_ns now)
{
    struct qd_hash128 id = qd_root_id(core, path);
    uint32_t index = find(core, id);
    if (index == QD_SLAB_NONE) {
        if (core->roots.live == core->roots.capacity) {
            reclaim(core);
        }
        index = qd_slab_take(&core->roots);
        if (index == QD_SLAB_NONE) {
            return QD_SLAB_NONE;
        }
        struct qd_root *root = qd_root_at(core, index);
        *root = (struct qd_root){.id = id, .generation = root->generation + 1};
        QD_CHECK(root->generation & 1U);
        bool inserted = qd_index_insert(&core->root_index, (uint32_t)id.hi, index);
        QD_CHECK(inserted);
    }
    qd_root_at(core, index)->used_s = qd_seconds_of(now);
    return index;
}

void qd_root_count(struct qd_core *core, struct qd_str path, int change)
{
    uint32_t index = find(core, qd_root_id(core, path));
    if (index == QD_SLAB_NONE) {
        return; /* a name that doesn't start with its tenant's path counts for nobody */
    }
    struct qd_root *root = qd_root_at(core, index);
    if (change > 0 || root->counters > 0) {
        root->counters += (uint32_t)change;
    }
}

void qd_core_forget_root(struct qd_core *home, struct qd_str root)
{
    uint32_t index = find(home, qd_root_id(home, root));
    if (index != QD_SLAB_NONE) {
        qd_root_at(home, index)->generation += 2; /* its bindings no longer match */
    }
}
