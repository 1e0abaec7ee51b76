/* The "prices" section and "unknown_price" (P7, P8). */
#include "server/policy/amount.h"
#include "server/policy/compile.h"
#include "server/policy/gpu_time.h"
#include "server/policy/import.h"
#include "server/policy/intern.h"
#include "server/policy/price_lines.h"

#include <stdlib.h>
#include <string.h>

#define SHEETS_MAX 64

enum book {
    BOOK_COST,
    BOOK_CHARGE,
    BOOK_COUNT
};

/* One sheet of one subject while it is read. */
struct sheet_draft {
    struct qd_line_list lines[BOOK_COUNT];
    bool has_charge;
    uint16_t markup_permille;
    bool has_markup;
    struct qd_wall_ns effective;
    const char *subject;
    const struct qd_node *node;
    const struct qd_node *import;
    const char *entry; /* name in the imported table */
};

/* Where lines are read to, and for which variant. */
struct line_context {
    struct sheet_draft *sheet;
    enum book book;
    uint8_t tier;
    int64_t above;
};

/* --- lines --------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    enum qd_meter meter;
    enum qd_cache_write_ttl ttl;
    int64_t per; /* counted units in one named unit */
} line_keys[] = {
    {"input_token", QD_METER_INPUT_TOKENS, 0, 1},
    {"cached_input_token", QD_METER_CACHED_INPUT_TOKENS, 0, 1},
    {"cache_write_token", QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_5M, 1},
    {"cache_write_token_1h", QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_1H, 1},
    {"output_token", QD_METER_OUTPUT_TOKENS, 0, 1},
    {"reasoning_token", QD_METER_REASONING_TOKENS, 0, 1},
    {"gpu_second", QD_METER_GPU_MS, 0, 1000},
    {"processing_second", QD_METER_PROCESSING_MS, 0, 1000},
    {"memory_gb_second", QD_METER_MEMORY_GB_MS, 0, 1000},
    {"image", QD_METER_IMAGES, 0, 1},
    {"request", QD_METER_REQUESTS, 0, 1},
};
#define LINE_KEYS (sizeof line_keys / sizeof line_keys[0])

/* "$2.50/1M", "$0.0011": a price of so many units. False and reported. */
static bool read_price(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       int64_t per, struct qd_price_line *line)
{
    static const char accepted[] = "a price is accepted here, as $0.0011 or $2.50/1M";
    if (node->kind != QD_NODE_SCALAR || node->text[0] != '$') {
        qd_fail(c, at, node, "%s", accepted);
        return false;
    }
    struct qd_decimal price;
    enum qd_decimal_result rc;
    const char *number = node->text + 1;
    size_t left = node->len - 1;
    size_t used = qd_number_scan(number, left, &price, &rc);
    int64_t units = 1;
    if (rc != QD_DECIMAL_OK || price.negative) {
        qd_fail(c, at, node, "\"%.60s\": %s; %s", node->text,
                rc == QD_DECIMAL_OK      ? "negative"
                : rc == QD_DECIMAL_RANGE ? "absurd"
                                         : "not a price",
                accepted);
        return false;
    }
    if (used < left) {
        const char *behind = number + used + 1;
        if (number[used] != '/' ||
            qd_amount_parse(behind, left - used - 1, 1, &units) != QD_AMOUNT_OK || units < 1) {
            qd_fail(c, at, node, "\"%.60s\": not a price; %s", node->text, accepted);
            return false;
        }
    }
    if (__builtin_mul_overflow(units, per, &units) ||
        qd_decimal_to_price(&price, units, &line->amount_pico, &line->quantity) != QD_DECIMAL_OK) {
        qd_fail(c, at, node, "\"%.60s\": cannot be kept exactly; %s", node->text, accepted);
        return false;
    }
    return true;
}

/* Fills meter and ttl of `line` from a key; 0: it names no price. "input_tokens" is as good as
 * "input_token". */
