/* The store: ordered keys in a few key spaces, atomic batches, one sync. A small op table with two
 * implementations: RocksDB (storage/store_rocksdb.h) and memory with faults
 * (storage/store_memory.h).
 *
 * Layer:    storage; knows nothing of what the bytes mean, except that merges add sums
 * (storage/sums.h). Threads:  every function may be called from any thread, on one store at the
 * same time. An iterator and a snapshot belong to the thread that uses them. Memory:   keys and
 * values passed in are copied; what an iterator shows is valid until its next move.
 *
 * Durability: a write with `sync` is on disk when it returns OK, and so is everything written
 * before it. One without may be lost in a crash, in order: if a write survives, all earlier ones
 * do. After a failed write the batch may or may not be there; all of it or nothing.
 */
#ifndef QD_STORAGE_STORE_H
#define QD_STORAGE_STORE_H

#include "storage/batch.h"
#include "storage/buf.h"

/* Name, and what it says to people. One table: qd_store_err_name and _text come from it. */
#define QD_STORE_ERRORS(X)                        \
    X(OK, "ok")                                   \
    X(NOT_FOUND, "no such key")                   \
    X(END, "no more keys")                        \
    X(IN_USE, "data directory in use")            \
    X(NEWER_FORMAT, "written by a newer version") \
    X(CORRUPT, "corrupt data")                    \
    X(FULL, "disk full")                          \
    X(ACCESS, "data directory not accessible")    \
    X(IO, "input/output error")                   \
    X(NO_MEMORY, "out of memory")                 \
    X(GONE, "expired")                            \
    X(INVALID, "invalid argument")

#define QD_STORE_ENUM(name, text) QD_STORE_##name,
enum qd_store_err {
    QD_STORE_ERRORS(QD_STORE_ENUM) QD_STORE_ERR_COUNT
};
#undef QD_STORE_ENUM

#define QD_STORE_ERROR_TEXT_MAX 320

/* An error with its story, for people: "data directory in use by pid 4121". */
struct qd_store_error {
    enum qd_store_err code;
    char text[QD_STORE_ERROR_TEXT_MAX];
};

/* "FULL" and "disk full". */
const char *qd_store_err_name(enum qd_store_err code);
const char *qd_store_err_text(enum qd_store_err code);

/* Fill *error (may be NULL) and return its code. The format says what and where. */
__attribute__((format(printf, 3, 4))) enum qd_store_err qd_store_error_set(
    struct qd_store_error *error, enum qd_store_err code, const char *format, ...);

struct qd_store;
struct qd_store_iter;
struct qd_store_snapshot;

/* Keys of `space` in [lower, upper), in order, or backwards. Empty lower: from the first. Empty
 * upper: to the last. `snapshot` NULL: as of now, and steady. */
struct qd_store_range {
    enum qd_store_space space;
    struct qd_str lower;
    struct qd_str upper;
    bool reverse;
    const struct qd_store_snapshot *snapshot;
};

struct qd_store_ops {
    void (*close)(struct qd_store *store);
    enum qd_store_err (*get)(struct qd_store *store, enum qd_store_space space, struct qd_str key,
                             struct qd_buf *ret_value, struct qd_store_error *error);
    enum qd_store_err (*write)(struct qd_store *store, const struct qd_batch *batch, bool sync,
                               struct qd_store_error *error);
    struct qd_store_snapshot *(*snapshot_open)(struct qd_store *store);
    void (*snapshot_close)(struct qd_store *store, struct qd_store_snapshot *snapshot);
    struct qd_store_iter *(*iter_open)(struct qd_store *store, const struct qd_store_range *range);
    enum qd_store_err (*iter_next)(struct qd_store_iter *iter, struct qd_str *ret_key,
                                   struct qd_str *ret_value, struct qd_store_error *error);
    void (*iter_seek)(struct qd_store_iter *iter, struct qd_str key);
    void (*iter_close)(struct qd_store_iter *iter);
    enum qd_store_err (*checkpoint)(struct qd_store *store, const char *path,
                                    struct qd_store_error *error);
    enum qd_store_err (*compact)(struct qd_store *store, enum qd_store_space space,
                                 struct qd_str lower, struct qd_str upper,
                                 struct qd_store_error *error);
};

/* Each implementation's struct begins with this. */
struct qd_store {
    const struct qd_store_ops *ops;
};

/* Same for iterators: which store's operations move it. */
struct qd_store_iter {
    const struct qd_store_ops *ops;
};

/* Close and free; NULL is fine. No iterator or snapshot may be open. */
void qd_store_close(struct qd_store *store);

/* OK and the value (replacing what the buffer held), NOT_FOUND, or an error. `error` may be NULL.
 */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_get(struct qd_store *store,
                                                                   enum qd_store_space space,
                                                                   struct qd_str key,
                                                                   struct qd_buf *ret_value,
                                                                   struct qd_store_error *error);

/* Apply the batch, all or nothing; with `sync` it is durable on OK. An empty batch with `sync`
 * makes durable what was written before. */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_write(struct qd_store *store,
                                                                     const struct qd_batch *batch,
                                                                     bool sync,
                                                                     struct qd_store_error *error);

/* Copy the store as it is now to the folder `path`, which must not exist, while it is used: all
 * that was durable before the call is in the copy, and what came later is in up to some write, in
 * order. A store in the folder DIR/db is opened as the data directory DIR. INVALID: this store has
 * no files to copy, or `path` exists; FULL, ACCESS, IO: there may be an incomplete copy at `path`.
 */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_checkpoint(
    struct qd_store *store, const char *path, struct qd_store_error *error);

/* Write anew what lies in [lower, upper) of a space (empty: without bound), as small as it gets,
 * and give back the room of what was deleted there. The store is used meanwhile; takes as long as
 * reading and writing it does. */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_compact(
    struct qd_store *store, enum qd_store_space space, struct qd_str lower, struct qd_str upper,
    struct qd_store_error *error);

/* The store as it is now; close it soon. NULL: out of memory. */
struct qd_store_snapshot *qd_store_snapshot_open(struct qd_store *store);
void qd_store_snapshot_close(struct qd_store *store, struct qd_store_snapshot *snapshot);

/* An iterator before the first key of its range. NULL: out of memory. */
struct qd_store_iter *qd_store_iter_open(struct qd_store *store,
                                         const struct qd_store_range *range);

/* Move to the next key: OK, END, or an error. */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_iter_next(
    struct qd_store_iter *iter, struct qd_str *ret_key, struct qd_str *ret_value,
    struct qd_store_error *error);

/* The next move goes to the first key >= `key` (backwards: the last key <= `key`) of the range. */
void qd_store_iter_seek(struct qd_store_iter *iter, struct qd_str key);
void qd_store_iter_close(struct qd_store_iter *iter); /* NULL is fine */

#endif /* QD_STORAGE_STORE_H */
