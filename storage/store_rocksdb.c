#include "storage/store_rocksdb.h"

#include "storage/data_dir.h"
#include "storage/kept_logs.h"
#include "storage/sums.h"

#include <limits.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB                  ((size_t)1 << 20)
#define DEFAULT_BUFFER_BYTES (64 * MIB)
#define DEFAULT_CACHE_BYTES  (64 * MIB)
#define DEFAULT_OPEN_FILES   512
#define WAL_BYTES_MAX        (128 * MIB) /* bounds the time that recovery takes */
#define BLOCK_BYTES          ((size_t)16 << 10)
#define LEDGER_BLOCK_BYTES   ((size_t)32 << 10) /* read in order, mostly: smaller by 3 to 7% */
#define BLOB_BYTES_MIN       ((size_t)4 << 10)
#define MEMTABLE_BLOOM_RATIO 0.05 /* of a write buffer */
#define BLOOM_BITS_PER_KEY   10
/* X4: Debian's RocksDB has its assertions on, and ends the process at the second line that its LOG
 * file cannot take: on a full disk. What goes wrong is in our errors; its LOG gets headers only. */
#define LOG_LEVEL_FATAL 4
#define LOG_FILES_KEPT  2
/* rocksdb::BottommostLevelCompaction: files that only moved down the levels are written anew, too.
 */
#define COMPACT_BOTTOMMOST_FORCE 3 /* kForceOptimized */
/* A row that is merged more often than this in the memtable is added up there, so that reading a
 * hot rollup row costs the same however many entries went into it. */
#define MERGES_IN_MEMTABLE 16
#define OPERANDS_ON_STACK  64

static const char *const space_names[QD_STORE_SPACE_COUNT] = {
#define SPACE_NAME(name, text) text,
    QD_STORE_SPACES(SPACE_NAME)
#undef SPACE_NAME
};

static const struct qd_str format_key = {"format", 6};

struct rocks_store {
    struct qd_store base;
    struct qd_data_dir dir;
    rocksdb_t *db;
    rocksdb_options_t *options[QD_STORE_SPACE_COUNT];
    rocksdb_cache_t *cache;
    rocksdb_column_family_handle_t *spaces[QD_STORE_SPACE_COUNT];
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write_synced;
    rocksdb_writeoptions_t *write_plain;
};

struct rocks_iter {
    struct qd_store_iter base;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read;
    struct qd_buf lower;
    struct qd_buf upper;
    bool reverse;
    bool placed; /* the next move stays where the iterator is */
};

/* The C API wants `struct qd_store_snapshot` to be something of ours. */
struct qd_store_snapshot {
    const rocksdb_snapshot_t *snapshot;
};

/* --- foreign errors become ours here --- */

/* One that the manifest names: what was in it is gone. */
static bool is_lost_file(const char *text)
{
    return strstr(text, "No such file") != NULL &&
           (strstr(text, ".blob") != NULL || strstr(text, ".sst") != NULL);
}

static enum qd_store_err error_code(const char *text)
{
    if (strstr(text, "No space left") != NULL || strstr(text, "Disk quota exceeded") != NULL) {
        return QD_STORE_FULL;
    }
    if (strncmp(text, "Corruption", 10) == 0 || is_lost_file(text)) {
        return QD_STORE_CORRUPT;
    }
    if (strstr(text, "Permission denied") != NULL || strstr(text, "Read-only file") != NULL) {
        return QD_STORE_ACCESS;
    }
    if (strstr(text, "lock hold by") != NULL || strstr(text, "While lock file") != NULL) {
        return QD_STORE_IN_USE;
    }
    return QD_STORE_IO;
}

/* Takes and frees RocksDB's message; OK if there is none. */
static enum qd_store_err convert(char *text, const char *what, struct qd_store_error *error)
{
    if (text == NULL) {
        return QD_STORE_OK;
    }
    enum qd_store_err code = error_code(text);
    qd_store_error_set(error, code, "%s: %s (%s)", what, qd_store_err_text(code), text);
    rocksdb_free(text);
    return code;
}

