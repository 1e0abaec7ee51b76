/* Marks of what has expired: what decodes encodes to the same bytes, and nothing else happens. */
#include "storage/expired_record.h"
#include "tests/fuzz/record_fuzz.h"

static bool round_trip(struct qd_str record, struct qd_buf *ret_again)
{
    struct qd_expired decoded;
    if (qd_expired_decode(record, &decoded) != QD_STORE_OK) {
        return false;
    }
    qd_expired_encode(&decoded, ret_again);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_record(data, size, QD_RECORD_EXPIRED, round_trip);
}
