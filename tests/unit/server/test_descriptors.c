/* X2, X3: the process's descriptors, shared out. */
#include "server/descriptors.h"

#include <criterion/criterion.h>

Test(descriptors, X3_what_is_shared_out_is_never_more_than_there_is)
{
    for (uint64_t limit = QD_DESCRIPTORS_MIN; limit < 30000; limit++) {
        struct qd_descriptors d;
        qd_descriptors_share(limit, 10000, &d);
        cr_assert_gt(d.connections, 0);
        cr_assert_gt(d.store, 0);
        cr_assert_lt(d.connections + (uint64_t)d.store + 36, limit);
    }
}

Test(descriptors, X2_connections_by_the_limit_of_open_files)
{
    struct qd_descriptors d;

    qd_descriptors_share(64, 10000, &d);
    cr_expect_eq(d.connections, 12);
    cr_expect_eq(d.store, 9);
    qd_descriptors_share(1024, 10000, &d);
    cr_expect_eq(d.connections, 499);
    cr_expect_eq(d.store, 329);
    qd_descriptors_share(524288, 10000, &d);
    cr_expect_eq(d.connections, 10000);
    cr_expect_eq(d.store, 512);
    qd_descriptors_share(UINT64_MAX, 1, &d);
    cr_expect_eq(d.connections, 1);
    cr_expect_eq(d.store, 512);
}
