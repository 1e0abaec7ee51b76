#include "server/rpc/rls_json.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "server/rpc/rls_codec.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

/* --- reading --- */

/* Where the reader is: a chain from the innermost field to the outermost, for messages. */
struct at {
    const struct at *above;
    const char *name; /* NULL: an item of the list above */
    size_t index;
};

struct reader {
    struct qd_out *out;
    struct qd_error *error;
};

struct field {
    const char *camel;
    const char *snake;
    uint32_t id;
    bool (*read)(struct reader *r, const struct at *at, struct json_object *value, uint32_t id);
};

#define PATH_MAX_BYTES 128

static size_t write_path(const struct at *at, char *path)
{
    if (at == NULL) {
        path[0] = '\0';
        return 0;
    }
    size_t len = write_path(at->above, path);
    int more = at->name != NULL ? snprintf(path + len, PATH_MAX_BYTES - len, "%s%s",
                                           len > 0 ? "." : "", at->name)
                                : snprintf(path + len, PATH_MAX_BYTES - len, "[%zu]", at->index);
    len += (size_t)more;
    return len < PATH_MAX_BYTES ? len : PATH_MAX_BYTES - 1;
}

/* False, for its caller to return. */
static bool refuse(struct reader *r, const struct at *at, const char *wanted)
{
    char path[PATH_MAX_BYTES];
    size_t len = write_path(at, path);

    (void)qd_error_set(r->error, QD_ERROR_INVALID_FIELD, "%s%s%s", path, len > 0 ? ": " : "",
                       wanted);
    return false;
}

static bool refuse_key(struct reader *r, const struct at *at, const char *key, const char *why)
{
    char text[160];

    (void)snprintf(text, sizeof(text), "%s %s", qd_quote((struct qd_str){key, strlen(key)}).text,
                   why);
    return refuse(r, at, text);
}

static const struct field *field_of(const struct field *fields, const char *key)
{
    for (; fields->camel != NULL; fields++) {
        if (strcmp(key, fields->camel) == 0 || strcmp(key, fields->snake) == 0) {
            return fields;
        }
    }
    return NULL;
}

/* The fields of a message, into the message that is open. */
static bool read_message(struct reader *r, const struct at *at, struct json_object *value,
                         const struct field *fields)
{
    if (json_object_get_type(value) != json_type_object) {
        return refuse(r, at, "a map of fields is expected");
    }
    uint32_t seen = 0;
    struct json_object_iterator i = json_object_iter_begin(value);
    struct json_object_iterator end = json_object_iter_end(value);
    for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i)) {
        const char *key = json_object_iter_peek_name(&i);
        struct json_object *inner = json_object_iter_peek_value(&i);
        const struct field *field = field_of(fields, key);
        if (field == NULL) {
            return refuse_key(r, at, key, "is no field of it");
        }
        if ((seen >> field->id & 1) != 0) {
            return refuse_key(r, at, key, "is given by both of its names");
        }
        seen |= 1U << field->id;
        struct at inside = {at, field->camel, 0};
        if (inner != NULL && !field->read(r, &inside, inner, field->id)) {
            return false;
        }
    }
    return true;
}

static bool put_message(struct reader *r, const struct at *at, struct json_object *value,
                        uint32_t id, const struct field *fields)
{
    uint8_t *message = qd_out_begin(r->out, id);
    bool read = read_message(r, at, value, fields);

    qd_out_end(r->out, message);
    return read;
}

static bool put_list(struct reader *r, const struct at *at, struct json_object *value, uint32_t id,
                     const struct field *fields)
{
    if (json_object_get_type(value) != json_type_array) {
        return refuse(r, at, "a list is expected");
    }
    size_t count = json_object_array_length(value);
    for (size_t i = 0; i < count; i++) {
        struct at inside = {at, NULL, i};
        if (!put_message(r, &inside, json_object_array_get_idx(value, i), id, fields)) {
            return false;
        }
    }
    return true;
}

