#include "server/rls/level.h"

#include "server/core/hash.h"

#include <assert.h>
#include <string.h>

#define SEED UINT64_C(0x51a7b3d09c2e6f48) /* any: only the files' own texts are in the tables */

static bool equal(struct qd_str a, struct qd_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* A power of two of which `count` is at most half. */
static size_t table_size(size_t count)
{
    size_t size = 2;
    while (size < 2 * count) {
        size *= 2;
    }
    return size;
}

struct qd_rls_level *qd_rls_level_new(struct qd_arena *arena, size_t count)
{
    struct qd_rls_level *level = qd_arena_alloc(arena, sizeof *level);
    size_t size = table_size(count);
    level->slots = qd_arena_array(arena, size, sizeof *level->slots);
    level->mask = size - 1;
    return level;
}

/* The slot of a node's text, or the free one where it would be. Ends: half of the slots are free.
 */
static struct qd_rls_slot *find_slot(const struct qd_rls_level *level, struct qd_str text,
                                     uint64_t hash, uint32_t *steps)
{
    for (size_t i = hash & level->mask;; i = (i + 1) & level->mask) {
        struct qd_rls_slot *slot = &level->slots[i];
        ++*steps;
        if (slot->node == NULL ||
            (slot->hash == hash && equal(qd_rls_node_text(slot->node), text))) {
            return slot;
        }
    }
}

static struct qd_rls_wildcards *find_wildcards(const struct qd_rls_level *level, struct qd_str key,
                                               uint64_t hash, uint32_t *steps)
{
    for (size_t i = hash & level->wildcard_mask;; i = (i + 1) & level->wildcard_mask) {
        struct qd_rls_wildcards *w = &level->wildcards[i];
        ++*steps;
        if (w->key.ptr == NULL || (w->hash == hash && equal(w->key, key))) {
            return w;
        }
    }
}

const struct qd_rls_node *qd_rls_level_twin(const struct qd_rls_level *level,
                                            const struct qd_rls_node *node)
{
    uint32_t steps = 0;
    struct qd_str text = qd_rls_node_text(node);

    return find_slot(level, text, qd_hash64_bytes(text.ptr, text.len, SEED), &steps)->node;
}

const struct qd_rls_node *qd_rls_level_add(struct qd_rls_level *level,
                                           const struct qd_rls_node *node)
{
    uint32_t steps = 0;
    struct qd_str text = qd_rls_node_text(node);
    uint64_t hash = qd_hash64_bytes(text.ptr, text.len, SEED);
    struct qd_rls_slot *slot = find_slot(level, text, hash, &steps);
    if (slot->node != NULL) {
        return slot->node;
    }
    *slot = (struct qd_rls_slot){hash, node};
    level->longest = text.len > level->longest ? text.len : level->longest;
    return NULL;
}

static void add_wildcard(struct qd_arena *arena, const struct qd_rls_level *level,
                         const struct qd_rls_node *node)
{
    uint32_t steps = 0;
    struct qd_str key = qd_rls_node_key(node);
    uint64_t hash = qd_hash64_bytes(key.ptr, key.len, SEED);
    struct qd_rls_wildcards *w = find_wildcards(level, key, hash, &steps);
    w->hash = hash;
    w->key = key;
    w->nodes = qd_arena_grow(arena, w->nodes, w->count, &w->capacity, sizeof(struct qd_rls_node *));
    w->nodes[w->count++] = node;
}

/* Whether no comparison needs to look for anything: what it costs does not depend on the value. */
static bool is_quickly_tried(const struct qd_rls_wildcards *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->nodes[i]->pattern->middle_count > 0) {
            return false;
        }
    }
    return w->count <= QD_RLS_TRIED_MAX;
}

