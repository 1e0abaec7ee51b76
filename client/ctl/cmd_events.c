/* quotactl events: what happens on a node, as it happens (I2). */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "quota/v1/usage.pb-c.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#define LOOK_MS        100 /* how long an interruption waits */
#define AGAIN_PAUSE_NS 500000000L

static const char *const kind_words[] = {"threshold", "expired", "correction", "full", NULL};
enum {
    KINDS = sizeof kind_words / sizeof kind_words[0] - 1
};

struct events {
    Quota__V1__WatchEventsRequest request;
    Quota__V1__EventKind kinds[KINDS];
    int64_t count_max; /* 0: no end */
    int64_t count;
    int64_t until_ns; /* on the monotonic clock; INT64_MAX: no end */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool read_kinds(struct ctl *ctl, const struct ctl_args *args, struct events *events)
{
    const char *text;
    for (size_t i = 0; (text = ctl_arg_at(args, "kind", i)) != NULL; i++) {
        int index = ctl_read_word(ctl, "--kind", text, kind_words);
        if (index < 0) {
            return false;
        }
        if (i >= KINDS) {
            (void)ctl_fail(ctl, "--kind is given more than %d times", KINDS);
            return false;
        }
        events->kinds[events->request.n_kinds++] = (Quota__V1__EventKind)(index + 1);
    }
    return true;
}

static bool read_events(struct ctl *ctl, const struct ctl_args *args, struct events *events)
{
    int64_t span_ns = 0;
    const char *count = ctl_arg(args, "count");
    const char *span = ctl_arg(args, "for");
    *events = (struct events){.until_ns = INT64_MAX};
    quota__v1__watch_events_request__init(&events->request);
    events->request.tenant = ctl_wire(ctl_arg(args, "tenant"));
    events->request.kinds = events->kinds;
    if ((count != NULL &&
         !ctl_read_count(ctl, "--count", count, 1, INT64_MAX / 2, &events->count_max)) ||
        (span != NULL && !ctl_read_span(ctl, "--for", span, &span_ns))) {
        return false;
    }
    if (span != NULL) {
        events->until_ns = monotonic_ns() + span_ns;
    }
    return read_kinds(ctl, args, events);
}

static void print_threshold(FILE *out, const Quota__V1__Event *event)
{
    char keys[512];
    ctl_keys_text(event->n_keys, event->keys, keys, sizeof keys);
    (void)fprintf(out, "%s%s%s reached %u", event->limit, keys[0] != '\0' ? " " : "", keys,
                  event->permille / 10);
    if (event->permille % 10 != 0) {
        (void)fprintf(out, ".%u", event->permille % 10);
    }
    (void)fprintf(out, "%%: %s of %s", ctl_amount_text(event->used, event->unit).text,
                  ctl_amount_text(event->amount, event->unit).text);
    if (event->resets_at_unix_ns != 0) {
        (void)fprintf(out, "; resets %s", ctl_time_text(event->resets_at_unix_ns, NULL).text);
    }
}

static void print_event(struct ctl *ctl, const Quota__V1__Event *event)
{
    FILE *out = ctl->out;
    (void)fprintf(out, "%s  %s  ", ctl_time_text(event->time_unix_ns, NULL).text,
                  event->tenant[0] != '\0' ? event->tenant : "-");
    switch ((int)event->kind) {
    case QUOTA__V1__EVENT_KIND__EVENT_KIND_THRESHOLD_REACHED:
        print_threshold(out, event);
        break;
    case QUOTA__V1__EVENT_KIND__EVENT_KIND_RESERVATION_EXPIRED:
        (void)fprintf(out, "reservation %s expired unreported", event->reservation_id);
        break;
    case QUOTA__V1__EVENT_KIND__EVENT_KIND_CORRECTION_BOOKED:
        (void)fprintf(out, "correction booked as %s#%llu", event->node,
                      (unsigned long long)event->entry_sequence);
        break;
    case QUOTA__V1__EVENT_KIND__EVENT_KIND_TABLE_FULL:
        (void)fputs("no room in a table: failure modes decide", out);
        break;
    default:
        (void)fprintf(out, "event of kind %d, which this quotactl does not know", event->kind);
        break;
    }
    (void)fputc('\n', out);
    (void)fflush(out);
}

/* False: the bytes are no event. */
static bool show(struct ctl *ctl, const struct quota_bytes *message)
{
    Quota__V1__Event *event = quota__v1__event__unpack(NULL, message->size, message->data);
    if (event == NULL) {
        (void)ctl_fail(ctl, "the answer is not a quota.v1.Event; compare the versions");
        return false;
    }
    if (event->lost > 0) {
        (void)fprintf(ctl->err, "%llu events before this one were missed\n",
                      (unsigned long long)event->lost);
    }
    if (ctl->json) {
        ctl_json_print_line(ctl, &event->base);
    } else {
        print_event(ctl, event);
    }
    ctl_free(event);
    return true;
}

enum follow_end {
    FOLLOW_DONE,
    FOLLOW_FAILED,
    FOLLOW_CUT, /* the connection ended, not the node's word */
};

static enum follow_end follow_on(struct ctl *ctl, struct quota_follow *follow,
                                 struct events *events)
{
    while (!interrupted && monotonic_ns() < events->until_ns &&
           (events->count_max == 0 || events->count < events->count_max)) {
        struct quota_bytes message;
        enum quota_status status = quota_follow_next(follow, LOOK_MS, &message);
        if (status == QUOTA_OK) {
            bool good = show(ctl, &message);
            events->count++;
            quota_bytes_release(&message);
            if (!good) {
                return FOLLOW_FAILED;
            }
        } else if (status == QUOTA_UNAVAILABLE && message.error.reason[0] == '\0') {
            return FOLLOW_CUT;
        } else if (status != QUOTA_TIMEOUT) {
            (void)ctl_fail_call(ctl, &message.error);
            return FOLLOW_FAILED;
        }
    }
    return FOLLOW_DONE;
}

static int follow(struct ctl *ctl, struct events *events)
{
    enum follow_end end = FOLLOW_CUT;
    for (bool again = false; end == FOLLOW_CUT; again = true) {
        struct quota_follow *stream =
            ctl_follow(ctl, "UsageService/WatchEvents", &events->request.base);
        if (stream == NULL) {
            return CTL_ERROR;
        }
        (void)fprintf(ctl->err,
                      again ? "connected again to %s; what happened between was missed\n"
                            : "watching %s\n",
                      ctl->address);
        (void)fflush(ctl->err);
        end = follow_on(ctl, stream, events);
        quota_follow_free(stream);
        if (end == FOLLOW_CUT) {
            (void)nanosleep(&(struct timespec){.tv_nsec = AGAIN_PAUSE_NS}, NULL);
        }
    }
    return end == FOLLOW_DONE ? CTL_OK : CTL_ERROR;
}

static int run_events(struct ctl *ctl, const struct ctl_args *args)
{
    struct events events;
    struct sigaction before[2];
    struct sigaction action = {.sa_handler = on_interrupt};
    if (!read_events(ctl, args, &events)) {
        return CTL_ERROR;
    }
    interrupted = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, &before[0]);
    (void)sigaction(SIGTERM, &action, &before[1]);
    int rc = follow(ctl, &events);
    (void)sigaction(SIGINT, &before[0], NULL);
    (void)sigaction(SIGTERM, &before[1], NULL);
    return rc;
}

static const struct ctl_option event_options[] = {
    {"tenant", 't', "TENANT", "of this tenant and below it"},
    {"kind", 'k', "KIND", "threshold, expired, correction or full; may come again (all)"},
    {"count", 'n', "N", "end after so many"},
    {"for", 0, "TIME", "end after so long"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_event_commands[] = {
    {"events", "", "what happens from now on: thresholds, expiries, corrections",
     "Ends when interrupted, with --count or with --for. Says \"watching\" on stderr once it "
     "hears\n"
     "everything. Best effort: what must not be missed is in the ledger (quotactl ledger ls).\n"
     "With -o json one object a line, with the names of quota.v1.Event.\n",
     "  quotactl events --tenant acme --kind threshold\n"
     "  quotactl events -o json --for 1h >> events.jsonl\n",
     event_options, 0, 0, run_events},
    {.name = NULL},
};
