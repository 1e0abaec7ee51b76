/* Sliding window: what was used in the last W, in slots with absolute numbers (D4).
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation, floating point)
 * Units:    amounts in the limit's unit; time is wall ns, UTC.
 * Threads:  none. The owning slice serialises every call on one window.
 * Memory:   caller-allocated, trivially copyable, nothing to release. All zero bytes are not a
 * valid window: call qd_window_init.
 *
 * Slot number = floor(wall / width), width = ceil(W / S) ns. A window keeps a ring of the last 64
 * slots. A slot stores *own* P - N: what this node charged there less what it gave back. It may be
 * negative, when this node settles what another one reserved (C1). What a slot counts is max(0, own
 * + others).
 *
 * Strict: the slots cur-S .. cur count whole. Any interval of length W lies in S+1 slots, so no
 * interval of length W ever admits more than the amount; up to 1/S of the use is lost.
 * Weighted: the oldest slot counts in proportion to what of it still lies in the last W, rounded
 * up. Smoother, but the proportion is a guess: what was used at a slot's end is believed gone up to
 * one slot too early. An interval of length W may admit up to 2 x amount (never more); the worst is
 * a burst at the end of a slot and another one W later less a moment.
 *
 * A time before the newest slot is taken as the newest slot; the caller should pass times that
 * never go back all the same (qd_core does), so that a reservation's `at` names the slot it was
 * charged to. Times are taken as within [0, QD_WINDOW_TIME_MAX]. */
#ifndef QD_CORE_WINDOW_H
#define QD_CORE_WINDOW_H

#include "types.h"

#define QD_WINDOW_RING      64 /* slots kept: S + 1 that count, the rest room for skew (C7) */
#define QD_WINDOW_SLOTS_MAX 60 /* S */
#define QD_WINDOW_NS_MAX    (366 * QD_NS_PER_DAY)
#define QD_WINDOW_TIME_MAX  (INT64_C(1) << 62) /* year 2116 */

/* A slot holds at most this much and then means "at least this much": it is never lowered again, so
 * the limit denies until the slot has left. Amounts above it are taken as it. */
#define QD_WINDOW_NARROW_MAX INT64_C(0x7fffffff)
#define QD_WINDOW_WIDE_MAX   (INT64_C(1) << 56)

/* The part that both kinds share, 24 bytes: together with a counter's header of 40 it fills a cache
 * line, and a test in the same slot as the last one touches nothing else.
 * Invariants: total == sum over slots head-S .. head of what they count; total >= 0;
 *             head_end_ns == (head + 1) * width. */
struct qd_window {
    int64_t head;        /* newest slot's number */
    int64_t head_end_ns; /* first instant after it */
    int64_t total;       /* what slots head-S .. head count, whole */
};

/* own[slot & 63] for slots head-63 .. head. */
struct qd_window_narrow {
    struct qd_window base;
    int32_t own[QD_WINDOW_RING]; /* for amounts < 2^31 */
};
struct qd_window_wide {
    struct qd_window base;
    int64_t own[QD_WINDOW_RING];
};

/* What the caller knows of a window and its state does not repeat. The same in every call on it. */
struct qd_window_spec {
    int64_t window_ns; /* W: 1 .. QD_WINDOW_NS_MAX */
    uint16_t slots;    /* S: 1 .. 60, <= W */
    bool weighted;
    bool wide; /* the state is a qd_window_wide, else a qd_window_narrow */
    /* The other nodes' sum of P - N by slot & 63, for slots head-S .. and ahead; NULL: none.
     * Whoever owns it moves it on before the window moves, and calls qd_window_refold after each
     * change. */
    const int64_t *others;
};

/* True if an amount fits the narrow kind. */
static inline bool qd_window_is_narrow(int64_t amount)
{
    return amount < QD_WINDOW_NARROW_MAX;
}

/* Start `w` empty (own = 0) as of `now`. Also resets one (ResetCounter). */
void qd_window_init(struct qd_window *w, const struct qd_window_spec *spec, struct qd_wall_ns now);

/* What counts now, >= 0. Moves the window on to `now`, which charges nothing. */
int64_t qd_window_used(struct qd_window *w, const struct qd_window_spec *spec,
                       struct qd_wall_ns now);

/* True if used + cost <= amount now. An amount beyond the kind's largest is taken as one less than
 * that. Moves the window on to `now`, which charges nothing. cost >= 0. For the test `used <
 * amount` pass a cost of 1. */
bool qd_window_fits(struct qd_window *w, const struct qd_window_spec *spec, int64_t amount,
                    int64_t cost, struct qd_wall_ns now);

/* Add `cost` >= 0 to the newest slot as of `now`, whether it fits or not (debt). */
void qd_window_charge(struct qd_window *w, const struct qd_window_spec *spec, int64_t cost,
                      struct qd_wall_ns now);

/* Add `delta` (settle: actual - estimate; may be negative) to the slot of `at` (D7). Beyond the
 * newest slot counts as the newest; a slot that has left the ring changes nothing. */
void qd_window_adjust(struct qd_window *w, const struct qd_window_spec *spec, struct qd_wall_ns at,
                      int64_t delta, struct qd_wall_ns now);

/* First instant >= now at which `cost` fits with nothing else charged: exact (D3) without others.
 * QD_WALL_NEVER if cost > amount. With amount = cost = 0: when the window is empty. */
struct qd_wall_ns qd_window_retry_at(struct qd_window *w, const struct qd_window_spec *spec,
                                     int64_t amount, int64_t cost, struct qd_wall_ns now);

/* Sum the window anew, after `others` changed. */
void qd_window_refold(struct qd_window *w, const struct qd_window_spec *spec,
                      struct qd_wall_ns now);

/* Make `to` count the same as `from`, after a limit's amount outgrew the narrow kind (P6). A slot
 * that was full stays at what it could hold. */
void qd_window_widen(const struct qd_window_narrow *from, struct qd_window_wide *to);

#endif /* QD_CORE_WINDOW_H */
