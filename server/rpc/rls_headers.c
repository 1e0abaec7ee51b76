#include "server/rpc/rls_headers.h"

#include "server/rls/unit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

static void add(struct qd_rls_answer *answer, const char *key, const char *value)
{
    assert(answer->header_count < QD_RLS_HEADERS_MAX);
    answer->headers[answer->header_count++] =
        (struct qd_rls_header){{key, strlen(key)}, {value, strlen(value)}};
}

/* RFC 8941's strings: printable ASCII; a quote or a backslash would have to be escaped. */
static bool may_be_quoted(struct qd_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < ' ' || name.ptr[i] > '~' || name.ptr[i] == '"' || name.ptr[i] == '\\') {
            return false;
        }
    }
    return name.len > 0 && name.len <= QD_RLS_DENIAL_NAME_MAX;
}

static int64_t longest_reset(const struct qd_rls_answer *answer, const bool *quota)
{
    int64_t longest = 0;

    for (size_t i = 0; i < answer->status_count; i++) {
        const struct qd_rls_status *status = &answer->statuses[i];
        bool counts = status->code == QD_RLS_OVER_LIMIT && !quota[i] && status->has_reset;
        longest = counts && status->reset_s > longest ? status->reset_s : longest;
    }
    return longest;
}

void qd_rls_headers_deny(const bool *quota, struct qd_rls_denial_room *room,
                         struct qd_rls_answer *answer)
{
    const struct qd_rls_status *status = told(answer, quota);
    int64_t retry_s = longest_reset(answer, quota);

    if (retry_s > 0) {
        (void)snprintf(room->retry, sizeof(room->retry), "%" PRId64, retry_s);
        add(answer, "retry-after", room->retry);
    }
    if (status == NULL || !status->has_limit) {
        return;
    }
    struct qd_str name = may_be_quoted(status->name) ? status->name : (struct qd_str){"limit", 5};
    int64_t window_s = qd_rls_unit_seconds((int)status->unit);
    int len = snprintf(room->policy, sizeof(room->policy), "\"%.*s\";q=%" PRIu32, (int)name.len,
                       name.ptr, status->requests_per_unit);
    if (window_s > 0) {
        (void)snprintf(room->policy + len, sizeof(room->policy) - (size_t)len, ";w=%" PRId64,
                       window_s);
    }
    (void)snprintf(room->limit, sizeof(room->limit), "\"%.*s\";r=%" PRIu32 ";t=%" PRId64,
                   (int)name.len, name.ptr, status->limit_remaining, status->reset_s);
    add(answer, "ratelimit-policy", room->policy);
    add(answer, "ratelimit", room->limit);
}
