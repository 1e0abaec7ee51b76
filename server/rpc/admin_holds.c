/* AdminService: ListReservations, ReleaseReservation (S9). */
#include "quota/v1/admin.pb-c.h"
#include "server/rpc/admin.h"
#include "server/rpc/audit.h"
#include "server/rpc/text.h"
#include "server/shard/directory.h"
#include "server/shard/reference.h"
#include "server/shard/validate.h"

#include <stdio.h>
#include <stdlib.h>

#define WALK_CHUNK 128U

struct filter {
    struct qd_str tenant;
    int64_t made_before_ns;
};

static bool wanted(const struct filter *f, const struct qd_hold *hold)
{
    return hold->made_at.ns <= f->made_before_ns && qd_path_within(hold->tenant, f->tenant);
}

static void put_amounts(struct qd_out *out, uint32_t id, int64_t tokens, int64_t cost)
{
    qd_out_amount(out, id, qd_str_of("tokens"), tokens);
    if (cost > 0) {
        qd_out_amount(out, id, qd_str_of("cost"), cost);
    }
}

static void put_hold(struct qd_place *place, const struct qd_shard *home,
                     const struct qd_hold *hold)
{
    struct qd_out *out = &place->out;
    char id[QD_SHORT_ID_MAX];
    size_t len =
        qd_short_id_encode(qd_shards_number(&place->node->shards, home, hold->reservation), id);
    uint8_t *message = qd_out_begin(out, 1);

    qd_out_bytes(out, 1, id, len);
    qd_out_str(out, 2, hold->tenant);
    qd_out_number(out, 3, (uint64_t)hold->made_at.ns);
    qd_out_number(out, 4, (uint64_t)hold->expires.ns);
    put_amounts(out, 5, hold->held_tokens, hold->held_cost_nano);
    qd_out_number(out, 6, hold->expired);
    qd_out_end(out, message);
}

/* --- listing --- */

struct place_in_walk {
    uint32_t shard;
    uint64_t cursor;
};

/* Fill a page from *at on; true if there may be more, *at is then where. */
static bool walk(struct qd_place *place, const struct filter *f, struct place_in_walk *at,
                 uint32_t page)
{
    struct qd_shards *shards = &place->node->shards;
    struct qd_hold hold;

    while (at->shard < shards->count) {
        struct qd_shard *home = &shards->home[at->shard];
        bool more = true;
        (void)pthread_mutex_lock(&home->lock);
        for (unsigned i = 0; i < WALK_CHUNK && more && page > 0; i++) {
            more = qd_core_hold_next(home->core, &at->cursor, &hold);
            if (more && wanted(f, &hold)) {
                put_hold(place, home, &hold);
                page--;
            }
        }
        (void)pthread_mutex_unlock(&home->lock);
        if (page == 0) {
            return true;
        }
        if (!more) {
            at->shard++;
            at->cursor = 0;
        }
    }
    return false;
}

enum qd_error_code qd_admin_list_reservations(struct qd_place *place, struct qd_call *call,
                                              struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ListReservationsRequest *q =
        qd_place_unpack(place, &quota__v1__list_reservations_request__descriptor, bytes, ret_error);
    struct place_in_walk at = {0, 0};
    uint32_t page = 0;
    char token[48];

    if (q == NULL) {
        return ret_error->code;
    }
    struct qd_str tenant = qd_str_of(q->tenant);
    if (qd_page_size(q->page_size, &page, ret_error) != QD_ERROR_NONE ||
        qd_optional_tenant(tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &tenant, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    unsigned long long cursor = 0;
    if (q->page_token[0] != '\0' && sscanf(q->page_token, "%u.%llu", &at.shard, &cursor) != 2) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
                            "page_token: not as this server gave it; begin with the first page");
    }
    at.cursor = cursor;
    int64_t now = qd_clock_now(&place->node->clock).ns;
    int64_t age =
        q->older_than_ms > 0 && q->older_than_ms < now / QD_NS_PER_MS ? q->older_than_ms : 0;
    struct filter f = {tenant, now - age * QD_NS_PER_MS};
    if (walk(place, &f, &at, page)) {
        int len =
            snprintf(token, sizeof(token), "%u.%llu", at.shard, (unsigned long long)at.cursor);
        qd_out_str(&place->out, 2, (struct qd_str){token, (size_t)len});
    }
    return QD_ERROR_NONE;
}

/* --- adding up --- */

/* A tenant's holds are in the slice of its root; without a tenant all are looked through. */
struct qd_held qd_admin_held(struct qd_place *place, struct qd_str tenant)
{
    struct qd_shards *shards = &place->node->shards;
    struct qd_held sum = {0};
    struct qd_hold hold;

    for (uint32_t i = 0; i < shards->count; i++) {
        struct qd_shard *home = &shards->home[i];
        uint64_t cursor = 0;
        bool more = tenant.len == 0 || home == qd_shards_of(shards, tenant);
        while (more) {
            (void)pthread_mutex_lock(&home->lock);
            for (unsigned k = 0; k < WALK_CHUNK && more; k++) {
                more = qd_core_hold_next(home->core, &cursor, &hold);
                if (more && qd_path_within(hold.tenant, tenant)) {
                    sum.reservations++;
                    sum.tokens += hold.held_tokens;
                    sum.cost_nano_usd += hold.held_cost_nano;
                }
            }
            (void)pthread_mutex_unlock(&home->lock);
        }
    }
    return sum;
}

