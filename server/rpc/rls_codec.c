#include "server/rpc/rls_codec.h"

#include "server/policy/utf8.h"

/* Where the reader is, for messages. */
struct place {
    size_t descriptor;
    size_t entry;
    struct qd_error *error;
};

static enum qd_error_code malformed(const struct place *p)
{
    return qd_error_set(p->error, QD_ERROR_MALFORMED,
                        "not an envoy.service.ratelimit.v3.RateLimitRequest message");
}

static bool is_utf8(struct qd_str text)
{
    return qd_utf8_valid_prefix(text.ptr, text.len) == text.len;
}

/* --- reading --- */

static enum qd_error_code read_entry(struct place *p, struct qd_str bytes,
                                     struct qd_rls_entry *ret_entry)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    *ret_entry = (struct qd_rls_entry){{NULL, 0}, {NULL, 0}};
    while (qd_wire_next(&w, &f)) {
        if (f.id > 2) {
            continue;
        }
        if (f.type != QD_WIRE_BYTES) {
            return malformed(p);
        }
        if (f.id == 1 && !is_utf8(f.bytes)) {
            return qd_error_set(p->error, QD_ERROR_INVALID_UTF8,
                                "descriptors[%zu].entries[%zu].key: %s is not UTF-8", p->descriptor,
                                p->entry, qd_quote(f.bytes).text);
        }
        *(f.id == 1 ? &ret_entry->key : &ret_entry->value) = f.bytes;
    }
    return w.failed ? malformed(p) : QD_ERROR_NONE;
}

static enum qd_error_code add_entry(struct place *p, struct qd_str bytes,
                                    struct qd_rls_descriptor *d)
{
    if (d->entry_count == QD_RLS_ENTRIES_MAX) { /* X2 */
        return qd_error_set(p->error, QD_ERROR_TOO_MANY_LABELS,
                            "descriptors[%zu].entries: at most %d are accepted; send fewer",
                            p->descriptor, QD_RLS_ENTRIES_MAX);
    }
    p->entry = d->entry_count;
    return read_entry(p, bytes, &d->entries[d->entry_count++]);
}

/* RateLimitOverride and UInt64Value: fields 1 to `count`, all numbers. What is absent stays as it
 * was, so that a message that came twice is merged. */
static bool merge_numbers(struct qd_str bytes, uint64_t *numbers, uint32_t count)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    while (qd_wire_next(&w, &f)) {
        if (f.id > count) {
            continue;
        }
        if (f.type != QD_WIRE_VARINT) {
            return false;
        }
        numbers[f.id - 1] = f.number;
    }
    return !w.failed;
}

static bool set_limit(struct qd_str bytes, struct qd_rls_descriptor *d)
{
    uint64_t numbers[] = {d->limit_requests, d->limit_unit};
    bool read = merge_numbers(bytes, numbers, 2);

    d->limit_requests = (uint32_t)numbers[0];
    d->limit_unit = (uint32_t)numbers[1];
    d->has_limit = true;
    return read;
}

static bool set_hits(struct qd_str bytes, struct qd_rls_descriptor *d)
{
    d->has_hits = true;
    return merge_numbers(bytes, &d->hits, 1);
}

static void clear_descriptor(struct qd_rls_descriptor *d)
{
    d->entry_count = 0;
    d->hits = 0;
    d->limit_requests = 0;
    d->limit_unit = 0;
    d->has_hits = false;
    d->has_limit = false;
    d->negative = false;
}

static enum qd_error_code read_descriptor(struct place *p, struct qd_str bytes,
                                          struct qd_rls_descriptor *ret_descriptor)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    clear_descriptor(ret_descriptor);
    while (qd_wire_next(&w, &f)) {
        enum qd_error_code code = QD_ERROR_NONE;
        bool read = f.id > 4 || f.type == (f.id == 4 ? QD_WIRE_VARINT : QD_WIRE_BYTES);
        if (read && f.id == 1) {
            code = add_entry(p, f.bytes, ret_descriptor);
        } else if (read && f.id == 2) {
            read = set_limit(f.bytes, ret_descriptor);
        } else if (read && f.id == 3) {
            read = set_hits(f.bytes, ret_descriptor);
        } else if (read && f.id == 4) {
            ret_descriptor->negative = f.number != 0;
        }
        if (!read || code != QD_ERROR_NONE) {
            return read ? code : malformed(p);
        }
    }
    return w.failed ? malformed(p) : QD_ERROR_NONE;
}

