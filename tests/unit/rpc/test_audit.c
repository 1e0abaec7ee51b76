/* X6: each admin method that changes something leaves an audit record of who called; a method that
 * is not in the table fails. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "server/ledger/rollup.h"
#include "server/ledger/scan.h"
#include "server/ledger/tenant_store.h"
#include "server/rpc/call.h"
#include "storage/codec.h"
#include "storage/store_memory.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define QUOTA "/quota.v1.QuotaService/"
#define USAGE "/quota.v1.UsageService/"
#define ADMIN "/quota.v1.AdminService/"

static struct served s;
static char hold_id[1100];

static void forget(void *answer)
{
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
}

/* As admin; the call must be answered. */
#define CALL(path, lower, request)                                                         \
    do {                                                                                   \
        grpc_status_code status_;                                                          \
        void *answer_ = served_call(&s, path, &(request).base,                             \
                                    &quota__v1__##lower##_response__descriptor, &status_); \
        cr_assert_not_null(answer_, "%s: %d %s", path, (int)status_, s.reason);            \
        forget(answer_);                                                                   \
    } while (0)

/* --- each change --- */

static void reload_policy(void)
{
    Quota__V1__ReloadPolicyRequest q;
    quota__v1__reload_policy_request__init(&q);
    CALL(ADMIN "ReloadPolicy", reload_policy, q);
}

static void put_tenant(void)
{
    Quota__V1__PutTenantRequest q;
    quota__v1__put_tenant_request__init(&q);
    q.tenant = cast_text("newco");
    q.plan = cast_text("free");
    CALL(ADMIN "PutTenant", put_tenant, q);
}

static void delete_tenant(void)
{
    Quota__V1__DeleteTenantRequest q;
    quota__v1__delete_tenant_request__init(&q);
    q.tenant = cast_text("gone");
    CALL(ADMIN "DeleteTenant", delete_tenant, q);
}

static void set_plan(void)
{
    Quota__V1__SetPlanRequest q;
    quota__v1__set_plan_request__init(&q);
    q.tenant = cast_text("acme");
    q.plan = cast_text("free");
    CALL(ADMIN "SetPlan", set_plan, q);
}

static void block(void)
{
    Quota__V1__BlockRequest q;
    quota__v1__block_request__init(&q);
    q.tenant = cast_text("globex");
    CALL(ADMIN "Block", block, q);
}

static void grant(void)
{
    Quota__V1__GrantRequest q;
    quota__v1__grant_request__init(&q);
    q.tenant = cast_text("rich");
    q.limit = cast_text("input_tokens");
    q.amount = 5;
    q.grant_id = cast_text("g");
    CALL(ADMIN "Grant", grant, q);
}

static void boost(void)
{
    Quota__V1__BoostRequest q;
    quota__v1__boost_request__init(&q);
    q.tenant = cast_text("acme");
    q.limit = cast_text("concurrency");
    q.size_case = QUOTA__V1__BOOST_REQUEST__SIZE_PERCENT;
    q.percent = 200;
    q.until_unix_ns = qd_clock_now(&s.node->clock).ns + 60 * QD_NS_PER_S;
    CALL(ADMIN "Boost", boost, q);
}

static void reset_counter(void)
{
    Quota__V1__ResetCounterRequest q;
    quota__v1__reset_counter_request__init(&q);
    q.tenant = cast_text("rich");
    q.limit = cast_text("requests");
    CALL(ADMIN "ResetCounter", reset_counter, q);
}

static void release_reservation(void)
{
    Quota__V1__ReleaseReservationRequest q;
    quota__v1__release_reservation_request__init(&q);
    q.reservation = hold_id;
    CALL(ADMIN "ReleaseReservation", release_reservation, q);
}

/* A row is missing: there is something to do. */
static void rebuild_rollups(void)
{
    Quota__V1__RebuildRollupsRequest q;
    quota__v1__rebuild_rollups_request__init(&q);
    struct qd_batch batch = {0};
    struct qd_buf key = {0};
    struct qd_entry entry;
    struct qd_buf bytes = {0};
    cr_assert_eq(qd_ledger_read(s.ledger, 1, &bytes, &entry, NULL), QD_STORE_OK);
    qd_rollup_key(&entry, &(struct qd_rollup_labels){0}, &key);
    qd_batch_delete(&batch, QD_STORE_ROLLUP, qd_buf_str(&key));
    cr_assert_eq(qd_store_write(s.store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&key);
    qd_buf_release(&bytes);
    CALL(ADMIN "RebuildRollups", rebuild_rollups, q);
}

static void checkpoint(void)
{
    Quota__V1__CheckpointRequest q;
    quota__v1__checkpoint_request__init(&q);
    CALL(ADMIN "Checkpoint", checkpoint, q);
}

static void drain(void)
{
    Quota__V1__DrainRequest q;
    quota__v1__drain_request__init(&q);
    q.cancel = true;
    CALL(ADMIN "Drain", drain, q);
}

static void correct_usage(void)
{
    Quota__V1__CorrectUsageRequest q;
    quota__v1__correct_usage_request__init(&q);
    q.sequence = 2;
    q.take_back = true;
    q.correction_id = cast_text("c");
    q.reason = cast_text("test");
    CALL(USAGE "CorrectUsage", correct_usage, q);
}

/* --- the table: NULL only reads --- */

static const struct {
    const char *path;
    void (*act)(void);
} table[] = {
    {ADMIN "GetPolicy", NULL},
    {ADMIN "ValidatePolicy", NULL},
    {ADMIN "ReloadPolicy", reload_policy},
    {ADMIN "PutTenant", put_tenant},
    {ADMIN "DeleteTenant", delete_tenant},
    {ADMIN "SetPlan", set_plan},
    {ADMIN "ListTenants", NULL},
    {ADMIN "Block", block},
    {ADMIN "Grant", grant},
    {ADMIN "Boost", boost},
    {ADMIN "ResetCounter", reset_counter},
    {ADMIN "GetEffectiveLimits", NULL},
    {ADMIN "ExplainCheck", NULL},
    {ADMIN "ListCounters", NULL},
    {ADMIN "ListReservations", NULL},
    {ADMIN "ReleaseReservation", release_reservation},
    {ADMIN "GetStatus", NULL},
    {ADMIN "VerifyLedger", NULL},
    {ADMIN "RebuildRollups", rebuild_rollups},
    {ADMIN "Checkpoint", checkpoint},
    {ADMIN "Drain", drain},
    {ADMIN "ListAuditRecords", NULL},
    {USAGE "QueryUsage", NULL},
    {USAGE "ListLedgerEntries", NULL},
    {USAGE "GetWatermark", NULL},
    {USAGE "CorrectUsage", correct_usage},
    {USAGE "PriceUnpriced",
     NULL}, /* by corrections: unit_shard_price_unpriced holds their records */
    {USAGE "WatchEvents", NULL},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

/* --- what there is --- */

static enum qd_error_code reload(void *context, uint64_t expected_revision,
                                 struct qd_problems *problems, bool *ret_changed,
                                 struct qd_error *ret_error)
{
    (void)context;
    (void)expected_revision;
    (void)problems;
    (void)ret_error;
    *ret_changed = true;
    return QD_ERROR_NONE;
}

static enum qd_error_code make_checkpoint(void *context, const char *name,
                                          struct qd_checkpoint *ret_checkpoint,
                                          struct qd_error *ret_error)
{
    (void)context;
    (void)name;
    (void)ret_error;
    *ret_checkpoint = (struct qd_checkpoint){.name = "b", .path = "/backups/b"};
    return QD_ERROR_NONE;
}

static void report(const char *id)
{
    Quota__V1__ReportUsageRequest q;
    quota__v1__report_usage_request__init(&q);
    Quota__V1__Amount usage;
    quota__v1__amount__init(&usage);
    Quota__V1__Amount *usages[] = {&usage};
    usage.meter = cast_text("input_tokens");
    usage.amount = 7;
    q.tenant = cast_text("acme");
    q.model = cast_text("m");
    q.request_id = cast_text(id);
    q.n_usage = 1;
    q.usage = usages;
    CALL(QUOTA "ReportUsage", report_usage, q);
}

static void setup(void)
{
    struct served_with with = cast_with();

    with.rpc.hooks.reload = reload;
    with.rpc.hooks.checkpoint = make_checkpoint;
    served_open(&s, &with);
    s.token = "admin";
    report("one");
    report("two");
    Quota__V1__PutTenantRequest gone;
    quota__v1__put_tenant_request__init(&gone);
    gone.tenant = cast_text("gone");
    gone.plan = cast_text("free");
    CALL(ADMIN "PutTenant", put_tenant, gone);
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    grpc_status_code status;
    check.tenant = cast_text("acme");
    check.model = cast_text("m");
    Quota__V1__CheckQuotaResponse *answer = served_call(
        &s, QUOTA "CheckQuota", &check.base, &quota__v1__check_quota_response__descriptor, &status);
    cr_assert(answer != NULL && answer->reservation != NULL);
    (void)snprintf(hold_id, sizeof(hold_id), "%s", answer->reservation->id);
    forget(answer);
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(audit, .init = setup, .fini = teardown, .timeout = 120);

/* --- the records --- */

struct last {
    uint64_t sequence;
    char actor[QD_AUDIT_TEXT_MAX + 1];
    char action[QD_AUDIT_TEXT_MAX + 1];
    char subject[QD_AUDIT_TEXT_MAX + 1];
    bool has_hash;
};

static bool keep(void *context, const struct qd_audit_record *r)
{
    struct last *last = context;

    last->sequence = r->sequence;
    last->has_hash = (r->before.lo | r->before.hi | r->after.lo | r->after.hi) != 0;
    (void)snprintf(last->actor, sizeof(last->actor), "%.*s", (int)r->actor.len, r->actor.ptr);
    (void)snprintf(last->action, sizeof(last->action), "%.*s", (int)r->action.len, r->action.ptr);
    (void)snprintf(last->subject, sizeof(last->subject), "%.*s", (int)r->subject.len,
                   r->subject.ptr);
    return true;
}

static struct last last_record(void)
{
    struct last last = {0};

    cr_assert_eq(qd_tenant_store_audit(s.tenants, 0, keep, &last, NULL), QD_STORE_OK);
    return last;
}

static bool is_known(const char *path)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(table[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

Test(audit, X6_each_method_that_changes_something_leaves_a_record)
{
    static const struct qd_method *const services[] = {qd_admin_methods, qd_usage_methods};
    size_t seen = 0;

    for (size_t i = 0; i < 2; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++, seen++) {
            cr_expect(is_known(m->path), "%s: what does it change?", m->path);
        }
    }
    cr_expect_eq(seen, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].act == NULL) {
            continue;
        }
        uint64_t before = last_record().sequence;
        table[i].act();
        struct last last = last_record();
        cr_expect_eq(last.sequence, before + 1, "%s left no record", table[i].path);
        cr_expect_str_eq(last.actor, "admin/admin");
        cr_expect_str_eq(last.action, strrchr(table[i].path, '/') + 1);
        bool rebuild = strcmp(last.action, "RebuildRollups") == 0; /* its detail says what */
        cr_expect(rebuild || last.subject[0] != '\0', "%s", table[i].path);
        cr_expect(rebuild || last.has_hash || strcmp(last.action, "ResetCounter") == 0,
                  "%s has no hash", table[i].path);
    }
}

Test(audit, X6_a_dry_run_changes_nothing)
{
    uint64_t before = last_record().sequence;
    Quota__V1__ReleaseReservationRequest q;
    quota__v1__release_reservation_request__init(&q);
    q.reservation = hold_id;
    q.dry_run = true;
    CALL(ADMIN "ReleaseReservation", release_reservation, q);
    cr_expect_eq(last_record().sequence, before);
}

/* X4: a disk that is full keeps nobody from draining a node. */
Test(audit, X4_an_action_goes_through_without_its_record)
{
    qd_store_memory_faults(s.memory)->write.countdown = 0;
    drain();
    uint64_t before = last_record().sequence;
    drain();
    cr_expect_eq(last_record().sequence, before + 1);
}

Test(audit, X6_records_are_listed_by_page)
{
    Quota__V1__ListAuditRecordsRequest q;
    quota__v1__list_audit_records_request__init(&q);
    char cursor[24] = "";
    uint64_t next = 1;
    bool end = false;
    grpc_status_code status;

    set_plan();
    drain();
    q.page_size = 1;
    q.cursor = cursor;
    while (!end) {
        Quota__V1__ListAuditRecordsResponse *answer =
            served_call(&s, ADMIN "ListAuditRecords", &q.base,
                        &quota__v1__list_audit_records_response__descriptor, &status);
        cr_assert_not_null(answer);
        cr_assert_eq(answer->n_records, 1);
        cr_expect_eq(answer->records[0]->sequence, next++);
        cr_expect_str_eq(answer->records[0]->actor, "admin/admin");
        end = answer->end;
        (void)snprintf(cursor, sizeof(cursor), "%s", answer->next_cursor);
        if (end) {
            cr_expect_str_eq(answer->records[0]->action, "Drain");
            cr_expect_str_eq(answer->records[0]->subject, "(node)");
            cr_expect_eq(strlen(answer->records[0]->before_hash), 32);
        }
        forget(answer);
    }
    cr_expect_eq(next, 4);
    q.cursor = cast_text("x");
    cr_expect_null(served_call(&s, ADMIN "ListAuditRecords", &q.base,
                               &quota__v1__list_audit_records_response__descriptor, &status));
    cr_expect_eq(status, GRPC_STATUS_INVALID_ARGUMENT);
}
