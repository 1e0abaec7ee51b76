#include "server/rpc/rls_headers.h"

#include <assert.h>
#include <stdio.h>

/* The descriptor that the headers tell of; NULL: none has a limit. */
static const struct qd_rls_status *told(const struct qd_rls_answer *answer, const bool *quota)
{
    const struct qd_rls_status *tightest = NULL;
    uint32_t least =
        UINT32_MAX; /* one with all of the largest limit left is not told of, as there */

    for (size_t i = 0; i < answer->status_count; i++) {
        const struct qd_rls_status *status = &answer->statuses[i];
        if (status->has_limit && status->limit_remaining < least) {
            tightest = status;
            least = status->limit_remaining;
        }
        if (status->code == QD_RLS_OVER_LIMIT && !quota[i]) {
            tightest = status;
            least = 0;
        }
    }
    return tightest;
}

void qd_rls_headers_add(const struct qd_rls_options *options, const bool *quota,
                        struct qd_rls_header_room *room, struct qd_rls_answer *answer)
{
    const struct qd_rls_status *status = told(answer, quota);

    if (status == NULL) {
        return;
    }
    int64_t values[QD_RLS_HEADER_KINDS] = {[QD_RLS_HEADER_LIMIT] = status->requests_per_unit,
                                           [QD_RLS_HEADER_REMAINING] = status->limit_remaining,
                                           [QD_RLS_HEADER_RESET] = status->reset_s};
    assert(answer->header_count + QD_RLS_HEADER_KINDS <= QD_RLS_HEADERS_MAX);
    for (size_t i = 0; i < QD_RLS_HEADER_KINDS; i++) {
        int len = snprintf(room->text[i], sizeof(room->text[i]), "%lld", (long long)values[i]);
        answer->headers[answer->header_count++] =
            (struct qd_rls_header){options->header_names[i], {room->text[i], (size_t)len}};
    }
}
