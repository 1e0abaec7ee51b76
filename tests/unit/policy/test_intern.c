/* What outlives every policy. */
#include "helper.h"

#include "server/policy/intern.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

Test(intern, P6_the_same_content_is_the_same_pointer)
{
    const char *a = qd_intern_text("abc", 3);
    cr_expect_eq(a, qd_intern_text("abcd", 3));
    cr_expect_str_eq(a, "abc");
    struct qd_policy *p = load_limit("tokens: {limit: 5/min, match: {model: m}}");
    uint32_t count = qd_intern_limit_count();
    for (int i = 0; i < 50; i++) {
        struct qd_policy *q = load_limit("tokens: {limit: 7/min, match: {model: m}}");
        cr_expect_eq(p->plans[0].limits[0].limit, q->plans[0].limits[0].limit);
        qd_policy_free(q);
    }
    cr_expect_eq(qd_intern_limit_count(), count, "reloading adds nothing");
    const struct qd_limit *l = p->plans[0].limits[0].limit;
    cr_expect_eq(qd_intern_limit_at(l->index), l);
    cr_expect_null(qd_intern_limit_at(count));
    qd_policy_free(p);
    cr_expect_str_eq(l->selector[0].any[0], "m", "specs outlive their policy");
}

struct thread {
    pthread_t id;
    const struct qd_limit *seen[200];
    const struct qd_zone *zone;
};

static void *work(void *arg)
{
    struct thread *t = arg;
    for (int i = 0; i < 200; i++) {
        struct qd_limit spec = {.name = "x", .unit = "u", .window_ns = i + 1, .unit_scale = 1};
        t->seen[i] = qd_intern_limit(&spec, "tenant");
    }
    t->zone = qd_intern_zone("Asia/Tokyo");
    return NULL;
}

Test(intern, P6_threads_agree)
{
    struct thread threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i].id, NULL, work, &threads[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i].id, NULL);
        cr_expect_eq(memcmp(threads[i].seen, threads[0].seen, sizeof threads[0].seen), 0);
        cr_expect_eq(threads[i].zone, threads[0].zone);
    }
    qd_intern_clear();
}
