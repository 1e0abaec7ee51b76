/* A slice (and its commons) with a few limits, for tests that tell a story in a few lines.
 *
 * Layer:    tests. Threads: none. Memory: fx_release frees everything.
 *
 *     struct fx f;
 *     fx_init(&f, NULL);
 *     struct qd_limit *rpm = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
 *     fx_apply(&f, rpm, 10, "acme");
 *     fx_bind(&f);
 *     cr_expect(fx_check(&f, 1, 0) == QD_ALLOW);
 */
#ifndef QD_TESTS_CORE_FIXTURE_H
#define QD_TESTS_CORE_FIXTURE_H

#include "server/core/core.h"

#define FX_LIMITS_MAX 40
#define FX_START_NS   (INT64_C(1790000000) * QD_NS_PER_S) /* 2026-09-21 14:13:20 UTC */

struct fx {
    struct qd_core *home;
    struct qd_core *commons;
    void *memory[2];
    struct qd_wall_ns now;
    struct qd_limit limits[FX_LIMITS_MAX];
    unsigned limit_count;
    const char *tenant;
    const char *model;
    uint32_t epoch;
    bool blocked;
    struct qd_wall_ns valid_until;
    struct qd_bind_item items[QD_LIMITS_PER_CHECK_MAX];
    unsigned item_count;

    /* What the next fx_check asks for, besides its arguments. */
    struct qd_check check;
    struct qd_candidate candidates[QD_CANDIDATES_MAX];
    /* What the last one was told. */
    struct qd_verdict verdict;
    struct qd_limit_state states[QD_LIMITS_PER_CHECK_MAX];
    size_t state_count;
    struct qd_settle settle;
    struct qd_settled settled;
};

/* Small tables; fields that `given` sets (not 0) are taken from it. */
void fx_init(struct fx *f, const struct qd_core_config *given);
/* Tables of just these sizes: 0 is none. */
void fx_init_exactly(struct fx *f, const struct qd_core_config *config);
void fx_release(struct fx *f);

/* A limit of a 60 s window and 60 slots that weighs one meter once. */
struct qd_limit *fx_limit(struct fx *f, enum qd_algorithm algorithm, enum qd_meter meter);
/* The five token meters instead. */
struct qd_limit *fx_token_limit(struct fx *f, enum qd_algorithm algorithm);
/* A monthly budget in UTC. */
struct qd_limit *fx_month(struct fx *f, enum qd_meter meter);

/* The next binding applies it, to this path; "" is shared by all tenants (commons). */
void fx_apply(struct fx *f, const struct qd_limit *limit, int64_t amount, const char *path);
void fx_set_amount(struct fx *f, const struct qd_limit *limit, int64_t amount);

struct qd_hash128 fx_key(const struct fx *f, const char *tenant, const char *model);
struct qd_hash128 fx_counter_id(const struct qd_limit *limit, const char *path);

/* Bind f->tenant and f->model; fails the test if that doesn't go. */
void fx_bind(struct fx *f);
enum qd_bind_result fx_try_bind(struct fx *f);

/* One request of `input` input tokens and (if > 0) at most `max_output` output tokens. */
enum qd_decision fx_check(struct fx *f, int64_t input, int64_t max_output);
/* With whatever f->check says. */
enum qd_decision fx_check_as_is(struct fx *f);

/* Settle f->verdict.reservation with this input and output, finally and with outcome OK; f->settle
 * is left for another look. */
enum qd_result fx_settle(struct fx *f, int64_t input, int64_t output);
/* Start f->settle anew for this reservation: nothing used yet, final, OK. */
struct qd_settle *fx_settle_begin(struct fx *f, uint64_t reservation);
enum qd_result fx_settle_as_is(struct fx *f);

enum qd_result fx_extend(struct fx *f, uint64_t reservation, int64_t output_so_far);
enum qd_result fx_cancel(struct fx *f, uint64_t reservation);
size_t fx_expire(struct fx *f);
void fx_advance(struct fx *f, int64_t ns);

/* What the counter of this limit and path says now; 0s if there is none. */
struct qd_limit_state fx_state(struct fx *f, const struct qd_limit *limit, const char *path);
int64_t fx_used(struct fx *f, const struct qd_limit *limit, const char *path);
int64_t fx_held(struct fx *f, const struct qd_limit *limit, const char *path);
struct qd_core_stats fx_stats(const struct fx *f);

/* ResetCounter, as a shell does it. False if there is no such counter. */
bool fx_reset(struct fx *f, struct qd_core *core, struct qd_hash128 counter);

struct qd_str fx_str(const char *text);
struct qd_hash128 fx_request(uint64_t number);

#endif /* QD_TESTS_CORE_FIXTURE_H */
