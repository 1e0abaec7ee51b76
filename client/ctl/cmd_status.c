/* quotactl status, top, drain. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static Quota__V1__GetStatusResponse *get_status(struct ctl *ctl)
{
    Quota__V1__GetStatusRequest request;
    quota__v1__get_status_request__init(&request);
    return ctl_call(ctl, "AdminService/GetStatus", &request.base,
                    &quota__v1__get_status_response__descriptor, true);
}

static void print_head(struct ctl *ctl, const Quota__V1__GetStatusResponse *status)
{
    char state[32];
    bool serving = status->state == QUOTA__V1__NODE_STATE__NODE_STATE_SERVING;
    (void)ctl_enum_words(&quota__v1__node_state__descriptor, (int)status->state, state,
                         sizeof state);
    (void)fprintf(ctl->out, "%s: %s%s%s; quotad %s, incarnation %llu, up %s\n", status->node,
                  serving ? ctl_green(ctl) : ctl_red(ctl), state, ctl_plain(ctl), status->version,
                  (unsigned long long)status->incarnation,
                  ctl_span_text(status->now_unix_ns - status->started_at_unix_ns).text);
    if (status->policy != NULL) {
        (void)fprintf(ctl->out, "policy r%llu %s: %s%s\n",
                      (unsigned long long)status->policy->revision, status->policy->file,
                      status->policy->summary,
                      status->policy_reload_refused ? "; its newer file was refused" : "");
    }
    (void)fprintf(ctl->out, "open reservations %s; ledger at #%s, complete through %s\n",
                  ctl_count_text((int64_t)status->open_reservations).text,
                  ctl_count_text((int64_t)status->ledger_sequence).text,
                  ctl_time_text(status->complete_through_unix_ns, NULL).text);
    for (size_t i = 0; i < status->n_alarms; i++) {
        const Quota__V1__Alarm *alarm = status->alarms[i];
        bool since = alarm->since_unix_ns != 0;
        (void)fprintf(ctl->out, "%sALARM%s %s: %s%s%s%s\n", ctl_red(ctl), ctl_plain(ctl),
                      alarm->code, alarm->message, since ? " (since " : "",
                      since ? ctl_time_text(alarm->since_unix_ns, NULL).text : "",
                      since ? ")" : "");
    }
}

static int run_status(struct ctl *ctl, const struct ctl_args *args)
{
    static const char *const heads[] = {"table", ">used", ">capacity", ">full"};
    static const char *const stat_heads[] = {"since start", ">count"};
    (void)args;
    Quota__V1__GetStatusResponse *status = get_status(ctl);
    if (status == NULL) {
        return CTL_ERROR;
    }
    if (ctl->json) {
        (void)ctl_json_print_message(ctl, &status->base);
        ctl_free(status);
        return CTL_OK;
    }
    print_head(ctl, status);
    struct ctl_table *table = ctl_table_new(heads, 4);
    for (size_t i = 0; i < status->n_tables; i++) {
        const Quota__V1__TableStatus *one = status->tables[i];
        ctl_table_cell(table, one->name);
        ctl_table_cell(table, ctl_count_text((int64_t)one->used).text);
        ctl_table_cell(table, ctl_count_text((int64_t)one->capacity).text);
        ctl_table_cell(table, ctl_share_text((int64_t)one->used, (int64_t)one->capacity).text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    table = ctl_table_new(stat_heads, 2);
    for (size_t i = 0; i < status->n_stats; i++) {
        ctl_table_cell(table, status->stats[i]->name);
        ctl_table_cell(table, ctl_count_text((int64_t)status->stats[i]->value).text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    ctl_free(status);
    return CTL_OK;
}

/* ---- top */

static volatile sig_atomic_t stopped;

static void on_stop_signal(int signal)
{
    (void)signal;
    stopped = 1;
}

