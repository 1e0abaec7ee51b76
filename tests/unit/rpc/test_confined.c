/* X1: a credential that is bound to acme reads and changes nothing of globex, whatever it asks for.
 * Nor of acme-2, which begins like acme. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <string.h>

#define QUOTA "/quota.v1.QuotaService/"
#define USAGE "/quota.v1.UsageService/"
#define ADMIN "/quota.v1.AdminService/"

static struct served s;
static const char *const strangers[] = {"globex", "globex/x", "acme-2", "acm"};
#define STRANGERS (sizeof(strangers) / sizeof(strangers[0]))

/* The answer, or NULL: s.reason says why. */
static void *call(const char *token, const char *path, const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *type)
{
    grpc_status_code status;

    s.token = token;
    return served_call(&s, path, request, type, &status);
}

static void forget(void *answer)
{
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
}

static void expect_refused(void *answer, const char *reason, const char *what)
{
    cr_expect_null(answer, "%s was answered", what);
    cr_expect_str_eq(s.reason, reason, "%s: \"%s\"", what, s.reason);
    forget(answer);
}

static bool is_acme(const char *tenant)
{
    return strncmp(tenant, "acme", 4) == 0 && (tenant[4] == '\0' || tenant[4] == '/');
}

/* --- what there is: a report, an open hold and a record of each tenant --- */

static const char *const tenants[] = {"acme", "acme/x", "acme-2", "globex", "globex/x"};
#define TENANTS (sizeof(tenants) / sizeof(tenants[0]))
static char holds[TENANTS][1100]; /* tokens */
static char short_ids[TENANTS][32];

