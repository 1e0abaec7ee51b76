/* The ledger's mark: what decodes encodes to the same bytes, and nothing else happens. */
#include "server/ledger/tidemark.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_tide tide;
    char again[QD_TIDE_TEXT_SIZE + 1];
    if (qd_tide_decode((const char *)data, size, &tide)) {
        qd_tide_encode(tide, again);
        assert(memcmp(again, data, size) == 0);
    }
    return 0;
}
