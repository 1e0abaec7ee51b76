/* The parser of mooncake traces: any bytes give rows within their bounds, or a message with a
 * place. */
#include "client/ctl/trace.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ctl_trace trace;
    struct ctl_trace_problem problem = {""};
    if (!ctl_trace_parse(CTL_TRACE_MOONCAKE, "fuzz.jsonl", (const char *)data, size, 0, &trace,
                         &problem)) {
        assert(strncmp(problem.text, "fuzz.jsonl:", 11) == 0);
        return 0;
    }
    assert(trace.count > 0);
    for (size_t i = 0; i < trace.count; i++) {
        const struct ctl_trace_row *row = &trace.rows[i];
        assert(i == 0 || row->at_ns >= trace.rows[i - 1].at_ns);
        assert(row->input >= 0 && row->cached >= 0 && row->output >= 0);
        assert(row->input + row->cached <= CTL_TRACE_TOKENS_MAX);
    }
    ctl_trace_release(&trace);
    return 0;
}
