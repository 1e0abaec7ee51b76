#include "server/rls/value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_TEXT_MAX 63

/* True for "word", "WORD" and "Word" only: YAML knows no "wOrD". */
static bool is_word(const char *text, const char *word)
{
    if (strcasecmp(text, word) != 0) {
        return false;
    }
    if (strcmp(text, word) == 0) {
        return true;
    }
    bool is_upper = true;
    bool is_title = isupper((unsigned char)text[0]) != 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        is_upper = is_upper && isupper((unsigned char)text[i]) != 0;
        is_title = is_title && (i == 0 || islower((unsigned char)text[i]) != 0);
    }
    return is_upper || is_title;
}

bool qd_rls_bool_parse(const char *text, bool *ret_value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"y", true},
                 {"false", false}, {"no", false}, {"off", false}, {"n", false}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (is_word(text, words[i].word)) {
            *ret_value = words[i].value;
            return true;
        }
    }
    return false;
}

/* A copy without `_`; false if it is too long for a number. */
static bool without_underscores(const char *text, char plain[NUMBER_TEXT_MAX + 1])
{
    size_t len = 0;
    for (; *text != '\0'; text++) {
        if (*text == '_') {
            continue;
        }
        if (len == NUMBER_TEXT_MAX) {
            return false;
        }
        plain[len++] = *text;
    }
    plain[len] = '\0';
    return len > 0;
}

static const char *skip_base(const char *digits, int *ret_base)
{
    *ret_base = 10;
    if (digits[0] != '0' || digits[1] == '\0') {
        return digits;
    }
    switch (digits[1]) {
    case 'x':
    case 'X':
        *ret_base = 16;
        return digits + 2;
    case 'b':
    case 'B':
        *ret_base = 2;
        return digits + 2;
    case 'o':
    case 'O':
        *ret_base = 8;
        return digits + 2;
    default:
        *ret_base = 8;
        return digits + 1;
    }
}

bool qd_rls_number_parse(const char *text, uint64_t max, uint64_t *ret_value)
{
    char plain[NUMBER_TEXT_MAX + 1];
    if (text[0] == '_' || !without_underscores(text, plain)) {
        return false;
    }
    int base;
    const char *digits = skip_base(plain[0] == '+' ? plain + 1 : plain, &base);
    if (!isxdigit((unsigned char)digits[0])) { /* strtoull takes blanks and signs, too */
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(digits, &end, base);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *ret_value = value;
    return true;
}

/* A number of any kind, as a Struct has it. Infinities and the like stay text. */
static bool parse_double(const char *text, double *ret_number)
{
    char plain[NUMBER_TEXT_MAX + 1];
    uint64_t whole;
    bool is_negative = text[0] == '-';
    if (qd_rls_number_parse(is_negative ? text + 1 : text, UINT64_MAX, &whole)) {
        *ret_number = is_negative ? -(double)whole : (double)whole;
        return true;
    }
    if (!without_underscores(text, plain) || strspn(plain, "0123456789+-.eE") != strlen(plain) ||
        strpbrk(plain, "0123456789") == NULL) {
        return false;
    }
    char *end;
    *ret_number = strtod(plain, &end);
    return *end == '\0' && isfinite(*ret_number) != 0;
}

static struct qd_rls_value scalar(struct qd_arena *arena, const struct qd_node *node)
{
    struct qd_rls_value value = {.kind = QD_RLS_VALUE_STRING};
    if (qd_node_is_null(node)) {
        value.kind = QD_RLS_VALUE_NULL;
    } else if (node->plain && qd_rls_bool_parse(node->text, &value.boolean)) {
        value.kind = QD_RLS_VALUE_BOOL;
    } else if (node->plain && parse_double(node->text, &value.number)) {
        value.kind = QD_RLS_VALUE_NUMBER;
    } else {
        value.number = 0;
        value.string = (struct qd_str){qd_arena_text(arena, node->text, node->len), node->len};
    }
    return value;
}

struct qd_rls_value qd_rls_value_make(struct qd_arena *arena, const struct qd_node *node)
{
    if (node->kind == QD_NODE_SCALAR) {
        return scalar(arena, node);
    }
    bool is_struct = node->kind == QD_NODE_MAP;
    struct qd_rls_value *items = qd_arena_array(arena, node->count, sizeof *items);
    const char **keys = is_struct ? qd_arena_array(arena, node->count, sizeof *keys) : NULL;
    for (size_t i = 0; i < node->count; i++) {
        if (is_struct) {
            const struct qd_node *key = qd_node_key(node, i);
            keys[i] = qd_arena_text(arena, key->text, key->len);
        }
        items[i] = qd_rls_value_make(arena, is_struct ? qd_node_value(node, i) : node->items[i]);
    }
    return (struct qd_rls_value){.kind = is_struct ? QD_RLS_VALUE_STRUCT : QD_RLS_VALUE_LIST,
                                 .count = node->count,
                                 .keys = keys,
                                 .items = items};
}

const struct qd_rls_value *qd_rls_value_get(const struct qd_rls_value *value, const char *key)
{
    for (size_t i = 0; value->kind == QD_RLS_VALUE_STRUCT && i < value->count; i++) {
        if (strcmp(value->keys[i], key) == 0) {
            return &value->items[i];
        }
    }
    return NULL;
}
