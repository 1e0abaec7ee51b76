/* The ledger's entries, all of them, to a FILE.
 *
 * Layer:    client/ctl. Threads: the main one; the next page is on its way while one is printed.
 */
#ifndef QD_CLIENT_CTL_EXPORT_H
#define QD_CLIENT_CTL_EXPORT_H

#include "client/ctl/ctl.h"
#include "quota/v1/usage.pb-c.h"

enum ctl_export_format {
    CTL_EXPORT_JSONL,   /* a JSON object a line */
    CTL_EXPORT_CSV,     /* csv.h */
    CTL_EXPORT_CSV_ROWS /* without the line of names: to be appended */
};

/* Print what `request` asks for, from its cursor until nothing more is complete. Where it ended
 * goes to stderr: the next export begins there (L6). Returns an exit code. */
int ctl_export(struct ctl *ctl, Quota__V1__ListLedgerEntriesRequest *request,
               enum ctl_export_format format);

#endif /* QD_CLIENT_CTL_EXPORT_H */