static int64_t line_of_key(const struct qd_compiler *c, const char *key, struct qd_price_line *line)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < LINE_KEYS; i++) {
        size_t known = strlen(line_keys[i].name);
        bool is_plural = len == known + 1 && key[known] == 's';
        if (strncmp(key, line_keys[i].name, known) == 0 && (len == known || is_plural)) {
            line->meter = (uint8_t)line_keys[i].meter;
            line->cache_write_ttl = (uint8_t)line_keys[i].ttl;
            return line_keys[i].per;
        }
    }
    for (size_t m = QD_METER_FIRST_CUSTOM; m < c->policy->meter_count; m++) {
        if (!c->policy->meters[m].derived && strcmp(c->policy->meters[m].name, key) == 0) {
            line->meter = (uint8_t)m;
            return 1;
        }
    }
    return 0;
}

static void unknown_line(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                         const struct line_context *x, bool is_sheet)
{
    static const char *const tiers[] = {"batch", "priority", "flex"};
    struct qd_suggest s;
    qd_suggest_init(&s, key->text);
    const char *accepted = "";
    for (size_t i = 0; i < LINE_KEYS; i++) {
        qd_suggest_offer(&s, line_keys[i].name);
        accepted =
            qd_arena_printf(c->arena, "%s%s%s", accepted, i > 0 ? ", " : "", line_keys[i].name);
    }
    for (size_t m = QD_METER_FIRST_CUSTOM; m < c->policy->meter_count; m++) {
        qd_suggest_offer(&s, c->policy->meters[m].name);
    }
    for (size_t i = 0; x->tier == QD_TIER_STANDARD && i < 3; i++) {
        qd_suggest_offer(&s, tiers[i]);
    }
    if (is_sheet) {
        static const char *const more[] = {"import", "entry",  "effective",
                                           "charge", "markup", "above"};
        for (size_t i = 0; i < 6; i++) {
            qd_suggest_offer(&s, more[i]);
        }
    }
    qd_fail(c, at, key, "\"%s\": unknown price; accepted: %s%s%s%s", key->text, accepted,
            x->tier == QD_TIER_STANDARD ? ", batch, priority, flex, above" : "",
            is_sheet ? ", import, entry, effective, charge, markup" : "", qd_did_you_mean(c, &s));
}

static void read_lines(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       const struct line_context *x);

static void read_above(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       const struct line_context *x)
{
    if (!qd_expect_map(c, at, node, "a map of numbers of input tokens")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        struct line_context inner = *x;
        if (qd_read_amount(c, at, key, 1, QD_AMOUNT_MAX, &inner.above)) {
            read_lines(c, &below, qd_node_value(node, i), &inner);
        }
    }
}

/* A tier's or above's map, or a line. False if the key is none of them. */
static bool read_line_key(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                          const struct qd_node *value, const struct line_context *x)
{
    static const struct {
        const char *name;
        enum qd_price_tier tier;
    } tiers[] = {{"batch", QD_TIER_BATCH}, {"priority", QD_TIER_PRIORITY}, {"flex", QD_TIER_FLEX}};
    for (size_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++) {
        if (x->tier == QD_TIER_STANDARD && strcmp(tiers[i].name, key->text) == 0) {
            struct line_context inner = *x;
            inner.tier = (uint8_t)tiers[i].tier;
            read_lines(c, at, value, &inner);
            return true;
        }
    }
    if (x->above == 0 && strcmp(key->text, "above") == 0) {
        read_above(c, at, value, x);
        return true;
    }
    struct qd_price_line line = {.tier = x->tier, .above_input = x->above};
    int64_t per = line_of_key(c, key->text, &line);
    if (per == 0) {
        return false;
    }
    struct qd_line_list *list = &x->sheet->lines[x->book];
    struct qd_price_line *same = qd_lines_find(list, &line);
    if (same != NULL) {
        qd_fail(c, at, key, "given twice, as input_token and input_tokens");
    } else if (read_price(c, at, value, per, &line)) {
        qd_lines_add(c->arena, list, &line);
    }
    return true;
}

static void read_lines(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       const struct line_context *x)
{
    if (!qd_expect_map(c, at, node, "a map of prices")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        if (!read_line_key(c, &below, key, qd_node_value(node, i), x)) {
            unknown_line(c, at, key, x, false);
        }
    }
}

/* --- sheets -------------------------------------------------------------------------------------
 */

