/* What a slice had counted (X5): any bytes are refused, or encode to the same bytes again once
 * sorted. */
#include "server/shard/stored.h"
#include "storage/buf.h"
#include "storage/codec.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_buf key = {0};
    struct qd_buf record = {0};
    struct qd_stored_place place;
    struct qd_cut cut;

    qd_cut_key((struct qd_stored_place){4, 1}, &key);
    size_t begin = qd_record_begin(&record, QD_RECORD_CUT, QD_CUT_VERSION);
    qd_buf_append(&record, data, size);
    qd_record_end(&record, begin);
    if (qd_cut_read(qd_buf_str(&key), qd_buf_str(&record), &place, &cut) == QD_STORE_OK) {
        struct qd_buf again = {0};
        qd_cut_record(&cut, &again);
        if (place.shards != 4 || place.shard != 1 || again.size != record.size) {
            abort();
        }
        for (uint32_t i = 0; i < cut.count; i++) {
            if (!qd_cut_has(&cut, cut.beyond[i])) {
                abort();
            }
        }
        qd_buf_release(&again);
        free(cut.beyond);
    }
    qd_buf_release(&key);
    qd_buf_release(&record);
    return 0;
}
