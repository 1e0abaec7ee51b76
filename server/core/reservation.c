#include "reservation.h"

#include "mutant.h"
#include "root.h"
#include "wheel.h"

#include <string.h>

#define INLINE_CHARGE_WORDS (sizeof(struct qd_charge) / sizeof(uint64_t))

static uint32_t place_of(const struct qd_core *core, const struct qd_reservation *r)
{
    return (uint32_t)(r - core->reservations);
}

static bool is_taken(const struct qd_core *core, uint32_t place)
{
    return core->reservation_bits[place / 64] >> (place % 64) & 1U;
}

/* Places that are gone round now: a part of the table, so that memory follows what is open at once
 * and not what the table could hold. */
static uint32_t ring_of(const struct qd_core *core, uint32_t shift)
{
    return core->config.reservations >> shift;
}

uint32_t qd_core_hold_places(const struct qd_core *core)
{
    return ring_of(core, core->ring_shift);
}

/* Twice the ring before it is full: then a free place is near, and holds follow each other. */
static void widen_ring(struct qd_core *core)
{
    uint32_t live = core->reservations_open + core->reservations_kept;
    while (core->ring_shift > 0 && live >= ring_of(core, core->ring_shift) / 4 * 3) {
        core->ring_shift--;
    }
}

/* The first free place from `from` on, going round once; a word of 64 places at a time. */
static uint32_t free_place(const struct qd_core *core, uint32_t from, uint32_t ring)
{
    uint32_t at = from;
    while (is_taken(core, at)) {
        uint64_t free = ~core->reservation_bits[at / 64] >> (at % 64);
        uint32_t next = free != 0 ? at + (uint32_t)__builtin_ctzll(free) : (at / 64 + 1) * 64;
        at = next < ring ? next : 0;
    }
    return at;
}

/* The next hold most likely goes there: its lines come while others work. */
static void prefetch_next(const struct qd_core *core, uint32_t place)
{
    const char *record = (const char *)&core->reservations[place];
    qd_fetch(record);
    qd_fetch(record + 64);
    qd_fetch(record + 128);
    qd_fetch(record + 192);
}

static struct qd_reservation *occupy(struct qd_core *core, uint32_t place, uint64_t number)
{
    struct qd_reservation *r = &core->reservations[place];
    r->number = number;
    r->state = QD_RESERVATION_OPEN;
    r->spill = 0;
    r->next = 0;
    r->prev = 0;
    core->reservation_bits[place / 64] |= UINT64_C(1) << (place % 64);
    core->hold_changed[place / 64] |= UINT64_C(1) << (place % 64);
    core->reservations_open++;
    return r;
}

/* The shift of a ring in which this place is the number's, or (`any`) any free one is. */
static bool find_ring(const struct qd_core *core, uint64_t number, uint32_t place, bool any,
                      uint32_t *ret_shift)
{
    for (uint32_t shift = QD_RING_SHIFT_MAX + 1; shift-- > 0;) {
        uint32_t ring = ring_of(core, shift);
        if (ring != 0 && (any || number % ring == place) &&
            !is_taken(core, (uint32_t)(number % ring))) {
            *ret_shift = shift;
            return true;
        }
    }
    return false;
}

struct qd_reservation *qd_reservation_place(struct qd_core *core, uint64_t number, uint32_t place)
{
    uint32_t shift;
    if (!find_ring(core, number, place, false, &shift) &&
        !find_ring(core, number, place, true, &shift)) {
        return NULL;
    }
    core->ring_shift = shift < core->ring_shift ? shift : core->ring_shift;
    return occupy(core, (uint32_t)(number % ring_of(core, shift)), number);
}

struct qd_reservation *qd_reservation_take(struct qd_core *core)
{
    uint32_t capacity = core->config.reservations;
    if (core->reservations_open + core->reservations_kept >= capacity) {
        return NULL;
    }
    widen_ring(core);
    uint32_t ring = ring_of(core, core->ring_shift);
    uint32_t from = (uint32_t)(core->next_number % ring);
    uint32_t place = free_place(core, from, ring);
    uint64_t skipped = place >= from ? place - from : (uint64_t)place + ring - from;
    struct qd_reservation *r = occupy(core, place, core->next_number + skipped);
    core->next_number = r->number + 1;
    prefetch_next(core, place + 1 < ring ? place + 1 : 0);
    return r;
}

