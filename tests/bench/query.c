/* What a usage query costs, by how many entries its day holds (L4).
 *
 *     bench_query FOLDER ENTRIES FEW
 *
 * Two ledgers with the same tenants, models and quarter hours of one day, one with ENTRIES entries
 * and one with FEW. The same queries on either, in turns in one run: right after booking, when what
 * was booked last is in memory, and after opening the stores anew, as after a restart. Prints
 * key=value lines: the median time of a query in microseconds.
 */
#include "server/ledger/usage.h"
#include "tests/bench/ledger_fill.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TENANTS 20U
#define MODELS  4U
#define ROUNDS  31U

struct side {
    char folder[4096];
    const char *name;
    struct ledger_fill fill;
    struct qd_store *store;
    struct qd_ledger *ledger;
    int64_t times[ROUNDS];
};

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * QD_NS_PER_S + now.tv_nsec;
}

static void side_open(struct side *side)
{
    side->store = ledger_fill_store(side->folder, false);
    side->ledger = ledger_fill_open(side->store);
}

static void side_close(struct side *side)
{
    qd_ledger_close(side->ledger);
    qd_store_close(side->store);
}

/* The day by tenant and model. Every entry must be in. */
static void query(struct side *side, unsigned round)
{
    int64_t end = side->fill.end.ns / QD_ROLLUP_NS * QD_ROLLUP_NS;
    struct qd_wall_ns boundaries[] = {{end - side->fill.span_ns}, {end + QD_ROLLUP_NS}};
    struct qd_usage_group groups[] = {{.dimension = QD_BY_TENANT}, {.dimension = QD_BY_MODEL}};
    struct qd_usage_query query = {.boundaries = boundaries,
                                   .boundary_count = 2,
                                   .groups = groups,
                                   .group_count = 2,
                                   .page_max = 1000};
    struct qd_usage_table table;
    struct qd_store_error error = {0};
    int64_t from = clock_ns();
    enum qd_store_err err = qd_usage_query(side->ledger, &query, &table, &error);
    side->times[round] = clock_ns() - from;
    qd_int128 entries = 0;
    for (size_t i = 0; err == QD_STORE_OK && i < table.row_count; i++) {
        entries += qd_sums_value(&table.rows[i].sums, qd_slice_of(QD_SUM_ENTRIES));
    }
    if (err != QD_STORE_OK || table.scanned_entries || entries != side->fill.entries) {
        fprintf(stderr, "bench_query: %s: %lld entries, %s\n", side->folder, (long long)entries,
                error.text);
        exit(1);
    }
    qd_usage_table_release(&table);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(struct side sides[2], const char *when)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        query(&sides[0], round);
        query(&sides[1], round);
    }
    for (unsigned i = 0; i < 2; i++) {
        qsort(sides[i].times, ROUNDS, sizeof sides[i].times[0], compare);
        int64_t median = sides[i].times[ROUNDS / 2];
        printf("%s_%s_us=%.0f\n", when, sides[i].name, (double)median / 1e3);
    }
}

int main(int argc, char **argv)
{
    static struct side sides[2] = {{.name = "many"}, {.name = "few"}};
    if (argc != 4) {
        fprintf(stderr, "usage: bench_query FOLDER ENTRIES FEW\n");
        return 1;
    }
    /* The same quarter hours for both. */
    struct qd_wall_ns end = {(int64_t)time(NULL) * QD_NS_PER_S / QD_ROLLUP_NS * QD_ROLLUP_NS - 1};
    for (int i = 0; i < 2; i++) {
        snprintf(sides[i].folder, sizeof sides[i].folder, "%s/%s", argv[1], sides[i].name);
        sides[i].fill = (struct ledger_fill){.entries = strtoull(argv[2 + i], NULL, 10),
                                             .tenants = TENANTS,
                                             .models = MODELS,
                                             .span_ns = QD_NS_PER_DAY,
                                             .end = end};
        side_open(&sides[i]);
        ledger_fill(sides[i].ledger, &sides[i].fill);
    }
    measure(sides, "booked");
    for (int i = 0; i < 2; i++) {
        side_close(&sides[i]);
        side_open(&sides[i]);
    }
    measure(sides, "reopened");
    side_close(&sides[0]);
    side_close(&sides[1]);
    return 0;
}
