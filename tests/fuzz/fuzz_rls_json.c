/* The JSON of a rate limit request (I3, point 16): what is read is a message to protobuf-c too, and
 * written as JSON from there it is read as the same message. The same bytes as an answer's: no
 * input crashes the writer. */
#include "server/rpc/rls_codec.h"
#include "server/rpc/rls_json.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536

typedef Envoy__Service__Ratelimit__V3__RateLimitRequest request_message;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor_message;

static struct qd_rls_request request;
static uint8_t bytes[2 * FUZZ_BYTES_MAX];
static char packed[2][2 * FUZZ_BYTES_MAX];

/* --- a message as JSON: any spelling will do --- */

static void print_text(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20) {
            (void)fprintf(out, "\\u%04x", (unsigned)*c);
        } else {
            (void)fprintf(out, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
        }
    }
    (void)fputc('"', out);
}

static void print_descriptor(FILE *out, const descriptor_message *d)
{
    (void)fputs("{\"entries\": [", out);
    for (size_t i = 0; i < d->n_entries; i++) {
        (void)fputs(i > 0 ? ", {\"key\": " : "{\"key\": ", out);
        print_text(out, d->entries[i]->key);
        (void)fputs(", \"value\": ", out);
        print_text(out, d->entries[i]->value);
        (void)fputc('}', out);
    }
    (void)fputc(']', out);
    if (d->limit != NULL) {
        (void)fprintf(out, ", \"limit\": {\"requests_per_unit\": \"%u\", \"unit\": %d}",
                      d->limit->requests_per_unit, (int)d->limit->unit);
    }
    if (d->hits_addend != NULL) {
        (void)fprintf(out, ", \"hits_addend\": \"%llu\"",
                      (unsigned long long)d->hits_addend->value);
    }
    (void)fprintf(out, ", \"isNegativeHits\": %s}", d->is_negative_hits ? "true" : "false");
}

static char *print(const request_message *m, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    assert(out != NULL);
    (void)fputs("{\"domain\": ", out);
    print_text(out, m->domain);
    (void)fprintf(out, ", \"hitsAddend\": %u, \"descriptors\": [", m->hits_addend);
    for (size_t i = 0; i < m->n_descriptors; i++) {
        (void)fputs(i > 0 ? ", " : "", out);
        print_descriptor(out, m->descriptors[i]);
    }
    (void)fputs("]}", out);
    (void)fclose(out);
    return text;
}

/* --- the round trip --- */

/* The message that the JSON is, to free; NULL: it is none. */
static request_message *read_message(struct qd_str json)
{
    struct qd_error error = {.code = QD_ERROR_NONE};
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof(bytes));
    enum qd_error_code code = qd_rls_json_read(json, &out, &error);
    assert(code == error.code);
    assert(code == QD_ERROR_NONE || qd_error_status(code) == QD_STATUS_INVALID_ARGUMENT);
    if (code != QD_ERROR_NONE) {
        return NULL;
    }
    request_message *m =
        envoy__service__ratelimit__v3__rate_limit_request__unpack(NULL, qd_out_used(&out), bytes);
    assert(m != NULL);
    struct qd_str encoded = {(const char *)bytes, qd_out_used(&out)};
    code = qd_rls_decode(encoded, &request, &error);
    /* json-c takes some UTF-8 that is none; bounds are the decoder's. */
    assert(code == QD_ERROR_NONE || code == QD_ERROR_BATCH_TOO_LARGE ||
           code == QD_ERROR_TOO_MANY_LABELS || code == QD_ERROR_INVALID_UTF8);
    return m;
}

static size_t pack(const request_message *m, char *room)
{
    assert(envoy__service__ratelimit__v3__rate_limit_request__get_packed_size(m) <=
           sizeof(packed[0]));
    return envoy__service__ratelimit__v3__rate_limit_request__pack(m, (uint8_t *)room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_str json = {size > 0 ? (const char *)data : "", size};
    size_t len = 0;

    if (size > FUZZ_BYTES_MAX) {
        return 0;
    }
    free(qd_rls_json_write(json, NULL).text);
    request_message *first = read_message(json);
    if (first == NULL) {
        return 0;
    }
    char *text = print(first, &len);
    request_message *second = read_message((struct qd_str){text, len});
    assert(second != NULL);
    size_t wanted = pack(first, packed[0]);
    size_t got = pack(second, packed[1]);
    assert(wanted == got && memcmp(packed[0], packed[1], got) == 0);
    free(text);
    envoy__service__ratelimit__v3__rate_limit_request__free_unpacked(first, NULL);
    envoy__service__ratelimit__v3__rate_limit_request__free_unpacked(second, NULL);
    return 0;
}