void qd_reservation_changed(struct qd_core *core, const struct qd_reservation *r)
{
    uint32_t place = place_of(core, r);
    core->hold_changed[place / 64] |= UINT64_C(1) << (place % 64);
}

struct qd_reservation *qd_reservation_find(struct qd_core *core, uint64_t number)
{
    if (number == 0) {
        return NULL;
    }
    /* It was made in the ring of today, or in a narrower one of before. */
    for (uint32_t shift = core->ring_shift; shift <= QD_RING_SHIFT_MAX; shift++) {
        uint32_t ring = ring_of(core, shift);
        if (ring == 0) {
            break;
        }
        uint32_t place = (uint32_t)(number % ring);
        struct qd_reservation *r = &core->reservations[place];
        if (is_taken(core, place) && (r->number == number || QD_MUTANT(D13_number))) {
            return r;
        }
    }
    return NULL;
}

static struct qd_spill *spill_of(const struct qd_core *core, const struct qd_reservation *r)
{
    return qd_slab_at(&core->spills, r->spill - 1);
}

struct qd_charge *qd_reservation_charges(struct qd_core *core, struct qd_reservation *r)
{
    if (r->spill != 0) {
        return spill_of(core, r)->charge;
    }
    return (struct qd_charge *)(void *)r->word;
}

static int64_t *amounts_of(const struct qd_core *core, struct qd_reservation *r)
{
    if (r->spill != 0) {
        return spill_of(core, r)->amount;
    }
    return (int64_t *)(void *)&r->word[r->charge_count * INLINE_CHARGE_WORDS];
}

static bool fits_inline(unsigned charges, uint32_t present)
{
    return charges * INLINE_CHARGE_WORDS + (unsigned)__builtin_popcount(present) <=
           QD_RESERVATION_WORDS;
}

static void store_amounts(const struct qd_core *core, struct qd_reservation *r,
                          const struct qd_usage *expected)
{
    int64_t *amount = amounts_of(core, r);
    r->present = expected->present;
    for (uint32_t left = expected->present; left != 0; left &= left - 1) {
        *amount++ = expected->amount[__builtin_ctz(left)];
    }
}

static bool take_spill(struct qd_core *core, struct qd_reservation *r)
{
    uint32_t index = qd_slab_take(&core->spills);
    if (index == QD_SLAB_NONE) {
        return false;
    }
    struct qd_spill *spill = qd_slab_at(&core->spills, index);
    memcpy(spill->charge, r->word,
           r->charge_count <= QD_RESERVATION_WORDS / INLINE_CHARGE_WORDS
               ? sizeof(spill->charge[0]) * r->charge_count
               : 0);
    r->spill = index + 1;
    return true;
}

bool qd_reservation_fill(struct qd_core *core, struct qd_reservation *r,
                         const struct qd_charge *charges, unsigned count,
                         const struct qd_usage *expected)
{
    QD_CHECK(count <= QD_LIMITS_PER_CHECK_MAX);
    r->charge_count = (uint8_t)count;
    r->present = 0;
    if (!fits_inline(count, expected->present) && !take_spill(core, r)) {
        return false;
    }
    memcpy(qd_reservation_charges(core, r), charges, sizeof(charges[0]) * count);
    store_amounts(core, r, expected);
    return true;
}

void qd_reservation_expected(const struct qd_core *core, const struct qd_reservation *r,
                             struct qd_usage *ret_usage)
{
    const int64_t *amount =
        r->spill != 0
            ? spill_of(core, r)->amount
            : (const int64_t *)(const void *)&r->word[r->charge_count * INLINE_CHARGE_WORDS];
    ret_usage->present = r->present;
    for (uint32_t left = r->present; left != 0; left &= left - 1) {
        ret_usage->amount[__builtin_ctz(left)] = *amount++;
    }
}

bool qd_reservation_expect(struct qd_core *core, struct qd_reservation *r,
                           const struct qd_usage *expected)
{
    qd_reservation_changed(core, r);
    if (r->spill == 0 && !fits_inline(r->charge_count, expected->present) && !take_spill(core, r)) {
        return false;
    }
    store_amounts(core, r, expected);
    return true;
}

