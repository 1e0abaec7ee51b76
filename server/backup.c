/* Making a backup while the node serves: the store copies itself, the copy is opened to see that it
 * can be and what is in it, and storage/backup makes it whole. */
#include "storage/backup/backup.h"
#include "server/boot.h"
#include "server/log/log.h"
#include "server/shard/journal.h"
#include "storage/codec.h"
#include "storage/store_rocksdb.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BACKUP_TIME_KEY  "node/backup"
#define COPY_CACHE_BYTES ((size_t)1 << 20)

static enum qd_error_code failed(const struct qd_backup_error *error, struct qd_error *ret_error)
{
    enum qd_error_code code = QD_ERROR_BACKUP_FAILED;

    switch (error->code) {
    case QD_BACKUP_INVALID:
        code = QD_ERROR_INVALID_NAME;
        break;
    case QD_BACKUP_EXISTS:
        code = QD_ERROR_BACKUP_EXISTS;
        break;
    case QD_BACKUP_BUSY:
        code = QD_ERROR_BACKUP_RUNNING;
        break;
    case QD_BACKUP_OK:
    case QD_BACKUP_DAMAGED:
    case QD_BACKUP_NEWER:
    case QD_BACKUP_FULL:
    case QD_BACKUP_ACCESS:
    case QD_BACKUP_IO:
    case QD_BACKUP_NO_MEMORY:
        break;
    }
    return qd_error_set(ret_error, code, "no backup was made: %s", error->text);
}

static enum qd_error_code store_failed(const struct qd_store_error *error,
                                       struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_BACKUP_FAILED, "no backup was made: %s", error->text);
}

/* What is in the copy: nobody writes to it, so this is exact, whatever was booked meanwhile. */
static enum qd_store_err look_into(const char *path, struct qd_watermark *ret_mark,
                                   struct qd_store_error *error)
{
    struct qd_store_rocksdb_config config = {
        .path = path, .cache_bytes = COPY_CACHE_BYTES, .read_only = true};
    struct qd_ledger_config in_ledger = {0};
    struct qd_store *copy = NULL;
    struct qd_ledger *ledger = NULL;
    enum qd_store_err err = qd_store_rocksdb_open(&config, &copy, error);

    if (err == QD_STORE_OK) {
        err = qd_ledger_open(copy, &in_ledger, &ledger, error);
    }
    if (err == QD_STORE_OK) {
        *ret_mark = qd_ledger_watermark(ledger);
    }
    qd_ledger_close(ledger);
    qd_store_close(copy);
    return err;
}

static enum qd_store_err copy_store(struct qd_boot *boot, const struct qd_backup_making *making,
                                    struct qd_watermark *ret_mark, struct qd_store_error *error)
{
    char path[PATH_MAX + 8];

    (void)snprintf(path, sizeof(path), "%s/db", making->path);
    enum qd_store_err err = qd_journal_compact(boot->store, error);
    if (err != QD_STORE_OK) {
        qd_log(QD_LOG_WARN, "the copy has void journals in it", "why=%s",
               qd_log_quote(error->text).text);
    }
    err = qd_store_checkpoint(boot->store, path, error);
    return err == QD_STORE_OK ? look_into(making->path, ret_mark, error) : err;
}

static void make_up_name(struct qd_wall_ns now, uint64_t sequence, char *name, size_t size)
{
    char when[32] = "";
    time_t seconds = (time_t)(now.ns / QD_NS_PER_S);
    struct tm parts;

    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &parts);
    }
    (void)snprintf(name, size, "%s-%" PRIu64, when, sequence);
}

static void describe(const struct qd_boot *boot, struct qd_watermark mark,
                     struct qd_backup_info *info)
{
    info->made_unix_ns = qd_clock_now(&boot->node->clock).ns;
    (void)snprintf(info->node, sizeof(info->node), "%s", boot->node->name);
    (void)snprintf(info->version, sizeof(info->version), "%s", QD_VERSION);
    info->incarnation = boot->node->incarnation;
    info->sequence = mark.sequence;
    info->complete_through_ns = mark.complete_through.ns;
}

