#include "server/rls/tree.h"

#include <assert.h>
#include <string.h>

static void make_table(struct qd_arena *arena, size_t room, struct qd_rls_tree *tree)
{
    size_t size = 2;
    while (size < 2 * room) {
        size *= 2;
    }
    tree->slots = qd_arena_array(arena, size, sizeof *tree->slots);
    tree->mask = size - 1;
}

void qd_rls_tree_make(struct qd_arena *arena, size_t room, struct qd_rls_tree *ret_tree)
{
    assert(room > 0 && room < UINT32_MAX / 2);
    ret_tree->twigs = qd_arena_array(arena, room, sizeof *ret_tree->twigs);
    ret_tree->count = 1;
    make_table(arena, room, ret_tree);
}

void qd_rls_tree_keep(struct qd_arena *arena, struct qd_rls_tree *tree)
{
    uint32_t steps = 0;
    const struct qd_rls_twig *made = tree->twigs;
    tree->twigs = qd_arena_array(arena, tree->count, sizeof *tree->twigs);
    memcpy(tree->twigs, made, tree->count * sizeof *made);
    make_table(arena, tree->count, tree);
    for (uint32_t i = 1; i < tree->count; i++) {
        *qd_rls_tree_slot(tree, made[i].parent, made[i].label, &steps) = i;
    }
}

uint32_t qd_rls_tree_add(struct qd_rls_tree *tree, uint32_t parent, uint32_t label, uint32_t *slot)
{
    *slot = tree->count++;
    tree->twigs[*slot] = (struct qd_rls_twig){parent, label};
    return *slot;
}
