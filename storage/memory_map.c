#include "storage/memory_map.h"

#include <stdlib.h>

#define RANDOM_SEED UINT64_C(0x9e3779b97f4a7c15)

struct version {
    struct version *older;
    uint64_t sequence; /* of the write that made it */
    bool deleted;
    size_t size;
    uint8_t data[];
};

struct qd_memory_node {
    struct version *newest;
    const uint8_t *key; /* behind `next` */
    size_t key_size;
    unsigned levels;
    struct qd_memory_node *next[];
};

struct qd_str qd_memory_node_key(const struct qd_memory_node *node)
{
    return (struct qd_str){(const char *)node->key, node->key_size};
}

/* Geometric with ratio 1/4. */
static unsigned random_levels(struct qd_memory_map *map)
{
    uint64_t random = map->random != 0 ? map->random : RANDOM_SEED;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    map->random = random;
    unsigned levels = 1;
    while (levels < QD_MEMORY_MAP_LEVELS && (random & 3) == 0) {
        levels++;
        random >>= 2;
    }
    return levels;
}

struct qd_memory_node *qd_memory_map_next(const struct qd_memory_node *node)
{
    return node->next[0];
}

struct qd_memory_node *qd_memory_map_seek(const struct qd_memory_map *map, struct qd_str key)
{
    struct qd_memory_node *const *links = map->heads;
    for (unsigned level = QD_MEMORY_MAP_LEVELS; level-- > 0;) {
        while (links[level] != NULL &&
               qd_slice_compare(qd_memory_node_key(links[level]), key) < 0) {
            links = links[level]->next;
        }
    }
    return links[0];
}

struct qd_memory_node *qd_memory_map_before(const struct qd_memory_map *map, struct qd_str key)
{
    struct qd_memory_node *const *links = map->heads;
    struct qd_memory_node *last = NULL;
    for (unsigned level = QD_MEMORY_MAP_LEVELS; level-- > 0;) {
        while (links[level] != NULL &&
               (key.len == 0 || qd_slice_compare(qd_memory_node_key(links[level]), key) < 0)) {
            last = links[level];
            links = last->next;
        }
    }
    return last;
}

struct qd_memory_node *qd_memory_map_find(const struct qd_memory_map *map, struct qd_str key)
{
    struct qd_memory_node *node = qd_memory_map_seek(map, key);
    return node != NULL && qd_slice_equal(qd_memory_node_key(node), key) ? node : NULL;
}

static struct qd_memory_node *insert(struct qd_memory_map *map, struct qd_str key)
{
    unsigned levels = random_levels(map);
    size_t size = sizeof(struct qd_memory_node) + levels * sizeof(struct qd_memory_node *);
    struct qd_memory_node *node = malloc(size + key.len);
    if (node == NULL) {
        return NULL;
    }
    uint8_t *key_bytes = (uint8_t *)node + size;
    if (key.len > 0) {
        memcpy(key_bytes, key.ptr, key.len);
    }
    *node = (struct qd_memory_node){.key = key_bytes, .key_size = key.len, .levels = levels};
    struct qd_memory_node **links = map->heads;
    for (unsigned level = QD_MEMORY_MAP_LEVELS; level-- > 0;) {
        while (links[level] != NULL &&
               qd_slice_compare(qd_memory_node_key(links[level]), key) < 0) {
            links = links[level]->next;
        }
        if (level < levels) {
            node->next[level] = links[level];
            links[level] = node;
        }
    }
    map->used_bytes += key.len;
    return node;
}

/* --- versions --- */

bool qd_memory_node_value(const struct qd_memory_node *node, uint64_t sequence,
                          struct qd_str *ret_value)
{
    const struct version *version = node->newest;
    while (version != NULL && version->sequence > sequence) {
        version = version->older;
    }
    if (version == NULL || version->deleted) {
        return false;
    }
    *ret_value = (struct qd_str){(const char *)version->data, version->size};
    return true;
}

static void free_versions(struct qd_memory_map *map, struct version *version)
{
    while (version != NULL) {
        struct version *older = version->older;
        map->used_bytes -= version->size;
        free(version);
        version = older;
    }
}

/* Drop versions that nobody can see: all below the newest one at or before `oldest`. */
static void prune(struct qd_memory_map *map, struct qd_memory_node *node, uint64_t oldest)
{
    struct version *version = node->newest;
    while (version != NULL && version->sequence > oldest) {
        version = version->older;
    }
    if (version != NULL) {
        free_versions(map, version->older);
        version->older = NULL;
    }
}

bool qd_memory_map_set(struct qd_memory_map *map, struct qd_str key, const struct qd_str *value,
                       uint64_t sequence, uint64_t oldest)
{
    size_t size = value != NULL ? value->len : 0;
    struct version *version = malloc(sizeof *version + size);
    struct qd_memory_node *node = qd_memory_map_find(map, key);
    if (version != NULL && node == NULL) {
        node = insert(map, key);
    }
    if (version == NULL || node == NULL) {
        free(version);
        return false;
    }
    version->older = node->newest;
    version->sequence = sequence;
    version->deleted = value == NULL;
    version->size = size;
    if (size > 0) {
        memcpy(version->data, value->ptr, size);
    }
    node->newest = version;
    map->used_bytes += size;
    prune(map, node, oldest);
    return true;
}

void qd_memory_map_rewind(struct qd_memory_map *map, uint64_t sequence)
{
    for (struct qd_memory_node *node = map->heads[0]; node != NULL; node = node->next[0]) {
        while (node->newest != NULL && node->newest->sequence > sequence) {
            struct version *gone = node->newest;
            node->newest = gone->older;
            gone->older = NULL;
            free_versions(map, gone);
        }
    }
}

void qd_memory_map_release(struct qd_memory_map *map)
{
    struct qd_memory_node *node = map->heads[0];
    while (node != NULL) {
        struct qd_memory_node *next = node->next[0];
        free_versions(map, node->newest);
        free(node);
        node = next;
    }
    *map = (struct qd_memory_map){0};
}
