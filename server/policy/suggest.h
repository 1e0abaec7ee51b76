/* "did you mean": the nearest of a list of words.
 *
 * Layer:    policy. Threads, memory: none of its own.
 */
#ifndef QD_POLICY_SUGGEST_H
#define QD_POLICY_SUGGEST_H

#include <stddef.h>

/* Collects words one by one and remembers the nearest to `word`. */
struct qd_suggest {
    const char *word;
    const char *best; /* NULL: none is near enough; points to what was offered */
    size_t distance;
};

/* A word longer than 63 bytes gets no suggestion. */
void qd_suggest_init(struct qd_suggest *s, const char *word);
void qd_suggest_offer(struct qd_suggest *s, const char *candidate);

#endif /* QD_POLICY_SUGGEST_H */