static bool read_text(struct reader *r, const struct at *at, struct json_object *value, uint32_t id)
{
    if (json_object_get_type(value) != json_type_string) {
        return refuse(r, at, "a text is expected");
    }
    int len = json_object_get_string_len(value);
    qd_out_str(r->out, id, (struct qd_str){json_object_get_string(value), (size_t)len});
    return true;
}

/* A double that is a whole number of 0..2^64-1. */
static bool whole_of(double number, uint64_t *ret_number)
{
    if (!(number >= 0 && number < 18446744073709551616.0)) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return (double)*ret_number == number;
}

/* The digits of a JSON number: "5", "1e3", "1.0"; no blanks, no sign, no hexadecimal. */
static bool number_of_text(const char *text, size_t len, uint64_t *ret_number)
{
    char *end;

    if (len == 0 || strspn(text, "0123456789.eE+-") != len || text[0] < '0' || text[0] > '9' ||
        (text[0] == '0' && text[1] >= '0' && text[1] <= '9')) {
        return false;
    }
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    if (*end == '\0') {
        return errno == 0;
    }
    double number = strtod(text, &end);
    return *end == '\0' && whole_of(number, ret_number);
}

static bool number_of(struct json_object *value, uint64_t *ret_number)
{
    switch (json_object_get_type(value)) {
    case json_type_int:
        *ret_number = json_object_get_uint64(value);
        return json_object_get_int64(value) >= 0; /* those above 2^63 are its largest */
    case json_type_double:
        return whole_of(json_object_get_double(value), ret_number);
    case json_type_string:
        return number_of_text(json_object_get_string(value),
                              (size_t)json_object_get_string_len(value), ret_number);
    case json_type_null:
    case json_type_boolean:
    case json_type_object:
    case json_type_array:
        break;
    }
    return false;
}

static bool read_uint32(struct reader *r, const struct at *at, struct json_object *value,
                        uint32_t id)
{
    uint64_t number;

    if (!number_of(value, &number) || number > UINT32_MAX) {
        return refuse(r, at, "a whole number of 0..4294967295 is expected");
    }
    qd_out_number(r->out, id, number);
    return true;
}

/* google.protobuf.UInt64Value: its number stands for it. */
static bool read_wrapper(struct reader *r, const struct at *at, struct json_object *value,
                         uint32_t id)
{
    uint64_t number;

    if (!number_of(value, &number)) {
        return refuse(r, at, "a whole number of 0..18446744073709551615 is expected");
    }
    uint8_t *message = qd_out_begin(r->out, id);
    qd_out_number(r->out, 1, number);
    qd_out_end(r->out, message);
    return true;
}

static bool read_bool(struct reader *r, const struct at *at, struct json_object *value, uint32_t id)
{
    if (json_object_get_type(value) != json_type_boolean) {
        return refuse(r, at, "true or false is expected");
    }
    qd_out_number(r->out, id, json_object_get_boolean(value) != 0);
    return true;
}

/* envoy.type.v3.RateLimitUnit, which has no week: by name or by any number. */
static bool read_unit(struct reader *r, const struct at *at, struct json_object *value, uint32_t id)
{
    const char *name;
    uint64_t number = 0;

    if (json_object_get_type(value) != json_type_string) {
        if (!number_of(value, &number) || number > INT32_MAX) {
            return refuse(r, at, "a unit of time is expected");
        }
        qd_out_number(r->out, id, number);
        return true;
    }
    for (uint32_t i = 0; (name = qd_rls_override_unit(i)) != NULL; i++) {
        if (strcmp(json_object_get_string(value), name) == 0) {
            qd_out_number(r->out, id, i);
            return true;
        }
    }
    return refuse(r, at, "SECOND, MINUTE, HOUR, DAY, MONTH or YEAR is expected");
}

static bool read_entries(struct reader *r, const struct at *at, struct json_object *value,
                         uint32_t id)
{
    static const struct field fields[] = {
        {"key", "key", 1, read_text}, {"value", "value", 2, read_text}, {NULL, NULL, 0, NULL}};

    return put_list(r, at, value, id, fields);
}

