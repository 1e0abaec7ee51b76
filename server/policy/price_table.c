#include "server/policy/price_table.h"

#include "server/core/decimal.h"
#include "server/policy/arena.h"
#include "server/policy/file.h"
#include "server/policy/policy_file.h"
#include "server/policy/price_field.h"
#include "server/policy/price_lines.h"
#include "server/policy/utf8.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX  16
#define MODELS_MAX      100000
#define ERRORS_PER_FILE 20

/* The table and what belongs to it: the public struct comes first. */
struct owned_table {
    struct qd_price_table table;
    struct qd_arena arena;
};

struct reading {
    struct qd_arena *arena;
    const char *file;
    struct qd_problems *problems;
    struct qd_table_model *models;
    size_t model_count;
    struct qd_table_skip *skips;
    size_t skip_count;
    size_t skip_capacity;
    /* of the model at hand */
    const char *model;
    bool makes_images;
    struct qd_line_list lines;
};

static void skip(struct reading *r, const char *field, struct json_object *value,
                 const char *reason)
{
    const char *text = json_object_get_string(value);
    text = text == NULL ? "null" : text;
    size_t len = strlen(text);
    r->skips =
        qd_arena_grow(r->arena, r->skips, r->skip_count, &r->skip_capacity, sizeof *r->skips);
    r->skips[r->skip_count++] = (struct qd_table_skip){
        .model = r->model,
        .field = qd_arena_text(r->arena, field, strlen(field)),
        .value = qd_arena_text(r->arena, text, len > 60 ? 60 : len),
        .reason = reason,
    };
}

static void refuse(struct reading *r, const char *field, const char *text, const char *what)
{
    qd_problems_add(r->problems, QD_SEVERITY_ERROR, r->file, 0, 0, "%s.%s: \"%.60s\": %s", r->model,
                    field, text, what);
}

/* The decimal text of a number, or of a number in quotes. False and reported: not a price. */
static bool read_price(struct reading *r, const char *field, struct json_object *value,
                       struct qd_decimal *ret_price)
{
    enum json_type type = json_object_get_type(value);
    const char *text = json_object_get_string(value);
    if (text == NULL ||
        (type != json_type_double && type != json_type_int && type != json_type_string)) {
        refuse(r, field, text == NULL ? "null" : text,
               "not a price; a number of dollars is accepted");
        return false;
    }
    /* An integer beyond 64 bits loses its text. */
    if (type == json_type_int && json_object_get_int64(value) == INT64_MAX) {
        refuse(r, field, text, "absurd price; at most $9 million for a unit is accepted");
        return false;
    }
    switch (qd_decimal_parse((struct qd_str){text, strlen(text)}, ret_price)) {
    case QD_DECIMAL_OK:
        break;
    case QD_DECIMAL_SYNTAX:
        refuse(r, field, text, "not a price; a number of dollars is accepted");
        return false;
    case QD_DECIMAL_RANGE:
    case QD_DECIMAL_INEXACT:
    case QD_DECIMAL_OVERFLOW:
        refuse(r, field, text,
               "absurd price; at most 38 digits and a sensible exponent are accepted");
        return false;
    }
    if (ret_price->negative) {
        refuse(r, field, text, "negative price; 0 or more is accepted");
        return false;
    }
    return true;
}

static bool is_zero(struct json_object *value)
{
    enum json_type type = json_object_get_type(value);
    struct qd_decimal d;
    const char *text = json_object_get_string(value);
    return type == json_type_null ||
           (text != NULL &&
            qd_decimal_parse((struct qd_str){text, strlen(text)}, &d) == QD_DECIMAL_OK &&
            d.digits == 0);
}

/* Whether a price of this field counts for this model; an input image is one that the model was
 * shown. */
static bool is_counted(struct reading *r, const struct qd_price_field *f)
{
    if (f->meter != QD_METER_IMAGES) {
        return true;
    }
    return f->is_input_image ? r->makes_images : true;
}

