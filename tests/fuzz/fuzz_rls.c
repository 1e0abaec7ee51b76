/* The hand-written decoder of Envoy's RateLimitRequest against protobuf-c, field by field: what one
 * accepts, the other accepts, and reads the same. But for the reasons of wire_reason.h and the
 * bounds, for which ours alone refuses. And what dynamic metadata tells of a request (point 13). */
#include "server/policy/utf8.h"
#include "server/rpc/rls_codec.h"
#include "server/rpc/rls_metadata.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/wire_reason.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef Envoy__Service__Ratelimit__V3__RateLimitRequest request_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__RateLimitOverride
    override_message;

/* protobuf-c's strings end at a NUL. */
static bool same(struct qd_str a, const char *b)
{
    size_t len = strlen(b);

    return a.len >= len && (len == 0 || memcmp(a.ptr, b, len) == 0) &&
           (a.len == len || a.ptr[len] == '\0');
}

/* --- what ours alone refuses --- */

static bool entry_has_reason(const uint8_t *at, const uint8_t *end)
{
    return wire_has_reason(at, end, (struct wire_schema){.texts = 1U << 1}, NULL);
}

static bool descriptor_has_reason(const uint8_t *at, const uint8_t *end)
{
    static const struct wire_schema entries = {.messages = 1U << 1};
    static const struct wire_schema others = {.bools = 1U << 4, .messages = 1U << 2 | 1U << 3};

    return wire_has_reason(at, end, entries, entry_has_reason) ||
           wire_has_reason(at, end, others, wire_plain_has_reason);
}

static bool is_beyond_bounds(const request_message *m)
{
    bool beyond = m->n_descriptors > QD_RLS_DESCRIPTORS_MAX;

    for (size_t i = 0; i < m->n_descriptors; i++) {
        beyond = beyond || m->descriptors[i]->n_entries > QD_RLS_ENTRIES_MAX;
    }
    return beyond;
}

static bool has_reason(const uint8_t *data, size_t size, const request_message *m)
{
    static const struct wire_schema schema = {.messages = 1U << 2, .texts = 1U << 1};

    return is_beyond_bounds(m) || wire_has_reason(data, data + size, schema, descriptor_has_reason);
}

/* --- what both read --- */

/* A message that came several times is what all its bytes together say. (protobuf-c 1.4 forgets
 * the numbers of all but the last.) Returns the number of parts. */
static size_t joined(struct wire_part message, uint64_t field, uint8_t *buffer, size_t *ret_size)
{
    size_t parts = 0;

    *ret_size = 0;
    for (const uint8_t *at = message.begin; at < message.begin + message.size;) {
        struct wire_part part = wire_part(&at);
        if (part.field == field) {
            memcpy(buffer + *ret_size, part.begin, part.size);
            *ret_size += part.size;
            parts++;
        }
    }
    return parts;
}

static void limit_same(const struct qd_rls_descriptor *d, const descriptor_message *m,
                       struct wire_part bytes, uint8_t *buffer)
{
    size_t size = 0;
    size_t parts = joined(bytes, 2, buffer, &size);
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(
        &envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__rate_limit_override__descriptor,
        NULL, size, buffer);
    const override_message *limit = (const override_message *)unpacked;

    assert(limit != NULL && d->has_limit == (parts > 0) && d->has_limit == (m->limit != NULL));
    assert(d->limit_requests == limit->requests_per_unit);
    assert(d->limit_unit == (uint32_t)limit->unit);
    assert(parts != 1 || (d->limit_requests == m->limit->requests_per_unit &&
                          d->limit_unit == (uint32_t)m->limit->unit));
    protobuf_c_message_free_unpacked(unpacked, NULL);
}

static void hits_same(const struct qd_rls_descriptor *d, const descriptor_message *m,
                      struct wire_part bytes, uint8_t *buffer)
{
    size_t size = 0;
    size_t parts = joined(bytes, 3, buffer, &size);
    Google__Protobuf__UInt64Value *hits =
        google__protobuf__uint64_value__unpack(NULL, size, buffer);

    assert(hits != NULL && d->has_hits == (parts > 0) && d->has_hits == (m->hits_addend != NULL));
    assert(d->hits == hits->value);
    assert(parts != 1 || d->hits == m->hits_addend->value);
    google__protobuf__uint64_value__free_unpacked(hits, NULL);
}

static void descriptor_same(const struct qd_rls_descriptor *d, const descriptor_message *m,
                            struct wire_part bytes, uint8_t *buffer)
{
    assert(d->entry_count == m->n_entries);
    for (size_t i = 0; i < d->entry_count; i++) {
        assert(same(d->entries[i].key, m->entries[i]->key));
        assert(same(d->entries[i].value, m->entries[i]->value));
    }
    assert(d->negative == (m->is_negative_hits != 0));
    limit_same(d, m, bytes, buffer);
    hits_same(d, m, bytes, buffer);
}

