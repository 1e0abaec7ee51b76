/* envoyproxy/ratelimit's files: no input crashes the loader, a file is either in the set or has an
 * error, and each rule of it is found by its own keys and values, or by what stands before it. Its
 * metadata is written as protobuf-c reads it. */
#include "server/policy/problem.h"
#include "server/rls/match.h"
#include "server/rls/value.h"
#include "server/rpc/rls_metadata.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536
#define RULES_MAX      50
#define NAME_MAX_BYTES 100

/* Ask for the words of a rule's path: any answer will do, if it holds together. */
static void ask(const struct qd_rls_domain *domain, const struct qd_rls_rule *rule)
{
    struct qd_rls_entry entries[QD_RLS_DEPTH_MAX + 1];
    struct qd_rls_match match;
    char name[NAME_MAX_BYTES];
    size_t count = 0;
    const char *at = rule->path + domain->name.len;
    while (*at == '.' && count <= QD_RLS_DEPTH_MAX) {
        size_t len = strcspn(at + 1, ".");
        const char *line = memchr(at + 1, '_', len);
        size_t key = line != NULL ? (size_t)(line - at - 1) : len;
        entries[count].key = (struct qd_str){at + 1, key};
        entries[count].value =
            line != NULL ? (struct qd_str){line + 1, len - key - 1} : (struct qd_str){NULL, 0};
        count++;
        at += 1 + len;
    }
    if (qd_rls_match(domain, entries, count, 1, NULL, &match)) {
        size_t len = qd_rls_match_name(&match, entries, name, sizeof name);
        assert(match.rule != NULL && match.depth == count && match.steps > 0);
        assert(len >= domain->name.len && strlen(name) <= len);
    }
    (void)qd_rls_override_counter(domain, entries, count, 1);
}

static void struct_same(const struct qd_rls_value *value, const Google__Protobuf__Struct *m);

static void value_same(const struct qd_rls_value *value, const Google__Protobuf__Value *m)
{
    switch (value->kind) {
    case QD_RLS_VALUE_NULL:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE);
        break;
    case QD_RLS_VALUE_BOOL:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE);
        assert((m->bool_value != 0) == value->boolean);
        break;
    case QD_RLS_VALUE_NUMBER:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE);
        assert(m->number_value == value->number);
        break;
    case QD_RLS_VALUE_STRING:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE);
        assert(strncmp(m->string_value, value->string.len > 0 ? value->string.ptr : "",
                       value->string.len) == 0);
        break;
    case QD_RLS_VALUE_STRUCT:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE);
        struct_same(value, m->struct_value);
        break;
    case QD_RLS_VALUE_LIST:
        assert(m->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE);
        assert(m->list_value->n_values == value->count);
        for (size_t i = 0; i < value->count; i++) {
            value_same(&value->items[i], m->list_value->values[i]);
        }
        break;
    }
}

static void struct_same(const struct qd_rls_value *value, const Google__Protobuf__Struct *m)
{
    assert(m->n_fields == value->count);
    for (size_t i = 0; i < value->count; i++) {
        assert(strcmp(m->fields[i]->key, value->keys[i]) == 0);
        value_same(&value->items[i], m->fields[i]->value);
    }
}

static void check_metadata(const struct qd_rls_value *metadata)
{
    static uint8_t bytes[1 << 20];
    struct qd_out out;

    qd_out_init(&out, bytes, sizeof bytes);
    qd_rls_metadata_put_fields(metadata, &out);
    if (out.full) { /* a long text, said often by aliases */
        return;
    }
    Google__Protobuf__Struct *m = google__protobuf__struct__unpack(NULL, qd_out_used(&out), bytes);
    assert(m != NULL);
    struct_same(metadata, m);
    google__protobuf__struct__free_unpacked(m, NULL);
}

static void check_rule(const struct qd_rls_domain *domain, const struct qd_rls_rule *rule)
{
    assert(rule->unlimited == (rule->unit == QD_RLS_UNIT_UNKNOWN));
    assert(rule->unlimited || qd_rls_unit_seconds((int)rule->unit) > 0);
    assert(strncmp(rule->path, domain->name.ptr, domain->name.len) == 0);
    assert(!qd_rls_rule_replaces(rule, rule));
    if (rule->metadata != NULL) {
        check_metadata(rule->metadata);
    }
    ask(domain, rule);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_problems *problems = size <= FUZZ_BYTES_MAX ? qd_problems_new(5) : NULL;
    if (problems == NULL) {
        return 0;
    }
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("fuzz.yaml", data, size, problems);
    assert(rules != NULL);
    const struct qd_rls_domain *domain = qd_rls_rules_file(rules, 0)->domain;
    assert((domain == NULL) == (qd_problems_errors(problems) > 0));
    assert(qd_rls_rules_failed_count(rules) == (domain == NULL));
    free(qd_problems_text(problems));
    if (domain != NULL) {
        assert(qd_rls_rules_domain(rules, domain->name) == domain);
        for (size_t i = 0; i < domain->rule_count && i < RULES_MAX; i++) {
            check_rule(domain, domain->rules[i]);
        }
    }
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return 0;
}
