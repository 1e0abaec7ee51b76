#include "client/ctl/rpc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void *ctl_call_quiet(struct ctl *ctl, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *answer_type, bool repeat,
                     struct quota_error *ret_error)
{
    struct quota_client *client = ctl_client(ctl);
    *ret_error = (struct quota_error){.status = QUOTA_INTERNAL};
    if (client == NULL) {
        return NULL;
    }
    char path[128];
    (void)snprintf(path, sizeof path, "/quota.v1.%s", method);
    size_t size = protobuf_c_message_get_packed_size(request);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL) {
        (void)snprintf(ret_error->message, sizeof ret_error->message, "out of memory");
        return NULL;
    }
    (void)protobuf_c_message_pack(request, bytes);
    struct quota_call call = {.timeout_ms = ctl->timeout_ms, .tries_max = repeat ? 3 : 1};
    struct quota_bytes reply;
    enum quota_status status = quota_client_invoke(client, path, bytes, size, &call, &reply);
    void *message = NULL;
    *ret_error = reply.error;
    if (status == QUOTA_OK) {
        message = protobuf_c_message_unpack(answer_type, NULL, reply.size, reply.data);
        if (message == NULL) {
            ret_error->status = QUOTA_INTERNAL;
            (void)snprintf(ret_error->message, sizeof ret_error->message,
                           "the answer is not a %s; compare the versions", answer_type->name);
        }
    }
    free(bytes);
    quota_bytes_release(&reply);
    return message;
}

void *ctl_call(struct ctl *ctl, const char *method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *answer_type, bool repeat)
{
    struct quota_error error;
    void *message = ctl_call_quiet(ctl, method, request, answer_type, repeat, &error);
    if (message == NULL && error.message[0] != '\0') {
        (void)ctl_fail_call(ctl, &error);
    }
    return message;
}

struct quota_follow *ctl_follow(struct ctl *ctl, const char *method,
                                const ProtobufCMessage *request)
{
    struct quota_client *client = ctl_client(ctl);
    struct quota_follow *follow = NULL;
    struct quota_error error;
    char path[128];
    if (client == NULL) {
        return NULL;
    }
    (void)snprintf(path, sizeof path, "/quota.v1.%s", method);
    size_t size = protobuf_c_message_get_packed_size(request);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL) {
        (void)ctl_fail(ctl, "out of memory");
        return NULL;
    }
    (void)protobuf_c_message_pack(request, bytes);
    if (quota_follow_new(client, path, bytes, size, ctl->timeout_ms, &error, &follow) != QUOTA_OK) {
        (void)ctl_fail_call(ctl, &error);
    }
    free(bytes);
    return follow;
}

void ctl_free(void *message)
{
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

char *ctl_wire(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text != NULL ? text : protobuf_c_empty_string};
    return cast.out;
}

/* ---- enums */

/* "VERDICT_ALLOWED" of "quota.v1.Verdict" -> "ALLOWED": the prefix is the type's name in capitals.
 */
static const char *without_prefix(const ProtobufCEnumDescriptor *type, const char *name)
{
    char prefix[64];
    size_t at = 0;
    for (const char *c = type->short_name; *c != '\0' && at + 3 < sizeof prefix; c++) {
        if (isupper((unsigned char)*c) && c != type->short_name) {
            prefix[at++] = '_';
        }
        prefix[at++] = (char)toupper((unsigned char)*c);
    }
    prefix[at++] = '_';
    return strncmp(name, prefix, at) == 0 ? name + at : name;
}

const char *ctl_enum_word(const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(type, value);
    return found != NULL ? without_prefix(type, found->name) : "UNKNOWN";
}

const char *ctl_enum_words(const ProtobufCEnumDescriptor *type, int value, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s", ctl_enum_word(type, value));
    for (char *c = ret; *c != '\0'; c++) {
        *c = *c == '_' ? ' ' : (char)tolower((unsigned char)*c);
    }
    return ret;
}

/* ---- JSON, by the descriptors. Our messages do not recurse. */

static struct json_object *json_value(const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_object_new_int64(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_object_new_int64(*(const int64_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_object_new_int64(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_object_new_uint64(*(const uint64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_object_new_double((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_object_new_double(*(const double *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return json_object_new_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM:
        return json_object_new_string(ctl_enum_word(field->descriptor, *(const int *)at));
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(char *const *)at;
        return json_object_new_string(text != NULL ? text : "");
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *message = *(ProtobufCMessage *const *)at;
        return message != NULL ? ctl_json_message(message) : NULL;
    }
    case PROTOBUF_C_TYPE_BYTES:
        break;
    }
    return NULL; /* quota.v1 has no bytes */
}

static size_t value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return 4;
}

struct json_object *ctl_json_message(const ProtobufCMessage *message)
{
    struct json_object *object = json_object_new_object();
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const char *base = (const char *)message;
        const void *at = base + field->offset;
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            if (*(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id) {
                json_object_object_add(object, field->name, json_value(field, at));
            }
        } else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
            const char *items = *(char *const *)at;
            struct json_object *array = json_object_new_array();
            for (size_t k = 0; k < count; k++) {
                json_object_array_add(array,
                                      json_value(field, items + k * value_size(field->type)));
            }
            json_object_object_add(object, field->name, array);
        } else {
            json_object_object_add(object, field->name, json_value(field, at));
        }
    }
    return object;
}

int ctl_json_print(struct ctl *ctl, struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    (void)fprintf(ctl->out, "%s\n", text);
    json_object_put(object);
    return CTL_OK;
}

void ctl_json_print_line(struct ctl *ctl, const ProtobufCMessage *message)
{
    struct json_object *object = ctl_json_message(message);
    (void)fprintf(ctl->out, "%s\n",
                  json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)fflush(ctl->out);
    json_object_put(object);
}

int ctl_json_print_message(struct ctl *ctl, const ProtobufCMessage *message)
{
    return ctl_json_print(ctl, ctl_json_message(message));
}

int ctl_show(struct ctl *ctl, void *answer, ctl_people people, const void *context)
{
    if (answer == NULL) {
        return CTL_ERROR;
    }
    if (ctl->json) {
        (void)ctl_json_print_message(ctl, answer);
    } else {
        people(ctl, answer, context);
    }
    ctl_free(answer);
    return CTL_OK;
}
