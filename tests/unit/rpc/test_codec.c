/* The hand-written codec of QuotaService says what protobuf-c says. */
#include "server/rpc/codec.h"

#include "quota/v1/quota.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same(struct qd_str a, const char *b)
{
    return a.len == strlen(b) && (a.len == 0 || memcmp(a.ptr, b, a.len) == 0);
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

Test(codec, I1_a_check_is_read_field_by_field)
{
    Quota__V1__CheckQuotaRequest m;
    quota__v1__check_quota_request__init(&m);
    Quota__V1__Entry label;
    quota__v1__entry__init(&label);
    Quota__V1__Entry *labels[] = {&label};
    Quota__V1__Amount amount;
    quota__v1__amount__init(&amount);
    Quota__V1__Amount *amounts[] = {&amount};
    Quota__V1__Candidate candidate;
    quota__v1__candidate__init(&candidate);
    Quota__V1__Candidate *candidates[] = {&candidate};
    uint8_t bytes[1024];
    struct qd_check_args args;

    label.key = text_of("region");
    label.value = text_of("eu");
    amount.meter = text_of("input_tokens");
    amount.amount = -5;
    candidate.provider = text_of("azure");
    m.tenant = text_of("acme/search");
    m.user = text_of("ann");
    m.n_labels = 1;
    m.labels = labels;
    m.n_estimate = 1;
    m.estimate = amounts;
    m.n_candidates = 1;
    m.candidates = candidates;
    m.max_output_tokens_presence_case =
        QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
    m.max_output_tokens = 0;
    m.request_id = text_of("r1");
    m.attempt = 4000000000U;
    m.ttl_ms = 21600000;
    m.dry_run = 1;
    m.tier = QUOTA__V1__SERVICE_TIER__SERVICE_TIER_FLEX;
    m.brief = 1;
    size_t size = quota__v1__check_quota_request__pack(&m, bytes);
    cr_assert(qd_codec_check((struct qd_str){(const char *)bytes, size}, &args));
    cr_assert(same(args.tenant, "acme/search") && same(args.user, "ann") &&
              same(args.request_id, "r1"));
    cr_assert_eq(args.label_count, 1);
    cr_assert(same(args.labels[0].name, "region") && same(args.labels[0].value, "eu"));
    cr_assert_eq(args.estimate_count, 1);
    cr_assert_eq(args.estimate[0].amount, -5);
    cr_assert_eq(args.candidate_count, 1);
    cr_assert(same(args.candidates[0].provider, "azure"));
    cr_assert(args.max_output_given);
    cr_assert_eq(args.max_output_tokens, 0);
    cr_assert_eq(args.attempt, 4000000000U);
    cr_assert_eq(args.ttl_ms, 21600000);
    cr_assert(args.dry_run && args.brief && !args.no_reservation && !args.event_time_given);
    cr_assert_eq(args.tier, 3);
    for (size_t cut = 1; cut < size; cut++) { /* X2: never past the end, whatever is cut off */
        char *copy = malloc(cut);
        memcpy(copy, bytes, cut);
        (void)qd_codec_check((struct qd_str){copy, cut}, &args);
        free(copy);
    }
}

Test(codec, X2_ten_thousand_labels_are_counted_not_kept)
{
    static uint8_t bytes[40000];
    struct qd_check_args args;
    size_t size = 0;

    for (int i = 0; i < 10000; i++) {
        bytes[size++] = 0x2a; /* field 5, bytes */
        bytes[size++] = 0;
    }
    cr_assert(qd_codec_check((struct qd_str){(const char *)bytes, size}, &args));
    cr_assert_eq(args.label_count, 10000);
}

Test(codec, X2_malformed_bytes_are_refused)
{
    static const char *const bad[] = {
        "\x0a\x05xy",                                   /* a string that ends after the message */
        "\x08\x01",                                     /* tenant as a number */
        "\x0b",                                         /* a group */
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* a number without end */
        "\x02\x01\x61",                                 /* field 0 */
        "\x32\x03\x12\x01x",            /* an estimate's amount as bytes, not to be read as 0 */
        "\x32\x05\x15\xff\xff\xff\xff", /* and as a fixed number */
        "\x32\x02\x08\x01",             /* its meter as a number */
        "\x2a\x02\x10\x01",             /* a label's value as a number */
        "\x42\x02\x18\x01",             /* a candidate's provider as a number */
    };
    struct qd_check_args args;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(qd_codec_check((struct qd_str){bad[i], strlen(bad[i])}, &args), "case %zu",
                      i);
    }
    cr_assert(qd_codec_check((struct qd_str){"\xa2\x1f\x01x", 4}, &args),
              "unknown fields are skipped");
    cr_assert(qd_codec_check((struct qd_str){"\xa2\x9f\x80\x80\x00\x01x", 7}, &args));
    cr_assert_not(qd_codec_check((struct qd_str){"\xa2\x9f\x80\x80\x80\x00\x01x", 8}, &args),
                  "a tag of more than 5 bytes");
    cr_assert(qd_codec_check((struct qd_str){"\x0a\x81\x80\x80\x80\x00x", 7}, &args));
    cr_assert_not(qd_codec_check((struct qd_str){"\x0a\x81\x80\x80\x80\x80\x00x", 8}, &args),
                  "a length of more than 5 bytes");
}

