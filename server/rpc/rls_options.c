#include "server/rpc/rls_options.h"

#include <string.h>

/* Cut `text` at its commas. False: more than `max` parts, or an empty one. */
static bool split(const char *text, struct qd_str *parts, size_t max, size_t *ret_count)
{
    size_t count = 0;

    while (true) {
        size_t len = strcspn(text, ",");
        if (len == 0 || count == max) {
            return false;
        }
        parts[count++] = (struct qd_str){text, len};
        if (text[len] == '\0') {
            *ret_count = count;
            return true;
        }
        text += len + 1;
    }
}

/* A token of RFC 9110. */
static bool is_header_name(struct qd_str name)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return name.len <= QD_RLS_HEADER_NAME_MAX && strspn(name.ptr, token) >= name.len;
}

bool qd_rls_options_header_names(struct qd_rls_options *options, const char *text)
{
    struct qd_str names[QD_RLS_HEADER_KINDS];
    size_t count = 0;

    if (!split(text, names, QD_RLS_HEADER_KINDS, &count) || count != QD_RLS_HEADER_KINDS) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_header_name(names[i])) {
            return false;
        }
    }
    memcpy(options->header_names, names, sizeof(names));
    return true;
}

bool qd_rls_options_sliding(struct qd_rls_options *options, const char *text)
{
    struct qd_str domains[QD_RLS_SLIDING_MAX];
    size_t count = 0;

    options->all_sliding = strcmp(text, "*") == 0;
    options->sliding_count = 0;
    if (options->all_sliding || text[0] == '\0') {
        return true;
    }
    if (!split(text, domains, QD_RLS_SLIDING_MAX, &count)) {
        return false;
    }
    memcpy(options->sliding, domains, count * sizeof(domains[0]));
    options->sliding_count = count;
    return true;
}

bool qd_rls_options_slides(const struct qd_rls_options *options, struct qd_str domain)
{
    for (size_t i = 0; i < options->sliding_count; i++) {
        if (options->sliding[i].len == domain.len &&
            memcmp(options->sliding[i].ptr, domain.ptr, domain.len) == 0) {
            return true;
        }
    }
    return options->all_sliding;
}
