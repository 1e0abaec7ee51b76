/* quotactl events against a server that answers what the test says. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(ctl_events, .init = setup, .fini = teardown, .timeout = 60);

/* The one answer of a fake stream; then it ends, as a connection does. */
static void reply_event(uint64_t lost)
{
    static char text[][24] = {"acme/search", "pro.cost", "nano_usd", "n1", "model", "gpt-4o"};
    Quota__V1__Event event;
    Quota__V1__Entry key;
    Quota__V1__Entry *keys[] = {&key};
    quota__v1__event__init(&event);
    quota__v1__entry__init(&key);
    key.key = text[4];
    key.value = text[5];
    event.kind = QUOTA__V1__EVENT_KIND__EVENT_KIND_THRESHOLD_REACHED;
    event.time_unix_ns = INT64_C(1764000000) * 1000000000;
    event.tenant = text[0];
    event.limit = text[1];
    event.n_keys = 1;
    event.keys = keys;
    event.permille = 800;
    event.used = INT64_C(85) * 1000000000;
    event.amount = INT64_C(100) * 1000000000;
    event.unit = text[2];
    event.resets_at_unix_ns = INT64_C(1764547200) * 1000000000;
    event.lost = lost;
    event.node = text[3];
    fake_server_reply(server, "/quota.v1.UsageService/WatchEvents", &event.base);
}

Test(ctl_events, I2_events_are_followed_and_a_cut_connection_is_made_anew)
{
    static const char line[] = "2025-11-24 16:00:00Z  acme/search  pro.cost model=gpt-4o reached "
                               "80%: $85 of $100; resets 2025-12-01 00:00:00Z\n";
    char twice[2 * sizeof line];
    snprintf(twice, sizeof twice, "%s%s", line, line);
    reply_event(0);
    expect("events --tenant acme --kind threshold --count 1", 0, line, NULL);
    cr_assert_eq(strncmp(last.err, "watching 127.0.0.1:", 19), 0, "%s", last.err);
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, "/quota.v1.UsageService/WatchEvents", &size);
    Quota__V1__WatchEventsRequest *asked =
        quota__v1__watch_events_request__unpack(NULL, size, bytes);
    cr_assert_str_eq(asked->tenant, "acme");
    cr_assert_eq(asked->n_kinds, 1);
    cr_assert_eq(asked->kinds[0], QUOTA__V1__EVENT_KIND__EVENT_KIND_THRESHOLD_REACHED);
    quota__v1__watch_events_request__free_unpacked(asked, NULL);
    free(bytes);
    expect("events --count 2", 0, twice, NULL);
    cr_assert_not_null(strstr(last.err, "connected again to 127.0.0.1:"), "%s", last.err);
    reply_event(12);
    struct json_object *object = json("events --count 1 -o json");
    cr_assert_not_null(strstr(last.err, "12 events before this one were missed"));
    cr_assert_eq(strcspn(last.out, "\n"), strlen(last.out) - 1, "one line");
    cr_assert_str_eq(text_of(object, "kind"), "THRESHOLD_REACHED");
    cr_assert_str_eq(text_of(object, "permille"), "800");
    json_object_put(object);
}

Test(ctl_events, I2_events_say_why_they_end)
{
    fake_server_refuse(server, "/quota.v1.UsageService/WatchEvents", 14, "OVERLOADED",
                       "32 watchers are open");
    expect("events", 1, "", NULL);
    cr_assert_not_null(strstr(last.err, "quotactl events: 32 watchers are open\n"), "%s", last.err);
    expect("events --kind thresold", 1, "",
           "quotactl events: --kind \"thresold\": did you mean \"threshold\"? accepted: threshold, "
           "expired, correction, full\n");
    expect("events --count 0", 1, "", NULL);
    ctl_run_release(&last);
    last = run_ctl("127.0.0.1:1", "events");
    cr_assert_eq(last.code, 1);
    cr_assert_eq(strncmp(last.err,
                         "quotactl events: cannot reach quotad at 127.0.0.1:1: Connection refused",
                         71),
                 0, "%s", last.err);
}
