/* Journals in RocksDB's files: they lie beside the tables, go when they are void, and one that is
 * damaged costs rates and holds, no budget (X4, X5). */
#include "tests/unit/shard/fixture.h"

#include "server/shard/journal.h"
#include "storage/store_rocksdb.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(journal_files, .timeout = 120);

static const char policy[] = "version: 1\n"
                             "models: {m: {max_output_tokens: 100}}\n"
                             "prices: {m: {input_tokens: $2/1M, output_tokens: $4/1M}}\n"
                             "plans: {basic: {concurrency: 30000, cost: $100/month}}\n"
                             "tenants: {\"*\": {plan: basic}}\n";

#define HOLDS 6000

static struct fixture f;
static struct qd_tempdir folder;

static void open_store(void)
{
    struct qd_store_error error;
    struct qd_store_rocksdb_config config = {.path = folder.path, .write_buffer_bytes = 1 << 20};

    cr_assert_eq(qd_store_rocksdb_open(&config, &f.store, &error), QD_STORE_OK, "%s", error.text);
}

/* A node with more holds than the write buffer takes, and one report. */
static void begin(void)
{
    qd_tempdir_init(&folder);
    memset(&f, 0, sizeof(f));
    f.wall = T0;
    f.mono = 1000;
    f.shards = 1;
    f.reservations = 8192;
    f.name_bytes = 1 << 20;
    open_store();
    fixture_open(&f, policy);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 700), QD_ERROR_NONE, "%s", f.error.text);
    for (unsigned i = 0; i < HOLDS; i++) {
        cr_assert(check(&f, "acme", 1), "%s", f.answer.message);
    }
    for (unsigned i = 0; i < 4; i++) {
        fixture_fold(&f);
    }
}

static void stop(void)
{
    fixture_close(&f);
    qd_store_close(f.store);
}

static void end(void)
{
    fixture_end(&f);
    qd_tempdir_release(&folder);
}

/* Paths of the files; how many there are. */
static size_t blobs(glob_t *ret_paths)
{
    char pattern[PATH_MAX];

    (void)qd_tempdir_path(&folder, "db/*.blob", pattern);
    return glob(pattern, 0, NULL, ret_paths) == 0 ? ret_paths->gl_pathc : 0;
}

/* One in every 4 KiB but the first: some lie in what still counts. */
static void flip_bytes(const char *path)
{
    FILE *file = fopen(path, "r+b");

    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    for (long at = 4096; at < size - 100; at += 4096) {
        cr_assert_eq(fseek(file, at, SEEK_SET), 0);
        int byte = fgetc(file);
        cr_assert_eq(fseek(file, at, SEEK_SET), 0);
        cr_assert_neq(fputc(byte ^ 0x55, file), EOF);
    }
    cr_assert_eq(fclose(file), 0);
}

Test(journal_files, X5_holds_come_back_from_files)
{
    glob_t paths;

    begin();
    stop();
    cr_assert_gt(blobs(&paths), 0, "the journal lies in files of its own");
    globfree(&paths);
    open_store();
    fixture_open(&f, policy);
    cr_assert_not(f.recovery.from_ledger, "%s", f.recovery.damage);
    cr_expect_eq(f.recovery.holds, HOLDS);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), HOLDS);
    end();
}

Test(journal_files, X4_a_damaged_file_costs_no_budget)
{
    glob_t paths;

    begin();
    stop();
    open_store(); /* what lay in the log goes to files */
    qd_store_close(f.store);
    size_t count = blobs(&paths);
    cr_assert_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        flip_bytes(paths.gl_pathv[i]);
    }
    globfree(&paths);
    open_store();
    fixture_open(&f, policy);
    cr_expect(f.recovery.from_ledger);
    cr_expect_neq(f.recovery.damage[0], '\0');
    cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
    cr_expect_eq(held_of(&f, "acme", "concurrency"), 0);
    cr_assert(check(&f, "acme", 10));
    stop();
    open_store();
    fixture_open(&f, policy);
    cr_expect_not(f.recovery.from_ledger, "what was damaged is gone: %s", f.recovery.damage);
    cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
    end();
}

/* The newest file is cut or lost: the start goes by what is left, all of it or the ledger. */
static void damage_the_last(bool cut)
{
    glob_t paths;
    struct qd_store_error error = {0};
    struct qd_store_rocksdb_config config = {.path = folder.path, .write_buffer_bytes = 1 << 20};

    begin();
    stop();
    open_store();
    qd_store_close(f.store);
    config.path = folder.path;
    size_t count = blobs(&paths);
    cr_assert_gt(count, 0);
    const char *last = paths.gl_pathv[count - 1];
    cr_assert_eq(cut ? truncate(last, 5000) : unlink(last), 0);
    for (unsigned boot = 0; boot < 3; boot++) {
        cr_assert_eq(qd_store_rocksdb_open(&config, &f.store, &error), QD_STORE_OK, "%s",
                     error.text);
        cr_assert(fixture_try_open(&f, policy), "boot %u: %s", boot, f.error.text);
        cr_expect_eq(used_of(&f, "acme", "cost"), 1400000);
        cr_expect(boot > 0 || f.recovery.from_ledger || f.recovery.holds == HOLDS);
        fixture_fold(&f);
        cr_assert_eq(qd_journal_compact(f.store, &error), QD_STORE_OK, "%s", error.text);
        stop();
    }
    globfree(&paths);
    qd_tempdir_release(&folder);
}

Test(journal_files, X4_a_cut_file_costs_no_budget)
{
    damage_the_last(true);
}

Test(journal_files, X4_a_lost_file_costs_no_budget)
{
    damage_the_last(false);
}

Test(journal_files, X5_files_of_void_journals_go_when_the_space_is_compacted)
{
    glob_t paths;
    struct qd_store_error error;

    begin();
    fixture_pass(&f, QD_NS_PER_HOUR); /* all holds expire */
    for (unsigned i = 0; i < 20; i++) {
        qd_node_expire(f.node);
        qd_node_tick(f.node);
    }
    for (unsigned i = 0; i < HOLDS; i++) { /* and checks end those that are left */
        (void)check(&f, "globex", 1);
    }
    fixture_pass(&f, QD_NS_PER_HOUR);
    (void)check(&f, "globex", 1);
    fixture_fold(&f);
    cr_assert_eq(qd_journal_compact(f.store, &error), QD_STORE_OK, "%s", error.text);
    stop();
    size_t count = blobs(&paths);
    cr_expect_leq(count, 1, "%zu files are left", count);
    if (count > 0) {
        globfree(&paths);
    }
    open_store();
    fixture_open(&f, policy);
    end();
}
