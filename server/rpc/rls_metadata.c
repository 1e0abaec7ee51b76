#include "server/rpc/rls_metadata.h"

#include "server/policy/utf8.h"
#include "server/rls/unit.h"
#include "server/rls/value.h"

#include <stdio.h>
#include <string.h>

/* Fields of google.protobuf.Value, Struct and ListValue. */
enum {
    VALUE_NULL = 1,
    VALUE_NUMBER = 2,
    VALUE_STRING = 3,
    VALUE_BOOL = 4,
    VALUE_STRUCT = 5,
    VALUE_LIST = 6,
    STRUCT_FIELDS = 1,
    LIST_VALUES = 1,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
};

/* --- values --- */

/* Zeros too: which field is there is the value's kind. */
static void put_varint(struct qd_out *out, uint32_t id, uint64_t value)
{
    qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_VARINT);
    qd_out_varint(out, value);
}

static void put_double(struct qd_out *out, uint32_t id, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_FIXED64);
    if (out->end - out->at < 8) {
        out->full = true;
        return;
    }
    for (unsigned i = 0; i < 8; i++) {
        *out->at++ = (uint8_t)(bits >> (8 * i));
    }
}

static void put_value(struct qd_out *out, uint32_t id, const struct qd_rls_value *value)
{
    uint8_t *message = qd_out_begin(out, id);
    uint8_t *inner;

    switch (value->kind) {
    case QD_RLS_VALUE_NULL:
        put_varint(out, VALUE_NULL, 0);
        break;
    case QD_RLS_VALUE_BOOL:
        put_varint(out, VALUE_BOOL, value->boolean);
        break;
    case QD_RLS_VALUE_NUMBER:
        put_double(out, VALUE_NUMBER, value->number);
        break;
    case QD_RLS_VALUE_STRING:
        qd_out_bytes(out, VALUE_STRING, value->string.ptr, value->string.len);
        break;
    case QD_RLS_VALUE_STRUCT:
        inner = qd_out_begin(out, VALUE_STRUCT);
        qd_rls_metadata_put_fields(value, out);
        qd_out_end(out, inner);
        break;
    case QD_RLS_VALUE_LIST:
        inner = qd_out_begin(out, VALUE_LIST);
        for (size_t i = 0; i < value->count; i++) {
            put_value(out, LIST_VALUES, &value->items[i]);
        }
        qd_out_end(out, inner);
        break;
    }
    qd_out_end(out, message);
}

void qd_rls_metadata_put_fields(const struct qd_rls_value *value, struct qd_out *out)
{
    for (size_t i = 0; i < value->count; i++) {
        uint8_t *field = qd_out_begin(out, STRUCT_FIELDS);
        qd_out_text(out, ENTRY_KEY, value->keys[i]);
        put_value(out, ENTRY_VALUE, &value->items[i]);
        qd_out_end(out, field);
    }
}

/* --- of several rules --- */

struct sources {
    const struct qd_rls_value *values[QD_RLS_DESCRIPTORS_MAX]; /* structs */
    size_t count;
};

static bool is_struct(const struct qd_rls_value *value)
{
    return value != NULL && value->kind == QD_RLS_VALUE_STRUCT;
}

static bool is_before(const struct sources *sources, size_t index, const char *key)
{
    for (size_t i = 0; i < index; i++) {
        if (qd_rls_value_get(sources->values[i], key) != NULL) {
            return true;
        }
    }
    return false;
}

static void put_merged(struct qd_out *out, const struct sources *sources);

/* A struct of the first source that has the key, with those of later ones. */
static void put_merged_struct(struct qd_out *out, const struct sources *sources, size_t first,
                              const char *key)
{
    struct sources inner = {.count = 0};

    for (size_t i = first; i < sources->count; i++) {
        const struct qd_rls_value *value = qd_rls_value_get(sources->values[i], key);
        if (is_struct(value)) {
            inner.values[inner.count++] = value;
        }
    }
    uint8_t *message = qd_out_begin(out, ENTRY_VALUE);
    uint8_t *fields = qd_out_begin(out, VALUE_STRUCT);
    put_merged(out, &inner);
    qd_out_end(out, fields);
    qd_out_end(out, message);
}

