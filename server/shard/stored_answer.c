#include "server/shard/stored_answer.h"

#include "storage/codec.h"

#include <string.h>

#define VERSION 1

static void put_usage(struct qd_buf *buf, const struct qd_usage *usage)
{
    qd_put_varint(buf, usage->present);
    for (uint32_t left = usage->present; left != 0; left &= left - 1) {
        qd_put_varint(buf, (uint64_t)usage->amount[__builtin_ctz(left)]);
    }
}

void qd_stored_answer_encode(const struct qd_report_answer *answer, struct qd_buf *buf)
{
    const struct qd_report_answer *a = answer;

    qd_put_varint(buf, VERSION);
    qd_put_varint(buf, (uint64_t)a->cost_nano);
    qd_put_varint(buf, (uint64_t)a->charge_nano);
    qd_put_str(buf, (struct qd_str){a->cost_pico, strlen(a->cost_pico)});
    qd_put_str(buf, (struct qd_str){a->charge_pico, strlen(a->charge_pico)});
    qd_put_varint(buf, a->unpriced);
    qd_put_varint(buf, a->unpriced_meters);
    qd_put_varint(buf, (uint64_t)a->settlement);
    put_usage(buf, &a->released);
    put_usage(buf, &a->overrun);
    qd_put_varint(buf, a->policy_revision);
}

static void get_usage(struct qd_reader *reader, struct qd_usage *ret_usage)
{
    ret_usage->present = (uint32_t)qd_get_varint_max(reader, UINT32_MAX);
    for (uint32_t left = ret_usage->present; left != 0; left &= left - 1) {
        ret_usage->amount[__builtin_ctz(left)] = (int64_t)qd_get_varint_max(reader, INT64_MAX);
    }
}

static void get_text(struct qd_reader *reader, char text[QD_PICO_TEXT_MAX])
{
    struct qd_str s = qd_get_str(reader, QD_PICO_TEXT_MAX - 1);

    if (s.len > 0) {
        reader->failed = reader->failed || memchr(s.ptr, '\0', s.len) != NULL;
        memcpy(text, s.ptr, s.len);
    }
    text[s.len] = '\0';
}

bool qd_stored_answer_decode(struct qd_str bytes, struct qd_report_answer *ret_answer)
{
    struct qd_reader reader = qd_reader_of(bytes);
    struct qd_report_answer *a = ret_answer;

    memset(a, 0, sizeof(*a));
    if (qd_get_varint(&reader) != VERSION) {
        return false;
    }
    a->cost_nano = (int64_t)qd_get_varint_max(&reader, INT64_MAX);
    a->charge_nano = (int64_t)qd_get_varint_max(&reader, INT64_MAX);
    get_text(&reader, a->cost_pico);
    get_text(&reader, a->charge_pico);
    a->unpriced = qd_get_varint_max(&reader, 1) == 1;
    a->unpriced_meters = (uint32_t)qd_get_varint_max(&reader, UINT32_MAX);
    a->settlement = (enum qd_settlement)qd_get_varint_max(&reader, QD_SETTLEMENT_LATE);
    get_usage(&reader, &a->released);
    get_usage(&reader, &a->overrun);
    a->policy_revision = qd_get_varint(&reader);
    return qd_reader_finish(&reader) == QD_STORE_OK && a->settlement >= QD_SETTLEMENT_NONE;
}
