/* Ledger entries as comma-separated values (RFC 4180, lines end in \n).
 *
 * Layer:    client/ctl. Threads: the main one.
 * Money is exact, in pico-USD; a quantity that was not reported is missing, which is not 0.
 */
#ifndef QD_CLIENT_CTL_CSV_H
#define QD_CLIENT_CTL_CSV_H

#include "quota/v1/usage.pb-c.h"

#include <stdio.h>

/* The names of the columns, a line. */
extern const char ctl_csv_head[];
/* One entry, a line. */
void ctl_csv_entry(FILE *out, const Quota__V1__LedgerEntry *entry);

#endif /* QD_CLIENT_CTL_CSV_H */
