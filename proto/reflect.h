/* The .proto files that this program serves, for gRPC reflection (I4).
 *
 * Layer:    proto (depends on nothing)
 * Threads:  everything is constant data, built into the program; call from anywhere.
 * Memory:   nothing is allocated; what is returned lives as long as the program.
 *
 * The bytes are protoc's own descriptors without source info, embedded at build time by
 * proto/tools.
 */
#ifndef QD_PROTO_REFLECT_H
#define QD_PROTO_REFLECT_H

#include <stddef.h>
#include <stdint.h>

struct qd_reflect_file {
    const char *name;     /* "quota/v1/quota.proto", as other files import it */
    const uint8_t *bytes; /* a serialized google.protobuf.FileDescriptorProto */
    size_t size;
    /* This file first, then all that it imports, directly or through others, each once: what one
     * answer of the reflection service carries. */
    const struct qd_reflect_file *const *closure;
    size_t closure_count; /* >= 1 */
};

/* The file of this name, or NULL. */
const struct qd_reflect_file *qd_reflect_file_by_name(const char *name);

/* The file that defines a full name without a leading dot, or NULL. Known are services, methods,
 * messages, fields, oneofs, enums and enum values ("quota.v1.VERDICT_ALLOWED": as in C++, a value
 * is a sibling of its enum). */
const struct qd_reflect_file *qd_reflect_file_by_symbol(const char *symbol);

/* Full names of all services, in the order of strcmp. */
const char *const *qd_reflect_services(size_t *ret_count);

/* All files, in the order of strcmp of their names. */
const struct qd_reflect_file *qd_reflect_files(size_t *ret_count);

#endif /* QD_PROTO_REFLECT_H */
