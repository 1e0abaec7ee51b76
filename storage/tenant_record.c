#include "storage/tenant_record.h"

#include "storage/codec.h"

#define TENANT_VERSION 1

static bool pairs_valid(const struct qd_label *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].name.len == 0 || !qd_text_valid(pairs[i].name, QD_TENANT_TEXT_MAX) ||
            !qd_text_valid(pairs[i].value, QD_TENANT_TEXT_MAX)) {
            return false;
        }
    }
    return true;
}

static bool boosts_valid(const struct qd_tenant_record *record)
{
    for (size_t i = 0; i < record->boost_count; i++) {
        const struct qd_tenant_boost *boost = &record->boosts[i];
        if (boost->limit.len == 0 || !qd_text_valid(boost->limit, QD_TENANT_TEXT_MAX) ||
            !qd_text_valid(boost->reason, QD_TENANT_TEXT_MAX)) {
            return false;
        }
    }
    return true;
}

static bool grants_valid(const struct qd_tenant_record *record)
{
    for (size_t i = 0; i < record->grant_count; i++) {
        const struct qd_tenant_grant *grant = &record->grants[i];
        if (grant->limit.len == 0 || !qd_text_valid(grant->limit, QD_TENANT_TEXT_MAX) ||
            grant->keys.len > QD_TENANT_TEXT_MAX) {
            return false;
        }
    }
    return true;
}

enum qd_store_err qd_tenant_record_validate(const struct qd_tenant_record *record,
                                            struct qd_store_error *error)
{
    if (!qd_tenant_text_valid(record->tenant)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "tenant: a path of 1 to %d bytes of [a-zA-Z0-9._/-] is expected",
                                  QD_TENANT_PATH_MAX);
    }
    if (record->limit_count > QD_TENANT_LIMITS_MAX || record->label_count > QD_TENANT_LABELS_MAX ||
        record->boost_count > QD_TENANT_BOOSTS_MAX || record->grant_count > QD_TENANT_GRANTS_MAX) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "tenant %.*s: at most %d limits, %d labels, %d boosts and %d "
                                  "granted balances are accepted",
                                  (int)record->tenant.len, record->tenant.ptr, QD_TENANT_LIMITS_MAX,
                                  QD_TENANT_LABELS_MAX, QD_TENANT_BOOSTS_MAX, QD_TENANT_GRANTS_MAX);
    }
    if (!qd_text_valid(record->plan, QD_TENANT_TEXT_MAX) ||
        !qd_text_valid(record->block.reason, QD_TENANT_TEXT_MAX) ||
        !pairs_valid(record->limits, record->limit_count) ||
        !pairs_valid(record->labels, record->label_count) || !boosts_valid(record) ||
        !grants_valid(record)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "tenant %.*s: names and values of at most %d bytes without "
                                  "control characters are accepted",
                                  (int)record->tenant.len, record->tenant.ptr, QD_TENANT_TEXT_MAX);
    }
    return QD_STORE_OK;
}

static void encode_pairs(const struct qd_label *pairs, size_t count, struct qd_buf *buf)
{
    qd_put_varint(buf, count);
    for (size_t i = 0; i < count; i++) {
        qd_put_str(buf, pairs[i].name);
        qd_put_str(buf, pairs[i].value);
    }
}

void qd_tenant_record_encode(const struct qd_tenant_record *record, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_TENANT, TENANT_VERSION);
    qd_put_str(buf, record->tenant);
    qd_put_str(buf, record->plan);
    qd_buf_append_u8(buf, record->listed);
    qd_buf_append_u8(buf, record->block.blocked);
    qd_put_str(buf, record->block.reason);
    qd_put_i64(buf, record->block.since.ns);
    qd_put_i64(buf, record->block.until.ns);
    qd_put_i64(buf, record->created.ns);
    qd_put_i64(buf, record->updated.ns);
    qd_put_varint(buf, record->audit_sequence);
    encode_pairs(record->limits, record->limit_count, buf);
    encode_pairs(record->labels, record->label_count, buf);
    qd_put_varint(buf, record->boost_count);
    for (size_t i = 0; i < record->boost_count; i++) {
        const struct qd_tenant_boost *boost = &record->boosts[i];
        qd_put_str(buf, boost->limit);
        qd_put_varint(buf, boost->percent);
        qd_put_signed(buf, boost->amount);
        qd_put_i64(buf, boost->until.ns);
        qd_put_str(buf, boost->reason);
    }
    qd_put_varint(buf, record->grant_count);
    for (size_t i = 0; i < record->grant_count; i++) {
        const struct qd_tenant_grant *grant = &record->grants[i];
        qd_put_str(buf, grant->limit);
        qd_put_str(buf, grant->keys);
        qd_put_signed(buf, grant->amount);
        qd_put_varint(buf, grant->count);
    }
    qd_record_end(buf, begin);
}

