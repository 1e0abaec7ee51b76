/* Turns: reports of one reservation go one by one (S2). Of two sources that close it at once, one
 * closes it and the other is late.
 *
 * Layer:    shard
 * Threads:  any. A turn is held while its report is written: by nobody for long, but by many
 *           reports at once, so it is no mutex.
 * Memory:   64 KiB. Two reservations with the same low bits take turns as well: harmless.
 */
#ifndef QD_SHARD_TURNS_H
#define QD_SHARD_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define QD_TURNS 65536U

struct qd_turns {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool taken[QD_TURNS];
};

void qd_turns_init(struct qd_turns *turns);
void qd_turns_release(struct qd_turns *turns);

/* False: somebody has it. */
bool qd_turns_try(struct qd_turns *turns, uint64_t reservation);
/* Waits for it. Whoever has another turn must not: two that wait for each other would wait for
 * ever. */
void qd_turns_take(struct qd_turns *turns, uint64_t reservation);
void qd_turns_end(struct qd_turns *turns, uint64_t reservation);

#endif /* QD_SHARD_TURNS_H */
