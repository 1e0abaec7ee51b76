/* quotactl replay: a real trace through a node. */
#include "client/ctl/commands.h"
#include "client/ctl/replay.h"
#include "client/ctl/rpc.h"
#include "quota/v1/admin.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A number from `min` to `max`, "1" or "2.5". */
static bool read_number(struct ctl *ctl, const char *option, const char *text, double min,
                        double max, double *ret)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value < min || value > max) {
        (void)ctl_fail(ctl, "%s \"%s\": accepted is a number from %g to %g", option, text, min,
                       max);
        return false;
    }
    *ret = value;
    return true;
}

/* "1%", "0.5%", "0": percent. */
static bool read_rate(struct ctl *ctl, const struct ctl_args *args, const char *name, double *ret)
{
    const char *text = ctl_arg(args, name);
    char number[32];
    char option[32];
    double percent = ctl_flag(args, "no-loss") ? 0 : 1;
    (void)snprintf(option, sizeof option, "--%s", name);
    if (text != NULL) {
        size_t length = strlen(text);
        length -= length > 0 && text[length - 1] == '%' ? 1 : 0;
        (void)snprintf(number, sizeof number, "%.*s", (int)(length < 31 ? length : 31), text);
        if (!read_number(ctl, option, number, 0, 100, &percent)) {
            return false;
        }
    }
    *ret = percent / 100;
    return true;
}

static bool read_size(struct ctl *ctl, const struct ctl_args *args, const char *name, int64_t min,
                      int64_t max, size_t *ret)
{
    char option[32];
    int64_t value = 0;
    const char *text = ctl_arg(args, name);
    (void)snprintf(option, sizeof option, "--%s", name);
    if (text == NULL) {
        return true;
    }
    if (!ctl_read_count(ctl, option, text, min, max, &value)) {
        return false;
    }
    *ret = (size_t)value;
    return true;
}

static bool read_seed(struct ctl *ctl, const struct ctl_args *args, uint64_t *ret)
{
    const char *text = ctl_arg(args, "seed");
    char *end = NULL;
    *ret = 1;
    if (text == NULL) {
        return true;
    }
    errno = 0;
    *ret = strtoull(text, &end, 0);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-') {
        (void)ctl_fail(ctl, "--seed \"%s\": accepted is a number from 0 to 2^64-1", text);
        return false;
    }
    return true;
}

static bool read_names(struct ctl *ctl, const struct ctl_args *args, struct replay_options *options)
{
    const char *text;
    for (size_t i = 0; (text = ctl_arg_at(args, "model", i)) != NULL; i++) {
        if (options->model_count == REPLAY_MODELS_MAX) {
            (void)ctl_fail(ctl, "more than %d models", REPLAY_MODELS_MAX);
            return false;
        }
        options->models[options->model_count++] = text;
    }
    if (options->model_count == 0) {
        options->models[options->model_count++] = "llama-70b";
    }
    for (size_t i = 0; (text = ctl_arg_at(args, "tenant", i)) != NULL; i++) {
        if (options->named_count == REPLAY_NAMED_MAX) {
            (void)ctl_fail(ctl, "more than %d named tenants", REPLAY_NAMED_MAX);
            return false;
        }
        options->named[options->named_count++] = text;
    }
    if (options->named_count > options->tenants) {
        options->tenants = options->named_count;
    }
    return true;
}

