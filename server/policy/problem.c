#include "server/policy/problem.h"

#include "server/policy/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    struct qd_problem problem;
    size_t order; /* keeps the sort stable */
    char *file;
    char *message;
};

struct qd_problems {
    size_t max;
    size_t count;
    size_t errors;
    size_t dropped;
    struct item items[];
};

struct qd_problems *qd_problems_new(size_t max)
{
    if (max < 1) {
        max = 1;
    }
    if (max > QD_PROBLEMS_MAX) {
        max = QD_PROBLEMS_MAX;
    }
    struct qd_problems *p = calloc(1, sizeof *p + max * sizeof p->items[0]);
    if (p != NULL) {
        p->max = max;
    }
    return p;
}

void qd_problems_free(struct qd_problems *p)
{
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].file);
        free(p->items[i].message);
    }
    free(p);
}

/* Messages quote what people wrote: no control characters, and no character cut in half. */
static void make_printable(char *text)
{
    text[qd_utf8_valid_prefix(text, strlen(text))] = '\0';
    for (char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F) {
            *p = '?';
        }
    }
}

void qd_problems_addv(struct qd_problems *p, enum qd_severity severity, const char *file,
                      uint32_t line, uint32_t column, const char *format, va_list args)
{
    if (severity == QD_SEVERITY_ERROR) {
        p->errors++;
    }
    if (p->count == p->max) {
        p->dropped++;
        return;
    }
    char message[QD_PROBLEM_TEXT_MAX];
    (void)vsnprintf(message, sizeof message, format, args);
    make_printable(message);
    struct item *item = &p->items[p->count];
    item->file = strdup(file);
    item->message = strdup(message);
    if (item->file == NULL || item->message == NULL) {
        free(item->file);
        free(item->message);
        p->dropped++;
        return;
    }
    item->order = p->count;
    item->problem = (struct qd_problem){
        .severity = severity,
        .file = item->file,
        .line = line,
        .column = column,
        .message = item->message,
    };
    p->count++;
}

void qd_problems_add(struct qd_problems *p, enum qd_severity severity, const char *file,
                     uint32_t line, uint32_t column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    qd_problems_addv(p, severity, file, line, column, format, args);
    va_end(args);
}

size_t qd_problems_count(const struct qd_problems *p)
{
    return p->count;
}

const struct qd_problem *qd_problems_at(const struct qd_problems *p, size_t index)
{
    assert(index < p->count);
    return &p->items[index].problem;
}

size_t qd_problems_errors(const struct qd_problems *p)
{
    return p->errors;
}

size_t qd_problems_dropped(const struct qd_problems *p)
{
    return p->dropped;
}

static int compare_items(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;
    int by_file = strcmp(a->file, b->file);
    if (by_file != 0) {
        return by_file;
    }
    if (a->problem.line != b->problem.line) {
        return a->problem.line < b->problem.line ? -1 : 1;
    }
    if (a->problem.column != b->problem.column) {
        return a->problem.column < b->problem.column ? -1 : 1;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

void qd_problems_sort(struct qd_problems *p)
{
    qsort(p->items, p->count, sizeof p->items[0], compare_items);
}

size_t qd_problem_format(const struct qd_problem *problem, char *buffer, size_t size)
{
    const char *severity = problem->severity == QD_SEVERITY_WARNING ? "warning: " : "";
    int len;
    if (problem->line > 0) {
        len = snprintf(buffer, size, "%s:%u:%u: %s%s", problem->file, problem->line,
                       problem->column, severity, problem->message);
    } else if (problem->file[0] != '\0') {
        len = snprintf(buffer, size, "%s: %s%s", problem->file, severity, problem->message);
    } else {
        len = snprintf(buffer, size, "%s%s", severity, problem->message);
    }
    assert(len >= 0);
    return (size_t)len;
}

char *qd_problems_text(const struct qd_problems *p)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < p->count; i++) {
        char line[QD_PROBLEM_TEXT_MAX + 4096];
        (void)qd_problem_format(&p->items[i].problem, line, sizeof line);
        fprintf(out, "%s\n", line);
    }
    if (p->dropped > 0) {
        fprintf(out, "and %zu more\n", p->dropped);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