static void read_effective(struct qd_compiler *c, const struct qd_at *at,
                           const struct qd_node *value, struct sheet_draft *d)
{
    if (value->kind != QD_NODE_SCALAR || !qd_time_parse(value->text, value->len, &d->effective)) {
        qd_fail(c, at, value,
                "\"%.40s\": not a date; a UTC date or time is accepted, as 2026-01-01 or "
                "2026-01-01T08:00:00+01:00",
                value->kind == QD_NODE_SCALAR ? value->text : "");
    }
}

/* The keys of a sheet that are no lines. False if it is none of them. */
static bool read_sheet_key(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                           const struct qd_node *value, struct sheet_draft *d)
{
    if (strcmp(key->text, "effective") == 0) {
        read_effective(c, at, value, d);
    } else if (strcmp(key->text, "import") == 0) {
        d->import = value;
    } else if (strcmp(key->text, "entry") == 0) {
        d->entry = qd_read_name(c, at, value);
    } else if (strcmp(key->text, "markup") == 0) {
        d->has_markup = qd_read_permille(c, at, value, 0, 60000, &d->markup_permille);
    } else if (strcmp(key->text, "charge") == 0) {
        struct line_context x = {.sheet = d, .book = BOOK_CHARGE};
        d->has_charge = true;
        read_lines(c, at, value, &x);
    } else {
        return false;
    }
    return true;
}

/* Imported lines below the sheet's own ones. */
static void add_imported(struct qd_compiler *c, const struct qd_at *at, struct sheet_draft *d)
{
    struct qd_at below = {at, "import"};
    const struct qd_table_model *m =
        qd_import_model(c, &below, d->import, d->entry != NULL ? d->entry : d->subject);
    if (m == NULL) {
        return;
    }
    struct qd_line_list *own = &d->lines[BOOK_COST];
    for (size_t i = 0; i < m->stated_count; i++) {
        if (qd_lines_find(own, &m->lines[i]) == NULL) {
            qd_lines_add(c->arena, own, &m->lines[i]);
        }
    }
    for (size_t i = m->stated_count; i < m->line_count; i++) {
        if (qd_lines_find(own, &m->lines[i]) == NULL) {
            qd_lines_add(c->arena, own, &m->lines[i]);
        }
    }
}

static void finish_charge(struct qd_compiler *c, const struct qd_at *at, struct sheet_draft *d)
{
    if (d->has_markup && d->has_charge) {
        qd_fail(c, at, d->node, "either \"charge\" or \"markup\" is accepted, not both");
    }
    if (d->has_charge && d->lines[BOOK_CHARGE].count == 0) {
        qd_fail(c, at, d->node, "\"charge\" is empty; without one the tenant is charged the cost");
    }
    if (d->has_charge) {
        qd_lines_complete(c->arena, &d->lines[BOOK_CHARGE], false);
        return;
    }
    for (size_t i = 0; i < d->lines[BOOK_COST].count; i++) {
        qd_lines_add(c->arena, &d->lines[BOOK_CHARGE], &d->lines[BOOK_COST].lines[i]);
    }
    if (d->has_markup && !qd_lines_mark_up(&d->lines[BOOK_CHARGE], d->markup_permille)) {
        qd_fail(c, at, d->node, "prices with this markup cannot be kept exactly");
    }
}

static void read_sheet(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       struct sheet_draft *d)
{
    struct line_context x = {.sheet = d, .book = BOOK_COST};
    size_t errors = qd_problems_errors(c->problems);
    d->node = node;
    d->effective.ns = INT64_MIN;
    if (!qd_expect_map(c, at, node, "a map of prices")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        if (!read_sheet_key(c, &below, key, qd_node_value(node, i), d) &&
            !read_line_key(c, &below, key, qd_node_value(node, i), &x)) {
            unknown_line(c, at, key, &x, true);
        }
    }
    if (d->import != NULL) {
        add_imported(c, at, d);
    } else if (d->entry != NULL) {
        qd_fail(c, at, node, "\"entry\" is of no use without \"import\"");
    } else if (d->lines[BOOK_COST].count == 0 && qd_problems_errors(c->problems) == errors) {
        qd_fail(c, at, node,
                "no price; a line is accepted, as {input_token: $2.50/1M}, or {import: FILE}");
    }
    qd_lines_complete(c->arena, &d->lines[BOOK_COST], false);
    finish_charge(c, at, d);
}

