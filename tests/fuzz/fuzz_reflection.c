/* What a stranger asks the reflection service: always an answer of protobuf, or MALFORMED. */
#include "server/rpc/call.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void ask(struct qd_place *place, const uint8_t *data, size_t size)
{
    struct qd_str bytes = {(const char *)data, size};
    struct qd_error error;

    qd_place_clear(place);
    enum qd_error_code code = qd_reflection_methods[0].handle(place, NULL, bytes, &error);
    Grpc__Reflection__V1__ServerReflectionRequest *m =
        grpc__reflection__v1__server_reflection_request__unpack(NULL, size, data);
    if (code != QD_ERROR_NONE) {
        assert(code == QD_ERROR_MALFORMED);
    } else {
        assert(!place->out.full);
        Grpc__Reflection__V1__ServerReflectionResponse *answer =
            grpc__reflection__v1__server_reflection_response__unpack(NULL, qd_out_used(&place->out),
                                                                     place->out.begin);
        assert(answer != NULL || m == NULL); /* it repeats the question, however that was */
        assert(m == NULL || strcmp(answer->valid_host, m->host) == 0);
        if (answer != NULL) {
            assert(answer->message_response_case !=
                   GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE__NOT_SET);
            grpc__reflection__v1__server_reflection_response__free_unpacked(answer, NULL);
        }
    }
    if (m != NULL) {
        grpc__reflection__v1__server_reflection_request__free_unpacked(m, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_place place;

    if (place.out_memory == NULL) { /* no node: this service asks none */
        place.out_memory = malloc(QD_OUT_BYTES);
        place.arena.memory = malloc(QD_SCRATCH_BYTES);
        place.arena.size = QD_SCRATCH_BYTES;
        assert(place.out_memory != NULL && place.arena.memory != NULL);
    }
    if (size <= QD_MESSAGE_BYTES_MAX) {
        ask(&place, data, size);
    }
    return 0;
}
