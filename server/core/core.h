/* One slice of the deciding core: counters, bindings and reservations, and the verbs on them.
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation after init, randomness, floating point)
 * Units:    wall ns; amounts in each limit's unit; ids are slice-local.
 * Threads:  none. Whoever holds the slice's lock may call; `home` and `commons` are two slices,
 * locked in that order by the caller. `commons` holds the counters that tenants share; it may be
 * NULL as long as no binding had one.
 * Memory:   one block, handed over at init; qd_core_memory tells its size. Every table has a fixed
 * capacity, and "full" is a documented verdict (D12).
 *
 * The life of a request:
 *   qd_core_check   -> ALLOW (all limits charged, a reservation made), DENY (nothing changed), or
 *                      NEEDS_BINDING (nothing changed: call qd_core_bind, then again) (D1, D2, D13)
 *   qd_core_extend  -> the hold lives on, or "stop"
 *   qd_core_settle  -> the estimate is replaced by what was really used (S2)
 *   qd_core_cancel  -> the hold is released
 *   qd_core_expire  -> holds whose time has come end by their limit's rule (S5)
 */
#ifndef QD_CORE_CORE_H
#define QD_CORE_CORE_H

#include "limit.h"
#include "policy.h"
#include "price.h"
#include "types.h"
#include "usage.h"

struct qd_core; /* opaque; lives in the caller's block */

/* Interned limits have a smaller qd_limit.index: a slice keeps a table of them. */
#define QD_LIMITS_INTERNED_MAX 65536

/* Capacities of one slice. Zero means none of that kind. */
struct qd_core_config {
    uint64_t hash_seed;
    uint32_t narrow_windows; /* sliding windows with an amount < 2^31 */
    uint32_t wide_windows;
    uint32_t buckets;
    uint32_t gauges;   /* budgets, fixed windows, concurrency, prepaid */
    uint32_t bindings; /* a cache: the least recently used goes when it is full */
    uint32_t reservations;
    uint32_t progress;   /* reservations with more limits and meters than their record has room for
                            (2 words a limit and 1 a meter in 33), at the same time; 784 bytes each */
    uint32_t estimators; /* (tenant, model) output quantiles: a cache as well */
    uint32_t roots;      /* tenants' root segments seen */
    uint64_t first_number;          /* of the reservations; 0: 1 */
    size_t name_bytes;              /* interned names of counters and tenants */
    uint32_t counters_per_root;     /* quota (D12); 0: no quota */
    uint32_t reservations_per_root; /* quota (D12); 0: no quota */
};

/* Bytes that a slice of this size needs, or 0 if a capacity is out of range (2^24 of each kind). */
size_t qd_core_memory(const struct qd_core_config *config);

/* Lay a slice out in `memory` (64-byte aligned, zeroed: fresh mmap pages will do; large tables are
 * not touched, so that they cost address space until used). */
struct qd_core *qd_core_init(void *memory, size_t size, const struct qd_core_config *config);

/* --- binding: which counters a request touches ------------------------------------------------ */

/* A binding's key: hash of (tenant path, model, pool, and the user and labels that the policy's
 * limits look at). The caller computes it once a request. */

struct qd_bind_item {
    const struct qd_limit *limit;
    int64_t amount; /* effective: after overrides, boosts, grants */
    int64_t burst;
    struct qd_hash128 counter;
    uint8_t depth; /* 0: in commons */
    /* Scope and `per` values, for people: "acme/search", "acme model=gpt-4o". Above depth 0 it
     * starts with the first `depth` segments of the tenant's path, and is just these if the limit
     * has no `per`. */
    struct qd_str name;
};

struct qd_bind {
    struct qd_hash128 key;
    uint32_t epoch;                /* of the policy */
    struct qd_wall_ns valid_until; /* a boost or a block that ends; QD_WALL_NEVER */
    struct qd_str tenant;          /* whole path */
    struct qd_hash128 estimator;   /* identity of (tenant, model) for output quantiles */
    bool blocked;
    uint64_t since; /* kept with counters that it makes: what they count was booked after this entry
                       of the ledger */
    bool partial; /* D12: items were left out for want of room. Checks go by it; a report asks for a
                     binding again, since what happened is counted wherever there is room */
    const struct qd_bind_item *items;
    size_t item_count; /* <= QD_LIMITS_PER_CHECK_MAX */
};

