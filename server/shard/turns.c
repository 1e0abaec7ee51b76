#include "server/shard/turns.h"

#include <assert.h>
#include <string.h>

void qd_turns_init(struct qd_turns *turns)
{
    (void)pthread_mutex_init(&turns->mutex, NULL);
    (void)pthread_cond_init(&turns->ended, NULL);
    memset(turns->taken, 0, sizeof(turns->taken));
}

void qd_turns_release(struct qd_turns *turns)
{
    (void)pthread_cond_destroy(&turns->ended);
    (void)pthread_mutex_destroy(&turns->mutex);
}

bool qd_turns_try(struct qd_turns *turns, uint64_t reservation)
{
    bool *taken = &turns->taken[reservation % QD_TURNS];

    (void)pthread_mutex_lock(&turns->mutex);
    bool free = !*taken;
    *taken = true;
    (void)pthread_mutex_unlock(&turns->mutex);
    return free;
}

void qd_turns_take(struct qd_turns *turns, uint64_t reservation)
{
    bool *taken = &turns->taken[reservation % QD_TURNS];

    (void)pthread_mutex_lock(&turns->mutex);
    while (*taken) {
        (void)pthread_cond_wait(&turns->ended, &turns->mutex);
    }
    *taken = true;
    (void)pthread_mutex_unlock(&turns->mutex);
}

void qd_turns_end(struct qd_turns *turns, uint64_t reservation)
{
    bool *taken = &turns->taken[reservation % QD_TURNS];

    (void)pthread_mutex_lock(&turns->mutex);
    assert(*taken);
    *taken = false;
    (void)pthread_cond_broadcast(&turns->ended);
    (void)pthread_mutex_unlock(&turns->mutex);
}
