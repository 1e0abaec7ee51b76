#include "expire.h"

#include "estimate.h"
#include "event.h"
#include "mutant.h"
#include "wheel.h"

bool qd_charge_stands(const struct qd_charge *charge, const struct qd_at *at)
{
    return !charge->ref.forgiven && at->counter->resets == charge->ref.resets;
}

static bool charged_at(struct qd_core *home, struct qd_core *commons,
                       const struct qd_charge *charge, struct qd_at *ret_at)
{
    return qd_table_deref(home, commons, charge->ref, ret_at) && qd_charge_stands(charge, ret_at);
}

static void rehold(struct qd_core *home, struct qd_core *commons, const struct qd_reservation *r,
                   struct qd_charge *charge, int64_t hold, struct qd_wall_ns now)
{
    struct qd_at at;
    if (hold == charge->amount) {
        return;
    }
    if (charged_at(home, commons, charge, &at)) {
        qd_counter_settle(&at, (struct qd_wall_ns){.ns = r->made_at_ns}, hold - charge->amount, 0,
                          now);
    }
    charge->amount = hold;
}

void qd_release(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                struct qd_wall_ns now)
{
    struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        rehold(home, commons, r, &charges[i], 0, now);
    }
    qd_reservation_free(home, r);
}

int64_t qd_input_part(const struct qd_limit *limit, int64_t amount, int64_t input_nano,
                      const struct qd_usage *expected)
{
    struct qd_usage input = *expected;
    input.present &= QD_METERS_INPUT | QD_METER_BIT(QD_METER_REQUESTS) | QD_METERS_MONEY;
    for (unsigned m = QD_METER_COST; m <= QD_METER_CHARGE; m++) {
        if (qd_usage_has(&input, m) && input.amount[m] > input_nano) {
            input.amount[m] = input_nano;
        }
    }
    int64_t part = qd_hold_of(limit, &input, ~QD_METERS_OUTPUT);
    return part < amount ? part : amount;
}

/* S5: what this charge keeps when its hold expires. */
static int64_t kept_on_expiry(const struct qd_core *home, const struct qd_at *at,
                              const struct qd_charge *charge, const struct qd_reservation *r)
{
    const struct qd_limit *limit = at->limit;
    if (qd_role_of(limit) == QD_ROLE_CONCURRENCY || QD_MUTANT(S5_release)) {
        return 0;
    }
    bool rate = qd_role_of(limit) == QD_ROLE_RATE;
    if ((limit->consistency == QD_HARD && !QD_MUTANT(S5_hard)) || (rate && !limit->refunds)) {
        return charge->amount;
    }
    if (limit->on_expiry == QD_KEEP_INPUT) {
        struct qd_usage expected;
        qd_reservation_expected(home, r, &expected);
        return qd_input_part(limit, charge->amount, r->input_nano, &expected);
    }
    return limit->on_expiry == QD_KEEP_ALL ? charge->amount : 0;
}

/* Until when the last of its kept charges counts; `now` if none does any more. */
static struct qd_wall_ns kept_until(struct qd_core *home, struct qd_core *commons,
                                    struct qd_reservation *r, struct qd_wall_ns now)
{
    struct qd_wall_ns made_at = {.ns = r->made_at_ns};
    struct qd_wall_ns until = now;
    struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        if (charges[i].amount <= 0 || !charged_at(home, commons, &charges[i], &at)) {
            continue;
        }
        struct qd_wall_ns end = qd_counter_counts_until(&at, made_at, now);
        if (end.ns > until.ns) {
            until = end;
        }
    }
    return until;
}

/* All of them, also those that keep nothing: a later part of the report is booked there. */
static void pin_charges(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r)
{
    int64_t due_s = qd_due_second(r->expires_ns);
    uint32_t until_s = due_s < UINT32_MAX ? (uint32_t)due_s : UINT32_MAX;
    struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        if (qd_table_deref(home, commons, charges[i].ref, &at)) {
            qd_table_pin(&at, until_s);
        }
    }
}

