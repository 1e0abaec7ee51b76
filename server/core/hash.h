/* Seeded 128-bit hashes of sequences of fields: identities of counters, bindings and requests.
 *
 * Layer:    core (pure)
 * Threads:  none; the hasher is the caller's.
 * Memory:   struct qd_hasher lives on the stack, 256 bytes.
 *
 * XXH3-128 with a seed that users do not know, so that they cannot craft collisions. Fields are
 * delimited: ("ab", "c") and ("a", "bc") differ, and so do an absent and an empty string. The
 * result is the same on every machine and in every version of the project: it is stored.
 *
 *     struct qd_hasher h;
 *     qd_hasher_init(&h, seed);
 *     qd_hasher_str(&h, tenant);
 *     qd_hasher_u64(&h, depth);
 *     struct qd_hash128 id = qd_hasher_end(&h);
 */
#ifndef QD_CORE_HASH_H
#define QD_CORE_HASH_H

#include "types.h"

#define QD_HASHER_ROOM 240 /* up to here XXH3 has its short forms */

struct qd_hasher {
    uint64_t seed;
    uint32_t size;
    uint8_t bytes[QD_HASHER_ROOM];
};

void qd_hasher_init(struct qd_hasher *h, uint64_t seed);
void qd_hasher_str(struct qd_hasher *h, struct qd_str s); /* ptr NULL: absent */
void qd_hasher_u64(struct qd_hasher *h, uint64_t value);
void qd_hasher_hash(struct qd_hasher *h, struct qd_hash128 value);
struct qd_hash128 qd_hasher_end(struct qd_hasher *h);

/* One run of bytes, undelimited. */
struct qd_hash128 qd_hash_bytes(const void *bytes, size_t size, uint64_t seed);
uint64_t qd_hash64_bytes(const void *bytes, size_t size, uint64_t seed);

#endif /* QD_CORE_HASH_H */
