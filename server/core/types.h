/* Units and small value types shared by every part of quotad.
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation after init, floating point)
 * Units:    wall time is Unix time in ns, UTC; monotonic time is ns since an arbitrary origin.
 * Threads:  values only.
 * Memory:   plain structs, copied freely.
 */
#ifndef QD_CORE_TYPES_H
#define QD_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_NS_PER_MS     INT64_C(1000000)
#define QD_NS_PER_S      INT64_C(1000000000)
#define QD_NS_PER_MINUTE (60 * QD_NS_PER_S)
#define QD_NS_PER_HOUR   (3600 * QD_NS_PER_S)
#define QD_NS_PER_DAY    (86400 * QD_NS_PER_S)

/* "Never" as a time: later than any period that a calendar can name. */
#define QD_WALL_NEVER INT64_MAX

/* Wall and monotonic time are different types: mixing them does not compile. Core only sees wall
 * time; the shell disciplines it (C7) and passes it in. */
struct qd_wall_ns {
    int64_t ns;
};
struct qd_mono_ns {
    uint64_t ns;
};

/* A seeded 128-bit hash (XXH3): the identity of counters, bindings and requests. */
struct qd_hash128 {
    uint64_t lo;
    uint64_t hi;
};

static inline bool qd_hash128_equal(struct qd_hash128 a, struct qd_hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* Exact signed 128-bit integer: pico-USD products and totals. */
__extension__ typedef __int128 qd_int128;
__extension__ typedef unsigned __int128 qd_uint128;

/* No single amount exceeds 2^53: exact in every client's number type, and 32 of them times a
 * weight of 10^6 fit in 128 bits with room to spare. */
#define QD_AMOUNT_MAX (INT64_C(1) << 53)

#define QD_TENANT_PATH_MAX      511 /* 8 segments of 63 and 7 slashes (P2) */
#define QD_TENANT_SEGMENTS_MAX  8   /* P2 */
#define QD_NAME_MAX             127 /* models, pools, users, plans, limits, label names and values */
#define QD_LABELS_MAX           16  /* labels of one request (X2) */
#define QD_CANDIDATES_MAX       16  /* D9 */
#define QD_LIMITS_PER_CHECK_MAX 32
#define QD_TTL_MAX_NS           (6 * QD_NS_PER_HOUR) /* S1 */
#define QD_TTL_DEFAULT_NS       (300 * QD_NS_PER_S)  /* S1 */

/* A string that somebody else owns; not NUL-terminated. {NULL, 0} means absent. */
struct qd_str {
    const char *ptr;
    size_t len;
};

#endif /* QD_CORE_TYPES_H */
