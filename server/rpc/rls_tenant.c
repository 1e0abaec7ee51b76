#include "server/rpc/rls_tenant.h"
#include "server/rpc/call_log.h"

#include "server/rpc/report_batch.h"
#include "server/rpc/rls.h"
#include "server/rpc/rls_denial.h"
#include "server/rpc/rls_facts.h"
#include "server/rpc/server_internal.h"
#include "storage/buf.h"

#include <stdio.h>

#define SOURCE "rls" /* of its entries */
/* From a decision to its booking: a crash between them leaves the hold. */
#define HOLD_TTL_MS  10000
#define KEY_TEXT_MAX 64U

/* One descriptor on its way. */
struct asked {
    struct qd_rls_facts facts;
    struct qd_rls_status status;
    char name[QD_RLS_STATUS_NAME_MAX]; /* status.name */
    char id[QD_SHORT_ID_MAX];          /* of its hold */
    size_t id_len;                     /* 0: it holds nothing */
    uint32_t remaining;                /* status.limit_remaining without it */
    char key[KEY_TEXT_MAX];            /* S6: of a usage's report */
};

/* A call's descriptors. */
struct qd_rls_tenants {
    size_t count;
    bool over;               /* a check was denied */
    struct qd_str denial;    /* fields of the answer: headers and body */
    enum qd_error_code code; /* of what could not be booked */
    struct qd_error error;
    struct asked asked[];
};

bool qd_rls_tenant_is(const struct qd_rpc *rpc, struct qd_str domain)
{
    struct qd_str own = rpc->tenant_domain;

    return domain.len == own.len && own.len > 0 && memcmp(domain.ptr, own.ptr, own.len) == 0;
}

/* --- checks --- */

static struct qd_str text_of(const char *text, size_t len)
{
    return (struct qd_str){text, len};
}

/* What is asked about: that many requests, and whatever tokens: their limits deny who is over them
 * already. */
static void fill_check(const struct qd_rls_facts *facts, int64_t requests, bool dry_run,
                       struct qd_check_args *args)
{
    const struct qd_amount_arg estimate[] = {
        {text_of("requests", 8), requests}, {text_of("input_tokens", 12), 0}, {facts->meter, 0}};
    bool has_meter = facts->meter.len > 0 && !qd_slice_equal(facts->meter, estimate[0].meter) &&
                     !qd_slice_equal(facts->meter, estimate[1].meter);

    memset(args, 0, sizeof(*args));
    args->tenant = facts->tenant;
    args->model = facts->model;
    args->pool = facts->pool;
    args->user = facts->user;
    args->label_count = facts->label_count;
    memcpy(args->labels, facts->labels, facts->label_count * sizeof(facts->labels[0]));
    memcpy(args->estimate, estimate, sizeof(estimate));
    args->estimate_count = has_meter ? 3 : 2;
    args->max_output_given = true;
    args->instant = true; /* RLS never says when a request has ended */
    args->ttl_ms = HOLD_TTL_MS;
    args->dry_run = dry_run || requests == 0; /* D8 */
}

static void release(struct qd_place *place, struct asked *asked)
{
    struct qd_error ignored;
    bool cancelled;

    if (asked->id_len > 0) {
        (void)qd_node_cancel(place->worker, text_of(asked->id, asked->id_len), asked->facts.tenant,
                             &cancelled, &ignored);
        asked->id_len = 0;
        asked->status.limit_remaining = asked->remaining;
    }
}

static void release_all(struct qd_place *place, struct qd_rls_tenants *tenants)
{
    for (size_t i = 0; i < tenants->count; i++) {
        release(place, &tenants->asked[i]);
    }
}

static enum qd_error_code trouble(const struct qd_check_answer *answer, struct qd_error *ret_error)
{
    enum qd_error_code code =
        answer->denial == QD_DENIAL_DRAINING ? QD_ERROR_SHUTTING_DOWN : QD_ERROR_OVERLOADED;

    return qd_error_set(ret_error, code, "%.*s", (int)answer->message_len, answer->message);
}

