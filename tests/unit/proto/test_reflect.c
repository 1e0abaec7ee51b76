/* I4: what the reflection service hands out is complete, and is what protoc-c compiled. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "proto/reflect.h"
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/types.pb-c.h"
#include "quota/v1/usage.pb-c.h"

static const char *file_of(const char *symbol)
{
    const struct qd_reflect_file *file = qd_reflect_file_by_symbol(symbol);

    return file ? file->name : "(none)";
}

/* True if `needle` with this length is somewhere in the file's bytes. */
static bool has_bytes(const struct qd_reflect_file *file, const char *needle)
{
    return memmem(file->bytes, file->size, needle, strlen(needle)) != NULL;
}

Test(reflect, I4_services_are_listed_in_order)
{
    static const char *const expected[] = {
        "envoy.service.ratelimit.v3.RateLimitService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "quota.v1.AdminService",
        "quota.v1.QuotaService",
        "quota.v1.UsageService",
    };
    size_t count = 0;
    const char *const *services = qd_reflect_services(&count);

    cr_assert_eq(count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < count; i++) {
        cr_assert_str_eq(services[i], expected[i]);
        cr_assert_not_null(qd_reflect_file_by_symbol(services[i]));
    }
}

Test(reflect, I4_every_kind_of_symbol_is_found)
{
    cr_assert_str_eq(file_of("quota.v1.QuotaService"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.QuotaService.CheckQuota"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.CheckQuotaRequest"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.CheckQuotaRequest.tenant"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.StreamRequest.call"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.Verdict"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.VERDICT_ALLOWED"), "quota/v1/quota.proto");
    cr_assert_str_eq(file_of("quota.v1.Amount"), "quota/v1/types.proto");
    cr_assert_str_eq(file_of("quota.v1.LedgerEntry"), "quota/v1/usage.proto");
    cr_assert_str_eq(file_of("quota.v1.Tenant"), "quota/v1/admin.proto");
    cr_assert_str_eq(file_of("envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit"),
                     "envoy/service/ratelimit/v3/rls.proto");
    cr_assert_str_eq(file_of("envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.WEEK"),
                     "envoy/service/ratelimit/v3/rls.proto");
    cr_assert_str_eq(file_of("envoy.type.v3.RateLimitUnit"), "envoy/type/v3/ratelimit_unit.proto");
    cr_assert_str_eq(file_of("google.protobuf.Struct.FieldsEntry"), "google/protobuf/struct.proto");
    cr_assert_str_eq(file_of("grpc.health.v1.HealthCheckResponse.ServingStatus"),
                     "grpc/health/v1/health.proto");
    cr_assert_str_eq(file_of("grpc.health.v1.HealthCheckResponse.SERVING"),
                     "grpc/health/v1/health.proto");
    cr_assert_str_eq(file_of("grpc.reflection.v1.ServerReflection.ServerReflectionInfo"),
                     "grpc/reflection/v1/reflection.proto");
    cr_assert_str_eq(file_of("grpc.reflection.v1alpha.ErrorResponse"),
                     "grpc/reflection/v1alpha/reflection.proto");
}

Test(reflect, I4_what_is_not_there_is_not_found)
{
    cr_assert_null(qd_reflect_file_by_symbol(""));
    cr_assert_null(qd_reflect_file_by_symbol("quota"));
    cr_assert_null(qd_reflect_file_by_symbol("quota.v1"));
    cr_assert_null(qd_reflect_file_by_symbol(".quota.v1.QuotaService"));
    cr_assert_null(qd_reflect_file_by_symbol("quota.v1.QuotaServic"));
    cr_assert_null(qd_reflect_file_by_symbol("quota.v1.QuotaServicf"));
    cr_assert_null(qd_reflect_file_by_symbol("zzz"));
    cr_assert_null(qd_reflect_file_by_name(""));
    cr_assert_null(qd_reflect_file_by_name("quota.proto"));
    cr_assert_null(qd_reflect_file_by_name("quota/v1/quota.proto2"));
    cr_assert_null(qd_reflect_file_by_name("tools/descriptor.proto"));
}

Test(reflect, I4_files_are_found_by_name_and_in_order)
{
    size_t count = 0;
    const struct qd_reflect_file *files = qd_reflect_files(&count);

    cr_assert_eq(count, 14);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(qd_reflect_file_by_name(files[i].name), &files[i]);
        cr_assert(i == 0 || strcmp(files[i - 1].name, files[i].name) < 0);
        /* FileDescriptorProto.name is field 1, a string, and protoc writes it first. */
        cr_assert_gt(files[i].size, 2 + strlen(files[i].name));
        cr_assert_eq(files[i].bytes[0], 0x0a);
        cr_assert_eq(files[i].bytes[1], strlen(files[i].name));
        cr_assert_arr_eq(&files[i].bytes[2], files[i].name, strlen(files[i].name));
        /* Source info would bring the comments along. */
        cr_assert_not(has_bytes(&files[i], "Required."));
    }
}

