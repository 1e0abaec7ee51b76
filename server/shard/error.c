#include "server/shard/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define QD_ERROR_ROW(name, status) {#name, QD_STATUS_##status},
static const struct {
    const char *reason;
    enum qd_status status;
} rows[QD_ERROR_COUNT] = {QD_ERRORS(QD_ERROR_ROW)};
#undef QD_ERROR_ROW

const char *qd_error_reason(enum qd_error_code code)
{
    assert(code < QD_ERROR_COUNT);
    return rows[code].reason;
}

enum qd_status qd_error_status(enum qd_error_code code)
{
    assert(code < QD_ERROR_COUNT);
    return rows[code].status;
}

enum qd_error_code qd_error_set(struct qd_error *error, enum qd_error_code code, const char *format,
                                ...)
{
    va_list args;

    assert(code != QD_ERROR_NONE);
    error->code = code;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return code;
}

/* Length of the UTF-8 sequence at `p` (1-4), or 0 if there is none: overlong forms, surrogates and
 * code points above U+10FFFF are none. */
static size_t sequence_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return len;
}

bool qd_utf8_valid(struct qd_str text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;

    for (size_t i = 0; i < text.len;) {
        size_t len = sequence_length(p + i, text.len - i);
        if (len == 0 || p[i] < 0x20 || p[i] == 0x7f || (p[i] == 0xc2 && p[i + 1] < 0xa0)) {
            return false;
        }
        i += len;
    }
    return true;
}

struct qd_quoted qd_quote(struct qd_str text)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)text.ptr;
    struct qd_quoted out;
    size_t at = 0;
    size_t i = 0;

    out.text[at++] = '"';
    while (i < text.len && at < sizeof(out.text) - 9) {
        size_t len = sequence_length(p + i, text.len - i);
        if (len == 0 || p[i] < 0x20 || p[i] == 0x7f) {
            out.text[at++] = '\\';
            out.text[at++] = 'x';
            out.text[at++] = hex[p[i] >> 4];
            out.text[at++] = hex[p[i] & 15];
            i++;
        } else {
            memcpy(out.text + at, p + i, len);
            at += len;
            i += len;
        }
    }
    if (i < text.len) {
        memcpy(out.text + at, "...", 3);
        at += 3;
    }
    out.text[at++] = '"';
    out.text[at] = '\0';
    return out;
}
