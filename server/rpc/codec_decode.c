#include "server/rpc/codec.h"

/* A known field with another wire type is malformed; unknown fields are skipped. */

/* Entry and Amount are {1: string, 2: value}. */
static bool pair(struct qd_str bytes, enum qd_wire_type value_type, struct qd_str *ret_first,
                 struct qd_wire_field *ret_second)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    *ret_first = (struct qd_str){NULL, 0};
    ret_second->number = 0;
    ret_second->bytes = (struct qd_str){NULL, 0};
    while (qd_wire_next(&w, &f)) {
        if (f.id == 1) {
            if (f.type != QD_WIRE_BYTES) {
                return false;
            }
            *ret_first = f.bytes;
        } else if (f.id == 2) {
            if (f.type != value_type) {
                return false;
            }
            *ret_second = f;
        }
    }
    return !w.failed;
}

static bool add_label(struct qd_str bytes, struct qd_label *labels, size_t *count)
{
    struct qd_str name;
    struct qd_wire_field value;

    if (!pair(bytes, QD_WIRE_BYTES, &name, &value)) {
        return false;
    }
    if (*count < QD_ARG_LABELS) {
        /* An empty value is there all the same: only absence is NULL. */
        labels[*count] = (struct qd_label){
            name, {value.bytes.ptr != NULL ? value.bytes.ptr : "", value.bytes.len}};
    }
    ++*count;
    return true;
}

static bool add_amount(struct qd_str bytes, struct qd_amount_arg *amounts, size_t *count)
{
    struct qd_str meter;
    struct qd_wire_field value;

    if (!pair(bytes, QD_WIRE_VARINT, &meter, &value)) {
        return false;
    }
    if (*count < QD_ARG_METERS) {
        amounts[*count] = (struct qd_amount_arg){meter, (int64_t)value.number};
    }
    ++*count;
    return true;
}

static bool add_candidate(struct qd_str bytes, struct qd_candidate_arg *candidates, size_t *count)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;
    struct qd_candidate_arg c = {{NULL, 0}, {NULL, 0}, {NULL, 0}};

    while (qd_wire_next(&w, &f)) {
        if (f.id > 3) {
            continue;
        }
        if (f.type != QD_WIRE_BYTES) {
            return false;
        }
        *(f.id == 1 ? &c.model : f.id == 2 ? &c.pool : &c.provider) = f.bytes;
    }
    if (*count < QD_ARG_CANDIDATES) {
        candidates[*count] = c;
    }
    ++*count;
    return !w.failed;
}

static bool expect(const struct qd_wire_field *f, uint32_t bytes_fields)
{
    bool wants_bytes = f->id < 32 && (bytes_fields >> f->id & 1U) != 0;

    return wants_bytes ? f->type == QD_WIRE_BYTES : f->type == QD_WIRE_VARINT;
}

static void clear_check(struct qd_check_args *a)
{
    static const struct qd_str none = {NULL, 0};

    a->tenant = none;
    a->model = none;
    a->pool = none;
    a->user = none;
    a->request_id = none;
    a->label_count = 0;
    a->estimate_count = 0;
    a->candidate_count = 0;
    a->max_output_tokens = 0;
    a->event_time_ns = 0;
    a->ttl_ms = 0;
    a->attempt = 0;
    a->priority = 0;
    a->weight = 0;
    a->tier = 0;
    a->cache_write_ttl = 0;
    a->max_output_given = false;
    a->event_time_given = false;
    a->dry_run = false;
    a->no_reservation = false;
    a->instant = false;
    a->brief = false;
}

static bool set_check(struct qd_check_args *a, const struct qd_wire_field *f)
{
    switch (f->id) {
    case 1:
        a->tenant = f->bytes;
        break;
    case 2:
        a->model = f->bytes;
        break;
    case 3:
        a->pool = f->bytes;
        break;
    case 4:
        a->user = f->bytes;
        break;
    case 5:
        return add_label(f->bytes, a->labels, &a->label_count);
    case 6:
        return add_amount(f->bytes, a->estimate, &a->estimate_count);
    case 7:
        a->max_output_tokens = (int64_t)f->number;
        a->max_output_given = true;
        break;
    case 8:
        return add_candidate(f->bytes, a->candidates, &a->candidate_count);
    case 9:
        a->request_id = f->bytes;
        break;
    case 10:
        a->attempt = (uint32_t)f->number;
        break;
    case 11:
        a->ttl_ms = (int64_t)f->number;
        break;
    case 12:
        a->dry_run = f->number != 0;
        break;
    case 13:
        a->no_reservation = f->number != 0;
        break;
    case 14:
        a->priority = (uint32_t)f->number;
        break;
    case 15:
        a->weight = (uint32_t)f->number;
        break;
    case 16:
        a->tier = (uint32_t)f->number;
        break;
    case 17:
        a->event_time_ns = (int64_t)f->number;
        a->event_time_given = true;
        break;
    case 18:
        a->cache_write_ttl = (uint32_t)f->number;
        break;
    case 19:
        a->brief = f->number != 0;
        break;
    default:
        break;
    }
    return true;
}