/* --- releasing --- */

struct released {
    uint32_t count;
    int64_t tokens;
    int64_t cost;
    char tenant[QD_TENANT_PATH_MAX + 1]; /* of the last one */
};

static bool release_one(struct qd_place *place, struct qd_shard *home, uint64_t reservation,
                        struct qd_str within, bool dry, struct released *sum)
{
    struct qd_shards *shards = &place->node->shards;
    struct qd_hold hold;

    if (!qd_core_hold(home->core, reservation, &hold) || !qd_path_within(hold.tenant, within)) {
        return false;
    }
    (void)snprintf(sum->tenant, sizeof(sum->tenant), "%.*s", (int)hold.tenant.len, hold.tenant.ptr);
    if (!dry && qd_core_cancel(home->core, qd_shards_commons(shards), reservation,
                               qd_clock_now(&place->node->clock)) != QD_OK) {
        return false;
    }
    sum->count++;
    sum->tokens += hold.held_tokens;
    sum->cost += hold.held_cost_nano;
    return true;
}

/* Numbers are collected first: a walk doesn't go on over what it takes away. */
static void release_many(struct qd_place *place, const struct filter *f, bool dry,
                         struct released *sum)
{
    struct qd_shards *shards = &place->node->shards;
    uint64_t numbers[WALK_CHUNK];

    for (uint32_t i = 0; i < shards->count; i++) {
        struct qd_shard *home = &shards->home[i];
        uint64_t cursor = 0;
        bool more = true;
        while (more) {
            struct qd_hold hold;
            size_t count = 0;
            qd_shards_lock(shards, home);
            for (unsigned k = 0; k < WALK_CHUNK && more; k++) {
                more = qd_core_hold_next(home->core, &cursor, &hold);
                if (more && wanted(f, &hold)) {
                    numbers[count++] = hold.reservation;
                }
            }
            for (size_t k = 0; k < count; k++) {
                (void)release_one(place, home, numbers[k], f->tenant, dry, sum);
            }
            qd_shards_unlock(shards, home);
        }
    }
}

/* X1: a bound caller's hold lies within its subtree, or is not there. */
static enum qd_error_code release_named(struct qd_place *place, const struct qd_caller *caller,
                                        const Quota__V1__ReleaseReservationRequest *q,
                                        struct released *sum, struct qd_error *ret_error)
{
    struct qd_shards *shards = &place->node->shards;
    struct qd_str name = qd_str_of(q->reservation);
    struct qd_reference reference;
    uint64_t number = 0;

    if (!qd_short_id_decode(name, &number)) {
        if (qd_reference_read(place->node, name, qd_str_of(q->tenant), &reference, ret_error) !=
            QD_ERROR_NONE) {
            return ret_error->code;
        }
        number = reference.ours ? reference.token.reservation : 0;
    }
    uint64_t reservation = 0;
    struct qd_shard *home = qd_shards_by_number(shards, number, &reservation);
    qd_shards_lock(shards, home);
    bool released = reservation != 0 && release_one(place, home, reservation,
                                                    qd_caller_tenant(caller), q->dry_run != 0, sum);
    qd_shards_unlock(shards, home);
    if (!released) {
        return qd_error_set(
            ret_error, QD_ERROR_UNKNOWN_RESERVATION,
            "reservation: %s is not open on this node; run: quotactl reservations ls",
            qd_quote(name).text);
    }
    return QD_ERROR_NONE;
}

static void audit_release(struct qd_place *place, const struct qd_call *call,
                          const Quota__V1__ReleaseReservationRequest *q, const struct released *sum)
{
    char detail[128];
    bool named = q->reservation[0] != '\0';
    int len = snprintf(detail, sizeof(detail), "%u released, %lld tokens held%s%.40s", sum->count,
                       (long long)sum->tokens, named ? ": " : "", named ? q->reservation : "");

    qd_audit_write(
        place, call,
        &(struct qd_audit_action){.action = "ReleaseReservation",
                                  .subject = qd_slice_of(named ? sum->tenant : q->tenant),
                                  .detail = {detail, (size_t)len},
                                  .before = {detail, (size_t)len}});
}

enum qd_error_code qd_admin_release_reservation(struct qd_place *place, struct qd_call *call,
                                                struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ReleaseReservationRequest *q = qd_place_unpack(
        place, &quota__v1__release_reservation_request__descriptor, bytes, ret_error);
    struct released sum = {.count = 0};

    if (q == NULL) {
        return ret_error->code;
    }
    if (q->reservation[0] != '\0') {
        if (release_named(place, &call->caller, q, &sum, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
    } else {
        if (qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
            qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
        int64_t now = qd_clock_now(&place->node->clock).ns;
        int64_t age =
            q->older_than_ms > 0 && q->older_than_ms < now / QD_NS_PER_MS ? q->older_than_ms : 0;
        struct filter f = {qd_str_of(q->tenant), now - age * QD_NS_PER_MS};
        release_many(place, &f, q->dry_run != 0, &sum);
    }
    if (sum.count > 0 && !q->dry_run) {
        audit_release(place, call, q, &sum);
    }
    qd_out_number(&place->out, 1, sum.count);
    put_amounts(&place->out, 2, sum.tokens, sum.cost);
    return QD_ERROR_NONE;
}