/* As deep as the files may be (server/policy/node.h). */
static void put_merged(struct qd_out *out, const struct sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        const struct qd_rls_value *source = sources->values[i];
        for (size_t k = 0; k < source->count; k++) {
            const char *key = source->keys[k];
            if (is_before(sources, i, key)) {
                continue;
            }
            uint8_t *field = qd_out_begin(out, STRUCT_FIELDS);
            qd_out_text(out, ENTRY_KEY, key);
            if (is_struct(&source->items[k])) {
                put_merged_struct(out, sources, i, key);
            } else {
                put_value(out, ENTRY_VALUE, &source->items[k]);
            }
            qd_out_end(out, field);
        }
    }
}

static size_t count_values(const struct qd_rls_value *value)
{
    size_t count = 1;

    for (size_t i = 0; i < value->count; i++) {
        count += count_values(&value->items[i]);
    }
    return count;
}

/* Each rule's metadata once, within the bound. */
static void collect(const struct qd_rls_rule *const *passed, size_t count,
                    struct sources *ret_sources)
{
    size_t total = 0;

    ret_sources->count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct qd_rls_value *metadata = passed[i] != NULL ? passed[i]->metadata : NULL;
        bool known = false;
        for (size_t k = 0; k < ret_sources->count; k++) {
            known = known || ret_sources->values[k] == metadata;
        }
        if (!is_struct(metadata) || known) {
            continue;
        }
        total += count_values(metadata);
        if (total > QD_RLS_METADATA_MERGED_MAX) {
            return;
        }
        ret_sources->values[ret_sources->count++] = metadata;
    }
}

static bool has_fields(const struct sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        if (sources->values[i]->count > 0) {
            return true;
        }
    }
    return false;
}

/* --- the request --- */

static uint8_t *begin_field(struct qd_out *out, const char *key)
{
    uint8_t *field = qd_out_begin(out, STRUCT_FIELDS);

    qd_out_text(out, ENTRY_KEY, key);
    return field;
}

static void put_text_field(struct qd_out *out, const char *key, struct qd_str text)
{
    uint8_t *field = begin_field(out, key);
    uint8_t *value = qd_out_begin(out, ENTRY_VALUE);

    qd_out_bytes(out, VALUE_STRING, text.ptr, text.len);
    qd_out_end(out, value);
    qd_out_end(out, field);
}

static void put_number_field(struct qd_out *out, const char *key, uint64_t number)
{
    uint8_t *field = begin_field(out, key);
    uint8_t *value = qd_out_begin(out, ENTRY_VALUE);

    put_double(out, VALUE_NUMBER, (double)number);
    qd_out_end(out, value);
    qd_out_end(out, field);
}

/* A client's bytes (rls_codec.h) as text, where each that is none becomes '?': Envoy takes no
 * answer with others, and lets the client pass. */
static void put_value_bytes(struct qd_out *out, struct qd_str value)
{
    if (value.len > 0) {
        memcpy(out->at, value.ptr, value.len);
    }
    for (size_t good = 0; good < value.len; good++) {
        good += qd_utf8_valid_prefix(out->at + good, value.len - good);
        if (good < value.len) {
            out->at[good] = '?';
        }
    }
    out->at += value.len;
}

/* "key=value" */
static void put_entry(struct qd_out *out, const struct qd_rls_entry *entry)
{
    uint8_t *value = qd_out_begin(out, LIST_VALUES);

    qd_out_varint(out, VALUE_STRING << 3 | QD_WIRE_BYTES);
    qd_out_varint(out, entry->key.len + 1 + entry->value.len);
    if (out->full || (size_t)(out->end - out->at) < entry->key.len + 1 + entry->value.len) {
        out->full = true;
        return;
    }
    if (entry->key.len > 0) {
        memcpy(out->at, entry->key.ptr, entry->key.len);
    }
    out->at += entry->key.len;
    *out->at++ = '=';
    put_value_bytes(out, entry->value);
    qd_out_end(out, value);
}

