/* Traces of LLM requests: arrival times and token counts, as published.
 *
 * Layer:    client/ctl. Units: ns since the trace's first row; tokens.
 * Threads:  none of its own.
 * Memory:   a trace owns its rows.
 *
 * Formats:
 *   azure     CSV with the head TIMESTAMP,ContextTokens,GeneratedTokens; times as
 *             "2023-11-16 18:15:46.6805900", optionally followed by "+00:00"
 *   mooncake  one JSON object a line: timestamp (ms), input_length, output_length and hash_ids, one
 *             id for each block of 512 prompt tokens; a block whose id came before, with all blocks
 *             in front of it, was read from a prompt cache
 */
#ifndef QD_CLIENT_CTL_TRACE_H
#define QD_CLIENT_CTL_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_TRACE_BLOCK_TOKENS 512
#define CTL_TRACE_LINE_MAX     (1U << 20)
#define CTL_TRACE_ROWS_MAX     (1U << 26)
#define CTL_TRACE_BLOCKS_MAX   (1U << 26) /* different prompt blocks of one trace */
#define CTL_TRACE_BYTES_MAX    (1U << 30)
#define CTL_TRACE_TOKENS_MAX   (INT64_C(1) << 40) /* of one request */

enum ctl_trace_format {
    CTL_TRACE_AZURE,
    CTL_TRACE_MOONCAKE
};

struct ctl_trace_row {
    int64_t at_ns;
    int64_t input;  /* processed: not read from a cache */
    int64_t cached; /* read from a prompt cache */
    int64_t output;
};

struct ctl_trace {
    struct ctl_trace_row *rows; /* in order of time */
    size_t count;
};

struct ctl_trace_problem {
    char text[256]; /* "trace.csv:14: ..." */
};

/* Parse a whole trace. `name` stands for the file in messages; at most `limit` rows (0: all). False
 * with `ret_problem` filled, and nothing to release. */
bool ctl_trace_parse(enum ctl_trace_format format, const char *name, const char *bytes, size_t size,
                     size_t limit, struct ctl_trace *ret, struct ctl_trace_problem *ret_problem);

/* The same from a file. */
bool ctl_trace_load(enum ctl_trace_format format, const char *path, size_t limit,
                    struct ctl_trace *ret, struct ctl_trace_problem *ret_problem);

void ctl_trace_release(struct ctl_trace *trace);

/* ---- the two formats: one line each (trace_azure.c, trace_mooncake.c) */

/* A line without its end. `at_ns` of the result is since the epoch, or since the trace's own zero.
 * False with the reason in `ret_why`, without place. */
bool ctl_trace_azure_line(const char *line, size_t length, struct ctl_trace_row *ret, char *ret_why,
                          size_t why_size);
bool ctl_trace_azure_head(const char *line, size_t length);

/* The prompt blocks seen so far. Begin with zeros. */
struct ctl_trace_blocks {
    int64_t *slots; /* id + 1; 0: free */
    size_t room;
    size_t count;
};
bool ctl_trace_mooncake_line(struct ctl_trace_blocks *blocks, const char *line, size_t length,
                             struct ctl_trace_row *ret, char *ret_why, size_t why_size);
void ctl_trace_blocks_release(struct ctl_trace_blocks *blocks);

#endif /* QD_CLIENT_CTL_TRACE_H */
