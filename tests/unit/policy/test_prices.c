/* Prices: the public table, exactly, and a policy's own (P7, P8). */
#include "helper.h"

#include "server/policy/file.h"
#include "server/policy/price_table.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- an independent notion of exactness: digits and a decimal exponent, by moving text
 * ------------- */

struct digits {
    char text[64]; /* without leading and trailing zeros; "" is 0 */
    long exponent; /* value = 0.text * 10^exponent */
};

static struct digits normal(const char *number)
{
    struct digits d = {0};
    char all[64] = "";
    size_t used = 0;
    long point = -1;
    const char *p = number;
    for (; *p != '\0' && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            point = (long)used;
        } else {
            cr_assert(isdigit((unsigned char)*p), "%s", number);
            all[used++] = *p;
        }
    }
    if (point < 0) {
        point = (long)used;
    }
    d.exponent = point + (*p != '\0' ? strtol(p + 1, NULL, 10) : 0);
    size_t start = strspn(all, "0");
    d.exponent -= (long)start;
    (void)snprintf(d.text, sizeof d.text, "%s", all + start);
    size_t len = strlen(d.text);
    while (len > 0 && d.text[len - 1] == '0') {
        d.text[--len] = '\0';
    }
    if (len == 0) {
        d.exponent = 0;
    }
    return d;
}

/* amount / quantity pico-dollars for `per` units, as the price of one. A quantity has no factors
 * but 2 and 5: it is made a power of ten first. */
static struct digits of_line(const struct qd_price_line *line, long per)
{
    qd_int128 amount = line->amount_pico;
    int64_t quantity = line->quantity;
    long tens = 0;
    while (quantity > 1) {
        int64_t by = quantity % 10 == 0 ? 10 : quantity % 5 == 0 ? 5 : 2;
        cr_assert_eq(quantity % by, 0);
        quantity /= by;
        amount *= 10 / by;
        tens++;
    }
    char text[48];
    size_t at = sizeof text;
    text[--at] = '\0';
    do {
        text[--at] = (char)('0' + (int)(amount % 10));
        amount /= 10;
    } while (amount > 0);
    struct digits d = normal(text + at);
    if (d.text[0] != '\0') {
        d.exponent -= tens + 12;
        for (; per > 1; per /= 10) {
            d.exponent++;
        }
    }
    return d;
}

static const struct qd_price_line *find(const struct qd_table_model *m, unsigned meter,
                                        unsigned tier, unsigned ttl, int64_t above)
{
    for (size_t i = 0; i < m->line_count; i++) {
        const struct qd_price_line *l = &m->lines[i];
        if (l->meter == meter && l->tier == tier && l->cache_write_ttl == ttl &&
            l->above_input == above) {
            return l;
        }
    }
    return NULL;
}

static void expect_line(const struct qd_table_model *m, unsigned meter, unsigned tier, unsigned ttl,
                        int64_t above, const char *text)
{
    const struct qd_price_line *l = find(m, meter, tier, ttl, above);
    cr_assert_not_null(l, "%s: no line for meter %u tier %u ttl %u above %lld", m->name, meter,
                       tier, ttl, (long long)above);
    struct digits want = normal(text);
    struct digits got = of_line(l, meter == QD_METER_PROCESSING_MS ? 1000 : 1);
    cr_expect(strcmp(want.text, got.text) == 0 && want.exponent == got.exponent,
              "%s: %s is %lld/%lld", m->name, text, (long long)l->amount_pico,
              (long long)l->quantity);
}

static struct qd_price_table *table(const char *json)
{
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_price_table *t = qd_price_table_parse("p.json", json, strlen(json), problems);
    if (t == NULL) {
        char *text = qd_problems_text(problems);
        cr_assert_fail("%s", text);
    }
    qd_problems_free(problems);
    return t;
}

static void expect_table_refused(const char *json, const char *want)
{
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_price_table *t = qd_price_table_parse("p.json", json, strlen(json), problems);
    char *text = qd_problems_text(problems);
    cr_expect_null(t, "%s", json);
    cr_expect_str_eq(text, want, "for %s\ngot  %swant %s", json, text, want);
    free(text);
    qd_price_table_free(t);
    qd_problems_free(problems);
}