/* --- the merge operator --- */

static char *merge(const char *existing, size_t existing_size, const char *const *operands,
                   const size_t *sizes, int count, unsigned char *ret_success, size_t *ret_size)
{
    *ret_success = 0;
    *ret_size = 0;
    struct qd_str on_stack[OPERANDS_ON_STACK];
    struct qd_str *slices = on_stack;
    size_t n = count > 0 ? (size_t)count : 0;
    if (n > OPERANDS_ON_STACK) {
        slices = malloc(n * sizeof *slices);
        if (slices == NULL) {
            return NULL;
        }
    }
    for (size_t i = 0; i < n; i++) {
        slices[i] = (struct qd_str){operands[i], sizes[i]};
    }
    struct qd_str base = {existing, existing_size};
    struct qd_buf value = {0};
    qd_sums_merge(existing != NULL ? &base : NULL, slices, n, &value);
    if (slices != on_stack) {
        free(slices);
    }
    if (value.failed) {
        qd_buf_release(&value);
        return NULL;
    }
    *ret_success = 1;
    *ret_size = value.size;
    return (char *)value.data;
}

static char *full_merge(void *state, const char *key, size_t key_size, const char *existing,
                        size_t existing_size, const char *const *operands, const size_t *sizes,
                        int count, unsigned char *ret_success, size_t *ret_size)
{
    (void)state;
    (void)key;
    (void)key_size;
    return merge(existing, existing_size, operands, sizes, count, ret_success, ret_size);
}

static char *partial_merge(void *state, const char *key, size_t key_size,
                           const char *const *operands, const size_t *sizes, int count,
                           unsigned char *ret_success, size_t *ret_size)
{
    (void)state;
    (void)key;
    (void)key_size;
    return merge(NULL, 0, operands, sizes, count, ret_success, ret_size);
}

static void merge_free_value(void *state, const char *value, size_t size)
{
    (void)state;
    (void)size;
    union {
        const char *in;
        void *out;
    } block = {.in = value};
    free(block.out);
}

static void merge_destroy(void *state)
{
    (void)state;
}

static const char *merge_name(void *state)
{
    (void)state;
    return "quotad.sums.1";
}

/* --- opening --- */

static rocksdb_options_t *space_options(enum qd_store_space space, rocksdb_cache_t *cache,
                                        const struct qd_store_rocksdb_config *config)
{
    size_t buffers =
        config->write_buffer_bytes > 0 ? config->write_buffer_bytes : DEFAULT_BUFFER_BYTES;
    int files = config->open_files_max > 0 ? config->open_files_max : DEFAULT_OPEN_FILES;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_create_missing_column_families(options, 1);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_db_write_buffer_size(options, buffers);
    rocksdb_options_set_write_buffer_size(options, buffers / 2);
    rocksdb_options_set_max_total_wal_size(options, WAL_BYTES_MAX);
    rocksdb_options_set_max_open_files(options, files);
    rocksdb_options_set_info_log_level(options, LOG_LEVEL_FATAL);
    rocksdb_options_set_keep_log_file_num(options, LOG_FILES_KEPT);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_options_set_bottommost_compression(options, rocksdb_zstd_compression);
    rocksdb_options_set_merge_operator(
        options, rocksdb_mergeoperator_create(NULL, merge_destroy, full_merge, partial_merge,
                                              merge_free_value, merge_name));
    if (space == QD_STORE_LEDGER) {
        /* Entries come in the order of their keys: their files are never merged, only moved down
         * the levels, and stay as they were first written. LZ4 would keep 60 bytes an entry,
         * not 43. */
        rocksdb_options_set_compression(options, rocksdb_zstd_compression);
    }
    if (space == QD_STORE_SNAPSHOT) {
        /* Journals are large values that live for seconds: beside the tables, where merging does
         * not copy them and a file goes when all in it are deleted. */
        rocksdb_options_set_enable_blob_files(options, 1);
        rocksdb_options_set_min_blob_size(options, BLOB_BYTES_MIN);
    }
    if (space == QD_STORE_ROLLUP || space == QD_STORE_EXPIRED) {
        rocksdb_options_set_max_successive_merges(options, MERGES_IN_MEMTABLE);
    }
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_block_size(table, space == QD_STORE_LEDGER ? LEDGER_BLOCK_BYTES
                                                                               : BLOCK_BYTES);
    if (space == QD_STORE_IDEMPOTENCY) {
        /* Nearly every look-up of a key is for one that isn't there: not on disk, nor in memory. */
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, MEMTABLE_BLOOM_RATIO);
        rocksdb_options_set_memtable_whole_key_filtering(options, 1);
    }
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
    return options;
}

