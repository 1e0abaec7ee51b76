/* The hand-written codec of Envoy's rate limit service says what protobuf-c says (I3). */
#include "server/rpc/rls_codec.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef Envoy__Service__Ratelimit__V3__RateLimitRequest request_message;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse response_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry entry_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__RateLimitOverride
    override_message;

static struct qd_rls_request request; /* 66 KiB: not for a stack */
static struct qd_error error;

static bool same(struct qd_str a, const char *b)
{
    return a.len == strlen(b) && (a.len == 0 || memcmp(a.ptr, b, a.len) == 0);
}

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

/* protobuf-c's fields are char *, though packing only reads them. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};

    return both.out;
}

static void init_entry(entry_message *entry, const char *key, const char *value)
{
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__entry__init(entry);
    entry->key = text_of(key);
    entry->value = text_of(value);
}

static enum qd_error_code decode(const void *bytes, size_t size)
{
    return qd_rls_decode((struct qd_str){bytes, size}, &request, &error);
}

/* Bytes that hold no NUL. */
static enum qd_error_code decode_text(const char *bytes)
{
    return decode(bytes, strlen(bytes));
}

/* --- requests --- */

Test(rls_codec, I3_a_request_is_read_field_by_field)
{
    request_message m;
    envoy__service__ratelimit__v3__rate_limit_request__init(&m);
    entry_message entry[3];
    init_entry(&entry[0], "model", "gpt-4o");
    init_entry(&entry[1], "user", "ann\tb\xc3\xbc"); /* a control character is text as well */
    init_entry(&entry[2], "empty", "");
    entry_message *first[] = {&entry[0], &entry[1]};
    entry_message *second[] = {&entry[2]};
    override_message limit;
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__rate_limit_override__init(
        &limit);
    limit.requests_per_unit = 4000000000U;
    limit.unit = ENVOY__TYPE__V3__RATE_LIMIT_UNIT__YEAR;
    Google__Protobuf__UInt64Value hits;
    google__protobuf__uint64_value__init(&hits);
    hits.value = UINT64_MAX;
    descriptor_message d[2];
    for (int i = 0; i < 2; i++) {
        envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__init(&d[i]);
    }
    d[0].n_entries = 2;
    d[0].entries = first;
    d[0].limit = &limit;
    d[0].hits_addend = &hits;
    d[0].is_negative_hits = 1;
    d[1].n_entries = 1;
    d[1].entries = second;
    descriptor_message *descriptors[] = {&d[0], &d[1]};
    m.domain = text_of("envoy");
    m.hits_addend = 3000000000U;
    m.n_descriptors = 2;
    m.descriptors = descriptors;
    uint8_t bytes[256];
    size_t size = envoy__service__ratelimit__v3__rate_limit_request__pack(&m, bytes);

    cr_assert_eq(decode(bytes, size), QD_ERROR_NONE);
    cr_assert(same(request.domain, "envoy"));
    cr_assert_eq(request.hits_addend, 3000000000U);
    cr_assert_eq(request.descriptor_count, 2);
    const struct qd_rls_descriptor *read = &request.descriptors[0];
    cr_assert_eq(read->entry_count, 2);
    cr_assert(same(read->entries[0].key, "model") && same(read->entries[0].value, "gpt-4o"));
    cr_assert(same(read->entries[1].key, "user") && same(read->entries[1].value, "ann\tb\xc3\xbc"));
    cr_assert(read->has_limit && read->limit_requests == 4000000000U);
    cr_assert_eq(read->limit_unit, QD_RLS_UNIT_YEAR);
    cr_assert(read->has_hits && read->hits == UINT64_MAX && read->negative);
    read = &request.descriptors[1];
    cr_assert(same(read->entries[0].key, "empty") && same(read->entries[0].value, ""));
    cr_assert(!read->has_limit && !read->has_hits && !read->negative);
    for (size_t cut = 0; cut < size; cut++) { /* X2: never past the end, whatever is cut off */
        char *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        (void)decode(copy, cut);
        free(copy);
    }
}

