/* The requests that protobuf-c reads: a stranger's bytes as each message of AdminService,
 * UsageService and Health. Read into a bounded arena, as the server does, they are what protobuf-c
 * makes of them anywhere else, or refused; and none can nest without an end, since protobuf-c knows
 * no limit to that.
 *
 * The first byte says which message; the next one, how small the arena is. */
#include "server/rpc/call.h"

#include "grpc/health/v1/health.pb-c.h"
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8

static const ProtobufCMessageDescriptor *const requests[] = {
    &quota__v1__grant_request__descriptor,
    &quota__v1__boost_request__descriptor,
    &quota__v1__checkpoint_request__descriptor,
    &quota__v1__list_reservations_request__descriptor,
    &quota__v1__release_reservation_request__descriptor,
    &quota__v1__verify_ledger_request__descriptor,
    &quota__v1__rebuild_rollups_request__descriptor,
    &quota__v1__get_effective_limits_request__descriptor,
    &quota__v1__reset_counter_request__descriptor,
    &quota__v1__list_counters_request__descriptor,
    &quota__v1__get_status_request__descriptor,
    &quota__v1__drain_request__descriptor,
    &quota__v1__validate_policy_request__descriptor,
    &quota__v1__reload_policy_request__descriptor,
    &quota__v1__put_tenant_request__descriptor,
    &quota__v1__delete_tenant_request__descriptor,
    &quota__v1__set_plan_request__descriptor,
    &quota__v1__block_request__descriptor,
    &quota__v1__list_tenants_request__descriptor,
    &quota__v1__query_usage_request__descriptor,
    &quota__v1__list_ledger_entries_request__descriptor,
    &quota__v1__get_watermark_request__descriptor,
    &quota__v1__correct_usage_request__descriptor,
    &quota__v1__price_unpriced_request__descriptor,
    &quota__v1__watch_events_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
};
#define REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void check_depth(const ProtobufCMessageDescriptor *message, int depth)
{
    assert(depth < DEPTH_MAX);
    for (unsigned i = 0; i < message->n_fields; i++) {
        if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            check_depth(message->fields[i].descriptor, depth + 1);
        }
    }
}

static void *allocate(void *arena, size_t size)
{
    return qd_scratch_take(arena, size);
}

static void release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static uint8_t *packed(const ProtobufCMessage *message, size_t *ret_size)
{
    *ret_size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(*ret_size + 1);
    assert(bytes != NULL);
    assert(protobuf_c_message_pack(message, bytes) == *ret_size);
    return bytes;
}

static void assert_same(const ProtobufCMessage *one, const ProtobufCMessage *other)
{
    size_t size, other_size;
    uint8_t *bytes = packed(one, &size);
    uint8_t *other_bytes = packed(other, &other_size);

    assert(size == other_size && memcmp(bytes, other_bytes, size) == 0);
    free(bytes);
    free(other_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_place place;
    struct qd_error error;

    if (place.arena.memory == NULL) {
        place.arena.memory = aligned_alloc(64, QD_SCRATCH_BYTES);
        place.allocator = (ProtobufCAllocator){allocate, release, &place.arena};
        assert(place.arena.memory != NULL);
        for (size_t i = 0; i < REQUESTS; i++) {
            check_depth(requests[i], 0);
        }
    }
    if (size < 2) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = requests[data[0] % REQUESTS];
    place.arena.size = data[1] == 0 ? QD_SCRATCH_BYTES : (size_t)data[1] * 16;
    place.arena.used = 0;
    ProtobufCMessage *wanted = protobuf_c_message_unpack(type, NULL, size - 2, data + 2);
    struct qd_str bytes = {(const char *)data + 2, size - 2};
    ProtobufCMessage *got = qd_place_unpack(&place, type, bytes, &error);
    assert(place.arena.used <= place.arena.size);
    assert(got == NULL || wanted != NULL);
    if (got != NULL) {
        assert_same(got, wanted);
    } else {
        assert(error.code == QD_ERROR_MALFORMED);
        assert(wanted == NULL || data[1] != 0 || size > 4096); /* the arena has room for these */
    }
    if (wanted != NULL) {
        protobuf_c_message_free_unpacked(wanted, NULL);
    }
    return 0;
}
