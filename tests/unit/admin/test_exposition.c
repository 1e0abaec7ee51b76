/* I6: the text format, to the letter. */
#include "server/admin/exposition.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t size;
static FILE *out;

static void begin(void)
{
    out = open_memstream(&text, &size);
    cr_assert_not_null(out);
}

static void end(void)
{
    free(text);
    text = NULL;
}

static const char *written(void)
{
    cr_assert_eq(fclose(out), 0);
    return text;
}

static void expect_begins(const char *got, const char *wanted)
{
    cr_expect_eq(strncmp(got, wanted, strlen(wanted)), 0, "%s", got);
}

TestSuite(exposition, .init = begin, .fini = end);

Test(exposition, I6_families_and_samples)
{
    qd_expose_one(out, "a_total", "counter", "As.", UINT64_MAX);
    qd_expose_head(out, "b", "gauge", "Bs.");
    qd_expose_labelled(out, "b", "kind", "x", 0);
    cr_expect_str_eq(written(), "# HELP a_total As.\n# TYPE a_total counter\n"
                                "a_total 18446744073709551615\n"
                                "# HELP b Bs.\n# TYPE b gauge\nb{kind=\"x\"} 0\n");
}

Test(exposition, I6_seconds_are_exact)
{
    static const int64_t ns[] = {0,           1,         -1,        1000000000, 250000000,
                                 -1500000000, INT64_MAX, INT64_MIN, 16384};
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
        qd_expose_seconds(out, ns[i]);
        fputc('\n', out);
    }
    cr_expect_str_eq(written(), "0\n0.000000001\n-0.000000001\n1\n0.25\n-1.5\n"
                                "9223372036.854775807\n-9223372036.854775808\n0.000016384\n");
}

/* Buckets are cumulative, the last one is the count, the sum is in the unit. */
Test(exposition, I6_histograms_with_and_without_a_label)
{
    struct qd_histogram_sum sum = {.counts = {[0] = 2, [1] = 1, [QD_HISTOGRAM_BOUNDS] = 4},
                                   .sum = 1500000000};
    qd_expose_histogram(out, "h", "m", "x", QD_HISTOGRAM_LATENCY, QD_EXPOSE_SECONDS, &sum);
    const char *got = written();
    expect_begins(got, "h_bucket{m=\"x\",le=\"0.000016384\"} 2\n"
                       "h_bucket{m=\"x\",le=\"0.000032768\"} 3\n");
    cr_expect_not_null(strstr(got, "h_bucket{m=\"x\",le=\"17.179869184\"} 3\n"
                                   "h_bucket{m=\"x\",le=\"+Inf\"} 7\n"
                                   "h_sum{m=\"x\"} 1.5\nh_count{m=\"x\"} 7\n"),
                       "%s", got);
    end();
    begin();
    qd_expose_histogram(out, "h", NULL, NULL, QD_HISTOGRAM_SIZE, QD_EXPOSE_COUNT, &sum);
    got = written();
    expect_begins(got, "h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 3\n");
    cr_expect_not_null(strstr(got, "h_bucket{le=\"+Inf\"} 7\nh_sum 1500000000\nh_count 7\n"));
}
