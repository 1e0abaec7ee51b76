/* A sorted map in memory whose keys keep their past: each has its versions, newest first. One key
 * space of the memory store.
 *
 * Layer:    storage, inside store_memory.
 * Threads:  none; the store's mutex.
 * Memory:   nodes stay until the map is released, also those of deleted keys.
 */
#ifndef QD_STORAGE_MEMORY_MAP_H
#define QD_STORAGE_MEMORY_MAP_H

#include "storage/buf.h"

#define QD_MEMORY_MAP_LEVELS 16

struct qd_memory_node;

/* A skip list. All zero is an empty map. */
struct qd_memory_map {
    struct qd_memory_node *heads[QD_MEMORY_MAP_LEVELS];
    uint64_t random;     /* of the levels; from a fixed seed, so that runs repeat */
    uint64_t used_bytes; /* of keys and values */
};

void qd_memory_map_release(struct qd_memory_map *map);

/* First node with a key >= `key`; last one with a key < `key` (empty: the last of all); the next.
 * NULL. */
struct qd_memory_node *qd_memory_map_seek(const struct qd_memory_map *map, struct qd_str key);
struct qd_memory_node *qd_memory_map_before(const struct qd_memory_map *map, struct qd_str key);
struct qd_memory_node *qd_memory_map_next(const struct qd_memory_node *node);
/* The node of `key`, or NULL. */
struct qd_memory_node *qd_memory_map_find(const struct qd_memory_map *map, struct qd_str key);

struct qd_str qd_memory_node_key(const struct qd_memory_node *node);
/* The value as of write number `sequence`; false if there was none. */
bool qd_memory_node_value(const struct qd_memory_node *node, uint64_t sequence,
                          struct qd_str *ret_value);

/* Set or delete (`value` NULL) a key with write number `sequence`. Versions that were over before
 * write `oldest` are dropped. False: out of memory, nothing changed. */
bool qd_memory_map_set(struct qd_memory_map *map, struct qd_str key, const struct qd_str *value,
                       uint64_t sequence, uint64_t oldest);

/* Take back every version newer than `sequence`. */
void qd_memory_map_rewind(struct qd_memory_map *map, uint64_t sequence);

#endif /* QD_STORAGE_MEMORY_MAP_H */