static void report(const char *tenant, const char *id)
{
    Quota__V1__Amount usage;
    quota__v1__amount__init(&usage);
    Quota__V1__Amount *usages[] = {&usage};
    Quota__V1__ReportUsageRequest q;
    quota__v1__report_usage_request__init(&q);

    usage.meter = cast_text("input_tokens");
    usage.amount = 7;
    q.tenant = cast_text(tenant);
    q.model = cast_text("m");
    q.request_id = cast_text(id);
    q.n_usage = 1;
    q.usage = usages;
    void *answer = call("gateway", QUOTA "ReportUsage", &q.base,
                        &quota__v1__report_usage_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    forget(answer);
}

static void hold(size_t i)
{
    Quota__V1__CheckQuotaRequest q;
    quota__v1__check_quota_request__init(&q);

    q.tenant = cast_text(tenants[i]);
    q.model = cast_text("m");
    Quota__V1__CheckQuotaResponse *answer =
        call("gateway", QUOTA "CheckQuota", &q.base, &quota__v1__check_quota_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    cr_assert_not_null(answer->reservation);
    (void)snprintf(holds[i], sizeof(holds[i]), "%s", answer->reservation->token);
    (void)snprintf(short_ids[i], sizeof(short_ids[i]), "%s", answer->reservation->id);
    forget(answer);
}

static void record(const char *tenant)
{
    Quota__V1__PutTenantRequest q;
    quota__v1__put_tenant_request__init(&q);

    q.tenant = cast_text(tenant);
    q.plan = cast_text("free");
    void *answer =
        call("admin", ADMIN "PutTenant", &q.base, &quota__v1__put_tenant_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    forget(answer);
}

static void setup(void)
{
    struct served_with with = cast_with();

    served_open(&s, &with);
    for (size_t i = 0; i < TENANTS; i++) {
        report(tenants[i], "r"); /* entry i + 1 */
        hold(i);
        record(tenants[i]);
    }
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(confined, .init = setup, .fini = teardown, .timeout = 120);

/* --- QueryUsage --- */

static Quota__V1__QueryUsageResponse *query(const char *token, Quota__V1__QueryUsageRequest *q)
{
    return call(token, USAGE "QueryUsage", &q->base, &quota__v1__query_usage_response__descriptor);
}

/* Every row names its tenant, and is of acme. */
static void expect_acme_rows(Quota__V1__QueryUsageRequest *q, size_t rows)
{
    Quota__V1__GroupBy by;
    quota__v1__group_by__init(&by);
    Quota__V1__GroupBy *bys[] = {&by};

    by.dimension = QUOTA__V1__DIMENSION__DIMENSION_TENANT;
    q->n_group_by = 1;
    q->group_by = bys;
    Quota__V1__QueryUsageResponse *answer = query("acme-billing", q);
    cr_assert_not_null(answer, "%s", s.reason);
    cr_expect_eq(answer->n_rows, rows, "%zu rows, not %zu", answer->n_rows, rows);
    for (size_t i = 0; i < answer->n_rows; i++) {
        cr_expect(is_acme(answer->rows[i]->groups[0]->value), "a row of %s",
                  answer->rows[i]->groups[0]->value);
    }
    forget(answer);
    q->n_group_by = 0;
}

Test(confined, X1_QueryUsage_tenant)
{
    Quota__V1__QueryUsageRequest q;
    quota__v1__query_usage_request__init(&q);

    expect_acme_rows(&q, 2); /* without a tenant: all that it may see */
    q.tenant = cast_text("acme");
    expect_acme_rows(&q, 2);
    q.tenant = cast_text("acme/x");
    expect_acme_rows(&q, 1);
    for (size_t i = 0; i < STRANGERS; i++) {
        q.tenant = cast_text(strangers[i]);
        expect_refused(query("acme-billing", &q), "TENANT_FORBIDDEN", strangers[i]);
    }
    q.tenant = cast_text("acme/../globex"); /* a path is no folder: nobody's name */
    expect_acme_rows(&q, 0);
    q.tenant = cast_text("*");
    expect_refused(query("acme-billing", &q), "INVALID_TENANT", "*");
    q.tenant = cast_text("/globex");
    expect_refused(query("acme-billing", &q), "INVALID_TENANT", "/globex");
}

Test(confined, X1_QueryUsage_filters_and_groups)
{
    Quota__V1__QueryUsageRequest q;
    quota__v1__query_usage_request__init(&q);
    Quota__V1__UsageFilter filter;
    quota__v1__usage_filter__init(&filter);
    Quota__V1__UsageFilter *filters[] = {&filter};
    char *values[] = {cast_text("globex"), cast_text("acme-2"), cast_text("")};

    filter.dimension = QUOTA__V1__DIMENSION__DIMENSION_TENANT;
    filter.n_values = 3;
    filter.values = values;
    q.n_filters = 1;
    q.filters = filters;
    Quota__V1__QueryUsageResponse *all = query("billing", &q);
    cr_assert_not_null(all);
    cr_expect_gt(all->n_rows, 0);
    forget(all);
    Quota__V1__GroupBy by;
    quota__v1__group_by__init(&by);
    Quota__V1__GroupBy *bys[] = {&by};
    by.dimension = QUOTA__V1__DIMENSION__DIMENSION_TENANT;
    by.tenant_level = 1;
    q.n_group_by = 1;
    q.group_by = bys;
    Quota__V1__QueryUsageResponse *answer = query("acme-billing", &q);
    cr_assert_not_null(answer, "%s", s.reason);
    for (size_t i = 0; i < answer->n_rows; i++) {
        cr_expect_str_eq(answer->rows[i]->groups[0]->value, "acme");
    }
    forget(answer);
    q.n_filters = 0;
    answer = query("acme-billing", &q);
    cr_assert_not_null(answer, "%s", s.reason);
    cr_assert_eq(answer->n_rows, 1);
    cr_expect_str_eq(answer->rows[0]->groups[0]->value, "acme");
    cr_expect_eq(answer->rows[0]->entries, 2);
    forget(answer);
}

Test(confined, X1_QueryUsage_pages_of_others_and_what_is_held)
{
    Quota__V1__QueryUsageRequest q;
    quota__v1__query_usage_request__init(&q);
    Quota__V1__GroupBy by;
    quota__v1__group_by__init(&by);
    Quota__V1__GroupBy *bys[] = {&by};

    by.dimension = QUOTA__V1__DIMENSION__DIMENSION_TENANT;
    q.n_group_by = 1;
    q.group_by = bys;
    q.page_size = 1;
    char token[4096] = "";
    size_t pages = 0;
    do { /* each place that a page can begin at */
        q.page_token = token;
        Quota__V1__QueryUsageResponse *of_all = query("billing", &q);
        cr_assert_not_null(of_all, "%s", s.reason);
        (void)snprintf(token, sizeof(token), "%s", of_all->next_page_token);
        forget(of_all);
        Quota__V1__QueryUsageRequest mine;
        quota__v1__query_usage_request__init(&mine);
        mine.page_token = token;
        Quota__V1__GroupBy *same[] = {&by};
        mine.n_group_by = 1;
        mine.group_by = same;
        Quota__V1__QueryUsageResponse *answer = query("acme-billing", &mine);
        for (size_t i = 0; answer != NULL && i < answer->n_rows; i++) {
            cr_expect(is_acme(answer->rows[i]->groups[0]->value));
        }
        forget(answer);
        pages++;
    } while (token[0] != '\0' && pages < 20);
    cr_expect_geq(pages, TENANTS);
    Quota__V1__QueryUsageRequest held;
    quota__v1__query_usage_request__init(&held);
    held.include_held = true;
    Quota__V1__QueryUsageResponse *answer = query("acme-billing", &held);
    cr_assert_not_null(answer);
    cr_expect_eq(answer->held->reservations, 2);
    forget(answer);
    answer = query("billing", &held);
    cr_expect_eq(answer->held->reservations, TENANTS);
    forget(answer);
}

/* --- the ledger's entries --- */

Test(confined, X1_ListLedgerEntries)
{
    Quota__V1__ListLedgerEntriesRequest q;
    quota__v1__list_ledger_entries_request__init(&q);
    char cursor[8];

    for (size_t i = 0; i < STRANGERS; i++) {
        q.tenant = cast_text(strangers[i]);
        expect_refused(call("acme-billing", USAGE "ListLedgerEntries", &q.base,
                            &quota__v1__list_ledger_entries_response__descriptor),
                       "TENANT_FORBIDDEN", strangers[i]);
    }
    q.tenant = cast_text("");
    for (size_t from = 0; from <= TENANTS; from++) { /* whatever entry it begins at */
        (void)snprintf(cursor, sizeof(cursor), "%zu", from);
        q.cursor = cursor;
        Quota__V1__ListLedgerEntriesResponse *answer =
            call("acme-billing", USAGE "ListLedgerEntries", &q.base,
                 &quota__v1__list_ledger_entries_response__descriptor);
        cr_assert_not_null(answer, "%s", s.reason);
        cr_expect_eq(answer->n_entries, from == 0 ? 2 : from == 1 ? 1 : 0);
        for (size_t i = 0; i < answer->n_entries; i++) {
            cr_expect(is_acme(answer->entries[i]->tenant));
        }
        forget(answer);
    }
}

static void *correct(const char *token, Quota__V1__CorrectUsageRequest *q)
{
    q->correction_id = cast_text("c");
    q->reason = cast_text("test");
    return call(token, USAGE "CorrectUsage", &q->base,
                &quota__v1__correct_usage_response__descriptor);
}

Test(confined, X1_CorrectUsage)
{
    Quota__V1__CorrectUsageRequest q;
    quota__v1__correct_usage_request__init(&q);

    q.take_back = true;
    for (unsigned dry = 0; dry < 2; dry++) {
        q.dry_run = dry == 0;
        for (uint64_t entry = 3; entry <= TENANTS; entry++) { /* by its number */
            q.sequence = entry;
            expect_refused(correct("acme-admin", &q), "TENANT_FORBIDDEN", "another's entry");
        }
        Quota__V1__ReportKey key; /* by its key */
        quota__v1__report_key__init(&key);
        key.request_id = cast_text("r");
        q.sequence = 0;
        q.report = &key;
        for (size_t i = 0; i < STRANGERS; i++) {
            key.tenant = cast_text(strangers[i]);
            expect_refused(correct("acme-admin", &q), "TENANT_FORBIDDEN", strangers[i]);
        }
        q.report = NULL;
    }
    q.take_back = false; /* its own, moved to another */
    q.sequence = 1;
    for (size_t i = 0; i < STRANGERS; i++) {
        q.tenant = cast_text(strangers[i]);
        expect_refused(correct("acme-admin", &q), "TENANT_FORBIDDEN", strangers[i]);
    }
    q.tenant = cast_text("acme/x");
    expect_refused(correct("acme-billing", &q), "TENANT_FORBIDDEN", "its own bill");
    void *answer = correct("acme-admin", &q);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
}

Test(confined, X1_PriceUnpriced)
{
    Quota__V1__PriceUnpricedRequest q;
    quota__v1__price_unpriced_request__init(&q);

    for (size_t i = 0; i < STRANGERS; i++) {
        q.tenant = cast_text(strangers[i]);
        expect_refused(call("acme-admin", USAGE "PriceUnpriced", &q.base,
                            &quota__v1__price_unpriced_response__descriptor),
                       "TENANT_FORBIDDEN", strangers[i]);
    }
    q.tenant = cast_text("");
    Quota__V1__PriceUnpricedResponse *mine = call("acme-admin", USAGE "PriceUnpriced", &q.base,
                                                  &quota__v1__price_unpriced_response__descriptor);
    Quota__V1__PriceUnpricedResponse *all = call("admin", USAGE "PriceUnpriced", &q.base,
                                                 &quota__v1__price_unpriced_response__descriptor);
    cr_assert(mine != NULL && all != NULL, "%s", s.reason);
    cr_expect_leq(mine->unpriced + mine->priced, 2);
    forget(mine);
    forget(all);
}

/* The first event that a watcher hears, while entries of others are corrected before its own. */
Test(confined, X1_WatchEvents)
{
    Quota__V1__WatchEventsRequest w;
    quota__v1__watch_events_request__init(&w);
    grpc_metadata_array initial;
    grpc_byte_buffer *received = NULL;
    grpc_metadata authorization = {.key = grpc_slice_from_static_string("authorization"),
                                   .value = grpc_slice_from_static_string("Bearer acme-billing")};

    for (size_t i = 0; i < STRANGERS; i++) {
        w.tenant = cast_text(strangers[i]);
        expect_refused(
            call("acme-billing", USAGE "WatchEvents", &w.base, &quota__v1__event__descriptor),
            "TENANT_FORBIDDEN", strangers[i]);
    }
    grpc_slice nothing = grpc_empty_slice();
    grpc_byte_buffer *sent = grpc_raw_byte_buffer_create(&nothing, 1);
    grpc_call *watch = grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue,
                                                grpc_slice_from_static_string(USAGE "WatchEvents"),
                                                NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_metadata_array_init(&initial);
    grpc_op ops[4] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA,
         .data.send_initial_metadata = {.metadata = &authorization, .count = 1}},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sent},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &initial},
    };
    cr_assert_eq(grpc_call_start_batch(watch, ops, 4, watch, NULL), GRPC_CALL_OK);
    (void)grpc_completion_queue_pluck(s.queue, watch, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    Quota__V1__CorrectUsageRequest q;
    quota__v1__correct_usage_request__init(&q);
    q.take_back = true;
    for (uint64_t entry = TENANTS; entry >= 1; entry--) {
        q.sequence = entry;
        void *answer = correct("admin", &q);
        cr_assert_not_null(answer, "%s", s.reason);
        forget(answer);
    }
    grpc_op hear = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &received};
    cr_assert_eq(grpc_call_start_batch(watch, &hear, 1, &received, NULL), GRPC_CALL_OK);
    (void)grpc_completion_queue_pluck(s.queue, &received, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    cr_assert_not_null(received);
    grpc_byte_buffer_reader reader;
    cr_assert(grpc_byte_buffer_reader_init(&reader, received));
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    Quota__V1__Event *event =
        quota__v1__event__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
    cr_assert_not_null(event);
    cr_expect_str_eq(event->tenant, "acme/x"); /* of 5, 4, 3, 2, 1: the first that is acme's */
    quota__v1__event__free_unpacked(event, NULL);
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(received);
    grpc_byte_buffer_destroy(sent);
    (void)grpc_call_cancel(watch, NULL);
    grpc_call_unref(watch);
    grpc_metadata_array_destroy(&initial);
}

/* --- QuotaService --- */

static uint64_t open_holds(void)
{
    Quota__V1__ListReservationsRequest q;
    quota__v1__list_reservations_request__init(&q);
    Quota__V1__ListReservationsResponse *answer =
        call("admin", ADMIN "ListReservations", &q.base,
             &quota__v1__list_reservations_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    uint64_t count = answer->n_reservations;
    forget(answer);
    return count;
}

Test(confined, X1_CheckQuota)
{
    Quota__V1__CheckQuotaRequest q;
    quota__v1__check_quota_request__init(&q);

    q.model = cast_text("m");
    for (size_t i = 0; i < STRANGERS; i++) {
        q.tenant = cast_text(strangers[i]);
        expect_refused(call("acme-gateway", QUOTA "CheckQuota", &q.base,
                            &quota__v1__check_quota_response__descriptor),
                       "TENANT_FORBIDDEN", strangers[i]);
    }
    cr_expect_eq(open_holds(), TENANTS);
    q.tenant = cast_text("acme/new");
    void *answer = call("acme-gateway", QUOTA "CheckQuota", &q.base,
                        &quota__v1__check_quota_response__descriptor);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
}

/* Of globex's hold: by its token or short id, saying nothing of its tenant, the truth, or a lie. */
static const struct {
    bool short_id;
    const char *tenant;
    const char *reason;
} ways[] = {
    {false, "", "TENANT_FORBIDDEN"},       {true, "", "TENANT_FORBIDDEN"},
    {false, "globex", "TENANT_FORBIDDEN"}, {true, "globex", "TENANT_FORBIDDEN"},
    {false, "acme", "TENANT_MISMATCH"},    {true, "acme", "TENANT_MISMATCH"},
    {false, "acme/x", "TENANT_MISMATCH"},  {true, "acme/x", "TENANT_MISMATCH"},
};
#define WAYS   (sizeof(ways) / sizeof(ways[0]))
#define GLOBEX 3

Test(confined, X1_ReportUsage_ExtendReservation_CancelReservation)
{
    for (size_t i = 0; i < WAYS; i++) {
        char *reservation = ways[i].short_id ? short_ids[GLOBEX] : holds[GLOBEX];
        Quota__V1__ReportUsageRequest r;
        quota__v1__report_usage_request__init(&r);
        Quota__V1__ExtendReservationRequest e;
        quota__v1__extend_reservation_request__init(&e);
        Quota__V1__CancelReservationRequest c;
        quota__v1__cancel_reservation_request__init(&c);
        r.reservation = e.reservation = c.reservation = reservation;
        r.tenant = e.tenant = c.tenant = cast_text(ways[i].tenant);
        expect_refused(call("acme-gateway", QUOTA "ReportUsage", &r.base,
                            &quota__v1__report_usage_response__descriptor),
                       ways[i].reason, "ReportUsage");
        expect_refused(call("acme-gateway", QUOTA "ExtendReservation", &e.base,
                            &quota__v1__extend_reservation_response__descriptor),
                       ways[i].reason, "ExtendReservation");
        expect_refused(call("acme-gateway", QUOTA "CancelReservation", &c.base,
                            &quota__v1__cancel_reservation_response__descriptor),
                       ways[i].reason, "CancelReservation");
    }
    Quota__V1__ReportUsageRequest post_paid;
    quota__v1__report_usage_request__init(&post_paid);
    post_paid.request_id = cast_text("new");
    post_paid.tenant = cast_text("globex");
    expect_refused(call("acme-gateway", QUOTA "ReportUsage", &post_paid.base,
                        &quota__v1__report_usage_response__descriptor),
                   "TENANT_FORBIDDEN", "a report without a reservation");
    cr_expect_eq(open_holds(), TENANTS);
    Quota__V1__ReportUsageRequest own;
    quota__v1__report_usage_request__init(&own);
    own.reservation = holds[0];
    void *answer = call("acme-gateway", QUOTA "ReportUsage", &own.base,
                        &quota__v1__report_usage_response__descriptor);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
    own.reservation = short_ids[1];
    own.tenant = cast_text("acme/x");
    answer = call("acme-gateway", QUOTA "ReportUsage", &own.base,
                  &quota__v1__report_usage_response__descriptor);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
    cr_expect_eq(open_holds(), TENANTS - 2);
}

/* Items are refused one by one: own ones beside them go on. */
Test(confined, X1_StreamQuota)
{
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    Quota__V1__CheckQuotaRequest own;
    quota__v1__check_quota_request__init(&own);
    Quota__V1__ReportUsageRequest reported;
    quota__v1__report_usage_request__init(&reported);
    Quota__V1__ExtendReservationRequest extend;
    quota__v1__extend_reservation_request__init(&extend);
    Quota__V1__CancelReservationRequest cancel;
    quota__v1__cancel_reservation_request__init(&cancel);
    Quota__V1__StreamRequest items[5];
    Quota__V1__StreamRequest *pointers[5];
    Quota__V1__StreamQuotaRequest q;
    quota__v1__stream_quota_request__init(&q);

    for (size_t i = 0; i < 5; i++) {
        quota__v1__stream_request__init(&items[i]);
        items[i].id = i + 1;
        pointers[i] = &items[i];
    }
    check.tenant = cast_text("globex");
    own.tenant = cast_text("acme");
    check.model = own.model = cast_text("m");
    reported.reservation = extend.reservation = cancel.reservation = holds[GLOBEX];
    items[0].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
    items[0].check = &check;
    items[1].call_case = QUOTA__V1__STREAM_REQUEST__CALL_REPORT;
    items[1].report = &reported;
    items[2].call_case = QUOTA__V1__STREAM_REQUEST__CALL_EXTEND;
    items[2].extend = &extend;
    items[3].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CANCEL;
    items[3].cancel = &cancel;
    items[4].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
    items[4].check = &own;
    q.n_items = 5;
    q.items = pointers;
    Quota__V1__StreamQuotaResponse *answer = call("acme-gateway", QUOTA "StreamQuota", &q.base,
                                                  &quota__v1__stream_quota_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    cr_assert_eq(answer->n_items, 5);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(answer->items[i]->result_case, QUOTA__V1__STREAM_RESPONSE__RESULT_ERROR);
        cr_expect_str_eq(answer->items[i]->error->reason, "TENANT_FORBIDDEN");
        cr_expect_eq(answer->items[i]->error->code, GRPC_STATUS_PERMISSION_DENIED);
    }
    cr_expect_eq(answer->items[4]->result_case, QUOTA__V1__STREAM_RESPONSE__RESULT_CHECK);
    forget(answer);
    cr_expect_eq(open_holds(), TENANTS + 1);
    /* A pool's stream takes reports only, and of its own. */
    answer =
        call("pool", QUOTA "StreamQuota", &q.base, &quota__v1__stream_quota_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(answer->items[i]->result_case, QUOTA__V1__STREAM_RESPONSE__RESULT_ERROR);
        cr_expect_str_eq(answer->items[i]->error->reason,
                         i == 1 ? "POOL_FORBIDDEN" : "ROLE_FORBIDS");
    }
    forget(answer);
}

Test(confined, X1_a_pool_reports_for_itself)
{
    Quota__V1__ReportUsageRequest q;
    quota__v1__report_usage_request__init(&q);

    q.tenant = cast_text("globex");
    q.request_id = cast_text("gpu");
    q.model = cast_text("m");
    q.pool = cast_text("a100");
    expect_refused(
        call("pool", QUOTA "ReportUsage", &q.base, &quota__v1__report_usage_response__descriptor),
        "POOL_FORBIDDEN", "another pool");
    q.pool = cast_text("h100");
    void *answer =
        call("pool", QUOTA "ReportUsage", &q.base, &quota__v1__report_usage_response__descriptor);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
    q.reservation = holds[GLOBEX]; /* of no pool */
    answer =
        call("pool", QUOTA "ReportUsage", &q.base, &quota__v1__report_usage_response__descriptor);
    cr_expect_not_null(answer, "%s", s.reason);
    forget(answer);
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    check.tenant = cast_text("globex");
    check.model = cast_text("m");
    check.pool = cast_text("a100");
    Quota__V1__CheckQuotaResponse *of_a100 = call("gateway", QUOTA "CheckQuota", &check.base,
                                                  &quota__v1__check_quota_response__descriptor);
    cr_assert_not_null(of_a100, "%s", s.reason);
    q.reservation = of_a100->reservation->token;
    expect_refused(
        call("pool", QUOTA "ReportUsage", &q.base, &quota__v1__report_usage_response__descriptor),
        "POOL_FORBIDDEN", "another pool's reservation");
    forget(of_a100);
}

/* --- AdminService --- */

/* Requests whose first field is the tenant, and who is asked with it. */
static const struct {
    const char *path;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *answer;
} by_tenant[] = {
#define ROW(name, lower)                                    \
    {ADMIN name, &quota__v1__##lower##_request__descriptor, \
     &quota__v1__##lower##_response__descriptor},
    ROW("PutTenant", put_tenant) ROW("DeleteTenant", delete_tenant) ROW("SetPlan", set_plan)
        ROW("ListTenants", list_tenants) ROW("Block", block)
            ROW("GetEffectiveLimits", get_effective_limits) ROW("ListCounters", list_counters)
                ROW("ListReservations", list_reservations) ROW("Grant", grant)
                    ROW("ResetCounter", reset_counter)
#undef ROW
};

Test(confined, X1_admin_calls_of_other_tenants)
{
    union {
        ProtobufCMessage base;
        char bytes[1024];
    } request;

    for (size_t i = 0; i < sizeof(by_tenant) / sizeof(by_tenant[0]); i++) {
        const ProtobufCMessageDescriptor *type = by_tenant[i].request;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(type, "tenant");
        cr_assert_not_null(field, "%s", by_tenant[i].path);
        cr_assert_leq(type->sizeof_message, sizeof(request));
        for (size_t k = 0; k < STRANGERS; k++) {
            char *tenant = cast_text(strangers[k]);
            type->message_init(&request.base);
            memcpy(request.bytes + field->offset, &tenant, sizeof(char *));
            expect_refused(
                call("acme-admin", by_tenant[i].path, &request.base, by_tenant[i].answer),
                "TENANT_FORBIDDEN", by_tenant[i].path);
        }
    }
    Quota__V1__BoostRequest boost;
    quota__v1__boost_request__init(&boost);
    boost.tenant = cast_text("globex");
    boost.remove = true;
    expect_refused(
        call("acme-admin", ADMIN "Boost", &boost.base, &quota__v1__boost_response__descriptor),
        "TENANT_FORBIDDEN", "Boost");
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    Quota__V1__ExplainCheckRequest explain;
    quota__v1__explain_check_request__init(&explain);
    check.tenant = cast_text("globex");
    check.model = cast_text("m");
    explain.check = &check;
    expect_refused(call("acme-admin", ADMIN "ExplainCheck", &explain.base,
                        &quota__v1__explain_check_response__descriptor),
                   "TENANT_FORBIDDEN", "ExplainCheck");
}

Test(confined, X1_admin_lists_show_its_own)
{
    Quota__V1__ListTenantsRequest t;
    quota__v1__list_tenants_request__init(&t);
    Quota__V1__ListReservationsRequest r;
    quota__v1__list_reservations_request__init(&r);
    Quota__V1__ListCountersRequest c;
    quota__v1__list_counters_request__init(&c);

    Quota__V1__ListTenantsResponse *records = call("acme-admin", ADMIN "ListTenants", &t.base,
                                                   &quota__v1__list_tenants_response__descriptor);
    cr_assert_not_null(records, "%s", s.reason);
    cr_expect_eq(records->n_tenants, 2);
    for (size_t i = 0; i < records->n_tenants; i++) {
        cr_expect(is_acme(records->tenants[i]->tenant));
    }
    forget(records);
    Quota__V1__ListReservationsResponse *open =
        call("acme-admin", ADMIN "ListReservations", &r.base,
             &quota__v1__list_reservations_response__descriptor);
    cr_assert_not_null(open, "%s", s.reason);
    cr_expect_eq(open->n_reservations, 2);
    for (size_t i = 0; i < open->n_reservations; i++) {
        cr_expect(is_acme(open->reservations[i]->tenant));
    }
    forget(open);
    Quota__V1__ListCountersResponse *counters =
        call("acme-admin", ADMIN "ListCounters", &c.base,
             &quota__v1__list_counters_response__descriptor);
    cr_assert_not_null(counters, "%s", s.reason);
    size_t own = counters->n_counters;
    cr_expect_gt(own, 0);
    for (size_t i = 0; i < own; i++) {
        cr_expect(is_acme(counters->counters[i]->tenant), "%s", counters->counters[i]->tenant);
    }
    forget(counters);
    counters = call("admin", ADMIN "ListCounters", &c.base,
                    &quota__v1__list_counters_response__descriptor);
    cr_expect_gt(counters->n_counters, own);
    forget(counters);
}

/* Pages go on where any page of all tenants ended; no token of its own names another tenant. */
Test(confined, X1_ListTenants_pages_of_others)
{
    Quota__V1__ListTenantsRequest q;
    quota__v1__list_tenants_request__init(&q);
    char token[2 * QD_TENANT_PATH_MAX + 1] = "";
    size_t pages = 0;

    q.page_size = 1;
    do {
        q.page_token = token;
        Quota__V1__ListTenantsResponse *mine = call("acme-admin", ADMIN "ListTenants", &q.base,
                                                    &quota__v1__list_tenants_response__descriptor);
        cr_assert_not_null(mine, "%s", s.reason);
        for (size_t i = 0; i < mine->n_tenants; i++) {
            cr_expect(is_acme(mine->tenants[i]->tenant));
        }
        cr_expect(mine->next_page_token[0] == '\0' ||
                      strncmp(mine->next_page_token, "61636d65", 8) == 0, /* "acme" */
                  "%s", mine->next_page_token);
        forget(mine);
        Quota__V1__ListTenantsResponse *all = call("admin", ADMIN "ListTenants", &q.base,
                                                   &quota__v1__list_tenants_response__descriptor);
        cr_assert_not_null(all);
        (void)snprintf(token, sizeof(token), "%s", all->next_page_token);
        forget(all);
        pages++;
    } while (token[0] != '\0' && pages < 20);
    cr_expect_geq(pages, TENANTS);
}

Test(confined, X1_ReleaseReservation)
{
    for (size_t i = 0; i < WAYS; i++) {
        Quota__V1__ReleaseReservationRequest q;
        quota__v1__release_reservation_request__init(&q);
        q.reservation = ways[i].short_id ? short_ids[GLOBEX] : holds[GLOBEX];
        q.tenant = cast_text(ways[i].tenant);
        void *answer = call("acme-admin", ADMIN "ReleaseReservation", &q.base,
                            &quota__v1__release_reservation_response__descriptor);
        cr_expect_null(answer);
        forget(answer);
    }
    Quota__V1__ReleaseReservationRequest all;
    quota__v1__release_reservation_request__init(&all);
    for (size_t i = 0; i < STRANGERS; i++) {
        all.tenant = cast_text(strangers[i]);
        expect_refused(call("acme-admin", ADMIN "ReleaseReservation", &all.base,
                            &quota__v1__release_reservation_response__descriptor),
                       "TENANT_FORBIDDEN", strangers[i]);
    }
    cr_expect_eq(open_holds(), TENANTS);
    all.tenant = cast_text("acme");
    Quota__V1__ReleaseReservationResponse *answer =
        call("acme-admin", ADMIN "ReleaseReservation", &all.base,
             &quota__v1__release_reservation_response__descriptor);
    cr_assert_not_null(answer, "%s", s.reason);
    cr_expect_eq(answer->released, 2);
    forget(answer);
    cr_expect_eq(open_holds(), TENANTS - 2);
}
