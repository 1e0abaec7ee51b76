#include "server/core/hash.h"

#include <string.h>

/* xxhash.h brings states on the heap along, which nothing here uses: core allocates nothing. */
#include <stdlib.h>
#define malloc(size) ((void)(size), (void *)NULL)
#define free(memory) ((void)(memory))
#define XXH_INLINE_ALL
#include <xxhash.h>
#undef malloc
#undef free

/* Fields are a tag byte and their bytes; the tag fixes the length, so that no two sequences of
 * fields give the same bytes. A long string is replaced by its hash. */
#define TAG_ABSENT 0xff
#define TAG_HASHED \
    0xfe /* 16 bytes: the hash of a string longer than SHORT_MAX, and 8: its length */
#define TAG_U64      0xfd
#define TAG_HASH     0xfc
#define TAG_CONTINUE 0xfb /* 16 bytes: the hash of all that came before */
#define SHORT_MAX    64U  /* strings up to here are taken as they are, tagged by their length */

static void store_u64(uint8_t *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

struct qd_hash128 qd_hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, size, seed);
    return (struct qd_hash128){.lo = hash.low64, .hi = hash.high64};
}

uint64_t qd_hash64_bytes(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

void qd_hasher_init(struct qd_hasher *h, uint64_t seed)
{
    h->seed = seed;
    h->size = 0;
}

/* The field does not fit any more: go on after the hash of all that came before. */
static void begin_anew(struct qd_hasher *h)
{
    struct qd_hash128 before = qd_hasher_end(h);
    h->bytes[0] = TAG_CONTINUE;
    store_u64(h->bytes + 1, before.lo);
    store_u64(h->bytes + 9, before.hi);
    h->size = 17;
}

static inline void put(struct qd_hasher *h, uint8_t tag, const void *bytes, size_t size)
{
    if (h->size + 1 + size > QD_HASHER_ROOM) {
        begin_anew(h);
    }
    h->bytes[h->size] = tag;
    memcpy(h->bytes + h->size + 1, bytes, size);
    h->size += (uint32_t)size + 1;
}

void qd_hasher_hash(struct qd_hasher *h, struct qd_hash128 value)
{
    uint8_t bytes[16];
    store_u64(bytes, value.lo);
    store_u64(bytes + 8, value.hi);
    put(h, TAG_HASH, bytes, sizeof bytes);
}

void qd_hasher_u64(struct qd_hasher *h, uint64_t value)
{
    uint8_t bytes[8];
    store_u64(bytes, value);
    put(h, TAG_U64, bytes, sizeof bytes);
}

void qd_hasher_str(struct qd_hasher *h, struct qd_str s)
{
    if (s.ptr == NULL) {
        put(h, TAG_ABSENT, "", 0);
        return;
    }
    if (s.len <= SHORT_MAX) {
        put(h, (uint8_t)s.len, s.ptr, s.len);
        return;
    }
    struct qd_hash128 hash = qd_hash_bytes(s.ptr, s.len, h->seed);
    uint8_t bytes[24];
    store_u64(bytes, hash.lo);
    store_u64(bytes + 8, hash.hi);
    store_u64(bytes + 16, s.len);
    put(h, TAG_HASHED, bytes, sizeof bytes);
}

struct qd_hash128 qd_hasher_end(struct qd_hasher *h)
{
    return qd_hash_bytes(h->bytes, h->size, h->seed);
}