/* What place->out has is told of the call's first denial: that is the one that its user reads. */
static enum qd_error_code deny(struct qd_place *place, struct qd_call *call,
                               struct qd_rls_tenants *tenants, bool written,
                               struct qd_error *ret_error)
{
    size_t len = qd_out_used(&place->out);

    if (!written || place->out.full) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    if (!tenants->over) {
        char *copy = grpc_call_arena_alloc(call->call, len);
        memcpy(copy, place->out.begin, len);
        tenants->denial = text_of(copy, len);
        tenants->over = true;
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code deny_by_answer(struct qd_place *place, struct qd_call *call,
                                         struct qd_rls_tenants *tenants, const struct asked *asked,
                                         struct qd_error *ret_error)
{
    qd_place_clear(place);
    bool written = qd_rls_put_denial(&place->check_answer, asked->facts.tenant, &place->out);

    return deny(place, call, tenants, written, ret_error);
}

static enum qd_error_code deny_unfit(struct qd_place *place, struct qd_call *call,
                                     struct qd_rls_tenants *tenants, struct asked *asked,
                                     const struct qd_error *why, struct qd_error *ret_error)
{
    qd_place_clear(place);
    bool written = qd_rls_put_unfit(why, asked->facts.tenant, &place->out);

    qd_place_count_refusal(place, why->code);
    qd_call_log_item(call, why->code);
    asked->status = (struct qd_rls_status){.code = QD_RLS_OVER_LIMIT};
    return deny(place, call, tenants, written, ret_error);
}

static enum qd_error_code check(struct qd_place *place, struct qd_call *call,
                                struct qd_rls_tenants *tenants, struct asked *asked,
                                struct qd_error *ret_error)
{
    struct qd_check_answer *answer = &place->check_answer;
    struct qd_error unfit;

    /* X1: a tenant beyond the caller's reach is none that it knows, be it in a client's header. */
    if (qd_rls_facts_validate(&asked->facts, &unfit) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, asked->facts.tenant, &unfit) != QD_ERROR_NONE) {
        return deny_unfit(place, call, tenants, asked, &unfit, ret_error);
    }
    fill_check(&asked->facts, asked->facts.hits, tenants->over, &place->check_args);
    enum qd_error_code code = qd_node_check(place->worker, &place->check_args, answer, &unfit);
    if (code != QD_ERROR_NONE && qd_error_status(code) == QD_STATUS_INVALID_ARGUMENT) {
        return deny_unfit(place, call, tenants, asked, &unfit, ret_error);
    }
    if (code != QD_ERROR_NONE) {
        *ret_error = unfit;
        return code;
    }
    if (!answer->allowed && !qd_rls_denies(answer)) {
        return trouble(answer, ret_error);
    }
    qd_rls_status_of(answer, &asked->status, asked->name);
    if (!answer->allowed) {
        return deny_by_answer(place, call, tenants, asked, ret_error);
    }
    if (answer->id_len > 0) {
        memcpy(asked->id, answer->id, answer->id_len);
        asked->id_len = answer->id_len;
        asked->remaining = qd_rls_remaining(answer, 0);
    }
    return QD_ERROR_NONE;
}

/* All checks; what they hold stays held only if none is denied. */
static enum qd_error_code decide(struct qd_place *place, struct qd_call *call,
                                 struct qd_rls_tenants *tenants, struct qd_error *ret_error)
{
    enum qd_error_code code = QD_ERROR_NONE;

