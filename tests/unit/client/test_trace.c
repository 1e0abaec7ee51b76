/* The trace parsers: what they read, and what they say of what they cannot. */
#include "client/ctl/trace.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "TIMESTAMP,ContextTokens,GeneratedTokens\n"

static struct ctl_trace parse(enum ctl_trace_format format, const char *text)
{
    struct ctl_trace trace = {.rows = NULL};
    struct ctl_trace_problem problem = {""};
    cr_assert(ctl_trace_parse(format, "t", text, strlen(text), 0, &trace, &problem), "%s",
              problem.text);
    return trace;
}

static void refuses(enum ctl_trace_format format, const char *text, const char *message)
{
    struct ctl_trace trace = {.rows = NULL};
    struct ctl_trace_problem problem = {""};
    cr_assert_not(ctl_trace_parse(format, "t", text, strlen(text), 0, &trace, &problem));
    cr_assert_str_eq(problem.text, message);
    cr_assert_null(trace.rows);
}

Test(trace, azure_rows_with_times_to_the_ns)
{
    struct ctl_trace trace = parse(CTL_TRACE_AZURE, HEAD "2023-11-16 18:15:46.6805900,374,44\r\n"
                                                         "2023-11-16 18:15:50.9951690,396,109\n"
                                                         "2024-02-29T00:00:00+00:00,1,0\n");
    cr_assert_eq(trace.count, 3);
    cr_assert_eq(trace.rows[0].at_ns, 0);
    cr_assert_eq(trace.rows[0].input, 374);
    cr_assert_eq(trace.rows[0].output, 44);
    cr_assert_eq(trace.rows[1].at_ns, 4314579000);
    /* 104 days, 5:44:13.31941 later; `date` says 1709164800 - 1700158546. */
    cr_assert_eq(trace.rows[2].at_ns, (1709164800 - 1700158546) * INT64_C(1000000000) - 680590000);
    ctl_trace_release(&trace);
}

Test(trace, a_row_that_is_earlier_came_at_the_same_time)
{
    struct ctl_trace trace =
        parse(CTL_TRACE_AZURE, HEAD "2023-11-16 18:00:02,1,1\n2023-11-16 18:00:01,1,1\n");
    cr_assert_eq(trace.rows[1].at_ns, 0);
    ctl_trace_release(&trace);
}

Test(trace, azure_mistakes_have_a_line)
{
    refuses(CTL_TRACE_AZURE, "a,b,c\n",
            "t:1: not an azure trace; its first line is TIMESTAMP,ContextTokens,GeneratedTokens");
    refuses(CTL_TRACE_AZURE, HEAD "2023-02-29 00:00:00,1,1\n",
            "t:2: TIMESTAMP is not a time; accepted: 2023-11-16 18:15:46.6805900");
    refuses(CTL_TRACE_AZURE, HEAD "2023-02-28 00:00:00,1,1\n2023-02-28 00:00:00,-1,1\n",
            "t:3: ContextTokens is not a number of tokens; accepted: 0 to 2^40");
    refuses(CTL_TRACE_AZURE, HEAD "2023-02-28 00:00:00,1,99999999999999999999\n",
            "t:2: GeneratedTokens is not a number of tokens; accepted: 0 to 2^40");
    refuses(CTL_TRACE_AZURE, HEAD "2023-02-28 00:00:00,1,1,1\n",
            "t:2: more than three columns; accepted: TIMESTAMP,ContextTokens,GeneratedTokens");
    refuses(CTL_TRACE_AZURE, HEAD, "t: no requests in it");
    refuses(CTL_TRACE_AZURE, "", "t: no requests in it");
}

Test(trace, mooncake_prefix_that_was_seen_is_cached)
{
    struct ctl_trace trace =
        parse(CTL_TRACE_MOONCAKE,
              "{\"timestamp\": 0, \"input_length\": 1300, \"output_length\": 5, \"hash_ids\": [7, "
              "8, 9]}\n"
              /* two known blocks, then a new one, then a known one that does not count */
              "{\"timestamp\": 3, \"input_length\": 2000, \"output_length\": 6, \"hash_ids\": "
              "[7, 8, 1, 9]}\n"
              /* all known: no more than the input itself */
              "{\"timestamp\": 9, \"input_length\": 1300, \"output_length\": 7, \"hash_ids\": "
              "[7, 8, 9]}\n");
    cr_assert_eq(trace.count, 3);
    cr_assert_eq(trace.rows[0].cached, 0);
    cr_assert_eq(trace.rows[0].input, 1300);
    cr_assert_eq(trace.rows[1].at_ns, 3000000);
    cr_assert_eq(trace.rows[1].cached, 1024);
    cr_assert_eq(trace.rows[1].input, 976);
    cr_assert_eq(trace.rows[2].cached, 1300);
    cr_assert_eq(trace.rows[2].input, 0);
    ctl_trace_release(&trace);
}

Test(trace, mooncake_mistakes_have_a_line)
{
    refuses(CTL_TRACE_MOONCAKE, "{\"timestamp\": 0",
            "t:1: not JSON: it ends too early at column 16");
    refuses(CTL_TRACE_MOONCAKE, "[]\n", "t:1: not a JSON object");
    refuses(CTL_TRACE_MOONCAKE, "{\"timestamp\": 0}\n", "t:1: \"input_length\" is missing");
    refuses(CTL_TRACE_MOONCAKE,
            "{\"timestamp\": 0.5, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": []}\n",
            "t:1: \"timestamp\" is not a whole number from 0 to 4398046511104");
    refuses(CTL_TRACE_MOONCAKE,
            "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [-1]}\n",
            "t:1: hash_ids[0] is not a whole number from 0");
    refuses(CTL_TRACE_MOONCAKE,
            "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": []} {}\n",
            "t:1: more than one JSON object, from column 73");
}

static int64_t sum(const struct ctl_trace *trace)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < trace->count; i++) {
        tokens += trace->rows[i].input + trace->rows[i].cached + trace->rows[i].output;
    }
    return tokens;
}

/* The excerpts of the project; their sums computed by awk and python on the files. */
Test(trace, excerpts_read_whole)
{
    const char *source = getenv("QUOTAD_SOURCE_DIR");
    char path[512];
    struct ctl_trace trace;
    struct ctl_trace_problem problem;
    if (source == NULL) {
        cr_skip("QUOTAD_SOURCE_DIR is not set");
    }
    snprintf(path, sizeof path, "%s/deploy/examples/traces/azure_conv.csv", source);
    cr_assert(ctl_trace_load(CTL_TRACE_AZURE, path, 0, &trace, &problem), "%s", problem.text);
    cr_assert_eq(trace.count, 2000);
    cr_assert_eq(sum(&trace), 2739372);
    ctl_trace_release(&trace);
    snprintf(path, sizeof path, "%s/deploy/examples/traces/mooncake.jsonl", source);
    cr_assert(ctl_trace_load(CTL_TRACE_MOONCAKE, path, 0, &trace, &problem), "%s", problem.text);
    cr_assert_eq(trace.count, 500);
    cr_assert_eq(sum(&trace), 7305797);
    ctl_trace_release(&trace);
    cr_assert(ctl_trace_load(CTL_TRACE_MOONCAKE, path, 7, &trace, &problem));
    cr_assert_eq(trace.count, 7);
    ctl_trace_release(&trace);
    cr_assert_not(ctl_trace_load(CTL_TRACE_AZURE, "/nowhere", 0, &trace, &problem));
    cr_assert_str_eq(problem.text, "/nowhere: No such file or directory");
}
