/* quotactl replay against a server that answers what the test says. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(ctl_replay, .init = setup, .fini = teardown, .timeout = 60);

static void allow_replay(void)
{
    Quota__V1__GetStatusResponse status;
    quota__v1__get_status_response__init(&status);
    fake_server_reply(server, "/quota.v1.AdminService/GetStatus", &status.base);
}

static struct json_object *replay(const char *options)
{
    const char *source = getenv("QUOTAD_SOURCE_DIR");
    char line[1024];
    if (source == NULL) {
        cr_skip("QUOTAD_SOURCE_DIR is not set");
    }
    allow_replay();
    snprintf(line, sizeof line,
             "replay --format azure --trace %s/deploy/examples/traces/azure_conv.csv -o json %s",
             source, options);
    return json(line);
}

static long long total(struct json_object *object, const char *which, const char *meter)
{
    struct json_object *totals = json_object_object_get(object, "totals");
    return json_object_get_int64(
        json_object_object_get(json_object_object_get(totals, which), meter));
}

Test(ctl_replay, replay_without_loss_books_the_files_sums)
{
    struct json_object *object = replay("--no-loss --tenants 10");
    cr_assert_eq(last.code, 0, "%s", last.err);
    cr_assert_eq(total(object, "offered", "tokens"), 2739372);
    cr_assert_eq(total(object, "booked", "tokens"), 2739372);
    cr_assert_eq(fake_server_counts(server).booked_tokens, 2739372);
    cr_assert_eq(fake_server_counts(server).booked, 4000, "tokens and GPU time");
    cr_assert_eq(fake_server_counts(server).holds, 2000);
    json_object_put(object);
}

Test(ctl_replay, replay_loses_and_repeats_as_told)
{
    struct json_object *object = replay("--lost-rate 5 --twice-rate 10 --disconnect-rate 5");
    long long lost = json_object_get_int64(json_object_object_get(object, "lost"));
    long long twice = json_object_get_int64(json_object_object_get(object, "reported_twice"));
    cr_assert(lost > 60 && lost < 140, "%lld lost", lost);
    cr_assert(twice > 150 && twice < 250, "%lld twice", twice);
    cr_assert_eq(json_object_get_int64(json_object_object_get(object, "recognised_repeats")),
                 twice);
    cr_assert_eq(total(object, "booked", "requests"), 2000 - lost);
    cr_assert_eq((long long)fake_server_counts(server).booked, 2 * (2000 - lost));
    cr_assert_eq((long long)fake_server_counts(server).booked_tokens,
                 total(object, "booked", "tokens"));
    json_object_put(object);
}

Test(ctl_replay, replay_draws_the_same_from_the_same_seed)
{
    struct json_object *a = replay("--seed 7 --limit 300 --run a");
    struct json_object *b = replay("--seed 7 --limit 300 --run b --in-flight 3");
    struct json_object *c = replay("--seed 8 --limit 300 --run c");
    const char *rows_a = text_of(a, "rows");
    cr_assert_str_eq(rows_a, text_of(b, "rows"));
    cr_assert_str_neq(rows_a, text_of(c, "rows"));
    json_object_put(a);
    json_object_put(b);
    json_object_put(c);
}

Test(ctl_replay, replay_keeps_the_pace)
{
    /* The first 50 requests of the excerpt come within 24.6 s. */
    struct json_object *object = replay("--limit 50 --speed 100 --no-loss --no-gpu");
    int64_t took = json_object_get_int64(json_object_object_get(object, "elapsed_ns"));
    cr_assert(took > 100000000 && took < 20000000000, "took %lld ns", (long long)took);
    cr_assert_eq(total(object, "booked", "requests"), 50);
    json_object_put(object);
}

Test(ctl_replay, replay_names_the_line_of_a_bad_trace)
{
    expect("replay --format azure --trace /dev/null", 1, "",
           "quotactl replay: /dev/null: no requests in it\n");
    expect("replay --format azur --trace x", 1, "",
           "quotactl replay: --format \"azur\": did you mean \"azure\"? accepted: azure, "
           "mooncake\n");
}
