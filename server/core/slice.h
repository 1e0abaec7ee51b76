/* What one slice of the core is made of. Internal: only the files of this folder include it.
 *
 * Layer:    core (pure)
 * Units:    wall ns; whole seconds where a field says _s; amounts in the limit's unit.
 * Threads:  none; the slice's lock.
 * Memory:   everything lies in the one block that qd_core_init got.
 *
 * A counter is three things: a hot record (what a decision touches, in the slab of its class), a
 * cold one beside it (identity and name), and its place in the index by identity. Hot and cold are
 * apart so that a decision misses the cache once for each line that it needs, and no more.
 */
#ifndef QD_CORE_SLICE_H
#define QD_CORE_SLICE_H

#include "bucket.h"
#include "check.h"
#include "core.h"
#include "fetch.h"
#include "gauge.h"
#include "index.h"
#include "names.h"
#include "quantile.h"
#include "slab.h"
#include "window.h"

#define QD_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define QD_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum qd_class {
    QD_CLASS_NARROW,
    QD_CLASS_WIDE,
    QD_CLASS_BUCKET,
    QD_CLASS_GAUGE,
    QD_CLASS_COUNT
};

/* --- counters --------------------------------------------------------------------------------- */

#define QD_BURST_MAX ((INT64_C(1) << 52) - 1)

/* The hot header, 24 bytes. */
struct qd_counter {
    int64_t amount;        /* effective; of narrow windows below 2^31 */
    uint64_t burst : 52;   /* buckets */
    uint64_t alert : 4;    /* thresholds reported and not yet left again */
    uint64_t resets : 2;   /* ResetCounter's, modulo 4; see reset.c */
    uint64_t stored : 1;   /* the caller has a state of it: never dropped silently */
    uint64_t changed : 1;  /* and this is another one */
    uint64_t depth : 4;    /* 0: shared */
    uint32_t busy_until_s; /* last use, or the end of the last lease made on it (D12) */
    uint16_t limit;        /* qd_limit.index */
    uint16_t generation;   /* odd: live; a record's next life differs (D13) */
};

struct qd_counter_cold {
    uint32_t id[4]; /* lo, hi as words, least significant first: 4-byte aligned */
    uint32_t name;
    uint32_t since_low; /* what it counts was booked after this entry of the ledger */
    uint32_t since_high : 31;
    uint32_t journaled : 1; /* since the last fold a walk gave a state of it */
};

struct qd_counter_narrow {
    struct qd_counter head;
    struct qd_window_narrow window; /* header, head and total share the first line */
};
struct qd_counter_wide {
    struct qd_counter head;
    struct qd_window_wide window;
};
struct qd_counter_bucket {
    struct qd_counter head;
    struct qd_bucket bucket;
};
struct qd_counter_gauge {
    struct qd_counter head;
    struct qd_gauge gauge;
};

/* A reference to a counter in one word, as bindings and reservations keep it. It names the limit,
 * so that a request's estimate is formed while the counter is still on its way from memory, and the
 * counter's generation, so that a stale one is noticed (D13). */
#define QD_REF_INDEX_BITS 24
#define QD_REF_INDEX_MAX  ((1U << QD_REF_INDEX_BITS) - 1)

struct qd_ref {
    uint64_t index : 24;
    uint64_t class : 2;
    uint64_t shared : 1; /* the counter is in commons */
    uint64_t resets : 2;
    uint64_t forgiven : 1; /* a charge that was made before a reset, which may be long ago */
    uint64_t spare : 2;
    uint64_t limit : 16;
    uint64_t generation : 16;
};

/* A counter and what is known of it during one call. */
struct qd_at {
    struct qd_core *core; /* the slice that it lies in */
    struct qd_counter *counter;
    const struct qd_limit *limit;
    enum qd_class class;
    uint32_t index;
};

/* --- bindings --------------------------------------------------------------------------------- */

#define QD_BINDING_ITEMS  9
#define QD_BINDING_WINDOW 32         /* places in which a key may lie */
#define QD_BINDING_IDLE_S (4 * 3600) /* unused for longer: stale, whatever the generations say */

enum qd_binding_state {
    QD_BINDING_EMPTY = 0,
    QD_BINDING_FIRST,
    QD_BINDING_MORE
};

/* 128 bytes, probed directly by key. Requests with more than QD_BINDING_ITEMS limits have further
 * entries under derived keys. */
struct qd_binding {
    struct qd_hash128 key;
    int64_t valid_until_ns;
    uint32_t epoch;
    uint32_t root;
    uint32_t root_generation;
    uint32_t name;      /* the tenant's path */
    uint32_t estimator; /* index + 1; 0: none */
    uint32_t used_s;
    uint16_t estimator_generation;
    uint8_t state; /* enum qd_binding_state */
    uint8_t blocked;
    uint8_t count; /* items of the whole binding */
    uint8_t partial;
    uint8_t reserved[2];
    struct qd_ref items[QD_BINDING_ITEMS];
};

struct qd_root {
    struct qd_hash128 id;
    uint32_t generation; /* odd: live. Bindings compare it; forgetting a root is adding 2 */
    uint32_t counters;
    uint32_t reservations;
    uint32_t used_s;
};

