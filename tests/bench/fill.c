/* A big ledger, for what needs one: how long a start takes, how fast an export is.
 *
 *     bench_fill DATA-DIR ENTRIES TENANTS DAYS
 *
 * Books ENTRIES reports of TENANTS tenants, spread evenly over the last DAYS, into a data directory
 * that quotad may then be started on: the ledger's own path, without syncs. Prints key=value lines.
 */
#include "tests/bench/ledger_fill.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * QD_NS_PER_S + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_fill DATA-DIR ENTRIES TENANTS DAYS\n");
        return 1;
    }
    struct ledger_fill fill = {.entries = strtoull(argv[2], NULL, 10),
                               .tenants = strtoull(argv[3], NULL, 10),
                               .models = 1,
                               .span_ns = strtoll(argv[4], NULL, 10) * QD_NS_PER_DAY,
                               .end = {clock_ns(CLOCK_REALTIME)}};
    if (fill.entries == 0 || fill.tenants == 0 || fill.span_ns <= 0) {
        fprintf(stderr, "bench_fill: all numbers are above 0\n");
        return 1;
    }
    struct qd_store *store = ledger_fill_store(argv[1], false);
    struct qd_ledger *ledger = ledger_fill_open(store);
    int64_t from = clock_ns(CLOCK_MONOTONIC);
    ledger_fill(ledger, &fill);
    int64_t took = clock_ns(CLOCK_MONOTONIC) - from;
    qd_ledger_close(ledger);
    qd_store_close(store);
    printf("entries=%llu\nentries_per_s=%.0f\n", (unsigned long long)fill.entries,
           (double)fill.entries * 1e9 / (double)took);
    return 0;
}
