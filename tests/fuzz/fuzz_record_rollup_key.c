/* Keys of rollup rows: what decodes is what an entry's row is keyed by. */
#include "server/ledger/rollup.h"
#include "storage/codec.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_str key = {(const char *)data, size};
    struct qd_rollup_row row;
    if (qd_rollup_key_decode(key, &row) != QD_STORE_OK) {
        return 0;
    }
    struct qd_buf again = {0};
    qd_put_key_u32(&again, row.bucket);
    qd_put_key_tenant(&again, row.tenant);
    qd_put_str(&again, row.model);
    qd_put_str(&again, row.pool);
    qd_put_varint(&again, row.price_count);
    for (size_t i = 0; i < row.price_count; i++) {
        qd_put_str(&again, row.prices[i]);
    }
    qd_put_varint(&again, row.label_count);
    for (size_t i = 0; i < row.label_count; i++) {
        qd_put_str(&again, row.labels[i].name);
        qd_put_str(&again, row.labels[i].value);
    }
    assert(qd_slice_equal(key, qd_buf_str(&again)));
    qd_buf_release(&again);
    return 0;
}
