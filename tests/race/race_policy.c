/* Threads that load policies at the same time, some alike and some not: what is interned is the
 * same for all and counted once; no data race (ThreadSanitizer). */
#include "server/policy/intern.h"
#include "server/policy/policy_file.h"

#include "tests/race/policy.h"

#include <pthread.h>

#define LOADERS  4
#define ROUNDS   60
#define POLICIES 6 /* different ones; all threads load all of them */

static pthread_barrier_t start;

static struct qd_policy *load(unsigned which)
{
    char yaml[768];
    (void)snprintf(yaml, sizeof(yaml),
                   "version: 1\n"
                   "models:\n  m%u: {max_output_tokens: 10, pool: p}\n"
                   "pools:\n  p: {limits: {tokens: 100M/min}}\n"
                   "prices:\n  m%u: {input_token: $%u/1M, output_token: $5/1M}\n"
                   "plans:\n  a: {tokens: {limit: 5/min, match: {model: m%u}}, "
                   "requests: {limit: 1M/month, zone: Europe/Berlin}}\n"
                   "tenants:\n  \"*\": {plan: a}\n",
                   which, which, which + 1, which);
    return race_policy(yaml);
}

struct seen {
    const struct qd_limit *limit[POLICIES][2];
    const struct qd_zone *zone;
    const char *text;
};

static void look(struct seen *seen, unsigned which)
{
    struct qd_policy *policy = load(which);
    for (unsigned i = 0; i < 2; i++) {
        const struct qd_limit *limit = policy->plans[0].limits[i].limit;
        const struct qd_limit **known = &seen->limit[which][i];
        REQUIRE(*known == NULL || *known == limit);
        REQUIRE(qd_intern_limit_at(limit->index) == limit);
        *known = limit;
    }
    qd_policy_free(policy);
}

static void *loader(void *argument)
{
    struct seen *seen = argument;
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        look(seen, i % POLICIES);
    }
    seen->zone = qd_intern_zone("Europe/Berlin");
    seen->text = qd_intern_text("race.text.more", strlen("race.text"));
    return NULL;
}

int main(void)
{
    static struct seen seen[LOADERS];
    pthread_t threads[LOADERS];

    REQUIRE(pthread_barrier_init(&start, NULL, LOADERS) == 0);
    for (unsigned i = 0; i < LOADERS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, loader, &seen[i]) == 0);
    }
    for (unsigned i = 0; i < LOADERS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    for (unsigned i = 1; i < LOADERS; i++) {
        REQUIRE(memcmp(&seen[i], &seen[0], sizeof(seen[0])) == 0);
    }
    REQUIRE(seen[0].zone != NULL && strcmp(seen[0].text, "race.text") == 0);
    /* Once each: loaded again by one thread alone, they add nothing. */
    uint32_t count = qd_intern_limit_count();
    for (unsigned i = 0; i < POLICIES; i++) {
        look(&seen[0], i);
    }
    REQUIRE(qd_intern_limit_count() == count);
    REQUIRE(count >= POLICIES + 1);
    (void)printf("ok: %u different limits in %d loads\n", count, LOADERS * ROUNDS);
    (void)pthread_barrier_destroy(&start);
    qd_intern_clear();
    return 0;
}
