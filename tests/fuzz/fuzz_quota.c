/* The hand-written decoder of QuotaService's requests against protobuf-c: what protobuf-c accepts,
 * it accepts, and reads the same; on anything else it stays within its bounds. */
#include "server/rpc/codec.h"

#include "quota/v1/quota.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void same(struct qd_str a, const char *b)
{
    /* protobuf-c's strings end at a NUL. */
    size_t len = strlen(b);

    if (a.len < len || (len > 0 && memcmp(a.ptr, b, len) != 0) ||
        (a.len > len && a.ptr[len] != '\0')) {
        abort();
    }
}

static void check(struct qd_str bytes)
{
    static struct qd_check_args args;
    Quota__V1__CheckQuotaRequest *m =
        quota__v1__check_quota_request__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
    bool read = qd_codec_check(bytes, &args);

    if (m != NULL && read) {
        same(args.tenant, m->tenant);
        same(args.model, m->model);
        same(args.request_id, m->request_id);
        if (args.label_count != m->n_labels || args.estimate_count != m->n_estimate ||
            args.ttl_ms != m->ttl_ms || args.attempt != m->attempt ||
            args.candidate_count != m->n_candidates) {
            abort();
        }
        for (size_t i = 0; i < m->n_estimate && i < QD_ARG_METERS; i++) {
            if (args.estimate[i].amount != m->estimate[i]->amount) {
                abort();
            }
        }
    }
    if (m != NULL) {
        quota__v1__check_quota_request__free_unpacked(m, NULL);
    }
}

static void report(struct qd_str bytes)
{
    static struct qd_report_args args;
    Quota__V1__ReportUsageRequest *m =
        quota__v1__report_usage_request__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
    bool read = qd_codec_report(bytes, &args);

    if (m != NULL && read) {
        same(args.reservation, m->reservation);
        same(args.source, m->source);
        if (args.usage_count != m->n_usage || args.sequence != m->sequence) {
            abort();
        }
    }
    if (m != NULL) {
        quota__v1__report_usage_request__free_unpacked(m, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_str bytes = {(const char *)data, size};
    struct qd_extend_args extend;
    struct qd_str a;
    struct qd_str b;

    check(bytes);
    report(bytes);
    (void)qd_codec_extend(bytes, &extend);
    (void)qd_codec_cancel(bytes, &a, &b);
    return 0;
}
