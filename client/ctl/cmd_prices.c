/* quotactl prices import: look at a public price table, and take from it what a policy needs. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/text.h"
#include "server/core/decimal.h"
#include "server/core/usage.h"
#include "server/policy/price_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const meter_names[] = {"requests",
                                          "input_tokens",
                                          "cached_input_tokens",
                                          "cache_write_tokens",
                                          "output_tokens",
                                          "reasoning_tokens",
                                          "tokens",
                                          "gpu_ms",
                                          "processing_ms",
                                          "memory_gb_ms",
                                          "images"};
static const char *const tier_names[] = {"", "batch", "priority", "flex"};

/* "$2.50 a million input_tokens" */
static void line_text(const struct qd_price_line *line, char *ret, size_t size)
{
    char money[QD_DECIMAL_TEXT_MAX];
    const char *meter = line->meter < sizeof meter_names / sizeof meter_names[0]
                            ? meter_names[line->meter]
                            : "units";
    bool tokens = strstr(meter, "tokens") != NULL;
    qd_int128 scale = tokens ? 1000000 : line->meter == QD_METER_PROCESSING_MS ? 1000 : 1;
    qd_int128 pico = (qd_int128)line->amount_pico * scale;
    const char *each = tokens                                  ? "a million "
                       : line->meter == QD_METER_PROCESSING_MS ? "a second of "
                                                               : "each of ";
    if (pico % line->quantity == 0) {
        (void)qd_money_format_pico(pico / line->quantity, money);
    } else { /* shown as stated: an amount for a quantity */
        (void)qd_money_format_pico(line->amount_pico, money);
        each = "";
    }
    char detail[128] = "";
    if (line->above_input > 0) {
        (void)snprintf(detail, sizeof detail, " above %s input",
                       ctl_count_text(line->above_input).text);
    }
    (void)snprintf(ret, size, "%s %s%s%s%s%s%s", money, each, meter,
                   line->tier > 0 && line->tier < 4 ? ", " : "",
                   line->tier < 4 ? tier_names[line->tier] : "",
                   line->cache_write_ttl == QD_CACHE_WRITE_1H ? ", 1 h cache" : "", detail);
}

static void print_model(struct ctl *ctl, const struct qd_table_model *model)
{
    char text[256];
    (void)fprintf(ctl->out, "%s (%s%s%s)\n", model->name,
                  model->provider[0] != '\0' ? model->provider : "no provider",
                  model->mode[0] != '\0' ? ", " : "", model->mode);
    for (size_t i = 0; i < model->line_count; i++) {
        line_text(&model->lines[i], text, sizeof text);
        (void)fprintf(ctl->out, "  %s%s\n", text,
                      i >= model->stated_count ? "  (added: the table states none)" : "");
    }
    if (model->line_count == 0) {
        (void)fprintf(ctl->out, "  nothing that a meter counts is priced\n");
    }
}

static struct json_object *json_model(const struct qd_table_model *model)
{
    struct json_object *object = json_object_new_object();
    struct json_object *lines = json_object_new_array();
    json_object_object_add(object, "name", json_object_new_string(model->name));
    json_object_object_add(object, "provider", json_object_new_string(model->provider));
    json_object_object_add(object, "max_input_tokens",
                           json_object_new_int64(model->max_input_tokens));
    json_object_object_add(object, "max_output_tokens",
                           json_object_new_int64(model->max_output_tokens));
    for (size_t i = 0; i < model->line_count; i++) {
        const struct qd_price_line *line = &model->lines[i];
        struct json_object *one = json_object_new_object();
        json_object_object_add(
            one, "meter",
            json_object_new_string(line->meter < 11 ? meter_names[line->meter] : "other"));
        json_object_object_add(one, "tier",
                               json_object_new_string(line->tier > 0 && line->tier < 4
                                                          ? tier_names[line->tier]
                                                          : "standard"));
        json_object_object_add(
            one, "cache_write",
            json_object_new_string(line->cache_write_ttl == QD_CACHE_WRITE_1H ? "1h" : "5m"));
        json_object_object_add(one, "above_input", json_object_new_int64(line->above_input));
        json_object_object_add(one, "amount_pico_usd", json_object_new_int64(line->amount_pico));
        json_object_object_add(one, "quantity", json_object_new_int64(line->quantity));
        json_object_object_add(one, "stated", json_object_new_boolean(i < model->stated_count));
        json_object_array_add(lines, one);
    }
    json_object_object_add(object, "lines", lines);
    return object;
}

