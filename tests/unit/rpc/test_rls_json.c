/* Point 16: the JSON of a rate limit request and answer, as Go's protojson has it. */
#include "server/rpc/rls_json.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "server/rpc/rls_codec.h"
#include "server/rpc/rls_metadata.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qd_rls_request request;
static struct qd_error error;
static uint8_t bytes[QD_RLS_ENTRIES_MAX * 4096];

static bool same(struct qd_str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

static enum qd_error_code read_bytes(const char *json, size_t len)
{
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof(bytes));
    enum qd_error_code code = qd_rls_json_read((struct qd_str){json, len}, &out, &error);
    if (code != QD_ERROR_NONE) {
        cr_assert_eq(code, error.code);
        return code;
    }
    return qd_rls_decode((struct qd_str){(const char *)bytes, qd_out_used(&out)}, &request, &error);
}

static enum qd_error_code read_json(const char *json)
{
    return read_bytes(json, strlen(json));
}

static void expect_refused(const char *json, const char *why)
{
    cr_expect_neq(read_json(json), QD_ERROR_NONE, "%s", json);
    cr_expect(strstr(error.text, why) != NULL, "%s: %s", json, error.text);
}

Test(rls_json, I3_point_16_every_field_by_both_names)
{
    static const char *const forms[] = {
        "{\"domain\": \"d\", \"hitsAddend\": 7, \"descriptors\": [{\"entries\": [{\"key\": \"k\", "
        "\"value\": \"v\"}, {\"key\": \"only\"}], \"limit\": {\"requestsPerUnit\": 5, \"unit\": "
        "\"HOUR\"}, \"hitsAddend\": \"18446744073709551615\", \"isNegativeHits\": true}, {}]}",
        "{\"domain\": \"d\", \"hits_addend\": \"7\", \"descriptors\": [{\"entries\": [{\"key\": "
        "\"k\", \"value\": \"v\"}, {\"key\": \"only\", \"value\": null}], \"limit\": "
        "{\"requests_per_unit\": 5e0, \"unit\": 3}, \"hits_addend\": 18446744073709551615, "
        "\"is_negative_hits\": true}, {\"limit\": null}]} \n"};

    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(read_json(forms[i]), QD_ERROR_NONE, "%zu: %s", i, error.text);
        cr_expect(same(request.domain, "d"));
        cr_expect_eq(request.hits_addend, 7);
        cr_assert_eq(request.descriptor_count, 2);
        const struct qd_rls_descriptor *d = &request.descriptors[0];
        cr_assert_eq(d->entry_count, 2);
        cr_expect(same(d->entries[0].key, "k") && same(d->entries[0].value, "v"));
        cr_expect(same(d->entries[1].key, "only") && d->entries[1].value.len == 0);
        cr_expect(d->has_limit && d->limit_requests == 5 && d->limit_unit == QD_RLS_UNIT_HOUR);
        cr_expect(d->has_hits && d->hits == UINT64_MAX && d->negative);
        d = &request.descriptors[1];
        cr_expect(d->entry_count == 0 && !d->has_limit && !d->has_hits && !d->negative);
    }
}

Test(rls_json, I3_point_16_zeros_are_there_and_nulls_are_not)
{
    cr_assert_eq(read_json("{\"descriptors\": [{\"hitsAddend\": 0, \"limit\": {}}, "
                           "{\"hitsAddend\": null, \"entries\": null}], \"domain\": null}"),
                 QD_ERROR_NONE);
    cr_expect(request.descriptors[0].has_hits && request.descriptors[0].hits == 0);
    cr_expect(request.descriptors[0].has_limit && request.descriptors[0].limit_unit == 0);
    cr_expect_not(request.descriptors[1].has_hits);
    cr_expect_eq(request.domain.len, 0);
    cr_assert_eq(read_json("{}"), QD_ERROR_NONE);
    cr_expect_eq(request.descriptor_count, 0);
}

Test(rls_json, I3_point_16_numbers_may_be_texts_and_have_a_point)
{
    static const char *const good[] = {"9", "\"9\"", "9.0", "\"9.0\"", "0.9e1", "\"90e-1\""};
    static const char *const bad[] = {
        "-1",     "\"-1\"",        "1.5",     "\"1.5\"", "4294967296", "\"\"",
        "\" 9\"", "\"9 \"",        "\"0x9\"", "1e10",    "\"09\"",     "true",
        "[9]",    "{\"value\":9}", "\"NaN\"", "NaN",     "1e999",      "99999999999999999999"};
    char json[64];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"hitsAddend\": %s}", good[i]);
        cr_expect_eq(read_json(json), QD_ERROR_NONE, "%s: %s", json, error.text);
        cr_expect_eq(request.hits_addend, 9, "%s", json);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"hitsAddend\": %s}", bad[i]);
        cr_expect_neq(read_json(json), QD_ERROR_NONE, "%s", json);
    }
}

Test(rls_json, I8_what_is_refused_says_where)
{
    expect_refused("{\"descriptors\": [{}, {\"entries\": [{\"key\": 7}]}]}",
                   "descriptors[1].entries[0].key: a text is expected");
    expect_refused("{\"descriptor\": []}", "\"descriptor\" is no field of it");
    expect_refused("{\"hitsAddend\": 1, \"hits_addend\": 1}", "both of its names");
    expect_refused("{\"descriptors\": {}}", "descriptors: a list is expected");
    expect_refused("{\"descriptors\": [null]}", "descriptors[0]: a map of fields is expected");
    expect_refused("{\"descriptors\": [{\"limit\": {\"unit\": \"WEEK\"}}]}",
                   "descriptors[0].limit.unit: SECOND, MINUTE, HOUR, DAY, MONTH or YEAR");
    expect_refused("{\"descriptors\": [{\"isNegativeHits\": 1}]}", "isNegativeHits: true or false");
    expect_refused("[]", "a map of fields is expected");
    expect_refused("7 ", "a map of fields is expected");
}

