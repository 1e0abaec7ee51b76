/* traceparent: what is taken is what a regular expression of the recommendation takes, and its
 * parts are those of the text. */
#include "server/rpc/trace_context.h"
#include "tests/fuzz/fuzz.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;

    require(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/* The recommendation, clause by clause, of a text without NULs. */
static bool expected(const char *text)
{
    return matches(text, "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-|$)") &&
           !matches(text, "^ff") && !matches(text, "^00-.{32}-.{16}-.{2}-") &&
           !matches(text, "^..-0{32}-") && !matches(text, "^..-.{32}-0{16}-");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_trace_context context;
    char *text = malloc(size + 1);

    require(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    /* From a block of its own size: a byte too far is found. */
    char *exact = malloc(size > 0 ? size : 1);
    require(exact != NULL);
    if (size > 0) {
        memcpy(exact, data, size);
    }
    bool taken = qd_trace_context_parse((struct qd_str){exact, size}, &context);
    if (strlen(text) == size && strchr(text, '\n') == NULL) {
        require(taken == expected(text));
    }
    if (taken) {
        require(strlen(context.trace_id) == QD_TRACE_ID_LEN &&
                memcmp(context.trace_id, text + 3, QD_TRACE_ID_LEN) == 0);
        require(strlen(context.parent_id) == QD_PARENT_ID_LEN &&
                memcmp(context.parent_id, text + 36, QD_PARENT_ID_LEN) == 0);
    }
    free(exact);
    free(text);
    return 0;
}
