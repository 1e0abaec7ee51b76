/* After the node stood still, clients are not judged by what it has not answered yet (X3).
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; zeros are a node that has not looked yet.
 * Units:    milliseconds of any clock that does not go back.
 *
 * A machine that pauses, or a process that gets no time, answers nobody; the kernel takes what
 * clients send meanwhile. The first look after it finds them all with much unanswered. A look that
 * comes QD_STANDSTILL_MS late, or later, tells of that: whoever is looked at is spared for as long
 * as the pause was, at most QD_STANDSTILL_SPARED_MS, so that the node can catch up. A flood makes
 * looks late, too: between two such times there is a look that judges.
 */
#ifndef QD_RPC_STANDSTILL_H
#define QD_RPC_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

#define QD_STANDSTILL_MS        100U
#define QD_STANDSTILL_SPARED_MS 500U

struct qd_standstill {
    uint64_t until_ms; /* nobody is judged before; 0: nobody was ever spared */
    bool judged;       /* since then */
};

/* A look that was due at `due_ms` (0: the first one) comes now. */
void qd_standstill_look(struct qd_standstill *standstill, uint64_t due_ms, uint64_t now_ms);

/* Must nobody be judged now? */
static inline bool qd_standstill_holds(const struct qd_standstill *standstill, uint64_t now_ms)
{
    return now_ms < standstill->until_ms;
}

#endif /* QD_RPC_STANDSTILL_H */
