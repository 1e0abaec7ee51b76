/* The maps of a configuration file by their known keys. Internal to this folder.
 *
 * Layer:    rls
 * Threads:  one reader belongs to one thread. Memory: values point into the file's nodes.
 *
 * As in the reference server a key that it does not know at all is an error, and one that stands in
 * the wrong place is passed over; here with a warning. YAML's merge key `<<` takes in the pairs of
 * another map, or of several, for keys that the map does not have itself.
 */
#ifndef QD_RLS_FIELDS_H
#define QD_RLS_FIELDS_H

#include "server/policy/compile.h"

enum qd_rls_key {
    QD_RLS_KEY_DOMAIN,
    QD_RLS_KEY_DESCRIPTORS,
    QD_RLS_KEY_KEY,
    QD_RLS_KEY_VALUE,
    QD_RLS_KEY_RATE_LIMIT,
    QD_RLS_KEY_SHADOW_MODE,
    QD_RLS_KEY_QUOTA_MODE,
    QD_RLS_KEY_DETAILED_METRIC,
    QD_RLS_KEY_VALUE_TO_METRIC,
    QD_RLS_KEY_SHARE_THRESHOLD,
    QD_RLS_KEY_METADATA,
    QD_RLS_KEY_UNIT,
    QD_RLS_KEY_REQUESTS_PER_UNIT,
    QD_RLS_KEY_UNLIMITED,
    QD_RLS_KEY_NAME,
    QD_RLS_KEY_REPLACES,
    QD_RLS_KEY_COUNT
};

/* Where a map stands. */
enum qd_rls_place {
    QD_RLS_PLACE_FILE = 1,
    QD_RLS_PLACE_DESCRIPTOR = 2,
    QD_RLS_PLACE_RATE_LIMIT = 4,
    QD_RLS_PLACE_REPLACES = 8,
};

struct qd_rls_fields {
    const struct qd_node *value[QD_RLS_KEY_COUNT]; /* NULL: not given, or null */
};

/* Take a map apart; errors and warnings are reported. False if it is no map. Null is an empty one.
 */
bool qd_rls_fields_read(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        enum qd_rls_place place, struct qd_rls_fields *ret_fields);

/* A single value as text, at most QD_RLS_TEXT_MAX bytes; what is not given is "". False and
 * reported otherwise. */
bool qd_rls_field_text(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key,
                       struct qd_str *ret_text);

/* A truth value; what is not given is false. False and reported if it is none. */
bool qd_rls_field_bool(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key, bool *ret_value);

/* Report an error (a warning) about a field that is given: "at.key: message". */
void qd_rls_field_fail(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key,
                       const char *message);
void qd_rls_field_warn(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key,
                       const char *message);

/* The place of a field's value in the file, below `at`. */
struct qd_at qd_rls_field_at(const struct qd_at *at, enum qd_rls_key key);

#endif /* QD_RLS_FIELDS_H */
