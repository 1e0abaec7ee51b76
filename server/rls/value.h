/* The `metadata` of a rule: what a google.protobuf.Struct can hold (point 13).
 *
 * Layer:    rls
 * Threads:  immutable once it is made.
 * Memory:   all of it is in one arena.
 */
#ifndef QD_RLS_VALUE_H
#define QD_RLS_VALUE_H

#include "server/core/types.h"
#include "server/policy/node.h"

enum qd_rls_value_kind {
    QD_RLS_VALUE_NULL,
    QD_RLS_VALUE_BOOL,
    QD_RLS_VALUE_NUMBER,
    QD_RLS_VALUE_STRING,
    QD_RLS_VALUE_STRUCT,
    QD_RLS_VALUE_LIST,
};

struct qd_rls_value {
    enum qd_rls_value_kind kind;
    bool boolean;
    double number;           /* finite: a Struct has no others */
    struct qd_str string;    /* UTF-8 */
    size_t count;            /* of items */
    const char *const *keys; /* of a struct, NUL-terminated; else NULL */
    const struct qd_rls_value *items;
};

/* Copy a node, its aliases written out. Plain words are null, truth values and numbers where YAML
 * says so; in quotes all is text. */
struct qd_rls_value qd_rls_value_make(struct qd_arena *arena, const struct qd_node *node);

/* The value of `key` of a struct, or NULL. */
const struct qd_rls_value *qd_rls_value_get(const struct qd_rls_value *value, const char *key);

/* A YAML 1.1 truth value: true, yes, on, y and their contraries, in lower, upper or title case.
 * False if `text` is none. */
bool qd_rls_bool_parse(const char *text, bool *ret_value);

/* A YAML whole number in 0..max: decimal, 0x, 0o, 0b, a leading 0 for octal, with _ between digits.
 */
bool qd_rls_number_parse(const char *text, uint64_t max, uint64_t *ret_value);

#endif /* QD_RLS_VALUE_H */
