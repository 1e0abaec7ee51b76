/* What is stored of counters and estimators (X5, D12): any key and record are refused, or
 * encode to the same bytes again; and what a counter says of itself points into its bytes.
 *
 * Input: the key's length, the key, and the record, which is tried as it is and as a body. */
#include "server/shard/stored.h"
#include "storage/buf.h"
#include "storage/codec.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_counter(const struct qd_saved *saved)
{
    struct qd_saved_counter counter;

    if (saved->kind == QD_SAVED_COUNTER && qd_core_saved_counter(saved, &counter)) {
        const char *begin = (const char *)saved->bytes;
        require(counter.name.len == 0 ||
                (counter.name.ptr >= begin &&
                 counter.name.ptr + counter.name.len <= begin + saved->size));
        require(counter.amount >= 0 && counter.burst >= 0);
    }
}

static void read_one(struct qd_str key, struct qd_str record)
{
    static struct qd_saved saved;
    struct qd_stored_place place = {0};
    struct qd_buf key_again = {0};
    struct qd_buf again = {0};

    if (qd_stored_read(key, record, &place, &saved) == QD_STORE_OK) {
        require(saved.size > 0 && saved.size <= QD_SAVED_MAX);
        qd_stored_key(&saved, place, &key_again);
        qd_stored_record(&saved, &again);
        require(qd_slice_equal(key, qd_buf_str(&key_again)));
        require(qd_slice_equal(record, qd_buf_str(&again)));
        check_counter(&saved);
    }
    qd_buf_release(&key_again);
    qd_buf_release(&again);
}

static enum qd_record_type type_of(struct qd_str key)
{
    return key.len > 0 && key.ptr[0] == QD_SAVED_ESTIMATOR ? QD_RECORD_ESTIMATOR
                                                           : QD_RECORD_COUNTER;
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
    size_t begin = qd_record_begin(&framed, type_of(key), 2);
    qd_buf_append(&framed, rest.ptr, rest.len);
    qd_record_end(&framed, begin);
    read_one(key, qd_buf_str(&framed));
    qd_buf_release(&framed);
    return 0;
}