struct qd_estimator {
    struct qd_hash128 id;
    uint32_t used_s;
    uint16_t generation; /* odd: live */
    uint8_t changed;     /* since the last walk */
    uint8_t journaled;   /* since the last fold a walk gave it */
    struct qd_quantile outputs;
};

/* --- reservations ----------------------------------------------------------------------------- */

struct qd_charge {
    struct qd_ref ref;
    int64_t amount; /* what this hold still charges there */
};

enum qd_reservation_state {
    QD_RESERVATION_FREE = 0,
    QD_RESERVATION_OPEN,
    QD_RESERVATION_KEPT, /* S5: over, but what it charged stays until a report or the window's end
                          */
};

#define QD_RESERVATION_WORDS 33

/* 384 bytes, of which a usual request touches the first 232. `word` holds the charges, then the
 * expected amounts in the order of `present`'s bits; when both are too many they lie in a
 * struct qd_spill. */
struct qd_reservation {
    uint64_t number; /* id; number % capacity is its place */
    int64_t made_at_ns;
    int64_t expires_ns;
    uint32_t next; /* wheel, place + 1; 0: none */
    uint32_t prev;
    struct qd_hash128 request; /* zero: none */
    uint32_t attempt;
    uint32_t linked_s; /* the wheel's second it is linked under */
    uint32_t root;
    uint32_t name;
    /* second line */
    struct qd_hash128 binding;
    union {
        uint64_t content; /* while it is open */
        struct {          /* while it is kept: its neighbours by when they began to be, place + 1 */
            uint32_t older;
            uint32_t newer;
        } kept;
    };
    uint32_t epoch;
    uint32_t present; /* meters still expected: estimated and not yet reported */
    uint32_t spill;   /* index + 1; 0: none */
    uint32_t weight;
    uint8_t state; /* enum qd_reservation_state */
    uint8_t charge_count;
    uint8_t priority; /* D11 */
    uint8_t candidate;
    uint32_t reserved;
    int64_t input_nano; /* of the estimated cost, what the input that nobody reported yet costs; see
                           QD_KEEP_INPUT */
    uint64_t word[QD_RESERVATION_WORDS];
};

struct qd_spill {
    struct qd_charge charge[QD_LIMITS_PER_CHECK_MAX];
    int64_t amount[QD_METERS_MAX];
};

#define QD_RING_SHIFT_MAX 4U /* reservations start in 1/16 of their table */

#define QD_WHEEL_SECONDS 32768U /* a power of two, > QD_TTL_MAX_NS */

struct qd_wheel {
    uint32_t *slots;  /* first reservation of each second, place + 1 */
    int64_t cursor_s; /* all seconds before it are done */
};

/* --- the slice -------------------------------------------------------------------------------- */

#define QD_EVENTS         256
#define QD_EVENTS_EXPIRED 16 /* waiting in the ring: no more expiries are added */

struct qd_core {
    struct qd_core_config config;
    int64_t latest_ns; /* D5: the latest time seen; an earlier one is taken as it */

    struct qd_slab counters[QD_CLASS_COUNT];
    struct qd_counter_cold *cold[QD_CLASS_COUNT];
    struct qd_index counter_index;
    const struct qd_limit **limits; /* by index */
    uint32_t hand[QD_CLASS_COUNT];  /* where the search for idle ones goes on */
    enum qd_class full_class;       /* of the last bind that found no room */
    bool full_names;
    bool full_root; /* it was a root's quota */
    struct qd_hash128 full_root_id;
    uint32_t full_event_s; /* the second of the last QD_EVENT_FULL: one a second is enough */
    uint32_t bound_new;    /* items that the last bind made */

    struct qd_binding *bindings;
    uint32_t binding_slots;
    uint32_t bindings_live;
    uint32_t binding_hand;

    struct qd_slab roots;
    struct qd_index root_index;
    uint32_t root_hand;

    struct qd_slab estimators;
    struct qd_index estimator_index;
    uint32_t estimator_hand;

    struct qd_names names;

    struct qd_reservation *reservations;
    uint64_t *reservation_bits; /* 1: live */
    uint64_t *hold_changed;     /* 1: the journal has another state of this place */
    uint64_t *hold_journaled;   /* 1: the journal has a state of this place */
    uint32_t ring_shift;        /* capacity >> it places are gone round */
    uint64_t next_number;
    uint32_t reservations_open;
    uint32_t reservations_kept;
    uint32_t kept_oldest; /* place + 1; 0: none is kept */
    uint32_t kept_newest;
    struct qd_index request_index;
    struct qd_slab spills;
    struct qd_wheel wheel;

    struct qd_event_kept *events;
    uint32_t event_first;
    uint32_t event_count;
    uint64_t event_lost; /* since one was read */

    struct qd_core_stats stats;
};

/* The time that this call goes by, for the slices it involves: the latest that any of them has seen
 * (D5). `commons` may be NULL. */
struct qd_wall_ns qd_slice_now(struct qd_core *home, struct qd_core *commons,
                               struct qd_wall_ns now);

static inline uint32_t qd_seconds_of(struct qd_wall_ns at)
{
    return (uint32_t)(at.ns / QD_NS_PER_S);
}

/* The slice in which a counter of this depth lies. */
static inline struct qd_core *qd_slice_of(struct qd_core *home, struct qd_core *commons,
                                          unsigned depth)
{
    return depth == 0 ? commons : home;
}

#endif /* QD_CORE_SLICE_H */
