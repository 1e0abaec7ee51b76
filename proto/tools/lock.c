#include "lock.h"

#include <stdbool.h>
#include <string.h>

#define RESERVED_RANGE_MAX 1000 /* numbers in one range: each is a line */
#define LABEL_REPEATED     3

struct context {
    const char *prefix;
    FILE *out;
    bool failed;
};

/* By google.protobuf.FieldDescriptorProto.Type. NULL: the type's own name follows. */
static const char *const type_names[] = {
    NULL,      "double",   "float",    "int64",  "uint64", "int32", "fixed64",
    "fixed32", "bool",     "string",   "group",  NULL,     "bytes", "uint32",
    NULL,      "sfixed32", "sfixed64", "sint32", "sint64",
};

static const char *skip_dot(const char *name)
{
    return *name == '.' ? name + 1 : name;
}

static void write_field(FILE *out, const struct qd_symbol *symbol)
{
    const Qd__Descriptor__Field *field = symbol->field;
    size_t types = sizeof(type_names) / sizeof(type_names[0]);
    size_t type = (size_t)field->type;
    const char *name = type < types ? type_names[type] : NULL;

    fprintf(out, "field %s %d %s %s%s", symbol->owner, field->number, field->name,
            field->label == LABEL_REPEATED ? "repeated:" : "",
            name ? name : skip_dot(field->type_name));
    if (field->oneof_index_presence_case ==
        QD__DESCRIPTOR__FIELD__ONEOF_INDEX_PRESENCE_ONEOF_INDEX) {
        fprintf(out, "@%s", symbol->message->oneof_decl[field->oneof_index]->name);
    }
    fputc('\n', out);
}

/* `end` is exclusive. */
static void write_reserved(struct context *context, const char *owner, int64_t start, int64_t end)
{
    if (end - start > RESERVED_RANGE_MAX) {
        fprintf(stderr, "%s: reserves %lld numbers at once; reserve at most %d\n", owner,
                (long long)(end - start), RESERVED_RANGE_MAX);
        context->failed = true;
        return;
    }
    for (int64_t number = start; number < end; number++) {
        fprintf(context->out, "reserved %s %lld\n", owner, (long long)number);
    }
}

static void write_message(struct context *context, const struct qd_symbol *symbol)
{
    const Qd__Descriptor__Message *message = symbol->message;

    fprintf(context->out, "message %s\n", symbol->name);
    for (size_t i = 0; i < message->n_reserved_range; i++) {
        write_reserved(context, symbol->name, message->reserved_range[i]->start,
                       message->reserved_range[i]->end);
    }
    for (size_t i = 0; i < message->n_reserved_name; i++) {
        fprintf(context->out, "reserved %s %s\n", symbol->name, message->reserved_name[i]);
    }
}

static void write_enum(struct context *context, const struct qd_symbol *symbol)
{
    const Qd__Descriptor__Enum *e = symbol->enumeration;

    fprintf(context->out, "enum %s\n", symbol->name);
    for (size_t i = 0; i < e->n_reserved_range; i++) {
        write_reserved(context, symbol->name, e->reserved_range[i]->start,
                       (int64_t)e->reserved_range[i]->end + 1);
    }
    for (size_t i = 0; i < e->n_reserved_name; i++) {
        fprintf(context->out, "reserved %s %s\n", symbol->name, e->reserved_name[i]);
    }
}

static void write_symbol(void *opaque, const struct qd_symbol *symbol)
{
    struct context *context = opaque;
    const Qd__Descriptor__Method *method = NULL;

    if (strncmp(symbol->name, context->prefix, strlen(context->prefix)) != 0) {
        return;
    }
    switch (symbol->kind) {
    case QD_SYMBOL_MESSAGE:
        write_message(context, symbol);
        break;
    case QD_SYMBOL_FIELD:
        write_field(context->out, symbol);
        break;
    case QD_SYMBOL_ONEOF:
        break; /* named by its fields */
    case QD_SYMBOL_ENUM:
        write_enum(context, symbol);
        break;
    case QD_SYMBOL_ENUM_VALUE:
        fprintf(context->out, "value %s %d %s\n", symbol->owner, symbol->value->number,
                symbol->value->name);
        break;
    case QD_SYMBOL_SERVICE:
        fprintf(context->out, "service %s\n", symbol->name);
        break;
    case QD_SYMBOL_METHOD:
        method = symbol->method;
        fprintf(context->out, "method %s %s %s%s %s%s\n", symbol->owner, method->name,
                method->client_streaming ? "stream:" : "", skip_dot(method->input_type),
                method->server_streaming ? "stream:" : "", skip_dot(method->output_type));
        break;
    }
}

int qd_lock_write(const struct qd_set *set, const char *prefix, FILE *out)
{
    struct context context = {prefix, out, false};

    qd_set_walk(set, write_symbol, &context);
    return context.failed ? -1 : 0;
}
