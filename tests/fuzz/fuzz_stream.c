/* StreamQuota's messages against protobuf-c: the same items with the same ids and calls. What only
 * one of the two accepts has a reason: those of wire_reason.h, and that a call is not looked into
 * until its turn, so that a malformed one fails alone. */
#include "server/rpc/codec.h"
#include "server/rpc/stream.h"

#include "quota/v1/quota.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/wire_reason.h"

#include <assert.h>

static void read_call(const struct qd_stream_item *item)
{
    static struct qd_check_args check;
    static struct qd_report_args report;
    static struct qd_extend_args extend;
    struct qd_str reservation;
    struct qd_str tenant;

    switch (item->kind) {
    case QD_ITEM_CHECK:
        (void)qd_codec_check(item->call, &check);
        break;
    case QD_ITEM_REPORT:
        (void)qd_codec_report(item->call, &report);
        break;
    case QD_ITEM_EXTEND:
        (void)qd_codec_extend(item->call, &extend);
        break;
    case QD_ITEM_CANCEL:
        (void)qd_codec_cancel(item->call, &reservation, &tenant);
        break;
    case QD_ITEM_NONE:
        break;
    }
}

static enum qd_item_kind kind_of(const Quota__V1__StreamRequest *m)
{
    static const struct {
        Quota__V1__StreamRequest__CallCase call;
        enum qd_item_kind kind;
    } kinds[] = {{QUOTA__V1__STREAM_REQUEST__CALL_CHECK, QD_ITEM_CHECK},
                 {QUOTA__V1__STREAM_REQUEST__CALL_REPORT, QD_ITEM_REPORT},
                 {QUOTA__V1__STREAM_REQUEST__CALL_EXTEND, QD_ITEM_EXTEND},
                 {QUOTA__V1__STREAM_REQUEST__CALL_CANCEL, QD_ITEM_CANCEL}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (m->call_case == kinds[i].call) {
            return kinds[i].kind;
        }
    }
    return QD_ITEM_NONE;
}

/* Reads every item; `m` may be NULL. */
static void read_items(struct qd_str bytes, size_t count, const Quota__V1__StreamQuotaRequest *m)
{
    struct qd_wire wire = qd_wire_of(bytes);
    struct qd_stream_item item;
    size_t seen = 0;
    bool reports = false;

    for (; qd_stream_next(&wire, &item); seen++) {
        assert(seen < count);
        assert(item.call.len <= bytes.len);
        reports = reports || item.kind == QD_ITEM_REPORT;
        read_call(&item);
        if (m != NULL) {
            assert(item.id == m->items[seen]->id && item.kind == kind_of(m->items[seen]));
        }
    }
    assert(seen == count && reports == qd_stream_needs_booking(bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wire_schema schema = {.messages = 1U << 1};
    struct qd_str bytes = {size > 0 ? (const char *)data : "", size}; /* never NULL, as gRPC's */
    Quota__V1__StreamQuotaRequest *m = quota__v1__stream_quota_request__unpack(NULL, size, data);
    size_t count = 0;
    bool read = qd_stream_scan(bytes, &count);

    if (m != NULL) {
        assert(read != wire_has_reason(data, data + size, schema, wire_plain_has_reason));
        assert(!read || count == m->n_items);
    }
    if (read) {
        read_items(bytes, count, m);
    } else {
        (void)qd_stream_needs_booking(bytes); /* asked before the message is scanned */
    }
    if (m != NULL) {
        quota__v1__stream_quota_request__free_unpacked(m, NULL);
    }
    return 0;
}
