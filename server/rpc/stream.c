/* quota.v1.QuotaService/StreamQuota: batches of items, each answered as its unary call would be
 * (I1).
 *
 * StreamQuotaRequest {1: repeated StreamRequest {1: id, 2: check, 3: report, 4: extend, 5:
 * cancel}}; StreamQuotaResponse {1: repeated StreamResponse {1: id, 2-5: as asked, 6: ItemError {1:
 * code, 2: reason, 3: message, 4: retry_after_ms}}}. An item that fails fails alone. */
#include "server/rpc/stream.h"
#include "server/rpc/call_log.h"
#include "server/rpc/codec.h"
#include "server/rpc/quota.h"
#include "server/rpc/report_batch.h"
#include "server/rpc/server_internal.h"
#include "server/shard/check.h"

#include <assert.h>

static bool read_item(struct qd_str bytes, struct qd_stream_item *ret_item)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    *ret_item = (struct qd_stream_item){0, QD_ITEM_NONE, {NULL, 0}};
    while (qd_wire_next(&w, &f)) {
        if (f.id > QD_ITEM_CANCEL) {
            continue;
        }
        if (f.type != (f.id == 1 ? QD_WIRE_VARINT : QD_WIRE_BYTES)) {
            return false;
        }
        if (f.id == 1) {
            ret_item->id = f.number;
        } else {
            ret_item->kind = (enum qd_item_kind)f.id; /* of a oneof, the last one counts */
            ret_item->call = f.bytes;
        }
    }
    return !w.failed;
}

bool qd_stream_scan(struct qd_str bytes, size_t *ret_count)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;
    struct qd_stream_item item;
    size_t count = 0;

    while (qd_wire_next(&w, &f)) {
        if (f.id != 1) {
            continue;
        }
        if (f.type != QD_WIRE_BYTES || !read_item(f.bytes, &item)) {
            return false;
        }
        count++;
    }
    *ret_count = count;
    return !w.failed;
}

bool qd_stream_next(struct qd_wire *wire, struct qd_stream_item *ret_item)
{
    struct qd_wire_field f;

    while (qd_wire_next(wire, &f)) {
        if (f.id == 1 && f.type == QD_WIRE_BYTES && read_item(f.bytes, ret_item)) {
            return true;
        }
    }
    return false;
}

bool qd_stream_needs_booking(struct qd_str bytes)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_stream_item item;

    while (qd_stream_next(&w, &item)) {
        if (item.kind == QD_ITEM_REPORT) {
            return true;
        }
    }
    return false;
}

/* --- checks ahead ---
 *
 * A check waits for memory twice: for its binding, then for the counters that this names. So each
 * is begun two items before its turn and approached one item before: what it needs arrives while
 * the others are decided. Everything is still decided and answered in the order of the items. */

#define AHEAD 3U

struct turn {
    struct qd_stream_item item;
    struct qd_check_args args;
    struct qd_check_work work;
    enum qd_error_code code; /* of its admission and, of a check, its beginning */
    struct qd_error error;
};

/* The items from the one whose turn it is on. */
struct turns {
    struct qd_wire wire; /* the message's, behind the last one read */
    unsigned first;
    unsigned count;
    struct turn turn[AHEAD];
};

static struct turn *turn_at(struct turns *t, unsigned i)
{
    assert(i < t->count);
    return &t->turn[(t->first + i) % AHEAD];
}

/* X1: an item is what its unary call would be. */
static enum qd_error_code admit(const struct qd_call *call, enum qd_item_kind kind,
                                struct qd_error *ret_error)
{
    const struct qd_method *row = &qd_quota_methods[kind - QD_ITEM_CHECK]; /* in their order */

    return qd_caller_may_call(&call->caller, row->path, row->roles, row->bound, ret_error);
}

static void begin_check(struct qd_place *place, const struct qd_call *call, struct turn *turn)
{
    turn->code = qd_quota_read_check(&call->caller, turn->item.call, &turn->args, &turn->error);
    if (turn->code == QD_ERROR_NONE) {
        turn->code = qd_check_begin(&turn->work, place->worker, &turn->args, &turn->error);
    }
}

/* Read items until AHEAD are at hand or there are no more. */
static void fetch(struct qd_place *place, const struct qd_call *call, struct turns *t)
{
    while (t->count < AHEAD) {
        struct turn *turn = &t->turn[(t->first + t->count) % AHEAD];
        if (!qd_stream_next(&t->wire, &turn->item)) {
            break;
        }
        t->count++;
        turn->code = turn->item.kind != QD_ITEM_NONE ? admit(call, turn->item.kind, &turn->error)
                                                     : QD_ERROR_NONE;
        if (turn->item.kind == QD_ITEM_CHECK && turn->code == QD_ERROR_NONE) {
            begin_check(place, call, turn);
        }
    }
    if (t->count > 1) {
        const struct turn *next = turn_at(t, 1);
        if (next->item.kind == QD_ITEM_CHECK && next->code == QD_ERROR_NONE) {
            qd_check_approach(&next->work);
        }
    }
}

static enum qd_error_code answer_check(struct qd_place *place, struct qd_call *call,
                                       struct turn *turn, struct qd_error *ret_error)
{
    struct qd_check_answer *answer = &place->check_answer;