Test(codec, I1_an_answer_is_what_protobuf_reads)
{
    static const struct qd_meter_def meters[] = {{.name = "requests"}, {.name = "input_tokens"}};
    struct qd_policy policy = {.meters = meters, .meter_count = 2};
    struct qd_limit limit = {.name = "tokens",
                             .owner = "free",
                             .algorithm = QD_SLIDING_WINDOW,
                             .window_ns = 60 * QD_NS_PER_S,
                             .admit = {.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}}},
                             .unit = "tokens"};
    struct qd_check_answer *a = calloc(1, sizeof(*a));
    a->policy = &policy;
    static uint8_t bytes[4096];
    struct qd_out out;
    static const char name[] = "hobby model=gpt 4o user=a b";

    a->denial = QD_DENIAL_LIMIT;
    a->verdict.binding = (struct qd_limit_state){.limit = &limit,
                                                 .amount = 40000,
                                                 .depth = 1,
                                                 .name = {name, strlen(name)},
                                                 .used = 39200,
                                                 .estimate = 1600,
                                                 .remaining = 800,
                                                 .resets_at = {INT64_MAX}};
    a->retry_after_ns = 12400 * QD_NS_PER_MS;
    a->retry_useful = true;
    memcpy(a->message, "why", 3);
    a->message_len = 3;
    qd_usage_set(&a->verdict.estimate, QD_METER_INPUT_TOKENS, 1600);
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_codec_put_check(&out, a, true, (struct qd_wall_ns){1});
    cr_assert_not(out.full);
    Quota__V1__CheckQuotaResponse *m =
        quota__v1__check_quota_response__unpack(NULL, qd_out_used(&out), bytes);
    cr_assert_not_null(m);
    cr_assert_eq(m->verdict, QUOTA__V1__VERDICT__VERDICT_DENIED);
    cr_assert_eq(m->reason, QUOTA__V1__REASON__REASON_LIMIT);
    cr_assert_str_eq(m->limit->name, "free.tokens");
    cr_assert_str_eq(m->limit->tenant, "hobby");
    cr_assert_eq(m->limit->n_keys, 2);
    cr_assert_str_eq(m->limit->keys[0]->value, "gpt 4o");
    cr_assert_str_eq(m->limit->keys[1]->value, "a b");
    cr_assert_str_eq(m->limit->meter, "input_tokens");
    cr_assert_eq(m->limit->resets_at_unix_ns, 0);
    cr_assert_str_eq(m->message, "why");
    cr_assert_eq(m->n_held, 1);
    cr_assert_eq(m->n_headers, 6);
    static const char *const headers[][2] = {{"retry-after", "13"},
                                             {"ratelimit-policy", "\"free.tokens\";q=40000;w=60"},
                                             {"ratelimit", "\"free.tokens\";r=800;t=13"},
                                             {"x-ratelimit-limit-tokens", "40000"},
                                             {"x-ratelimit-remaining-tokens", "800"},
                                             {"x-ratelimit-reset-tokens", "12.4s"}};
    for (size_t i = 0; i < 6; i++) { /* I5 */
        cr_assert_str_eq(m->headers[i]->name, headers[i][0]);
        cr_assert_str_eq(m->headers[i]->value, headers[i][1]);
    }
    quota__v1__check_quota_response__free_unpacked(m, NULL);
    for (size_t room = 0; room < qd_out_used(&out); room++) { /* never past the end of the buffer */
        uint8_t *small = malloc(room + 1);
        struct qd_out cut;
        qd_out_init(&cut, small, room);
        qd_codec_put_check(&cut, a, true, (struct qd_wall_ns){1});
        cr_assert(cut.full);
        free(small);
    }
    free(a);
}