enum qd_bind_result {
    QD_BOUND = 0,
    QD_BIND_FULL, /* a counter table is full of live counters, or the name arena or the roots are */
    QD_BIND_ROOT_QUOTA, /* this tenant root has its quota of live counters */
};

/* Make the binding and any counter that it lacks. Existing counters keep what was used; their
 * amount becomes the item's (P6). On failure the binding isn't made and no counter changed:
 * qd_core_evict on the slice that was full (on a quota: home, where it takes one of the root's
 * own), then again; else the failure mode, see qd_verdict.reason CAPACITY. ret_item (may be NULL):
 * on failure the item that found no room, for its failure mode; item_count if the binding itself
 * found none. */
enum qd_bind_result qd_core_bind(struct qd_core *home, struct qd_core *commons,
                                 const struct qd_bind *bind, struct qd_wall_ns now,
                                 size_t *ret_item);

/* Bit i: item i of the last qd_core_bind that returned QD_BOUND had no counter, and one was made;
 * the store may have a state to restore. */
uint32_t qd_core_bound_new(const struct qd_core *home);

/* Forget every binding of a root (first path segment), at once: after PutTenant and its kin. */
void qd_core_forget_root(struct qd_core *home, struct qd_str root);

/* --- checking --------------------------------------------------------------------------------- */

struct qd_limit_state;

/* D12: a binding that finds no room. Its candidate goes by the limits' failure modes: a limit that
 * fails closed denies it with CAPACITY and is named; else it is answered as if no limit applied to
 * it, and its hold charges nothing and counts in no root's quota. */
struct qd_unbound {
    const struct qd_limit_state *full; /* a limit that fails closed; NULL: all fail open */
    bool blocked;                      /* the tenant is, until then */
    struct qd_wall_ns valid_until;
};

struct qd_candidate {
    struct qd_hash128 binding;
    const struct qd_unbound *unbound;       /* NULL: by its binding, see QD_NEEDS_BINDING */
    const struct qd_price_list *cost_model; /* may be NULL, as may the others */
    const struct qd_price_list *cost_pool;
    const struct qd_price_list *charge_model;
    const struct qd_price_list *charge_pool;
    int64_t max_output_tokens; /* the request's, else the model's maximum; 0: unknown */
    bool max_output_given;     /* by the request, or by a model without output */
    int64_t gpu_us_per_input_token;
    int64_t gpu_us_per_output_token;
};

struct qd_check {
    uint32_t epoch;
    struct qd_str root; /* first segment of the tenant's path */
    const struct qd_candidate *candidates;
    size_t candidate_count; /* 1..QD_CANDIDATES_MAX (D9) */
    struct qd_usage
        estimate; /* what the gateway expects; `requests` filled in, no output unless given */
    struct qd_wall_ns event_time; /* when the request came: picks the price. 0: now */
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
    enum qd_unknown_price unknown_price;
    const struct qd_price_list *cap_price;
    int64_t ttl_ns;            /* 1 s .. QD_TTL_MAX_NS */
    struct qd_hash128 request; /* of (tenant, request_id); zero: none */
    uint32_t attempt;
    uint64_t content; /* hash of the request's content, to notice a reused id */
    bool reserve;     /* false: charge rates and used nothing, hold nothing: see dry_run */
    bool dry_run;     /* D8 */
    bool instant;     /* its end is not told: limits of concurrency do not concern it */
    uint8_t priority;
    uint32_t weight;
};

enum qd_decision {
    QD_ALLOW = 0,
    QD_DENY,
    QD_NEEDS_BINDING,
    QD_CONFLICT
};

enum qd_reason {
    QD_REASON_NONE = 0,
    QD_REASON_LIMIT,         /* a limit is exhausted; may pass later */
    QD_REASON_NEVER_FITS,    /* the estimate is larger than the limit's capacity (D3), or has no
                                bound and the limit is hard (H1) */
    QD_REASON_BLOCKED,       /* the tenant is blocked */
    QD_REASON_UNKNOWN_PRICE, /* P8 deny */
    QD_REASON_CAPACITY,      /* reservation or counter table full, or the root's quota (D12) */
};

/* Why nobody knows the most that a request may use of what a hard limit counts (H1). */
enum qd_unbounded {
    QD_BOUNDED = 0,
    QD_UNBOUNDED_OUTPUT,   /* no max_output_tokens: not the request's, the limit's, the model's */
    QD_UNBOUNDED_GPU_TIME, /* neither an estimate nor what a token takes */
};

