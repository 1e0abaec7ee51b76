/* Tenants, the audit, prices, and the ledger verified against itself. */
#include "oracle.h"
#include "server/ledger/price_store.h"
#include "server/ledger/rollup.h"
#include "server/ledger/tenant_store.h"
#include "server/ledger/verify.h"
#include "storage/store_memory.h"
#include "tests/lib/failalloc.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct qd_tenant_change change_of(const char *action)
{
    return (struct qd_tenant_change){
        .actor = qd_slice_of("admin@loopback"),
        .action = qd_slice_of(action),
        .detail = qd_slice_of("because"),
        .now = {ORACLE_NOW_NS},
    };
}

static struct qd_tenant_record record_of(const char *path, const char *plan)
{
    return (struct qd_tenant_record){.tenant = qd_slice_of(path), .plan = qd_slice_of(plan)};
}

static void put(struct qd_tenant_store *tenants, const char *path, const char *plan, bool created)
{
    struct qd_tenant_record record = record_of(path, plan);
    struct qd_tenant_change change = change_of("PutTenant");
    struct qd_store_error error = {0};
    bool is_new;
    cr_assert_eq(qd_tenant_store_put(tenants, &record, &change, &is_new, &error), QD_STORE_OK, "%s",
                 error.text);
    cr_assert_eq(is_new, created);
}

struct names {
    char text[512];
};

static bool add_name(void *context, const struct qd_tenant_record *record)
{
    struct names *names = context;
    size_t used = strlen(names->text);
    (void)snprintf(names->text + used, sizeof names->text - used, "%.*s=%.*s ",
                   (int)record->tenant.len, record->tenant.ptr, (int)record->plan.len,
                   record->plan.ptr);
    return true;
}

static void check_list(struct qd_tenant_store *tenants, const char *subtree, const char *after,
                       const char *expected)
{
    struct names names = {0};
    cr_assert_eq(qd_tenant_store_list(tenants, qd_slice_of(subtree), qd_slice_of(after), add_name,
                                      &names, NULL),
                 QD_STORE_OK);
    cr_assert_str_eq(names.text, expected);
}

struct audits {
    uint64_t count;
    struct qd_hash128 last_after;
};

/* X6: gap-free, and each record's state before is the one that its tenant was left in. */
static bool check_audit(void *context, const struct qd_audit_record *record)
{
    struct audits *audits = context;
    cr_assert_eq(record->sequence, ++audits->count);
    cr_assert(qd_slice_equal(record->actor, qd_slice_of("admin@loopback")));
    audits->last_after = record->after;
    return true;
}

/* Stops at the first, which is "acme" itself. */
static bool check_acme(void *context, const struct qd_tenant_record *record)
{
    (void)context;
    cr_assert(qd_slice_equal(record->tenant, qd_slice_of("acme")));
    cr_assert(qd_slice_equal(record->plan, qd_slice_of("enterprise")));
    cr_assert_eq(record->audit_sequence, 5);
    cr_assert_eq(record->created.ns, ORACLE_NOW_NS);
    return false;
}

static bool first_grant(void *context, const struct qd_tenant_record *record)
{
    *(int64_t *)context = record->grants[0].amount;
    return false;
}

Test(tenants, P2_records_are_durable_and_listed_by_subtree)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_tenant_store *tenants = NULL;
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    put(tenants, "acme", "pro", true);
    put(tenants, "acme/search", "free", true);
    put(tenants, "acme-x", "free", true);
    put(tenants, "acme/search/k", "free", true);
    put(tenants, "acme", "enterprise", false);
    check_list(tenants, "", "", "acme=enterprise acme/search=free acme/search/k=free acme-x=free ");
    check_list(tenants, "acme", "", "acme=enterprise acme/search=free acme/search/k=free ");
    check_list(tenants, "acme", "acme/search", "acme/search/k=free ");
    check_list(tenants, "acm", "", "");
    qd_tenant_store_close(tenants);
    qd_store_memory_crash(store, 0);
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    cr_assert_eq(
        qd_tenant_store_list(tenants, qd_slice_of("acme"), qd_slice_of(""), check_acme, NULL, NULL),
        QD_STORE_OK);
    struct audits audits = {0};
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 5);
    qd_tenant_store_close(tenants);
    qd_store_close(store);
}

