/* What outlives every policy: limit specs, zones, names, and the versions of price sheets.
 *
 * Layer:    policy (control plane; never on the path of a check)
 * Threads:  any; one mutex inside.
 * Memory:   process-long, never freed before qd_intern_clear. The same content gives the same
 * pointer, so that reloading a policy a thousand times adds nothing. At most QD_INTERN_LIMITS_MAX
 * different limits.
 */
#ifndef QD_POLICY_INTERN_H
#define QD_POLICY_INTERN_H

#include "server/core/limit.h"
#include "server/core/price.h"

#define QD_INTERN_LIMITS_MAX (1U << 20)

/* All of these return NULL (or version 0) when memory or the table's bound is exhausted. */

/* A NUL-terminated copy. */
const char *qd_intern_text(const char *ptr, size_t len);

/* The spec with this content: `index`, `identity` and `spec` of `spec` are ignored and filled in,
 * everything that it points to is copied. `scope_kind` ("tenant", "pool h100", "model gpt-4o",
 * "global") goes into the identity (P6), which is (scope, name, algorithm, window, slots, per,
 * unit), and nothing else. */
const struct qd_limit *qd_intern_limit(const struct qd_limit *spec, const char *scope_kind);

/* Number of different specs so far. */
uint32_t qd_intern_limit_count(void);
/* The spec of an index, or NULL. */
const struct qd_limit *qd_intern_limit_at(uint32_t index);

/* The zone of an IANA name; "UTC" is qd_zone_utc. NULL: no such zone, or its file is broken. */
const struct qd_zone *qd_intern_zone(const char *name);

/* The version of a price sheet: a number made from its content (book, subject, `effective`, lines),
 * the same in every process and after every reload. Two sheets that meet at the same number (1 in
 * 2^31) get different ones, in the order in which this process saw them. Never 0. */
uint32_t qd_intern_price_version(const char *book, const char *subject,
                                 const struct qd_price_sheet *sheet);

/* For tests: forget everything. Nobody may hold anything interned. */
void qd_intern_clear(void);

#endif /* QD_POLICY_INTERN_H */