/* A counter's state as seen by one request, or by nobody (listing). */
struct qd_limit_state {
    const struct qd_limit *limit;
    int64_t amount;
    int64_t burst;
    uint8_t depth;
    struct qd_str name;          /* valid while the lock is held: copy it before unlocking */
    int64_t used;                /* incl. held for rates and buckets (level) */
    int64_t held;                /* budgets and concurrency: open reservations */
    int64_t estimate;            /* what this request would add */
    int64_t remaining;           /* before the request; >= 0 */
    struct qd_wall_ns resets_at; /* when used starts anew (calendar, fixed), or all would be free */
    struct qd_wall_ns retry_at; /* first instant at which the estimate fits; QD_WALL_NEVER: never */
    bool denies;                /* the estimate doesn't fit now */
    bool never_fits;
    enum qd_unbounded unbounded; /* H1: it denies and never fits since this is not known */
    bool retry_is_hint;          /* D3: depends on others */
};

struct qd_verdict {
    enum qd_decision decision;
    enum qd_reason reason;
    size_t candidate;              /* the one reserved; with NEEDS_BINDING the one to bind */
    struct qd_limit_state binding; /* D3; limit NULL if nothing applies */
    struct qd_wall_ns retry_at;    /* over all enforced limits: the latest; QD_WALL_NEVER: never */
    bool retry_useful;
    bool retry_is_hint;
    uint64_t reservation; /* 0: none was made */
    struct qd_wall_ns made_at;
    struct qd_wall_ns expires;
    bool repeated; /* S1: an earlier check with the same (request, attempt) made it */
    int64_t estimate_cost_nano;
    int64_t estimate_charge_nano;
    bool unpriced;
    uint32_t shadow_denials;  /* number of shadow limits that would have denied (D10) */
    struct qd_usage estimate; /* as completed: worst-case output, gpu_ms, cost, charge */
};

/* Decide. Leaves everything as it was unless the decision is ALLOW and neither dry_run nor an
 * estimate that charges nothing. `states`, if not NULL, receives one state for each applicable
 * limit (of verdict.candidate), up to QD_LIMITS_PER_CHECK_MAX; their number goes to
 * *ret_state_count. */
void qd_core_check(struct qd_core *home, struct qd_core *commons, const struct qd_check *check,
                   struct qd_wall_ns now, struct qd_verdict *ret_verdict,
                   struct qd_limit_state *states, size_t *ret_state_count);

/* S1: only if an earlier check of the same (request, attempt) has its hold open: what that one is
 * told again, or QD_CONFLICT. False: there is none, and nothing is decided. */
bool qd_core_repeat(struct qd_core *home, struct qd_core *commons, const struct qd_check *check,
                    struct qd_wall_ns now, struct qd_verdict *ret_verdict);

/* Hint for the memory system: the check for this key comes soon. Batches call it ahead. */
void qd_core_prefetch(const struct qd_core *home, struct qd_hash128 binding);

/* The second step of the hint, once the first has had its time: reads the binding and asks for the
 * counters that it names. Does nothing if there is none. */
void qd_core_prefetch_counters(const struct qd_core *home, const struct qd_core *commons,
                               struct qd_hash128 binding);

/* --- settling --------------------------------------------------------------------------------- */

enum qd_result {
    QD_OK = 0,
    QD_RESULT_NEEDS_BINDING, /* nothing changed: bind, then again */
    QD_NO_RESERVATION,       /* unknown, closed or expired: nothing changed */
    QD_STOP,                 /* extend: stop the output */
};

enum qd_outcome {
    QD_OUTCOME_OK,
    QD_OUTCOME_NOT_DISPATCHED,
    QD_OUTCOME_FAILED,
    QD_OUTCOME_DISCONNECTED
};

/* At boot commons may have counted an entry that the home slice has not, or the other way round. */
enum qd_settle_where {
    QD_SETTLE_BOTH = 0,
    QD_SETTLE_HOME,
    QD_SETTLE_COMMONS,
};

/* L3: the usage that a correction, in the end, is about, and the counters of its limits. One of
 * these that counts later entries only (it was added, or reset, since) has never counted it, and
 * counts no correction of it. */
struct qd_corrected {
    uint64_t sequence; /* of its entry */
    size_t count;
    struct qd_hash128 counters[QD_LIMITS_PER_CHECK_MAX];
};