static void read_line(struct reading *r, const char *field, struct json_object *value,
                      const struct qd_price_field *f, int64_t above)
{
    struct qd_decimal price;
    struct qd_price_line line = {
        .meter = f->meter,
        .tier = f->tier,
        .cache_write_ttl = f->cache_write_ttl,
        .above_input = f->above_input != 0 ? f->above_input : above,
    };
    if (!read_price(r, field, value, &price)) {
        return;
    }
    if (!is_counted(r, f)) {
        if (price.digits != 0) {
            skip(r, field, value, "images given as input are not a meter");
        }
        return;
    }
    enum qd_decimal_result rc =
        qd_decimal_to_price(&price, f->per, &line.amount_pico, &line.quantity);
    if (rc == QD_DECIMAL_OVERFLOW) {
        refuse(r, field, json_object_get_string(value),
               "absurd price; at most $9 million for a unit is accepted");
        return;
    }
    if (rc != QD_DECIMAL_OK) {
        refuse(r, field, json_object_get_string(value),
               "absurd price; at most 18 digits below a millionth of a millionth of a dollar are "
               "accepted");
        return;
    }
    struct qd_price_line *same = qd_lines_find(&r->lines, &line);
    if (same == NULL) {
        qd_lines_add(r->arena, &r->lines, &line);
    } else if (same->amount_pico == 0) {
        *same = line;
    } else if (line.amount_pico != 0 && !qd_line_same_price(same, &line)) {
        skip(r, field, value,
             f->is_input_image ? "images given as input are not a meter"
                               : "the table has another price for the same");
    }
}

static void read_tiers(struct reading *r, struct json_object *value);

static void read_field(struct reading *r, const char *field, struct json_object *value,
                       int64_t above, bool aliases)
{
    if (strcmp(field, "tiered_pricing") == 0 && above == 0) {
        if (!aliases) {
            read_tiers(r, value);
        }
        return;
    }
    struct qd_price_field f = qd_price_field_parse(field);
    if (f.kind == QD_FIELD_OTHER || json_object_get_type(value) == json_type_null) {
        return;
    }
    if (f.kind == QD_FIELD_PRICE) {
        if (f.is_alias == aliases) {
            read_line(r, field, value, &f, above);
        }
        return;
    }
    if (!aliases && !is_zero(value)) {
        struct qd_decimal price;
        enum json_type type = json_object_get_type(value);
        bool is_number = type == json_type_double || type == json_type_int;
        if (!is_number || read_price(r, field, value, &price)) {
            skip(r, field, value, f.reason);
        }
    }
}

/* All fields of an object; second names after the first ones, which win. */
static void read_fields(struct reading *r, struct json_object *object, int64_t above)
{
    for (int aliases = 0; aliases < 2; aliases++) {
        struct json_object_iterator it = json_object_iter_begin(object);
        struct json_object_iterator end = json_object_iter_end(object);
        while (!json_object_iter_equal(&it, &end)) {
            read_field(r, json_object_iter_peek_name(&it), json_object_iter_peek_value(&it), above,
                       aliases != 0);
            json_object_iter_next(&it);
        }
    }
}

/* A whole number of tokens written as 256000 or 256000.0; -1 if it is none. */
static int64_t read_tokens(struct json_object *value)
{
    const char *text = json_object_get_string(value);
    struct qd_decimal d;
    int64_t tokens;
    enum json_type type = json_object_get_type(value);
    if (text == NULL || (type != json_type_double && type != json_type_int) ||
        qd_decimal_parse((struct qd_str){text, strlen(text)}, &d) != QD_DECIMAL_OK || d.negative ||
        qd_decimal_to_int64(&d, 0, &tokens) != QD_DECIMAL_OK || tokens > QD_AMOUNT_MAX) {
        return -1;
    }
    return tokens;
}

/* [{"range": [0, 32000], "input_cost_per_token": ...}, ...]: each holds for whole requests above
 * its start. */
