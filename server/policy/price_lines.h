/* Lines of a price sheet while they are collected.
 *
 * Layer:    policy. Threads: none of its own. Memory: the arena's.
 */
#ifndef QD_POLICY_PRICE_LINES_H
#define QD_POLICY_PRICE_LINES_H

#include "server/core/price.h"
#include "server/policy/arena.h"

struct qd_line_list {
    struct qd_price_line *lines;
    size_t count;
    size_t capacity;
};

void qd_lines_add(struct qd_arena *arena, struct qd_line_list *list,
                  const struct qd_price_line *line);

/* The line for the same meter and variant, or NULL. */
struct qd_price_line *qd_lines_find(const struct qd_line_list *list,
                                    const struct qd_price_line *line);

bool qd_line_same_price(const struct qd_price_line *a, const struct qd_price_line *b);

/* Adds what goes without saying: input that is read from or written to a cache costs what input
 * costs, if the list has no price for it; with `free_tokens`, tokens cost nothing in a list that
 * prices only requests, times or images. (Reasoning as output is the core's rule.) */
void qd_lines_complete(struct qd_arena *arena, struct qd_line_list *list, bool free_tokens);

/* All amounts times (1000 + permille) / 1000, exactly; false if that does not fit. */
bool qd_lines_mark_up(struct qd_line_list *list, uint16_t permille);

#endif /* QD_POLICY_PRICE_LINES_H */