    for (size_t i = 0; i < tenants->count && code == QD_ERROR_NONE; i++) {
        if (!qd_rls_facts_used(&tenants->asked[i].facts)) {
            code = check(place, call, tenants, &tenants->asked[i], ret_error);
        }
    }
    if (code != QD_ERROR_NONE || tenants->over) {
        release_all(place, tenants);
    }
    return code;
}

/* --- the answer --- */

static void put_answer(struct qd_place *place, const struct qd_rls_tenants *tenants)
{
    struct qd_rls_answer *answer = qd_rls_work_answer(place->rls);
    struct qd_worker_figures *figures = &place->worker->figures;
    bool over = false;

    for (size_t i = 0; i < tenants->count; i++) {
        bool this_over = tenants->asked[i].status.code == QD_RLS_OVER_LIMIT;
        answer->statuses[i] = tenants->asked[i].status;
        over = over || this_over;
        qd_count(this_over ? &figures->rls_over : &figures->rls_ok);
    }
    answer->status_count = tenants->count;
    answer->overall_code = over ? QD_RLS_OVER_LIMIT : QD_RLS_OK;
    answer->header_count = 0;
    answer->raw_body = text_of(NULL, 0);
    qd_rls_encode(answer, &place->out);
    qd_out_append(&place->out, tenants->denial);
}

/* --- asking --- */

/* In the call's arena, where it outlives this thread's work on it: its facts point to a copy of the
 * message. */
static enum qd_error_code read(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                               struct qd_rls_tenants **ret_tenants, struct qd_error *ret_error)
{
    const struct qd_policy *policy =
        atomic_load_explicit(&place->node->published, memory_order_acquire)->policy;
    struct qd_rls_request *request = qd_rls_work_request(place->rls);
    char *copy = grpc_call_arena_alloc(call->call, bytes.len);

    memcpy(copy, bytes.ptr, bytes.len);
    enum qd_error_code code = qd_rls_decode(text_of(copy, bytes.len), request, ret_error);
    if (code == QD_ERROR_NONE && request->descriptor_count == 0) {
        code = qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "descriptors: must not be empty");
    }
    if (code != QD_ERROR_NONE) {
        return code;
    }
    size_t size = sizeof(struct qd_rls_tenants) + request->descriptor_count * sizeof(struct asked);
    struct qd_rls_tenants *tenants = grpc_call_arena_alloc(call->call, size);
    memset(tenants, 0, size);
    tenants->count = request->descriptor_count;
    for (size_t i = 0; i < tenants->count && code == QD_ERROR_NONE; i++) {
        struct qd_rls_facts *facts = &tenants->asked[i].facts;
        code = qd_rls_facts_read(request, i, policy, facts, ret_error);
        if (code == QD_ERROR_NONE && qd_rls_facts_used(facts)) {
            code = qd_caller_reaches(&call->caller, facts->tenant, ret_error);
        }
    }
    *ret_tenants = tenants;
    return code;
}

static bool waits(const struct asked *asked)
{
    return asked->id_len > 0 || qd_rls_facts_used(&asked->facts);
}

enum qd_error_code qd_rls_tenant_ask(struct qd_place *place, struct qd_call *call,
                                     struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_rls_tenants *tenants = NULL;
    enum qd_error_code code = read(place, call, bytes, &tenants, ret_error);

    if (code == QD_ERROR_NONE) {
        code = decide(place, call, tenants, ret_error);
    }
    if (code != QD_ERROR_NONE) {
        return code;
    }
    for (size_t i = 0; i < tenants->count; i++) {
        if (waits(&tenants->asked[i])) {
            call->tenants = tenants;
            return QD_ERROR_NONE;
        }
    }
    qd_place_clear(place);
    put_answer(place, tenants);
    return QD_ERROR_NONE;
}

/* --- booking --- */

/* Reports of several calls that are begun, and whose they are. */
struct booking {
    struct qd_place *place;
    uint32_t count;
    struct {
        struct qd_rls_tenants *tenants;
        struct asked *asked;
    } of[QD_REPORTS_AT_ONCE];
};

/* S6: RLS has no key, so each call is a report of its own. */
static struct qd_str make_key(struct qd_place *place, char text[KEY_TEXT_MAX])
{
    uint64_t number = atomic_fetch_add_explicit(&place->rpc->usages, 1, memory_order_relaxed);
    int len = snprintf(text, KEY_TEXT_MAX, "%016llx.%llu.%llu",
                       (unsigned long long)place->node->name_hash,
                       (unsigned long long)place->node->incarnation, (unsigned long long)number);

    return text_of(text, (size_t)len);
}

