/* Rollup rows made anew from entries: exact, atomic, while bookings go on (L4, L7, X6). */
#include "oracle.h"
#include "server/ledger/expire.h"
#include "server/ledger/rebuild_rollups.h"
#include "server/ledger/reversal.h"
#include "server/ledger/rollup.h"
#include "server/ledger/verify.h"
#include "storage/codec.h"
#include "storage/store_memory.h"
#include "tests/lib/failalloc.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const env_and_user[] = {"env", "user"};
static struct qd_store *store;
static struct qd_ledger *ledger;
static struct qd_prng prng;
static struct qd_rebuild_report report;

static void open_ledger(size_t labels)
{
    struct qd_ledger_config config = {.rollup_labels = env_and_user, .rollup_label_count = labels};
    struct qd_store_error error = {0};
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, &error), QD_STORE_OK, "%s", error.text);
}

static void begin(void)
{
    store = qd_store_memory_new();
    qd_prng_init(&prng, qd_prng_seed("rebuild", 7));
}

static void end(void)
{
    qd_ledger_close(ledger);
    qd_store_close(store);
    ledger = NULL;
}

TestSuite(rebuild, .init = begin, .fini = end);

/* --- entries --- */

static void book_one(const struct qd_booking *booking)
{
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    cr_assert_eq(qd_ledger_book(ledger, booking, &receipt), QD_BOOK_BOOKED, "%s", receipt.text);
    qd_receipt_release(&receipt);
}

/* Random usage in the two hours before `now`; every tenth a grant, every seventh is taken back. */
static void book_some(int count, int64_t now)
{
    for (int i = 0; i < count; i++) {
        struct qd_entry entry;
        oracle_random_entry(&prng, 1, &entry);
        entry.event_time.ns = now - qd_prng_between(&prng, 0, 2 * QD_NS_PER_HOUR);
        entry.charged_time = entry.event_time;
        if (i % 10 == 9) {
            entry = (struct qd_entry){.kind = QD_ENTRY_GRANT,
                                      .event_time = {now},
                                      .charged_time = {now},
                                      .tenant = qd_slice_of("acme"),
                                      .source = qd_slice_of("admin"),
                                      .limit = qd_slice_of("budget"),
                                      .quantities = {{qd_slice_of("cost"), 5}},
                                      .quantity_count = 1};
        }
        struct qd_booking booking = {.entry = &entry, .now = {now}};
        book_one(&booking);
        if (i % 7 == 0 && entry.kind == QD_ENTRY_USAGE) {
            char id[QD_REVERSAL_ID_MAX];
            struct qd_entry reversal;
            entry.sequence = qd_ledger_watermark(ledger).sequence;
            qd_reversal_make(&entry, id, qd_slice_of("wrong"), &reversal);
            struct qd_entry rebooked = entry;
            qd_reversal_mark_rebooked(&reversal, &rebooked);
            book_one(&(struct qd_booking){
                .entry = &reversal, .companion = &rebooked, .content = {1, 1}, .now = {now}});
        }
    }
}

/* --- all the rows, byte for byte --- */

struct rows {
    struct qd_buf bytes;
    size_t count;
    struct {
        size_t key, key_size, value, value_size;
    } at[8192];
};

static struct rows *take_rows(void)
{
    struct rows *rows = calloc(1, sizeof *rows);
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_ROLLUP});
    struct qd_str key;
    struct qd_str value;
    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        cr_assert_lt(rows->count, 8192);
        rows->at[rows->count].key = rows->bytes.size;
        rows->at[rows->count].key_size = key.len;
        qd_buf_append_str(&rows->bytes, key);
        rows->at[rows->count].value = rows->bytes.size;
        rows->at[rows->count++].value_size = value.len;
        qd_buf_append_str(&rows->bytes, value);
    }
    qd_store_iter_close(iter);
    return rows;
}

static struct qd_str key_of(const struct rows *rows, size_t i)
{
    return (struct qd_str){(const char *)rows->bytes.data + rows->at[i].key, rows->at[i].key_size};
}