static int order_sheets(const void *left, const void *right)
{
    const struct sheet_draft *a = left;
    const struct sheet_draft *b = right;
    return (a->effective.ns > b->effective.ns) - (a->effective.ns < b->effective.ns);
}

static struct qd_price_list make_list(struct qd_compiler *c, const char *subject,
                                      const struct sheet_draft *drafts, size_t count,
                                      enum book book)
{
    struct qd_price_sheet *sheets = qd_arena_array(c->arena, count, sizeof *sheets);
    for (size_t i = 0; i < count; i++) {
        sheets[i] = (struct qd_price_sheet){
            .effective = drafts[i].effective,
            .lines = drafts[i].lines[book].lines,
            .line_count = drafts[i].lines[book].count,
        };
        sheets[i].version =
            qd_intern_price_version(book == BOOK_COST ? "cost" : "charge", subject, &sheets[i]);
        if (sheets[i].version == 0) {
            qd_arena_out_of_memory(c->arena);
        }
    }
    return (struct qd_price_list){.name = subject, .sheets = sheets, .count = count};
}

/* Sheets of one subject: a map for one, a list for several. */
static bool read_subject(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                         const char *subject, struct qd_price_list *ret_cost,
                         struct qd_price_list *ret_charge)
{
    size_t errors = qd_problems_errors(c->problems);
    bool is_list = node->kind == QD_NODE_LIST;
    size_t count = is_list ? node->count : 1;
    bool has_charge = false;
    if (count == 0 || count > SHEETS_MAX) {
        qd_fail(c, at, node, "1 to %d price sheets are accepted", SHEETS_MAX);
        return false;
    }
    struct sheet_draft *drafts = qd_arena_array(c->arena, count, sizeof *drafts);
    for (size_t i = 0; i < count; i++) {
        struct qd_at item = {at, qd_arena_printf(c->arena, "[%zu]", i)};
        drafts[i].subject = subject;
        read_sheet(c, is_list ? &item : at, is_list ? node->items[i] : node, &drafts[i]);
        has_charge = has_charge || drafts[i].has_charge || drafts[i].has_markup;
    }
    qsort(drafts, count, sizeof *drafts, order_sheets);
    for (size_t i = 1; i < count; i++) {
        if (drafts[i - 1].effective.ns == drafts[i].effective.ns) {
            qd_fail(c, at, drafts[i].node,
                    "two price sheets begin at the same time; give each its \"effective\"");
        }
    }
    if (qd_problems_errors(c->problems) > errors) {
        return false;
    }
    *ret_cost = make_list(c, subject, drafts, count, BOOK_COST);
    *ret_charge =
        has_charge ? make_list(c, subject, drafts, count, BOOK_CHARGE) : (struct qd_price_list){0};
    return true;
}

/* --- the section --------------------------------------------------------------------------------
 */

static void unknown_subject(struct qd_compiler *c, const struct qd_at *at,
                            const struct qd_node *key, const char *name)
{
    struct qd_suggest s;
    qd_suggest_init(&s, name);
    for (size_t i = 0; i < c->policy->model_count && i < 2000; i++) {
        qd_suggest_offer(&s, c->policy->models[i].name);
    }
    for (size_t i = 0; i < c->policy->pool_count && i < 2000; i++) {
        qd_suggest_offer(&s, c->policy->pools[i].name);
    }
    qd_fail(
        c, at, key,
        "\"%.127s\": matches no model or pool; a name under \"models\" or \"pools\" is accepted%s",
        key->text, qd_did_you_mean(c, &s));
}

static bool prices_gpu_time(const struct qd_price_list *cost, const struct qd_price_list *charge)
{
    uint32_t gpu = QD_METER_BIT(QD_METER_GPU_MS);
    return qd_price_list_prices(cost, gpu) || qd_price_list_prices(charge, gpu);
}