static void request_same(const struct qd_rls_request *r, const request_message *m,
                         const uint8_t *data, size_t size)
{
    uint8_t *buffer = malloc(size + 1);
    size_t index = 0;

    assert(buffer != NULL);
    assert(same(r->domain, m->domain) && r->hits_addend == m->hits_addend);
    assert(r->descriptor_count == m->n_descriptors);
    for (const uint8_t *at = data; at < data + size;) {
        struct wire_part part = wire_part(&at);
        if (part.field == 2) {
            descriptor_same(&r->descriptors[index], m->descriptors[index], part, buffer);
            index++;
        }
    }
    assert(index == r->descriptor_count);
    free(buffer);
}

/* --- dynamic metadata --- */

static const Google__Protobuf__Value *field_of(const Google__Protobuf__Struct *fields,
                                               const char *key)
{
    for (size_t i = 0; i < fields->n_fields; i++) {
        if (strcmp(fields->fields[i]->key, key) == 0) {
            return fields->fields[i]->value;
        }
    }
    return NULL;
}

/* Bytes that are no text are told as '?', each; all others as they are. */
static void value_told(const char *told, struct qd_str value)
{
    bool is_text = qd_utf8_valid_prefix(value.ptr, value.len) == value.len;

    for (size_t i = 0; i < value.len && value.ptr[i] != '\0'; i++) {
        bool replaced = !is_text && told[i] == '?' && (value.ptr[i] & 0x80) != 0;
        assert(told[i] == value.ptr[i] || replaced);
    }
    assert(qd_utf8_valid_prefix(told, strlen(told)) == strlen(told));
}

/* A text may have a NUL, where protobuf-c's end: that much is compared. */
static void entry_told(const char *told, const struct qd_rls_entry *entry)
{
    size_t key = strnlen(entry->key.ptr != NULL ? entry->key.ptr : "", entry->key.len);

    assert(key == 0 || memcmp(told, entry->key.ptr, key) == 0);
    if (key == entry->key.len) {
        assert(told[key] == '=');
        value_told(told + key + 1, entry->value);
    }
}

static void descriptor_told(const Google__Protobuf__Value *value, const struct qd_rls_descriptor *d)
{
    assert(value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE);
    const Google__Protobuf__Struct *fields = value->struct_value;
    const Google__Protobuf__ListValue *entries = field_of(fields, "entries")->list_value;
    const Google__Protobuf__Value *hits = field_of(fields, "hitsAddend");

    assert(entries->n_values == d->entry_count);
    for (size_t i = 0; i < d->entry_count; i++) {
        entry_told(entries->values[i]->string_value, &d->entries[i]);
    }
    assert((hits != NULL) == d->has_hits);
    assert(hits == NULL || hits->number_value == (double)d->hits);
    assert((field_of(fields, "limit") != NULL) == d->has_limit);
}

static void metadata_tells(const struct qd_rls_request *r)
{
    static uint8_t bytes[1 << 20];
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof(bytes));
    qd_rls_metadata_put(r, NULL, 0, &out);
    if (out.full) {
        return;
    }
    Envoy__Service__Ratelimit__V3__RateLimitResponse *m =
        envoy__service__ratelimit__v3__rate_limit_response__unpack(NULL, qd_out_used(&out), bytes);
    assert(m != NULL && m->dynamic_metadata != NULL);
    const Google__Protobuf__Struct *told = m->dynamic_metadata;
    assert(same(r->domain, field_of(told, "domain")->string_value));
    const Google__Protobuf__ListValue *list = field_of(told, "descriptors")->list_value;
    assert(list->n_values == r->descriptor_count);
    for (size_t i = 0; i < r->descriptor_count; i++) {
        descriptor_told(list->values[i], &r->descriptors[i]);
    }
    assert((field_of(told, "hitsAddend") != NULL) == (r->hits_addend != 0));
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_rls_request request;
    struct qd_error error = {.code = QD_ERROR_NONE};
    struct qd_str bytes = {size > 0 ? (const char *)data : "", size}; /* never NULL, as gRPC's */
    request_message *m =
        envoy__service__ratelimit__v3__rate_limit_request__unpack(NULL, size, data);
    enum qd_error_code code = qd_rls_decode(bytes, &request, &error);

    assert(code == error.code);
    assert(code == QD_ERROR_NONE || qd_error_status(code) == QD_STATUS_INVALID_ARGUMENT);
    if (m == NULL) {
        assert(code != QD_ERROR_NONE);
        return 0;
    }
    assert((code == QD_ERROR_NONE) != has_reason(data, size, m));
    if (code == QD_ERROR_NONE) {
        request_same(&request, m, data, size);
        metadata_tells(&request);
    }
    envoy__service__ratelimit__v3__rate_limit_request__free_unpacked(m, NULL);
    return 0;
}