static void rocks_close(struct qd_store *base)
{
    struct rocks_store *store = (struct rocks_store *)base;
    for (size_t i = 0; i < QD_STORE_SPACE_COUNT; i++) {
        if (store->spaces[i] != NULL) {
            rocksdb_column_family_handle_destroy(store->spaces[i]);
        }
    }
    if (store->db != NULL) {
        rocksdb_close(store->db);
    }
    for (size_t i = 0; i < QD_STORE_SPACE_COUNT; i++) {
        if (store->options[i] != NULL) {
            rocksdb_options_destroy(store->options[i]);
        }
    }
    if (store->cache != NULL) {
        rocksdb_cache_destroy(store->cache);
    }
    if (store->read != NULL) {
        rocksdb_readoptions_destroy(store->read);
        rocksdb_writeoptions_destroy(store->write_synced);
        rocksdb_writeoptions_destroy(store->write_plain);
    }
    qd_data_dir_unlock(&store->dir);
    free(store);
}

static void make_options(struct rocks_store *store, const struct qd_store_rocksdb_config *config)
{
    store->cache = rocksdb_cache_create_lru(config->cache_bytes > 0 ? config->cache_bytes
                                                                    : DEFAULT_CACHE_BYTES);
    for (size_t i = 0; i < QD_STORE_SPACE_COUNT; i++) {
        store->options[i] = space_options((enum qd_store_space)i, store->cache, config);
    }
    store->read = rocksdb_readoptions_create();
    store->write_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write_synced, 1);
    store->write_plain = rocksdb_writeoptions_create();
}

/* A key space that we don't know was made by a newer version: its format key says so when we look,
 * so refuse here by name. */
static enum qd_store_err check_spaces(struct rocks_store *store, const char *path,
                                      struct qd_store_error *error)
{
    char *text = NULL;
    size_t count = 0;
    char **names = rocksdb_list_column_families(store->options[0], path, &count, &text);
    if (text != NULL) {
        rocksdb_free(text); /* not there yet; opening tells whatever else is wrong */
        rocksdb_list_column_families_destroy(names, count);
        return QD_STORE_OK;
    }
    enum qd_store_err err = QD_STORE_OK;
    for (size_t i = 0; i < count && err == QD_STORE_OK; i++) {
        bool known = false;
        for (size_t k = 0; k < QD_STORE_SPACE_COUNT; k++) {
            known |= strcmp(names[i], space_names[k]) == 0;
        }
        if (!known) {
            err = qd_store_error_set(error, QD_STORE_NEWER_FORMAT,
                                     "%s was written by a newer version (it has a key space "
                                     "\"%s\"): start that version",
                                     path, names[i]);
        }
    }
    rocksdb_list_column_families_destroy(names, count);
    return err;
}

