#include "wheel.h"

#include "reservation.h"

#define LINKED_NONE UINT32_MAX /* no such second: the wheel's are masked */

static uint32_t *head_of(struct qd_core *core, uint32_t second)
{
    return &core->wheel.slots[second & (QD_WHEEL_SECONDS - 1)];
}

static struct qd_reservation *at(struct qd_core *core, uint32_t link)
{
    return &core->reservations[link - 1];
}

void qd_wheel_link(struct qd_core *core, struct qd_reservation *r, int64_t due_s,
                   struct qd_wall_ns now)
{
    struct qd_wheel *wheel = &core->wheel;
    if (core->reservations_open + core->reservations_kept <= 1) {
        wheel->cursor_s = now.ns / QD_NS_PER_S; /* it was empty: skip what lies between */
    }
    int64_t last = wheel->cursor_s + QD_WHEEL_SECONDS - 1;
    int64_t second = due_s < wheel->cursor_s ? wheel->cursor_s : due_s < last ? due_s : last;

    r->linked_s = (uint32_t)second & (QD_WHEEL_SECONDS - 1);
    uint32_t *head = head_of(core, r->linked_s);
    uint32_t link = (uint32_t)(r - core->reservations) + 1;
    r->prev = 0;
    r->next = *head;
    if (*head != 0) {
        at(core, *head)->prev = link;
    }
    *head = link;
}

void qd_wheel_unlink(struct qd_core *core, struct qd_reservation *r)
{
    if (r->linked_s == LINKED_NONE) {
        return;
    }
    if (r->next != 0) {
        at(core, r->next)->prev = r->prev;
    }
    if (r->prev != 0) {
        at(core, r->prev)->next = r->next;
    } else {
        *head_of(core, r->linked_s) = r->next;
    }
    r->linked_s = LINKED_NONE;
}

struct qd_reservation *qd_wheel_due(struct qd_core *core, struct qd_wall_ns now)
{
    struct qd_wheel *wheel = &core->wheel;
    int64_t now_s = now.ns / QD_NS_PER_S;
    if (core->reservations_open + core->reservations_kept == 0) {
        wheel->cursor_s = now_s;
        return NULL;
    }
    if (now_s - wheel->cursor_s >= QD_WHEEL_SECONDS) { /* a jump: each second once is enough */
        wheel->cursor_s = now_s - (QD_WHEEL_SECONDS - 1);
    }
    for (; wheel->cursor_s <= now_s; wheel->cursor_s++) {
        uint32_t link;
        while ((link = *head_of(core, (uint32_t)wheel->cursor_s)) != 0) {
            struct qd_reservation *r = at(core, link);
            int64_t due_s = qd_due_second(r->expires_ns);
            if (due_s <= now_s) {
                return r;
            }
            qd_wheel_unlink(core, r);
            qd_wheel_link(core, r, due_s, now);
        }
        if (wheel->cursor_s == now_s) {
            break; /* more may be linked under this second until it is over */
        }
    }
    return NULL;
}
