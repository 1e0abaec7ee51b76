#include "storage/identity_record.h"

#include "storage/codec.h"

#include <string.h>

#define IDENTITY_VERSION 1

void qd_identity_encode(const struct qd_identity *identity, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_IDENTITY, IDENTITY_VERSION);
    qd_put_u64(buf, identity->hash_seed);
    qd_put_str(buf, qd_slice_of(identity->name));
    qd_record_end(buf, begin);
}

enum qd_store_err qd_identity_decode(struct qd_str bytes, struct qd_identity *ret_identity)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_IDENTITY, IDENTITY_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    uint64_t seed = qd_get_u64(&reader);
    struct qd_str name = qd_get_str(&reader, QD_NODE_NAME_MAX);
    /* A 0 in it would end the name early. */
    reader.failed |= name.len > 0 && memchr(name.ptr, '\0', name.len) != NULL;
    err = qd_reader_finish(&reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    memset(ret_identity, 0, sizeof(*ret_identity));
    ret_identity->hash_seed = seed;
    if (name.len > 0) {
        memcpy(ret_identity->name, name.ptr, name.len);
    }
    return QD_STORE_OK;
}
