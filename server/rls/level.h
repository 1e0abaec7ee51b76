/* The descriptors beside each other at one level, to be found by what a request says of them.
 * Internal to this folder.
 *
 * Layer:    rls
 * Threads:  one thread makes a level; then it is immutable.
 * Memory:   all of it is in one arena.
 *
 * As in the reference server a descriptor is known by one text: "key_value", or "key" where it has
 * no value. So {key: a, value: b_c} and {key: a_b, value: c} are the same one, and a descriptor
 * with the key "a_b" alone also answers to the entry ("a", "b").
 */
#ifndef QD_RLS_LEVEL_H
#define QD_RLS_LEVEL_H

#include "server/rls/automaton.h"
#include "server/rls/rules.h"

#define QD_RLS_NODE_TEXT_MAX (2 * QD_RLS_TEXT_MAX + 1)

/* What is said of a wildcard without room. */
#define QD_RLS_WILDCARDS_OVER \
    "too many wildcards; at most %u bytes of them are accepted in all files"

/* One descriptor of a file: small, and in one piece, as there may be half a million of them. */
struct qd_rls_node {
    const struct qd_rls_rule *rule;       /* NULL: no rate_limit */
    const struct qd_rls_level *below;     /* NULL: no descriptors */
    const struct qd_rls_pattern *pattern; /* NULL: no value, or one without a `*` */
    uint32_t len;                         /* bytes of `text` */
    uint32_t key_len;                     /* the key is its beginning; == len: no value */
    uint32_t line;
    bool share_threshold; /* all values of the wildcard have one counter */
    bool value_to_metric;
    char text[]; /* "key_value" or "key", NUL-terminated */
};

static inline struct qd_str qd_rls_node_text(const struct qd_rls_node *node)
{
    return (struct qd_str){node->text, node->len};
}

static inline struct qd_str qd_rls_node_key(const struct qd_rls_node *node)
{
    return (struct qd_str){node->text, node->key_len};
}

/* {NULL, 0}: none. */
static inline struct qd_str qd_rls_node_value(const struct qd_rls_node *node)
{
    if (node->key_len == node->len) {
        return (struct qd_str){NULL, 0};
    }
    return (struct qd_str){node->text + node->key_len + 1, node->len - node->key_len - 1};
}

struct qd_rls_slot {
    uint64_t hash;
    const struct qd_rls_node *node; /* NULL: free */
};

/* The wildcards of one key, in the order of the file. */
struct qd_rls_wildcards {
    uint64_t hash;     /* of the key */
    struct qd_str key; /* ptr NULL: free */
    const struct qd_rls_node **nodes;
    size_t count;
    size_t capacity;
    const struct qd_rls_automaton *automaton; /* NULL: few and simple, tried one by one */
};

/* What a set still has room for. */
struct qd_rls_budget {
    size_t nodes;
    size_t wildcard_bytes; /* of those in automata */
};

struct qd_rls_level {
    struct qd_rls_slot *slots; /* by text; at least half of them are free */
    size_t mask;
    size_t longest;                     /* bytes of the longest text: longer ones need no look */
    struct qd_rls_wildcards *wildcards; /* by key, likewise; NULL: none at this level */
    size_t wildcard_mask;
};

/* A level with room for `count` descriptors. */
struct qd_rls_level *qd_rls_level_new(struct qd_arena *arena, size_t count);

/* Add a node. Returns NULL, or the one that has the same text, and adds nothing then. At most
 * as many as the level has room for. */
const struct qd_rls_node *qd_rls_level_add(struct qd_rls_level *level,
                                           const struct qd_rls_node *node);

/* The one that has the same text as a node; NULL: none. */
const struct qd_rls_node *qd_rls_level_twin(const struct qd_rls_level *level,
                                            const struct qd_rls_node *node);

/* Make the wildcards of `nodes`, which have been added, known. NULL, or the last wildcard of a key
 * for which there is no room left. `meanwhile` holds what is only needed until this returns. */
const struct qd_rls_node *qd_rls_level_index(struct qd_arena *arena, struct qd_arena *meanwhile,
                                             struct qd_rls_level *level,
                                             const struct qd_rls_node *const *nodes, size_t count,
                                             struct qd_rls_budget *budget);

/* How an entry came to a node. */
enum qd_rls_found {
    QD_RLS_FOUND_NOTHING,
    QD_RLS_FOUND_EXACT,
    QD_RLS_FOUND_WILDCARD,
    QD_RLS_FOUND_KEY,
};

/* The node of an entry: its exact "key_value", else the first wildcard of the key that matches the
 * value, else the bare key (point 10). `scratch` may be NULL: then, and if there is no memory for
 * it, wildcards are tried one by one. `steps` goes up by one for each slot and each wildcard that
 * is looked at, and as automaton.h says. */
enum qd_rls_found qd_rls_level_find(const struct qd_rls_level *level, struct qd_rls_entry entry,
                                    struct qd_rls_scratch *scratch, uint32_t *steps,
                                    const struct qd_rls_node **ret_node);

#endif /* QD_RLS_LEVEL_H */
