#include "server/shard/stored.h"

#include "storage/codec.h"

#include <stdlib.h>
#include <string.h>

/* The core's bytes have a version of their own kind, and a change of them raises this one as well:
 * a newer one is refused, and what an older one says is counted anew from the ledger. */
#define VERSION        2
#define CUT_BEYOND_MAX (UINT64_C(1) << 24)
#define CUT_KIND       'k'

static void put_place(struct qd_buf *key, struct qd_stored_place place)
{
    qd_put_key_u32(key, place.shards);
    qd_put_key_u32(key, place.shard);
}

static struct qd_stored_place get_place(struct qd_reader *reader)
{
    struct qd_stored_place place = {.shards = qd_get_key_u32(reader)};

    place.shard = qd_get_key_u32(reader);
    return place;
}

static enum qd_record_type type_of(enum qd_saved_kind kind)
{
    return kind == QD_SAVED_COUNTER ? QD_RECORD_COUNTER : QD_RECORD_ESTIMATOR;
}

void qd_stored_key(const struct qd_saved *saved, struct qd_stored_place place, struct qd_buf *key)
{
    qd_buf_append_u8(key, (uint8_t)saved->kind);
    if (saved->kind != QD_SAVED_COUNTER) {
        put_place(key, place);
    }
    qd_put_key_u64(key, saved->id.hi);
    qd_put_key_u64(key, saved->id.lo);
}

void qd_stored_record(const struct qd_saved *saved, struct qd_buf *record)
{
    size_t begin = qd_record_begin(record, type_of(saved->kind), VERSION);

    qd_buf_append(record, saved->bytes, saved->size);
    qd_record_end(record, begin);
}

static enum qd_store_err read_key(struct qd_str key, struct qd_stored_place *ret_place,
                                  struct qd_saved *ret_saved)
{
    struct qd_reader reader = qd_reader_of(key);
    uint8_t kind = qd_get_u8(&reader);

    if (kind != QD_SAVED_COUNTER && kind != QD_SAVED_ESTIMATOR) {
        return QD_STORE_CORRUPT;
    }
    ret_saved->kind = (enum qd_saved_kind)kind;
    if (kind != QD_SAVED_COUNTER) {
        *ret_place = get_place(&reader);
    }
    ret_saved->id.hi = qd_get_key_u64(&reader);
    ret_saved->id.lo = qd_get_key_u64(&reader);
    return qd_reader_finish(&reader);
}

enum qd_store_err qd_stored_read(struct qd_str key, struct qd_str record,
                                 struct qd_stored_place *ret_place, struct qd_saved *ret_saved)
{
    uint8_t version;
    struct qd_reader body;
    enum qd_store_err err = read_key(key, ret_place, ret_saved);

    if (err == QD_STORE_OK) {
        err = qd_record_open(record, type_of(ret_saved->kind), VERSION, &version, &body);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    size_t size = (size_t)(body.end - body.at);
    if (body.failed || version != VERSION || size == 0 || size > sizeof(ret_saved->bytes)) {
        return QD_STORE_CORRUPT;
    }
    memcpy(ret_saved->bytes, body.at, size);
    ret_saved->size = (uint32_t)size;
    return QD_STORE_OK;
}

/* --- cuts --- */

void qd_cut_key(struct qd_stored_place place, struct qd_buf *key)
{
    qd_buf_append_u8(key, CUT_KIND);
    put_place(key, place);
}

void qd_cut_record(const struct qd_cut *cut, struct qd_buf *record)
{
    size_t begin = qd_record_begin(record, QD_RECORD_CUT, QD_CUT_VERSION);

    qd_put_varint(record, (uint64_t)cut->time.ns);
    qd_put_varint(record, cut->through);
    qd_put_varint(record, cut->count);
    for (uint32_t i = 0; i < cut->count; i++) {
        qd_put_varint(record, cut->beyond[i]);
    }
    qd_record_end(record, begin);
}

static int compare_sequences(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;

    return (*left > *right) - (*left < *right);
}

enum qd_store_err qd_cut_read(struct qd_str key, struct qd_str record,
                              struct qd_stored_place *ret_place, struct qd_cut *ret_cut)
{
    uint8_t version;
    struct qd_reader body;
    struct qd_reader reader = qd_reader_of(key);
    struct qd_cut cut = {0};
    uint8_t kind = qd_get_u8(&reader);

    *ret_place = get_place(&reader);
    enum qd_store_err err = kind == CUT_KIND ? qd_reader_finish(&reader) : QD_STORE_CORRUPT;
    if (err == QD_STORE_OK) {
        err = qd_record_open(record, QD_RECORD_CUT, QD_CUT_VERSION, &version, &body);
    }
    if (err == QD_STORE_OK && version != QD_CUT_VERSION) {
        err = QD_STORE_GONE; /* the ledger is counted instead */
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    cut.time.ns = (int64_t)qd_get_varint_max(&body, INT64_MAX);
    cut.through = qd_get_varint(&body);
    cut.count = (uint32_t)qd_get_varint_max(&body, CUT_BEYOND_MAX);
    if (body.failed || cut.count > (size_t)(body.end - body.at)) {
        return QD_STORE_CORRUPT;
    }
    cut.beyond = malloc((cut.count + 1) * sizeof(*cut.beyond));
    if (cut.beyond == NULL) {
        return QD_STORE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < cut.count; i++) {
        cut.beyond[i] = qd_get_varint(&body);
    }
    err = qd_reader_finish(&body);
    if (err != QD_STORE_OK) {
        free(cut.beyond);
        return err;
    }
    qsort(cut.beyond, cut.count, sizeof(*cut.beyond), compare_sequences);
    *ret_cut = cut;
    return QD_STORE_OK;
}

bool qd_cut_has(const struct qd_cut *cut, uint64_t sequence)
{
    return sequence <= cut->through ||
           (cut->count > 0 && bsearch(&sequence, cut->beyond, cut->count, sizeof(*cut->beyond),
                                      compare_sequences) != NULL);
}
