/* A ledger of any size, for the benchmarks: booked as reports are, by the ledger's own path, but
 * without syncs.
 *
 * Layer:    tests/bench
 * Units:    wall ns.
 * Threads:  the caller's submits, the ledger's writes.
 * Memory:   the caller closes what is opened. What fails ends the process with a message.
 */
#ifndef QD_BENCH_LEDGER_FILL_H
#define QD_BENCH_LEDGER_FILL_H

#include "server/ledger/ledger.h"

struct ledger_fill {
    uint64_t entries;
    uint64_t tenants;      /* t0000000/core/app, t0000001/core/app, ... in turns */
    uint64_t models;       /* bench, model-1, model-2, ...; each tenant uses all of them */
    int64_t span_ns;       /* the entries' times rise evenly over this long ... */
    struct qd_wall_ns end; /* ... up to here */
};

/* Open or make the store in `folder`. With `synced` false, nothing that is written is synced. */
struct qd_store *ledger_fill_store(const char *folder, bool synced);
struct qd_ledger *ledger_fill_open(struct qd_store *store);
void ledger_fill(struct qd_ledger *ledger, const struct ledger_fill *fill);

#endif /* QD_BENCH_LEDGER_FILL_H */
