/* Backups: a copy of a store that is written to meanwhile, and what becomes of bad ones. */
#include "storage/backup/backup.h"
#include "storage/codec.h"
#include "storage/store_memory.h"
#include "storage/store_rocksdb.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qd_tempdir dir;
static char data[PATH_MAX];    /* a data directory */
static char backups[PATH_MAX]; /* its backups */
static char target[PATH_MAX];  /* where to restore to */
static char key_file[PATH_MAX];
static struct qd_store *store;
static struct qd_backup_error why;

static const char key_bytes[] = "sixteen bytes of";

static void setup(void)
{
    struct qd_store_error error;
    struct qd_store_rocksdb_config config = {.path = data};

    qd_tempdir_init(&dir);
    qd_tempdir_path(&dir, "data", data);
    qd_tempdir_path(&dir, "backups", backups);
    qd_tempdir_path(&dir, "target", target);
    qd_tempdir_path(&dir, "key", key_file);
    qd_tempdir_write(&dir, "key", key_bytes, sizeof(key_bytes));
    cr_assert_eq(qd_store_rocksdb_open(&config, &store, &error), QD_STORE_OK, "%s", error.text);
}

static void teardown(void)
{
    qd_store_close(store);
    store = NULL;
    qd_tempdir_release(&dir);
}

/* Key n holds n; in two spaces, in one batch. */
static void put(struct qd_store *to, uint64_t n, bool sync)
{
    struct qd_batch batch;
    struct qd_buf bytes = {0};

    qd_batch_init(&batch);
    qd_put_key_u64(&bytes, n);
    qd_batch_put(&batch, QD_STORE_LEDGER, qd_buf_str(&bytes), qd_buf_str(&bytes));
    qd_batch_put(&batch, QD_STORE_IDEMPOTENCY, qd_buf_str(&bytes), qd_buf_str(&bytes));
    cr_assert_eq(qd_store_write(to, &batch, sync, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&bytes);
}

/* How many keys a space has; they are 1, 2, 3, ... */
static uint64_t count(struct qd_store *of, enum qd_store_space space)
{
    struct qd_store_iter *iter = qd_store_iter_open(of, &(struct qd_store_range){.space = space});
    struct qd_str key;
    struct qd_str value;
    uint64_t n = 0;

    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        struct qd_reader reader = qd_reader_of(key);
        cr_assert_eq(qd_get_key_u64(&reader), n + 1);
        n++;
    }
    qd_store_iter_close(iter);
    return n;
}

static void copy(const struct qd_backup_making *making)
{
    char path[PATH_MAX + 8];
    struct qd_store_error error;

    snprintf(path, sizeof(path), "%s/db", making->path);
    cr_assert_eq(qd_store_checkpoint(store, path, &error), QD_STORE_OK, "%s", error.text);
}

static enum qd_backup_code make(const char *name)
{
    struct qd_backup_making making;
    struct qd_backup_info info = {
        .sequence = 7, .incarnation = 3, .node = "n1", .version = "0.1.0"};
    enum qd_backup_code code = qd_backup_begin(backups, name, &making, &why);

    if (code == QD_BACKUP_OK) {
        copy(&making);
        code = qd_backup_finish(&making, key_file, name, &info, &why);
        qd_backup_info_release(&info);
    }
    return code;
}

