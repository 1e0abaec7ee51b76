/* Ledger entries as comma-separated values (RFC 4180, lines end in \n).
 *
 * Layer:    client/ctl. Threads: the main one.
 * Money is exact in pico-USD, and as limits counted it in nano-USD; of an unpriced entry it is
 * empty. A quantity that was not reported is missing, which is not 0.
 * Lists (quantities, labels, price versions) are joined with `;`, a name and its value with `=`; a
 * `;`, `=` or backslash that is part of a name or a value has a backslash before it.
 * Columns keep their places: new ones come last.
 */
#ifndef QD_CLIENT_CTL_CSV_H
#define QD_CLIENT_CTL_CSV_H

#include "client/ctl/wire.h"

/* The names of the columns, a line. */
extern const char ctl_csv_head[];
/* One encoded quota.v1.LedgerEntry, a line; `plan` is of that type. False: it is none. */
bool ctl_csv_entry(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_sink *sink);

#endif /* QD_CLIENT_CTL_CSV_H */
