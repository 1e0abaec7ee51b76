#include "storage/idempotency.h"

#include "storage/codec.h"

#define IDEMPOTENCY_VERSION 1

void qd_idempotency_key(const struct qd_entry *entry, struct qd_buf *buf)
{
    qd_put_key_tenant(buf, entry->tenant);
    qd_put_str(buf, entry->source);
    qd_put_str(buf, entry->request_id);
    qd_put_varint(buf, entry->attempt);
    qd_put_varint(buf, entry->part);
}

void qd_idempotency_encode(const struct qd_idempotency_record *record, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_IDEMPOTENCY, IDEMPOTENCY_VERSION);
    qd_put_u64(buf, record->content.lo);
    qd_put_u64(buf, record->content.hi);
    qd_put_varint(buf, record->sequence);
    qd_put_i64(buf, record->recorded_time.ns);
    qd_put_str(buf, record->answer);
    qd_record_end(buf, begin);
}

enum qd_store_err qd_idempotency_decode(struct qd_str bytes,
                                        struct qd_idempotency_record *ret_record)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_IDEMPOTENCY, IDEMPOTENCY_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    ret_record->content.lo = qd_get_u64(&reader);
    ret_record->content.hi = qd_get_u64(&reader);
    ret_record->sequence = qd_get_varint(&reader);
    ret_record->recorded_time.ns = qd_get_i64(&reader);
    ret_record->answer = qd_get_str(&reader, QD_IDEMPOTENCY_ANSWER_MAX);
    return qd_reader_finish(&reader);
}