bool qd_corrected_has(const struct qd_corrected *corrected, struct qd_hash128 counter);

struct qd_settle {
    uint64_t reservation;      /* 0: post-paid (S7), or a token whose hold is not ours (S8) */
    struct qd_hash128 binding; /* used when the reservation isn't in memory */
    uint32_t epoch;
    struct qd_wall_ns charged_at; /* the slot: when reserved, else the event's time */
    struct qd_usage estimate;     /* from the token; present == 0 if post-paid */
    struct qd_usage used;         /* this part's meters, with cost and charge in nano-USD */
    enum qd_outcome outcome;
    bool final;        /* this part closes the reservation; parts that come after it are not final.
                          `requests` counts 1 with it, if the request was dispatched and no part
                          said otherwise: leave the meter out unless the report gives it */
    bool budgets_only; /* rates are not charged */
    bool recounted; /* at boot: the thresholds that it reaches were told when it was booked (P3) */
    enum qd_settle_where
        where;       /* COMMONS: without a reservation or request, whose hold has seen it */
    bool takes_back; /* L3: `used` is what was counted before: it goes, exactly */
    const struct qd_corrected *corrected; /* NULL: it corrects nothing */
    bool unbound; /* its binding cannot be made: settle what the hold has charged, and no more */
    struct qd_hash128 request; /* zero: none. All its other holds are released (S1), or
                                  of one that was not served what its attempt kept (S5) */
    uint32_t attempt;
};

struct qd_settled {
    bool had_reservation; /* its hold was still there */
    bool closed;
    uint32_t over_limits;       /* enforced limits that are now above their amount (debt) */
    uint32_t released_attempts; /* holds of other checks of the request */
};

/* Replace the estimate by the actual, in the slot of `charged_at`. What lies in a period that is
 * over changes no counter. Never refuses for lack of budget: debt is booked (S2). */
enum qd_result qd_core_settle(struct qd_core *home, struct qd_core *commons,
                              const struct qd_settle *settle, struct qd_wall_ns now,
                              struct qd_settled *ret_settled);

/* Renew until now + ttl and count `used_so_far` (cumulative): the hold becomes the larger of itself
 * and what was used. QD_STOP if that doesn't fit some enforced limit, or the tenant was blocked;
 * the hold stays and is renewed all the same, so that the final report settles it. */
enum qd_result qd_core_extend(struct qd_core *home, struct qd_core *commons, uint64_t reservation,
                              const struct qd_usage *used_so_far, int64_t ttl_ns,
                              struct qd_wall_ns now, struct qd_wall_ns *ret_expires,
                              struct qd_limit_state *ret_stopping);

/* Release a hold with all it charged, as if the check had not been (CancelReservation, S9). */
enum qd_result qd_core_cancel(struct qd_core *home, struct qd_core *commons, uint64_t reservation,
                              struct qd_wall_ns now);

/* End at most `budget` holds whose expiry quantum has passed; returns how many. Checks do a few by
 * themselves, so that a busy slice needs no timer. */
size_t qd_core_expire(struct qd_core *home, struct qd_core *commons, struct qd_wall_ns now,
                      size_t budget);

/* True if due holds wait for longer than a second: end them in larger numbers. */
bool qd_core_expire_is_late(const struct qd_core *home, struct qd_wall_ns now);

/* --- operators -------------------------------------------------------------------------------- */

/* One counter by identity; false if it isn't in memory. */
bool qd_core_counter(struct qd_core *core, struct qd_hash128 counter, struct qd_wall_ns now,
                     struct qd_limit_state *ret_state);

/* Start a counter anew (ResetCounter): used is 0, budgets' and concurrency's holds stay, what holds
 * have charged a rate is forgiven. From now on it counts entries after `since`, that of the reset.
 * False if it isn't in memory. Before the same counter is reset
 * again, each slice whose holds may have charged it hears of it by qd_core_forgive. */
bool qd_core_counter_reset(struct qd_core *core, struct qd_hash128 counter, uint64_t since,
                           struct qd_wall_ns now);

/* After resets: go through the holds of a slice, `places` of them a call, so that others get at the
 * slice in between. Start with *cursor = 0; false at the end. */
bool qd_core_forgive(struct qd_core *home, struct qd_core *commons, uint64_t *cursor,
                     uint32_t places);