bool qd_codec_check(struct qd_str bytes, struct qd_check_args *ret_args)
{
    static const uint32_t strings =
        1U << 1 | 1U << 2 | 1U << 3 | 1U << 4 | 1U << 5 | 1U << 6 | 1U << 8 | 1U << 9;
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    clear_check(ret_args);
    while (qd_wire_next(&w, &f)) {
        if (f.id <= 19 && (!expect(&f, strings) || !set_check(ret_args, &f))) {
            return false;
        }
    }
    return !w.failed;
}

static bool set_report(struct qd_report_args *a, const struct qd_wire_field *f)
{
    switch (f->id) {
    case 1:
        a->reservation = f->bytes;
        break;
    case 2:
        a->tenant = f->bytes;
        break;
    case 3:
        a->model = f->bytes;
        break;
    case 4:
        a->pool = f->bytes;
        break;
    case 5:
        a->user = f->bytes;
        break;
    case 6:
        return add_label(f->bytes, a->labels, &a->label_count);
    case 7:
        a->source = f->bytes;
        break;
    case 8:
        a->request_id = f->bytes;
        break;
    case 9:
        a->attempt = (uint32_t)f->number;
        break;
    case 10:
        a->sequence = (uint32_t)f->number;
        break;
    case 11:
        a->partial = f->number != 0;
        break;
    case 12:
        a->outcome = (uint32_t)f->number;
        break;
    case 13:
        return add_amount(f->bytes, a->usage, &a->usage_count);
    case 14:
        a->tier = (uint32_t)f->number;
        break;
    case 15:
        a->event_time_ns = (int64_t)f->number;
        a->event_time_given = true;
        break;
    case 16:
        a->cache_write_ttl = (uint32_t)f->number;
        break;
    default:
        break;
    }
    return true;
}

bool qd_codec_report(struct qd_str bytes, struct qd_report_args *ret_args)
{
    static const uint32_t strings = 0xfeU /* 1..7 */ | 1U << 8 | 1U << 13;
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    memset(ret_args, 0, sizeof(*ret_args));
    while (qd_wire_next(&w, &f)) {
        if (f.id <= 16 && (!expect(&f, strings) || !set_report(ret_args, &f))) {
            return false;
        }
    }
    return !w.failed;
}

bool qd_codec_extend(struct qd_str bytes, struct qd_extend_args *ret_args)
{
    static const uint32_t strings = 1U << 1 | 1U << 2 | 1U << 3;
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    memset(ret_args, 0, sizeof(*ret_args));
    while (qd_wire_next(&w, &f)) {
        if (f.id > 4) {
            continue;
        }
        if (!expect(&f, strings)) {
            return false;
        }
        if (f.id == 1) {
            ret_args->reservation = f.bytes;
        } else if (f.id == 2) {
            ret_args->tenant = f.bytes;
        } else if (f.id == 4) {
            ret_args->ttl_ms = (int64_t)f.number;
        } else if (!add_amount(f.bytes, ret_args->used, &ret_args->used_count)) {
            return false;
        }
    }
    return !w.failed;
}

bool qd_codec_cancel(struct qd_str bytes, struct qd_str *ret_reservation, struct qd_str *ret_tenant)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;

    *ret_reservation = (struct qd_str){NULL, 0};
    *ret_tenant = (struct qd_str){NULL, 0};
    while (qd_wire_next(&w, &f)) {
        if (f.id > 2) {
            continue;
        }
        if (f.type != QD_WIRE_BYTES) {
            return false;
        }
        *(f.id == 1 ? ret_reservation : ret_tenant) = f.bytes;
    }
    return !w.failed;
}
