/* The hand-written decoder of QuotaService's requests against protobuf-c, field by field: what one
 * accepts, the other accepts, and reads the same. But for the reasons of wire_reason.h, for which
 * ours alone refuses. */
#include "server/rpc/codec.h"

#include "quota/v1/quota.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/wire_reason.h"

#include <assert.h>
#include <string.h>

/* protobuf-c's strings end at a NUL. */
static bool same(struct qd_str a, const char *b)
{
    size_t len = strlen(b);

    return a.len >= len && (len == 0 || memcmp(a.ptr, b, len) == 0) &&
           (a.len == len || a.ptr[len] == '\0');
}

/* Lists longer than their bound are counted, not kept. */
static size_t kept(size_t count, size_t bound)
{
    return count < bound ? count : bound;
}

static void same_labels(const struct qd_label *labels, size_t count, Quota__V1__Entry *const *m,
                        size_t m_count)
{
    assert(count == m_count);
    for (size_t i = 0; i < kept(count, QD_ARG_LABELS); i++) {
        assert(same(labels[i].name, m[i]->key) && same(labels[i].value, m[i]->value));
        assert(labels[i].value.ptr != NULL);
    }
}

static void same_amounts(const struct qd_amount_arg *amounts, size_t count,
                         Quota__V1__Amount *const *m, size_t m_count)
{
    assert(count == m_count);
    for (size_t i = 0; i < kept(count, QD_ARG_METERS); i++) {
        assert(same(amounts[i].meter, m[i]->meter) && amounts[i].amount == m[i]->amount);
    }
}

/* Both accept, or only protobuf-c does, for a reason. True: compare the fields. */
static bool both_accept(bool ours, const void *theirs, const uint8_t *data, size_t size,
                        struct wire_schema schema)
{
    if (theirs == NULL) {
        assert(!ours);
        return false;
    }
    assert(ours != wire_has_reason(data, data + size, schema, wire_plain_has_reason));
    return ours;
}

static void check_same(const struct qd_check_args *a, const Quota__V1__CheckQuotaRequest *m)
{
    bool max_output_given =
        m->max_output_tokens_presence_case ==
        QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
    bool event_time_given = m->event_time_presence_case ==
                            QUOTA__V1__CHECK_QUOTA_REQUEST__EVENT_TIME_PRESENCE_EVENT_TIME_UNIX_NS;

    assert(same(a->tenant, m->tenant) && same(a->model, m->model) && same(a->pool, m->pool) &&
           same(a->user, m->user) && same(a->request_id, m->request_id));
    same_labels(a->labels, a->label_count, m->labels, m->n_labels);
    same_amounts(a->estimate, a->estimate_count, m->estimate, m->n_estimate);
    assert(a->candidate_count == m->n_candidates);
    for (size_t i = 0; i < kept(m->n_candidates, QD_ARG_CANDIDATES); i++) {
        assert(same(a->candidates[i].model, m->candidates[i]->model) &&
               same(a->candidates[i].pool, m->candidates[i]->pool) &&
               same(a->candidates[i].provider, m->candidates[i]->provider));
    }
    assert(a->max_output_given == max_output_given && a->event_time_given == event_time_given);
    assert(!max_output_given || a->max_output_tokens == m->max_output_tokens);
    assert(!event_time_given || a->event_time_ns == m->event_time_unix_ns);
    assert(a->attempt == m->attempt && a->ttl_ms == m->ttl_ms && a->priority == m->priority &&
           a->weight == m->weight);
    assert(a->dry_run == (m->dry_run != 0) && a->no_reservation == (m->no_reservation != 0) &&
           a->brief == (m->brief != 0));
    assert(a->tier == (uint32_t)m->tier && a->cache_write_ttl == (uint32_t)m->cache_write_ttl);
}

static void check(const uint8_t *data, size_t size)
{
    static struct qd_check_args args;
    static const struct wire_schema schema = {.bools = 1U << 12 | 1U << 13 | 1U << 19,
                                              .messages = 1U << 5 | 1U << 6 | 1U << 8};
    Quota__V1__CheckQuotaRequest *m = quota__v1__check_quota_request__unpack(NULL, size, data);
    bool read = qd_codec_check((struct qd_str){(const char *)data, size}, &args);

    if (both_accept(read, m, data, size, schema)) {
        check_same(&args, m);
    }
    if (m != NULL) {
        quota__v1__check_quota_request__free_unpacked(m, NULL);
    }
}

static void report_same(const struct qd_report_args *a, const Quota__V1__ReportUsageRequest *m)
{
    bool event_time_given = m->event_time_presence_case ==
                            QUOTA__V1__REPORT_USAGE_REQUEST__EVENT_TIME_PRESENCE_EVENT_TIME_UNIX_NS;

    assert(same(a->reservation, m->reservation) && same(a->tenant, m->tenant) &&
           same(a->model, m->model) && same(a->pool, m->pool) && same(a->user, m->user) &&
           same(a->source, m->source) && same(a->request_id, m->request_id));
    same_labels(a->labels, a->label_count, m->labels, m->n_labels);
    same_amounts(a->usage, a->usage_count, m->usage, m->n_usage);
    assert(a->attempt == m->attempt && a->sequence == m->sequence &&
           a->partial == (m->partial != 0));
    assert(a->outcome == (uint32_t)m->outcome && a->tier == (uint32_t)m->tier &&
           a->cache_write_ttl == (uint32_t)m->cache_write_ttl);
    assert(a->event_time_given == event_time_given);
    assert(!event_time_given || a->event_time_ns == m->event_time_unix_ns);
}

static void report(const uint8_t *data, size_t size)
{
    static struct qd_report_args args;
    static const struct wire_schema schema = {.bools = 1U << 11, .messages = 1U << 6 | 1U << 13};
    Quota__V1__ReportUsageRequest *m = quota__v1__report_usage_request__unpack(NULL, size, data);
    bool read = qd_codec_report((struct qd_str){(const char *)data, size}, &args);

    if (both_accept(read, m, data, size, schema)) {
        report_same(&args, m);
    }
    if (m != NULL) {
        quota__v1__report_usage_request__free_unpacked(m, NULL);
    }
}

static void extend(const uint8_t *data, size_t size)
{
    static struct qd_extend_args args;
    static const struct wire_schema schema = {.messages = 1U << 3};
    Quota__V1__ExtendReservationRequest *m =
        quota__v1__extend_reservation_request__unpack(NULL, size, data);
    bool read = qd_codec_extend((struct qd_str){(const char *)data, size}, &args);

    if (both_accept(read, m, data, size, schema)) {
        assert(same(args.reservation, m->reservation) && same(args.tenant, m->tenant));
        same_amounts(args.used, args.used_count, m->used_so_far, m->n_used_so_far);
        assert(args.ttl_ms == m->ttl_ms);
    }
    if (m != NULL) {
        quota__v1__extend_reservation_request__free_unpacked(m, NULL);
    }
}

static void cancel(const uint8_t *data, size_t size)
{
    struct qd_str reservation;
    struct qd_str tenant;
    Quota__V1__CancelReservationRequest *m =
        quota__v1__cancel_reservation_request__unpack(NULL, size, data);
    bool read = qd_codec_cancel((struct qd_str){(const char *)data, size}, &reservation, &tenant);

    if (both_accept(read, m, data, size, (struct wire_schema){.bools = 0})) {
        assert(same(reservation, m->reservation) && same(tenant, m->tenant));
    }
    if (m != NULL) {
        quota__v1__cancel_reservation_request__free_unpacked(m, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size);
    report(data, size);
    extend(data, size);
    cancel(data, size);
    return 0;
}
