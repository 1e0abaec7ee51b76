/* Reservation: the hold that an allowed check makes until it is settled, released or expires (S1).
 * Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   384 bytes each. Numbers only grow, number % ring is the record's place, and places that
 *           are taken are skipped: holds of equal length follow each other through memory, and a
 *           number names its record without an index and never another's (D13). The ring is a part
 *           of the table, 1/2^QD_RING_SHIFT_MAX at first, and doubles when three quarters are
 * taken: the pages that are touched follow the holds that are open at once.
 */
#ifndef QD_CORE_RESERVATION_H
#define QD_CORE_RESERVATION_H

#include "slice.h"

/* A free record with the next number, its state OPEN and nothing else set; NULL when all are live.
 */
struct qd_reservation *qd_reservation_take(struct qd_core *core);

/* A free record for a number of an earlier boot, where qd_reservation_find looks for it, at `place`
 * if that is one; OPEN and nothing else set. NULL: its places are taken. */
struct qd_reservation *qd_reservation_place(struct qd_core *core, uint64_t number, uint32_t place);

/* The store has another state of it. */
void qd_reservation_changed(struct qd_core *core, const struct qd_reservation *r);

/* The live record of this number, or NULL. */
struct qd_reservation *qd_reservation_find(struct qd_core *core, uint64_t number);

/* Enter the charges and the expected usage. False: they need a spill and none is free. */
bool qd_reservation_fill(struct qd_core *core, struct qd_reservation *r,
                         const struct qd_charge *charges, unsigned count,
                         const struct qd_usage *expected);

/* Give a record back, taking it out of the wheel, the request index, its root's and name's counts.
 */
void qd_reservation_free(struct qd_core *core, struct qd_reservation *r);

/* An open record is kept from now on (S5). It counts in its root's quota no more (D12: what is kept
 * takes nobody's room for new holds). */
void qd_reservation_keep(struct qd_core *core, struct qd_reservation *r);

/* Give the record that has been kept longest back though its windows go on, to make room: what it
 * charged stays charged there, and a report that still comes is booked beside it. False: none is
 * kept. */
bool qd_reservation_forget_kept(struct qd_core *core);

struct qd_charge *qd_reservation_charges(struct qd_core *core, struct qd_reservation *r);

/* What is still expected: estimated and not yet reported. */
void qd_reservation_expected(const struct qd_core *core, const struct qd_reservation *r,
                             struct qd_usage *ret_usage);

/* Replace what is expected. False, with everything as it was, if more meters don't find room. */
bool qd_reservation_expect(struct qd_core *core, struct qd_reservation *r,
                           const struct qd_usage *expected);

/* The newest live record of this (request, attempt), or NULL. (One that is kept may have a
 * successor, made by the same check after it expired.) */
struct qd_reservation *qd_reservation_of_request(struct qd_core *core, struct qd_hash128 request,
                                                 uint32_t attempt);

/* A live record of this request under another number, or NULL: of another attempt, or of the same
 * one, checked again after the first had expired. */
struct qd_reservation *qd_reservation_of_others(struct qd_core *core, struct qd_hash128 request,
                                                uint64_t number);

/* A kept record of this (request, attempt) under another number, or NULL. */
struct qd_reservation *qd_reservation_kept_of_attempt(struct qd_core *core,
                                                      struct qd_hash128 request, uint32_t attempt,
                                                      uint64_t number);

static inline bool qd_request_given(struct qd_hash128 request)
{
    return (request.lo | request.hi) != 0;
}

/* S1: a hold lives until the first whole second at or after its expiry. */
static inline int64_t qd_due_second(int64_t expires_ns)
{
    return expires_ns / QD_NS_PER_S + (expires_ns % QD_NS_PER_S != 0);
}

#endif /* QD_CORE_RESERVATION_H */
