/* Settling: the estimate goes, what was really used comes (S2, S4, S7).
 *
 * Each report is one ledger entry and is booked as one: every limit's settle weights on what this
 * part carries, rounded up once. What is still expected (estimated, and reported by no part yet)
 * goes on being held, by the limit's admit weights. The final part ends that, by the rules of S4
 * and S5. */
#include "binding.h"
#include "estimate.h"
#include "estimator.h"
#include "event.h"
#include "expire.h"
#include "mutant.h"
#include "table.h"

struct settling {
    struct qd_core *home;
    struct qd_core *commons;
    const struct qd_settle *settle;
    struct qd_settled *settled;
    struct qd_wall_ns now;
    struct qd_wall_ns at;               /* the slot */
    struct qd_reservation *reservation; /* NULL: the hold isn't ours, or is gone */
    struct qd_usage part;               /* what this report books */
    struct qd_usage expected;           /* before this report */
    struct qd_usage rest;               /* after it */
    int64_t input_before;               /* of the expected cost, the input's: before this report */
    int64_t input_rest;                 /* after it */
    struct qd_binding *binding;         /* NULL if it isn't needed */
    unsigned item_count;
    struct qd_at items[QD_LIMITS_PER_CHECK_MAX];
};

/* The hold that this report settles: by number, else by the request that it reports. */
static struct qd_reservation *find_hold(struct qd_core *home, const struct qd_settle *settle)
{
    struct qd_reservation *r = qd_reservation_find(home, settle->reservation);
    if (r == NULL && settle->reservation == 0 && qd_request_given(settle->request)) {
        r = qd_reservation_of_request(home, settle->request, settle->attempt);
    }
    return r;
}

/* A request that was dispatched counts as one, once, whether or not its report says so. */
static void complete_part(struct settling *s)
{
    const struct qd_settle *settle = s->settle;
    s->part = settle->used;
    if (!settle->final || qd_usage_has(&s->part, QD_METER_REQUESTS)) {
        return;
    }
    if (settle->outcome != QD_OUTCOME_OK && settle->outcome != QD_OUTCOME_DISCONNECTED) {
        return;
    }
    bool post_paid = s->reservation == NULL && settle->estimate.present == 0;
    if (post_paid) {
        qd_usage_set(&s->part, QD_METER_REQUESTS, 1);
    } else if (qd_usage_has(&s->expected, QD_METER_REQUESTS)) {
        qd_usage_set(&s->part, QD_METER_REQUESTS, s->expected.amount[QD_METER_REQUESTS]);
    }
}

/* What is still expected after this part. Money comes with every part, so parts of it add up; it is
 * all there once nothing else is expected. */
static void form_rest(struct settling *s)
{
    const uint32_t counted_once =
        QD_METERS_MONEY | QD_METER_BIT(QD_METER_REQUESTS) | QD_METER_BIT(QD_METER_CONCURRENCY);
    struct qd_usage *rest = &s->rest;
    *rest = s->expected;
    rest->present &= ~(s->part.present & ~QD_METERS_MONEY);
    bool more = !s->settle->final;
    for (uint32_t left = rest->present & ~counted_once; left != 0; left &= left - 1) {
        more = more || rest->amount[__builtin_ctz(left)] > 0;
    }
    for (unsigned m = QD_METER_COST; m <= QD_METER_CHARGE; m++) {
        if (!qd_usage_has(rest, m)) {
            continue;
        }
        int64_t left = rest->amount[m] - qd_usage_get(&s->part, m);
        if (more && left > 0) {
            rest->amount[m] = left;
        } else {
            rest->present &= ~QD_METER_BIT(m);
        }
    }
}

/* S5: of the expected cost, what the input still costs. A part that tells of input has booked that;
 * once all of it is told, there is nothing left to keep. */
static int64_t input_left(const struct settling *s)
{
    if ((s->part.present & QD_METERS_INPUT) == 0) {
        return s->input_before;
    }
    int64_t untold = 0;
    for (uint32_t left = s->rest.present & QD_METERS_INPUT; left != 0; left &= left - 1) {
        untold |= s->rest.amount[__builtin_ctz(left)];
    }
    int64_t booked = qd_usage_get(&s->part, QD_METER_COST);
    return untold != 0 && booked < s->input_before ? s->input_before - booked : 0;
}

