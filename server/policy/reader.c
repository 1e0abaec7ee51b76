/* Paths, errors, maps with known keys and single values: what every section of a policy is read
 * with. */
#include "server/policy/amount.h"
#include "server/policy/compile.h"
#include "server/policy/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PATH_TEXT_MAX 512

/* Appends "a.b.c"; indices ("[2]") without a point. Cut off when it is too long. */
static size_t append_path(const struct qd_at *at, char *text, size_t size)
{
    if (at == NULL || at->name == NULL) {
        text[0] = '\0';
        return 0;
    }
    size_t used = append_path(at->up, text, size);
    const char *dot = used > 0 && at->name[0] != '[' ? "." : "";
    int len = snprintf(text + used, size - used, "%s%s", dot, at->name);
    assert(len >= 0);
    size_t total = used + (size_t)len;
    return total < size ? total : size - 1;
}

const char *qd_at_text(struct qd_compiler *c, const struct qd_at *at)
{
    char text[PATH_TEXT_MAX];
    size_t len = append_path(at, text, sizeof text);
    return qd_arena_text(c->arena, text, len);
}

static void report(struct qd_compiler *c, enum qd_severity severity, const struct qd_at *at,
                   const struct qd_node *node, const char *format, va_list args)
    __attribute__((format(printf, 5, 0)));

static void report(struct qd_compiler *c, enum qd_severity severity, const struct qd_at *at,
                   const struct qd_node *node, const char *format, va_list args)
{
    char path[PATH_TEXT_MAX];
    char message[QD_PROBLEM_TEXT_MAX];
    size_t len = append_path(at, path, sizeof path);
    (void)vsnprintf(message, sizeof message, format, args);
    qd_problems_add(c->problems, severity, c->file, node != NULL && !c->is_runtime ? node->line : 0,
                    node != NULL && !c->is_runtime ? node->column : 0, "%s%s%s", path,
                    len > 0 ? ": " : "", message);
}

void qd_fail(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, QD_SEVERITY_ERROR, at, node, format, args);
    va_end(args);
}

void qd_warn(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(c, QD_SEVERITY_WARNING, at, node, format, args);
    va_end(args);
}

const char *qd_did_you_mean(struct qd_compiler *c, const struct qd_suggest *s)
{
    return s->best == NULL ? "" : qd_arena_printf(c->arena, "; did you mean \"%s\"?", s->best);
}

void qd_unknown_key(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                    const struct qd_field *fields, size_t count)
{
    struct qd_suggest s;
    qd_suggest_init(&s, key->text);
    const char *accepted = "";
    for (size_t i = 0; i < count && qd_problems_dropped(c->problems) == 0; i++) {
        qd_suggest_offer(&s, fields[i].name);
        accepted = qd_arena_printf(c->arena, "%s%s%s", accepted, i > 0 ? ", " : "", fields[i].name);
    }
    qd_fail(c, at, key, "\"%s\": unknown key; accepted: %s%s", key->text, accepted,
            qd_did_you_mean(c, &s));
}

bool qd_expect_map(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                   const char *of_what)
{
    if (node->kind == QD_NODE_MAP || qd_node_is_null(node)) {
        return true;
    }
    qd_fail(c, at, node, "%s, not %s, is accepted here", of_what, qd_node_kind_text(node));
    return false;
}

bool qd_read_fields(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    const struct qd_field *fields, size_t count, void *object)
{
    if (!qd_expect_map(c, at, node, "a map")) {
        return false;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        size_t f = 0;
        while (f < count && strcmp(fields[f].name, key->text) != 0) {
            f++;
        }
        if (f == count) {
            qd_unknown_key(c, at, key, fields, count);
            continue;
        }
        struct qd_at below = {at, key->text};
        fields[f].read(c, &below, qd_node_value(node, i), object);
    }
    return true;
}

/* False and reported unless `node` is a non-empty scalar. */
static bool expect_value(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                         const char *what)
{
    if (node->kind == QD_NODE_SCALAR && node->len > 0) {
        return true;
    }
    qd_fail(c, at, node, "%s, not %s, is accepted here", what, qd_node_kind_text(node));
    return false;
}

bool qd_read_word(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                  const char *what, const struct qd_word *words, size_t count, int *ret_value)
{
    const char *accepted = "";
    struct qd_suggest s;
    qd_suggest_init(&s, node->kind == QD_NODE_SCALAR ? node->text : "");
    for (size_t i = 0; i < count; i++) {
        if (node->kind == QD_NODE_SCALAR && strcmp(words[i].name, node->text) == 0) {
            *ret_value = words[i].value;
            return true;
        }
        qd_suggest_offer(&s, words[i].name);
        accepted = qd_arena_printf(c->arena, "%s%s%s", accepted, i > 0 ? ", " : "", words[i].name);
    }
    if (node->kind != QD_NODE_SCALAR) {
        qd_fail(c, at, node, "%s, not %s, is accepted here; one of: %s", what,
                qd_node_kind_text(node), accepted);
    } else {
        qd_fail(c, at, node, "\"%s\": unknown %s; accepted: %s%s", node->text, what, accepted,
                qd_did_you_mean(c, &s));
    }
    return false;
}