void qd_keep_or_free(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                     struct qd_wall_ns now)
{
    struct qd_wall_ns until = kept_until(home, commons, r, now);
    if (until.ns <= now.ns) {
        qd_reservation_free(home, r);
        return;
    }
    if (r->state == QD_RESERVATION_OPEN) {
        qd_reservation_keep(home, r);
    }
    qd_wheel_unlink(home, r);
    r->expires_ns = until.ns;
    qd_reservation_changed(home, r);
    pin_charges(home, commons, r);
    qd_wheel_link(home, r, qd_due_second(until.ns), now);
}

void qd_expire_hold(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                    struct qd_wall_ns now)
{
    struct qd_charge *charges = qd_reservation_charges(home, r);
    bool kept = false;

    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        int64_t hold = 0;
        if (charged_at(home, commons, &charges[i], &at)) {
            hold = kept_on_expiry(home, &at, &charges[i], r);
            if (hold != charges[i].amount) {
                qd_counter_settle(&at, (struct qd_wall_ns){.ns = r->made_at_ns},
                                  hold - charges[i].amount, 0, now);
            }
        }
        charges[i].amount = hold;
        kept = kept || hold > 0;
    }
    home->stats.expired++;
    qd_event_expired(home, r, now);
    if (kept) {
        qd_keep_or_free(home, commons, r, now);
    } else {
        qd_reservation_free(home, r);
    }
}

static void prefetch_charge(const struct qd_core *core, const struct qd_reservation *r,
                            struct qd_ref ref)
{
    if (core == NULL) {
        return;
    }
    qd_table_prefetch(core, ref);
    if (ref.class == QD_CLASS_NARROW) {
        const void *record = qd_slab_at(&core->counters[QD_CLASS_NARROW], (uint32_t)ref.index);
        qd_counter_prefetch_slot(record, core->limits[ref.limit],
                                 (struct qd_wall_ns){.ns = r->made_at_ns});
    }
}

/* Fetch what the next hold of this second will need, while this call's caller does other things. */
static void prefetch_next(const struct qd_core *home, const struct qd_core *commons, uint32_t link)
{
    if (link == 0) {
        return;
    }
    const struct qd_reservation *r = &home->reservations[link - 1];
    const struct qd_charge *charges = (const struct qd_charge *)(const void *)r->word;
    for (unsigned i = 0; r->spill == 0 && i < r->charge_count; i++) {
        prefetch_charge(charges[i].ref.shared ? commons : home, r, charges[i].ref);
    }
    qd_names_prefetch(&home->names, r->name);
    qd_index_prefetch(&home->request_index, (uint32_t)r->request.hi);
    if (r->root != QD_SLAB_NONE) {
        qd_fetch(qd_slab_at(&home->roots, r->root));
    }
    if (r->next != 0) {
        const char *after = (const char *)&home->reservations[r->next - 1];
        qd_fetch(after);
        qd_fetch(after + 64);
        qd_fetch(after + 128);
    }
}

size_t qd_expire_some(struct qd_core *home, struct qd_core *commons, struct qd_wall_ns now,
                      size_t budget)
{
    size_t done = 0;
    struct qd_reservation *r;
    while (done < budget && (r = qd_wheel_due(home, now)) != NULL) {
        uint32_t next = r->next;
        if (r->state == QD_RESERVATION_KEPT) {
            qd_keep_or_free(home, commons, r, now); /* its windows may have ended, or been raised */
        } else {
            qd_expire_hold(home, commons, r, now);
        }
        prefetch_next(home, commons, next);
        done++;
    }
    return done;
}

bool qd_core_expire_is_late(const struct qd_core *home, struct qd_wall_ns now)
{
    return qd_seconds_of(now) > home->wheel.cursor_s + 1 && home->reservations_open != 0;
}

size_t qd_core_expire(struct qd_core *home, struct qd_core *commons, struct qd_wall_ns now,
                      size_t budget)
{
    return qd_expire_some(home, commons, qd_slice_now(home, commons, now), budget);
}