Test(tenants, P2_deletion_with_and_without_what_is_below)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_tenant_store *tenants = NULL;
    struct qd_tenant_change change = change_of("DeleteTenant");
    uint32_t deleted = 99;
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    put(tenants, "acme", "pro", true);
    put(tenants, "acme/a", "pro", true);
    put(tenants, "acme/b/c", "pro", true);
    put(tenants, "acme.x", "pro", true);
    cr_assert_eq(
        qd_tenant_store_delete(tenants, qd_slice_of("acme"), false, &change, &deleted, NULL),
        QD_STORE_OK);
    cr_assert_eq(deleted, 1);
    check_list(tenants, "", "", "acme/a=pro acme/b/c=pro acme.x=pro ");
    cr_assert_eq(
        qd_tenant_store_delete(tenants, qd_slice_of("acme"), true, &change, &deleted, NULL),
        QD_STORE_OK);
    cr_assert_eq(deleted, 2);
    check_list(tenants, "", "", "acme.x=pro ");
    cr_assert_eq(
        qd_tenant_store_delete(tenants, qd_slice_of("acme"), true, &change, &deleted, NULL),
        QD_STORE_OK);
    cr_assert_eq(deleted, 0);
    struct audits audits = {0};
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 6);
    cr_assert(qd_hash128_equal(audits.last_after, (struct qd_hash128){0}));
    qd_tenant_store_close(tenants);
    qd_store_close(store);
}

Test(tenants, X4_a_failed_change_leaves_no_gap_in_the_audit)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_tenant_store *tenants = NULL;
    struct qd_tenant_change change = change_of("PutTenant");
    struct qd_tenant_record record = record_of("acme", "pro");
    bool created;
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    qd_store_memory_faults(store)->sync.countdown = 0;
    cr_assert_eq(qd_tenant_store_put(tenants, &record, &change, &created, NULL), QD_STORE_IO);
    qd_store_memory_faults(store)->write.countdown = 0;
    cr_assert_eq(qd_tenant_store_put(tenants, &record, &change, &created, NULL), QD_STORE_IO);
    put(tenants, "acme", "pro", false); /* the one whose sync failed is there */
    struct audits audits = {0};
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 2);
    record.tenant = qd_slice_of("no good");
    struct qd_store_error error = {0};
    cr_assert_eq(qd_tenant_store_put(tenants, &record, &change, &created, &error),
                 QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "tenant: a path of 1 to 511 bytes of [a-zA-Z0-9._/-] is expected");
    qd_tenant_store_close(tenants);
    qd_store_close(store);
}

Test(tenants, L2_a_grant_and_its_entry_are_one_write_and_count_once)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_tenant_store *tenants = NULL;
    struct qd_ledger *ledger = NULL;
    struct qd_ledger_config config = {0};
    struct qd_tenant_change change = change_of("Grant");
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
    struct qd_tenant_record record = record_of("acme", "pro");
    record.grants[0] = (struct qd_tenant_grant){.limit = qd_slice_of("credits"), .amount = 500};
    record.grant_count = 1;
    struct qd_entry entry = {
        .kind = QD_ENTRY_GRANT,
        .event_time = {ORACLE_NOW_NS},
        .charged_time = {ORACLE_NOW_NS},
        .tenant = qd_slice_of("acme"),
        .source = qd_slice_of("admin"),
        .request_id = qd_slice_of("grant-1"),
        .limit = qd_slice_of("credits"),
        .quantities = {{qd_slice_of("cost"), 500}},
        .quantity_count = 1,
    };
    struct qd_booking booking = {.entry = &entry, .now = {ORACLE_NOW_NS}};
    cr_assert_eq(qd_tenant_store_book(tenants, &record, &change, ledger, &booking, &receipt),
                 QD_BOOK_BOOKED, "%s", receipt.text);
    record.grants[0].amount = 1000;
    cr_assert_eq(qd_tenant_store_book(tenants, &record, &change, ledger, &booking, &receipt),
                 QD_BOOK_DUPLICATE);
    qd_store_memory_crash(store, 0);
    int64_t granted = 0;
    cr_assert_eq(qd_tenant_store_list(tenants, qd_slice_of("acme"), qd_slice_of(""), first_grant,
                                      &granted, NULL),
                 QD_STORE_OK);
    cr_assert_eq(granted, 500);
    struct audits audits = {0};
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 1);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_tenant_store_close(tenants);
    qd_store_close(store);
}

