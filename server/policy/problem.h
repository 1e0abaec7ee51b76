/* Problems found in a policy (or a policy test file): what, where, what is accepted.
 *
 * Layer:    policy
 * Units:    lines and columns count from 1; 0 means "not about a line".
 * Threads:  one list belongs to one thread at a time.
 * Memory:   the list owns every text in it.
 *
 * A message has the form `path: what is wrong; what is accepted; did you mean "x"?`. As text it is
 * preceded by `file:line:column: `.
 */
#ifndef QD_POLICY_PROBLEM_H
#define QD_POLICY_PROBLEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define QD_PROBLEMS_DEFAULT 20
#define QD_PROBLEMS_MAX     100
#define QD_PROBLEM_TEXT_MAX 1024

enum qd_severity {
    QD_SEVERITY_ERROR,   /* the policy is refused */
    QD_SEVERITY_WARNING, /* it works, but probably not as meant */
};

struct qd_problem {
    enum qd_severity severity;
    const char *file; /* "" when it is not about a file */
    uint32_t line;
    uint32_t column;
    const char *message; /* path and sentence, without the place */
};

struct qd_problems;

/* A list of at most `max` problems (1..QD_PROBLEMS_MAX); what comes later is only counted.
 * NULL: out of memory. */
struct qd_problems *qd_problems_new(size_t max);
void qd_problems_free(struct qd_problems *p);

/* Append one; the message is cut off at QD_PROBLEM_TEXT_MAX - 1 bytes. */
void qd_problems_addv(struct qd_problems *p, enum qd_severity severity, const char *file,
                      uint32_t line, uint32_t column, const char *format, va_list args)
    __attribute__((format(printf, 6, 0)));
void qd_problems_add(struct qd_problems *p, enum qd_severity severity, const char *file,
                     uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* Those kept, in the order of their place in the text (file, line, column). */
size_t qd_problems_count(const struct qd_problems *p);
const struct qd_problem *qd_problems_at(const struct qd_problems *p, size_t index);

/* All errors found, kept or not. */
size_t qd_problems_errors(const struct qd_problems *p);
/* Problems found beyond the kept ones. */
size_t qd_problems_dropped(const struct qd_problems *p);

/* Sort by place; the loaders do it before they return. */
void qd_problems_sort(struct qd_problems *p);

/* One problem as a line without newline: "policy.yaml:14:13: plans.pro: ...". Cut off at size - 1.
 * Returns the length that the whole line has. */
size_t qd_problem_format(const struct qd_problem *problem, char *buffer, size_t size);

/* All of them, one a line ("warning: " before warnings), and how many more there were. Free it with
 * free(). NULL: out of memory. */
char *qd_problems_text(const struct qd_problems *p);

#endif /* QD_POLICY_PROBLEM_H */
