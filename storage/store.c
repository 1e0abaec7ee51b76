#include "storage/store.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const err_names[] = {
#define QD_STORE_NAME(name, text) #name,
    QD_STORE_ERRORS(QD_STORE_NAME)
#undef QD_STORE_NAME
};

static const char *const err_texts[] = {
#define QD_STORE_TEXT(name, text) text,
    QD_STORE_ERRORS(QD_STORE_TEXT)
#undef QD_STORE_TEXT
};

const char *qd_store_err_name(enum qd_store_err code)
{
    return code < QD_STORE_ERR_COUNT ? err_names[code] : "UNKNOWN";
}

const char *qd_store_err_text(enum qd_store_err code)
{
    return code < QD_STORE_ERR_COUNT ? err_texts[code] : "unknown error";
}

enum qd_store_err qd_store_error_set(struct qd_store_error *error, enum qd_store_err code,
                                     const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return code;
}

void qd_store_close(struct qd_store *store)
{
    if (store != NULL) {
        store->ops->close(store);
    }
}

enum qd_store_err qd_store_get(struct qd_store *store, enum qd_store_space space, struct qd_str key,
                               struct qd_buf *ret_value, struct qd_store_error *error)
{
    return store->ops->get(store, space, key, ret_value, error);
}

enum qd_store_err qd_store_write(struct qd_store *store, const struct qd_batch *batch, bool sync,
                                 struct qd_store_error *error)
{
    if (batch->ops.failed) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for a batch");
    }
    return store->ops->write(store, batch, sync, error);
}

enum qd_store_err qd_store_checkpoint(struct qd_store *store, const char *path,
                                      struct qd_store_error *error)
{
    return store->ops->checkpoint(store, path, error);
}

enum qd_store_err qd_store_compact(struct qd_store *store, enum qd_store_space space,
                                   struct qd_str lower, struct qd_str upper,
                                   struct qd_store_error *error)
{
    return store->ops->compact(store, space, lower, upper, error);
}

struct qd_store_snapshot *qd_store_snapshot_open(struct qd_store *store)
{
    return store->ops->snapshot_open(store);
}

void qd_store_snapshot_close(struct qd_store *store, struct qd_store_snapshot *snapshot)
{
    if (snapshot != NULL) {
        store->ops->snapshot_close(store, snapshot);
    }
}

struct qd_store_iter *qd_store_iter_open(struct qd_store *store, const struct qd_store_range *range)
{
    return store->ops->iter_open(store, range);
}

enum qd_store_err qd_store_iter_next(struct qd_store_iter *iter, struct qd_str *ret_key,
                                     struct qd_str *ret_value, struct qd_store_error *error)
{
    return iter->ops->iter_next(iter, ret_key, ret_value, error);
}

void qd_store_iter_seek(struct qd_store_iter *iter, struct qd_str key)
{
    iter->ops->iter_seek(iter, key);
}

void qd_store_iter_close(struct qd_store_iter *iter)
{
    if (iter != NULL) {
        iter->ops->iter_close(iter);
    }
}
