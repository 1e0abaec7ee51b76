/* The parser of azure traces: any bytes give rows within their bounds, or a message with a place.
 */
#include "client/ctl/trace.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ctl_trace trace;
    struct ctl_trace_problem problem = {""};
    if (!ctl_trace_parse(CTL_TRACE_AZURE, "fuzz.csv", (const char *)data, size, 0, &trace,
                         &problem)) {
        assert(strncmp(problem.text, "fuzz.csv:", 9) == 0);
        return 0;
    }
    assert(trace.count > 0);
    assert(trace.rows[0].at_ns == 0);
    for (size_t i = 0; i < trace.count; i++) {
        const struct ctl_trace_row *row = &trace.rows[i];
        assert(i == 0 || row->at_ns >= trace.rows[i - 1].at_ns);
        assert(row->input >= 0 && row->input <= CTL_TRACE_TOKENS_MAX);
        assert(row->output >= 0 && row->output <= CTL_TRACE_TOKENS_MAX);
        assert(row->cached == 0);
    }
    ctl_trace_release(&trace);
    return 0;
}
