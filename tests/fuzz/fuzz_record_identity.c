/* The node's identity: what decodes encodes to the same bytes, and nothing else happens. */
#include "storage/identity_record.h"
#include "tests/fuzz/record_fuzz.h"

static bool round_trip(struct qd_str record, struct qd_buf *ret_again)
{
    struct qd_identity decoded;
    if (qd_identity_decode(record, &decoded) != QD_STORE_OK) {
        return false;
    }
    qd_identity_encode(&decoded, ret_again);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_record(data, size, QD_RECORD_IDENTITY, round_trip);
}