static enum qd_store_err check_format(struct rocks_store *store, const char *path,
                                      struct qd_store_error *error)
{
    struct qd_buf value = {0};
    enum qd_store_err err = qd_store_get(&store->base, QD_STORE_META, format_key, &value, error);
    struct qd_batch batch = {0};
    if (err == QD_STORE_NOT_FOUND) {
        struct qd_buf mine = {0};
        qd_put_u32(&mine, QD_STORE_FORMAT);
        qd_batch_put(&batch, QD_STORE_META, format_key, qd_buf_str(&mine));
        batch.ops.failed |= mine.failed;
        err = qd_store_write(&store->base, &batch, true, error);
        qd_buf_release(&mine);
    } else if (err == QD_STORE_OK) {
        struct qd_reader reader = qd_reader_of(qd_buf_str(&value));
        uint32_t format = qd_get_u32(&reader);
        if (qd_reader_finish(&reader) != QD_STORE_OK || format == 0) {
            err = qd_store_error_set(error, QD_STORE_CORRUPT, "%s: the format key is not readable",
                                     path);
        } else if (format > QD_STORE_FORMAT) {
            err = qd_store_error_set(error, QD_STORE_NEWER_FORMAT,
                                     "%s has format %u, this version reads up to %d: start the "
                                     "version that wrote it",
                                     path, format, QD_STORE_FORMAT);
        }
    }
    qd_batch_release(&batch);
    qd_buf_release(&value);
    return err;
}

static enum qd_store_err open_db(struct rocks_store *store,
                                 const struct qd_store_rocksdb_config *config,
                                 struct qd_store_error *error)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/db", config->path);
    if (size < 0 || (size_t)size >= sizeof path) {
        return qd_store_error_set(error, QD_STORE_INVALID, "data directory: the path is too long");
    }
    enum qd_store_err err = check_spaces(store, path, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    char *text = NULL;
    const rocksdb_options_t *const *options = (const rocksdb_options_t *const *)store->options;
    store->db = config->read_only
                    ? rocksdb_open_for_read_only_column_families(store->options[0], path,
                                                                 QD_STORE_SPACE_COUNT, space_names,
                                                                 options, store->spaces, 0, &text)
                    : rocksdb_open_column_families(store->options[0], path, QD_STORE_SPACE_COUNT,
                                                   space_names, options, store->spaces, &text);
    err = convert(text, path, error);
    if (err != QD_STORE_OK) {
        store->db = NULL;
        return err;
    }
    return check_format(store, path, error);
}

/* --- operations --- */

static enum qd_store_err rocks_get(struct qd_store *base, enum qd_store_space space,
                                   struct qd_str key, struct qd_buf *ret_value,
                                   struct qd_store_error *error)
{
    struct rocks_store *store = (struct rocks_store *)base;
    char *text = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        store->db, store->read, store->spaces[space], key.ptr, key.len, &text);
    enum qd_store_err err = convert(text, "reading", error);
    if (err != QD_STORE_OK) {
        return err;
    }
    if (slice == NULL) {
        return QD_STORE_NOT_FOUND;
    }
    size_t size;
    const char *value = rocksdb_pinnableslice_value(slice, &size);
    qd_buf_clear(ret_value);
    qd_buf_append(ret_value, value, size);
    rocksdb_pinnableslice_destroy(slice);
    return ret_value->failed
               ? qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for a value")
               : QD_STORE_OK;
}

static enum qd_store_err rocks_write(struct qd_store *base, const struct qd_batch *batch, bool sync,
                                     struct qd_store_error *error)
{
    struct rocks_store *store = (struct rocks_store *)base;
    char *text = NULL;
    if (batch->count == 0 && !sync) {
        return QD_STORE_OK;
    }
    /* An empty batch is written and synced in its turn. rocksdb_flush_wal syncs beside the writers:
     * when it meets a full disk, one of them may find the log's file unusable before RocksDB knows
     * why, and takes that for an error that nothing heals. */
    rocksdb_writebatch_t *writes = rocksdb_writebatch_create();
    size_t cursor = 0;
    struct qd_batch_op op;
    while (qd_batch_next(batch, &cursor, &op)) {
        rocksdb_column_family_handle_t *space = store->spaces[op.space];
        switch (op.verb) {
        case QD_BATCH_PUT:
            rocksdb_writebatch_put_cf(writes, space, op.key.ptr, op.key.len, op.value.ptr,
                                      op.value.len);
            break;
        case QD_BATCH_DELETE:
            rocksdb_writebatch_delete_cf(writes, space, op.key.ptr, op.key.len);
            break;
        case QD_BATCH_DELETE_RANGE:
            rocksdb_writebatch_delete_range_cf(writes, space, op.key.ptr, op.key.len, op.value.ptr,
                                               op.value.len);
            break;
        case QD_BATCH_MERGE:
            rocksdb_writebatch_merge_cf(writes, space, op.key.ptr, op.key.len, op.value.ptr,
                                        op.value.len);
            break;
        }
    }
    rocksdb_write(store->db, sync ? store->write_synced : store->write_plain, writes, &text);
    rocksdb_writebatch_destroy(writes);
    return convert(text, "writing", error);
}