Test(rls_codec, I3_hits_of_0_are_not_absent_ones)
{
    /* A leftover of the request before must not show. */
    memset(&request, 0xff, sizeof(request));
    /* Envoy writes a wrapper's 0 as an empty message; others may write the number. */
    cr_assert_eq(decode("\x12\x02\x1a\x00\x12\x04\x1a\x02\x08\x00\x12\x00", 12), QD_ERROR_NONE);
    cr_assert_eq(request.descriptor_count, 3);
    cr_assert(request.descriptors[0].has_hits && request.descriptors[0].hits == 0);
    cr_assert(request.descriptors[1].has_hits && request.descriptors[1].hits == 0);
    cr_assert(!request.descriptors[2].has_hits && !request.descriptors[2].has_limit);
    cr_assert_eq(request.descriptors[2].entry_count, 0);
    cr_assert_eq(request.hits_addend, 0);
    cr_assert_eq(request.domain.len, 0);
    cr_assert_eq(decode("\x12\x02\x12\x00", 4), QD_ERROR_NONE);
    cr_assert(request.descriptors[0].has_limit, "an empty override is one");
    cr_assert_eq(request.descriptors[0].limit_requests, 0);
    cr_assert_eq(request.descriptors[0].limit_unit, QD_RLS_UNIT_UNKNOWN);
}

Test(rls_codec, I3_of_a_field_that_came_twice_the_last_counts_and_messages_merge)
{
    cr_assert_eq(decode_text("\x0a\x01"
                             "a\x0a\x01"
                             "b\x18\x05\x18\x07"),
                 QD_ERROR_NONE);
    cr_assert(same(request.domain, "b"));
    cr_assert_eq(request.hits_addend, 7);
    /* As Envoy's protobuf merges; protobuf-c 1.4 forgets the 5 and the 9.
     * limit {requests 5} limit {unit 2}, hits {9} hits {}, entries {key a, key b} */
    cr_assert_eq(decode("\x12\x16\x12\x02\x08\x05\x12\x02\x10\x02\x1a\x02\x08\x09\x1a\x00"
                        "\x0a\x06\x0a\x01"
                        "a\x0a\x01"
                        "b",
                        24),
                 QD_ERROR_NONE, "%s", error.text);
    const struct qd_rls_descriptor *read = &request.descriptors[0];
    cr_assert_eq(read->limit_requests, 5);
    cr_assert_eq(read->limit_unit, QD_RLS_UNIT_MINUTE);
    cr_assert_eq(read->hits, 9);
    cr_assert_eq(read->entry_count, 1);
    cr_assert(same(read->entries[0].key, "b"));
    /* limit {requests 5} limit {requests 0, written out} */
    cr_assert_eq(decode("\x12\x08\x12\x02\x08\x05\x12\x02\x08\x00", 10), QD_ERROR_NONE);
    cr_assert_eq(request.descriptors[0].limit_requests, 0);
}

Test(rls_codec, I3_unknown_fields_are_skipped_and_enums_are_open)
{
    /* Field 4 of the request, 5 of the descriptor, 3 of an entry, 3 of the override and 2 of the
     * wrapper are nobody's; unit 7 is no unit of an override. */
    cr_assert_eq(decode("\x22\x01x\x12\x17\x28\x01\x0a\x06\x0a\x01k\x1a\x01z\x12\x05\x10\x07\x1a"
                        "\x01z\x1a\x04\x08\x02\x10\x09\x18\x01",
                        30),
                 QD_ERROR_NONE, "%s", error.text);
    const struct qd_rls_descriptor *read = &request.descriptors[0];
    cr_assert(same(read->entries[0].key, "k") && read->entries[0].value.len == 0);
    cr_assert_eq(read->limit_unit, 7);
    cr_assert_eq(read->limit_requests, 0);
    cr_assert_eq(read->hits, 2);
    cr_assert_eq(request.hits_addend, 1);
    /* Numbers of 64 bits lose their upper half in fields of 32, as everyone reads them. */
    cr_assert_eq(decode_text("\x18\x85\x80\x80\x80\x80\x01"), QD_ERROR_NONE);
    cr_assert_eq(request.hits_addend, 5);
}

