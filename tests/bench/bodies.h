/* The requests that the load generator sends, encoded before the clock starts.
 *
 * Tenants have three levels: `t00042/core/app`; a share of the requests comes from
 * `t00042/core/spent`, a key whose limit is used up, so that they are denied. The order is drawn
 * once, from a fixed seed, and gone through in rounds. For Envoy's ShouldRateLimit each tenant is a
 * pair of a rule and a user, and who comes under the rule `spent` is over its limit.
 *
 * Memory: one block each for messages and order. Threads: constant once made. */
#ifndef QD_BENCH_BODIES_H
#define QD_BENCH_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ids of a batch's items take two bytes: 128 + (slot of the batch) * batch + index. */
#define BATCH_ID_FIRST 128U
#define BATCH_ID_LIMIT 16384U

struct bodies_spec {
    unsigned tenants;
    unsigned denied_percent;
    unsigned batch; /* 0: one check a message (CheckQuota); else items a message (StreamQuota) */
    unsigned items; /* order: how many checks are drawn */
    const char *model;
    int64_t ttl_ms;
    bool brief;
    bool reserve;
    unsigned rules; /* above 0: ShouldRateLimit; the tenants are spread over so many rules */
    bool report;    /* ReportUsage without a reservation (S7), each with a request id of its own */
};

struct body {
    const uint8_t *bytes; /* gRPC's five-byte prefix and the message */
    size_t size;
};

struct bodies;

struct bodies *bodies_new(const struct bodies_spec *spec);
void bodies_free(struct bodies *bodies);

/* Reports are written anew, each for itself: one may be sent until as many others were taken. */
#define REPORTS_MAX 8192U

/* The next message in the order. Batches that follow each other differ in their ids, as long as no
 * more than bodies_slots of them are unanswered. */
struct body bodies_next(struct bodies *bodies);

/* How many batches can be told apart by their items' ids. */
unsigned bodies_slots(const struct bodies_spec *spec);

#endif /* QD_BENCH_BODIES_H */
