/* Extending a hold while its request runs, and releasing one (S3, S9). */
#include "binding.h"
#include "estimate.h"
#include "event.h"
#include "expire.h"
#include "mutant.h"
#include "state.h"
#include "wheel.h"

struct extending {
    struct qd_core *home;
    struct qd_core *commons;
    struct qd_reservation *reservation;
    struct qd_wall_ns now;
    struct qd_usage
        seen; /* what was used so far, with the input as estimated where it isn't told */
};

/* Raise what is expected to what was used; meters that were not estimated join if there is room. */
static void raise_expected(struct extending *x, const struct qd_usage *used)
{
    struct qd_usage expected;
    qd_reservation_expected(x->home, x->reservation, &expected);
    struct qd_usage raised = expected;
    for (uint32_t left = used->present; left != 0; left &= left - 1) {
        unsigned m = (unsigned)__builtin_ctz(left);
        if (qd_usage_get(&expected, m) < used->amount[m]) {
            qd_usage_set(&raised, m, used->amount[m]);
        }
    }
    x->seen = raised;
    x->seen.present &= used->present | QD_METERS_INPUT | QD_METER_BIT(QD_METER_REQUESTS);
    for (uint32_t left = used->present; left != 0; left &= left - 1) {
        unsigned m = (unsigned)__builtin_ctz(left);
        qd_usage_set(&x->seen, m, used->amount[m]);
    }
    if (qd_reservation_expect(x->home, x->reservation, &raised)) {
        return;
    }
    raised.present &= expected.present;
    bool fits = qd_reservation_expect(x->home, x->reservation, &raised);
    QD_CHECK(fits);
}

/* Raise one charge to what was used so far. False: that doesn't fit. */
static bool raise_charge(const struct extending *x, struct qd_charge *charge, uint32_t until_s,
                         struct qd_limit_state *ret_state)
{
    struct qd_at at;
    if (!qd_table_deref(x->home, x->commons, charge->ref, &at)) {
        return true;
    }
    qd_table_pin(&at, until_s);
    int64_t used = qd_booking_of(at.limit, &x->seen);
    if (used <= charge->amount || qd_role_of(at.limit) == QD_ROLE_CONCURRENCY || QD_MUTANT(S3)) {
        return true;
    }
    int64_t more = used - charge->amount;
    bool fits = qd_counter_fits(&at, qd_counter_total(&at, x->now), more);
    if (!fits && ret_state != NULL) {
        qd_state_for(&at, more, x->now, ret_state);
    }
    if (qd_charge_stands(charge, &at)) {
        qd_counter_settle(&at, (struct qd_wall_ns){.ns = x->reservation->made_at_ns}, more, 0,
                          x->now);
    }
    charge->amount = used;
    qd_event_watch(&at, x->now);
    return fits || at.limit->action == QD_SHADOW;
}

static bool is_blocked(const struct extending *x)
{
    const struct qd_binding *b = qd_binding_any(x->home, x->reservation->binding);
    return b != NULL && b->blocked && b->valid_until_ns > x->now.ns;
}

static void renew(struct extending *x, int64_t ttl_ns)
{
    struct qd_reservation *r = x->reservation;
    int64_t expires_ns = x->now.ns + ttl_ns;
    bool sooner = expires_ns < r->expires_ns;
    r->expires_ns = expires_ns;
    qd_reservation_changed(x->home, r);
    if (!sooner) {
        return; /* it waits where it is, and is linked anew from there */
    }
    qd_wheel_unlink(x->home, r);
    qd_wheel_link(x->home, r, qd_due_second(expires_ns), x->now);
}

enum qd_result qd_core_extend(struct qd_core *home, struct qd_core *commons, uint64_t reservation,
                              const struct qd_usage *used_so_far, int64_t ttl_ns,
                              struct qd_wall_ns now, struct qd_wall_ns *ret_expires,
                              struct qd_limit_state *ret_stopping)
{
    struct extending x = {.home = home, .commons = commons};
    x.now = qd_slice_now(home, commons, now);
    struct qd_reservation *r = qd_reservation_find(home, reservation);
    if (r == NULL || r->state != QD_RESERVATION_OPEN) {
        return QD_NO_RESERVATION;
    }
    if (qd_is_due(r, x.now)) {
        qd_expire_hold(home, commons, r, x.now);
        return QD_NO_RESERVATION;
    }
    x.reservation = r;
    renew(&x, ttl_ns);
    raise_expected(&x, used_so_far);
    home->stats.extended++;

    bool go_on = true;
    uint32_t until_s = (uint32_t)qd_due_second(r->expires_ns);
    struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        if (!raise_charge(&x, &charges[i], until_s, go_on ? ret_stopping : NULL)) {
            go_on = false;
        }
    }
    *ret_expires = (struct qd_wall_ns){.ns = r->expires_ns};
    if (go_on && !is_blocked(&x)) {
        return QD_OK;
    }
    if (go_on && ret_stopping != NULL) {
        *ret_stopping = (struct qd_limit_state){0}; /* no limit: the tenant is blocked */
    }
    home->stats.stopped++;
    return QD_STOP;
}

enum qd_result qd_core_cancel(struct qd_core *home, struct qd_core *commons, uint64_t reservation,
                              struct qd_wall_ns now)
{
    struct qd_wall_ns at = qd_slice_now(home, commons, now);
    struct qd_reservation *r = qd_reservation_find(home, reservation);
    if (r == NULL || (QD_MUTANT(S9) && r->state == QD_RESERVATION_KEPT)) {
        return QD_NO_RESERVATION;
    }
    qd_release(home, commons, r, at);
    home->stats.cancelled++;
    return QD_OK;
}
