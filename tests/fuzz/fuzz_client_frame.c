/* The reader of a quota stream's batches, and the decoders of the answers in it. */
#include "client/client.h"
#include "client/frame.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

static void decode(const struct lq_frame_item *item)
{
    if (item->field == 2) {
        struct quota_check_answer answer = {.message = ""};
        lq_decode_check(item->message, item->message_size, &answer);
        quota_check_answer_release(&answer);
    } else if (item->field == 3) {
        struct quota_report_answer answer = {.node = ""};
        lq_decode_report(item->message, item->message_size, &answer);
        quota_report_answer_release(&answer);
    } else if (item->field == 4) {
        struct quota_extend_answer answer = {.message = ""};
        lq_decode_extend(item->message, item->message_size, &answer);
        quota_extend_answer_release(&answer);
    } else if (item->field == 5) {
        struct quota_cancel_answer answer = {.cancelled = false};
        lq_decode_cancel(item->message, item->message_size, &answer);
    } else if (item->field == LQ_FRAME_ERROR) {
        struct lq_result result = {.pause_ns = -1};
        lq_decode_item_error(item->message, item->message_size, &result);
        assert(result.status != QUOTA_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_frame_reader reader = {data, data + size};
    struct lq_frame_item item;
    while (lq_frame_next(&reader, &item) > 0) {
        assert(item.message_size <= size);
        decode(&item);
    }
    assert(reader.at <= reader.end);
    return 0;
}
