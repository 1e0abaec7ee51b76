#include "server/admin/exposition.h"

#include <inttypes.h>

#define NS_PER_S UINT64_C(1000000000)

void qd_expose_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void qd_expose_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    qd_expose_head(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

void qd_expose_labelled(FILE *out, const char *name, const char *label, const char *word,
                        uint64_t value)
{
    fprintf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, word, value);
}

static void write_seconds(FILE *out, uint64_t ns)
{
    uint64_t rest = ns % NS_PER_S;
    int digits = 9;

    fprintf(out, "%" PRIu64, ns / NS_PER_S);
    while (digits > 0 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    if (digits > 0) {
        fprintf(out, ".%0*" PRIu64, digits, rest);
    }
}

void qd_expose_seconds(FILE *out, int64_t ns)
{
    if (ns < 0) {
        fputc('-', out);
    }
    write_seconds(out, ns < 0 ? -(uint64_t)ns : (uint64_t)ns);
}

void qd_expose_time(FILE *out, const char *name, const char *type, const char *help, int64_t ns)
{
    qd_expose_head(out, name, type, help);
    fprintf(out, "%s ", name);
    qd_expose_seconds(out, ns);
    fputc('\n', out);
}

static void write_value(FILE *out, enum qd_expose_unit unit, uint64_t value)
{
    if (unit == QD_EXPOSE_SECONDS) {
        write_seconds(out, value);
    } else {
        fprintf(out, "%" PRIu64, value);
    }
}

/* "{method="CheckQuota"" without its end; nothing was written if there is no label. */
static void open_labels(FILE *out, const char *name, const char *suffix, const char *label,
                        const char *word)
{
    fprintf(out, "%s%s", name, suffix);
    if (label != NULL) {
        fprintf(out, "{%s=\"%s\"", label, word);
    }
}

void qd_expose_histogram(FILE *out, const char *name, const char *label, const char *word,
                         unsigned first, enum qd_expose_unit unit,
                         const struct qd_histogram_sum *sum)
{
    const char *close = label != NULL ? "} " : " ";
    uint64_t count = 0;

    for (unsigned i = 0; i < QD_HISTOGRAM_BOUNDS; i++) {
        count += sum->counts[i];
        open_labels(out, name, "_bucket", label, word);
        fprintf(out, "%sle=\"", label != NULL ? "," : "{");
        write_value(out, unit, qd_histogram_bound(first, i));
        fprintf(out, "\"} %" PRIu64 "\n", count);
    }
    count += sum->counts[QD_HISTOGRAM_BOUNDS];
    open_labels(out, name, "_bucket", label, word);
    fprintf(out, "%sle=\"+Inf\"} %" PRIu64 "\n", label != NULL ? "," : "{", count);
    open_labels(out, name, "_sum", label, word);
    fputs(close, out);
    write_value(out, unit, sum->sum);
    fputc('\n', out);
    open_labels(out, name, "_count", label, word);
    fprintf(out, "%s%" PRIu64 "\n", close, count);
}