static bool read_options(struct ctl *ctl, const struct ctl_args *args,
                         struct replay_options *options, char *run, size_t run_size)
{
    static const char *const formats[] = {"azure", "mooncake", NULL};
    const char *format = ctl_arg(args, "format");
    options->path = ctl_arg(args, "trace");
    if (format == NULL || options->path == NULL) {
        (void)ctl_fail(ctl, "needs --format azure|mooncake and --trace FILE; see quotactl replay "
                            "--help");
        return false;
    }
    int index = ctl_read_word(ctl, "--format", format, formats);
    const char *speed = ctl_arg(args, "speed");
    const char *zipf = ctl_arg(args, "zipf");
    if (index < 0 ||
        (speed != NULL && !read_number(ctl, "--speed", speed, 0, 1e6, &options->speed)) ||
        (zipf != NULL && !read_number(ctl, "--zipf", zipf, 0, 10, &options->zipf))) {
        return false;
    }
    options->format = index == 0 ? CTL_TRACE_AZURE : CTL_TRACE_MOONCAKE;
    if (!read_size(ctl, args, "tenants", 1, REPLAY_TENANTS_MAX, &options->tenants) ||
        !read_size(ctl, args, "limit", 1, CTL_TRACE_ROWS_MAX, &options->limit) ||
        !read_size(ctl, args, "in-flight", 1, 4096, &options->in_flight) ||
        !read_size(ctl, args, "top", 1, 1000000, &options->top) ||
        !read_seed(ctl, args, &options->seed) ||
        !read_rate(ctl, args, "disconnect-rate", &options->disconnect_rate) ||
        !read_rate(ctl, args, "lost-rate", &options->lost_rate) ||
        !read_rate(ctl, args, "twice-rate", &options->twice_rate) ||
        !read_names(ctl, args, options)) {
        return false;
    }
    if (options->disconnect_rate + options->lost_rate + options->twice_rate > 1) {
        (void)ctl_fail(ctl, "--disconnect-rate, --lost-rate and --twice-rate together are above "
                            "100%%");
        return false;
    }
    options->gpu = !ctl_flag(args, "no-gpu");
    options->run = ctl_arg(args, "run");
    if (options->run == NULL) {
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)snprintf(run, run_size, "replay-%" PRIx64,
                       (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
        options->run = run;
    }
    return true;
}

/* Is anybody there? Better asked once than told for each request. */
static bool node_answers(struct ctl *ctl)
{
    Quota__V1__GetStatusRequest request;
    quota__v1__get_status_request__init(&request);
    void *answer = ctl_call(ctl, "AdminService/GetStatus", &request.base,
                            &quota__v1__get_status_response__descriptor, true);
    bool there = answer != NULL;
    ctl_free(answer);
    return there;
}

static int run_replay(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_trace_problem problem;
    char run[64];
    struct replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    replay->options =
        (struct replay_options){.tenants = 100, .in_flight = 64, .zipf = 1.1, .top = 20};
    int rc = CTL_ERROR;
    if (!read_options(ctl, args, &replay->options, run, sizeof run)) {
        goto out;
    }
    if (!ctl_trace_load(replay->options.format, replay->options.path, replay->options.limit,
                        &replay->trace, &problem)) {
        (void)ctl_fail(ctl, "%s", problem.text);
        goto out;
    }
    if (!node_answers(ctl) || !replay_run(ctl, replay)) {
        goto out;
    }
    if (ctl->json) {
        replay_print_json(ctl, replay);
    } else {
        replay_print(ctl, replay);
    }
    rc = CTL_OK;
    if (replay->failed + replay->report_failed > 0) {
        rc = ctl_fail(ctl, "%" PRIu64 " checks and %" PRIu64 " reports failed; the first: %s",
                      replay->failed, replay->report_failed, replay->first_error);
    }
out:
    replay_release(replay);
    free(replay);
    return rc;
}

static const struct ctl_option replay_options_list[] = {
    {"format", 'f', "azure|mooncake", "the trace's format"},
    {"trace", 0, "FILE", "the trace"},
    {"tenants", 0, "N", "how many tenants there are (100)"},
    {"tenant", 't', "TENANT", "name of the busiest tenant; again for the next (tenant-001, ...)"},
    {"zipf", 0, "S", "exponent of the law that draws tenants (1.1); 0: all alike"},
    {"model", 'm', "NAME", "a model; again for more, drawn evenly (llama-70b)"},
    {"seed", 0, "N", "of all that is drawn (1)"},
    {"speed", 0, "X", "times the trace's pace; 0: as fast as it goes (0)"},
    {"limit", 'n', "N", "only the first N requests"},
    {"in-flight", 0, "N", "calls open at a time (64)"},
    {"disconnect-rate", 0, "PERCENT", "clients that go away (1)"},
    {"lost-rate", 0, "PERCENT", "requests that nobody reports (1)"},
    {"twice-rate", 0, "PERCENT", "requests reported twice (1)"},
    {"no-loss", 0, NULL, "all three rates 0: what is admitted is booked whole"},
    {"no-gpu", 0, NULL, "no second report, of GPU time, by the pool"},
    {"run", 0, "NAME",
     "begins the request ids; repeated with the same options it books nothing twice"},
    {"top", 0, "N", "rows of the table (20)"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_replay_commands[] = {
    {"replay", "", "drive a real trace through a node, and print what was admitted and spent",
     "A trace holds what requests really used. What a gateway knows before is made independently:\n"
     "input within 20%, max_output_tokens 4096 or, in 30% of the requests, none. Tenants are "
     "drawn\n"
     "by a Zipf law; a mooncake trace's repeated prompt blocks are cached input. Each request is\n"
     "checked, then reported by the gateway (tokens) and the pool (GPU time). The lines that "
     "begin\n"
     "with \"totals\" hold plain sums for scripts. Event times: the first request is now; at "
     "speed\n"
     "0 the last one is.\n",
     "  quotactl replay --format azure --trace deploy/examples/traces/azure_conv.csv "
     "--tenants 50 --seed 7\n"
     "  quotactl replay --format mooncake --trace deploy/examples/traces/mooncake.jsonl "
     "--speed 60 --tenant acme/search\n"
     "  quotactl replay --format azure --trace trace.csv --no-loss -o json\n",
     replay_options_list, 0, 0, run_replay},
    {.name = NULL},
};