static struct qd_store_snapshot *rocks_snapshot_open(struct qd_store *base)
{
    struct rocks_store *store = (struct rocks_store *)base;
    struct qd_store_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot != NULL) {
        snapshot->snapshot = rocksdb_create_snapshot(store->db);
    }
    return snapshot;
}

static void rocks_snapshot_close(struct qd_store *base, struct qd_store_snapshot *snapshot)
{
    rocksdb_release_snapshot(((struct rocks_store *)base)->db, snapshot->snapshot);
    free(snapshot);
}

/* --- iterators --- */

static void rocks_iter_close(struct qd_store_iter *base)
{
    struct rocks_iter *iter = (struct rocks_iter *)base;
    if (iter->it != NULL) {
        rocksdb_iter_destroy(iter->it);
    }
    if (iter->read != NULL) {
        rocksdb_readoptions_destroy(iter->read);
    }
    qd_buf_release(&iter->lower);
    qd_buf_release(&iter->upper);
    free(iter);
}

static struct qd_store_iter *rocks_iter_open(struct qd_store *base,
                                             const struct qd_store_range *range)
{
    struct rocks_store *store = (struct rocks_store *)base;
    struct rocks_iter *iter = calloc(1, sizeof *iter);
    if (iter == NULL) {
        return NULL;
    }
    iter->base.ops = base->ops;
    iter->reverse = range->reverse;
    qd_buf_append_str(&iter->lower, range->lower);
    qd_buf_append_str(&iter->upper, range->upper);
    if (iter->lower.failed || iter->upper.failed) {
        rocks_iter_close(&iter->base);
        return NULL;
    }
    iter->read = rocksdb_readoptions_create();
    if (iter->lower.size > 0) {
        rocksdb_readoptions_set_iterate_lower_bound(iter->read, (const char *)iter->lower.data,
                                                    iter->lower.size);
    }
    if (iter->upper.size > 0) {
        rocksdb_readoptions_set_iterate_upper_bound(iter->read, (const char *)iter->upper.data,
                                                    iter->upper.size);
    }
    if (range->snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(iter->read, range->snapshot->snapshot);
    }
    iter->it = rocksdb_create_iterator_cf(store->db, iter->read, store->spaces[range->space]);
    iter->placed = true;
    if (iter->reverse) {
        rocksdb_iter_seek_to_last(iter->it);
    } else {
        rocksdb_iter_seek_to_first(iter->it);
    }
    return &iter->base;
}

static void step(struct rocks_iter *iter)
{
    if (iter->placed) {
        iter->placed = false;
    } else if (rocksdb_iter_valid(iter->it)) {
        if (iter->reverse) {
            rocksdb_iter_prev(iter->it);
        } else {
            rocksdb_iter_next(iter->it);
        }
    }
}