Test(codec, I5_headers_are_ready_to_copy)
{
    struct qd_check_answer *a = calloc(1, sizeof(*a));
    struct qd_limit limit = {.name = "cost", .owner = "free", .money = true};
    static uint8_t bytes[512];
    struct qd_out out;

    a->verdict.binding.limit = &limit;
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_codec_put_headers(&out, 12, a, (struct qd_wall_ns){1});
    cr_assert_eq(qd_out_used(&out), 0, "a tenant isn't told what it costs us");
    free(a);
}

/* What `x-ratelimit-reset-tokens` says when `wait_ns` are to be waited. */
static void resets_in(int64_t wait_ns, const char *expected)
{
    struct qd_limit limit = {.name = "tokens",
                             .owner = "free",
                             .algorithm = QD_SLIDING_WINDOW,
                             .admit = {.count = 1, .den = 1, .item = {{QD_METER_TOKENS, 1}}}};
    struct qd_check_answer *a = calloc(1, sizeof(*a));
    static uint8_t bytes[1024];
    struct qd_out out;
    char wanted[128];

    a->verdict.binding = (struct qd_limit_state){.limit = &limit};
    a->retry_useful = true;
    a->retry_after_ns = wait_ns;
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_codec_put_headers(&out, 12, a, (struct qd_wall_ns){1});
    /* HttpHeader {1: name, 2: value} */
    int len = snprintf(wanted, sizeof(wanted), "x-ratelimit-reset-tokens\x12%c%s",
                       (int)strlen(expected), expected);
    cr_expect_not_null(memmem(bytes, qd_out_used(&out), wanted, (size_t)len), "%lld ns is not %s",
                       (long long)wait_ns, expected);
    free(a);
}

Test(codec, I5_reset_headers_never_come_early)
{
    resets_in(1, "1ms");
    resets_in(999 * QD_NS_PER_MS, "999ms");
    resets_in(QD_NS_PER_S - 1, "1.0s");
    resets_in(QD_NS_PER_S, "1.0s");
    resets_in(8417911509, "8.5s");
    resets_in(12400 * QD_NS_PER_MS, "12.4s");
    resets_in(59950 * QD_NS_PER_MS, "1m0s");
    resets_in(60660 * QD_NS_PER_MS, "1m1s");
    resets_in(3599 * QD_NS_PER_S + 1, "1h0m0s");
    resets_in(5400 * QD_NS_PER_S, "1h30m0s");
}

/* The headers of a denial by `limit`, as "name: value\n" lines. */
static void headers_of(const struct qd_limit *limit, int64_t retry_after_ns, char *ret, size_t size)
{
    static const struct qd_meter_def meters[] = {{.name = "requests"}};
    struct qd_policy policy = {.meters = meters, .meter_count = 1};
    struct qd_check_answer *a = calloc(1, sizeof(*a));
    a->policy = &policy;
    static uint8_t bytes[2048];
    struct qd_out out;
    size_t at = 0;

    a->denial = QD_DENIAL_LIMIT;
    a->retry_useful = true;
    a->retry_after_ns = retry_after_ns;
    a->verdict.binding = (struct qd_limit_state){
        .limit = limit, .amount = 2, .burst = 3, .remaining = 1, .resets_at = {INT64_MAX}};
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_codec_put_check(&out, a, true, (struct qd_wall_ns){1});
    Quota__V1__CheckQuotaResponse *m =
        quota__v1__check_quota_response__unpack(NULL, qd_out_used(&out), bytes);
    cr_assert_not_null(m);
    ret[0] = '\0';
    for (size_t i = 0; i < m->n_headers; i++) {
        at += (size_t)snprintf(ret + at, size - at, "%s: %s\n", m->headers[i]->name,
                               m->headers[i]->value);
    }
    quota__v1__check_quota_response__free_unpacked(m, NULL);
    free(a);
}