static char *in(const char *folder, const char *name)
{
    static char path[PATH_MAX + 256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static char *backup(const char *name)
{
    static char path[PATH_MAX + 256];
    snprintf(path, sizeof(path), "%s/%s", backups, name);
    return path;
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static enum qd_backup_code restore(const char *name)
{
    struct qd_backup_info info;
    enum qd_backup_code code = qd_backup_restore(backup(name), target, 1796000000, &info, &why);
    if (code == QD_BACKUP_OK) {
        cr_assert_eq(info.sequence, 7);
        cr_assert_str_eq(info.node, "n1");
        qd_backup_info_release(&info);
    }
    return code;
}

static uint64_t restored_keys(void)
{
    struct qd_store_rocksdb_config config = {.path = target};
    struct qd_store *restored = NULL;
    struct qd_store_error error;
    cr_assert_eq(qd_store_rocksdb_open(&config, &restored, &error), QD_STORE_OK, "%s", error.text);
    uint64_t n = count(restored, QD_STORE_LEDGER);
    cr_assert_eq(count(restored, QD_STORE_IDEMPOTENCY), n, "batches are whole");
    qd_store_close(restored);
    return n;
}

struct writer {
    _Atomic uint64_t durable;
    _Atomic bool stop;
};

static void *writer_main(void *argument)
{
    struct writer *writer = argument;
    uint64_t n = 0;
    while (!atomic_load(&writer->stop)) {
        n++;
        put(store, n, n % 4 == 0);
        if (n % 4 == 0) {
            atomic_store(&writer->durable, n);
        }
    }
    return NULL;
}

Test(backup, L2_a_copy_has_all_that_was_durable_and_then_a_prefix, .init = setup, .fini = teardown)
{
    struct writer writer = {.durable = 0};
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, writer_main, &writer), 0);
    for (int i = 0; i < 5; i++) {
        char name[16];
        struct qd_store_rocksdb_config config = {.read_only = true};
        struct qd_store *copied = NULL;
        snprintf(name, sizeof(name), "b%d", i);
        while (atomic_load(&writer.durable) < UINT64_C(100) * (uint64_t)(i + 1)) {
            usleep(1000);
        }
        uint64_t before = atomic_load(&writer.durable);
        cr_assert_eq(make(name), QD_BACKUP_OK, "%s", why.text);
        config.path = backup(name);
        cr_assert_eq(qd_store_rocksdb_open(&config, &copied, NULL), QD_STORE_OK);
        uint64_t has = count(copied, QD_STORE_LEDGER);
        cr_assert_geq(has, before);
        cr_assert_eq(count(copied, QD_STORE_IDEMPOTENCY), has, "batches are whole");
        qd_store_close(copied);
    }
    atomic_store(&writer.stop, true);
    (void)pthread_join(thread, NULL);
}

Test(backup, X7_it_holds_the_key_for_its_owner_only, .init = setup, .fini = teardown)
{
    struct stat st;
    char bytes[sizeof(key_bytes)];

    put(store, 1, true);
    cr_assert_eq(make("one"), QD_BACKUP_OK, "%s", why.text);
    cr_assert_eq(restore("one"), QD_BACKUP_OK, "%s", why.text);
    const char *places[] = {backup("one"), target};
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(stat(places[i], &st), 0);
        cr_assert_eq(st.st_mode & 0777, 0700);
        cr_assert_eq(stat(in(places[i], QD_BACKUP_KEY_FILE), &st), 0);
        cr_assert_eq(st.st_mode & 0777, 0600);
        FILE *file = fopen(in(places[i], QD_BACKUP_KEY_FILE), "re");
        cr_assert_eq(fread(bytes, 1, sizeof(bytes), file), sizeof(bytes));
        cr_assert_eq(memcmp(bytes, key_bytes, sizeof(bytes)), 0);
        fclose(file);
    }
    cr_assert_eq(restored_keys(), 1);
    cr_assert_eq(qd_restored_at(target), 1796000000);
    cr_assert(qd_restored_forget(target) && qd_restored_forget(target));
    cr_assert_eq(qd_restored_at(target), 0);
}

Test(backup, names_stay_below_the_folder, .init = setup, .fini = teardown)
{
    static const char *const bad[] = {"",  ".",  "..",  "../x", "a/b",     "/x",
                                      "-", ".x", "a b", "a\n",  "\xc3\xa4"};
    char longest[QD_BACKUP_NAME_MAX + 2];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(make(bad[i]), QD_BACKUP_INVALID, "\"%s\"", bad[i]);
    }
    memset(longest, 'a', sizeof(longest));
    longest[QD_BACKUP_NAME_MAX + 1] = '\0';
    cr_assert_eq(make(longest), QD_BACKUP_INVALID);
    cr_assert(!there(backups), "nothing is made");
    longest[QD_BACKUP_NAME_MAX] = '\0';
    cr_assert_eq(make(longest), QD_BACKUP_OK, "%s", why.text);
}