    if (turn->code == QD_ERROR_NONE) {
        turn->code = qd_check_decide(&turn->work, answer, &turn->error);
    }
    qd_check_count(place->worker, turn->code, answer);
    if (turn->code != QD_ERROR_NONE) {
        *ret_error = turn->error;
        return turn->code;
    }
    qd_quota_put_check(place, &turn->args);
    if (answer->number != 0 && call->number_count < QD_BATCH_MAX) {
        call->numbers[call->number_count++] = answer->number;
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code answer_item(struct qd_place *place, struct qd_call *call,
                                      struct turn *turn, struct qd_error *ret_error)
{
    const struct qd_stream_item *item = &turn->item;

    if (turn->code != QD_ERROR_NONE && item->kind != QD_ITEM_CHECK) {
        *ret_error = turn->error;
        return turn->code;
    }
    switch (item->kind) {
    case QD_ITEM_CHECK:
        return answer_check(place, call, turn, ret_error);
    case QD_ITEM_REPORT: /* see put_reports */
    case QD_ITEM_EXTEND:
        return qd_quota_extend(place, call, item->call, ret_error);
    case QD_ITEM_CANCEL:
        return qd_quota_cancel(place, call, item->call, ret_error);
    case QD_ITEM_NONE:
        break;
    }
    return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                        "item %llu: no call; set one of check, report, extend, cancel",
                        (unsigned long long)item->id);
}

static void put_error(struct qd_place *place, const struct qd_call *call, enum qd_error_code code,
                      const struct qd_error *error)
{
    qd_place_count_refusal(place, code);
    qd_call_log_item(call, code);
    qd_out_number(&place->out, 1, (uint64_t)qd_error_status(code));
    qd_out_text(&place->out, 2, qd_error_reason(code));
    qd_out_text(&place->out, 3, error->text);
    qd_out_number(&place->out, 4, qd_retry_hinted(code) ? QD_RETRY_MS : 0);
}

static void put_item(struct qd_place *place, struct qd_call *call, struct turn *turn)
{
    struct qd_out *out = &place->out;
    const struct qd_stream_item *item = &turn->item;
    struct qd_error error;
    uint8_t *answer = qd_out_begin(out, 1);

    qd_out_number(out, 1, item->id);
    uint8_t *before = out->at;
    uint8_t *result = qd_out_begin(out, item->kind != QD_ITEM_NONE ? (uint32_t)item->kind : 6);
    enum qd_error_code code = answer_item(place, call, turn, &error);
    if (code != QD_ERROR_NONE) { /* take the begun answer back, and say what is wrong instead */
        out->at = before;
        result = qd_out_begin(out, 6);
        put_error(place, call, code, &error);
    }
    qd_out_end(out, result);
    qd_out_end(out, answer);
}

/* --- reports that follow each other go to the disk together --- */

static void put_report(struct qd_place *place, const struct qd_report_item *item,
                       enum qd_error_code code, const struct qd_report_answer *answer,
                       const struct qd_error *error)
{
    struct qd_out *out = &place->out;
    uint8_t *whole = qd_out_begin(out, 1);

    qd_out_number(out, 1, item->id);
    uint8_t *result = qd_out_begin(out, code == QD_ERROR_NONE ? (uint32_t)QD_ITEM_REPORT : 6);
    if (code == QD_ERROR_NONE) {
        qd_quota_put_report(place, answer);
    } else {
        put_error(place, item->stream, code, error);
    }
    qd_out_end(out, result);
    qd_out_end(out, whole);
}

/* Whatever comes after a report in the message sees it booked. */
static void take_item(struct qd_place *place, struct qd_call *call, struct turn *turn)
{
    if (turn->item.kind != QD_ITEM_REPORT || turn->code != QD_ERROR_NONE) {
        if (place->reports != NULL) {
            qd_report_batch_flush(place, put_report);
        }
        put_item(place, call, turn);
        return;
    }
    if (place->reports == NULL) { /* not a booking thread: their queue was full */
        struct qd_error error;
        const struct qd_report_item item = {.stream = call, .id = turn->item.id};
        put_report(place, &item, qd_reports_queue_full(place->rpc, &error), NULL, &error);
        return;
    }
    while (!qd_report_batch_add_item(place, call, turn->item.id, turn->item.call)) {
        qd_report_batch_flush(place, put_report);
    }
}

enum qd_error_code qd_stream_message(struct qd_place *place, struct qd_call *call,
                                     struct qd_str bytes, struct qd_error *ret_error)
{
    size_t count = 0;

    /* X2: nothing of a batch that is too large or malformed is begun. */
    if (!qd_stream_scan(bytes, &count)) {
        return qd_error_set(ret_error, QD_ERROR_MALFORMED,
                            "not a quota.v1.StreamQuotaRequest message");
    }
    if (count > QD_BATCH_MAX) {
        return qd_error_set(ret_error, QD_ERROR_BATCH_TOO_LARGE,
                            "items: %zu in one message; at most %u are accepted; split the batch",
                            count, QD_BATCH_MAX);
    }
    struct turns turns; /* large, and hardly touched: its turns are filled as they come */
    turns.wire = qd_wire_of(bytes);
    turns.first = turns.count = 0;
    for (fetch(place, call, &turns); turns.count > 0; fetch(place, call, &turns)) {
        take_item(place, call, turn_at(&turns, 0));
        turns.first = (turns.first + 1) % AHEAD;
        turns.count--;
    }
    if (place->reports != NULL) {
        qd_report_batch_flush(place, put_report);
    }
    if (place->out.full) { /* S1: the answer cannot be sent, so its holds are given back */
        for (size_t i = 0; i < call->number_count; i++) {
            qd_node_undelivered(place->worker, call->numbers[i]);
        }
        call->number_count = 0;
    }
    return QD_ERROR_NONE;
}