static size_t decode_pairs(struct qd_reader *reader, struct qd_label *ret_pairs, size_t max)
{
    size_t count = qd_get_varint_max(reader, max);
    for (size_t i = 0; i < count; i++) {
        ret_pairs[i].name = qd_get_str(reader, QD_TENANT_TEXT_MAX);
        ret_pairs[i].value = qd_get_str(reader, QD_TENANT_TEXT_MAX);
    }
    return count;
}

static void decode_boosts(struct qd_reader *reader, struct qd_tenant_record *record)
{
    record->boost_count = qd_get_varint_max(reader, QD_TENANT_BOOSTS_MAX);
    for (size_t i = 0; i < record->boost_count; i++) {
        struct qd_tenant_boost *boost = &record->boosts[i];
        boost->limit = qd_get_str(reader, QD_TENANT_TEXT_MAX);
        boost->percent = (uint32_t)qd_get_varint_max(reader, UINT32_MAX);
        boost->amount = qd_get_signed(reader);
        boost->until.ns = qd_get_i64(reader);
        boost->reason = qd_get_str(reader, QD_TENANT_TEXT_MAX);
    }
}

static void decode_grants(struct qd_reader *reader, struct qd_tenant_record *record)
{
    record->grant_count = qd_get_varint_max(reader, QD_TENANT_GRANTS_MAX);
    for (size_t i = 0; i < record->grant_count; i++) {
        struct qd_tenant_grant *grant = &record->grants[i];
        grant->limit = qd_get_str(reader, QD_TENANT_TEXT_MAX);
        grant->keys = qd_get_str(reader, QD_TENANT_TEXT_MAX);
        grant->amount = qd_get_signed(reader);
        grant->count = (uint32_t)qd_get_varint_max(reader, UINT32_MAX);
    }
}

enum qd_store_err qd_tenant_record_decode(struct qd_str bytes, struct qd_tenant_record *ret_record)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_TENANT, TENANT_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    ret_record->tenant = qd_get_str(&reader, QD_TENANT_PATH_MAX);
    ret_record->plan = qd_get_str(&reader, QD_TENANT_TEXT_MAX);
    uint8_t listed = qd_get_u8(&reader);
    ret_record->listed = listed == 1;
    reader.failed |= listed > 1;
    uint8_t blocked = qd_get_u8(&reader);
    ret_record->block.blocked = blocked == 1;
    reader.failed |= blocked > 1;
    ret_record->block.reason = qd_get_str(&reader, QD_TENANT_TEXT_MAX);
    ret_record->block.since.ns = qd_get_i64(&reader);
    ret_record->block.until.ns = qd_get_i64(&reader);
    ret_record->created.ns = qd_get_i64(&reader);
    ret_record->updated.ns = qd_get_i64(&reader);
    ret_record->audit_sequence = qd_get_varint(&reader);
    ret_record->limit_count = decode_pairs(&reader, ret_record->limits, QD_TENANT_LIMITS_MAX);
    ret_record->label_count = decode_pairs(&reader, ret_record->labels, QD_TENANT_LABELS_MAX);
    decode_boosts(&reader, ret_record);
    decode_grants(&reader, ret_record);
    if (qd_reader_finish(&reader) != QD_STORE_OK ||
        qd_tenant_record_validate(ret_record, NULL) != QD_STORE_OK) {
        return QD_STORE_CORRUPT;
    }
    return QD_STORE_OK;
}
