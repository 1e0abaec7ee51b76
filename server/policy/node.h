/* A YAML document as a tree in an arena, with the place of every node.
 *
 * Layer:    policy (over libyaml's events)
 * Threads:  none of its own.
 * Memory:   everything is in the arena.
 *
 * Bounds (P1): size, depth, aliases, and nodes with aliases counted each time they are used; UTF-8
 * only, one document, no tags, no duplicate keys, keys are scalars.
 */
#ifndef QD_POLICY_NODE_H
#define QD_POLICY_NODE_H

#include "server/policy/arena.h"
#include "server/policy/problem.h"

#include <stdbool.h>
#include <stdint.h>

enum qd_node_kind {
    QD_NODE_SCALAR,
    QD_NODE_MAP,
    QD_NODE_LIST
};

struct qd_node {
    enum qd_node_kind kind;
    bool plain;     /* scalar without quotes */
    uint8_t height; /* 1 for a scalar */
    uint32_t line;
    uint32_t column;
    uint32_t weight;  /* nodes below and itself, aliases counted each time */
    const char *text; /* scalar, NUL-terminated; a scalar never contains NUL */
    size_t len;
    struct qd_node **items; /* list: the items; map: key, value, key, value, ... */
    size_t count;           /* items of a list, pairs of a map */
};

/* Parse `bytes`; NULL with problems when they are refused. (Duplicate keys are problems, too, but
 * leave a tree, so that the rest can be looked at.) `file` is used in messages. An empty document
 * is an empty scalar. */
struct qd_node *qd_node_parse(struct qd_arena *arena, const char *file, const void *bytes,
                              size_t size, struct qd_problems *problems);

/* True for an empty or null scalar: `key:` with nothing behind it. */
bool qd_node_is_null(const struct qd_node *node);

static inline struct qd_node *qd_node_key(const struct qd_node *map, size_t i)
{
    return map->items[2 * i];
}
static inline struct qd_node *qd_node_value(const struct qd_node *map, size_t i)
{
    return map->items[2 * i + 1];
}

/* The value of `key`, or NULL. */
struct qd_node *qd_node_get(const struct qd_node *map, const char *key);

/* "a map", "a list", "a word or number": for messages. */
const char *qd_node_kind_text(const struct qd_node *node);

#endif /* QD_POLICY_NODE_H */
