#include "storage/price_record.h"

#include "storage/codec.h"

#define PRICE_VERSION 1

void qd_price_record_encode(const struct qd_price_record *record, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_PRICE, PRICE_VERSION);
    qd_buf_append_u8(buf, (uint8_t)record->book);
    qd_put_str(buf, record->version);
    qd_put_i64(buf, record->effective.ns);
    qd_put_i64(buf, record->recorded.ns);
    qd_put_str(buf, record->content);
    qd_record_end(buf, begin);
}

enum qd_store_err qd_price_record_decode(struct qd_str bytes, struct qd_price_record *ret_record)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_PRICE, PRICE_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    uint8_t book = qd_get_u8(&reader);
    reader.failed |= book != QD_PRICE_BOOK_COST && book != QD_PRICE_BOOK_CHARGE;
    ret_record->book = (enum qd_price_book)book;
    ret_record->version = qd_get_str(&reader, QD_PRICE_VERSION_MAX);
    ret_record->effective.ns = qd_get_i64(&reader);
    ret_record->recorded.ns = qd_get_i64(&reader);
    ret_record->content = qd_get_str(&reader, QD_PRICE_CONTENT_MAX);
    return qd_reader_finish(&reader);
}
