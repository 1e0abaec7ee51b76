/* RebuildRollups through a real server. What it does to rows is held by
 * tests/unit/ledger/test_rebuild.c: here, what it answers, and who is said to have done it. */
#include "quota/v1/admin.pb-c.h"
#include "server/ledger/rollup.h"
#include "server/ledger/tenant_store.h"
#include "storage/codec.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>

#define NOW_NS (INT64_C(1790000000) * QD_NS_PER_S)

static struct served s;

static void setup(void)
{
    served_open(&s, &(struct served_with){0});
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(rebuild, .init = setup, .fini = teardown, .timeout = 120);

/* An entry of a quarter hour of its own. */
static struct qd_entry book(int quarter)
{
    struct qd_receipt receipt;
    struct qd_entry entry = {.kind = QD_ENTRY_USAGE,
                             .tenant = qd_slice_of("acme"),
                             .event_time = {NOW_NS - quarter * QD_ROLLUP_NS},
                             .quantities = {{qd_slice_of("input_tokens"), 10 + quarter}},
                             .quantity_count = 1};
    struct qd_booking booking = {.entry = &entry, .now = {NOW_NS}};
    entry.charged_time = entry.event_time;
    qd_receipt_init(&receipt);
    cr_assert_eq(qd_ledger_book(s.ledger, &booking, &receipt), QD_BOOK_BOOKED, "%s", receipt.text);
    qd_receipt_release(&receipt);
    return entry;
}

static void drop_row(const struct qd_entry *entry)
{
    struct qd_buf key = {0};
    struct qd_batch batch = {0};
    qd_rollup_key(entry, &(struct qd_rollup_labels){0}, &key);
    qd_batch_delete(&batch, QD_STORE_ROLLUP, qd_buf_str(&key));
    cr_assert_eq(qd_store_write(s.store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&key);
}

static Quota__V1__RebuildRollupsResponse *rebuild(grpc_status_code *ret_status)
{
    Quota__V1__RebuildRollupsRequest request;
    quota__v1__rebuild_rollups_request__init(&request);
    return served_call(&s, "/quota.v1.AdminService/RebuildRollups", &request.base,
                       &quota__v1__rebuild_rollups_response__descriptor, ret_status);
}

static bool verified(void)
{
    grpc_status_code status;
    Quota__V1__VerifyLedgerRequest request;
    quota__v1__verify_ledger_request__init(&request);
    Quota__V1__VerifyLedgerResponse *answer =
        served_call(&s, "/quota.v1.AdminService/VerifyLedger", &request.base,
                    &quota__v1__verify_ledger_response__descriptor, &status);
    cr_assert_not_null(answer);
    bool clean = answer->clean != 0;
    protobuf_c_message_free_unpacked(&answer->base, NULL);
    return clean;
}

static bool check_audit(void *context, const struct qd_audit_record *record)
{
    int *count = context;
    ++*count;
    cr_assert(qd_slice_equal(record->actor, qd_slice_of("local")));
    cr_assert(qd_slice_equal(record->action, qd_slice_of("RebuildRollups")));
    cr_assert(qd_slice_equal(record->detail,
                             qd_slice_of("2 rollup rows added, 0 changed, 0 dropped, from ledger "
                                         "entries up to 4")),
              "%.*s", (int)record->detail.len, record->detail.ptr);
    cr_assert_gt(record->time.ns, 0);
    return true;
}

Test(rebuild, L4_X6_rows_come_back_and_the_audit_says_who_asked)
{
    grpc_status_code status;
    struct qd_entry entries[4];
    for (int i = 0; i < 4; i++) {
        entries[i] = book(i);
    }
    drop_row(&entries[1]);
    drop_row(&entries[3]);
    cr_assert(!verified());
    for (int i = 0; i < 2; i++) { /* the second time there is nothing to do */
        Quota__V1__RebuildRollupsResponse *answer = rebuild(&status);
        cr_assert_not_null(answer);
        cr_assert_eq(answer->groups, i == 0 ? 2 : 0);
        cr_assert_eq(answer->groups_unlabelled, 0);
        cr_assert_eq(answer->rows, i == 0 ? 2 : 4);
        cr_assert_eq(answer->rows_added, i == 0 ? 2 : 0);
        cr_assert_eq(answer->rows_changed + answer->rows_dropped + answer->expired, 0);
        cr_assert_eq(answer->entries, 4);
        cr_assert_eq(answer->through_sequence, 4);
        protobuf_c_message_free_unpacked(&answer->base, NULL);
        cr_assert(verified());
    }
    int audits = 0;
    cr_assert_eq(qd_tenant_store_audit(s.tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits, 1);
}

Test(rebuild, L4_without_all_entries_it_is_refused)
{
    grpc_status_code status;
    struct qd_buf key = {0};
    struct qd_batch batch = {0};
    struct qd_entry entry = book(0);
    (void)book(1);
    drop_row(&entry);
    qd_put_key_u64(&key, 1);
    qd_batch_put(&batch, QD_STORE_LEDGER, qd_buf_str(&key), qd_slice_of("garbage"));
    cr_assert_eq(qd_store_write(s.store, &batch, true, NULL), QD_STORE_OK);
    cr_assert_null(rebuild(&status));
    cr_assert_eq(status, GRPC_STATUS_FAILED_PRECONDITION);
    qd_batch_release(&batch);
    qd_buf_release(&key);
}
