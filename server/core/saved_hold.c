#include "saved_hold.h"

#include "bytes.h"
#include "expire.h"
#include "reservation.h"
#include "root.h"
#include "table.h"
#include "wheel.h"

#define VERSION 1U

enum flag {
    FLAG_KEPT = 1,
    FLAG_REQUEST = 2,
};

enum charge_flag {
    CHARGE_SHARED = 1,
    CHARGE_FORGIVEN = 2,
};

/* --- writing --- */

/* The counter that it charged, by half of its identity; those that are gone are left out. */
static unsigned standing(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                         struct qd_at ret_at[QD_LIMITS_PER_CHECK_MAX],
                         const struct qd_charge *ret_charge[QD_LIMITS_PER_CHECK_MAX])
{
    const struct qd_charge *charges = qd_reservation_charges(home, r);
    unsigned count = 0;
    for (unsigned i = 0; i < r->charge_count; i++) {
        if (qd_table_deref(home, commons, charges[i].ref, &ret_at[count])) {
            ret_charge[count++] = &charges[i];
        }
    }
    return count;
}

static void write_charges(struct qd_writer *w, struct qd_core *home, struct qd_core *commons,
                          struct qd_reservation *r)
{
    struct qd_at at[QD_LIMITS_PER_CHECK_MAX];
    const struct qd_charge *charge[QD_LIMITS_PER_CHECK_MAX];
    unsigned count = standing(home, commons, r, at, charge);
    qd_write(w, count, 1);
    for (unsigned i = 0; i < count; i++) {
        unsigned flags = charge[i]->ref.shared ? CHARGE_SHARED : 0;
        flags |= qd_charge_stands(charge[i], &at[i]) ? 0 : CHARGE_FORGIVEN;
        qd_write(w, flags, 1);
        qd_write(w, qd_table_id(&at[i]).hi, 8);
        qd_write_signed(w, charge[i]->amount);
    }
}

static void write_expected(struct qd_writer *w, const struct qd_core *home,
                           const struct qd_reservation *r)
{
    struct qd_usage expected;
    qd_reservation_expected(home, r, &expected);
    qd_write(w, expected.present, 4);
    for (uint32_t left = expected.present; left != 0; left &= left - 1) {
        qd_write_signed(w, expected.amount[__builtin_ctz(left)]);
    }
}

void qd_saved_hold_gone(uint32_t place, struct qd_saved *ret_saved)
{
    ret_saved->kind = QD_SAVED_HOLD;
    ret_saved->id = (struct qd_hash128){.lo = place};
    ret_saved->size = 0;
}

void qd_saved_hold_write(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                         struct qd_saved *ret_saved)
{
    struct qd_writer w = {.at = ret_saved->bytes};
    bool kept = r->state == QD_RESERVATION_KEPT;
    bool request = qd_request_given(r->request);
    qd_saved_hold_gone((uint32_t)(r - home->reservations), ret_saved);
    ret_saved->reservation = r->number;
    qd_write(&w, VERSION, 1);
    qd_write(&w, (kept ? FLAG_KEPT : 0U) | (request ? FLAG_REQUEST : 0U), 1);
    qd_write(&w, r->priority, 1);
    qd_write(&w, r->candidate, 1);
    qd_write(&w, r->number, 8);
    qd_write(&w, (uint64_t)r->made_at_ns, 8);
    qd_write(&w, (uint64_t)r->expires_ns, 8);
    qd_write_hash(&w, r->binding);
    qd_write(&w, kept ? 0 : r->content, 8);
    if (request) {
        qd_write_hash(&w, r->request);
    }
    qd_write_varint(&w, r->attempt);
    qd_write_varint(&w, r->weight);
    qd_write_signed(&w, r->input_nano);
    qd_write_str(&w, qd_names_text(&home->names, r->name));
    write_charges(&w, home, commons, r);
    write_expected(&w, home, r);
    ret_saved->size = (uint32_t)(w.at - ret_saved->bytes);
    QD_CHECK(ret_saved->size <= QD_SAVED_MAX);
}

/* --- reading --- */

struct saved_charge {
    unsigned flags;
    uint64_t counter;
    int64_t amount;
};

struct saved_hold {
    unsigned flags;
    uint8_t priority;
    uint8_t candidate;
    uint64_t number;
    int64_t made_at_ns;
    int64_t expires_ns;
    struct qd_hash128 binding;
    uint64_t content;
    struct qd_hash128 request;
    uint32_t attempt;
    uint32_t weight;
    int64_t input_nano;
    struct qd_str tenant;
    unsigned charge_count;
    struct saved_charge charge[QD_LIMITS_PER_CHECK_MAX];
    struct qd_usage expected;
};

static void read_charges(struct qd_bytes *r, struct saved_hold *h)
{
    h->charge_count = (unsigned)qd_read(r, 1);
    if (h->charge_count > QD_LIMITS_PER_CHECK_MAX) {
        r->failed = true;
        return;
    }
    for (unsigned i = 0; i < h->charge_count; i++) {
        h->charge[i].flags = (unsigned)qd_read(r, 1);
        h->charge[i].counter = qd_read(r, 8);
        h->charge[i].amount = qd_read_signed(r);
    }
}

static void read_expected(struct qd_bytes *r, struct qd_usage *ret_usage)
{
    ret_usage->present = (uint32_t)qd_read(r, 4);
    for (uint32_t left = ret_usage->present; left != 0; left &= left - 1) {
        int64_t amount = qd_read_signed(r);
        r->failed |= amount < 0 || amount > QD_AMOUNT_MAX;
        ret_usage->amount[__builtin_ctz(left)] = amount;
    }
}

