#include "server/shard/journal.h"

#include "server/shard/shards.h"

#include <stdlib.h>
#include <string.h>

#define VERSION 1

void qd_journal_key(struct qd_stored_place place, uint64_t number, struct qd_buf *key)
{
    qd_buf_append_u8(key, QD_JOURNAL_KIND);
    qd_put_key_u32(key, place.shards);
    qd_put_key_u32(key, place.shard);
    qd_put_key_u64(key, number);
}

/* --- writing --- */

void qd_journal_begin(struct qd_buf *chunk)
{
    (void)qd_record_begin(chunk, QD_RECORD_JOURNAL, VERSION);
}

void qd_journal_add(struct qd_buf *chunk, const struct qd_saved *saved, struct qd_str token)
{
    qd_buf_append_u8(chunk, (uint8_t)saved->kind);
    if (saved->kind == QD_SAVED_HOLD) {
        qd_put_varint(chunk, saved->id.lo);
    } else {
        qd_put_key_u64(chunk, saved->id.hi);
        qd_put_key_u64(chunk, saved->id.lo);
    }
    qd_put_str(chunk, (struct qd_str){(const char *)saved->bytes, saved->size});
    if (saved->kind == QD_SAVED_HOLD && saved->size > 0) {
        qd_put_str(chunk, token);
    }
}

void qd_journal_end(struct qd_buf *chunk)
{
    qd_record_end(chunk, 0);
}

/* --- one chunk --- */

enum qd_store_err qd_journal_open(struct qd_str key, struct qd_str chunk,
                                  struct qd_stored_place *ret_place, uint64_t *ret_number,
                                  struct qd_reader *ret_items)
{
    struct qd_reader reader = qd_reader_of(key);
    uint8_t kind = qd_get_u8(&reader);
    uint8_t version;

    ret_place->shards = qd_get_key_u32(&reader);
    ret_place->shard = qd_get_key_u32(&reader);
    *ret_number = qd_get_key_u64(&reader);
    enum qd_store_err err = kind == QD_JOURNAL_KIND ? qd_reader_finish(&reader) : QD_STORE_CORRUPT;
    return err == QD_STORE_OK
               ? qd_record_open(chunk, QD_RECORD_JOURNAL, VERSION, &version, ret_items)
               : err;
}

enum qd_store_err qd_journal_next(struct qd_reader *items, struct qd_journal_item *ret_item)
{
    if (items->at == items->end) {
        return QD_STORE_END;
    }
    uint8_t kind = qd_get_u8(items);
    bool is_hold = kind == QD_SAVED_HOLD;

    if (!is_hold && kind != QD_SAVED_COUNTER && kind != QD_SAVED_ESTIMATOR) {
        return QD_STORE_CORRUPT;
    }
    *ret_item = (struct qd_journal_item){.kind = (enum qd_saved_kind)kind};
    if (is_hold) {
        ret_item->id.lo = qd_get_varint_max(items, UINT32_MAX);
    } else {
        ret_item->id.hi = qd_get_key_u64(items);
        ret_item->id.lo = qd_get_key_u64(items);
    }
    ret_item->bytes = qd_get_str(items, QD_SAVED_MAX);
    if (is_hold && ret_item->bytes.len > 0) {
        ret_item->token = qd_get_str(items, QD_TOKEN_NOTE_BYTES);
    }
    return items->failed || (!is_hold && ret_item->bytes.len == 0) ? QD_STORE_CORRUPT : QD_STORE_OK;
}

void qd_journal_saved(const struct qd_journal_item *item, struct qd_saved *ret_saved)
{
    ret_saved->kind = item->kind;
    ret_saved->id = item->id;
    ret_saved->size = (uint32_t)item->bytes.len;
    if (item->bytes.len > 0) {
        memcpy(ret_saved->bytes, item->bytes.ptr, item->bytes.len);
    }
}

/* --- a slice's --- */

/* Where an item lies among the slice's chunks: items of the same thing sort by age. */
struct dated {
    struct qd_journal_item item;
    size_t order;
};

struct chunk {
    size_t begin;
    size_t len;
};

struct reading {
    const struct qd_journal_visitor *visitor;
    bool any; /* a slice's chunks are there */
    struct qd_stored_place place;
    struct qd_buf bytes;  /* of its chunks' items */
    struct qd_buf chunks; /* struct chunk */
    struct qd_buf items;  /* struct dated */
};

