/* Point 13: the dynamic metadata of an answer, as protobuf-c reads it. */
#include "server/rpc/rls_metadata.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "server/rls/match.h"
#include "tests/unit/rpc/struct_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Envoy__Service__Ratelimit__V3__RateLimitResponse response_message;

static struct qd_rls_request request;
static uint8_t bytes[65536];
static const struct qd_rls_rule *passed[QD_RLS_DESCRIPTORS_MAX];

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

/* What is in the answer; good until the next call. */
static const char *metadata(size_t count)
{
    static char text[8192];
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof(bytes));
    qd_rls_metadata_put(&request, passed, count, &out);
    cr_assert_not(out.full);
    response_message *m =
        envoy__service__ratelimit__v3__rate_limit_response__unpack(NULL, qd_out_used(&out), bytes);
    cr_assert(m != NULL && m->dynamic_metadata != NULL);
    FILE *stream = fmemopen(text, sizeof(text), "w");
    struct_text_print(stream, m->dynamic_metadata);
    (void)fclose(stream);
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, NULL);
    for (size_t size = 0; size < qd_out_used(&out); size += 7) { /* never past the end */
        struct qd_out cut;
        uint8_t *room = malloc(size + 1);
        qd_out_init(&cut, room, size);
        qd_rls_metadata_put(&request, passed, count, &cut);
        cr_assert(cut.full);
        free(room);
    }
    return text;
}

/* --- rules --- */

static struct qd_rls_rules *rules;

static void load(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    rules = qd_rls_rules_load_bytes("a.yaml", yaml, strlen(yaml), problems);
    char *lines = qd_problems_text(problems);
    cr_assert(rules != NULL && qd_problems_errors(problems) == 0, "%s", lines);
    free(lines);
    qd_problems_free(problems);
    const struct qd_rls_domain *domain = qd_rls_rules_file(rules, 0)->domain;
    for (size_t i = 0; i < domain->rule_count && i < QD_RLS_DESCRIPTORS_MAX; i++) {
        passed[i] = domain->rules[i];
    }
}

static void begin(void)
{
    memset(&request, 0, sizeof(request));
    memset(passed, 0, sizeof(passed));
    request.domain = str("d");
    request.descriptor_count = 1;
    request.descriptors[0].entry_count = 1;
    request.descriptors[0].entries[0] = (struct qd_rls_entry){str("k"), str("v")};
    rules = NULL;
}

static void end(void)
{
    qd_rls_rules_free(rules);
}

TestSuite(rls_metadata, .init = begin, .fini = end);

Test(rls_metadata, I3_point_13_what_was_asked_is_told)
{
    cr_expect_str_eq(metadata(0), "{domain: 'd', descriptors: [{entries: ['k=v']}]}");
    request.hits_addend = 4294967295U;
    request.descriptor_count = 3;
    struct qd_rls_descriptor *d = request.descriptors;
    d[0].entry_count = 2;
    d[0].entries[1] = (struct qd_rls_entry){str("e"), {NULL, 0}};
    d[0].has_hits = true;
    d[1].hits = 7; /* of the request before */
    d[1].has_limit = true;
    d[1].limit_requests = 5;
    d[1].limit_unit = QD_RLS_UNIT_MINUTE;
    d[2].has_limit = true;
    d[2].limit_unit = QD_RLS_UNIT_WEEK;
    d[2].has_hits = true;
    d[2].hits = 3;
    cr_expect_str_eq(metadata(0),
                     "{domain: 'd', descriptors: [{entries: ['k=v', 'e='], hitsAddend: 0}, "
                     "{entries: [], limit: 'requests_per_unit:5 unit:MINUTE'}, "
                     "{entries: [], limit: 'unit:7', hitsAddend: 3}], hitsAddend: 4.29497e+09}");
}

Test(rls_metadata, X2_bytes_that_are_no_text_are_told_as_question_marks)
{
    request.descriptors[0].entry_count = 3;
    request.descriptors[0].entries[0].value = str("\xff\xfe");
    request.descriptors[0].entries[1] =
        (struct qd_rls_entry){str("m"), str("a\xc3\xa9\xc3z\xed\xa0")};
    request.descriptors[0].entries[2] = (struct qd_rls_entry){str("n"), str("\xc3\xa9")};
    cr_expect_str_eq(metadata(0),
                     "{domain: 'd', descriptors: [{entries: ['k=\?\?', 'm=a\xc3\xa9?z\?\?', "
                     "'n=\xc3\xa9']}]}");
}