static struct qd_price_table *load_table(const char *path)
{
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_price_table *t = qd_price_table_load(path, problems);
    if (t == NULL) {
        char *text = qd_problems_text(problems);
        cr_assert_fail("%s", text);
    }
    qd_problems_free(problems);
    return t;
}

/* --- the excerpt
 * ---------------------------------------------------------------------------------- */

Test(prices, P7_the_excerpt)
{
    char *path = source_path("deploy/examples/prices.json");
    struct qd_price_table *t = load_table(path);
    cr_expect_eq(t->model_count, 16);
    cr_expect_null(qd_price_table_find(t, "sample_spec"), "P7: not a model");
    cr_expect_null(qd_price_table_find(t, "_attribution"));

    const struct qd_table_model *m = qd_price_table_find(t, "claude-sonnet-4-5");
    cr_assert_not_null(m);
    cr_expect_str_eq(m->provider, "anthropic");
    cr_expect_str_eq(m->mode, "chat");
    cr_expect_eq(m->max_output_tokens, 64000);
    expect_line(m, QD_METER_INPUT_TOKENS, 0, 0, 0, "3e-06");
    expect_line(m, QD_METER_INPUT_TOKENS, 0, 0, 200000, "6e-06");
    expect_line(m, QD_METER_OUTPUT_TOKENS, 0, 0, 200000, "2.25e-05");
    expect_line(m, QD_METER_CACHED_INPUT_TOKENS, 0, 0, 200000, "6e-07");
    expect_line(m, QD_METER_CACHE_WRITE_TOKENS, 0, QD_CACHE_WRITE_5M, 0, "3.75e-06");
    expect_line(m, QD_METER_CACHE_WRITE_TOKENS, 0, QD_CACHE_WRITE_1H, 0, "6e-06");
    expect_line(m, QD_METER_CACHE_WRITE_TOKENS, 0, QD_CACHE_WRITE_1H, 200000, "1.2e-05");

    m = qd_price_table_find(t, "gpt-5.5");
    expect_line(m, QD_METER_INPUT_TOKENS, QD_TIER_BATCH, 0, 0, "2.5e-06");
    expect_line(m, QD_METER_OUTPUT_TOKENS, QD_TIER_FLEX, 0, 0, "1.5e-05");
    expect_line(m, QD_METER_CACHED_INPUT_TOKENS, QD_TIER_PRIORITY, 0, 0, "1e-06");
    expect_line(m, QD_METER_OUTPUT_TOKENS, 0, 0, 272000, "4.5e-05");

    m = qd_price_table_find(t, "dashscope/qwen-flash"); /* tiered_pricing */
    expect_line(m, QD_METER_INPUT_TOKENS, 0, 0, 0, "5e-08");
    expect_line(m, QD_METER_INPUT_TOKENS, 0, 0, 256000, "2.5e-07");

    m = qd_price_table_find(t, "whisper-1"); /* by the second; tokens then cost nothing */
    expect_line(m, QD_METER_PROCESSING_MS, 0, 0, 0, "0.0001");
    expect_line(m, QD_METER_INPUT_TOKENS, 0, 0, 0, "0");
    m = qd_price_table_find(t, "dall-e-3");
    expect_line(m, QD_METER_IMAGES, 0, 0, 0, "0.04");
    m = qd_price_table_find(t, "rerank-english-v3.0");
    expect_line(m, QD_METER_REQUESTS, 0, 0, 0, "0.002");
    m = qd_price_table_find(t, "openai/sora-2");
    cr_expect_eq(m->line_count, 0);

    /* Input that no price is stated for apart costs what input costs. */
    m = qd_price_table_find(t, "gpt-4o");
    expect_line(m, QD_METER_CACHE_WRITE_TOKENS, 0, QD_CACHE_WRITE_5M, 0, "2.5e-06");
    expect_line(m, QD_METER_CACHED_INPUT_TOKENS, 0, 0, 0, "1.25e-06");

    cr_expect_eq(t->skip_count, 8);
    bool found = false;
    for (size_t i = 0; i < t->skip_count; i++) {
        found = found || (strcmp(t->skips[i].model, "openai/sora-2") == 0 &&
                          strcmp(t->skips[i].field, "output_cost_per_video_per_second") == 0 &&
                          strcmp(t->skips[i].value, "0.1") == 0 &&
                          strcmp(t->skips[i].reason, "video is not a meter of its own") == 0);
    }
    cr_expect(found, "what cannot be represented is listed with the reason");
    qd_price_table_free(t);
    free(path);
}