static enum qd_store_err rocks_iter_next(struct qd_store_iter *base, struct qd_str *ret_key,
                                         struct qd_str *ret_value, struct qd_store_error *error)
{
    struct rocks_iter *iter = (struct rocks_iter *)base;
    step(iter);
    if (!rocksdb_iter_valid(iter->it)) {
        char *text = NULL;
        rocksdb_iter_get_error(iter->it, &text);
        enum qd_store_err err = convert(text, "reading", error);
        return err == QD_STORE_OK ? QD_STORE_END : err;
    }
    ret_key->ptr = rocksdb_iter_key(iter->it, &ret_key->len);
    ret_value->ptr = rocksdb_iter_value(iter->it, &ret_value->len);
    return QD_STORE_OK;
}

static void rocks_iter_seek(struct qd_store_iter *base, struct qd_str key)
{
    struct rocks_iter *iter = (struct rocks_iter *)base;
    iter->placed = true;
    if (!iter->reverse) {
        rocksdb_iter_seek(iter->it, key.ptr, key.len);
    } else if (iter->upper.size > 0 && qd_slice_compare(key, qd_buf_str(&iter->upper)) >= 0) {
        rocksdb_iter_seek_to_last(iter->it);
    } else {
        rocksdb_iter_seek_for_prev(iter->it, key.ptr, key.len);
    }
}

/* --- copies --- */

static enum qd_store_err rocks_checkpoint(struct qd_store *base, const char *path,
                                          struct qd_store_error *error)
{
    struct rocks_store *store = (struct rocks_store *)base;
    char *text = NULL;
    if (access(path, F_OK) == 0) {
        return qd_store_error_set(error, QD_STORE_INVALID, "%s exists", path);
    }
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(store->db, &text);
    if (text == NULL) {
        /* 0: what is in memory is written to files first, so that the copy needs little of the log.
         * Files that never change are linked rather than copied, on the same file system. */
        rocksdb_checkpoint_create(checkpoint, path, 0, &text);
    }
    if (checkpoint != NULL) {
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    return convert(text, "copying the store", error);
}

/* RocksDB's call says nothing of what went wrong; a flush before it does, and so does the next
 * write after it. */
static enum qd_store_err rocks_compact(struct qd_store *base, enum qd_store_space space,
                                       struct qd_str lower, struct qd_str upper,
                                       struct qd_store_error *error)
{
    struct rocks_store *store = (struct rocks_store *)base;
    char *text = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flush_cf(store->db, flush, store->spaces[space], &text);
    rocksdb_flushoptions_destroy(flush);
    if (text != NULL) {
        return convert(text, "compacting", error);
    }
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(options, COMPACT_BOTTOMMOST_FORCE);
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compact_range_cf_opt(store->db, store->spaces[space], options,
                                 lower.len > 0 ? lower.ptr : NULL, lower.len,
                                 upper.len > 0 ? upper.ptr : NULL, upper.len);
    rocksdb_compactoptions_destroy(options);
    return QD_STORE_OK;
}

static const struct qd_store_ops rocks_ops = {
    .close = rocks_close,
    .get = rocks_get,
    .write = rocks_write,
    .snapshot_open = rocks_snapshot_open,
    .snapshot_close = rocks_snapshot_close,
    .iter_open = rocks_iter_open,
    .iter_next = rocks_iter_next,
    .iter_seek = rocks_iter_seek,
    .iter_close = rocks_iter_close,
    .checkpoint = rocks_checkpoint,
    .compact = rocks_compact,
};

enum qd_store_err qd_store_rocksdb_open(const struct qd_store_rocksdb_config *config,
                                        struct qd_store **ret_store, struct qd_store_error *error)
{
    struct rocks_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for the store");
    }
    store->base.ops = &rocks_ops;
    store->dir.lock_fd = -1;
    enum qd_store_err err =
        config->read_only ? QD_STORE_OK : qd_data_dir_lock(config->path, &store->dir, error);
    if (err == QD_STORE_OK) {
        if (config->keep_logs) {
            qd_kept_logs_make(config->path);
        }
        make_options(store, config);
        err = open_db(store, config, error);
    }
    if (err != QD_STORE_OK) {
        rocks_close(&store->base);
        return err;
    }
    *ret_store = &store->base;
    return QD_STORE_OK;
}
