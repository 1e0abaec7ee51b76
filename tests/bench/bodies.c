#include "tests/bench/bodies.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "tests/lib/prng.h"

#define PREFIX_BYTES 5U
#define SEED         20260801U

struct bodies {
    struct bodies_spec spec;
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t *starts; /* message i is bytes[starts[i]] .. bytes[starts[i + 1]] */
    size_t count;
    uint32_t *order; /* unary: which message comes; batches are in order by themselves */
    size_t order_count;
    size_t next;
    size_t *ids;      /* reports: where the request id of message i lies */
    uint64_t last_id; /* the next report's is one more */
};

unsigned bodies_slots(const struct bodies_spec *spec)
{
    return spec->batch == 0 ? 1U : (BATCH_ID_LIMIT - BATCH_ID_FIRST) / spec->batch;
}

static uint8_t *grow(struct bodies *bodies, size_t size)
{
    if (bodies->size + size > bodies->capacity) {
        bodies->capacity = 2 * (bodies->size + size);
        bodies->bytes = realloc(bodies->bytes, bodies->capacity);
        if (bodies->bytes == NULL) {
            abort();
        }
    }
    uint8_t *place = bodies->bytes + bodies->size;
    bodies->size += size;
    return place;
}

static void write_prefix(uint8_t *place, size_t message_size)
{
    place[0] = 0; /* not compressed */
    place[1] = (uint8_t)(message_size >> 24);
    place[2] = (uint8_t)(message_size >> 16);
    place[3] = (uint8_t)(message_size >> 8);
    place[4] = (uint8_t)message_size;
}

struct check {
    Quota__V1__CheckQuotaRequest message;
    Quota__V1__Amount input;
    Quota__V1__Amount *estimate[1];
    char tenant[32];
    char model[64];
    char meter[16];
};

static void fill_check(const struct bodies_spec *spec, unsigned tenant, bool denied,
                       struct check *ret_check)
{
    quota__v1__check_quota_request__init(&ret_check->message);
    quota__v1__amount__init(&ret_check->input);
    snprintf(ret_check->tenant, sizeof ret_check->tenant, "t%05u/core/%s", tenant,
             denied ? "spent" : "app");
    snprintf(ret_check->model, sizeof ret_check->model, "%s", spec->model);
    snprintf(ret_check->meter, sizeof ret_check->meter, "input_tokens");
    ret_check->input.meter = ret_check->meter;
    ret_check->input.amount = 1200;
    ret_check->estimate[0] = &ret_check->input;
    ret_check->message.tenant = ret_check->tenant;
    ret_check->message.model = ret_check->model;
    ret_check->message.n_estimate = 1;
    ret_check->message.estimate = ret_check->estimate;
    ret_check->message.max_output_tokens_presence_case =
        QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
    ret_check->message.max_output_tokens = 400;
    ret_check->message.ttl_ms = spec->ttl_ms;
    ret_check->message.brief = spec->brief;
    ret_check->message.no_reservation = !spec->reserve;
}

static void write_check(struct bodies *bodies, unsigned tenant, bool denied)
{
    struct check check;
    fill_check(&bodies->spec, tenant, denied, &check);
    size_t size = quota__v1__check_quota_request__get_packed_size(&check.message);
    uint8_t *place = grow(bodies, PREFIX_BYTES + size);
    write_prefix(place, size);
    quota__v1__check_quota_request__pack(&check.message, place + PREFIX_BYTES);
}