/* It counts no more in its root's quota. */
static void leave_root(struct qd_core *core, struct qd_reservation *r)
{
    if (r->root != QD_SLAB_NONE) {
        struct qd_root *root = qd_root_at(core, r->root);
        QD_CHECK(root->reservations > 0);
        root->reservations--;
        r->root = QD_SLAB_NONE;
    }
}

void qd_reservation_keep(struct qd_core *core, struct qd_reservation *r)
{
    uint32_t link = place_of(core, r) + 1;
    QD_CHECK(r->state == QD_RESERVATION_OPEN);
    core->reservations_open--;
    core->reservations_kept++;
    r->state = QD_RESERVATION_KEPT;
    qd_reservation_changed(core, r);
    r->kept.older = core->kept_newest;
    r->kept.newer = 0;
    if (core->kept_newest != 0) {
        core->reservations[core->kept_newest - 1].kept.newer = link;
    } else {
        core->kept_oldest = link;
    }
    core->kept_newest = link;
    leave_root(core, r);
}

static void leave_kept(struct qd_core *core, const struct qd_reservation *r)
{
    if (r->kept.older != 0) {
        core->reservations[r->kept.older - 1].kept.newer = r->kept.newer;
    } else {
        core->kept_oldest = r->kept.newer;
    }
    if (r->kept.newer != 0) {
        core->reservations[r->kept.newer - 1].kept.older = r->kept.older;
    } else {
        core->kept_newest = r->kept.older;
    }
    core->reservations_kept--;
}

bool qd_reservation_forget_kept(struct qd_core *core)
{
    if (core->kept_oldest == 0) {
        return false;
    }
    qd_reservation_free(core, &core->reservations[core->kept_oldest - 1]);
    core->stats.kept_forgotten++;
    return true;
}

void qd_reservation_free(struct qd_core *core, struct qd_reservation *r)
{
    uint32_t place = place_of(core, r);
    QD_CHECK(is_taken(core, place));
    qd_wheel_unlink(core, r);
    if (qd_request_given(r->request)) {
        qd_index_remove(&core->request_index, (uint32_t)r->request.hi, place);
    }
    if (r->spill != 0) {
        qd_slab_give(&core->spills, r->spill - 1);
    }
    leave_root(core, r);
    qd_names_drop(&core->names, r->name);
    if (r->state == QD_RESERVATION_OPEN) {
        core->reservations_open--;
    } else {
        leave_kept(core, r);
    }
    r->state = QD_RESERVATION_FREE;
    core->reservation_bits[place / 64] &= ~(UINT64_C(1) << (place % 64));
}

struct qd_reservation *qd_reservation_of_request(struct qd_core *core, struct qd_hash128 request,
                                                 uint32_t attempt)
{
    struct qd_index_walk walk = {0};
    struct qd_reservation *newest = NULL;
    uint32_t place;
    while ((place = qd_index_next(&core->request_index, (uint32_t)request.hi, &walk)) !=
           QD_INDEX_NONE) {
        struct qd_reservation *r = &core->reservations[place];
        if (r->attempt == attempt && qd_hash128_equal(r->request, request) &&
            (newest == NULL || newest->number < r->number)) {
            newest = r;
        }
    }
    return newest;
}

struct qd_reservation *qd_reservation_of_others(struct qd_core *core, struct qd_hash128 request,
                                                uint64_t number)
{
    struct qd_index_walk walk = {0};
    uint32_t place;
    while ((place = qd_index_next(&core->request_index, (uint32_t)request.hi, &walk)) !=
           QD_INDEX_NONE) {
        struct qd_reservation *r = &core->reservations[place];
        if (r->number != number && qd_hash128_equal(r->request, request)) {
            return r;
        }
    }
    return NULL;
}

struct qd_reservation *qd_reservation_kept_of_attempt(struct qd_core *core,
                                                      struct qd_hash128 request, uint32_t attempt,
                                                      uint64_t number)
{
    struct qd_index_walk walk = {0};
    uint32_t place;
    while ((place = qd_index_next(&core->request_index, (uint32_t)request.hi, &walk)) !=
           QD_INDEX_NONE) {
        struct qd_reservation *r = &core->reservations[place];
        if (r->state == QD_RESERVATION_KEPT && r->attempt == attempt && r->number != number &&
            qd_hash128_equal(r->request, request)) {
            return r;
        }
    }
    return NULL;
}