static int compare(const void *a, const void *b)
{
    const struct dated *left = a;
    const struct dated *right = b;

    if (left->item.kind != right->item.kind) {
        return left->item.kind < right->item.kind ? -1 : 1;
    }
    if (left->item.id.hi != right->item.id.hi) {
        return left->item.id.hi < right->item.id.hi ? -1 : 1;
    }
    if (left->item.id.lo != right->item.id.lo) {
        return left->item.id.lo < right->item.id.lo ? -1 : 1;
    }
    return (left->order > right->order) - (left->order < right->order);
}

static bool is_same(const struct dated *a, const struct dated *b)
{
    return a->item.kind == b->item.kind && qd_hash128_equal(a->item.id, b->item.id);
}

static enum qd_store_err list_items(struct reading *r)
{
    const struct chunk *chunks = (const struct chunk *)(const void *)r->chunks.data;
    size_t count = r->chunks.size / sizeof(*chunks);

    qd_buf_clear(&r->items);
    for (size_t i = 0; i < count; i++) {
        struct qd_reader reader = qd_reader_of(
            (struct qd_str){(const char *)r->bytes.data + chunks[i].begin, chunks[i].len});
        struct dated dated;
        enum qd_store_err err;
        while ((err = qd_journal_next(&reader, &dated.item)) == QD_STORE_OK) {
            dated.order = r->items.size;
            qd_buf_append(&r->items, &dated, sizeof(dated));
        }
        if (err != QD_STORE_END) {
            return err;
        }
    }
    return r->items.failed ? QD_STORE_NO_MEMORY : QD_STORE_OK;
}

/* Tell of the slice that ends here. */
static enum qd_store_err end_slice(struct reading *r)
{
    enum qd_store_err err =
        r->bytes.failed || r->chunks.failed ? QD_STORE_NO_MEMORY : list_items(r);
    struct dated *items = (struct dated *)(void *)r->items.data;
    size_t count = r->items.size / sizeof(*items);

    if (err == QD_STORE_OK && count > 0) {
        qsort(items, count, sizeof(*items), compare);
    }
    for (size_t i = 0; i < count && err == QD_STORE_OK; i++) {
        if (i + 1 == count || !is_same(&items[i], &items[i + 1])) {
            err = r->visitor->item(r->visitor->context, r->place, &items[i].item);
        }
    }
    qd_buf_clear(&r->bytes);
    qd_buf_clear(&r->chunks);
    r->any = false;
    return err;
}

static enum qd_store_err take_chunk(struct reading *r, struct qd_str key, struct qd_str value)
{
    struct qd_stored_place place;
    struct qd_reader items;
    uint64_t number;
    enum qd_store_err err = qd_journal_open(key, value, &place, &number, &items);

    if (err == QD_STORE_OK && r->any &&
        (place.shards != r->place.shards || place.shard != r->place.shard)) {
        err = end_slice(r);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    struct chunk chunk = {r->bytes.size, (size_t)(items.end - items.at)};
    qd_buf_append(&r->bytes, items.at, chunk.len);
    qd_buf_append(&r->chunks, &chunk, sizeof(chunk));
    r->place = place;
    r->any = true;
    return r->visitor->chunk != NULL ? r->visitor->chunk(r->visitor->context, key, number)
                                     : QD_STORE_OK;
}

enum qd_store_err qd_journal_read(struct qd_store *store, const struct qd_journal_visitor *visitor,
                                  struct qd_store_error *error)
{
    static const char bounds[2] = {QD_JOURNAL_KIND, QD_JOURNAL_KIND + 1};
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {&bounds[0], 1}, .upper = {&bounds[1], 1}};
    struct qd_store_iter *iter = qd_store_iter_open(store, &range);
    struct reading r = {.visitor = visitor};
    struct qd_str key;
    struct qd_str value;
    enum qd_store_err err = QD_STORE_OK;

    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the snapshot");
    }
    while (err == QD_STORE_OK &&
           (err = qd_store_iter_next(iter, &key, &value, error)) == QD_STORE_OK) {
        err = take_chunk(&r, key, value);
    }
    qd_store_iter_close(iter);
    if (err == QD_STORE_END) {
        err = r.any ? end_slice(&r) : QD_STORE_OK;
    }
    qd_buf_release(&r.bytes);
    qd_buf_release(&r.chunks);
    qd_buf_release(&r.items);
    return err;
}

enum qd_store_err qd_journal_compact(struct qd_store *store, struct qd_store_error *error)
{
    static const char bounds[2] = {QD_JOURNAL_KIND, QD_JOURNAL_KIND + 1};

    return qd_store_compact(store, QD_STORE_SNAPSHOT, (struct qd_str){&bounds[0], 1},
                            (struct qd_str){&bounds[1], 1}, error);
}