Test(rls_codec, X2_malformed_bytes_are_refused)
{
    static const char *const bad[] = {
        "\x0a\x05xy",                                   /* a string that ends after the message */
        "\x08\x01",                                     /* domain as a number */
        "\x10\x01",                                     /* a descriptor as a number */
        "\x1a\x01x",                                    /* hits_addend as bytes */
        "\x1d\x01\x01\x01\x01",                         /* and as a fixed number */
        "\x0b",                                         /* a group */
        "\x02\x01x",                                    /* field 0 */
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* a number without end */
        "\x12\x02\x08\x01",                             /* an entry as a number */
        "\x12\x02\x10\x01",                             /* an override as a number */
        "\x12\x02\x18\x01",          /* a descriptor's hits_addend as a number, not a wrapper */
        "\x12\x03\x22\x01x",         /* is_negative_hits as bytes */
        "\x12\x04\x0a\x02\x08\x01",  /* an entry's key as a number */
        "\x12\x04\x0a\x02\x10\x01",  /* its value as a number */
        "\x12\x05\x12\x03\x0a\x01x", /* an override's requests as bytes */
        "\x12\x05\x12\x03\x12\x01x", /* its unit as bytes */
        "\x12\x05\x1a\x03\x0a\x01x", /* a wrapper's number as bytes */
        "\x12\x03\x0a\x05\x0a",      /* an entry that ends after its descriptor */
        "\x12\x04\x0a\x02\x0a\x01",  /* a key that ends after its entry */
        "\x12\x04\x12\x02\x08\xff",  /* an override that ends within a number */
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(decode_text(bad[i]), QD_ERROR_MALFORMED, "case %zu", i);
        cr_assert(strstr(error.text, "RateLimitRequest") != NULL);
    }
}

Test(rls_codec, X2_domains_and_keys_are_utf8)
{
    cr_assert_eq(decode_text("\x0a\x02\xc0\xaf"), QD_ERROR_INVALID_UTF8);
    cr_assert_str_eq(error.text, "domain: \"\\xc0\\xaf\" is not UTF-8");
    cr_assert_eq(decode("\x12\x00\x12\x0b\x0a\x03\x0a\x01k\x0a\x04\x0a\x02\xed\xa0", 15),
                 QD_ERROR_INVALID_UTF8);
    cr_assert_str_eq(error.text, "descriptors[1].entries[1].key: \"\\xed\\xa0\" is not UTF-8");
    cr_assert_eq(decode_text("\x12\x05\x0a\x03\x0a\x01\xff"), QD_ERROR_INVALID_UTF8);
    cr_assert_str_eq(error.text, "descriptors[0].entries[0].key: \"\\xff\" is not UTF-8");
    /* Also one that another replaces: no parser lets it pass. */
    cr_assert_eq(decode_text("\x0a\x01\xff\x0a\x01x"), QD_ERROR_INVALID_UTF8);
}

/* Or a client would pass all limits by a header of such bytes. */
Test(rls_codec, X2_values_are_any_bytes)
{
    cr_assert_eq(decode_text("\x12\x09\x0a\x07\x0a\x01k\x12\x02\xed\xa0"), QD_ERROR_NONE);
    struct qd_str value = request.descriptors[0].entries[0].value;
    cr_assert_eq(value.len, 2);
    cr_assert_eq(memcmp(value.ptr, "\xed\xa0", 2), 0);
}

