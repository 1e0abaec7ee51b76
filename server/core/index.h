/* Index: from a 32-bit hash to record numbers, by open addressing.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   8 bytes a slot, qd_index_slots(capacity) slots: 12 bytes for each record at most.
 *
 * Several records may share a hash: the caller walks the candidates and compares the whole
 * identity, so a shared hash costs a look, never a mistake. Hashes come from a seeded function
 * (users cannot craft collisions). Removal shifts back: no tombstones, look-ups stay short for
 * ever.
 */
#ifndef QD_CORE_INDEX_H
#define QD_CORE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#define QD_INDEX_NONE UINT32_MAX

struct qd_index {
    uint64_t *slots; /* hash << 32 | value + 1; 0: empty */
    uint32_t slot_count;
    uint32_t count;
    uint32_t capacity;
};

/* Slots that hold `capacity` values at two thirds full. */
uint32_t qd_index_slots(uint32_t capacity);

/* `slots`: qd_index_slots(capacity) zeroed words. */
void qd_index_init(struct qd_index *index, uint64_t *slots, uint32_t capacity);

/* Where a walk is. Start with {0}. */
struct qd_index_walk {
    uint32_t at;
    bool started;
};

/* Next value with this hash, or QD_INDEX_NONE. Any insertion or removal ends the walk. */
uint32_t qd_index_next(const struct qd_index *index, uint32_t hash, struct qd_index_walk *walk);

/* False when `capacity` values are in. The same (hash, value) must not be in already. */
bool qd_index_insert(struct qd_index *index, uint32_t hash, uint32_t value);

/* The value must be in. */
void qd_index_remove(struct qd_index *index, uint32_t hash, uint32_t value);

/* Tell the memory system that `hash` is about to be looked up. */
void qd_index_prefetch(const struct qd_index *index, uint32_t hash);

#endif /* QD_CORE_INDEX_H */
