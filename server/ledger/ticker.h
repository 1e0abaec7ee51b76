/* A thread that calls a function once a period, until it is stopped.
 *
 * Layer:    server/ledger; knows nothing of what it calls
 * Units:    ms.
 * Threads:  `tick` runs on the ticker's own thread, and never twice at once.
 * Memory:   the context is the caller's and outlives the ticker.
 */
#ifndef QD_LEDGER_TICKER_H
#define QD_LEDGER_TICKER_H

#include <stdint.h>

struct qd_ticker; /* opaque */

/* At once, and then a period after the end of the call before. NULL: no memory or no thread. */
struct qd_ticker *qd_ticker_start(uint32_t period_ms, void (*tick)(void *context), void *context);

/* Waits for a call under way; NULL is fine. */
void qd_ticker_stop(struct qd_ticker *ticker);

#endif /* QD_LEDGER_TICKER_H */