/* --- the whole table: each token price by moving its decimal point
 * -------------------------------- */

struct named {
    const char *field;
    unsigned meter;
    unsigned ttl;
};

/* Checks one field of the JSON if it is a token price; returns how many it was. */
static size_t check_field(const struct qd_table_model *m, const char *field, const char *text)
{
    static const struct named names[] = {
        {"input_cost_per_token", QD_METER_INPUT_TOKENS, 0},
        {"output_cost_per_token", QD_METER_OUTPUT_TOKENS, 0},
        {"output_cost_per_reasoning_token", QD_METER_REASONING_TOKENS, 0},
        {"cache_read_input_token_cost", QD_METER_CACHED_INPUT_TOKENS, 0},
        {"cache_creation_input_token_cost", QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_5M},
        {"cache_creation_input_token_cost_above_1hr", QD_METER_CACHE_WRITE_TOKENS,
         QD_CACHE_WRITE_1H}};
    static const struct {
        const char *suffix;
        unsigned tier;
    } tiers[] = {{"", QD_TIER_STANDARD},
                 {"_batches", QD_TIER_BATCH},
                 {"_priority", QD_TIER_PRIORITY},
                 {"_flex", QD_TIER_FLEX}};
    static const int64_t thresholds[] = {0, 128, 200, 256, 272, 512};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t k = 0; k < sizeof tiers / sizeof tiers[0]; k++) {
            for (size_t n = 0; n < sizeof thresholds / sizeof thresholds[0]; n++) {
                char above[40] = "";
                char name[160];
                if (thresholds[n] > 0) {
                    snprintf(above, sizeof above, "_above_%lldk_tokens", (long long)thresholds[n]);
                }
                snprintf(name, sizeof name, "%s%s%s", names[i].field, above, tiers[k].suffix);
                if (strcmp(name, field) == 0) {
                    expect_line(m, names[i].meter, tiers[k].tier, names[i].ttl,
                                thresholds[n] * 1000, text);
                    return 1;
                }
            }
        }
    }
    return 0;
}

static size_t check_table(const char *path, size_t *ret_token_fields)
{
    struct qd_price_table *t = load_table(path);
    struct json_object *root = json_object_from_file(path);
    cr_assert_not_null(root);
    size_t models = 0;
    *ret_token_fields = 0;
    struct json_object_iterator it = json_object_iter_begin(root);
    struct json_object_iterator end = json_object_iter_end(root);
    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        struct json_object *model = json_object_iter_peek_value(&it);
        const char *name = json_object_iter_peek_name(&it);
        if (json_object_get_type(model) != json_type_object || strcmp(name, "sample_spec") == 0) {
            continue;
        }
        const struct qd_table_model *m = qd_price_table_find(t, name);
        cr_assert_not_null(m, "%s", name);
        models++;
        struct json_object_iterator f = json_object_iter_begin(model);
        struct json_object_iterator last = json_object_iter_end(model);
        for (; !json_object_iter_equal(&f, &last); json_object_iter_next(&f)) {
            struct json_object *value = json_object_iter_peek_value(&f);
            enum json_type type = json_object_get_type(value);
            if (type == json_type_double || type == json_type_int) {
                *ret_token_fields +=
                    check_field(m, json_object_iter_peek_name(&f), json_object_get_string(value));
            }
        }
    }
    cr_expect_eq(models, t->model_count);
    json_object_put(root);
    qd_price_table_free(t);
    return models;
}

Test(prices, P7_every_token_price_of_the_excerpt_is_exact)
{
    char *path = source_path("deploy/examples/prices.json");
    size_t fields;
    cr_expect_eq(check_table(path, &fields), 16);
    cr_expect_gt(fields, 60);
    free(path);
}