static void put_entries(struct qd_out *out, const struct qd_rls_descriptor *d)
{
    uint8_t *field = begin_field(out, "entries");
    uint8_t *value = qd_out_begin(out, ENTRY_VALUE);
    uint8_t *list = qd_out_begin(out, VALUE_LIST);

    for (size_t i = 0; i < d->entry_count && !out->full; i++) {
        put_entry(out, &d->entries[i]);
    }
    qd_out_end(out, list);
    qd_out_end(out, value);
    qd_out_end(out, field);
}

/* The override as protobuf's text form has it: "requests_per_unit:5 unit:MINUTE". */
static void put_limit(struct qd_out *out, const struct qd_rls_descriptor *d)
{
    char text[64] = "";
    size_t len = 0;

    if (d->limit_requests != 0) {
        len = (size_t)snprintf(text, sizeof(text), "requests_per_unit:%u", d->limit_requests);
    }
    if (d->limit_unit != 0) {
        const char *gap = len > 0 ? " " : "";
        const char *unit = qd_rls_override_unit(d->limit_unit);
        len += unit != NULL
                   ? (size_t)snprintf(text + len, sizeof(text) - len, "%sunit:%s", gap, unit)
                   : (size_t)snprintf(text + len, sizeof(text) - len, "%sunit:%d", gap,
                                      (int)d->limit_unit);
    }
    put_text_field(out, "limit", (struct qd_str){text, len});
}

static void put_descriptor(struct qd_out *out, const struct qd_rls_descriptor *d)
{
    uint8_t *value = qd_out_begin(out, LIST_VALUES);
    uint8_t *fields = qd_out_begin(out, VALUE_STRUCT);

    put_entries(out, d);
    if (d->has_limit) {
        put_limit(out, d);
    }
    if (d->has_hits) {
        put_number_field(out, "hitsAddend", d->hits);
    }
    qd_out_end(out, fields);
    qd_out_end(out, value);
}

static void put_descriptors(struct qd_out *out, const struct qd_rls_request *request)
{
    uint8_t *field = begin_field(out, "descriptors");
    uint8_t *value = qd_out_begin(out, ENTRY_VALUE);
    uint8_t *list = qd_out_begin(out, VALUE_LIST);

    for (size_t i = 0; i < request->descriptor_count; i++) {
        put_descriptor(out, &request->descriptors[i]);
    }
    qd_out_end(out, list);
    qd_out_end(out, value);
    qd_out_end(out, field);
}

static void put_rules_metadata(struct qd_out *out, const struct sources *sources)
{
    uint8_t *field = begin_field(out, "metadata");
    uint8_t *value = qd_out_begin(out, ENTRY_VALUE);
    uint8_t *fields = qd_out_begin(out, VALUE_STRUCT);

    put_merged(out, sources);
    qd_out_end(out, fields);
    qd_out_end(out, value);
    qd_out_end(out, field);
}

void qd_rls_metadata_put(const struct qd_rls_request *request,
                         const struct qd_rls_rule *const *passed, size_t count, struct qd_out *out)
{
    static const uint32_t dynamic_metadata = 6;
    struct sources sources;

    collect(passed, count, &sources);
    uint8_t *message = qd_out_begin(out, dynamic_metadata);
    put_text_field(out, "domain", request->domain);
    put_descriptors(out, request);
    if (request->hits_addend != 0) {
        put_number_field(out, "hitsAddend", request->hits_addend);
    }
    if (has_fields(&sources)) {
        put_rules_metadata(out, &sources);
    }
    qd_out_end(out, message);
}
