#include "server/ledger/price_store.h"

#include "storage/codec.h"

static void price_key(enum qd_price_book book, struct qd_str version, struct qd_buf *ret_key)
{
    qd_buf_append_u8(ret_key, (uint8_t)book);
    qd_buf_append_str(ret_key, version);
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
    if (err != QD_STORE_OK) {
        return err;
    }
    err = qd_price_record_decode(qd_buf_str(bytes), ret_record);
    if (err != QD_STORE_OK) {
        qd_store_error_set(error, err, "price version: %s", qd_store_err_text(err));
    }
    return err;
}

void qd_price_store_delete(struct qd_batch *batch, enum qd_price_book book, struct qd_str version)
{
    struct qd_buf key = {0};
    price_key(book, version, &key);
    batch->ops.failed |= key.failed;
    qd_batch_delete(batch, QD_STORE_PRICE, qd_buf_str(&key));
    qd_buf_release(&key);
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