/* The chosen entries, with the numbers as the table writes them. */
static int write_excerpt(struct ctl *ctl, const struct ctl_args *args, const char *from,
                         const char *to)
{
    const char *name;
    struct json_object *table = json_object_from_file(from);
    struct json_object *chosen = json_object_new_object();
    for (size_t i = 0; (name = ctl_arg_at(args, "model", i)) != NULL; i++) {
        struct json_object *entry = NULL;
        if (json_object_object_get_ex(table, name, &entry)) {
            json_object_object_add(chosen, name, json_object_get(entry));
        }
    }
    int failed = json_object_to_file_ext(to, chosen,
                                         JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    json_object_put(chosen);
    json_object_put(table);
    if (failed != 0) {
        return ctl_fail(ctl, "%s: %s", to, strerror(errno));
    }
    return CTL_OK;
}

static const struct qd_table_model *find(struct ctl *ctl, const struct qd_price_table *table,
                                         const char *path, const char *name)
{
    const struct qd_table_model *model = qd_price_table_find(table, name);
    if (model == NULL) {
        (void)ctl_fail(ctl, "%s has no model \"%s\"; quotactl prices import %s --list shows all",
                       path, name, path);
    }
    return model;
}

static int print_json(struct ctl *ctl, const struct ctl_args *args, const char *path,
                      const struct qd_price_table *table)
{
    struct json_object *object = json_object_new_object();
    struct json_object *models = json_object_new_array();
    struct json_object *skips = json_object_new_array();
    const char *name;
    size_t chosen = 0;
    for (; (name = ctl_arg_at(args, "model", chosen)) != NULL; chosen++) {
        const struct qd_table_model *model = find(ctl, table, path, name);
        if (model == NULL) {
            json_object_put(object);
            json_object_put(models);
            json_object_put(skips);
            return CTL_ERROR;
        }
        json_object_array_add(models, json_model(model));
    }
    for (size_t i = 0; chosen == 0 && i < table->model_count; i++) {
        json_object_array_add(models, json_model(&table->models[i]));
    }
    for (size_t i = 0; i < table->skip_count; i++) {
        struct json_object *one = json_object_new_object();
        json_object_object_add(one, "model", json_object_new_string(table->skips[i].model));
        json_object_object_add(one, "field", json_object_new_string(table->skips[i].field));
        json_object_object_add(one, "value", json_object_new_string(table->skips[i].value));
        json_object_object_add(one, "reason", json_object_new_string(table->skips[i].reason));
        json_object_array_add(skips, one);
    }
    json_object_object_add(object, "file", json_object_new_string(path));
    json_object_object_add(object, "model_count", json_object_new_uint64(table->model_count));
    json_object_object_add(object, "priced_count", json_object_new_uint64(table->priced_count));
    json_object_object_add(object, "models", models);
    json_object_object_add(object, "skipped", skips);
    return ctl_json_print(ctl, object);
}

static int print_people(struct ctl *ctl, const struct ctl_args *args, const char *path,
                        const struct qd_price_table *table)
{
    static const char *const heads[] = {"model", "field", "value", "why not"};
    const char *name;
    size_t chosen = 0;
    for (; (name = ctl_arg_at(args, "model", chosen)) != NULL; chosen++) {
        const struct qd_table_model *model = find(ctl, table, path, name);
        if (model == NULL) {
            return CTL_ERROR;
        }
        print_model(ctl, model);
    }
    for (size_t i = 0; ctl_flag(args, "list") && i < table->model_count; i++) {
        print_model(ctl, &table->models[i]);
    }
    if (ctl_flag(args, "skipped")) {
        struct ctl_table *rows = ctl_table_new(heads, 4);
        for (size_t i = 0; i < table->skip_count; i++) {
            ctl_table_cell(rows, table->skips[i].model);
            ctl_table_cell(rows, table->skips[i].field);
            ctl_table_cell(rows, table->skips[i].value);
            ctl_table_cell(rows, table->skips[i].reason);
        }
        ctl_table_print(rows, ctl->out);
        ctl_table_free(rows);
    }
    (void)fprintf(ctl->out, "%s: %s models, %s priced exactly; %s prices have no meter%s\n", path,
                  ctl_count_text((int64_t)table->model_count).text,
                  ctl_count_text((int64_t)table->priced_count).text,
                  ctl_count_text((int64_t)table->skip_count).text,
                  table->skip_count > 0 && !ctl_flag(args, "skipped") ? " (--skipped lists them)"
                                                                      : "");
    return CTL_OK;
}

/* What to write into the policy. */
static void print_next(struct ctl *ctl, const struct ctl_args *args, const char *path)
{
    const char *name;
    for (size_t i = 0; (name = ctl_arg_at(args, "model", i)) != NULL; i++) {
        (void)fprintf(ctl->out, "%s  %s: {import: %s}\n",
                      i == 0 ? "next, in the policy:\nprices:\n" : "", name, path);
    }
}

static int run_import(struct ctl *ctl, const struct ctl_args *args)
{
    const char *path = args->operands[0];
    const char *to = ctl_arg(args, "out");
    if (to != NULL && ctl_arg(args, "model") == NULL) {
        return ctl_fail(ctl, "--out needs --model NAME for each model to take");
    }
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    struct qd_price_table *table = problems != NULL ? qd_price_table_load(path, problems) : NULL;
    int rc = CTL_ERROR;
    if (table == NULL) {
        char *text = problems != NULL ? qd_problems_text(problems) : NULL;
        (void)ctl_fail(ctl, "the table is refused:\n%s", text != NULL ? text : "out of memory");
        free(text);
    } else if (ctl->json) {
        rc = print_json(ctl, args, path, table);
    } else {
        rc = print_people(ctl, args, path, table);
    }
    if (rc == CTL_OK && to != NULL) {
        rc = write_excerpt(ctl, args, path, to);
    }
    if (rc == CTL_OK && !ctl->json) {
        print_next(ctl, args, to != NULL ? to : path);
    }
    qd_price_table_free(table);
    qd_problems_free(problems);
    return rc;
}

static const struct ctl_option import_options[] = {
    {"model", 'm', "NAME", "show this model's prices; again for more"},
    {"out", 0, "FILE", "write the chosen models to a table of their own"},
    {"list", 0, NULL, "show all models"},
    {"skipped", 0, NULL, "list the prices that no meter counts, and why"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_price_commands[] = {
    {"prices import", "FILE", "read a public price table exactly; take models from it",
     "FILE has the form of LiteLLM's model_prices_and_context_window.json. Runs here, without a\n"
     "node. A policy names the table: prices: {gpt-4o: {import: prices.json}}.\n",
     "  quotactl prices import model_prices.json --skipped\n"
     "  quotactl prices import model_prices.json --model gpt-4o --model claude-sonnet-4-5 "
     "--out prices.json\n",
     import_options, 1, 1, run_import},
    {.name = NULL},
};