Test(prices, P7_every_token_price_of_the_public_table_is_exact, .timeout = 60)
{
    const char *folder = getenv("QUOTAD_TRACE_DATA");
    if (folder == NULL) {
        cr_skip("QUOTAD_TRACE_DATA names no folder with model_prices.json");
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/model_prices.json", folder);
    size_t fields;
    size_t models = check_table(path, &fields);
    printf("%zu models, %zu token prices exact\n", models, fields);
    cr_expect_gt(models, 2900);
    cr_expect_gt(fields, 6000);
}

/* --- what is refused
 * ------------------------------------------------------------------------------- */

Test(prices, P7_negative_absurd_and_wordy_prices_are_refused)
{
    expect_table_refused(
        "{\"m\":{\"input_cost_per_token\":-1e-06}}",
        "p.json: m.input_cost_per_token: \"-1e-06\": negative price; 0 or more is accepted\n");
    expect_table_refused(
        "{\"m\":{\"input_cost_per_token\":\"NaN\"}}",
        "p.json: m.input_cost_per_token: \"NaN\": not a price; a number of dollars is accepted\n");
    expect_table_refused("{\"m\":{\"output_cost_per_token\":true}}",
                         "p.json: m.output_cost_per_token: \"true\": not a price; a number of "
                         "dollars is accepted\n");
    expect_table_refused("{\"m\":{\"input_cost_per_token\":1e-4000}}",
                         "p.json: m.input_cost_per_token: \"1e-4000\": absurd price; at most 38 "
                         "digits and a sensible "
                         "exponent are accepted\n");
    expect_table_refused(
        "{\"m\":{\"input_cost_per_token\":1e-40}}",
        "p.json: m.input_cost_per_token: \"1e-40\": absurd price; at most 18 digits below a "
        "millionth of a millionth of a dollar are accepted\n");
    expect_table_refused(
        "{\"m\":{\"input_cost_per_token\":1e12}}",
        "p.json: m.input_cost_per_token: \"1e12\": absurd price; at most $9 million for a unit is "
        "accepted\n");
    expect_table_refused("{\"m\":{\"input_cost_per_token\":99999999999999999999999999}}",
                         "p.json: m.input_cost_per_token: \"18446744073709551615\": absurd price; "
                         "at most $9 million "
                         "for a unit is accepted\n");
    expect_table_refused(
        "{\"m\":{\"ocr_cost_per_page\":-1}}",
        "p.json: m.ocr_cost_per_page: \"-1\": negative price; 0 or more is accepted\n");
}

Test(prices, P7_broken_tables_are_refused)
{
    expect_table_refused("", "p.json:1:1: not JSON: ends too early\n");
    expect_table_refused(
        "[]", "p.json:1:1: not a table of prices; an object with a model's name for each key is "
              "accepted\n");
    expect_table_refused("{\"m\":\n {\"input_cost_per_token\": nope}}",
                         "p.json:2:28: not JSON: null expected\n");
    expect_table_refused(
        "{\"m\":{\"input_cost_per_token\": NaN}}",
        "p.json: m.input_cost_per_token: \"NaN\": not a price; a number of dollars is accepted\n");
    expect_table_refused("{\"m\":{\"input_cost_per_token\": -Infinity}}",
                         "p.json: m.input_cost_per_token: \"-Infinity\": not a price; a number of "
                         "dollars is accepted\n");
    expect_table_refused("{\"m\":{}} x", "p.json:1:10: not JSON: unexpected character\n");
    expect_table_refused("{\"m\":{\"mode\":\"\xff\"}}",
                         "p.json:1:15: not JSON: a byte that is not UTF-8\n");
    expect_table_refused(
        "{\"\":{}}", "p.json: \"\": not a model's name; 1 to 127 bytes of UTF-8 are accepted\n");
}

Test(prices, P7_unknown_fields_are_listed_and_zeros_are_not)
{
    struct qd_price_table *t =
        table("{\"m\":{\"input_cost_per_token\":1e-06,\"cost_per_moonbeam\":3,"
              "\"input_cost_per_pixel\":0.0,\"supports_vision\":true}}");
    cr_assert_eq(t->skip_count, 1);
    cr_expect_str_eq(t->skips[0].field, "cost_per_moonbeam");
    cr_expect_str_eq(t->skips[0].reason, "no meter or variant of a price is known for it");
    qd_price_table_free(t);
}

/* --- a policy's own prices
 * ------------------------------------------------------------------------ */

static qd_int128 price(const struct qd_price_list *model, const struct qd_price_list *pool,
                       struct qd_usage usage, enum qd_price_tier tier, int64_t at_s)
{
    struct qd_price_query q = {.usage = &usage, .tier = tier, .at = {at_s * QD_NS_PER_S}};
    qd_int128 pico = -1;
    uint32_t unpriced;
    enum qd_price_result rc = qd_price_compute(model, pool, &q, &pico, &unpriced);
    return rc == QD_PRICE_OK ? pico : -1;
}

static struct qd_usage tokens(int64_t input, int64_t cached, int64_t output)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_INPUT_TOKENS, input);
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, cached);
    qd_usage_set(&u, QD_METER_OUTPUT_TOKENS, output);
    return u;
}

