#include "tests/lib/failalloc.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Two allocations, both checked. */
static int careful(void *context)
{
    (void)context;
    char *name = strdup("name");
    if (name == NULL) {
        return -1;
    }
    char *copy = malloc(8);
    int rc = copy == NULL ? -1 : 0;
    free(copy);
    free(name);
    return rc;
}

Test(failalloc, fails_each_allocation_in_turn)
{
    cr_assert_eq(qd_failalloc_each(careful, NULL, false), 2);
}

Test(failalloc, nothing_fails_unarmed)
{
    void *p = malloc(1);
    cr_assert_not_null(p);
    free(p);
}

Test(failalloc, repeats_when_asked)
{
    struct qd_fault fault = {.countdown = 1, .repeat = true};
    qd_failalloc_arm(&fault);
    void *first = malloc(1);
    void *second = calloc(1, 1);
    void *third = realloc(NULL, 1);
    qd_failalloc_disarm();
    cr_assert_not_null(first);
    cr_assert_null(second);
    cr_assert_null(third);
    cr_assert_eq(fault.calls, 3);
    cr_assert_eq(fault.failures, 2);
    free(first);
}
