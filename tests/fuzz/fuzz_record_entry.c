/* Records of the ledger: what decodes encodes to the same bytes, and nothing else happens. */
#include "storage/entry.h"
#include "tests/fuzz/record_fuzz.h"

static bool round_trip(struct qd_str record, struct qd_buf *ret_again)
{
    struct qd_entry decoded;
    if (qd_entry_decode(record, &decoded) != QD_STORE_OK) {
        return false;
    }
    qd_entry_encode(&decoded, ret_again);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_body(data, size, QD_RECORD_ENTRY, 2, round_trip);
    check_body(data, size, QD_RECORD_ENTRY, 3, round_trip); /* a reversal (L3) */
    return fuzz_record(data, size, QD_RECORD_ENTRY, round_trip);
}
