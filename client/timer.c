#include "client/timer.h"

#include <assert.h>
#include <stdlib.h>

bool lq_timers_reserve(struct lq_timers *timers, size_t count)
{
    size_t need = count + 2; /* places start at 1 */
    if (need <= timers->room) {
        return true;
    }
    size_t room = timers->room > 0 ? timers->room : 64;
    while (room < need) {
        room *= 2;
    }
    struct lq_timer **heap = realloc(timers->heap, room * sizeof *heap);
    if (heap == NULL) {
        return false;
    }
    timers->heap = heap;
    timers->room = room;
    return true;
}

void lq_timers_release(struct lq_timers *timers)
{
    free(timers->heap);
    *timers = (struct lq_timers){0};
}

static void put(struct lq_timers *timers, struct lq_timer *timer, size_t place)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct lq_timers *timers, struct lq_timer *timer, size_t place)
{
    while (place > 1 && timers->heap[place / 2]->at_ns > timer->at_ns) {
        put(timers, timers->heap[place / 2], place);
        place /= 2;
    }
    put(timers, timer, place);
}

static void sift_down(struct lq_timers *timers, struct lq_timer *timer, size_t place)
{
    for (;;) {
        size_t child = 2 * place;
        if (child > timers->count) {
            break;
        }
        if (child < timers->count && timers->heap[child + 1]->at_ns < timers->heap[child]->at_ns) {
            child += 1;
        }
        if (timers->heap[child]->at_ns >= timer->at_ns) {
            break;
        }
        put(timers, timers->heap[child], place);
        place = child;
    }
    put(timers, timer, place);
}

void lq_timer_set(struct lq_timers *timers, struct lq_timer *timer, int64_t at_ns)
{
    lq_timer_clear(timers, timer);
    assert(timers->count + 1 < timers->room);
    timer->at_ns = at_ns;
    timers->count += 1;
    sift_up(timers, timer, timers->count);
}

void lq_timer_clear(struct lq_timers *timers, struct lq_timer *timer)
{
    size_t place = timer->place;
    if (place == 0) {
        return;
    }
    assert(timers->heap[place] == timer);
    struct lq_timer *last = timers->heap[timers->count];
    timers->count -= 1;
    timer->place = 0;
    if (last == timer) {
        return;
    }
    if (place > 1 && timers->heap[place / 2]->at_ns > last->at_ns) {
        sift_up(timers, last, place);
    } else {
        sift_down(timers, last, place);
    }
}

struct lq_timer *lq_timers_first(const struct lq_timers *timers)
{
    return timers->count > 0 ? timers->heap[1] : NULL;
}
