#include "storage/expired_record.h"

#include "storage/codec.h"

#define EXPIRED_VERSION 1

void qd_expired_encode(const struct qd_expired *expired, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_EXPIRED, EXPIRED_VERSION);
    qd_put_varint(buf, expired->through);
    qd_put_i64(buf, expired->recorded.ns);
    qd_put_i64(buf, expired->event.ns);
    qd_put_i64(buf, expired->began.ns);
    qd_put_varint(buf, expired->keys_through);
    qd_put_i64(buf, expired->keys_recorded.ns);
    qd_record_end(buf, begin);
}

enum qd_store_err qd_expired_decode(struct qd_str bytes, struct qd_expired *ret_expired)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_EXPIRED, EXPIRED_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    ret_expired->through = qd_get_varint(&reader);
    ret_expired->recorded.ns = qd_get_i64(&reader);
    ret_expired->event.ns = qd_get_i64(&reader);
    ret_expired->began.ns = qd_get_i64(&reader);
    ret_expired->keys_through = qd_get_varint(&reader);
    ret_expired->keys_recorded.ns = qd_get_i64(&reader);
    reader.failed |= ret_expired->keys_through < ret_expired->through; /* a key goes first */
    return qd_reader_finish(&reader);
}
