/* The first answer of a report, as it is stored: what decodes is encoded to the same bytes. */
#include "server/shard/stored_answer.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_str bytes = {(const char *)data, size};
    struct qd_report_answer answer;
    struct qd_buf again = {0};

    if (qd_stored_answer_decode(bytes, &answer)) {
        assert(answer.cost_nano >= 0 && answer.charge_nano >= 0);
        assert(strlen(answer.cost_pico) < QD_PICO_TEXT_MAX &&
               strlen(answer.charge_pico) < QD_PICO_TEXT_MAX);
        assert(answer.settlement >= QD_SETTLEMENT_NONE && answer.settlement <= QD_SETTLEMENT_LATE);
        qd_stored_answer_encode(&answer, &again);
        assert(!again.failed && again.size == size && memcmp(again.data, data, size) == 0);
    }
    qd_buf_release(&again);
    return 0;
}