bool qd_read_bool(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                  bool *ret_value)
{
    static const struct qd_word words[] = {{"true", 1}, {"false", 0}};
    int value;
    if (!qd_read_word(c, at, node, "truth value", words, 2, &value)) {
        return false;
    }
    *ret_value = value != 0;
    return true;
}

bool qd_read_amount(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    int64_t min, int64_t max, int64_t *ret_value)
{
    if (!expect_value(c, at, node, "a number")) {
        return false;
    }
    int64_t value;
    if (qd_amount_parse(node->text, node->len, 1, &value) != QD_AMOUNT_OK || value < min ||
        value > max) {
        qd_fail(c, at, node, "\"%s\": a whole number from %lld to %lld is accepted%s", node->text,
                (long long)min, (long long)max, max >= 4096 ? ", as 4096 or 4k" : "");
        return false;
    }
    *ret_value = value;
    return true;
}

/* "50%", "99.9%". */
static const char *permille_text(struct qd_compiler *c, int permille)
{
    return permille % 10 == 0 ? qd_arena_printf(c->arena, "%d%%", permille / 10)
                              : qd_arena_printf(c->arena, "%d.%d%%", permille / 10, permille % 10);
}

bool qd_read_permille(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      int min, int max, uint16_t *ret_permille)
{
    if (!expect_value(c, at, node, "a percentage")) {
        return false;
    }
    struct qd_decimal d;
    enum qd_decimal_result rc;
    int64_t permille = -1;
    size_t used = qd_number_scan(node->text, node->len, &d, &rc);
    if (rc != QD_DECIMAL_OK || d.negative || used + 1 != node->len || node->text[used] != '%' ||
        qd_decimal_to_int64(&d, 1, &permille) != QD_DECIMAL_OK || permille < min ||
        permille > max) {
        qd_fail(c, at, node, "\"%s\": %s to %s is accepted, in steps of 0.1%%", node->text,
                permille_text(c, min), permille_text(c, max));
        return false;
    }
    *ret_permille = (uint16_t)permille;
    return true;
}

const char *qd_duration_text(struct qd_compiler *c, int64_t ns)
{
    if (ns % QD_NS_PER_DAY == 0) {
        return qd_arena_printf(c->arena, "%lldd", (long long)(ns / QD_NS_PER_DAY));
    }
    if (ns % QD_NS_PER_HOUR == 0) {
        return qd_arena_printf(c->arena, "%lldh", (long long)(ns / QD_NS_PER_HOUR));
    }
    if (ns % QD_NS_PER_S == 0) {
        return qd_arena_printf(c->arena, "%llds", (long long)(ns / QD_NS_PER_S));
    }
    return qd_arena_printf(c->arena, "%lldms", (long long)(ns / QD_NS_PER_MS));
}

/* ", as 10min, 6h": those of some usual lengths that are in min..max. */
static const char *duration_examples(struct qd_compiler *c, int64_t min_ns, int64_t max_ns)
{
    static const struct {
        const char *text;
        int64_t ns;
    } usual[] = {{"300s", 300 * QD_NS_PER_S},
                 {"10min", 10 * QD_NS_PER_MINUTE},
                 {"6h", 6 * QD_NS_PER_HOUR},
                 {"35d", 35 * QD_NS_PER_DAY}};
    const char *list = "";
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        if (usual[i].ns >= min_ns && usual[i].ns <= max_ns) {
            list = qd_arena_printf(c->arena, "%s, %s%s", list, list[0] == '\0' ? "as " : "",
                                   usual[i].text);
        }
    }
    return list;
}

bool qd_read_duration(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      int64_t min_ns, int64_t max_ns, int64_t *ret_ns)
{
    if (!expect_value(c, at, node, "a length of time")) {
        return false;
    }
    struct qd_span span;
    int64_t ns;
    if (!qd_span_parse(node->text, node->len, &span) || !span.has_count ||
        !qd_span_ns(&span, &ns) || ns < min_ns || ns > max_ns) {
        qd_fail(c, at, node, "\"%s\": a length of time from %s to %s is accepted%s", node->text,
                qd_duration_text(c, min_ns), qd_duration_text(c, max_ns),
                duration_examples(c, min_ns, max_ns));
        return false;
    }
    *ret_ns = ns;
    return true;
}

static bool has_control_characters(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7F || (*p == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F)) {
            return true;
        }
    }
    return false;
}

const char *qd_read_name(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    if (!expect_value(c, at, node, "a name")) {
        return NULL;
    }
    if (node->len > QD_NAME_MAX || has_control_characters(node->text)) {
        qd_fail(c, at, node,
                "\"%.40s\": not a name; 1 to 127 bytes of UTF-8 without control characters are "
                "accepted",
                node->text);
        return NULL;
    }
    return node->text;
}

const char *qd_read_ident(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                          const char *what)
{
    if (!expect_value(c, at, node, what)) {
        return NULL;
    }
    static const char accepted[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (node->len > 63 || strspn(node->text, accepted) != node->len) {
        qd_fail(c, at, node,
                "\"%.70s\": not %s; 1 to 63 of a-z, A-Z, 0-9, \".\", \"_\", \"-\" are accepted",
                node->text, what);
        return NULL;
    }
    return node->text;
}