/* Walk all counters: start with *cursor = 0; false at the end. */
bool qd_core_counter_next(struct qd_core *core, uint64_t *cursor, struct qd_wall_ns now,
                          struct qd_hash128 *ret_id, struct qd_limit_state *ret_state);

/* A budget as the ledger must account for it. */
struct qd_budget {
    struct qd_hash128 id;
    const struct qd_limit *limit;
    uint8_t depth;
    struct qd_str name;      /* valid while the lock is held */
    int64_t used;            /* below 0 only between a correction's parts */
    struct qd_wall_ns start; /* of the open period */
    struct qd_wall_ns end;
    uint64_t since; /* it counts entries after this one: see qd_bind.since */
};
/* Walk the budgets; as qd_core_counter_next. */
bool qd_core_budget_next(struct qd_core *core, uint64_t *cursor, struct qd_wall_ns now,
                         struct qd_budget *ret_budget);

/* What a limit books for this usage (S2): by its settle weights, rounded up once. */
int64_t qd_core_booking(const struct qd_limit *limit, const struct qd_usage *usage);

struct qd_hold {
    uint64_t reservation;
    struct qd_str tenant; /* valid while the lock is held */
    struct qd_wall_ns made_at;
    struct qd_wall_ns expires;
    int64_t held_cost_nano;
    int64_t held_tokens;
    bool expired;     /* S5: kept charged after its expiry, waiting for a report */
    uint8_t priority; /* D11: as the check said */
    uint32_t weight;
};
/* Places that reservations take turns in: grows with those that are open at once, up to the table.
 */
uint32_t qd_core_hold_places(const struct qd_core *core);

bool qd_core_hold(struct qd_core *home, uint64_t reservation, struct qd_hold *ret_hold);
/* Walk open reservations; as qd_core_counter_next. */
bool qd_core_hold_next(struct qd_core *home, uint64_t *cursor, struct qd_hold *ret_hold);

/* --- what is stored (D12, X5) ------------------------------------------------------------------
 */

/* The counters, holds and estimators of a slice, each as bytes, little-endian and versioned. The
 * caller keeps the newest of each; a slice of the next boot takes them in again.
 *
 * So that what changes all the time is not written to its own place each time, the caller keeps a
 * record of each counter and estimator, and one journal of what has changed since: most walks go on
 * with the journal; now and then one folds it, bringing the records up to date and beginning a new
 * journal. Holds, which live for seconds, are in the journal alone. */
enum qd_saved_kind {
    QD_SAVED_COUNTER = 'c',
    QD_SAVED_HOLD = 'h',
    QD_SAVED_ESTIMATOR = 'e',
};

#define QD_SAVED_MAX 2560

struct qd_saved {
    enum qd_saved_kind kind;
    struct qd_hash128 id; /* of a hold: its place, in `lo` */
    uint64_t reservation; /* of a hold that is there: its number */
    bool stored;          /* eviction: the caller's record has these bytes */
    uint32_t size;        /* 0: it is no more, and the caller forgets what it has under `id` */
    uint8_t bytes[QD_SAVED_MAX];
};

enum qd_walk {
    QD_WALK_CHANGED, /* what has changed since the last walk, for the journal */
    QD_WALK_FOLD, /* counters and estimators that the journal has or that changed since, for their
                     records; and all holds, for the new journal */
    QD_WALK_ALL,  /* the same with all counters and estimators */
};

/* Walk, and take what is given for stored: start with *cursor = 0; false at the end. The slice
 * stays locked from the first to the last: then what was read is its state at one moment. `commons`
 * tells which charges of the holds still stand; NULL if nothing is shared, or for commons itself.
 */
bool qd_core_walk(struct qd_core *core, struct qd_core *commons, enum qd_walk walk,
                  uint64_t *cursor, struct qd_wall_ns now, struct qd_saved *ret_saved);

/* What a saved counter says of itself. */
struct qd_saved_counter {
    uint64_t limit_spec;     /* qd_limit.spec */
    uint64_t limit_identity; /* qd_limit.identity.lo: what a limit of another spec has as well if it
                                counts in the same counters (P6) */
    uint8_t depth;
    bool leased; /* holds may point at it */
    int64_t amount;
    int64_t burst;
    struct qd_str name; /* points into the saved bytes */
};
/* False: these are no saved counter's bytes. */
bool qd_core_saved_counter(const struct qd_saved *saved, struct qd_saved_counter *ret_counter);

