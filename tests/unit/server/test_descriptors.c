/* X2, X3: the process's descriptors, shared out. */
#include "server/descriptors.h"

#include "server/net/gate.h"

#include <criterion/criterion.h>

static void share(uint64_t limit, uint32_t connections, uint32_t http,
                  struct qd_descriptors *ret_descriptors)
{
    struct qd_descriptors wanted = {.connections = connections, .admin = 64, .http = http};

    qd_descriptors_share(limit, &wanted, ret_descriptors);
}

Test(descriptors, X3_what_is_shared_out_is_never_more_than_there_is)
{
    for (uint64_t limit = QD_DESCRIPTORS_MIN; limit < 30000; limit++) {
        struct qd_descriptors d;
        share(limit, 10000, 256, &d);
        cr_assert_gt(d.connections, 0);
        cr_assert_gt(d.store, 0);
        cr_assert_geq(d.admin, QD_GATE_PLACES_MIN);
        cr_assert_geq(d.http, QD_GATE_PLACES_MIN);
        cr_assert_lt(d.connections + (uint64_t)d.store + d.admin + d.http + 39, limit);
    }
}

Test(descriptors, X2_connections_by_the_limit_of_open_files)
{
    struct qd_descriptors d;

    share(64, 10000, 0, &d);
    cr_expect_eq(d.connections, 12);
    cr_expect_eq(d.store, 9);
    cr_expect_eq(d.admin, 3);
    cr_expect_eq(d.http, 0);
    share(64, 10000, 256, &d);
    cr_expect_eq(d.connections, 8);
    cr_expect_eq(d.store, 8);
    cr_expect_eq(d.admin, 3);
    cr_expect_eq(d.http, 3);
    share(1024, 10000, 0, &d);
    cr_expect_eq(d.connections, 499);
    cr_expect_eq(d.store, 329);
    share(1024, 10000, 256, &d);
    cr_expect_eq(d.admin, 64);
    cr_expect_eq(d.http, 123);
    share(524288, 10000, 256, &d);
    cr_expect_eq(d.connections, 10000);
    cr_expect_eq(d.store, 512);
    cr_expect_eq(d.admin, 64);
    cr_expect_eq(d.http, 256);
    share(UINT64_MAX, 1, 0, &d);
    cr_expect_eq(d.connections, 1);
    cr_expect_eq(d.store, 512);
}