static bool read_limit(struct reader *r, const struct at *at, struct json_object *value,
                       uint32_t id)
{
    static const struct field fields[] = {{"requestsPerUnit", "requests_per_unit", 1, read_uint32},
                                          {"unit", "unit", 2, read_unit},
                                          {NULL, NULL, 0, NULL}};

    return put_message(r, at, value, id, fields);
}

static bool read_descriptors(struct reader *r, const struct at *at, struct json_object *value,
                             uint32_t id)
{
    static const struct field fields[] = {{"entries", "entries", 1, read_entries},
                                          {"limit", "limit", 2, read_limit},
                                          {"hitsAddend", "hits_addend", 3, read_wrapper},
                                          {"isNegativeHits", "is_negative_hits", 4, read_bool},
                                          {NULL, NULL, 0, NULL}};

    return put_list(r, at, value, id, fields);
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The one value that the text is; NULL with *ret_error. */
static struct json_object *parse(struct qd_str json, struct qd_error *ret_error)
{
    struct json_tokener *tokener = json_tokener_new_ex(QD_RLS_JSON_DEPTH_MAX);

    if (tokener == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_OVERLOADED, "out of memory");
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
                                        JSON_TOKENER_ALLOW_TRAILING_CHARS);
    struct json_object *value =
        json.len <= INT32_MAX ? json_tokener_parse_ex(tokener, json.ptr, (int)json.len) : NULL;
    enum json_tokener_error error = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    /* Only a map ends by itself; anything else is refused later. */
    if (value != NULL && error == json_tokener_success && end <= json.len &&
        is_blank(json.ptr + end, json.len - end)) {
        return value;
    }
    json_object_put(value);
    (void)qd_error_set(ret_error, QD_ERROR_MALFORMED, "not one JSON map: %s at byte %zu",
                       error == json_tokener_success || error == json_tokener_continue
                           ? "it ends elsewhere"
                           : json_tokener_error_desc(error),
                       end);
    return NULL;
}

enum qd_error_code qd_rls_json_read(struct qd_str json, struct qd_out *out,
                                    struct qd_error *ret_error)
{
    static const struct field fields[] = {{"domain", "domain", 1, read_text},
                                          {"descriptors", "descriptors", 2, read_descriptors},
                                          {"hitsAddend", "hits_addend", 3, read_uint32},
                                          {NULL, NULL, 0, NULL}};
    struct reader r = {out, ret_error};
    struct json_object *value = parse(json, ret_error);

    if (value == NULL) {
        return ret_error->code;
    }
    bool read = read_message(&r, NULL, value, fields);
    json_object_put(value);
    if (!read) {
        return ret_error->code;
    }
    if (out->full) {
        return qd_error_set(ret_error, QD_ERROR_MESSAGE_TOO_LARGE, "the request is too large");
    }
    return QD_ERROR_NONE;
}

/* --- writing --- */

typedef Envoy__Service__Ratelimit__V3__RateLimitResponse response_message;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse__DescriptorStatus status_message;

static void add(struct json_object *map, const char *key, struct json_object *value)
{
    (void)json_object_object_add(map, key, value);
}

/* As proto3 has it, what is 0 or empty is left out. */
static void add_number(struct json_object *map, const char *key, uint32_t number)
{
    if (number != 0) {
        add(map, key, json_object_new_int64(number));
    }
}

static void add_text(struct json_object *map, const char *key, const char *text)
{
    if (text[0] != '\0') {
        add(map, key, json_object_new_string(text));
    }
}

/* An enum by its name; a number that has none stays one. */
static void add_enum(struct json_object *map, const char *key, const ProtobufCEnumDescriptor *type,
                     int number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);

    if (number != 0) {
        add(map, key,
            value != NULL ? json_object_new_string(value->name) : json_object_new_int(number));
    }
}

/* The shortest text that is read as the same number; a whole one has no point. */
static struct json_object *json_of_double(double number)
{
    char text[32];

    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    return json_object_new_double_s(number, text);
}

static struct json_object *json_of_struct(const Google__Protobuf__Struct *fields);

static struct json_object *json_of_value(const Google__Protobuf__Value *value)
{
    struct json_object *list;

