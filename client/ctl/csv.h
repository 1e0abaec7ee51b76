/* Ledger entries as comma-separated values (RFC 4180, lines end in \n).
 *
 * Layer:    client/ctl. Threads: the main one.
 * Money is exact, in pico-USD; a quantity that was not reported is missing, which is not 0.
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