static void read_tiers(struct reading *r, struct json_object *value)
{
    size_t count =
        json_object_get_type(value) == json_type_array ? json_object_array_length(value) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *tier = json_object_array_get_idx(value, i);
        struct json_object *range = NULL;
        int64_t above = -1;
        if (json_object_get_type(tier) == json_type_object &&
            json_object_object_get_ex(tier, "range", &range) &&
            json_object_get_type(range) == json_type_array && json_object_array_length(range) > 0) {
            above = read_tokens(json_object_array_get_idx(range, 0));
        }
        if (above < 0) {
            skip(r, "tiered_pricing", tier, "a tier that does not begin at a number of tokens");
        } else {
            read_fields(r, tier, above);
        }
    }
    if (count == 0) {
        skip(r, "tiered_pricing", value, "not a list of tiers");
    }
}

static const char *text_of(struct reading *r, struct json_object *model, const char *field)
{
    struct json_object *value = NULL;
    const char *text = json_object_object_get_ex(model, field, &value) &&
                               json_object_get_type(value) == json_type_string
                           ? json_object_get_string(value)
                           : "";
    return qd_arena_text(r->arena, text, strlen(text));
}

static int64_t tokens_of(struct json_object *model, const char *field)
{
    struct json_object *value = NULL;
    int64_t tokens = json_object_object_get_ex(model, field, &value) ? read_tokens(value) : -1;
    return tokens < 0 ? 0 : tokens;
}

static void read_model(struct reading *r, const char *name, struct json_object *object)
{
    size_t len = strlen(name);
    r->model = qd_arena_text(r->arena, name, len);
    if (len == 0 || len > QD_NAME_MAX || qd_utf8_valid_prefix(name, len) != len) {
        qd_problems_add(r->problems, QD_SEVERITY_ERROR, r->file, 0, 0,
                        "\"%.60s\": not a model's name; 1 to %d bytes of UTF-8 are accepted", name,
                        QD_NAME_MAX);
        return;
    }
    struct qd_table_model m = {
        .name = r->model,
        .provider = text_of(r, object, "litellm_provider"),
        .mode = text_of(r, object, "mode"),
        .max_input_tokens = tokens_of(object, "max_input_tokens"),
        .max_output_tokens = tokens_of(object, "max_output_tokens"),
    };
    r->makes_images = strncmp(m.mode, "image_", 6) == 0;
    r->lines = (struct qd_line_list){0};
    read_fields(r, object, 0);
    m.stated_count = r->lines.count;
    qd_lines_complete(r->arena, &r->lines, true);
    m.lines = r->lines.lines;
    m.line_count = r->lines.count;
    r->models[r->model_count++] = m;
}

static int order_models(const void *left, const void *right)
{
    return strcmp(((const struct qd_table_model *)left)->name,
                  ((const struct qd_table_model *)right)->name);
}

static void read_table(struct reading *r, struct json_object *root)
{
    size_t count = (size_t)json_object_object_length(root);
    if (count > MODELS_MAX) {
        qd_problems_add(r->problems, QD_SEVERITY_ERROR, r->file, 0, 0,
                        "too many models; at most %d are accepted", MODELS_MAX);
        return;
    }
    r->models = qd_arena_array(r->arena, count + 1, sizeof *r->models);
    struct json_object_iterator it = json_object_iter_begin(root);
    struct json_object_iterator end = json_object_iter_end(root);
    while (!json_object_iter_equal(&it, &end) &&
           qd_problems_errors(r->problems) < ERRORS_PER_FILE) {
        const char *name = json_object_iter_peek_name(&it);
        struct json_object *value = json_object_iter_peek_value(&it);
        /* P7: sample_spec describes the fields. Entries that are no objects ("last_updated") are no
         * models. */
        if (json_object_get_type(value) == json_type_object && strcmp(name, "sample_spec") != 0) {
            read_model(r, name, value);
        }
        json_object_iter_next(&it);
    }
    qsort(r->models, r->model_count, sizeof *r->models, order_models);
}

