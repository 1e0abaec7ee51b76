#include "server/ledger/price_store.h"

#include "storage/codec.h"

static void price_key(enum qd_price_book book, struct qd_str version, struct qd_buf *ret_key)
{
    qd_buf_append_u8(ret_key, (uint8_t)book);
    qd_buf_append_str(ret_key, version);
}

static enum qd_store_err decode(struct qd_str value, struct qd_price_record *ret_record,
                                struct qd_store_error *error)
{
    enum qd_store_err err = qd_price_record_decode(value, ret_record);
    if (err != QD_STORE_OK) {
        qd_store_error_set(error, err, "price version: %s", qd_store_err_text(err));
    }
    return err;
}

enum qd_store_err qd_price_store_get(struct qd_store *store, enum qd_price_book book,
                                     struct qd_str version, struct qd_buf *bytes,
                                     struct qd_price_record *ret_record,
                                     struct qd_store_error *error)
{
    struct qd_buf key = {0};
    price_key(book, version, &key);
    enum qd_store_err err =
        key.failed ? qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read a price")
                   : qd_store_get(store, QD_STORE_PRICE, qd_buf_str(&key), bytes, error);
    qd_buf_release(&key);
    return err == QD_STORE_OK ? decode(qd_buf_str(bytes), ret_record, error) : err;
}

void qd_price_store_add(struct qd_batch *batch, const struct qd_price_record *record)
{
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    price_key(record->book, record->version, &key);
    qd_price_record_encode(record, &value);
    qd_batch_put(batch, QD_STORE_PRICE, qd_buf_str(&key), qd_buf_str(&value));
    batch->ops.failed |= key.failed || value.failed;
    qd_buf_release(&key);
    qd_buf_release(&value);
}

static enum qd_store_err write_new(struct qd_store *store, const struct qd_price_record *record,
                                   struct qd_store_error *error)
{
    struct qd_batch batch = {0};
    qd_price_store_add(&batch, record);
    enum qd_store_err err = qd_store_write(store, &batch, true, error);
    qd_batch_release(&batch);
    return err;
}

enum qd_store_err qd_price_store_put(struct qd_store *store, const struct qd_price_record *record,
                                     struct qd_store_error *error)
{
    if (record->version.len == 0 || !qd_text_valid(record->version, QD_PRICE_VERSION_MAX) ||
        record->content.len > QD_PRICE_CONTENT_MAX) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "price version: a name of 1 to %d bytes and a content of at most "
                                  "%zu bytes are accepted",
                                  QD_PRICE_VERSION_MAX, QD_PRICE_CONTENT_MAX);
    }
    struct qd_buf bytes = {0};
    struct qd_price_record existing;
    enum qd_store_err err =
        qd_price_store_get(store, record->book, record->version, &bytes, &existing, error);
    if (err == QD_STORE_NOT_FOUND) {
        err = write_new(store, record, error);
    } else if (err == QD_STORE_OK && (existing.effective.ns != record->effective.ns ||
                                      !qd_slice_equal(existing.content, record->content))) {
        err = qd_store_error_set(error, QD_STORE_INVALID,
                                 "price version \"%.*s\" was used with other content: give the new "
                                 "one another name",
                                 (int)record->version.len, record->version.ptr);
    }
    qd_buf_release(&bytes);
    return err;
}

enum qd_store_err qd_price_store_list(struct qd_store *store, qd_price_visitor visit, void *context,
                                      struct qd_store_error *error)
{
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_PRICE});
    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to list prices");
    }
    enum qd_store_err err = QD_STORE_OK;
    bool more = true;
    while (err == QD_STORE_OK && more) {
        struct qd_str key;
        struct qd_str value;
        struct qd_price_record record;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = decode(value, &record, error);
        }
        if (err == QD_STORE_OK) {
            more = visit(context, &record);
        }
    }
    qd_store_iter_close(iter);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}