static void fill_report(struct qd_place *place, struct asked *asked, struct qd_report_args *args)
{
    const struct qd_rls_facts *facts = &asked->facts;

    memset(args, 0, sizeof(*args));
    args->source = text_of(SOURCE, sizeof(SOURCE) - 1);
    args->usage_count = 1;
    if (asked->id_len > 0) { /* the reservation knows the rest */
        args->reservation = text_of(asked->id, asked->id_len);
        args->usage[0] = (struct qd_amount_arg){text_of("requests", 8), facts->hits};
        return;
    }
    args->tenant = facts->tenant;
    args->model = facts->model;
    args->pool = facts->pool;
    args->user = facts->user;
    args->label_count = facts->label_count;
    memcpy(args->labels, facts->labels, facts->label_count * sizeof(facts->labels[0]));
    args->request_id = make_key(place, asked->key);
    args->sequence = 1; /* a part of a request, which was counted when it came, or is not */
    args->usage[0] = (struct qd_amount_arg){facts->meter, facts->hits};
}

/* What a usage has left of the tenant's limits: told after it is booked. */
static void look(struct qd_place *place, struct asked *asked, bool over)
{
    struct qd_error ignored;
    struct qd_check_answer *answer = &place->check_answer;

    fill_check(&asked->facts, 0, true, &place->check_args);
    asked->status = (struct qd_rls_status){.code = QD_RLS_OK};
    if (qd_node_check(place->worker, &place->check_args, answer, &ignored) == QD_ERROR_NONE) {
        qd_rls_status_of(answer, &asked->status, asked->name);
    }
    if (over) {
        asked->status.code = QD_RLS_OVER_LIMIT;
    }
}

static void end_one(struct booking *b, uint32_t i)
{
    struct qd_rls_tenants *tenants = b->of[i].tenants;
    struct asked *asked = b->of[i].asked;
    const struct qd_report_result *result = qd_reports_result(b->place->reports->reports, i);

    if (result->code == QD_ERROR_NONE) {
        asked->id_len = 0;
        if (asked->facts.meter.len > 0) {
            look(b->place, asked, result->answer.limits_over > 0);
        }
        return;
    }
    release(b->place, asked);
    if (tenants->code == QD_ERROR_NONE) {
        tenants->code = result->code;
        tenants->error = result->error;
    }
}

static void flush(struct booking *b)
{
    if (b->count == 0) {
        return;
    }
    (void)qd_reports_finish(b->place->reports->reports);
    for (uint32_t i = 0; i < b->count; i++) {
        end_one(b, i);
    }
    b->count = 0;
}

static void begin_one(struct booking *b, struct qd_rls_tenants *tenants, struct asked *asked)
{
    struct qd_report_batch *batch = b->place->reports;

    if (b->count == QD_REPORTS_AT_ONCE) {
        flush(b);
    }
    struct qd_report_args *args = &batch->item[b->count].args;
    fill_report(b->place, asked, args);
    while (!qd_reports_begin(batch->reports, args)) {
        flush(b);
        args = &batch->item[b->count].args;
        fill_report(b->place, asked, args);
    }
    b->of[b->count].tenants = tenants;
    b->of[b->count++].asked = asked;
}

static void reply(struct qd_place *place, struct qd_call *call)
{
    struct qd_rls_tenants *tenants = call->tenants;

    qd_place_clear(place);
    if (tenants->code == QD_ERROR_NONE) {
        put_answer(place, tenants);
    }
    qd_call_reply(place, call, tenants->code, &tenants->error);
}

void qd_rls_tenant_book(struct qd_place *place, struct qd_call *const *calls, uint32_t count)
{
    struct booking b = {.place = place};

    for (uint32_t c = 0; c < count; c++) {
        struct qd_rls_tenants *tenants = calls[c]->tenants;
        for (size_t i = 0; i < tenants->count; i++) {
            if (waits(&tenants->asked[i])) {
                begin_one(&b, tenants, &tenants->asked[i]);
            }
        }
    }
    flush(&b);
    for (uint32_t c = 0; c < count; c++) {
        reply(place, calls[c]);
    }
}

void qd_rls_tenant_give_up(struct qd_place *place, struct qd_call *call)
{
    if (call->tenants != NULL) {
        release_all(place, call->tenants);
    }
}