static void make_note(struct qd_tenant_note *note, const struct qd_entry *entry, uint64_t content,
                      struct qd_receipt *receipt)
{
    *note = (struct qd_tenant_note){
        .change = change_of("CorrectUsage"),
        .before = qd_slice_of("before"),
        .after = qd_slice_of("after"),
        .booking = {.entry = entry, .content = {content, 1}, .now = {ORACLE_NOW_NS}},
        .receipt = receipt,
    };
}

Test(tenants, X6_of_several_bookings_those_that_are_new_leave_a_record_each)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_tenant_store *tenants = NULL;
    struct qd_ledger *ledger = NULL;
    struct qd_ledger_config config = {0};
    struct qd_entry entries[3];
    struct qd_receipt receipts[3];
    struct qd_tenant_note notes[3];
    struct qd_tenant_note *pointers[3] = {&notes[0], &notes[1], &notes[2]};
    static const char *const ids[] = {"1", "2", "3"};
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
    for (size_t i = 0; i < 3; i++) {
        qd_receipt_init(&receipts[i]);
        entries[i] = (struct qd_entry){.kind = QD_ENTRY_CORRECTION,
                                       .tenant = qd_slice_of("acme"),
                                       .source = qd_slice_of("correction"),
                                       .request_id = qd_slice_of(ids[i])};
        make_note(&notes[i], &entries[i], i, &receipts[i]);
    }
    qd_tenant_store_note_all(tenants, ledger, &pointers[1], 1);
    cr_assert_eq(notes[1].job.result, QD_BOOK_BOOKED, "%s", receipts[1].text);
    /* The second was booked before, with other content: it is no action. */
    for (size_t i = 0; i < 3; i++) {
        make_note(&notes[i], &entries[i], 7, &receipts[i]);
    }
    qd_tenant_store_note_all(tenants, ledger, pointers, 3);
    cr_assert_eq(notes[0].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(notes[1].job.result, QD_BOOK_CONFLICT);
    cr_assert_eq(notes[2].job.result, QD_BOOK_BOOKED);
    struct audits audits = {0};
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 3);
    cr_assert_neq(audits.last_after.lo, 0);
    put(tenants, "acme", "pro", true);
    /* A store that fails books none of them. */
    for (size_t i = 0; i < 3; i++) {
        entries[i].part = 1;
        make_note(&notes[i], &entries[i], 7, &receipts[i]);
    }
    qd_store_memory_faults(store)->write.countdown = 0;
    qd_tenant_store_note_all(tenants, ledger, pointers, 3);
    cr_assert_eq(notes[2].job.result, QD_BOOK_STORE_ERROR);
    put(tenants, "acme", "free", false);
    audits.count = 0;
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &audits, NULL), QD_STORE_OK);
    cr_assert_eq(audits.count, 5);
    for (size_t i = 0; i < 3; i++) {
        qd_receipt_release(&receipts[i]);
    }
    qd_ledger_close(ledger);
    qd_tenant_store_close(tenants);
    qd_store_close(store);
}

