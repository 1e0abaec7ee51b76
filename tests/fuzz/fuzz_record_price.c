/* Records of price versions: what decodes encodes to the same bytes, and nothing else happens. */
#include "storage/price_record.h"
#include "tests/fuzz/record_fuzz.h"

static bool round_trip(struct qd_str record, struct qd_buf *ret_again)
{
    struct qd_price_record decoded;
    if (qd_price_record_decode(record, &decoded) != QD_STORE_OK) {
        return false;
    }
    qd_price_record_encode(&decoded, ret_again);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_record(data, size, QD_RECORD_PRICE, round_trip);
}