Test(rls_codec, X2_64_descriptors_of_32_entries_and_no_more)
{
    static uint8_t bytes[64 * (3 + 32 * 4) + 8];
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof(bytes));
    for (int i = 0; i < QD_RLS_DESCRIPTORS_MAX; i++) {
        uint8_t *descriptor = qd_out_begin(&out, 2);
        for (int k = 0; k < QD_RLS_ENTRIES_MAX; k++) {
            qd_out_bytes(&out, 1, "\x0a\x00", 2);
        }
        qd_out_end(&out, descriptor);
    }
    cr_assert_not(out.full);
    cr_assert_eq(decode(bytes, qd_out_used(&out)), QD_ERROR_NONE);
    cr_assert_eq(request.descriptor_count, 64);
    cr_assert_eq(request.descriptors[63].entry_count, 32);

    bytes[qd_out_used(&out)] = 0x12;
    bytes[qd_out_used(&out) + 1] = 0;
    cr_assert_eq(decode(bytes, qd_out_used(&out) + 2), QD_ERROR_BATCH_TOO_LARGE);
    cr_assert_eq(qd_error_status(error.code), QD_STATUS_INVALID_ARGUMENT);
    cr_assert_str_eq(error.text, "descriptors: at most 64 are accepted in a request; send fewer");

    qd_out_init(&out, bytes, sizeof(bytes));
    qd_out_bytes(&out, 2, NULL, 0);
    uint8_t *descriptor = qd_out_begin(&out, 2);
    for (int k = 0; k < QD_RLS_ENTRIES_MAX + 1; k++) {
        qd_out_bytes(&out, 1, NULL, 0);
    }
    qd_out_end(&out, descriptor);
    cr_assert_eq(decode(bytes, qd_out_used(&out)), QD_ERROR_TOO_MANY_LABELS);
    cr_assert_eq(qd_error_status(error.code), QD_STATUS_INVALID_ARGUMENT);
    cr_assert_str_eq(error.text, "descriptors[1].entries: at most 32 are accepted; send fewer");
}

/* --- answers --- */

static struct qd_rls_answer answer;
static uint8_t encoded[64 * 1024];

/* What protobuf-c reads of `answer`; the caller frees it. */
static response_message *round_trip(void)
{
    struct qd_out out;

    qd_out_init(&out, encoded, sizeof(encoded));
    qd_rls_encode(&answer, &out);
    cr_assert_not(out.full);
    response_message *m = envoy__service__ratelimit__v3__rate_limit_response__unpack(
        NULL, qd_out_used(&out), encoded);
    cr_assert_not_null(m);
    return m;
}

static void free_message(response_message *m)
{
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, NULL);
}

Test(rls_codec, I3_an_answer_is_written_field_by_field)
{
    answer.overall_code = QD_RLS_OVER_LIMIT;
    answer.status_count = 2;
    answer.statuses[0] = (struct qd_rls_status){.code = QD_RLS_OVER_LIMIT,
                                                .has_limit = true,
                                                .requests_per_unit = UINT32_MAX,
                                                .unit = QD_RLS_UNIT_WEEK,
                                                .name = str("weekly"),
                                                .has_reset = true,
                                                .reset_s = 604799};
    answer.statuses[1] =
        (struct qd_rls_status){.code = QD_RLS_OK, .limit_remaining = UINT32_MAX}; /* unlimited */
    answer.header_count = 2;
    answer.headers[0] = (struct qd_rls_header){str("RateLimit-Limit"), str("10, 10;w=1")};
    answer.headers[1] = (struct qd_rls_header){str("RateLimit-Remaining"), str("")};
    answer.raw_body = (struct qd_str){"\x00\xff", 2};
    response_message *m = round_trip();

    cr_assert_eq(m->overall_code,
                 ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OVER_LIMIT);
    cr_assert_eq(m->n_statuses, 2);
    cr_assert_eq(m->statuses[0]->code,
                 ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OVER_LIMIT);
    cr_assert_eq(m->statuses[0]->current_limit->requests_per_unit, UINT32_MAX);
    cr_assert_eq(m->statuses[0]->current_limit->unit,
                 ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__RATE_LIMIT__UNIT__WEEK);
    cr_assert_str_eq(m->statuses[0]->current_limit->name, "weekly");
    cr_assert_eq(m->statuses[0]->limit_remaining, 0);
    cr_assert_eq(m->statuses[0]->duration_until_reset->seconds, 604799);
    cr_assert_eq(m->statuses[0]->duration_until_reset->nanos, 0);
    cr_assert_eq(m->statuses[1]->code,
                 ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OK);
    cr_assert_null(m->statuses[1]->current_limit);
    cr_assert_null(m->statuses[1]->duration_until_reset);
    cr_assert_eq(m->statuses[1]->limit_remaining, UINT32_MAX);
    cr_assert_eq(m->n_response_headers_to_add, 2);
    cr_assert_str_eq(m->response_headers_to_add[0]->key, "RateLimit-Limit");
    cr_assert_str_eq(m->response_headers_to_add[0]->value, "10, 10;w=1");
    cr_assert_str_eq(m->response_headers_to_add[1]->value, "");
    cr_assert_eq(m->response_headers_to_add[0]->raw_value.len, 0);
    cr_assert_eq(m->n_request_headers_to_add, 0);
    cr_assert_eq(m->raw_body.len, 2);
    cr_assert_arr_eq(m->raw_body.data, "\x00\xff", 2);
    cr_assert_null(m->dynamic_metadata);
    free_message(m);
}