static void write_rate_limit(struct bodies *bodies, unsigned tenant, bool denied)
{
    Envoy__Service__Ratelimit__V3__RateLimitRequest message;
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor;
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry entry[2];
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry *entries[] = {&entry[0],
                                                                                       &entry[1]};
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor *descriptors[] = {&descriptor};
    static char domain[] = "bench", rule_key[] = "rule", user_key[] = "user";
    char rule[32];
    char user[32];
    envoy__service__ratelimit__v3__rate_limit_request__init(&message);
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__init(&descriptor);
    for (unsigned i = 0; i < 2; i++) {
        envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__entry__init(&entry[i]);
    }
    snprintf(rule, sizeof rule, denied ? "spent" : "r%06u", tenant % bodies->spec.rules);
    snprintf(user, sizeof user, "u%06u", tenant / bodies->spec.rules);
    entry[0].key = rule_key;
    entry[0].value = rule;
    entry[1].key = user_key;
    entry[1].value = user;
    descriptor.n_entries = 2;
    descriptor.entries = entries;
    message.domain = domain;
    message.n_descriptors = 1;
    message.descriptors = descriptors;
    size_t size = envoy__service__ratelimit__v3__rate_limit_request__get_packed_size(&message);
    uint8_t *place = grow(bodies, PREFIX_BYTES + size);
    write_prefix(place, size);
    envoy__service__ratelimit__v3__rate_limit_request__pack(&message, place + PREFIX_BYTES);
}

/* Every message once: that of tenant i allowed at 2 * i, denied at 2 * i + 1; and the order they
 * come in. */
static void make_unary(struct bodies *bodies, struct qd_prng *prng)
{
    bodies->count = 2U * (size_t)bodies->spec.tenants;
    bodies->starts = calloc(bodies->count + 1, sizeof *bodies->starts);
    bodies->order_count = bodies->spec.items;
    bodies->order = calloc(bodies->order_count, sizeof *bodies->order);
    if (bodies->starts == NULL || bodies->order == NULL) {
        abort();
    }
    for (size_t i = 0; i < bodies->count; i++) {
        if (bodies->spec.rules > 0) {
            write_rate_limit(bodies, (unsigned)(i / 2), i % 2 == 1);
        } else {
            write_check(bodies, (unsigned)(i / 2), i % 2 == 1);
        }
        bodies->starts[i + 1] = bodies->size;
    }
    for (size_t i = 0; i < bodies->order_count; i++) {
        bool denied = qd_prng_chance(prng, bodies->spec.denied_percent, 100);
        uint64_t tenant = qd_prng_below(prng, bodies->spec.tenants);
        bodies->order[i] = (uint32_t)(2 * tenant + (denied ? 1 : 0));
    }
}

/* One for each that may be on its way, with room for an id. */
#define ID_DIGITS 16U