Test(rls_json, X2_what_is_no_json_is_refused)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "null",
                                      "{}{}",
                                      "{} x",
                                      "{'domain': 'd'}",
                                      "{\"domain\": \"d\",}",
                                      "{\"domain\": \"\xff\"}",
                                      "{\"domain\": \"d",
                                      "\x0a\x01z"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_neq(read_json(bad[i]), QD_ERROR_NONE, "case %zu", i);
    }
    cr_expect_neq(read_bytes("{}\0{}", 5), QD_ERROR_NONE);
    cr_expect_eq(read_json("{\"domain\": \"a\\u0000b\"}"), QD_ERROR_NONE);
    cr_expect_eq(request.domain.len, 3);
    static char deep[4096];
    memset(deep, '[', sizeof(deep) - 1);
    cr_expect_neq(read_json(deep), QD_ERROR_NONE);
    struct qd_out out;
    for (size_t size = 0; size < 20; size++) { /* never past the end */
        char json[] =
            "{\"domain\": \"domain\", \"descriptors\": [{\"entries\": [{\"key\": \"k\"}]}]}";
        uint8_t *room = malloc(size + 1);
        qd_out_init(&out, room, size);
        cr_expect_eq(qd_rls_json_read((struct qd_str){json, sizeof(json) - 1}, &out, &error),
                     QD_ERROR_MESSAGE_TOO_LARGE);
        free(room);
    }
}

Test(rls_json, I3_point_16_an_answer_is_written)
{
    static struct qd_rls_answer answer;
    struct qd_out out;

    answer.overall_code = QD_RLS_OVER_LIMIT;
    answer.status_count = 3;
    answer.statuses[0] = (struct qd_rls_status){.code = QD_RLS_OVER_LIMIT,
                                                .has_limit = true,
                                                .requests_per_unit = 4294967295U,
                                                .unit = QD_RLS_UNIT_WEEK,
                                                .name = {"n/\"", 3},
                                                .has_reset = true,
                                                .reset_s = 60};
    answer.statuses[1] = (struct qd_rls_status){.code = QD_RLS_OK, .limit_remaining = UINT32_MAX};
    answer.statuses[2] =
        (struct qd_rls_status){.code = QD_RLS_OK, .has_limit = true, .unit = 77, .has_reset = true};
    answer.header_count = 1;
    answer.headers[0] = (struct qd_rls_header){{"RateLimit-Limit", 15}, {"5", 1}};
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_rls_encode(&answer, &out);
    struct qd_rls_json_answer said =
        qd_rls_json_write((struct qd_str){(const char *)bytes, qd_out_used(&out)}, NULL);
    cr_expect_str_eq(
        said.text,
        "{\"overallCode\":\"OVER_LIMIT\",\"statuses\":[{\"code\":\"OVER_LIMIT\",\"currentLimit\":{"
        "\"requestsPerUnit\":4294967295,\"unit\":\"WEEK\",\"name\":\"n/\\\"\"},"
        "\"durationUntilReset\":\"60s\"},{\"code\":\"OK\",\"limitRemaining\":4294967295},{\"code\":"
        "\"OK\",\"currentLimit\":{\"unit\":77},\"durationUntilReset\":\"0s\"}],"
        "\"responseHeadersToAdd\":[{\"key\":\"RateLimit-Limit\",\"value\":\"5\"}]}");
    cr_expect_eq(said.len, strlen(said.text));
    cr_expect_eq(said.overall_code, QD_RLS_OVER_LIMIT);
    free(said.text);
    said = qd_rls_json_write((struct qd_str){"", 0}, NULL);
    cr_expect_str_eq(said.text, "{\"statuses\":[]}");
    cr_expect_eq(said.overall_code, QD_RLS_UNKNOWN);
    free(said.text);
    said = qd_rls_json_write((struct qd_str){"\xff", 1}, NULL);
    cr_expect_null(said.text);
}

Test(rls_json, I3_point_16_metadata_is_plain_json)
{
    static const char yaml[] = "domain: d\n"
                               "descriptors:\n"
                               "- key: k\n"
                               "  rate_limit: {unit: day, requests_per_unit: 1}\n"
                               "  metadata: {a: 2, b: [0.1, null, {c: 1.5e300}], d: '', e: no}\n";
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("a.yaml", yaml, sizeof(yaml) - 1, problems);
    cr_assert(rules != NULL && qd_rls_rules_failed_count(rules) == 0);
    struct qd_out out;
    qd_out_init(&out, bytes, sizeof(bytes));
    uint8_t *message = qd_out_begin(&out, 6);
    qd_rls_metadata_put_fields(qd_rls_rules_file(rules, 0)->domain->rules[0]->metadata, &out);
    qd_out_end(&out, message);
    struct qd_rls_json_answer said =
        qd_rls_json_write((struct qd_str){(const char *)bytes, qd_out_used(&out)}, NULL);
    cr_assert_not_null(said.text);
    cr_expect_str_eq(said.text,
                     "{\"statuses\":[],\"dynamicMetadata\":{\"a\":2,\"b\":[0.1,null,{\"c\":"
                     "1.5e+300}],\"d\":\"\",\"e\":false}}");
    free(said.text);
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
}
