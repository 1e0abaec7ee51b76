/* The metadata of a rule, and the truth values and numbers of YAML. */
#include "helper.h"
#include "server/rls/value.h"

#include <criterion/criterion.h>
#include <string.h>

Test(value, I3_truth_values_are_those_of_yaml)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "Y"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "off", "Off", "n", "N"};
    static const char *const none[] = {"", "1", "tRUE", "truE", "TRue", "yess", "~"};
    bool value;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        cr_expect(qd_rls_bool_parse(yes[i], &value) && value, "%s", yes[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        cr_expect(qd_rls_bool_parse(no[i], &value) && !value, "%s", no[i]);
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        cr_expect_not(qd_rls_bool_parse(none[i], &value), "%s", none[i]);
    }
}

Test(value, I3_numbers_are_those_of_yaml)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},     {"600", 600}, {"1_000_000", 1000000},
                {"0x1F", 31}, {"0b101", 5}, {"0o17", 15},
                {"017", 15},  {"+5", 5},    {"4294967295", 4294967295}};
    static const char *const bad[] = {"",
                                      "-1",
                                      "4294967296",
                                      "1.5",
                                      "1e3",
                                      "09",
                                      " 5",
                                      "5 ",
                                      "0x",
                                      "0x-5",
                                      "--5",
                                      "_5",
                                      "99999999999999999999999",
                                      "five"};
    uint64_t value;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_expect(qd_rls_number_parse(good[i].text, UINT32_MAX, &value), "%s", good[i].text);
        cr_expect_eq(value, good[i].value, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_not(qd_rls_number_parse(bad[i], UINT32_MAX, &value), "%s", bad[i]);
    }
}

Test(value, I3_point_13_metadata_is_kept_as_a_struct)
{
    struct qd_rls_rules *rules = load_rules(
        "domain: d\n"
        "descriptors:\n"
        "- key: k\n"
        "  rate_limit: {unit: second, requests_per_unit: 1}\n"
        "  metadata: {team: search, tier: 2, ratio: -1.5e2, quoted: '2', on_call: true, none: ~,\n"
        "             tags: [a, {b: c}], big: .inf, minus: -7, unit: any}\n");
    struct qd_rls_match match;
    cr_assert(match_words(rules, "d", "k=v", &match));
    const struct qd_rls_value *m = match.rule->metadata;
    cr_assert(m != NULL && m->kind == QD_RLS_VALUE_STRUCT);
    cr_expect_eq(m->count, 10);
    cr_expect_str_eq(qd_rls_value_get(m, "team")->string.ptr, "search");
    cr_expect_eq(qd_rls_value_get(m, "tier")->kind, QD_RLS_VALUE_NUMBER);
    cr_expect_eq((int)qd_rls_value_get(m, "tier")->number, 2);
    cr_expect_eq((int)qd_rls_value_get(m, "ratio")->number, -150);
    cr_expect_eq((int)qd_rls_value_get(m, "minus")->number, -7);
    cr_expect_eq(qd_rls_value_get(m, "quoted")->kind, QD_RLS_VALUE_STRING);
    cr_expect(qd_rls_value_get(m, "on_call")->boolean);
    cr_expect_eq(qd_rls_value_get(m, "none")->kind, QD_RLS_VALUE_NULL);
    cr_expect_eq(qd_rls_value_get(m, "big")->kind, QD_RLS_VALUE_STRING);
    const struct qd_rls_value *tags = qd_rls_value_get(m, "tags");
    cr_assert(tags->kind == QD_RLS_VALUE_LIST && tags->count == 2);
    cr_expect_str_eq(qd_rls_value_get(&tags->items[1], "b")->string.ptr, "c");
    cr_expect_null(qd_rls_value_get(m, "absent"));
    cr_expect_null(qd_rls_value_get(tags, "b"));
    qd_rls_rules_free(rules);
}
