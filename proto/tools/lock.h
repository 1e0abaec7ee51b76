/* Writes what must stay as it is: one line per message, field, enum value, reservation and method.
 * Build time only; proto/check-compat.sh compares the lines with proto/quota.lock.
 *
 *   message  NAME
 *   enum     NAME
 *   service  NAME
 *   field    MESSAGE NUMBER NAME TYPE         TYPE: [repeated:]<scalar or full name>[@<oneof>]
 *   value    ENUM NUMBER NAME
 *   reserved OWNER NUMBER-or-NAME
 *   method   SERVICE NAME [stream:]REQUEST [stream:]RESPONSE
 */
#ifndef QD_PROTO_TOOLS_LOCK_H
#define QD_PROTO_TOOLS_LOCK_H

#include "set.h"

/* Writes the lines of every symbol whose full name begins with `prefix`, in the order of the walk.
 * Returns 0, or -1 after a sentence on stderr. */
int qd_lock_write(const struct qd_set *set, const char *prefix, FILE *out);

#endif /* QD_PROTO_TOOLS_LOCK_H */
