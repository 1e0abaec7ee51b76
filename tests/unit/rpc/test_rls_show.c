/* The rate limits in force, shown and counted while others are published (I3, I6). */
#include "server/rls/rules.h"
#include "server/rpc/rls.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct served s;

TestSuite(rls_show, .timeout = 60);

/* A domain of so many rules. */
static struct qd_rls_set *set_of(unsigned rules)
{
    char yaml[4096];
    size_t len = (size_t)snprintf(yaml, sizeof(yaml), "domain: shop\ndescriptors:\n");
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    for (unsigned i = 0; i < rules; i++) {
        len += (size_t)snprintf(yaml + len, sizeof(yaml) - len,
                                "- {key: k%u, rate_limit: {unit: day, requests_per_unit: %u}}\n", i,
                                rules);
    }
    struct qd_rls_rules *loaded = qd_rls_rules_load_bytes("shop.yaml", yaml, len, problems);
    cr_assert_not_null(loaded);
    qd_problems_free(problems);
    struct qd_rls_set *set = qd_rls_set_new(loaded);
    cr_assert_not_null(set);
    return set;
}

static char *shown(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    cr_assert_not_null(out);
    cr_assert(qd_rpc_show_rls(s.rpc, out));
    cr_assert_eq(fclose(out), 0);
    return text;
}

static void expect_shown(const char *wanted)
{
    char *text = shown();

    cr_expect_str_eq(text, wanted);
    free(text);
}

static void expect_counted(uint64_t domains, uint64_t rules)
{
    cr_expect(atomic_load(&s.node->rls.in_force));
    cr_expect_eq(atomic_load(&s.node->rls.domains), domains);
    cr_expect_eq(atomic_load(&s.node->rls.rules), rules);
}

Test(rls_show, I6_what_is_in_force_is_counted_and_shown)
{
    served_open(&s, &(struct served_with){.rpc = {.rls = set_of(1)}});
    expect_counted(1, 1);
    expect_shown("# domain shop: 1 rule of shop.yaml\n"
                 "shop.k0: unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false, "
                 "line: 3\n");
    qd_rpc_publish_rls(s.rpc, set_of(7));
    expect_counted(1, 7);
    served_close(&s);
}

Test(rls_show, I6_without_rate_limits_it_says_so)
{
    served_open(&s, &(struct served_with){0});
    cr_expect_not(atomic_load(&s.node->rls.in_force));
    expect_shown("# there is no --rls-config DIR\n");
    served_close(&s);
}

/* Each page is of one set, which is not freed meanwhile: ASan and TSan look. */
static void *read_pages(void *context)
{
    _Atomic bool *ended = context;

    while (!atomic_load(ended)) {
        char *text = shown();
        unsigned rules = 0;
        unsigned lines = 0;
        cr_expect_eq(sscanf(text, "# domain shop: %u rule", &rules), 1);
        for (const char *c = text; (c = strchr(c, '\n')) != NULL; c++) {
            lines++;
        }
        cr_expect_eq(lines, rules + 1);
        free(text);
    }
    return NULL;
}

Test(rls_show, I6_a_set_that_is_shown_outlives_its_replacement)
{
    _Atomic bool ended = false;
    pthread_t reader;

    served_open(&s, &(struct served_with){.rpc = {.rls = set_of(1)}});
    cr_assert_eq(pthread_create(&reader, NULL, read_pages, &ended), 0);
    for (unsigned i = 0; i < 500; i++) {
        qd_rpc_publish_rls(s.rpc, set_of(1 + i % 20));
        qd_node_tick(s.node); /* frees what nobody looks at */
    }
    atomic_store(&ended, true);
    (void)pthread_join(reader, NULL);
    served_close(&s);
}