Test(reflect, I4_a_closure_is_the_file_and_its_imports_once)
{
    const struct qd_reflect_file *admin = qd_reflect_file_by_name("quota/v1/admin.proto");
    const struct qd_reflect_file *types = qd_reflect_file_by_name("quota/v1/types.proto");

    cr_assert_eq(admin->closure_count, 3);
    cr_assert_eq(admin->closure[0], admin);
    cr_assert_str_eq(admin->closure[1]->name, "quota/v1/quota.proto");
    cr_assert_str_eq(admin->closure[2]->name, "quota/v1/types.proto");
    cr_assert_eq(types->closure_count, 1);
    cr_assert_eq(types->closure[0], types);
}

/* I3: a client that has none of Envoy's files gets all it needs for one call. */
Test(reflect, I3_a_closure_reaches_what_imports_import)
{
    static const char *const expected[] = {
        "envoy/config/core/v3/base.proto",
        "envoy/extensions/common/ratelimit/v3/ratelimit.proto",
        "envoy/type/v3/ratelimit_unit.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/struct.proto",
        "google/protobuf/wrappers.proto",
    };
    const struct qd_reflect_file *rls =
        qd_reflect_file_by_symbol("envoy.service.ratelimit.v3.RateLimitService");
    size_t found = 0;

    cr_assert_eq(rls->closure_count, 7);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        for (size_t k = 1; k < rls->closure_count; k++) {
            found += strcmp(rls->closure[k]->name, expected[i]) == 0;
        }
    }
    cr_assert_eq(found, 6);
}

/* Every method that protoc-c compiled is a symbol of its service's file and is named in its bytes.
 */
static void check_method(const struct qd_reflect_file *file,
                         const ProtobufCServiceDescriptor *service,
                         const ProtobufCMethodDescriptor *method)
{
    char symbol[128];

    snprintf(symbol, sizeof(symbol), "%s.%s", service->name, method->name);
    cr_assert_eq(qd_reflect_file_by_symbol(symbol), file, "%s", symbol);
    cr_assert(has_bytes(file, method->name));
    cr_assert_not_null(qd_reflect_file_by_symbol(method->input->name));
    cr_assert_not_null(qd_reflect_file_by_symbol(method->output->name));
}

static void check_service(const ProtobufCServiceDescriptor *service, unsigned methods)
{
    const struct qd_reflect_file *file = qd_reflect_file_by_symbol(service->name);

    cr_assert_not_null(file);
    cr_assert_eq(service->n_methods, methods, "%s", service->name);
    for (unsigned i = 0; i < service->n_methods; i++) {
        check_method(file, service, &service->methods[i]);
    }
}

Test(reflect, I1_I2_I4_services_agree_with_the_compiled_ones)
{
    check_service(&quota__v1__quota_service__descriptor, 5);
    check_service(&quota__v1__usage_service__descriptor, 6);
    check_service(&quota__v1__admin_service__descriptor, 22);
    check_service(&envoy__service__ratelimit__v3__rate_limit_service__descriptor, 1);
    check_service(&grpc__health__v1__health__descriptor, 2);
    check_service(&grpc__reflection__v1__server_reflection__descriptor, 1);
    check_service(&grpc__reflection__v1alpha__server_reflection__descriptor, 1);
}

/* protobuf-c unpacks without a recursion limit: no message that clients send may contain itself.
 * `written`: a message that may, as the node only writes it; NULL for none. */
static void check_depth(const ProtobufCMessageDescriptor *message,
                        const ProtobufCMessageDescriptor *written, unsigned depth)
{
    cr_assert_lt(depth, 8, "%s is recursive or too deep", message->name);
    for (unsigned i = 0; i < message->n_fields && message != written; i++) {
        if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            check_depth(message->fields[i].descriptor, written, depth + 1);
        }
    }
}

Test(reflect, X2_no_message_of_a_call_is_recursive)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        &quota__v1__quota_service__descriptor,
        &quota__v1__usage_service__descriptor,
        &quota__v1__admin_service__descriptor,
        &envoy__service__ratelimit__v3__rate_limit_service__descriptor,
        &grpc__health__v1__health__descriptor,
        &grpc__reflection__v1__server_reflection__descriptor,
        &grpc__reflection__v1alpha__server_reflection__descriptor,
    };

    for (size_t s = 0; s < sizeof(services) / sizeof(services[0]); s++) {
        for (unsigned i = 0; i < services[s]->n_methods; i++) {
            check_depth(services[s]->methods[i].input, NULL, 0);
            check_depth(services[s]->methods[i].output, &google__protobuf__struct__descriptor, 0);
        }
    }
}