    switch ((int)value->kind_case) { /* protobuf-c's has one more value for the compiler */
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return json_object_new_boolean(value->bool_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return json_of_double(value->number_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return json_object_new_string(value->string_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return json_of_struct(value->struct_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        list = json_object_new_array();
        for (size_t i = 0; list != NULL && i < value->list_value->n_values; i++) {
            (void)json_object_array_add(list, json_of_value(value->list_value->values[i]));
        }
        return list;
    default:
        return NULL; /* json-c's null */
    }
}

static struct json_object *json_of_struct(const Google__Protobuf__Struct *fields)
{
    struct json_object *map = json_object_new_object();

    for (size_t i = 0; map != NULL && i < fields->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *field = fields->fields[i];
        add(map, field->key, field->value != NULL ? json_of_value(field->value) : NULL);
    }
    return map;
}

static struct json_object *json_of_status(const status_message *status)
{
    struct json_object *map = json_object_new_object();
    char seconds[32];

    if (map == NULL) {
        return NULL;
    }
    add_enum(map, "code", &envoy__service__ratelimit__v3__rate_limit_response__code__descriptor,
             (int)status->code);
    if (status->current_limit != NULL) {
        struct json_object *limit = json_object_new_object();
        add_number(limit, "requestsPerUnit", status->current_limit->requests_per_unit);
        add_enum(limit, "unit",
                 &envoy__service__ratelimit__v3__rate_limit_response__rate_limit__unit__descriptor,
                 (int)status->current_limit->unit);
        add_text(limit, "name", status->current_limit->name);
        add(map, "currentLimit", limit);
    }
    add_number(map, "limitRemaining", status->limit_remaining);
    if (status->duration_until_reset != NULL) { /* whole seconds */
        (void)snprintf(seconds, sizeof(seconds), "%llds",
                       (long long)status->duration_until_reset->seconds);
        add(map, "durationUntilReset", json_object_new_string(seconds));
    }
    return map;
}

static struct json_object *json_of_headers(const response_message *m)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; list != NULL && i < m->n_response_headers_to_add; i++) {
        struct json_object *header = json_object_new_object();
        add_text(header, "key", m->response_headers_to_add[i]->key);
        add_text(header, "value", m->response_headers_to_add[i]->value);
        (void)json_object_array_add(list, header);
    }
    return list;
}

/* What this server never sends is not written: request headers, raw_body. */
static struct json_object *json_of_answer(const response_message *m)
{
    struct json_object *map = json_object_new_object();
    struct json_object *statuses = json_object_new_array();

    if (map == NULL || statuses == NULL) {
        json_object_put(map);
        json_object_put(statuses);
        return NULL;
    }
    add_enum(map, "overallCode",
             &envoy__service__ratelimit__v3__rate_limit_response__code__descriptor,
             (int)m->overall_code);
    for (size_t i = 0; i < m->n_statuses; i++) {
        (void)json_object_array_add(statuses, json_of_status(m->statuses[i]));
    }
    add(map, "statuses", statuses);
    if (m->n_response_headers_to_add > 0) {
        add(map, "responseHeadersToAdd", json_of_headers(m));
    }
    if (m->dynamic_metadata != NULL) {
        add(map, "dynamicMetadata", json_of_struct(m->dynamic_metadata));
    }
    return map;
}

struct qd_rls_json_answer qd_rls_json_write(struct qd_str bytes, ProtobufCAllocator *allocator)
{
    struct qd_rls_json_answer answer = {NULL, 0, 0};
    response_message *m = envoy__service__ratelimit__v3__rate_limit_response__unpack(
        allocator, bytes.len, (const uint8_t *)bytes.ptr);
    struct json_object *map = m != NULL ? json_of_answer(m) : NULL;

    if (map != NULL) {
        size_t len;
        const char *text = json_object_to_json_string_length(
            map, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
        answer.text = text != NULL ? strndup(text, len) : NULL;
        answer.len = answer.text != NULL ? len : 0;
        answer.overall_code = (uint32_t)m->overall_code;
    }
    json_object_put(map);
    if (m != NULL) {
        envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, allocator);
    }
    return answer;
}
