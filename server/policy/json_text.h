/* A text as a JSON string.
 *
 * Layer:    policy. Threads, memory: none of its own.
 */
#ifndef QD_POLICY_JSON_TEXT_H
#define QD_POLICY_JSON_TEXT_H

#include <stdio.h>

/* Writes `text` (valid UTF-8) with its quotes. */
void qd_json_text(FILE *out, const char *text);

#endif /* QD_POLICY_JSON_TEXT_H */
