/* A descriptor set as protoc writes it, and a walk over all that it defines. Build time only.
 *
 * Threads:  one.
 * Memory:   the set owns its files; symbols live for the length of one visit.
 */
#ifndef QD_PROTO_TOOLS_SET_H
#define QD_PROTO_TOOLS_SET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/descriptor.pb-c.h"

#define QD_SET_FILES_MAX 64         /* of one descriptor set */
#define QD_SET_BYTES_MAX (4U << 20) /* of one descriptor set, serialized */
#define QD_SET_NAME_MAX  256        /* of a full name, with its NUL */

struct qd_set_file {
    Qd__Descriptor__File *file;
    const uint8_t *bytes; /* within the set */
    size_t size;
};

struct qd_set {
    Qd__Descriptor__FileSet *raw;
    struct qd_set_file files[QD_SET_FILES_MAX]; /* by name */
    size_t file_count;
};

enum qd_symbol_kind {
    QD_SYMBOL_MESSAGE,
    QD_SYMBOL_FIELD,
    QD_SYMBOL_ONEOF,
    QD_SYMBOL_ENUM,
    QD_SYMBOL_ENUM_VALUE,
    QD_SYMBOL_SERVICE,
    QD_SYMBOL_METHOD,
};

struct qd_symbol {
    enum qd_symbol_kind kind;
    const char *name;  /* full, without a leading dot */
    const char *owner; /* full name of the message, enum or service it belongs to; "" for none */
    size_t file;       /* index into the set's files */
    union {
        const Qd__Descriptor__Message *message; /* for a field its owner as well, see `field` */
        const Qd__Descriptor__Enum *enumeration;
        const Qd__Descriptor__EnumValue *value;
        const Qd__Descriptor__Method *method;
    };
    const Qd__Descriptor__Field *field; /* for QD_SYMBOL_FIELD only, else NULL */
};

typedef void qd_symbol_visit(void *context, const struct qd_symbol *symbol);

/* Reads the set at `path`. Returns 0, or -1 after a sentence on stderr; release it in both cases.
 */
int qd_set_read(struct qd_set *set, const char *path);

void qd_set_release(struct qd_set *set);

/* Index of the file of this name, or file_count. */
size_t qd_set_find(const struct qd_set *set, const char *name);

/* Visits each symbol once, file by file, owners before what they own. */
void qd_set_walk(const struct qd_set *set, qd_symbol_visit *visit, void *context);

#endif /* QD_PROTO_TOOLS_SET_H */
