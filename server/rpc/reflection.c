/* grpc.reflection v1 and v1alpha: clients without our .proto files find them here (I4). Both
 * versions have the same messages under other names, so one handler serves both, on the wire's
 * level:
 *
 * ServerReflectionRequest  {1: host, 3: file_by_filename, 4: file_containing_symbol, 5:
 * file_containing_extension, 6: all_extension_numbers_of_type, 7: list_services}
 * ServerReflectionResponse {1: valid_host, 2: original_request, 4: FileDescriptorResponse {1:
 * repeated bytes}, 6: ListServiceResponse {1: repeated ServiceResponse {1: name}}, 7: ErrorResponse
 * {1: code, 2: message}} */
#include "proto/reflect.h"
#include "server/rpc/call.h"

enum {
    BY_FILENAME = 3,
    BY_SYMBOL = 4,
    BY_EXTENSION = 5,
    EXTENSIONS_OF = 6,
    LIST_SERVICES = 7
};

static void put_error(struct qd_out *out, enum qd_status status, const char *what,
                      struct qd_str name)
{
    uint8_t *message = qd_out_begin(out, 7);
    char text[QD_QUOTED_MAX + 64];
    size_t len = 0;
    struct qd_quoted quoted = qd_quote(name);

    for (const char *p = what; *p != '\0' && len < 60; p++) {
        text[len++] = *p;
    }
    for (const char *p = quoted.text; *p != '\0'; p++) {
        text[len++] = *p;
    }
    qd_out_number(out, 1, (uint64_t)status);
    qd_out_str(out, 2, (struct qd_str){text, len});
    qd_out_end(out, message);
}

static void put_file(struct qd_out *out, const struct qd_reflect_file *file)
{
    uint8_t *message = qd_out_begin(out, 4);

    for (size_t i = 0; i < file->closure_count; i++) {
        qd_out_bytes(out, 1, file->closure[i]->bytes, file->closure[i]->size);
    }
    qd_out_end(out, message);
}

static void put_services(struct qd_out *out)
{
    size_t count = 0;
    const char *const *services = qd_reflect_services(&count);
    uint8_t *message = qd_out_begin(out, 6);

    for (size_t i = 0; i < count; i++) {
        uint8_t *service = qd_out_begin(out, 1);
        qd_out_text(out, 1, services[i]);
        qd_out_end(out, service);
    }
    qd_out_end(out, message);
}

static enum qd_error_code reflect(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                  struct qd_error *ret_error)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;
    struct qd_wire_field asked = {.id = 0};
    struct qd_str host = {NULL, 0};
    struct qd_out *out = &place->out;
    bool malformed = false;

    (void)call;
    while (qd_wire_next(&w, &f)) {
        bool known = f.id == 1 || (f.id >= BY_FILENAME && f.id <= LIST_SERVICES);
        malformed = malformed || (known && f.type != QD_WIRE_BYTES);
        if (f.id == 1) {
            host = f.bytes;
        } else if (known) {
            asked = f;
        }
    }
    if (w.failed || malformed) {
        return qd_error_set(ret_error, QD_ERROR_MALFORMED, "not a ServerReflectionRequest message");
    }
    qd_out_str(out, 1, host);
    qd_out_bytes(out, 2, bytes.ptr, bytes.len);
    const char *name = qd_scratch_text(&place->arena, asked.bytes);
    const struct qd_reflect_file *file = asked.id == BY_FILENAME ? qd_reflect_file_by_name(name)
                                         : asked.id == BY_SYMBOL ? qd_reflect_file_by_symbol(name)
                                                                 : NULL;
    if (file != NULL) {
        put_file(out, file);
    } else if (asked.id == LIST_SERVICES) {
        put_services(out);
    } else if (asked.id == BY_FILENAME) {
        put_error(out, QD_STATUS_NOT_FOUND, "no such file: ", asked.bytes);
    } else if (asked.id == BY_SYMBOL) {
        put_error(out, QD_STATUS_NOT_FOUND, "no such symbol: ", asked.bytes);
    } else {
        put_error(out, QD_STATUS_NOT_FOUND, "no extensions here: ", asked.bytes);
    }
    return QD_ERROR_NONE;
}

const struct qd_method qd_reflection_methods[] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", QD_METHOD_STREAM, 2, reflect,
     NULL, QD_ROLES_ALL, QD_BOUND_FREE},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", QD_METHOD_STREAM, 2, reflect,
     NULL, QD_ROLES_ALL, QD_BOUND_FREE},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED},
};