/* False: there is no room. */
static bool make_automaton(struct qd_arena *arena, struct qd_arena *meanwhile,
                           struct qd_rls_wildcards *w, struct qd_rls_budget *budget)
{
    size_t bytes = 0;
    if (is_quickly_tried(w)) {
        return true;
    }
    const struct qd_rls_pattern **patterns =
        qd_arena_array(meanwhile, w->count, sizeof(struct qd_rls_pattern *));
    for (size_t i = 0; i < w->count; i++) {
        patterns[i] = w->nodes[i]->pattern;
        bytes += qd_rls_node_value(w->nodes[i]).len;
    }
    if (bytes > budget->wildcard_bytes) {
        return false;
    }
    budget->wildcard_bytes -= bytes;
    w->automaton = qd_rls_automaton_make(arena, meanwhile, patterns, w->count);
    return true;
}

const struct qd_rls_node *qd_rls_level_index(struct qd_arena *arena, struct qd_arena *meanwhile,
                                             struct qd_rls_level *level,
                                             const struct qd_rls_node *const *nodes, size_t count,
                                             struct qd_rls_budget *budget)
{
    size_t wild = 0;
    for (size_t i = 0; i < count; i++) {
        wild += nodes[i]->pattern != NULL;
    }
    if (wild == 0) {
        return NULL;
    }
    size_t size = table_size(wild);
    level->wildcards = qd_arena_array(arena, size, sizeof *level->wildcards);
    level->wildcard_mask = size - 1;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i]->pattern != NULL) {
            add_wildcard(arena, level, nodes[i]);
        }
    }
    for (size_t i = 0; i < size; i++) {
        struct qd_rls_wildcards *w = &level->wildcards[i];
        if (!make_automaton(arena, meanwhile, w, budget)) {
            return w->nodes[w->count - 1];
        }
    }
    return NULL;
}

static const struct qd_rls_node *find_exact(const struct qd_rls_level *level, struct qd_str key,
                                            struct qd_str value, uint32_t *steps)
{
    char whole[QD_RLS_NODE_TEXT_MAX];
    if (key.len > level->longest || value.len > level->longest ||
        key.len + 1 + value.len > level->longest) {
        return NULL;
    }
    assert(level->longest <= sizeof whole);
    if (key.len > 0) {
        memcpy(whole, key.ptr, key.len);
    }
    whole[key.len] = '_';
    if (value.len > 0) {
        memcpy(whole + key.len + 1, value.ptr, value.len);
    }
    struct qd_str text = {whole, key.len + 1 + value.len};
    return find_slot(level, text, qd_hash64_bytes(text.ptr, text.len, SEED), steps)->node;
}

static const struct qd_rls_node *find_wildcard(const struct qd_rls_wildcards *w,
                                               struct qd_str value, struct qd_rls_scratch *scratch,
                                               uint32_t *steps)
{
    if (w->automaton != NULL && scratch != NULL && qd_rls_automaton_begin(w->automaton, scratch)) {
        size_t i = qd_rls_automaton_find(w->automaton, scratch, value, steps);
        return i < w->count ? w->nodes[i] : NULL;
    }
    for (size_t i = 0; i < w->count; i++) {
        ++*steps;
        if (qd_rls_pattern_matches(w->nodes[i]->pattern, value)) {
            return w->nodes[i];
        }
    }
    return NULL;
}

enum qd_rls_found qd_rls_level_find(const struct qd_rls_level *level, struct qd_rls_entry entry,
                                    struct qd_rls_scratch *scratch, uint32_t *steps,
                                    const struct qd_rls_node **ret_node)
{
    struct qd_str key = entry.key;
    const struct qd_rls_node *node = find_exact(level, key, entry.value, steps);
    if (node != NULL) {
        *ret_node = node;
        return QD_RLS_FOUND_EXACT;
    }
    if (key.len == 0 || key.len > level->longest) { /* no key of a file is empty */
        return QD_RLS_FOUND_NOTHING;
    }
    uint64_t hash = qd_hash64_bytes(key.ptr, key.len, SEED);
    if (level->wildcards != NULL) {
        node = find_wildcard(find_wildcards(level, key, hash, steps), entry.value, scratch, steps);
    }
    if (node != NULL) {
        *ret_node = node;
        return QD_RLS_FOUND_WILDCARD;
    }
    node = find_slot(level, key, hash, steps)->node;
    if (node != NULL) {
        *ret_node = node;
        return QD_RLS_FOUND_KEY;
    }
    return QD_RLS_FOUND_NOTHING;
}
