/* Binding: the counters that a request touches, cached under the request's key (P2, D13). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   128 bytes an entry, two lines side by side. A key lies in one of QD_BINDING_WINDOW
 * places from its own on, most often the first; when all are taken the least recently used goes.
 *           Losing one costs its request a round of NEEDS_BINDING, never a decision.
 */
#ifndef QD_CORE_BINDING_H
#define QD_CORE_BINDING_H

#include "slice.h"

/* The binding of `key` and this epoch, or NULL: bind first. It may be stale: nothing but its own
 * two lines was looked at, so that the caller can ask for all that it names at once. */
struct qd_binding *qd_binding_find(struct qd_core *core, struct qd_hash128 key, uint32_t epoch);

/* True if it is in force and its root was not forgotten (P2); marks it as used. False: bind first.
 */
bool qd_binding_use(struct qd_core *core, struct qd_binding *binding, struct qd_wall_ns now);

/* The binding of `key` whatever its epoch, or NULL. */
const struct qd_binding *qd_binding_any(const struct qd_core *core, struct qd_hash128 key);

/* Its items, at most QD_LIMITS_PER_CHECK_MAX; false if some of its further entries are gone. */
bool qd_binding_items(struct qd_core *core, const struct qd_binding *binding,
                      struct qd_ref ret_items[QD_LIMITS_PER_CHECK_MAX], struct qd_wall_ns now);

/* Enter or replace one. `first` has key, epoch, valid_until_ns, root, root_generation, name (a hold
 * on it passes to the table), estimator and blocked. */
void qd_binding_put(struct qd_core *core, const struct qd_binding *first,
                    const struct qd_ref *items, unsigned count, struct qd_wall_ns now);

/* Forget bindings that are stale or were not used for a while, for the names they hold: some of
 * them, going on where the last call ended. */
void qd_binding_trim(struct qd_core *core, struct qd_wall_ns now);

void qd_binding_prefetch(const struct qd_core *core, struct qd_hash128 key);

#endif /* QD_CORE_BINDING_H */
