/* After the node stood still, clients are not judged by what it has not answered yet (X3).
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; zeros are a node whose heart has not beaten yet.
 * Units:    milliseconds: of a clock that does not go back, and of the processors' time that the
 *           process has used.
 *
 * A machine that pauses, or a process that is not let run, answers nobody, while the kernel takes
 * what clients send. It shows by a beat that comes QD_STANDSTILL_MS after the one before it, or
 * later, though they are due each QD_STANDSTILL_BEAT_MS, and by little work in between: a flood
 * that holds up the node makes it work. Everybody is spared then for as long as that was, at most
 * QD_STANDSTILL_SPARED_MS, so that the node can catch up.
 *
 * Where there are many processors, or a container's limit lets the process work in spurts, work
 * tells little: so nobody is spared for longer than QD_STANDSTILL_ALL_MS in
 * QD_STANDSTILL_WINDOW_MS.
 */
#ifndef QD_RPC_STANDSTILL_H
#define QD_RPC_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

#define QD_STANDSTILL_BEAT_MS   50U
#define QD_STANDSTILL_MS        100U
#define QD_STANDSTILL_SPARED_MS 500U
#define QD_STANDSTILL_ALL_MS    1500U
#define QD_STANDSTILL_WINDOW_MS 10000U
/* Of the time between the beats, that of one processor: who has used this part did not stand still;
 * what all of them may have used until the next beat was due is left out. */
#define QD_STANDSTILL_WORKED 4U

struct qd_standstill {
    uint64_t beat_ms; /* the last one; 0: none */
    uint64_t worked_ms;
    uint64_t until_ms;  /* nobody is judged before */
    uint64_t window_ms; /* when it began */
    uint64_t spared_ms; /* in it */
};

/* A beat: the process has worked for so long in all, on one of `processors` or more. */
void qd_standstill_beat(struct qd_standstill *standstill, uint64_t now_ms, uint64_t worked_ms,
                        uint32_t processors);

/* Must nobody be judged now? */
static inline bool qd_standstill_holds(const struct qd_standstill *standstill, uint64_t now_ms)
{
    return now_ms < standstill->until_ms;
}

#endif /* QD_RPC_STANDSTILL_H */