/* Rates between two looks at the running totals. */
static void print_rates(struct ctl *ctl, const Quota__V1__GetStatusResponse *before,
                        const Quota__V1__GetStatusResponse *now)
{
    static const char *const heads[] = {"", ">per second", ">total"};
    struct ctl_table *table = ctl_table_new(heads, 3);
    int64_t ns = before != NULL ? now->now_unix_ns - before->now_unix_ns : 0;
    for (size_t i = 0; i < now->n_stats; i++) {
        const Quota__V1__Stat *stat = now->stats[i];
        uint64_t old = stat->value;
        for (size_t k = 0; before != NULL && k < before->n_stats; k++) {
            old = strcmp(before->stats[k]->name, stat->name) == 0 ? before->stats[k]->value : old;
        }
        int64_t ms = ns / 1000000 > 0 ? ns / 1000000 : 1;
        int64_t rate = (int64_t)(stat->value - old) * 1000 / ms;
        ctl_table_cell(table, stat->name);
        ctl_table_cell(table, before != NULL ? ctl_count_text(rate).text : "");
        ctl_table_cell(table, ctl_count_text((int64_t)stat->value).text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
}

static int print_top(struct ctl *ctl, int64_t rows, const Quota__V1__GetStatusResponse *before,
                     const Quota__V1__GetStatusResponse *now)
{
    Quota__V1__ListCountersRequest request;
    quota__v1__list_counters_request__init(&request);
    request.order = QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_FULLEST;
    request.page_size = (uint32_t)rows;
    Quota__V1__ListCountersResponse *counters =
        ctl_call(ctl, "AdminService/ListCounters", &request.base,
                 &quota__v1__list_counters_response__descriptor, true);
    if (counters == NULL) {
        return CTL_ERROR;
    }
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "status", ctl_json_message(&now->base));
        json_object_object_add(object, "counters", ctl_json_message(&counters->base));
        (void)ctl_json_print(ctl, object);
    } else {
        if (isatty(fileno(ctl->out)) == 1) {
            (void)fputs("\033[H\033[2J", ctl->out); /* home, clear */
        }
        print_head(ctl, now);
        print_rates(ctl, before, now);
        (void)fputs("the fullest counters:\n", ctl->out);
        ctl_print_states(ctl, counters->n_counters, counters->counters);
    }
    ctl_free(counters);
    return CTL_OK;
}

static int run_top(struct ctl *ctl, const struct ctl_args *args)
{
    int64_t every = INT64_C(1000000000);
    int64_t looks = 0;
    int64_t rows = 20;
    const char *text = ctl_arg(args, "every");
    if (text != NULL && !ctl_read_span(ctl, "--every", text, &every)) {
        return CTL_ERROR;
    }
    text = ctl_arg(args, "looks");
    if (text != NULL && !ctl_read_count(ctl, "--looks", text, 1, 1000000, &looks)) {
        return CTL_ERROR;
    }
    text = ctl_arg(args, "count");
    if (text != NULL && !ctl_read_count(ctl, "--count", text, 1, 1000, &rows)) {
        return CTL_ERROR;
    }
    struct sigaction action = {.sa_handler = on_stop_signal};
    struct sigaction old;
    stopped = 0;
    (void)sigaction(SIGINT, &action, &old);
    Quota__V1__GetStatusResponse *before = NULL;
    int rc = CTL_OK;
    for (int64_t look = 0; rc == CTL_OK && !stopped && (looks == 0 || look < looks); look++) {
        if (look > 0) {
            struct timespec pause = {.tv_sec = every / 1000000000, .tv_nsec = every % 1000000000};
            (void)nanosleep(&pause, NULL);
        }
        Quota__V1__GetStatusResponse *now = stopped ? NULL : get_status(ctl);
        if (now == NULL) {
            rc = stopped ? CTL_OK : CTL_ERROR;
            break;
        }
        rc = print_top(ctl, rows, before, now);
        (void)fflush(ctl->out);
        ctl_free(before);
        before = now;
    }
    ctl_free(before);
    (void)sigaction(SIGINT, &old, NULL);
    return rc;
}

static void print_drain(struct ctl *ctl, const void *message, const void *context)
{
    const Quota__V1__DrainResponse *answer = message;
    const Quota__V1__DrainRequest *request = context;
    char state[32];
    (void)fprintf(
        ctl->out, "%s; %s open reservations",
        ctl_enum_words(&quota__v1__node_state__descriptor, (int)answer->state, state, sizeof state),
        ctl_count_text((int64_t)answer->open_reservations).text);
    if (answer->last_expiry_unix_ns != 0) {
        (void)fprintf(ctl->out, ", the last expires %s",
                      ctl_in_text(answer->last_expiry_unix_ns).text);
    }
    (void)fputc('\n', ctl->out);
    if (!request->cancel) {
        (void)fprintf(ctl->out, "next: quotactl drain --cancel takes it back\n");
    }
}

static int run_drain(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__DrainRequest request;
    quota__v1__drain_request__init(&request);
    request.cancel = ctl_flag(args, "cancel");
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/Drain", &request.base,
                             &quota__v1__drain_response__descriptor, true),
                    print_drain, &request);
}

static const struct ctl_option top_options[] = {
    {"every", 'e', "TIME", "between two looks (1s)"},
    {"looks", 0, "N", "end after so many (until interrupted)"},
    {"count", 'n', "N", "counters shown (20)"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option drain_options[] = {
    {"cancel", 0, NULL, "serve again"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_status_commands[] = {
    {"status", "", "how the node is", NULL, "  quotactl status\n  quotactl status -o json\n", NULL,
     0, 0, run_status},
    {"top", "", "rates and the fullest counters, live", NULL,
     "  quotactl top\n  quotactl top --looks 1 -n 5\n", top_options, 0, 0, run_top},
    {"drain", "", "stop making reservations, keep settling", NULL,
     "  quotactl drain\n  quotactl drain --cancel\n", drain_options, 0, 0, run_drain},
    {.name = NULL},
};