Test(rls_metadata, I3_point_13_metadata_of_rules_is_put_together)
{
    load(
        "domain: d\n"
        "descriptors:\n"
        "- {key: a, rate_limit: {unit: day, requests_per_unit: 1}, metadata: {tier: gold, n: 1.5,\n"
        "   deep: {x: 1, more: {p: true}}, list: [1, null, {z: ''}], flat: 1}}\n"
        "- {key: b, rate_limit: {unit: day, requests_per_unit: 1}}\n"
        "- {key: c, rate_limit: {unit: day, requests_per_unit: 1}, metadata: {tier: silver,\n"
        "   list: [2], deep: {x: 2, y: 2, more: {q: no, p: no}}, flat: {s: 1}, new: {s: 1}}}\n"
        "- {key: d, rate_limit: {unit: day, requests_per_unit: 1}, metadata: {deep: 3, new: {t: "
        "2}}}\n");
    cr_expect_str_eq(metadata(1),
                     "{domain: 'd', descriptors: [{entries: ['k=v']}], metadata: {tier: 'gold', "
                     "n: 1.5, deep: {x: 1, more: {p: true}}, list: [1, null, {z: ''}], flat: 1}}");
    cr_expect_str_eq(metadata(4),
                     "{domain: 'd', descriptors: [{entries: ['k=v']}], metadata: {tier: 'gold', "
                     "n: 1.5, deep: {x: 1, more: {p: true, q: false}, y: 2}, list: [1, null, {z: "
                     "''}], flat: 1, new: {s: 1, t: 2}}}");
    passed[0] = NULL;
    passed[3] = passed[2]; /* one rule for two descriptors */
    cr_expect_str_eq(metadata(4),
                     "{domain: 'd', descriptors: [{entries: ['k=v']}], metadata: {tier: 'silver', "
                     "list: [2], deep: {x: 2, y: 2, more: {q: false, p: false}}, flat: {s: 1}, "
                     "new: {s: 1}}}");
}

Test(rls_metadata, I3_point_13_an_empty_map_is_no_metadata)
{
    load("domain: d\n"
         "descriptors:\n"
         "- {key: a, rate_limit: {unit: day, requests_per_unit: 1}, metadata: {}}\n");
    cr_expect_str_eq(metadata(1), "{domain: 'd', descriptors: [{entries: ['k=v']}]}");
}

Test(rls_metadata, X2_what_is_put_together_is_bounded)
{
    static char yaml[65536];
    size_t used = (size_t)snprintf(yaml, sizeof(yaml), "domain: d\ndescriptors:\n");

    for (unsigned i = 0; i < 20; i++) { /* 20 * 101 values */
        used += (size_t)snprintf(yaml + used, sizeof(yaml) - used,
                                 "- key: k%u\n  rate_limit: {unit: day, requests_per_unit: 1}\n"
                                 "  metadata: {",
                                 i);
        for (unsigned k = 0; k < 100; k++) {
            used += (size_t)snprintf(yaml + used, sizeof(yaml) - used, "%sr%uv%u: ''",
                                     k > 0 ? ", " : "", i, k);
        }
        used += (size_t)snprintf(yaml + used, sizeof(yaml) - used, "}\n");
    }
    load(yaml);
    struct qd_out out;
    qd_out_init(&out, bytes, sizeof(bytes));
    qd_rls_metadata_put(&request, passed, 20, &out);
    cr_assert_not(out.full);
    response_message *m =
        envoy__service__ratelimit__v3__rate_limit_response__unpack(NULL, qd_out_used(&out), bytes);
    const Google__Protobuf__Struct *all = m->dynamic_metadata;
    cr_assert_eq(all->n_fields, 3);
    cr_expect_eq(all->fields[2]->value->struct_value->n_fields, 1000);
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, NULL);
}