static void keep(struct qd_store *store, const struct qd_price_record *record)
{
    struct qd_batch batch = {0};
    qd_price_store_add(&batch, record);
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

Test(prices, P7_each_book_keeps_its_versions)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_price_record record = {
        .book = QD_PRICE_BOOK_COST,
        .version = qd_slice_of("gpt-4o@2026-01-01"),
        .effective = {5},
        .content = qd_slice_of("input_tokens 2500000/1000000"),
    };
    struct qd_buf bytes = {0};
    struct qd_price_record read;
    keep(store, &record);
    cr_assert_eq(
        qd_price_store_get(store, QD_PRICE_BOOK_CHARGE, record.version, &bytes, &read, NULL),
        QD_STORE_NOT_FOUND);
    record.book = QD_PRICE_BOOK_CHARGE;
    record.content = qd_slice_of("input_tokens 1/1");
    keep(store, &record);
    qd_store_memory_crash(store, 0);
    cr_assert_eq(qd_price_store_get(store, QD_PRICE_BOOK_COST, record.version, &bytes, &read, NULL),
                 QD_STORE_OK);
    cr_assert(qd_slice_equal(read.content, qd_slice_of("input_tokens 2500000/1000000")));
    cr_assert_eq(read.effective.ns, 5);
    qd_buf_release(&bytes);
    qd_store_close(store);
}

Test(verify, L4_sums_of_entries_are_sums_of_rollups_and_damage_is_named)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("verify", 31));
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = NULL;
    struct qd_ledger_config config = {0};
    struct qd_receipt receipt;
    struct qd_verify_report report;
    struct qd_entry entry;
    qd_receipt_init(&receipt);
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
    for (int i = 0; i < 500; i++) {
        oracle_random_entry(&prng, 3, &entry);
        struct qd_booking booking = {.entry = &entry, .now = {ORACLE_NOW_NS}};
        cr_assert_eq(qd_ledger_book(ledger, &booking, &receipt), QD_BOOK_BOOKED);
        if (i == 250) {
            static const char *const labels[] = {"env"};
            cr_assert_eq(qd_ledger_set_rollup_labels(ledger, labels, 1, NULL), QD_STORE_OK);
        }
    }
    cr_assert_eq(qd_ledger_verify(ledger, &report, NULL), QD_STORE_OK);
    cr_assert(report.clean, "%s", report.difference);
    cr_assert_eq(report.entries, 500);
    cr_assert_gt(report.rollups, 100);

    /* One unit too many in a rollup row. */
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    struct qd_batch batch = {0};
    struct qd_rollup_labels labels = {0};
    entry.model = qd_slice_of("gpt-4o");
    qd_rollup_key(&entry, &labels, &key);
    struct qd_sum one[1] = {{qd_slice_of("gpu_ms"), 1}};
    qd_sums_encode(&(struct qd_sums){.items = one, .count = 1, .capacity = 1}, &value);
    qd_batch_merge(&batch, QD_STORE_ROLLUP, qd_buf_str(&key), qd_buf_str(&value));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_verify(ledger, &report, NULL), QD_STORE_OK);
    cr_assert(!report.clean);
    char expected[QD_STORE_ERROR_TEXT_MAX];
    (void)snprintf(expected, sizeof expected,
                   "tenant %.*s, model \"gpt-4o\", quarter hour from %lld s: entries have less of "
                   "gpu_ms than rollups",
                   (int)entry.tenant.len, entry.tenant.ptr,
                   (long long)entry.event_time.ns / QD_ROLLUP_NS * 900);
    cr_assert_str_eq(report.difference, expected);

    /* A damaged entry, and a missing one. */
    qd_buf_clear(&key);
    qd_put_key_u64(&key, 7);
    qd_batch_clear(&batch);
    qd_batch_put(&batch, QD_STORE_LEDGER, qd_buf_str(&key), qd_slice_of("garbage"));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_verify(ledger, &report, NULL), QD_STORE_OK);
    cr_assert_str_eq(report.difference, "ledger entry 7: corrupt data");
    qd_batch_clear(&batch);
    qd_batch_delete(&batch, QD_STORE_LEDGER, qd_buf_str(&key));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_verify(ledger, &report, NULL), QD_STORE_OK);
    cr_assert_str_eq(report.difference, "after ledger entry 6 comes 8");
    qd_batch_release(&batch);
    qd_buf_release(&key);
    qd_buf_release(&value);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}
