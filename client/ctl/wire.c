#include "client/ctl/wire.h"

#include "client/ctl/rpc.h"

#include <assert.h>
#include <stdlib.h>

enum {
    VARINT = 0,
    FIXED64 = 1,
    BYTES = 2,
    FIXED32 = 5,
    WORDS_MAX = 16
};

/* How a field is printed. */
enum kind {
    KIND_NONE, /* no such field */
    KIND_SIGNED,
    KIND_SIGNED32,
    KIND_UNSIGNED,
    KIND_UNSIGNED32,
    KIND_BOOL,
    KIND_ENUM,
    KIND_TEXT,
    KIND_TEXTS,
    KIND_MESSAGES,
};

struct field {
    enum kind kind;
    char key[64]; /* "name": */
    size_t key_size;
    const char *words[WORDS_MAX]; /* of an enum's values */
    const ProtobufCEnumDescriptor *type;
    struct ctl_plan *inner; /* of a message */
};

struct ctl_plan {
    uint32_t ids[CTL_PLAN_FIELDS_MAX]; /* in the descriptor's order */
    uint32_t count;
    struct field fields[CTL_PLAN_FIELDS_MAX + 1]; /* by id */
};

/* --- plans --- */

static enum kind kind_of(const ProtobufCFieldDescriptor *field)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        return KIND_SIGNED32;
    case PROTOBUF_C_TYPE_INT64:
        return KIND_SIGNED;
    case PROTOBUF_C_TYPE_UINT32:
        return KIND_UNSIGNED32;
    case PROTOBUF_C_TYPE_UINT64:
        return KIND_UNSIGNED;
    case PROTOBUF_C_TYPE_BOOL:
        return KIND_BOOL;
    case PROTOBUF_C_TYPE_ENUM:
        return KIND_ENUM;
    case PROTOBUF_C_TYPE_STRING:
        return repeated ? KIND_TEXTS : KIND_TEXT;
    case PROTOBUF_C_TYPE_MESSAGE:
        return repeated ? KIND_MESSAGES : KIND_NONE;
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_BYTES:
        break;
    }
    return KIND_NONE;
}

static bool add_field(struct ctl_plan *plan, const ProtobufCFieldDescriptor *descriptor)
{
    struct field *field = &plan->fields[descriptor->id];
    field->kind = kind_of(descriptor);
    assert(field->kind != KIND_NONE); /* what the header says that a type may have */
    int size = snprintf(field->key, sizeof field->key, "\"%s\":", descriptor->name);
    assert(size > 0 && (size_t)size < sizeof field->key);
    field->key_size = (size_t)size;
    plan->ids[plan->count++] = descriptor->id;
    if (field->kind == KIND_ENUM) {
        field->type = descriptor->descriptor;
        for (int i = 0; i < WORDS_MAX; i++) {
            field->words[i] = ctl_enum_word(field->type, i);
        }
    }
    if (field->kind == KIND_MESSAGES) {
        field->inner = ctl_plan_new(descriptor->descriptor);
    }
    return field->kind != KIND_MESSAGES || field->inner != NULL;
}

struct ctl_plan *ctl_plan_new(const ProtobufCMessageDescriptor *type)
{
    struct ctl_plan *plan = calloc(1, sizeof *plan);
    bool made = plan != NULL;
    for (unsigned i = 0; made && i < type->n_fields; i++) {
        assert(type->fields[i].id <= CTL_PLAN_FIELDS_MAX && i < CTL_PLAN_FIELDS_MAX);
        made = add_field(plan, &type->fields[i]);
    }
    if (!made) {
        ctl_plan_free(plan);
        return NULL;
    }
    return plan;
}

void ctl_plan_free(struct ctl_plan *plan)
{
    for (uint32_t i = 0; plan != NULL && i < plan->count; i++) {
        ctl_plan_free(plan->fields[plan->ids[i]].inner);
    }
    free(plan);
}

const struct ctl_plan *ctl_plan_inner(const struct ctl_plan *plan, uint32_t id)
{
    return plan->fields[id].inner;
}

const char *ctl_plan_word(const struct ctl_plan *plan, uint32_t id, uint64_t number)
{
    const struct field *field = &plan->fields[id];
    return number < WORDS_MAX ? field->words[number] : ctl_enum_word(field->type, (int)number);
}

/* --- reading --- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static bool read_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

struct item {
    uint32_t id;
    uint32_t type;
    uint64_t number;
    const char *bytes;
};

/* The next field: its number, or the length of its bytes. False at the end and when malformed. */
static bool read_item(struct reader *r, struct item *ret)
{
    uint64_t tag = 0;
    if (r->at == r->end || !read_varint(r, &tag) || tag >> 3 == 0 || tag >> 32 != 0) {
        return false;
    }
    ret->id = (uint32_t)(tag >> 3);
    ret->type = (uint32_t)(tag & 7);
    ret->number = 0;
    uint64_t skip = 0;
    if (ret->type == VARINT || ret->type == BYTES) {
        if (!read_varint(r, &ret->number)) {
            return false;
        }
        skip = ret->type == BYTES ? ret->number : 0;
    } else if (ret->type == FIXED64 || ret->type == FIXED32) {
        skip = ret->type == FIXED64 ? 8 : 4;
    } else { /* groups are long gone */
        return false;
    }
    if (skip > (uint64_t)(r->end - r->at)) {
        return false;
    }
    ret->bytes = (const char *)r->at;
    r->at += skip;
    return true;
}