Test(backup, one_is_never_overwritten, .init = setup, .fini = teardown)
{
    put(store, 1, true);
    cr_assert_eq(make("b"), QD_BACKUP_OK);
    put(store, 2, true);
    cr_assert_eq(make("b"), QD_BACKUP_EXISTS);
    cr_assert_not_null(strstr(why.text, "/b exists: a backup is never overwritten"));
    cr_assert_eq(restore("b"), QD_BACKUP_OK);
    cr_assert_eq(restored_keys(), 1);
}

Test(backup, one_at_a_time, .init = setup, .fini = teardown)
{
    struct qd_backup_making making;
    put(store, 1, true);
    cr_assert_eq(qd_backup_begin(backups, "a", &making, &why), QD_BACKUP_OK);
    cr_assert_eq(make("b"), QD_BACKUP_BUSY);
    qd_backup_abandon(&making);
    cr_assert_eq(make("b"), QD_BACKUP_OK, "%s", why.text);
}

Test(backup, one_that_did_not_end_has_no_name_and_is_cleared, .init = setup, .fini = teardown)
{
    struct qd_backup_making making;

    put(store, 1, true);
    cr_assert_eq(qd_backup_begin(backups, "a", &making, &why), QD_BACKUP_OK);
    copy(&making);
    close(making.lock_fd); /* and the process is gone */
    cr_assert(!there(backup("a")));
    cr_assert_eq(make("b"), QD_BACKUP_OK, "%s", why.text);
    cr_assert(there(backup("b")) && !there(making.path));
    /* A key that is not there: the name is not, either. */
    cr_assert_eq(unlink(key_file), 0);
    cr_assert_eq(make("c"), QD_BACKUP_ACCESS);
    cr_assert_not_null(strstr(why.text, "cannot copy the node's key"));
    cr_assert(!there(backup("c")) && !there(making.path));
}

Test(backup, a_folder_that_takes_no_writes_is_named, .init = setup, .fini = teardown)
{
    qd_tempdir_path(&dir, "no/such/place", backups);
    cr_assert_eq(make("a"), QD_BACKUP_ACCESS);
    cr_assert_not_null(strstr(why.text, "cannot make the folder of backups /"));
    cr_assert_not_null(strstr(why.text, "no/such/place: No such file or directory"));
}

Test(backup, a_store_in_memory_has_none, .init = setup, .fini = teardown)
{
    struct qd_store *memory = qd_store_memory_new();
    struct qd_store_error error;
    cr_assert_eq(qd_store_checkpoint(memory, target, &error), QD_STORE_INVALID);
    cr_assert_not_null(strstr(error.text, "a store in memory has no files to copy"));
    qd_store_close(memory);
    cr_assert_eq(qd_store_checkpoint(store, dir.path, &error), QD_STORE_INVALID);
    cr_assert_not_null(strstr(error.text, " exists"));
}

/* --- restoring --- */

Test(restore, only_to_a_new_or_empty_folder, .init = setup, .fini = teardown)
{
    put(store, 1, true);
    cr_assert_eq(make("b"), QD_BACKUP_OK);
    cr_assert_eq(mkdir(target, 0700), 0);
    cr_assert_eq(mkdir(in(target, "lost+found"), 0700), 0);
    cr_assert_eq(restore("b"), QD_BACKUP_OK, "a file system's root: %s", why.text);
    cr_assert_eq(restore("b"), QD_BACKUP_INVALID);
    cr_assert_not_null(strstr(why.text, "/target is not empty: \""));
    cr_assert_eq(restored_keys(), 1);
}