static struct qd_str value_of(const struct rows *rows, size_t i)
{
    return (struct qd_str){(const char *)rows->bytes.data + rows->at[i].value,
                           rows->at[i].value_size};
}

static bool same_rows(const struct rows *a, const struct rows *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count && same; i++) {
        same = qd_slice_equal(key_of(a, i), key_of(b, i)) &&
               qd_slice_equal(value_of(a, i), value_of(b, i));
    }
    return same;
}

static void free_rows(struct rows *rows)
{
    qd_buf_release(&rows->bytes);
    free(rows);
}

static bool rows_are(const struct rows *expected)
{
    struct rows *now = take_rows();
    bool same = same_rows(now, expected);
    free_rows(now);
    return same;
}

/* --- damage --- */

static void put(struct qd_str key, struct qd_str value)
{
    struct qd_batch batch = {0};
    qd_batch_put(&batch, QD_STORE_ROLLUP, key, value);
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

static void drop(enum qd_store_space space, struct qd_str key)
{
    struct qd_batch batch = {0};
    qd_batch_delete(&batch, space, key);
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

/* So much more of something. */
static void change(struct qd_str key, int64_t by)
{
    struct qd_batch batch = {0};
    struct qd_buf value = {0};
    struct qd_sum one[1] = {{qd_slice_of("requests"), by}};
    qd_sums_encode(&(struct qd_sums){.items = one, .count = 1, .capacity = 1}, &value);
    qd_batch_merge(&batch, QD_STORE_ROLLUP, key, qd_buf_str(&value));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&value);
}

/* A row that no entry has. */
static void add_stranger(void)
{
    struct qd_buf key = {0};
    struct qd_entry entry = {.event_time = {ORACLE_NOW_NS}, .tenant = qd_slice_of("nobody")};
    qd_rollup_key(&entry, &(struct qd_rollup_labels){0}, &key);
    change(qd_buf_str(&key), 3);
    qd_buf_release(&key);
}

/* Three rows dropped, three changed, one added, one unreadable, one that is no row. */
static void damage(const struct rows *rows)
{
    for (size_t i = 1; i <= 3; i++) {
        drop(QD_STORE_ROLLUP, key_of(rows, rows->count * i / 9));
        change(key_of(rows, rows->count * (i + 3) / 9), i == 3 ? -7 : 11);
    }
    add_stranger();
    put(key_of(rows, rows->count * 8 / 9), qd_slice_of("garbage"));
    put(qd_slice_of("no key"), value_of(rows, 0));
}

/* --- rebuilding --- */

static bool clean(void)
{
    struct qd_verify_report verified;
    cr_assert_eq(qd_ledger_verify(ledger, &verified, NULL), QD_STORE_OK);
    return verified.clean;
}

static void rebuild_with(const struct qd_rebuild_options *options)
{
    struct qd_store_error error = {0};
    cr_assert_eq(qd_ledger_rebuild_rollups(ledger, options, &report, &error), QD_STORE_OK, "%s",
                 error.text);
}

static void rebuild(void)
{
    rebuild_with(&(struct qd_rebuild_options){0});
}

static void check_counts(uint64_t added, uint64_t changed, uint64_t dropped)
{
    cr_assert_eq(report.added, added, "%" PRIu64 " added", report.added);
    cr_assert_eq(report.changed, changed, "%" PRIu64 " changed", report.changed);
    cr_assert_eq(report.dropped, dropped, "%" PRIu64 " dropped", report.dropped);
}

Test(rebuild, L4_damaged_rows_are_what_they_were)
{
    open_ledger(2);
    book_some(1500, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    damage(before);
    cr_assert(!clean());
    rebuild();
    check_counts(3, 4, 2);
    cr_assert_eq(report.groups, 8, "%" PRIu64, report.groups);
    cr_assert_eq(report.rows, before->count - 3 + 2);
    cr_assert_eq(report.through, qd_ledger_watermark(ledger).sequence);
    cr_assert(rows_are(before));
    cr_assert(clean());
    free_rows(before);
}

/* All of them gone; and in as many batches as there are groups. */
Test(rebuild, L4_all_rows_come_back)
{
    open_ledger(2);
    book_some(700, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    for (uint32_t rows_max = 0; rows_max < 2; rows_max++) {
        for (size_t i = 0; i < before->count; i++) {
            drop(QD_STORE_ROLLUP, key_of(before, i));
        }
        uint64_t writes = qd_store_memory_writes(store);
        rebuild_with(&(struct qd_rebuild_options){.rows_max = rows_max});
        check_counts(before->count, 0, 0);
        cr_assert(rows_are(before));
        writes = qd_store_memory_writes(store) - writes;
        cr_assert_eq(writes, rows_max == 0 ? 1 : report.groups);
    }
    free_rows(before);
}

Test(rebuild, L4_what_does_not_differ_is_not_written)
{
    open_ledger(2);
    rebuild();
    cr_assert_eq(report.rows + report.groups + report.entries, 0);
    book_some(300, ORACLE_NOW_NS);
    uint64_t writes = qd_store_memory_writes(store);
    rebuild();
    cr_assert_eq(report.groups, 0);
    check_counts(0, 0, 0);
    cr_assert_eq(qd_store_memory_writes(store), writes);
}

/* Two rows of a group that are wrong by as much as each other: `verify` adds them up. */
Test(rebuild, L4_an_amount_under_the_wrong_label_is_found)
{
    open_ledger(2);
    struct qd_entry entry;
    struct qd_booking booking = {.entry = &entry, .now = {ORACLE_NOW_NS}};
    oracle_random_entry(&prng, 1, &entry);
    entry.user = qd_slice_of("ann");
    book_one(&booking);
    entry.user = qd_slice_of("bob");
    book_one(&booking);
    struct rows *before = take_rows();
    cr_assert_eq(before->count, 2);
    change(key_of(before, 0), 5);
    change(key_of(before, 1), -5);
    cr_assert(clean());
    rebuild();
    check_counts(0, 2, 0);
    cr_assert(rows_are(before));
    free_rows(before);
}

/* Rows from before a change keep their labels; those that are wrong come back with today's. */
Test(rebuild, L4_after_a_change_of_rollup_labels)
{
    open_ledger(1);
    book_some(600, ORACLE_NOW_NS - 12 * QD_NS_PER_HOUR);
    size_t old = 0;
    struct rows *rows = take_rows();
    old = rows->count;
    free_rows(rows);
    cr_assert_eq(qd_ledger_set_rollup_labels(ledger, env_and_user, 2, NULL), QD_STORE_OK);
    book_some(600, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    rebuild();
    cr_assert_eq(report.groups, 0);
    cr_assert(rows_are(before));

    change(key_of(before, before->count - 1), 4);
    rebuild();
    check_counts(0, 1, 0);
    cr_assert(rows_are(before));

    change(key_of(before, old / 2), 4);
    rebuild();
    cr_assert_eq(report.groups, 1);
    cr_assert_gt(report.added, 0);
    cr_assert_gt(report.dropped, 0);
    cr_assert(clean());
    rebuild();
    cr_assert_eq(report.groups, 0);
    free_rows(before);
}

/* --- with expired entries (L7) --- */

static void expire_before(int64_t recorded)
{
    struct qd_expiry expiry = {.keys_before = {recorded}, .entries_before = {recorded}};
    bool more = true;
    while (more) {
        cr_assert_eq(qd_ledger_expire(ledger, &expiry, &more, NULL), QD_STORE_OK);
    }
}

/* Half of what is in the same quarter hours expires. */
static void book_and_expire(void)
{
    book_some(500, ORACLE_NOW_NS - QD_NS_PER_DAY);
    book_some(500, ORACLE_NOW_NS - QD_NS_PER_DAY);
    book_some(300, ORACLE_NOW_NS);
    expire_before(ORACLE_NOW_NS - QD_NS_PER_DAY + 550);
}

Test(rebuild, L7_expired_sums_stay_exactly)
{
    open_ledger(0);
    book_and_expire();
    struct rows *before = take_rows();
    damage(before);
    rebuild();
    check_counts(3, 4, 2);
    cr_assert_gt(report.expired, 500);
    cr_assert_eq(report.unlabelled, 0);
    cr_assert(rows_are(before));
    for (size_t i = 0; i < before->count; i++) {
        drop(QD_STORE_ROLLUP, key_of(before, i));
    }
    rebuild();
    cr_assert(rows_are(before));
    cr_assert(clean());
    free_rows(before);
}

static enum qd_store_err query(bool by_env, struct qd_usage_table *ret_table)
{
    static const struct qd_wall_ns ends[2] = {
        {0}, {ORACLE_NOW_NS / QD_ROLLUP_NS * QD_ROLLUP_NS + QD_ROLLUP_NS}};
    static const struct qd_usage_group env = {.dimension = QD_BY_LABEL, .label = {"env", 3}};
    struct qd_usage_query all = {
        .boundaries = ends, .boundary_count = 2, .groups = &env, .group_count = by_env ? 1 : 0};
    return qd_usage_query(ledger, &all, ret_table, NULL);
}

/* How much of the expired has which label is known from the rows alone: rows that add up stay, and
 * of those that don't, the sum comes back, without labels. */
Test(rebuild, L7_expired_sums_lose_labels_only_where_rows_were_wrong)
{
    open_ledger(1);
    book_and_expire();
    struct rows *before = take_rows();
    struct qd_usage_table expected;
    struct qd_usage_table table;
    rebuild();
    cr_assert_eq(report.groups, 0);
    cr_assert_eq(query(false, &expected), QD_STORE_OK);
    cr_assert_eq(query(true, &table), QD_STORE_OK);
    qd_usage_table_release(&table);

    change(key_of(before, before->count - 1), 9); /* nothing of it has expired */
    rebuild();
    cr_assert_eq(report.unlabelled, 0);
    cr_assert(rows_are(before));

    change(key_of(before, 0), 9);
    rebuild();
    cr_assert_eq(report.groups, 1);
    cr_assert_eq(report.unlabelled, 1);
    cr_assert(clean());
    cr_assert_eq(query(false, &table), QD_STORE_OK);
    cr_assert(oracle_same_sums(&table.rows[0].sums, &expected.rows[0].sums));
    qd_usage_table_release(&table);
    cr_assert_eq(query(true, &table), QD_STORE_GONE);
    rebuild();
    cr_assert_eq(report.groups, 0);
    qd_usage_table_release(&expected);
    free_rows(before);
}

/* --- what cannot be rebuilt --- */

static void check_refused(enum qd_store_err expected, const char *text)
{
    struct rows *before = take_rows();
    struct qd_store_error error = {0};
    enum qd_store_err err =
        qd_ledger_rebuild_rollups(ledger, &(struct qd_rebuild_options){0}, &report, &error);
    cr_assert_eq(err, expected);
    cr_assert_eq(error.code, expected);
    cr_assert_str_eq(error.text, text);
    cr_assert(rows_are(before));
    free_rows(before);
}

Test(rebuild, L4_without_all_entries_nothing_is_changed)
{
    open_ledger(2);
    book_some(100, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    drop(QD_STORE_ROLLUP, key_of(before, 0));
    struct qd_buf key = {0};
    struct qd_batch batch = {0};
    qd_put_key_u64(&key, 7);
    qd_batch_put(&batch, QD_STORE_LEDGER, qd_buf_str(&key), qd_slice_of("garbage"));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    check_refused(QD_STORE_CORRUPT, "ledger entry 7: corrupt data");
    drop(QD_STORE_LEDGER, qd_buf_str(&key));
    check_refused(QD_STORE_CORRUPT, "after ledger entry 6 comes 8");
    qd_batch_release(&batch);
    qd_buf_release(&key);
    free_rows(before);
}

Test(rebuild, L7_without_what_expired_nothing_is_changed)
{
    open_ledger(0);
    book_and_expire();
    struct qd_batch batch = {0};
    struct rows *before = take_rows();
    qd_batch_put(&batch, QD_STORE_EXPIRED, key_of(before, 0), qd_slice_of("garbage"));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    check_refused(QD_STORE_CORRUPT, "a row of expired entries is damaged");
    qd_batch_clear(&batch);
    drop(QD_STORE_EXPIRED, key_of(before, 0));
    qd_batch_put(&batch, QD_STORE_EXPIRED, qd_slice_of("no key"), value_of(before, 0));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    check_refused(QD_STORE_CORRUPT, "a row of expired entries is damaged");
    qd_batch_release(&batch);
    free_rows(before);
}

/* --- crashes and failures --- */

static uint64_t audits(struct qd_tenant_store *tenants);

/* At each write, failed before it is applied or after: each group has its old rows or its new
 * ones, an audit record says so (X6), and another rebuild does the rest. */
static void crash_at(const struct rows *before, int64_t at, bool applied)
{
    struct qd_tenant_store *tenants = NULL;
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    uint64_t noted = audits(tenants);
    for (size_t i = 0; i < 4; i++) {
        change(key_of(before, before->count * i / 4), 5);
    }
    struct rows *damaged = take_rows();
    struct qd_store_faults *faults = qd_store_memory_faults(store);
    *(applied ? &faults->sync : &faults->write) = (struct qd_store_fault){.countdown = at};
    struct qd_rebuild_options options = {.rows_max = 1,
                                         .tenants = tenants,
                                         .change = {.actor = qd_slice_of("admin@loopback"),
                                                    .action = qd_slice_of("RebuildRollups"),
                                                    .now = {ORACLE_NOW_NS}}};
    struct qd_store_error error = {0};
    cr_assert_eq(qd_ledger_rebuild_rollups(ledger, &options, &report, &error), QD_STORE_IO);
    qd_tenant_store_close(tenants);
    qd_ledger_close(ledger);
    ledger = NULL;
    faults->sync.countdown = faults->write.countdown = -1;
    qd_store_memory_crash(store, applied && at % 2 == 0 ? 1 : 0);
    open_ledger(2);
    struct rows *after = take_rows();
    cr_assert_eq(after->count, before->count);
    uint64_t fixed = 0;
    for (size_t i = 0; i < after->count; i++) {
        cr_assert(qd_slice_equal(value_of(after, i), value_of(damaged, i)) ||
                  qd_slice_equal(value_of(after, i), value_of(before, i)));
        fixed += !qd_slice_equal(value_of(after, i), value_of(damaged, i));
    }
    cr_assert_eq(fixed, (uint64_t)at - 1 + (applied && at % 2 == 0));
    cr_assert_eq(qd_tenant_store_open(store, &tenants, NULL), QD_STORE_OK);
    cr_assert_eq(audits(tenants), noted + fixed);
    qd_tenant_store_close(tenants);
    rebuild();
    cr_assert_eq(report.changed, 4 - fixed);
    cr_assert(rows_are(before));
    free_rows(after);
    free_rows(damaged);
}

static bool check_audit(void *context, const struct qd_audit_record *record)
{
    uint64_t *count = context;
    ++*count;
    cr_assert_eq(record->sequence, *count);
    cr_assert(qd_slice_equal(record->actor, qd_slice_of("admin@loopback")));
    cr_assert(qd_slice_equal(record->action, qd_slice_of("RebuildRollups")));
    cr_assert_eq(record->subject.len, 0);
    cr_assert_eq(record->detail.len > 0, true);
    return true;
}

static uint64_t audits(struct qd_tenant_store *tenants)
{
    uint64_t count = 0;
    cr_assert_eq(qd_tenant_store_audit(tenants, 0, check_audit, &count, NULL), QD_STORE_OK);
    return count;
}

Test(rebuild, L4_X6_a_crash_at_any_write_leaves_old_rows_or_new_ones)
{
    open_ledger(2);
    book_some(200, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    for (int64_t at = 1; at <= 4; at++) { /* write 0 is the mark of a ledger just opened */
        qd_ledger_close(ledger);
        open_ledger(2);
        crash_at(before, at, false);
        qd_ledger_close(ledger);
        open_ledger(2);
        crash_at(before, at, true);
    }
    free_rows(before);
}

/* A failed write is the ledger's failure too: the next booking finds out what is there. */
Test(rebuild, L2_bookings_go_on_after_a_failed_rebuild)
{
    open_ledger(2);
    book_some(50, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    change(key_of(before, 0), 5);
    qd_store_memory_faults(store)->sync = (struct qd_store_fault){.countdown = 0};
    struct qd_store_error error = {0};
    cr_assert_eq(
        qd_ledger_rebuild_rollups(ledger, &(struct qd_rebuild_options){0}, &report, &error),
        QD_STORE_IO);
    struct qd_ledger_status status;
    qd_ledger_status(ledger, &status);
    cr_assert(status.failed);
    book_some(1, ORACLE_NOW_NS);
    qd_ledger_status(ledger, &status);
    cr_assert(!status.failed);
    cr_assert(clean());
    free_rows(before);
}

/* Two rows, one of which goes, and one that is none. 0: they are as they were. */
static int damage_and_rebuild(void *context)
{
    struct qd_store *own = qd_store_memory_new();
    struct qd_ledger *mine = NULL;
    struct qd_ledger_config config = {0};
    struct qd_rebuild_report done;
    struct qd_receipt receipt;
    struct qd_batch batch = {0};
    struct qd_buf key = {0};
    const struct qd_entry *entries = context;
    struct qd_store_error error = {0};
    qd_receipt_init(&receipt);
    bool ok = own != NULL && qd_ledger_open(own, &config, &mine, &error) == QD_STORE_OK;
    for (size_t i = 0; i < 2 && ok; i++) {
        struct qd_booking booking = {.entry = &entries[i], .now = {ORACLE_NOW_NS}};
        ok = qd_ledger_book(mine, &booking, &receipt) == QD_BOOK_BOOKED;
    }
    if (ok) {
        qd_rollup_key(&entries[0], &(struct qd_rollup_labels){0}, &key);
        batch.ops.failed |= key.failed;
        qd_batch_delete(&batch, QD_STORE_ROLLUP, qd_buf_str(&key));
        qd_batch_put(&batch, QD_STORE_ROLLUP, qd_slice_of("no key"), qd_slice_of("garbage"));
        ok = qd_store_write(own, &batch, false, NULL) == QD_STORE_OK;
    }
    if (ok) {
        struct qd_rebuild_options options = {0};
        enum qd_store_err err = qd_ledger_rebuild_rollups(mine, &options, &done, &error);
        ok = err == QD_STORE_OK && done.added == 1 && done.dropped == 1;
        cr_assert(ok || (err == QD_STORE_NO_MEMORY && error.code == err), "%s", error.text);
    }
    qd_batch_release(&batch);
    qd_buf_release(&key);
    qd_receipt_release(&receipt);
    qd_ledger_close(mine);
    qd_store_close(own);
    return ok ? 0 : 1;
}

Test(rebuild, any_allocation_may_fail)
{
    struct qd_entry entries[2];
    oracle_random_entry(&prng, 1, &entries[0]);
    entries[1] = entries[0];
    entries[1].model = qd_slice_of("other");
    cr_assert_gt(qd_failalloc_each(damage_and_rebuild, entries, false), 40);
}

/* --- what happens between the comparison and the write --- */

static const struct qd_store_ops *real_ops;
static void (*meanwhile)(void);

static struct qd_store_iter *open_iter(struct qd_store *of, const struct qd_store_range *range)
{
    if (range->space == QD_STORE_ROLLUP && range->snapshot != NULL && meanwhile != NULL) {
        void (*once)(void) = meanwhile;
        meanwhile = NULL;
        once();
    }
    return real_ops->iter_open(of, range);
}

/* `what` happens once, right after the snapshot's entries were read. */
static void happens(void (*what)(void))
{
    static struct qd_store_ops ops;
    real_ops = real_ops != NULL ? real_ops : store->ops;
    ops = *real_ops;
    ops.iter_open = open_iter;
    store->ops = &ops;
    meanwhile = what;
}

static void book_many(void)
{
    book_some(1500, ORACLE_NOW_NS);
}

static void change_labels(void)
{
    cr_assert_eq(qd_ledger_set_rollup_labels(ledger, env_and_user, 1, NULL), QD_STORE_OK);
}

static void book_and_lose(void)
{
    book_some(10, ORACLE_NOW_NS);
    expire_before(ORACLE_NOW_NS + QD_NS_PER_DAY);
}

Test(rebuild, L4_what_was_booked_meanwhile_is_in)
{
    open_ledger(2);
    book_some(300, ORACLE_NOW_NS);
    struct rows *before = take_rows();
    for (size_t i = 0; i < before->count; i++) {
        drop(QD_STORE_ROLLUP, key_of(before, i));
    }
    happens(book_many);
    rebuild_with(&(struct qd_rebuild_options){.rows_max = 20});
    cr_assert_lt(report.through, qd_ledger_watermark(ledger).sequence - 1000);
    cr_assert(clean());
    rebuild(); /* compares row by row */
    cr_assert_eq(report.groups, 0);
    free_rows(before);
}

Test(rebuild, L4_a_change_of_labels_meanwhile_is_refused)
{
    open_ledger(2);
    book_some(100, ORACLE_NOW_NS);
    add_stranger();
    happens(change_labels);
    check_refused(QD_STORE_INVALID,
                  "rollup_labels have changed while rollups were rebuilt: try again");
    rebuild();
    check_counts(0, 0, 1);
}

Test(rebuild, L7_what_expires_before_it_is_read_is_refused)
{
    open_ledger(2);
    book_some(100, ORACLE_NOW_NS);
    uint64_t last = qd_ledger_watermark(ledger).sequence;
    char text[128];
    add_stranger();
    struct qd_store_error error = {0};
    happens(book_and_lose);
    cr_assert_eq(
        qd_ledger_rebuild_rollups(ledger, &(struct qd_rebuild_options){0}, &report, &error),
        QD_STORE_GONE);
    (void)snprintf(text, sizeof text,
                   "ledger entry %" PRIu64 " has gone while rollups were rebuilt: try again",
                   last + 1);
    cr_assert_str_eq(error.text, text);
    rebuild();
    check_counts(0, 0, 1);
    cr_assert(clean());
}

/* --- bookings meanwhile --- */

static _Atomic bool stop;

static void *book_on(void *context)
{
    struct qd_prng mine;
    struct qd_receipt receipt;
    (void)context;
    qd_prng_init(&mine, qd_prng_seed("rebuild-writer", 3));
    qd_receipt_init(&receipt);
    for (int i = 0; i < 4000 && !atomic_load(&stop); i++) {
        struct qd_entry entry;
        oracle_random_entry(&mine, 1, &entry);
        entry.event_time.ns = ORACLE_NOW_NS - qd_prng_between(&mine, 0, QD_NS_PER_HOUR);
        entry.charged_time = entry.event_time;
        struct qd_booking booking = {.entry = &entry, .now = {ORACLE_NOW_NS}};
        if (qd_ledger_book(ledger, &booking, &receipt) != QD_BOOK_BOOKED) {
            break;
        }
    }
    qd_receipt_release(&receipt);
    return NULL;
}

Test(rebuild, L4_while_bookings_go_on)
{
    pthread_t thread;
    open_ledger(2);
    book_some(500, ORACLE_NOW_NS);
    atomic_store(&stop, false);
    cr_assert_eq(pthread_create(&thread, NULL, book_on, NULL), 0);
    for (uint32_t i = 0; i < 30; i++) {
        struct rows *rows = take_rows();
        for (size_t k = 0; k < rows->count; k += 5) {
            drop(QD_STORE_ROLLUP, key_of(rows, k));
            change(key_of(rows, k + 1 < rows->count ? k + 1 : 0), 3);
        }
        free_rows(rows);
        rebuild_with(&(struct qd_rebuild_options){.rows_max = i % 3 == 0 ? 50 : 0});
        cr_assert_gt(report.groups, 10);
        cr_assert(clean());
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    cr_assert_gt(qd_ledger_watermark(ledger).sequence, 600);
    rebuild(); /* compares row by row */
    cr_assert_eq(report.groups, 0);
}
