/* X2: a compressed message may be as large in memory as it likes, whatever its size on the wire: it
 * is refused before anything is inflated. */
#include "quota/v1/quota.pb-c.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <grpc/compression.h>
#include <string.h>

static struct served s;

TestSuite(compression, .timeout = 120);

static grpc_status_code ask(const char *path, const char *algorithm)
{
    static char model[3001];
    grpc_status_code status;
    Quota__V1__CheckQuotaRequest request;

    quota__v1__check_quota_request__init(&request);
    memset(model, 'm', sizeof(model) - 1); /* gRPC sends compressed what gets smaller by it */
    request.tenant = cast_text("acme");
    request.model = model;
    s.metadata_count = algorithm != NULL ? 1 : 0;
    s.metadata[0] = (grpc_metadata){
        .key = grpc_slice_from_static_string(GRPC_COMPRESSION_REQUEST_ALGORITHM_MD_KEY),
        .value = grpc_slice_from_static_string(algorithm != NULL ? algorithm : "")};
    void *answer =
        served_call(&s, path, &request.base, &quota__v1__check_quota_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return status;
}

Test(compression, X2_compressed_messages_are_not_inflated)
{
    static const char *const paths[] = {
        "/quota.v1.QuotaService/CheckQuota", "/quota.v1.QuotaService/StreamQuota",
        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"};

    served_open(&s, &(struct served_with){0});
    /* What is inside is too long a name: the message arrived, and was read. (The status of a
     * message that is not is gRPC's own, before it inflates anything.) */
    cr_expect_eq(ask(paths[0], NULL), GRPC_STATUS_INVALID_ARGUMENT);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        cr_expect_eq(ask(paths[i], "gzip"), GRPC_STATUS_UNIMPLEMENTED, "%s", paths[i]);
        cr_expect_eq(ask(paths[i], "deflate"), GRPC_STATUS_UNIMPLEMENTED, "%s", paths[i]);
    }
    cr_expect_eq(ask(paths[0], NULL), GRPC_STATUS_INVALID_ARGUMENT);
    served_close(&s);
}