static enum qd_keep keep_rule(const struct settling *s, const struct qd_limit *limit)
{
    if (QD_MUTANT(S4)) {
        return QD_KEEP_NOTHING;
    }
    if (s->settle->outcome == QD_OUTCOME_FAILED) {
        return limit->on_failed; /* S4 */
    }
    if (s->settle->outcome == QD_OUTCOME_OK) {
        return limit->on_expiry; /* S2: what nobody reported follows S5 */
    }
    return QD_KEEP_NOTHING;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* True if an expired hold, or a failed request's, keeps the input alone (S4, S5). */
static bool kept_input(const struct settling *s, const struct qd_limit *limit, int64_t hold)
{
    return s->reservation->state == QD_RESERVATION_KEPT &&
           (limit->on_expiry == QD_KEEP_INPUT || limit->on_failed == QD_KEEP_INPUT) &&
           hold <= qd_input_part(limit, QD_COST_MAX, s->input_before, &s->expected);
}

/* What this charge holds after the report. */
static int64_t hold_after(const struct settling *s, const struct qd_limit *limit, int64_t hold)
{
    bool touched = (qd_weights_meters(&limit->admit) & s->part.present) != 0;
    if (!s->settle->final) {
        if (!touched || limit->algorithm == QD_CONCURRENCY) {
            return hold;
        }
        if (kept_input(s, limit, hold)) {
            return qd_input_part(limit, hold, s->input_rest, &s->rest);
        }
        return smaller(hold, qd_hold_of(limit, &s->rest, UINT32_MAX));
    }
    if (limit->algorithm == QD_CONCURRENCY) {
        return 0;
    }
    enum qd_keep keep = keep_rule(s, limit);
    if (keep == QD_KEEP_NOTHING) {
        return 0;
    }
    if (keep == QD_KEEP_INPUT) {
        return qd_input_part(limit, hold, s->input_rest, &s->rest);
    }
    return touched ? smaller(hold, qd_hold_of(limit, &s->rest, UINT32_MAX)) : hold;
}

/* A rate that gives nothing back before its reset (Azure, P5) gives back nothing here. */
static int64_t without_refund(const struct settling *s, const struct qd_limit *limit, int64_t delta)
{
    bool sticks = !limit->refunds && s->settle->outcome != QD_OUTCOME_NOT_DISPATCHED;
    return sticks && delta < 0 ? 0 : delta;
}

static void watch(const struct settling *s, const struct qd_at *at)
{
    if (s->settle->recounted) {
        qd_event_mark(at, s->now);
    } else {
        qd_event_watch(at, s->now);
    }
    if (at->limit->action == QD_ENFORCE && qd_counter_total(at, s->now) > qd_counter_capacity(at)) {
        s->settled->over_limits++;
    }
}

/* This slice's counters are to count it. */
static bool is_there(const struct settling *s, bool shared)
{
    return s->settle->where == QD_SETTLE_BOTH || (s->settle->where == QD_SETTLE_COMMONS) == shared;
}

static void settle_charge(const struct settling *s, struct qd_charge *charge)
{
    struct qd_at at;
    if (!qd_table_deref(s->home, s->commons, charge->ref, &at)) {
        charge->amount = 0; /* gone with its counter; the binding's counter gets the booking */
        return;
    }
    const struct qd_limit *limit = at.limit;
    int64_t booked = qd_booking_of(limit, &s->part);
    int64_t hold = hold_after(s, limit, charge->amount);
    int64_t delta = hold - charge->amount;
    if (QD_MUTANT(S2_double)) {
        delta = 0;
    }
    if (QD_MUTANT(S2_debt)) {
        booked = smaller(booked, charge->amount);
    }
    if (!is_there(s, charge->ref.shared)) {
        booked = 0; /* and a rate has got back what it held; of others that is as the hold says */
    }
    if (qd_charge_stands(charge, &at) &&
        (qd_role_of(limit) != QD_ROLE_RATE || is_there(s, charge->ref.shared))) {
        if (qd_role_of(limit) == QD_ROLE_RATE) {
            int64_t change = without_refund(s, limit, delta + booked);
            if (!s->settle->final && change != delta + booked) {
                hold =
                    charge->amount - booked; /* later parts come out of what was not given back */
            }
            qd_counter_settle(&at, s->at, change, 0, s->now);
        } else {
            qd_counter_settle(&at, s->at, delta, booked, s->now);
        }
    }
    charge->amount = hold;
    watch(s, &at);
}

/* The binding's counters, all of them; false: bind first. */
static bool load_binding(struct settling *s)
{
    struct qd_ref refs[QD_LIMITS_PER_CHECK_MAX];
    s->binding = qd_binding_find(s->home, s->settle->binding, s->settle->epoch);
    if (s->binding == NULL || s->binding->partial || !qd_binding_use(s->home, s->binding, s->now) ||
        !qd_binding_items(s->home, s->binding, refs, s->now)) {
        return false;
    }
    s->item_count = s->binding->count;
    for (unsigned i = 0; i < s->item_count; i++) {
        if (!qd_table_deref(s->home, s->commons, refs[i], &s->items[i])) {
            return false;
        }
    }
    return true;
}

static bool is_charged(const struct settling *s, const struct qd_at *item)
{
    struct qd_reservation *r = s->reservation;
    if (r == NULL || QD_MUTANT(S2_unestimated)) {
        return r != NULL;
    }
    const struct qd_charge *charges = qd_reservation_charges(s->home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        if (qd_table_deref(s->home, s->commons, charges[i].ref, &at) &&
            at.counter == item->counter) {
            return true;
        }
    }
    return false;
}

bool qd_corrected_has(const struct qd_corrected *corrected, struct qd_hash128 counter)
{
    for (size_t i = 0; i < corrected->count; i++) {
        if (corrected->counters[i].lo == counter.lo && corrected->counters[i].hi == counter.hi) {
            return true;
        }
    }
    return false;
}

/* L3: what was booked before the counter was there, or was reset, is not in it, corrected or not.
 */
static bool never_counted(const struct settling *s, const struct qd_at *at)
{
    const struct qd_corrected *corrected = s->settle->corrected;

    return corrected != NULL && qd_table_since(at) >= corrected->sequence &&
           qd_corrected_has(corrected, qd_table_id(at));
}

/* S7: what has no hold here is booked as it comes; so is what a token of another node's, or of an
 * earlier life of this one, settles (S8): in its slot, in this node's own part of the counter. */
static void book_items(const struct settling *s)
{
    if (QD_MUTANT(S8) && s->reservation == NULL && s->settle->estimate.present != 0) {
        return;
    }
    for (unsigned i = 0; i < s->item_count; i++) {
        const struct qd_at *at = &s->items[i];
        enum qd_role role = qd_role_of(at->limit);
        if (is_charged(s, at) || role == QD_ROLE_CONCURRENCY || role == QD_ROLE_PER_REQUEST ||
            !is_there(s, at->counter->depth == 0) || never_counted(s, at)) {
            continue;
        }
        if (role == QD_ROLE_RATE && (s->settle->budgets_only || QD_MUTANT(S7))) {
            continue;
        }
        int64_t booked = qd_booking_of(at->limit, &s->part);
        if (s->settle->takes_back && !QD_MUTANT(L3_counters)) {
            booked = -booked; /* not the booking of negative usage, which rounds the other way */
        }
        qd_event_look(at, s->now);
        qd_counter_settle(at, s->at, 0, booked, s->now);
        qd_table_pin(at, qd_seconds_of(s->now));
        watch(s, at);
    }
}

static void settle_hold(struct settling *s)
{
    struct qd_reservation *r = s->reservation;
    struct qd_charge *charges = qd_reservation_charges(s->home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        settle_charge(s, &charges[i]);
    }
    r->input_nano = s->input_rest;
    if (!s->settle->final) {
        bool fits = qd_reservation_expect(s->home, r, &s->rest);
        QD_CHECK(fits); /* it got no larger */
        return;
    }
    s->settled->closed = true;
    bool fits = qd_reservation_expect(s->home, r, &s->rest);
    QD_CHECK(fits);
    qd_keep_or_free(s->home, s->commons, r, s->now);
}

/* S1: a request that was served needs no other hold than the one that is settled here: not another
 * attempt's, nor the one of a second check of the same attempt. Of an attempt that was not served
 * only that is undone which an expiry assumed of it (S5): another may be on its way. */
static struct qd_reservation *find_other(const struct settling *s, struct qd_hash128 request,
                                         uint32_t attempt, uint64_t number)
{
    enum qd_outcome outcome = s->settle->outcome;
    if (outcome == QD_OUTCOME_OK || outcome == QD_OUTCOME_DISCONNECTED) {
        return qd_reservation_of_others(s->home, request, number);
    }
    return qd_reservation_kept_of_attempt(s->home, request, attempt, number);
}

static void release_others(struct settling *s, struct qd_hash128 request, uint32_t attempt,
                           uint64_t number)
{
    if (!qd_request_given(request) || QD_MUTANT(S1_attempts)) {
        return;
    }
    struct qd_reservation *other;
    while ((other = find_other(s, request, attempt, number)) != NULL) {
        qd_release(s->home, s->commons, other, s->now);
        s->settled->released_attempts++;
    }
}

/* Past outputs tell what the next one may be (P3). */
static void learn_output(struct settling *s)
{
    const struct qd_settle *settle = s->settle;
    if (s->home->estimators.live == 0 || settle->outcome != QD_OUTCOME_OK || settle->budgets_only ||
        !qd_usage_has(&settle->used, QD_METER_OUTPUT_TOKENS)) {
        return;
    }
    if (s->binding != NULL) { /* else it is settled unbound */
        qd_estimator_add(s->home, s->binding,
                         qd_usage_get(&settle->used, QD_METER_OUTPUT_TOKENS) +
                             qd_usage_get(&settle->used, QD_METER_REASONING_TOKENS),
                         s->now);
    }
}

static void start(struct settling *s)
{
    const struct qd_settle *settle = s->settle;
    struct qd_reservation *r = s->reservation;
    s->at = settle->charged_at.ns < s->now.ns ? settle->charged_at : s->now;
    s->expected = settle->estimate;
    if (r != NULL) {
        s->at.ns = r->made_at_ns;
        s->input_before = r->input_nano;
        qd_reservation_expected(s->home, r, &s->expected);
    }
    complete_part(s);
    form_rest(s);
    s->input_rest = input_left(s);
}

enum qd_result qd_core_settle(struct qd_core *home, struct qd_core *commons,
                              const struct qd_settle *settle, struct qd_wall_ns now,
                              struct qd_settled *ret_settled)
{
    struct settling s = {.home = home, .commons = commons, .settle = settle};
    struct qd_settled settled = {0};
    s.settled = &settled;
    s.now = qd_slice_now(home, commons, now);
    s.reservation = find_hold(home, settle);
    /* The hold doesn't know all that the usage counts in: meters that nobody estimated, limits that
     * came since, counters that are gone from memory. */
    if (!settle->unbound && !load_binding(&s)) {
        return QD_RESULT_NEEDS_BINDING; /* D13 */
    }

    struct qd_reservation *r = s.reservation;
    struct qd_hash128 request = settle->request;
    uint32_t attempt = settle->attempt;
    uint64_t number = r != NULL ? r->number : settle->reservation;
    start(&s);
    settled.had_reservation = r != NULL;
    if (r != NULL && !qd_request_given(request)) {
        request = r->request;
        attempt = r->attempt;
    }
    if (r == NULL ? settle->estimate.present != 0 : r->state == QD_RESERVATION_KEPT) {
        home->stats.late++;
    }
    book_items(&s); /* before the hold goes: it tells which counters it has charged */
    if (r != NULL) {
        settle_hold(&s);
    }
    release_others(&s, request, attempt, number);
    learn_output(&s);
    if (r != NULL || settle->reservation != 0 || settle->estimate.present != 0) {
        home->stats.settled++; /* else there was none to settle */
    }
    *ret_settled = settled;
    return QD_OK;
}
