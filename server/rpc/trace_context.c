#include "server/rpc/trace_context.h"

#include <string.h>

/* VV-TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT-PPPPPPPPPPPPPPPP-FF, then nothing, or from version 01 on a
 * dash and more. */
#define TRACE_AT  3U
#define PARENT_AT (TRACE_AT + QD_TRACE_ID_LEN + 1U)
#define FLAGS_AT  (PARENT_AT + QD_PARENT_ID_LEN + 1U)
#define LEN       (FLAGS_AT + 2U)

/* The digit's value; -1: not lower-case hex. */
static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (digit(text[i]) < 0) {
            return false;
        }
    }
    return true;
}

/* An id: hex, and not all zeros. */
static bool is_id(const char *text, size_t len)
{
    return is_hex(text, len) && strspn(text, "0") < len;
}

bool qd_trace_context_parse(struct qd_str text, struct qd_trace_context *ret_context)
{
    const char *t = text.ptr;

    if (text.len < LEN || !is_hex(t, 2) || memcmp(t, "ff", 2) == 0 || t[TRACE_AT - 1] != '-' ||
        t[PARENT_AT - 1] != '-' || t[FLAGS_AT - 1] != '-') {
        return false;
    }
    bool first_version = memcmp(t, "00", 2) == 0;
    if (text.len > LEN && (first_version || t[LEN] != '-')) {
        return false;
    }
    if (!is_id(t + TRACE_AT, QD_TRACE_ID_LEN) || !is_id(t + PARENT_AT, QD_PARENT_ID_LEN) ||
        !is_hex(t + FLAGS_AT, 2)) {
        return false;
    }
    memcpy(ret_context->trace_id, t + TRACE_AT, QD_TRACE_ID_LEN);
    ret_context->trace_id[QD_TRACE_ID_LEN] = '\0';
    memcpy(ret_context->parent_id, t + PARENT_AT, QD_PARENT_ID_LEN);
    ret_context->parent_id[QD_PARENT_ID_LEN] = '\0';
    ret_context->sampled = (digit(t[FLAGS_AT + 1]) & 1) != 0;
    return true;
}
