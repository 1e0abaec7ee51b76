/* UTF-8 validity.
 *
 * Layer:    policy. Threads, memory: none of its own.
 */
#ifndef QD_POLICY_UTF8_H
#define QD_POLICY_UTF8_H

#include <stddef.h>

/* Length of the longest prefix of valid UTF-8 (no overlong forms, surrogates, or values above
 * U+10FFFF). */
size_t qd_utf8_valid_prefix(const void *bytes, size_t size);

#endif /* QD_POLICY_UTF8_H */
