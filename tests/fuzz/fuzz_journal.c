/* Chunks of a slice's journal (X5): any key and chunk are refused, or read to their end; and what
 * was read, written and read again is the same.
 *
 * Input: the key's length, the key, and the chunk, which is tried as it is and as a body. */
#include "server/shard/journal.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static bool is_same(const struct qd_journal_item *a, const struct qd_journal_item *b)
{
    return a->kind == b->kind && qd_hash128_equal(a->id, b->id) &&
           qd_slice_equal(a->bytes, b->bytes) && qd_slice_equal(a->token, b->token);
}

/* Written anew it says the same; numbers may have been longer than need be. */
static void write_again(struct qd_str key, struct qd_reader items)
{
    static struct qd_saved saved;
    struct qd_buf again = {0};
    struct qd_journal_item item;
    struct qd_journal_item other;
    struct qd_reader reader = items;
    struct qd_reader others;
    struct qd_stored_place place;
    uint64_t number;
    enum qd_store_err err;

    qd_journal_begin(&again);
    while ((err = qd_journal_next(&reader, &item)) == QD_STORE_OK) {
        qd_journal_saved(&item, &saved);
        qd_journal_add(&again, &saved, item.token);
    }
    qd_journal_end(&again);
    require(qd_journal_open(key, qd_buf_str(&again), &place, &number, &others) == QD_STORE_OK);
    while (qd_journal_next(&items, &item) == QD_STORE_OK) {
        require(qd_journal_next(&others, &other) == QD_STORE_OK && is_same(&item, &other));
    }
    require(qd_journal_next(&others, &other) == QD_STORE_END);
    require(err == QD_STORE_END || err == QD_STORE_CORRUPT);
    qd_buf_release(&again);
}

static void read_one(struct qd_str key, struct qd_str chunk)
{
    struct qd_stored_place place;
    struct qd_reader items;
    struct qd_buf key_again = {0};
    uint64_t number;

    if (qd_journal_open(key, chunk, &place, &number, &items) == QD_STORE_OK) {
        qd_journal_key(place, number, &key_again);
        require(qd_slice_equal(key, qd_buf_str(&key_again)));
        write_again(key, items);
    }
    qd_buf_release(&key_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] > size - 1) {
        return 0;
    }
    struct qd_str key = {(const char *)data + 1, data[0]};
    struct qd_str rest = {key.ptr + key.len, size - 1 - key.len};
    struct qd_buf framed = {0};

    read_one(key, rest);
    qd_journal_begin(&framed);
    qd_buf_append(&framed, rest.ptr, rest.len);
    qd_journal_end(&framed);
    read_one(key, qd_buf_str(&framed));
    qd_buf_release(&framed);
    return 0;
}