static void make_reports(struct bodies *bodies, struct qd_prng *prng)
{
    static char room_for_id[] = "................";
    bodies->count = bodies->order_count = REPORTS_MAX;
    bodies->starts = calloc(bodies->count + 1, sizeof *bodies->starts);
    bodies->ids = calloc(bodies->count, sizeof *bodies->ids);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    bodies->last_id =
        (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec; /* of no run before */
    if (bodies->starts == NULL || bodies->ids == NULL) {
        abort();
    }
    for (size_t i = 0; i < bodies->count; i++) {
        struct check check; /* for its texts */
        Quota__V1__ReportUsageRequest message;
        Quota__V1__Amount output;
        char meter[] = "output_tokens";
        quota__v1__report_usage_request__init(&message);
        quota__v1__amount__init(&output);
        fill_check(&bodies->spec, (unsigned)qd_prng_below(prng, bodies->spec.tenants), false,
                   &check);
        output.meter = meter;
        output.amount = 233;
        Quota__V1__Amount *usage[] = {&check.input, &output};
        message.tenant = check.tenant;
        message.model = check.model;
        message.request_id = room_for_id;
        message.usage = usage;
        message.n_usage = 2;
        size_t size = quota__v1__report_usage_request__get_packed_size(&message);
        uint8_t *place = grow(bodies, PREFIX_BYTES + size);
        write_prefix(place, size);
        quota__v1__report_usage_request__pack(&message, place + PREFIX_BYTES);
        const uint8_t *id = memmem(place, PREFIX_BYTES + size, room_for_id, ID_DIGITS);
        bodies->ids[i] = (size_t)(id - bodies->bytes);
        bodies->starts[i + 1] = bodies->size;
    }
}

static void write_id(uint8_t *place, uint64_t id)
{
    for (unsigned i = 0; i < ID_DIGITS; i++, id <<= 4) {
        place[i] = (uint8_t) "0123456789abcdef"[id >> 60];
    }
}

static void make_batch(struct bodies *bodies, unsigned slot, struct qd_prng *prng)
{
    unsigned batch = bodies->spec.batch;
    struct check *checks = calloc(batch, sizeof *checks);
    Quota__V1__StreamRequest *items = calloc(batch, sizeof *items);
    Quota__V1__StreamRequest **pointers = calloc(batch, sizeof *pointers);
    if (checks == NULL || items == NULL || pointers == NULL) {
        abort();
    }
    for (unsigned i = 0; i < batch; i++) {
        bool denied = qd_prng_chance(prng, bodies->spec.denied_percent, 100);
        fill_check(&bodies->spec, (unsigned)qd_prng_below(prng, bodies->spec.tenants), denied,
                   &checks[i]);
        quota__v1__stream_request__init(&items[i]);
        items[i].id = BATCH_ID_FIRST + slot * batch + i;
        items[i].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
        items[i].check = &checks[i].message;
        pointers[i] = &items[i];
    }
    Quota__V1__StreamQuotaRequest message;
    quota__v1__stream_quota_request__init(&message);
    message.n_items = batch;
    message.items = pointers;
    size_t size = quota__v1__stream_quota_request__get_packed_size(&message);
    uint8_t *place = grow(bodies, PREFIX_BYTES + size);
    write_prefix(place, size);
    quota__v1__stream_quota_request__pack(&message, place + PREFIX_BYTES);
    free(pointers);
    free(items);
    free(checks);
}

/* A whole number of rounds of the slots, so that the ids of batches in flight differ. */
static void make_batches(struct bodies *bodies, struct qd_prng *prng)
{
    unsigned slots = bodies_slots(&bodies->spec);
    size_t rounds = (bodies->spec.items / bodies->spec.batch + slots - 1) / slots;
    bodies->count = (rounds == 0 ? 1 : rounds) * slots;
    bodies->starts = calloc(bodies->count + 1, sizeof *bodies->starts);
    if (bodies->starts == NULL) {
        abort();
    }
    for (size_t i = 0; i < bodies->count; i++) {
        make_batch(bodies, (unsigned)(i % slots), prng);
        bodies->starts[i + 1] = bodies->size;
    }
    bodies->order_count = bodies->count;
}

struct bodies *bodies_new(const struct bodies_spec *spec)
{
    assert(spec->tenants > 0 && spec->items > 0 && spec->batch <= 256);
    struct bodies *bodies = calloc(1, sizeof *bodies);
    if (bodies == NULL) {
        abort();
    }
    bodies->spec = *spec;
    struct qd_prng prng;
    qd_prng_init(&prng, SEED);
    if (spec->report) {
        make_reports(bodies, &prng);
    } else if (spec->batch == 0) {
        make_unary(bodies, &prng);
    } else {
        make_batches(bodies, &prng);
    }
    return bodies;
}

void bodies_free(struct bodies *bodies)
{
    if (bodies != NULL) {
        free(bodies->order);
        free(bodies->ids);
        free(bodies->starts);
        free(bodies->bytes);
        free(bodies);
    }
}

struct body bodies_next(struct bodies *bodies)
{
    size_t turn = bodies->next;
    bodies->next = turn + 1 == bodies->order_count ? 0 : turn + 1;
    size_t message = bodies->order == NULL ? turn : bodies->order[turn];
    if (bodies->ids != NULL) {
        write_id(bodies->bytes + bodies->ids[message], ++bodies->last_id);
    }
    struct body body = {bodies->bytes + bodies->starts[message],
                        bodies->starts[message + 1] - bodies->starts[message]};
    return body;
}