enum qd_load {
    QD_LOADED,
    QD_LOAD_OVER, /* nothing of it counts any more: the caller may forget it */
    QD_LOAD_FULL, /* no room: a counter may stay stored until it is bound (D12) */
    QD_LOAD_BAD,  /* these are no bytes of such a thing */
};

/* Take saved things into a slice that was just initialized: counters first, of commons before those
 * of home slices, then holds. `limit` is the one that the counter was saved of, or one of the same
 * identity. A hold's charges find their counters by identity; one whose counter isn't there is left
 * out. Its number is set. */
enum qd_load qd_core_load_counter(struct qd_core *core, const struct qd_limit *limit,
                                  const struct qd_saved *saved, struct qd_wall_ns now);
enum qd_load qd_core_load_hold(struct qd_core *home, struct qd_core *commons,
                               struct qd_saved *saved, struct qd_wall_ns now);
enum qd_load qd_core_load_estimator(struct qd_core *core, const struct qd_saved *saved,
                                    struct qd_wall_ns now);

/* Take out the least recently used counter (of 64 idle ones, first of those whose record is up to
 * date) that no lease needs, of the kind that
 * the last failed bind found full, or of the root whose quota it met. False: there is none among
 * the 4,096 it looked at; the next call goes on from there. Until restored, the counter starts
 * empty. */
bool qd_core_evict(struct qd_core *core, struct qd_wall_ns now, struct qd_saved *ret_saved);

/* The same in two steps, for a caller that must store it before the counter goes, unless it is
 * `stored`: begin leaves it where it is, end takes it out. Of other calls on the slice only
 * qd_core_walk may come between. */
bool qd_core_evict_begin(struct qd_core *core, struct qd_wall_ns now, struct qd_saved *ret_saved);
void qd_core_evict_end(struct qd_core *core, const struct qd_saved *saved);
/* Put a state back after qd_core_bind made the counter anew. False, and nothing changed: it isn't a
 * state of this counter, which starts empty then (a size of 0 says that the store's copy is
 * damaged; stats.states_lost counts both), or the counter has been used since. */
bool qd_core_restore(struct qd_core *core, const struct qd_saved *saved, struct qd_wall_ns now);

/* --- events and figures ----------------------------------------------------------------------- */

enum qd_event_kind {
    QD_EVENT_THRESHOLD,  /* what was used reached a threshold of a limit (P3) */
    QD_EVENT_EXPIRED,    /* a hold ended unreported (S5) */
    QD_EVENT_FULL,       /* a tenant found no room in a table (D12) */
    QD_EVENT_CORRECTION, /* the shell's: an entry that corrects another was booked (L3) */
    QD_EVENT_KINDS
};

#define QD_EVENT_NAME_MAX 1024 /* a name's bytes (see names.h) and a NUL */

struct qd_event {
    enum qd_event_kind kind;
    struct qd_wall_ns at;
    const struct qd_limit *limit; /* THRESHOLD, else NULL */
    uint64_t reservation;         /* EXPIRED; CORRECTION: the one that it settled; else 0 */
    uint16_t permille;            /* THRESHOLD, with the next two */
    int64_t used;
    int64_t amount;
    struct qd_period period;      /* THRESHOLD: of calendars and fixed windows; else both ends 0 */
    bool shared;                  /* THRESHOLD: all tenants share the counter */
    uint64_t entry;               /* CORRECTION: its sequence */
    uint64_t lost;                /* older ones that the ring had no room for, unread */
    char name[QD_EVENT_NAME_MAX]; /* THRESHOLD: the counter's; else the tenant's path */
};
/* Next event, oldest first; false if there is none. The ring holds 256; lost ones are counted. */
bool qd_core_event(struct qd_core *core, struct qd_event *ret_event);

struct qd_core_stats {
    uint64_t allowed, denied, shadow_denied, settled, cancelled, expired, late, extended, stopped;
    uint64_t capacity_denied, evicted, events_lost, repeated, kept_forgotten, states_lost;
    uint32_t counters_live[4]; /* narrow, wide, bucket, gauge */
    uint32_t bindings_live, reservations_open, reservations_kept, roots_live, estimators_live;
    size_t name_bytes_used;
};
/* The latest time that the slice has seen (D5). */
struct qd_wall_ns qd_core_latest(const struct qd_core *core);

void qd_core_stats(const struct qd_core *core, struct qd_core_stats *ret_stats);

#endif /* QD_CORE_CORE_H */
