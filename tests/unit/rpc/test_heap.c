/* X3: what a flood leaves in the heap is not taken for the node's need. */
#include "server/rpc/heap.h"

#include <criterion/criterion.h>

#define MB ((size_t)1 << 20)

static struct qd_heap at(size_t used)
{
    struct qd_heap heap;

    qd_heap_init(&heap, used, 1000);
    return heap;
}

Test(heap, X3_is_high_from_the_bound_on)
{
    struct qd_heap heap = at(100 * MB);

    cr_expect_not(qd_heap_is_high(&heap));
    qd_heap_look(&heap, 100 * MB + QD_HEAP_OVER_MAX - 1, false, 1100);
    cr_expect_not(qd_heap_is_high(&heap));
    qd_heap_look(&heap, 101 * MB + QD_HEAP_OVER_MAX, false, 1200);
    cr_expect(qd_heap_is_high(&heap));
    qd_heap_look(&heap, 100 * MB, false, 1300);
    cr_expect_not(qd_heap_is_high(&heap));
}

/* A node that takes up more tenants needs more; one that dropped a policy needs less. */
Test(heap, X3_the_need_follows_while_nobody_costs_much)
{
    struct qd_heap heap = at(100 * MB);

    qd_heap_look(&heap, 5000 * MB, true, 2000);
    cr_expect_not(qd_heap_is_high(&heap));
    qd_heap_look(&heap, 50 * MB, false, 3000);
    cr_expect_eq(heap.needed, 50 * MB);
}

/* The connections have gone, what they asked for is still there: the next wave waits for it. */
Test(heap, X3_what_a_cut_left_is_not_needed)
{
    struct qd_heap heap = at(100 * MB);

    qd_heap_look(&heap, 900 * MB, false, 2000);
    qd_heap_cut(&heap, 2000);
    for (uint64_t ms = 3000; ms < 2000 + QD_HEAP_CALM_MS; ms += 1000) {
        qd_heap_look(&heap, 900 * MB, true, ms);
        cr_expect(qd_heap_is_high(&heap), "after %llu ms", (unsigned long long)ms);
    }
    qd_heap_look(&heap, 900 * MB, true, 2000 + QD_HEAP_CALM_MS);
    cr_expect_not(qd_heap_is_high(&heap), "it may be what the node needs, after all");
}

/* One connection that costs a little, for ever. */
Test(heap, X3_nobody_keeps_the_heap_high_for_good)
{
    struct qd_heap heap = at(100 * MB);
    uint64_t ms = 1000;

    do {
        ms += 1000;
        qd_heap_look(&heap, 600 * MB, false, ms);
    } while (qd_heap_is_high(&heap) && ms < 3600000);
    cr_expect_not(qd_heap_is_high(&heap));
    cr_expect_gt(ms, 60000);
}

/* A node that is flooded for hours may grow meanwhile. */
Test(heap, X3_the_need_rises_slowly_under_a_flood_without_an_end)
{
    struct qd_heap heap = at(100 * MB);

    for (uint64_t s = 2; s <= 3601; s++) {
        size_t used = (100 + (s - 1) / 2) * MB;
        qd_heap_cut(&heap, s * 1000);
        qd_heap_look(&heap, used, s % 2 == 0, s * 1000);
        cr_assert_not(qd_heap_is_high(&heap), "after %llu s", (unsigned long long)s);
        cr_assert_leq(heap.needed, (100 + s) * MB);
    }
}
