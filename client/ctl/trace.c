#include "client/ctl/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of one parse. */
struct parse {
    enum ctl_trace_format format;
    struct ctl_trace_blocks blocks;
    struct ctl_trace trace;
    size_t room;
};

static bool push(struct parse *p, const struct ctl_trace_row *row)
{
    if (p->trace.count == p->room) {
        size_t room = p->room > 0 ? p->room * 2 : 1024;
        struct ctl_trace_row *rows = realloc(p->trace.rows, room * sizeof *rows);
        if (rows == NULL) {
            return false;
        }
        p->trace.rows = rows;
        p->room = room;
    }
    p->trace.rows[p->trace.count++] = *row;
    return true;
}

/* One line, without its end. */
static bool parse_line(struct parse *p, const char *line, size_t length, size_t number,
                       char *ret_why, size_t why_size)
{
    struct ctl_trace_row row;
    if (length > CTL_TRACE_LINE_MAX) {
        (void)snprintf(ret_why, why_size, "a line of %zu bytes; at most %u", length,
                       CTL_TRACE_LINE_MAX);
        return false;
    }
    if (p->format == CTL_TRACE_AZURE && number == 1) {
        if (!ctl_trace_azure_head(line, length)) {
            (void)snprintf(ret_why, why_size,
                           "not an azure trace; its first line is "
                           "TIMESTAMP,ContextTokens,GeneratedTokens");
            return false;
        }
        return true;
    }
    bool ok = p->format == CTL_TRACE_AZURE
                  ? ctl_trace_azure_line(line, length, &row, ret_why, why_size)
                  : ctl_trace_mooncake_line(&p->blocks, line, length, &row, ret_why, why_size);
    if (!ok) {
        return false;
    }
    /* A row that is earlier than the one before came at the same time. */
    if (p->trace.count > 0 && row.at_ns < p->trace.rows[p->trace.count - 1].at_ns) {
        row.at_ns = p->trace.rows[p->trace.count - 1].at_ns;
    }
    if (p->trace.count >= CTL_TRACE_ROWS_MAX || !push(p, &row)) {
        (void)snprintf(ret_why, why_size, "more than %u rows, or out of memory",
                       CTL_TRACE_ROWS_MAX);
        return false;
    }
    return true;
}

bool ctl_trace_parse(enum ctl_trace_format format, const char *name, const char *bytes, size_t size,
                     size_t limit, struct ctl_trace *ret, struct ctl_trace_problem *ret_problem)
{
    struct parse p = {.format = format};
    const char *at = bytes;
    const char *end = bytes + size;
    size_t number = 0;
    char why[160] = "";
    bool ok = true;
    while (ok && at < end && (limit == 0 || p.trace.count < limit)) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        size_t length = (size_t)(stop - at);
        length -= length > 0 && at[length - 1] == '\r' ? 1 : 0;
        number += 1;
        if (length > 0) {
            ok = parse_line(&p, at, length, number, why, sizeof why);
        }
        at = newline != NULL ? newline + 1 : end;
    }
    ctl_trace_blocks_release(&p.blocks);
    if (ok && p.trace.count == 0) {
        (void)snprintf(ret_problem->text, sizeof ret_problem->text, "%.80s: no requests in it",
                       name);
        ok = false;
    } else if (!ok) {
        (void)snprintf(ret_problem->text, sizeof ret_problem->text, "%.80s:%zu: %s", name, number,
                       why);
    }
    if (!ok) {
        ctl_trace_release(&p.trace);
        return false;
    }
    int64_t start = p.trace.rows[0].at_ns;
    for (size_t i = 0; i < p.trace.count; i++) {
        p.trace.rows[i].at_ns -= start;
    }
    *ret = p.trace;
    return true;
}

bool ctl_trace_load(enum ctl_trace_format format, const char *path, size_t limit,
                    struct ctl_trace *ret, struct ctl_trace_problem *ret_problem)
{
    size_t size = 0;
    size_t room = 1U << 20;
    char *bytes = NULL;
    bool ok = false;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)snprintf(ret_problem->text, sizeof ret_problem->text, "%.160s: %s", path,
                       strerror(errno));
        return false;
    }
    for (;;) {
        char *more = realloc(bytes, room);
        if (more == NULL || size > CTL_TRACE_BYTES_MAX) {
            (void)snprintf(ret_problem->text, sizeof ret_problem->text,
                           "%.80s: larger than %u bytes, or out of memory", path,
                           CTL_TRACE_BYTES_MAX);
            bytes = more != NULL ? more : bytes;
            goto out;
        }
        bytes = more;
        size += fread(bytes + size, 1, room - size, file);
        if (size < room) {
            break;
        }
        room *= 2;
    }
    if (ferror(file) != 0) {
        (void)snprintf(ret_problem->text, sizeof ret_problem->text, "%.160s: %s", path,
                       strerror(errno));
        goto out;
    }
    ok = ctl_trace_parse(format, path, bytes, size, limit, ret, ret_problem);
out:
    free(bytes);
    (void)fclose(file);
    return ok;
}

void ctl_trace_release(struct ctl_trace *trace)
{
    free(trace->rows);
    *trace = (struct ctl_trace){.rows = NULL};
}