static bool read_hold(const struct qd_saved *saved, struct saved_hold *h)
{
    struct qd_bytes r = {.at = saved->bytes, .end = saved->bytes + saved->size};
    if (saved->size > QD_SAVED_MAX || qd_read(&r, 1) != VERSION) {
        return false;
    }
    h->flags = (unsigned)qd_read(&r, 1);
    h->priority = (uint8_t)qd_read(&r, 1);
    h->candidate = (uint8_t)qd_read(&r, 1);
    h->number = qd_read(&r, 8);
    h->made_at_ns = (int64_t)qd_read(&r, 8);
    h->expires_ns = (int64_t)qd_read(&r, 8);
    h->binding = qd_read_hash(&r);
    h->content = qd_read(&r, 8);
    h->request = h->flags & FLAG_REQUEST ? qd_read_hash(&r) : (struct qd_hash128){.lo = 0, .hi = 0};
    h->attempt = (uint32_t)qd_read_varint(&r, UINT32_MAX);
    h->weight = (uint32_t)qd_read_varint(&r, UINT32_MAX);
    h->input_nano = qd_read_signed(&r);
    h->tenant = qd_read_str(&r, QD_NAME_BYTES_MAX);
    read_charges(&r, h);
    read_expected(&r, &h->expected);
    return qd_read_all(&r) && h->number != 0 && h->made_at_ns >= 0 &&
           h->expires_ns >= h->made_at_ns;
}

/* --- coming back --- */

/* The charges whose counters are there. */
static unsigned find_charges(struct qd_core *home, struct qd_core *commons,
                             const struct saved_hold *h,
                             struct qd_charge ret_charges[QD_LIMITS_PER_CHECK_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < h->charge_count; i++) {
        const struct saved_charge *c = &h->charge[i];
        struct qd_core *core = c->flags & CHARGE_SHARED ? commons : home;
        struct qd_at at;
        if (core != NULL && qd_table_find_half(core, c->counter, &at) &&
            qd_role_of(at.limit) != QD_ROLE_PER_REQUEST) {
            ret_charges[count] = (struct qd_charge){.ref = qd_table_ref(&at), .amount = c->amount};
            ret_charges[count++].ref.forgiven = (c->flags & CHARGE_FORGIVEN) != 0;
        }
    }
    return count;
}

/* What it holds of a budget or of concurrency counts again (D7); what it has charged a rate came
 * back with the counter. */
static void hold_again(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                       struct qd_wall_ns now)
{
    const struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        bool there = qd_table_deref(home, commons, charges[i].ref, &at);
        QD_CHECK(there); /* just found */
        unsigned changed = at.counter->changed;
        if (qd_role_of(at.limit) != QD_ROLE_RATE && qd_charge_stands(&charges[i], &at)) {
            qd_counter_settle(&at, (struct qd_wall_ns){.ns = r->made_at_ns}, charges[i].amount, 0,
                              now);
        }
        at.counter->changed = changed & 1U; /* what is held isn't stored with the counter */
        qd_table_pin(&at, (uint32_t)qd_due_second(r->expires_ns));
    }
}

static void enter_root(struct qd_core *home, struct qd_reservation *r, struct qd_str tenant,
                       struct qd_wall_ns now)
{
    r->name = qd_names_intern(&home->names, tenant);
    r->root = qd_root_obtain(home, tenant, now);
    if (r->root != QD_SLAB_NONE) {
        qd_root_at(home, r->root)->reservations++; /* one that is kept leaves it again */
    }
}

enum qd_load qd_core_load_hold(struct qd_core *home, struct qd_core *commons,
                               struct qd_saved *saved, struct qd_wall_ns now)
{
    struct saved_hold h;
    struct qd_charge charges[QD_LIMITS_PER_CHECK_MAX];
    struct qd_wall_ns seen = qd_slice_now(home, commons, now);
    if (!read_hold(saved, &h)) {
        return QD_LOAD_BAD;
    }
    if (qd_reservation_find(home, h.number) != NULL) {
        return QD_LOAD_FULL; /* it is here, from another place */
    }
    struct qd_reservation *r = qd_reservation_place(home, h.number, (uint32_t)saved->id.lo);
    if (r == NULL) {
        return QD_LOAD_FULL;
    }
    r->made_at_ns = h.made_at_ns;
    r->expires_ns = h.expires_ns;
    r->linked_s = UINT32_MAX;
    r->request = (struct qd_hash128){0};
    r->root = QD_SLAB_NONE;
    r->name = 0;
    unsigned count = find_charges(home, commons, &h, charges);
    if (!qd_reservation_fill(home, r, charges, count, &h.expected)) {
        qd_reservation_free(home, r);
        return QD_LOAD_FULL;
    }
    hold_again(home, commons, r, seen);
    r->request = h.request;
    r->attempt = h.attempt;
    r->binding = h.binding;
    r->content = h.content;
    r->epoch = 0;
    r->weight = h.weight;
    r->priority = h.priority;
    r->candidate = h.candidate;
    r->input_nano = h.input_nano;
    enter_root(home, r, h.tenant, seen);
    if (qd_request_given(r->request)) {
        bool inserted = qd_index_insert(&home->request_index, (uint32_t)r->request.hi,
                                        (uint32_t)(r - home->reservations));
        QD_CHECK(inserted);
    }
    qd_wheel_link(home, r, qd_due_second(r->expires_ns), seen);
    if (h.flags & FLAG_KEPT) {
        qd_reservation_keep(home, r);
    }
    saved->reservation = r->number;
    return QD_LOADED;
}