static void compile_subject(struct qd_compiler *c, const struct qd_at *at,
                            const struct qd_node *key, const struct qd_node *value)
{
    const char *name = key->text;
    struct qd_at below = {at, key->text};
    bool wants_pool = strncmp(name, "pool:", 5) == 0;
    bool wants_model = strncmp(name, "model:", 6) == 0;
    name += wants_pool ? 5 : wants_model ? 6 : 0;
    const struct qd_model *model = wants_pool ? NULL : qd_find_model(c->policy, name);
    const struct qd_pool *pool = wants_model ? NULL : qd_find_pool(c->policy, name);
    if (model == NULL && pool == NULL) {
        unknown_subject(c, at, key, name);
        return;
    }
    if (model != NULL && pool != NULL) {
        qd_fail(c, at, key,
                "\"%.100s\": both a model and a pool; write model:%.100s or pool:%.100s", name,
                name, name);
        return;
    }
    struct qd_price_list cost;
    struct qd_price_list charge;
    if (!read_subject(c, &below, value, model != NULL ? model->name : pool->name, &cost, &charge)) {
        return;
    }
    if (model != NULL) {
        struct qd_model *mine = qd_own_model(c, model);
        mine->cost = cost;
        mine->charge = charge;
        mine->priced_by_gpu_time = prices_gpu_time(&cost, &charge);
    } else {
        struct qd_pool *mine = qd_own_pool(c, pool);
        mine->cost = cost;
        mine->charge = charge;
        mine->priced_by_gpu_time = prices_gpu_time(&cost, &charge);
    }
}

/* "*": every model that the imported table prices and that has no price of its own. */
static void compile_rest(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    const struct qd_node *import = qd_node_get(node, "import");
    struct qd_at below = {at, "import"};
    if (node->kind != QD_NODE_MAP || import == NULL) {
        qd_fail(
            c, at, node,
            "{import: FILE} is accepted here: prices for all models of the file that have none");
        return;
    }
    struct qd_policy *p = c->policy;
    for (size_t i = 0; i < p->model_count; i++) {
        struct qd_model *model = &c->models[i];
        if (model->cost.count == 0 && qd_import_has(c, &below, import, model->name)) {
            (void)read_subject(c, at, node, model->name, &model->cost, &model->charge);
            model->priced_by_gpu_time = prices_gpu_time(&model->cost, &model->charge);
        }
    }
}

void qd_compile_prices(struct qd_compiler *c, const struct qd_node *node)
{
    struct qd_at top = {0};
    struct qd_at at = {&top, "prices"};
    if (!qd_expect_map(c, &at, node, "a map of models and pools")) {
        return;
    }
    const struct qd_node *rest = NULL;
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        if (strcmp(key->text, "*") == 0) {
            rest = qd_node_value(node, i);
        } else {
            compile_subject(c, &at, key, qd_node_value(node, i));
        }
    }
    if (rest != NULL) {
        struct qd_at below = {&at, "*"};
        compile_rest(c, &below, rest);
    }
}

void qd_compile_unknown_price(struct qd_compiler *c, const struct qd_node *node)
{
    static const struct qd_word words[] = {{"deny", QD_UNKNOWN_PRICE_DENY},
                                           {"unpriced", QD_UNKNOWN_PRICE_UNPRICED},
                                           {"{cap: PRICES}", QD_UNKNOWN_PRICE_CAP}};
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at = {&top, "unknown_price"};
    const struct qd_node *cap = node != NULL ? qd_node_get(node, "cap") : NULL;
    int value;
    if (node == NULL) {
        return;
    }
    if (cap == NULL || node->count != 1) {
        if (qd_read_word(c, &at, node, "rule for unknown prices", words, 3, &value)) {
            p->unknown_price = (enum qd_unknown_price)value;
        }
        return;
    }
    struct qd_at below = {&at, "cap"};
    struct qd_price_list charge;
    p->unknown_price = QD_UNKNOWN_PRICE_CAP;
    (void)read_subject(c, &below, cap, "cap", &p->cap_price, &charge);
    p->cap_by_gpu_time = qd_price_list_prices(&p->cap_price, QD_METER_BIT(QD_METER_GPU_MS));
}