Test(prices, P7_own_lines_variants_and_dates)
{
    struct qd_policy *p = load(
        "version: 1\n"
        "models: {m: {pool: gpus}}\n"
        "meters: {searches: {unit: searches}}\n"
        "prices:\n"
        "  gpus: {gpu_second: $0.0011}\n"
        "  m:\n"
        "    - {effective: 2026-07-01, input_tokens: $4/1M, output_tokens: $10/1M, searches: "
        "$10/1k,\n"
        "       batch: {input_token: $2/1M}, above: {200k: {input_token: $8/1M}}}\n"
        "    - {input_token: $2.50/1M, cached_input_token: $0.0000000003, output_token: $10/1M,\n"
        "       charge: {input_token: $5/1M, output_token: $20/1M}}\n");
    cr_assert_not_null(p);
    const struct qd_model *m = &p->models[0];
    cr_assert_eq(m->cost.count, 2);
    cr_expect_eq(m->cost.sheets[0].effective.ns, INT64_MIN);
    cr_expect_eq(m->cost.sheets[1].effective.ns, INT64_C(1782864000) * QD_NS_PER_S);
    int64_t before = 1782863999;
    int64_t after = 1782864000;
    cr_expect_eq((int64_t)price(&m->cost, NULL, tokens(1000, 10, 100), 0, before),
                 2500000000 + 3000 + 1000000000);
    cr_expect_eq((int64_t)price(&m->cost, NULL, tokens(1000, 10, 100), 0, after),
                 4000000000 + 40000000 + 1000000000, "cached input costs what input costs");
    cr_expect_eq((int64_t)price(&m->cost, NULL, tokens(1000, 0, 0), QD_TIER_BATCH, after),
                 2000000000);
    cr_expect_eq((int64_t)price(&m->cost, NULL, tokens(200000, 0, 0), 0, after),
                 INT64_C(800000000000));
    cr_expect_eq((int64_t)price(&m->cost, NULL, tokens(200001, 0, 0), 0, after),
                 INT64_C(1600008000000));
    cr_expect_eq((int64_t)price(&m->charge, NULL, tokens(1000, 0, 0), 0, before), 5000000000);
    cr_expect_eq((int64_t)price(&m->charge, NULL, tokens(1000, 0, 0), 0, after), 4000000000,
                 "without a charge of its own a sheet charges the cost");
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_FIRST_CUSTOM, 3);
    cr_expect_eq((int64_t)price(&m->cost, NULL, u, 0, after), INT64_C(30000000000));
    u = (struct qd_usage){0};
    qd_usage_set(&u, QD_METER_GPU_MS, 1500);
    cr_expect_eq((int64_t)price(NULL, &p->pools[0].cost, u, 0, after), INT64_C(1650000000));
    qd_policy_free(p);
}

Test(prices, P7_a_markup_is_exact)
{
    struct qd_policy *p = load("version: 1\nmodels: {m: {}}\nprices: {m: {input_token: $3.625e-9, "
                               "output_token: $1/1k, markup: "
                               "12.5%}}\n");
    cr_assert_not_null(p);
    struct qd_usage u = tokens(8000, 0, 0);
    cr_expect_eq((int64_t)price(&p->models[0].charge, NULL, u, 0, 0), 32625000);
    qd_policy_free(p);
}

Test(prices, P7_sheets_of_the_same_date_are_refused)
{
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m:\n    - {input_token: $1/1M}\n    - "
                   "{input_token: "
                   "$2/1M}\n",
                   "policy.yaml:6:7: prices.m: two price sheets begin at the same time; give each "
                   "its \"effective\"\n");
    expect_refused(
        "version: 1\nmodels: {m: {}}\nprices:\n  m: {effective: 2026-02-30, input_token: $1/1M}\n",
        "policy.yaml:4:18: prices.m.effective: \"2026-02-30\": not a date; a UTC date or time is "
        "accepted, "
        "as 2026-01-01 or 2026-01-01T08:00:00+01:00\n");
}

