/* Prometheus's text format: families and samples (I6).
 *
 * Layer:    admin
 * Units:    what is written is in base units (seconds, bytes); nanoseconds come in as integers.
 * Threads:  values only.
 * Memory:   writes to the caller's stream.
 *
 * A family is its head, then all of its samples. Label values are the project's own words or path
 * segments (P2): nothing in them needs escaping.
 */
#ifndef QD_ADMIN_EXPOSITION_H
#define QD_ADMIN_EXPOSITION_H

#include "server/measure/histogram.h"

#include <stdint.h>
#include <stdio.h>

/* # HELP and # TYPE; `type` is counter, gauge or histogram. */
void qd_expose_head(FILE *out, const char *name, const char *type, const char *help);

/* A family of one sample without labels. */
void qd_expose_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value);

/* A sample with one label. */
void qd_expose_labelled(FILE *out, const char *name, const char *label, const char *word,
                        uint64_t value);

/* A number of seconds, from ns, with no more digits than it needs: "0.25", "17", "-0.001". */
void qd_expose_seconds(FILE *out, int64_t ns);

/* A family of one sample in seconds. */
void qd_expose_time(FILE *out, const char *name, const char *type, const char *help, int64_t ns);

/* How a histogram's bounds and sum are written. */
enum qd_expose_unit {
    QD_EXPOSE_COUNT,   /* as they are */
    QD_EXPOSE_SECONDS, /* they are ns */
};

/* The samples of one histogram. `label` (NULL: none) is written before le. */
void qd_expose_histogram(FILE *out, const char *name, const char *label, const char *word,
                         unsigned first, enum qd_expose_unit unit,
                         const struct qd_histogram_sum *sum);

#endif /* QD_ADMIN_EXPOSITION_H */