/* When the last one was made outlives the process: whoever watches for it is not alarmed by each
 * restart. Kept as well as may be: a store that takes no writes forgets it in the end. */
static void remember(struct qd_boot *boot, int64_t made_ns)
{
    struct qd_batch batch;
    struct qd_buf value = {0};
    struct qd_store_error error;

    atomic_store_explicit(&boot->node->backup_at, made_ns, memory_order_relaxed);
    qd_batch_init(&batch);
    qd_put_i64(&value, made_ns);
    batch.ops.failed |= value.failed;
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of(BACKUP_TIME_KEY), qd_buf_str(&value));
    if (qd_store_write(boot->store, &batch, true, &error) != QD_STORE_OK) {
        qd_log(QD_LOG_WARN, "the time of the backup is not kept beyond a restart", "why=%s",
               qd_log_quote(error.text).text);
    }
    qd_batch_release(&batch);
    qd_buf_release(&value);
}

void qd_boot_recall_backup(struct qd_boot *boot)
{
    struct qd_buf value = {0};
    struct qd_store_error error;

    if (qd_store_get(boot->store, QD_STORE_META, qd_slice_of(BACKUP_TIME_KEY), &value, &error) ==
        QD_STORE_OK) {
        struct qd_reader reader = qd_reader_of(qd_buf_str(&value));
        int64_t made_ns = qd_get_i64(&reader);
        if (qd_reader_finish(&reader) == QD_STORE_OK) {
            atomic_store_explicit(&boot->node->backup_at, made_ns, memory_order_relaxed);
        }
    }
    qd_buf_release(&value);
}

enum qd_error_code qd_boot_checkpoint(void *context, const char *name,
                                      struct qd_checkpoint *ret_checkpoint,
                                      struct qd_error *ret_error)
{
    struct qd_boot *boot = context;
    struct qd_checkpoint *done = ret_checkpoint;
    struct qd_backup_making making;
    struct qd_backup_info info = {0};
    struct qd_backup_error error;
    struct qd_store_error store_error = {0};
    struct qd_watermark mark = {0};
    char root[PATH_MAX - sizeof(done->name) - 1];
    char path[PATH_MAX];
    char key[PATH_MAX];
    bool given = boot->backup_dir[0] != '\0';

    (void)snprintf(root, sizeof(root), "%s%s", given ? boot->backup_dir : boot->data_dir,
                   given ? "" : "/backups");
    (void)snprintf(key, sizeof(key), "%s/" QD_BACKUP_KEY_FILE, boot->data_dir);
    if (qd_backup_begin(root, name, &making, &error) != QD_BACKUP_OK) {
        return failed(&error, ret_error);
    }
    if (copy_store(boot, &making, &mark, &store_error) != QD_STORE_OK) {
        qd_backup_abandon(&making);
        return store_failed(&store_error, ret_error);
    }
    describe(boot, mark, &info);
    if (name != NULL) {
        (void)snprintf(done->name, sizeof(done->name), "%s", name);
    } else {
        make_up_name((struct qd_wall_ns){info.made_unix_ns}, mark.sequence, done->name,
                     sizeof(done->name));
    }
    enum qd_backup_code code = qd_backup_finish(&making, key, done->name, &info, &error);
    (void)snprintf(path, sizeof(path), "%s/%s", root, done->name);
    if (code != QD_BACKUP_OK || realpath(path, done->path) == NULL) {
        (void)snprintf(done->path, sizeof(done->path), "%s", path);
    }
    done->bytes = qd_backup_info_bytes(&info);
    done->files = info.file_count;
    done->sequence = mark.sequence;
    done->complete_through = mark.complete_through;
    int64_t made_ns = info.made_unix_ns;
    qd_backup_info_release(&info);
    if (code != QD_BACKUP_OK) {
        return failed(&error, ret_error);
    }
    remember(boot, made_ns);
    qd_log(QD_LOG_INFO, "backup made",
           "path=%s files=%" PRIu64 " bytes=%" PRIu64 " through=%" PRIu64,
           qd_log_quote(done->path).text, done->files, done->bytes, done->sequence);
    return QD_ERROR_NONE;
}