static void report_syntax(const char *name, const char *bytes, size_t at, const char *what,
                          struct qd_problems *problems)
{
    uint32_t line = 1;
    uint32_t column = 1;
    for (size_t i = 0; i < at; i++) {
        column = bytes[i] == '\n' ? 1 : column + 1;
        line += bytes[i] == '\n';
    }
    qd_problems_add(problems, QD_SEVERITY_ERROR, name, line, column, "not JSON: %s", what);
}

/* The root object, or NULL with problems. */
static struct json_object *parse_json(const char *name, const void *bytes, size_t size,
                                      struct qd_problems *problems)
{
    struct json_tokener *tok = json_tokener_new_ex(JSON_DEPTH_MAX);
    if (tok == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        return NULL;
    }
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *root = json_tokener_parse_ex(tok, bytes, (int)size);
    enum json_tokener_error error = json_tokener_get_error(tok);
    if (error == json_tokener_continue) {
        report_syntax(name, bytes, size, "ends too early", problems);
    } else if (error != json_tokener_success) {
        report_syntax(name, bytes, json_tokener_get_parse_end(tok), json_tokener_error_desc(error),
                      problems);
    } else if (json_object_get_type(root) != json_type_object) {
        qd_problems_add(
            problems, QD_SEVERITY_ERROR, name, 1, 1,
            "not a table of prices; an object with a model's name for each key is accepted");
        json_object_put(root);
        root = NULL;
    }
    json_tokener_free(tok);
    return root;
}

static bool read_guarded(struct owned_table *t, const char *name, struct json_object *root,
                         struct qd_problems *problems)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        return false;
    }
    qd_arena_init(&t->arena, &oom);
    struct reading r = {.arena = &t->arena, .file = name, .problems = problems};
    size_t errors = qd_problems_errors(problems);
    read_table(&r, root);
    t->table.models = r.models;
    t->table.model_count = r.model_count;
    t->table.skips = r.skips;
    t->table.skip_count = r.skip_count;
    for (size_t i = 0; i < r.model_count; i++) {
        t->table.priced_count += r.models[i].line_count > 0;
    }
    t->arena.oom = NULL;
    return qd_problems_errors(problems) == errors;
}

struct qd_price_table *qd_price_table_parse(const char *name, const void *bytes, size_t size,
                                            struct qd_problems *problems)
{
    if (size > QD_IMPORT_BYTES_MAX) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0,
                        "too large; at most 64 MiB of prices are accepted");
        return NULL;
    }
    size_t valid = qd_utf8_valid_prefix(bytes, size);
    if (valid < size) {
        report_syntax(name, bytes, valid, "a byte that is not UTF-8", problems);
        return NULL;
    }
    struct json_object *root = parse_json(name, bytes, size, problems);
    if (root == NULL) {
        return NULL;
    }
    struct owned_table *t = calloc(1, sizeof *t);
    bool good = t != NULL && read_guarded(t, name, root, problems);
    if (t == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
    }
    json_object_put(root);
    if (!good) {
        qd_price_table_free(t == NULL ? NULL : &t->table);
        return NULL;
    }
    return &t->table;
}

struct qd_price_table *qd_price_table_load(const char *path, struct qd_problems *problems)
{
    struct qd_file file;
    if (!qd_file_read(path, QD_IMPORT_BYTES_MAX, &file, problems)) {
        return NULL;
    }
    struct qd_price_table *table = qd_price_table_parse(path, file.bytes, file.size, problems);
    qd_file_release(&file);
    return table;
}

void qd_price_table_free(struct qd_price_table *table)
{
    if (table == NULL) {
        return;
    }
    struct owned_table *t = (struct owned_table *)table;
    qd_arena_release(&t->arena);
    free(t);
}

static int compare_name(const void *name, const void *model)
{
    return strcmp(name, ((const struct qd_table_model *)model)->name);
}

const struct qd_table_model *qd_price_table_find(const struct qd_price_table *table,
                                                 const char *name)
{
    return table->model_count == 0 ? NULL
                                   : bsearch(name, table->models, table->model_count,
                                             sizeof *table->models, compare_name);
}
