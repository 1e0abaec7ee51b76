/* What is read again when its files change (X1, I3): when, and how often. */
#include "server/reread.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <time.h>

TestSuite(reread, .timeout = 60);

/* A file that looks as it is told to. */
struct fake {
    _Atomic uint64_t now;
    _Atomic unsigned looks;
    _Atomic unsigned loads;
    _Atomic bool bad; /* to be tried again */
    bool restless;    /* it looks different each time */
    uint32_t retry_looks;
};

static uint64_t look(void *context)
{
    struct fake *fake = context;

    (void)atomic_fetch_add(&fake->looks, 1);
    return fake->restless ? atomic_fetch_add(&fake->now, 1) : atomic_load(&fake->now);
}

static bool load(void *context, struct qd_reread_mark *ret_mark)
{
    struct fake *fake = context;

    ret_mark->look = atomic_load(&fake->now);
    (void)atomic_fetch_add(&fake->loads, 1);
    return !atomic_load(&fake->bad);
}

static struct qd_reread *start(struct fake *fake, uint64_t loaded)
{
    struct qd_reread *reread = qd_reread_start(
        &(struct qd_reread_config){
            .look = look, .load = load, .context = fake, .retry_looks = fake->retry_looks},
        (struct qd_reread_mark){.look = loaded});

    cr_assert_not_null(reread);
    return reread;
}

static void wait_for(const _Atomic unsigned *count, unsigned at_least)
{
    while (atomic_load(count) < at_least) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

Test(reread, X1_what_has_changed_is_loaded_once)
{
    struct fake fake = {.now = 1};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.looks, 2);
    cr_expect_eq(atomic_load(&fake.loads), 0);
    atomic_store(&fake.now, 2);
    wait_for(&fake.loads, 1);
    wait_for(&fake.looks, atomic_load(&fake.looks) + 2);
    cr_expect_eq(atomic_load(&fake.loads), 1);
    qd_reread_stop(reread);
}

Test(reread, X1_what_could_not_be_loaded_is_tried_again)
{
    struct fake fake = {.now = 2, .bad = true};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.loads, 2);
    atomic_store(&fake.bad, false);
    wait_for(&fake.loads, 3);
    unsigned loads = atomic_load(&fake.loads);
    wait_for(&fake.looks, atomic_load(&fake.looks) + 2);
    cr_expect_leq(atomic_load(&fake.loads), loads + 1);
    qd_reread_stop(reread);
}

Test(reread, I3_what_was_refused_is_tried_again_after_a_while)
{
    struct fake fake = {.now = 2, .bad = true, .retry_looks = 3};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.loads, 2);
    cr_expect_geq(atomic_load(&fake.looks), 2 + 3);
    unsigned loads = atomic_load(&fake.loads);
    atomic_store(&fake.now, 3); /* what has changed does not wait for that */
    unsigned looks = atomic_load(&fake.looks);
    wait_for(&fake.loads, loads + 1);
    cr_expect_leq(atomic_load(&fake.looks), looks + 3);
    qd_reread_stop(reread);
}

/* What was in force is there again: whoever was told that it is not hears that it is. */
Test(reread, I3_what_was_taken_back_is_loaded)
{
    struct fake fake = {.now = 2, .bad = true, .retry_looks = 100};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.loads, 1);
    atomic_store(&fake.bad, false);
    atomic_store(&fake.now, 1);
    wait_for(&fake.loads, 2);
    wait_for(&fake.looks, atomic_load(&fake.looks) + 2);
    cr_expect_eq(atomic_load(&fake.loads), 2);
    qd_reread_stop(reread);
}

Test(reread, I3_what_is_still_being_written_is_left_alone)
{
    struct fake fake = {.now = 2, .restless = true};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.looks, 3);
    cr_expect_eq(atomic_load(&fake.loads), 0);
    qd_reread_stop(reread);
}

/* Somebody touches it more often than it is looked at: a token that was taken out must end. */
Test(reread, X1_what_never_rests_is_loaded_all_the_same)
{
    struct fake fake = {.now = 2, .restless = true};
    struct qd_reread *reread = start(&fake, 1);

    wait_for(&fake.loads, 2);
    cr_expect_geq(atomic_load(&fake.looks), 2 * QD_REREAD_UNSETTLED_MAX);
    qd_reread_stop(reread);
}