static enum qd_error_code add_descriptor(struct place *p, struct qd_str bytes,
                                         struct qd_rls_request *request)
{
    if (request->descriptor_count == QD_RLS_DESCRIPTORS_MAX) { /* X2 */
        return qd_error_set(p->error, QD_ERROR_BATCH_TOO_LARGE,
                            "descriptors: at most %d are accepted in a request; send fewer",
                            QD_RLS_DESCRIPTORS_MAX);
    }
    p->descriptor = request->descriptor_count;
    return read_descriptor(p, bytes, &request->descriptors[request->descriptor_count++]);
}

static enum qd_error_code set_domain(struct place *p, struct qd_str text,
                                     struct qd_rls_request *request)
{
    if (!is_utf8(text)) {
        return qd_error_set(p->error, QD_ERROR_INVALID_UTF8, "domain: %s is not UTF-8",
                            qd_quote(text).text);
    }
    request->domain = text;
    return QD_ERROR_NONE;
}

enum qd_error_code qd_rls_decode(struct qd_str bytes, struct qd_rls_request *ret_request,
                                 struct qd_error *ret_error)
{
    struct place p = {0, 0, ret_error};
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    ret_request->domain = (struct qd_str){NULL, 0};
    ret_request->hits_addend = 0;
    ret_request->descriptor_count = 0;
    while (qd_wire_next(&w, &f)) {
        enum qd_error_code code = QD_ERROR_NONE;
        if (f.id <= 3 && f.type != (f.id == 3 ? QD_WIRE_VARINT : QD_WIRE_BYTES)) {
            return malformed(&p);
        }
        if (f.id == 1) {
            code = set_domain(&p, f.bytes, ret_request);
        } else if (f.id == 2) {
            code = add_descriptor(&p, f.bytes, ret_request);
        } else if (f.id == 3) {
            ret_request->hits_addend = (uint32_t)f.number;
        }
        if (code != QD_ERROR_NONE) {
            return code;
        }
    }
    return w.failed ? malformed(&p) : QD_ERROR_NONE;
}

const char *qd_rls_override_unit(uint32_t unit)
{
    static const char *const names[] = {"UNKNOWN", "SECOND", "MINUTE", "HOUR",
                                        "DAY",     "MONTH",  "YEAR"};

    return unit < sizeof(names) / sizeof(names[0]) ? names[unit] : NULL;
}

/* --- writing --- */

static void put_status(struct qd_out *out, const struct qd_rls_status *status)
{
    uint8_t *message = qd_out_begin(out, 2);

    qd_out_number(out, 1, status->code);
    if (status->has_limit) {
        uint8_t *limit = qd_out_begin(out, 2);
        qd_out_number(out, 1, status->requests_per_unit);
        qd_out_number(out, 2, status->unit);
        qd_out_str(out, 3, status->name);
        qd_out_end(out, limit);
    }
    qd_out_number(out, 3, status->limit_remaining);
    if (status->has_reset) {
        uint8_t *duration = qd_out_begin(out, 4);
        qd_out_number(out, 1, (uint64_t)status->reset_s);
        qd_out_end(out, duration);
    }
    qd_out_end(out, message);
}

void qd_rls_encode(const struct qd_rls_answer *answer, struct qd_out *out)
{
    qd_out_number(out, 1, answer->overall_code);
    for (size_t i = 0; i < answer->status_count; i++) {
        put_status(out, &answer->statuses[i]);
    }
    for (size_t i = 0; i < answer->header_count; i++) {
        uint8_t *header = qd_out_begin(out, 3);
        qd_out_str(out, 1, answer->headers[i].key);
        qd_out_str(out, 2, answer->headers[i].value);
        qd_out_end(out, header);
    }
    qd_out_str(out, 5, answer->raw_body);
}
