/* The shape of a tree: which twig a label leads to from another one. What beginnings share is there
 * once. Internal to this folder.
 *
 * Layer:    rls
 * Units:    twigs are numbered in the order in which they are added, the root first: so a twig
 *           stands behind its parent.
 * Threads:  one thread makes a tree; then it is immutable.
 * Memory:   all of it is in one arena: 8 bytes for each twig there is room for, and 8 to 16 more in
 *           the table.
 */
#ifndef QD_RLS_TREE_H
#define QD_RLS_TREE_H

#include "server/policy/arena.h"

#include <stdint.h>

#define QD_RLS_ROOT UINT32_C(0) /* nobody's child */

struct qd_rls_twig {
    uint32_t parent;
    uint32_t label;
};

struct qd_rls_tree {
    struct qd_rls_twig *twigs;
    uint32_t count;  /* the root too */
    uint32_t *slots; /* by parent and label; ROOT: free, as at least half are */
    size_t mask;
};

/* A root, with room for `room` twigs, itself among them. */
void qd_rls_tree_make(struct qd_arena *arena, size_t room, struct qd_rls_tree *ret_tree);

/* Move the twigs into `arena`, with room for no more than there are. */
void qd_rls_tree_keep(struct qd_arena *arena, struct qd_rls_tree *tree);

/* Where the child of `parent` is, or ROOT if there is none yet. `steps` goes up by one for each
 * look into the table. Ends: half of the slots are free. */
static inline uint32_t *qd_rls_tree_slot(const struct qd_rls_tree *tree, uint32_t parent,
                                         uint32_t label, uint32_t *steps)
{
    uint64_t hash = ((uint64_t)parent << 32 ^ label) * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = (size_t)(hash >> 32) & tree->mask;; i = (i + 1) & tree->mask) {
        const struct qd_rls_twig *twig = &tree->twigs[tree->slots[i]];
        ++*steps;
        if (tree->slots[i] == QD_RLS_ROOT || (twig->parent == parent && twig->label == label)) {
            return &tree->slots[i];
        }
    }
}

/* Add a child where qd_rls_tree_slot found none. Returns its number. */
uint32_t qd_rls_tree_add(struct qd_rls_tree *tree, uint32_t parent, uint32_t label, uint32_t *slot);

#endif /* QD_RLS_TREE_H */
