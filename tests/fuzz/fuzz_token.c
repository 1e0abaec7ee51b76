/* Tokens and short ids from strangers: never a crash, never accepted unless authentic, and
 * canonical when they are. */
#include "server/shard/token.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct qd_token_key key = {{9, 8, 7}};
    struct qd_str text = {(const char *)data, size};
    struct qd_token_buffer buffer;
    struct qd_token token;
    char again[QD_TOKEN_TEXT_MAX];
    uint64_t number = 0;

    if (qd_token_decode(&key, text, &buffer, &token)) {
        size_t len = qd_token_encode(&key, &token, again);
        if (len != size || memcmp(again, data, len) != 0) {
            abort();
        }
    }
    if (qd_short_id_decode(text, &number)) {
        char id[QD_SHORT_ID_MAX];
        uint64_t back = 0;
        size_t len = qd_short_id_encode(number, id);
        if (!qd_short_id_decode((struct qd_str){id, len}, &back) || back != number) {
            abort();
        }
    }
    return 0;
}