Test(prices, P7_imports_name_what_is_missing)
{
    char *text = problems_of(
        "version: 1\nmodels: {gpt-4p: {}}\nprices: {gpt-4p: {import: prices.json}}\n", true);
    cr_expect_not_null(
        strstr(text,
               "policy.yaml:3:27: prices.gpt-4p.import: \"prices.json\": no entry \"gpt-4p\"; "
               "name another with \"entry\"; did you mean \"gpt-4o\"?\n"),
        "%s", text);
    free(text);
    text = problems_of(
        "version: 1\nmodels: {m: {}}\nprices: {m: {import: prices.json, entry: openai/sora-2}}\n",
        true);
    cr_expect_not_null(strstr(text, "\"openai/sora-2\" has no price there that a meter counts"),
                       "%s", text);
    free(text);
    text = problems_of("version: 1\nmodels: {m: {}}\nprices: {m: {import: nothing.json}}\n", true);
    cr_expect_not_null(strstr(text, "nothing.json: No such file or directory\n"), "%s", text);
    cr_expect_not_null(
        strstr(text, "policy.yaml:3:22: prices.m.import: \"nothing.json\": cannot be imported\n"),
        "%s", text);
    free(text);
}

Test(prices, P7_versions_are_made_by_content)
{
    static const char one[] =
        "version: 1\nmodels: {m: {}, n: {}}\nprices: {m: {input_token: $1/1M}, n: {input_token: "
        "$1/1M}}\n";
    struct qd_policy *a = load(one);
    struct qd_policy *b = load(one);
    struct qd_policy *c = load("version: 1\nmodels: {m: {}}\nprices: {m: {input_token: $2/1M}}\n");
    cr_expect_eq(a->models[0].cost.sheets[0].version, b->models[0].cost.sheets[0].version);
    cr_expect_neq(a->models[0].cost.sheets[0].version, a->models[1].cost.sheets[0].version);
    cr_expect_neq(a->models[0].cost.sheets[0].version, c->models[0].cost.sheets[0].version);
    cr_expect_neq(a->models[0].cost.sheets[0].version, 0);
    qd_policy_free(a);
    qd_policy_free(b);
    qd_policy_free(c);
}

Test(prices, P8_caps_and_defaults)
{
    struct qd_policy *p = load(
        "version: 1\nmodels: {m: {}}\nunknown_price: {cap: {input_token: $20/1M, output_token: "
        "$80/1M}}\nplans: {p: {cost: $5/month}}\n");
    cr_assert_not_null(p);
    cr_expect_eq(p->unknown_price, QD_UNKNOWN_PRICE_CAP);
    cr_expect_eq(p->cap_price.count, 1);
    cr_expect_eq((int64_t)price(&p->cap_price, NULL, tokens(1, 0, 1), 0, 0), 100000000);
    qd_policy_free(p);
    p = load("version: 1\nmodels: {m: {}}\n");
    cr_expect_eq(p->unknown_price, QD_UNKNOWN_PRICE_UNPRICED,
                 "a policy without prices asks for none");
    qd_policy_free(p);
    p = load("version: 1\nmodels: {m: {}}\nprices: {m: {input_token: $1/1M}}\n");
    cr_expect_eq(p->unknown_price, QD_UNKNOWN_PRICE_DENY);
    qd_policy_free(p);
}

Test(prices, P7_a_star_imports_the_rest)
{
    struct qd_policy *p =
        load("version: 1\nmodels: {gpt-4o: {}, gpt-4o-mini: {}, own: {}}\n"
             "prices:\n  '*': {import: prices.json}\n  gpt-4o: {input_token: $9/1M}\n");
    cr_assert_not_null(p);
    cr_expect_eq((int64_t)price(&p->models[0].cost, NULL, tokens(1, 0, 0), 0, 0), 9000000);
    cr_expect_eq((int64_t)price(&p->models[1].cost, NULL, tokens(1, 0, 0), 0, 0), 150000);
    cr_expect_eq(p->models[2].cost.count, 0);
    qd_policy_free(p);
}