Test(rls_codec, I3_zeros_that_are_there_are_written)
{
    answer.overall_code = QD_RLS_OK;
    answer.status_count = 1;
    answer.statuses[0] =
        (struct qd_rls_status){.code = QD_RLS_OK, .has_limit = true, .has_reset = true};
    response_message *m = round_trip();

    cr_assert_not_null(m->statuses[0]->current_limit, "a limit of 0 always denies: it is one");
    cr_assert_eq(m->statuses[0]->current_limit->requests_per_unit, 0);
    cr_assert_not_null(m->statuses[0]->duration_until_reset);
    cr_assert_eq(m->statuses[0]->duration_until_reset->seconds, 0);
    free_message(m);
}

Test(rls_codec, X2_the_largest_answer_is_written_or_said_not_to_fit)
{
    static char name[200];
    struct qd_out out;

    memset(name, 'n', sizeof(name));
    answer.overall_code = QD_RLS_OK;
    answer.status_count = QD_RLS_DESCRIPTORS_MAX;
    for (size_t i = 0; i < QD_RLS_DESCRIPTORS_MAX; i++) {
        answer.statuses[i] = (struct qd_rls_status){.code = QD_RLS_OK,
                                                    .has_limit = true,
                                                    .requests_per_unit = (uint32_t)i,
                                                    .unit = QD_RLS_UNIT_DAY,
                                                    .name = {name, sizeof(name)},
                                                    .limit_remaining = (uint32_t)i,
                                                    .has_reset = true,
                                                    .reset_s = INT64_MAX};
    }
    answer.header_count = QD_RLS_HEADERS_MAX;
    for (size_t i = 0; i < QD_RLS_HEADERS_MAX; i++) {
        answer.headers[i] = (struct qd_rls_header){str("key"), {name, sizeof(name)}};
    }
    response_message *m = round_trip();
    cr_assert_eq(m->n_statuses, 64);
    cr_assert_eq(m->statuses[63]->current_limit->requests_per_unit, 63);
    cr_assert_eq(strlen(m->statuses[63]->current_limit->name), 200);
    cr_assert_eq(m->statuses[63]->duration_until_reset->seconds, INT64_MAX);
    cr_assert_eq(m->n_response_headers_to_add, 8);
    free_message(m);

    for (size_t size = 0; size < 4096; size++) {
        uint8_t *buffer = malloc(size + 1);
        qd_out_init(&out, buffer, size);
        qd_rls_encode(&answer, &out);
        cr_assert(out.full);
        free(buffer);
    }
}
