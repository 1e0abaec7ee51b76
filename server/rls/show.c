#include "server/rls/show.h"

#include <ctype.h>
#include <stdarg.h>

struct qd_rls_counts qd_rls_rules_counts(const struct qd_rls_rules *rules)
{
    struct qd_rls_counts counts = {0, 0};

    for (size_t i = 0; i < qd_rls_rules_file_count(rules); i++) {
        const struct qd_rls_domain *domain = qd_rls_rules_file(rules, i)->domain;
        if (domain != NULL) {
            /* Of several files the first. */
            counts.domains += qd_rls_rules_domain(rules, domain->name)->file == domain->file;
            counts.rules += domain->rule_count;
        }
    }
    return counts;
}

/* What writes has a bound on its bytes. */
struct page {
    FILE *out;
    size_t bytes;
};

static void put(struct page *page, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        int len = byte < 0x20 || byte == 0x7f ? fprintf(page->out, "\\x%02x", byte)
                                              : (fputc(byte, page->out) != EOF ? 1 : 0);
        page->bytes += len > 0 ? (size_t)len : 0;
    }
}

__attribute__((format(printf, 2, 3))) static void putf(struct page *page, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vfprintf(page->out, format, args);
    va_end(args);
    page->bytes += len > 0 ? (size_t)len : 0;
}

static const char *word(bool value)
{
    return value ? "true" : "false";
}

static void put_unit(struct page *page, enum qd_rls_unit unit)
{
    for (const char *c = qd_rls_unit_name((int)unit); *c != '\0'; c++) {
        putf(page, "%c", toupper((unsigned char)*c));
    }
}

static void show_rule(struct page *page, const struct qd_rls_rule *rule)
{
    put(page, rule->path);
    putf(page, ": unit=");
    put_unit(page, rule->unit);
    putf(page, " requests_per_unit=%u, shadow_mode: %s, quota_mode: %s", rule->requests_per_unit,
         word(rule->shadow_mode), word(rule->quota_mode));
    if (rule->unlimited) {
        putf(page, ", unlimited: true");
    }
    if (rule->name != NULL) {
        putf(page, ", name: ");
        put(page, rule->name);
    }
    for (size_t i = 0; i < rule->replace_count; i++) {
        putf(page, i == 0 ? ", replaces: " : " ");
        put(page, rule->replaces[i]);
    }
    if (rule->detailed_metric) {
        putf(page, ", detailed_metric: true");
    }
    if (rule->metadata != NULL) {
        putf(page, ", metadata: given");
    }
    putf(page, ", line: %u\n", rule->line);
}

/* How many rules of the domain there was no room for. */
static size_t show_domain(struct page *page, const struct qd_rls_domain *domain)
{
    putf(page, "# domain ");
    put(page, domain->name.ptr);
    putf(page, ": %zu rule%s of ", domain->rule_count, domain->rule_count == 1 ? "" : "s");
    put(page, domain->file);
    putf(page, "\n");
    for (size_t i = 0; i < domain->rule_count; i++) {
        if (page->bytes >= QD_RLS_SHOW_BYTES_MAX) {
            return domain->rule_count - i;
        }
        show_rule(page, domain->rules[i]);
    }
    return 0;
}

void qd_rls_rules_show(const struct qd_rls_rules *rules, FILE *out)
{
    struct page page = {out, 0};
    size_t left_out = 0;

    for (size_t i = 0; i < qd_rls_rules_file_count(rules); i++) {
        const struct qd_rls_domain *domain = qd_rls_rules_file(rules, i)->domain;
        if (domain != NULL) {
            left_out += show_domain(&page, domain);
        }
    }
    if (left_out > 0) {
        putf(&page, "# and %zu more rules\n", left_out);
    }
}
