#include "storage/audit_record.h"

#include "storage/codec.h"

#define AUDIT_VERSION 1

static void put_cut(struct qd_buf *buf, struct qd_str text, size_t max)
{
    qd_put_str(buf, (struct qd_str){text.ptr, text.len < max ? text.len : max});
}

static void put_hash(struct qd_buf *buf, struct qd_hash128 hash)
{
    qd_put_u64(buf, hash.lo);
    qd_put_u64(buf, hash.hi);
}

static struct qd_hash128 get_hash(struct qd_reader *reader)
{
    struct qd_hash128 hash;
    hash.lo = qd_get_u64(reader);
    hash.hi = qd_get_u64(reader);
    return hash;
}

void qd_audit_record_encode(const struct qd_audit_record *record, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_AUDIT, AUDIT_VERSION);
    qd_put_varint(buf, record->sequence);
    qd_put_i64(buf, record->time.ns);
    put_cut(buf, record->actor, QD_AUDIT_TEXT_MAX);
    put_cut(buf, record->action, QD_AUDIT_TEXT_MAX);
    put_cut(buf, record->subject, QD_TENANT_PATH_MAX);
    put_cut(buf, record->detail, QD_AUDIT_DETAIL_MAX);
    put_hash(buf, record->before);
    put_hash(buf, record->after);
    qd_record_end(buf, begin);
}

enum qd_store_err qd_audit_record_decode(struct qd_str bytes, struct qd_audit_record *ret_record)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_AUDIT, AUDIT_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    ret_record->sequence = qd_get_varint(&reader);
    ret_record->time.ns = qd_get_i64(&reader);
    ret_record->actor = qd_get_str(&reader, QD_AUDIT_TEXT_MAX);
    ret_record->action = qd_get_str(&reader, QD_AUDIT_TEXT_MAX);
    ret_record->subject = qd_get_str(&reader, QD_TENANT_PATH_MAX);
    ret_record->detail = qd_get_str(&reader, QD_AUDIT_DETAIL_MAX);
    ret_record->before = get_hash(&reader);
    ret_record->after = get_hash(&reader);
    return qd_reader_finish(&reader);
}