/* I5: OpenAI's form is for requests and tokens; a window is named where there is one. */
Test(codec, I5_each_unit_gets_its_own_headers)
{
    char text[1024];
    struct qd_limit limit = {.name = "l",
                             .owner = "p",
                             .algorithm = QD_SLIDING_WINDOW,
                             .window_ns = 60 * QD_NS_PER_S,
                             .admit = {.count = 1, .den = 1, .item = {{QD_METER_REQUESTS, 1}}}};

    headers_of(&limit, QD_NS_PER_S, text, sizeof(text));
    cr_expect_str_eq(text, "retry-after: 1\nratelimit-policy: \"p.l\";q=2;w=60\n"
                           "ratelimit: \"p.l\";r=1;t=1\nx-ratelimit-limit-requests: 2\n"
                           "x-ratelimit-remaining-requests: 1\n"
                           "x-ratelimit-reset-requests: 1.0s\n");
    limit.algorithm = QD_TOKEN_BUCKET;
    limit.admit = (struct qd_weights){
        .count = 2, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}, {QD_METER_OUTPUT_TOKENS, 5}}};
    headers_of(&limit, QD_NS_PER_S, text, sizeof(text));
    cr_expect_str_eq(text, "retry-after: 1\nratelimit-policy: \"p.l\";q=3;w=60\n"
                           "ratelimit: \"p.l\";r=1;t=1\nx-ratelimit-limit-tokens: 3\n"
                           "x-ratelimit-remaining-tokens: 1\nx-ratelimit-reset-tokens: 1.0s\n");
    limit.algorithm = QD_SLIDING_WINDOW;
    limit.admit = (struct qd_weights){.count = 1, .den = 1, .item = {{QD_METER_GPU_MS, 1}}};
    headers_of(&limit, QD_NS_PER_S, text, sizeof(text));
    cr_expect_str_eq(text,
                     "retry-after: 1\nratelimit-policy: \"p.l\";q=2;w=60\n"
                     "ratelimit: \"p.l\";r=1;t=1\n",
                     "GPU time is not tokens");
    limit.admit.item[0].meter = QD_METER_CONCURRENCY;
    limit.algorithm = QD_CONCURRENCY;
    headers_of(&limit, QD_NS_PER_S, text, sizeof(text));
    cr_expect_str_eq(text,
                     "retry-after: 1\nratelimit-policy: \"p.l\";q=2\n"
                     "ratelimit: \"p.l\";r=1;t=1\n",
                     "concurrency has no window");
    limit.admit.item[0].meter = QD_METER_COST;
    limit.algorithm = QD_SLIDING_WINDOW;
    limit.money = true;
    headers_of(&limit, QD_NS_PER_S, text, sizeof(text));
    cr_expect_str_eq(text, "retry-after: 1\n", "a tenant isn't told what it costs us");
}

Test(codec, I1_reports_extensions_and_cancellations_are_read)
{
    struct qd_report_args report;
    struct qd_extend_args extend;
    struct qd_str reservation;
    struct qd_str tenant;
    Quota__V1__ReportUsageRequest m;
    quota__v1__report_usage_request__init(&m);
    uint8_t bytes[256];

    m.reservation = text_of("qr1.x");
    m.source = text_of("pool");
    m.sequence = 7;
    m.partial = 1;
    m.outcome = QUOTA__V1__OUTCOME__OUTCOME_FAILED;
    m.event_time_presence_case =
        QUOTA__V1__REPORT_USAGE_REQUEST__EVENT_TIME_PRESENCE_EVENT_TIME_UNIX_NS;
    m.event_time_unix_ns = 42;
    size_t size = quota__v1__report_usage_request__pack(&m, bytes);
    cr_assert(qd_codec_report((struct qd_str){(const char *)bytes, size}, &report));
    cr_assert(same(report.reservation, "qr1.x") && same(report.source, "pool"));
    cr_assert(report.sequence == 7 && report.partial && report.outcome == 3 &&
              report.event_time_ns == 42);
    /* A field with another wire type is refused, not taken for 0. */
    cr_assert_not(qd_codec_report((struct qd_str){"\x6a\x03\x12\x01x", 5}, &report));
    cr_assert_not(qd_codec_extend((struct qd_str){"\x1a\x03\x12\x01x", 5}, &extend));
    cr_assert_not(qd_codec_cancel((struct qd_str){"\x10\x01", 2}, &reservation, &tenant));
    cr_assert(qd_codec_extend((struct qd_str){"\x0a\x01x\x20\xe8\x07", 6}, &extend));
    cr_assert_eq(extend.ttl_ms, 1000);
    cr_assert(qd_codec_cancel((struct qd_str){"\x0a\x01x\x12\x01t", 6}, &reservation, &tenant));
    cr_assert(same(reservation, "x") && same(tenant, "t"));
}