static bool keep(const struct field *field, const struct item *item, const uint8_t *tag,
                 struct ctl_value *value)
{
    bool bytes = field->kind >= KIND_TEXT;
    if (item->type != (bytes ? BYTES : VARINT)) {
        return false;
    }
    if (!bytes) {
        value->number = item->number;
        return true;
    }
    value->bytes = item->bytes;
    value->size = (size_t)item->number;
    if (value->count++ == 0) {
        value->first = tag;
    }
    return true;
}

bool ctl_wire_read(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_value values[CTL_PLAN_FIELDS_MAX + 1])
{
    bytes = size > 0 ? bytes : "";
    struct reader reader = {(const uint8_t *)bytes, (const uint8_t *)bytes + size};
    struct item item;
    for (uint32_t i = 0; i < plan->count; i++) {
        values[plan->ids[i]] = (struct ctl_value){.bytes = ""};
    }
    while (reader.at < reader.end) {
        const uint8_t *tag = reader.at;
        if (!read_item(&reader, &item)) {
            return false;
        }
        if (item.id <= CTL_PLAN_FIELDS_MAX && plan->fields[item.id].kind != KIND_NONE &&
            !keep(&plan->fields[item.id], &item, tag, &values[item.id])) {
            return false;
        }
    }
    return true;
}

bool ctl_wire_next(const struct ctl_value *values, uint32_t id, const uint8_t **at,
                   const char **ret_bytes, size_t *ret_size)
{
    const struct ctl_value *value = &values[id];
    /* The last one's bytes end where reading may end. */
    struct reader reader = {*at != NULL ? *at : value->first,
                            (const uint8_t *)value->bytes + value->size};
    struct item item;
    while (value->count > 0 && read_item(&reader, &item)) {
        if (item.id == id) {
            *at = reader.at;
            *ret_bytes = item.bytes;
            *ret_size = (size_t)item.number;
            return true;
        }
    }
    return false;
}

/* --- printing --- */

/* As json-c has it. A string ends at a NUL, as in C. */
static void put_escaped(struct ctl_sink *sink, const char *text, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "\b\n\r\t\f\"\\";
    static const char escapes[] = "bnrtf\"\\";
    size_t from = 0;
    size_t i = 0;
    ctl_sink_put_char(sink, '"');
    for (; i < size && text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c != '"' && c != '\\') {
            continue;
        }
        ctl_sink_put(sink, text + from, i - from);
        from = i + 1;
        const char *letter = strchr(letters, c);
        if (letter != NULL) {
            ctl_sink_put(sink, (char[]){'\\', escapes[letter - letters]}, 2);
        } else {
            ctl_sink_put(sink, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        }
    }
    ctl_sink_put(sink, text + from, i - from);
    ctl_sink_put_char(sink, '"');
}

static bool put_items(const struct field *field, const struct ctl_value *values, uint32_t id,
                      struct ctl_sink *sink)
{
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    size_t count = 0;
    bool well = true;
    ctl_sink_put_char(sink, '[');
    while (well && ctl_wire_next(values, id, &at, &bytes, &size)) {
        if (count++ > 0) {
            ctl_sink_put_char(sink, ',');
        }
        if (field->kind == KIND_MESSAGES) {
            well = ctl_wire_json(field->inner, bytes, size, sink);
        } else {
            put_escaped(sink, bytes, size);
        }
    }
    ctl_sink_put_char(sink, ']');
    return well;
}

static bool put_value(const struct ctl_plan *plan, uint32_t id, const struct ctl_value *values,
                      struct ctl_sink *sink)
{
    const struct field *field = &plan->fields[id];
    const struct ctl_value *value = &values[id];
    switch (field->kind) {
    case KIND_SIGNED:
        ctl_sink_put_signed(sink, (int64_t)value->number);
        break;
    case KIND_SIGNED32:
        ctl_sink_put_signed(sink, (int32_t)value->number);
        break;
    case KIND_UNSIGNED:
        ctl_sink_put_unsigned(sink, value->number);
        break;
    case KIND_UNSIGNED32:
        ctl_sink_put_unsigned(sink, (uint32_t)value->number);
        break;
    case KIND_BOOL:
        ctl_sink_put_text(sink, value->number != 0 ? "true" : "false");
        break;
    case KIND_ENUM:
        ctl_sink_put_char(sink, '"');
        ctl_sink_put_text(sink, ctl_plan_word(plan, id, value->number));
        ctl_sink_put_char(sink, '"');
        break;
    case KIND_TEXT:
        put_escaped(sink, value->bytes, value->size);
        break;
    case KIND_TEXTS:
    case KIND_MESSAGES:
        return put_items(field, values, id, sink);
    case KIND_NONE:
        break;
    }
    return true;
}

bool ctl_wire_json(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_sink *sink)
{
    struct ctl_value values[CTL_PLAN_FIELDS_MAX + 1];
    bool well = ctl_wire_read(plan, bytes, size, values);
    for (uint32_t i = 0; well && i < plan->count; i++) {
        const struct field *field = &plan->fields[plan->ids[i]];
        ctl_sink_put_char(sink, i == 0 ? '{' : ',');
        ctl_sink_put(sink, field->key, field->key_size);
        well = put_value(plan, plan->ids[i], values, sink);
    }
    ctl_sink_put_char(sink, '}');
    return well;
}
