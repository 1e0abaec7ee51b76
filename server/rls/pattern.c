#include "server/rls/pattern.h"

#include <assert.h>
#include <string.h>

bool qd_rls_is_pattern(struct qd_str text)
{
    return text.len > 0 && memchr(text.ptr, '*', text.len) != NULL;
}

static struct qd_str part(const char *begin, const char *end)
{
    return (struct qd_str){begin, (size_t)(end - begin)};
}

struct qd_rls_pattern qd_rls_pattern_make(struct qd_arena *arena, struct qd_str text)
{
    const char *end = text.ptr + text.len;
    const char *star = memchr(text.ptr, '*', text.len);
    assert(star != NULL);
    struct qd_rls_pattern pattern = {.prefix = part(text.ptr, star)};
    struct qd_str *middles = NULL;
    size_t capacity = 0;
    for (const char *at = star + 1;; at = star + 1) {
        star = memchr(at, '*', (size_t)(end - at));
        if (star == NULL) {
            pattern.suffix = part(at, end);
            break;
        }
        if (star > at) {
            middles =
                qd_arena_grow(arena, middles, pattern.middle_count, &capacity, sizeof *middles);
            middles[pattern.middle_count++] = part(at, star);
        }
    }
    pattern.middles = middles;
    return pattern;
}

static bool equal(const char *at, struct qd_str text)
{
    return text.len == 0 || memcmp(at, text.ptr, text.len) == 0;
}

bool qd_rls_pattern_matches(const struct qd_rls_pattern *pattern, struct qd_str value)
{
    if (value.len < pattern->prefix.len + pattern->suffix.len) {
        return false;
    }
    size_t left = value.len - pattern->prefix.len - pattern->suffix.len;
    if (value.len == 0) {
        return pattern->middle_count == 0;
    }
    const char *at = value.ptr + pattern->prefix.len;
    if (!equal(value.ptr, pattern->prefix) || !equal(at + left, pattern->suffix)) {
        return false;
    }
    for (size_t i = 0; i < pattern->middle_count; i++) {
        struct qd_str middle = pattern->middles[i];
        const char *found = memmem(at, left, middle.ptr, middle.len);
        if (found == NULL) {
            return false;
        }
        left -= (size_t)(found - at) + middle.len;
        at = found + middle.len;
    }
    return true;
}