Test(restore, not_under_a_running_node, .init = setup, .fini = teardown)
{
    put(store, 1, true);
    cr_assert_eq(make("b"), QD_BACKUP_OK);
    cr_assert_eq(mkdir(target, 0700), 0);
    int fd = open(in(target, "quotad.pid"), O_RDWR | O_CREAT, 0600);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    cr_assert_eq(restore("b"), QD_BACKUP_BUSY);
    cr_assert_not_null(strstr(why.text, "in use by a running quotad"));
    close(fd);
    cr_assert_eq(restore("b"), QD_BACKUP_OK, "%s", why.text);
}

static void damage(const char *sentence)
{
    cr_assert_eq(restore("b"), QD_BACKUP_DAMAGED, "%s", sentence);
    cr_assert_not_null(strstr(why.text, sentence), "%s", why.text);
    cr_assert(!there(target));
}

Test(restore, X4_a_damaged_backup_is_refused_before_anything_is_made, .init = setup,
     .fini = teardown)
{
    char aside[PATH_MAX];
    char text[4096];

    qd_tempdir_path(&dir, "aside", aside);
    put(store, 1, true);
    cr_assert_eq(restore("b"), QD_BACKUP_ACCESS);
    cr_assert_eq(make("b"), QD_BACKUP_OK);
    cr_assert_eq(rename(in(backup("b"), "db/CURRENT"), aside), 0);
    damage("lacks its file db/CURRENT");
    cr_assert_eq(rename(aside, in(backup("b"), "db/CURRENT")), 0);
    cr_assert_eq(truncate(in(backup("b"), QD_BACKUP_KEY_FILE), 3), 0);
    damage("reservation.key has 3 bytes, the backup was made with 17");
    FILE *file = fopen(in(backup("b"), "backup"), "r+e");
    size_t size = fread(text, 1, sizeof(text), file);
    text[20]++;
    rewind(file);
    cr_assert_eq(fwrite(text, 1, size, file), size);
    fclose(file);
    damage("/backup is damaged");
    file = fopen(in(backup("b"), "backup"), "we");
    fputs("quotad backup 2\n", file);
    fclose(file);
    cr_assert_eq(restore("b"), QD_BACKUP_NEWER);
    cr_assert_eq(unlink(in(backup("b"), "backup")), 0);
    damage("is no backup");
}

/* The states that a crash can leave, in their order. */
Test(restore, X5_one_that_did_not_end_starts_no_node_and_runs_again, .init = setup,
     .fini = teardown)
{
    put(store, 1, true);
    put(store, 2, true);
    cr_assert_eq(make("b"), QD_BACKUP_OK);
    cr_assert_eq(mkdir(target, 0700), 0);
    cr_assert(!qd_restore_unfinished(target));
    cr_assert_eq(mkdir(in(target, "restoring"), 0700), 0);
    cr_assert_eq(mkdir(in(target, "restoring/db"), 0700), 0);
    cr_assert(qd_restore_unfinished(target));
    fclose(fopen(in(target, "restoring/db/CURRENT"), "we"));
    fclose(fopen(in(target, QD_BACKUP_KEY_FILE), "we"));
    fclose(fopen(in(target, QD_RESTORED_FILE), "we"));
    cr_assert(qd_restore_unfinished(target));
    cr_assert_eq(restore("b"), QD_BACKUP_OK, "%s", why.text);
    cr_assert(!qd_restore_unfinished(target));
    cr_assert(qd_is_backup(backup("b")));
    cr_assert(!qd_is_backup(target));
    cr_assert(!there(in(target, "restoring")));
    cr_assert_eq(restored_keys(), 2);
    /* All is in its place, only the empty folder is left. */
    cr_assert_eq(mkdir(in(target, "restoring"), 0700), 0);
    cr_assert(!qd_restore_unfinished(target));
    cr_assert_eq(restore("b"), QD_BACKUP_INVALID, "what has ended is not overwritten");
}
