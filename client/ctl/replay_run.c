/* The run: arrivals in the trace's time, answers as they come. */
#include "client/ctl/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- requests that run, soonest end first. Lock held. */

static void running_push(struct replay *replay, struct replay_request *request)
{
    size_t at = ++replay->running_count; /* places from 1 */
    while (at > 1 && replay->running[at / 2]->due > request->due) {
        replay->running[at] = replay->running[at / 2];
        at /= 2;
    }
    replay->running[at] = request;
}

static struct replay_request *running_pop(struct replay *replay)
{
    struct replay_request *first = replay->running[1];
    struct replay_request *last = replay->running[replay->running_count--];
    size_t at = 1;
    while (2 * at <= replay->running_count) {
        size_t child = 2 * at;
        if (child < replay->running_count &&
            replay->running[child + 1]->due < replay->running[child]->due) {
            child += 1;
        }
        if (replay->running[child]->due >= last->due) {
            break;
        }
        replay->running[at] = replay->running[child];
        at = child;
    }
    replay->running[at] = last;
    return first;
}

/* ---- figures. Lock held. */

static struct replay_cell *cell_of(struct replay_request *request)
{
    struct replay *replay = request->replay;
    return &replay->cells[(size_t)request->draw.tenant * replay->options.model_count +
                          request->draw.model];
}

static void count_error(struct replay *replay, const struct quota_error *error)
{
    if (replay->first_error[0] == '\0') {
        (void)snprintf(replay->first_error, sizeof replay->first_error, "%.500s", error->message);
    }
}

static void count_denial(struct replay_request *request, const struct quota_check_answer *answer)
{
    static const char *const reasons[] = {"allowed",        "a limit",  "never fits",
                                          "unknown tenant", "blocked",  "unknown price",
                                          "capacity",       "draining", "undecided"};
    struct replay *replay = request->replay;
    struct replay_cell *cell = cell_of(request);
    size_t reason = (size_t)answer->reason < 9 ? (size_t)answer->reason : 1;
    const char *name = answer->limit != NULL && answer->limit->name[0] != '\0' ? answer->limit->name
                                                                               : reasons[reason];
    size_t i = 0;
    while (i < replay->limit_count && strcmp(replay->limits[i], name) != 0) {
        i++;
    }
    if (i == replay->limit_count && i < REPLAY_LIMITS_MAX) {
        (void)snprintf(replay->limits[i], sizeof replay->limits[i], "%.127s", name);
        replay->limit_count += 1;
    }
    i = i < REPLAY_LIMITS_MAX ? i : REPLAY_LIMITS_MAX - 1;
    replay->denied += 1;
    replay->limit_denied[i] += 1;
    cell->denied += 1;
    for (size_t k = 0; k < REPLAY_DENIERS_MAX; k++) {
        if (cell->denied_by[k].limit == i + 1 || cell->denied_by[k].limit == 0) {
            cell->denied_by[k].limit = (uint16_t)(i + 1);
            cell->denied_by[k].count += 1;
            break;
        }
    }
}

static void count_pico(replay_pico *sum, const char *text)
{
    bool negative = text[0] == '-';
    replay_pico value = 0;
    for (const char *c = text + (negative ? 1 : 0); *c >= '0' && *c <= '9'; c++) {
        value = value * 10 + (*c - '0');
    }
    *sum += negative ? -value : value;
}

static void count_money(struct replay_request *request, const struct quota_report_answer *answer)
{
    struct replay_cell *cell = cell_of(request);
    if (answer->unpriced) {
        cell->unpriced += 1;
        return;
    }
    count_pico(&cell->cost, answer->cost_pico_usd);
    count_pico(&cell->charge, answer->charge_pico_usd);
}

/* ---- the calls of one request */

static void request_end(struct replay_request *request)
{
    free(request->token);
    request->token = NULL;
}

static void call_done(struct replay *replay)
{
    replay->in_flight -= 1;
    pthread_cond_signal(&replay->changed);
}

static void on_pool_report(void *context, const struct quota_report_answer *answer)
{
    struct replay_request *request = context;
    struct replay *replay = request->replay;
    pthread_mutex_lock(&replay->lock);
    if (answer->error.status == QUOTA_OK) {
        replay->booked_before += answer->duplicate ? 1 : 0;
        int64_t gpu_ms = replay_gpu_ms(&replay->trace.rows[request->row], request->draw.output);
        cell_of(request)->gpu_ms += gpu_ms;
        replay->gpu_ms += gpu_ms;
        count_money(request, answer);
    } else {
        replay->report_failed += 1;
        count_error(replay, &answer->error);
    }
    request_end(request);
    call_done(replay);
    pthread_mutex_unlock(&replay->lock);
}

static void on_gateway_report(void *context, const struct quota_report_answer *answer);

/* The tokens, from the gateway. With GPU time to come from the pool it leaves the hold open.
 *
 * No report says its event time: the reservation has the check's. So a run repeated later, when
 * the trace comes to lie elsewhere in time, reports the same content and is recognised (S6). */
static enum quota_status send_gateway_report(struct replay_request *request)
{
    struct replay *replay = request->replay;
    const struct ctl_trace_row *row = &replay->trace.rows[request->row];
    struct quota_amount usage[3] = {{"input_tokens", row->input},
                                    {"output_tokens", request->draw.output},
                                    {"cached_input_tokens", row->cached}};
    struct quota_report report = {
        .reservation = request->token,
        .source = "gateway",
        .usage = usage,
        /* The azure traces know nothing of caches: missing, not zero (S4). */
        .usage_count = replay->options.format == CTL_TRACE_MOONCAKE ? 3 : 2,
        .partial = replay->options.gpu,
        .outcome = request->draw.fate == REPLAY_DISCONNECTED ? QUOTA_OUTCOME_DISCONNECTED
                                                             : QUOTA_OUTCOME_OK,
    };
    request->gateway_reports += 1;
    return quota_client_report_start(replay->client, &report, NULL, on_gateway_report, request);
}

static enum quota_status send_pool_report(struct replay_request *request)
{
    struct replay *replay = request->replay;
    const struct ctl_trace_row *row = &replay->trace.rows[request->row];
    struct quota_amount usage[1] = {{"gpu_ms", replay_gpu_ms(row, request->draw.output)}};
    struct quota_report report = {
        .reservation = request->token,
        .source = "pool",
        .usage = usage,
        .usage_count = 1,
        .outcome = request->draw.fate == REPLAY_DISCONNECTED ? QUOTA_OUTCOME_DISCONNECTED
                                                             : QUOTA_OUTCOME_OK,
    };
    return quota_client_report_start(replay->client, &report, NULL, on_pool_report, request);
}

static void on_gateway_report(void *context, const struct quota_report_answer *answer)
{
    struct replay_request *request = context;
    struct replay *replay = request->replay;
    const struct ctl_trace_row *row = &replay->trace.rows[request->row];
    bool booked = answer->error.status == QUOTA_OK;
    bool first = request->gateway_reports == 1;
    enum quota_status next = QUOTA_CANCELLED;

    pthread_mutex_lock(&replay->lock);
    if (!booked) {
        replay->report_failed += 1;
        count_error(replay, &answer->error);
    } else if (first) {
        replay->booked_before += answer->duplicate ? 1 : 0;
        struct replay_cell *cell = cell_of(request);
        cell->input += row->input;
        cell->cached += row->cached;
        cell->output += request->draw.output;
        replay->booked.requests += 1;
        replay->booked.input += row->input;
        replay->booked.cached += row->cached;
        replay->booked.output += request->draw.output;
        count_money(request, answer);
    } else {
        replay->recognised += answer->duplicate ? 1 : 0;
    }
    bool again = booked && first && request->draw.fate == REPLAY_TWICE;
    replay->twice += again ? 1 : 0;
    pthread_mutex_unlock(&replay->lock);

    if (again) {
        next = send_gateway_report(request); /* the same key: it must be booked once */
    } else if (replay->options.gpu) {
        next = send_pool_report(request);
    }
    pthread_mutex_lock(&replay->lock);
    if (next != QUOTA_OK) {
        if (again || replay->options.gpu) {
            replay->report_failed += 1;
        }
        request_end(request);
        call_done(replay);
    }
    pthread_mutex_unlock(&replay->lock);
}

static void on_check(void *context, const struct quota_check_answer *answer)
{
    struct replay_request *request = context;
    struct replay *replay = request->replay;
    const struct ctl_trace_row *row = &replay->trace.rows[request->row];
    pthread_mutex_lock(&replay->lock);
    struct replay_cell *cell = cell_of(request);
    if (answer->error.status != QUOTA_OK) {
        replay->failed += 1;
        cell->failed += 1;
        count_error(replay, &answer->error);
    } else if (answer->verdict != QUOTA_ALLOWED) {
        count_denial(request, answer);
    } else {
        replay->allowed += 1;
        replay->admitted.requests += 1;
        replay->admitted.input += row->input;
        replay->admitted.cached += row->cached;
        replay->admitted.output += row->output;
        cell->admitted += 1;
        for (size_t i = 0; i < answer->held_count; i++) {
            if (strcmp(answer->held[i].meter, "tokens") == 0) {
                cell->held += answer->held[i].amount;
            }
        }
        replay->disconnected += request->draw.fate == REPLAY_DISCONNECTED ? 1 : 0;
        replay->lost += request->draw.fate == REPLAY_LOST ? 1 : 0;
        if (request->draw.fate != REPLAY_LOST && answer->reservation.token != NULL) {
            request->token = strdup(answer->reservation.token);
        }
        if (request->token != NULL) {
            double run = (double)replay_run_ns(row, request->draw.output);
            request->due = replay->options.speed > 0
                               ? clock_ns(CLOCK_MONOTONIC) + (int64_t)(run / replay->options.speed)
                               : 0;
            running_push(replay, request);
        }
    }
    call_done(replay);
    pthread_mutex_unlock(&replay->lock);
    if (request->draw.fate == REPLAY_LOST) {
        quota_client_forget(replay->client, answer->reservation.token);
    }
}

static enum quota_status send_check(struct replay *replay, size_t row_number)
{
    struct replay_request *request = &replay->requests[row_number];
    const struct ctl_trace_row *row = &replay->trace.rows[row_number];
    char tenant[512];
    char id[128];
    double speed = replay->options.speed;
    request->replay = replay;
    request->row = row_number;
    replay_draw(replay, row_number, &request->draw);
    int64_t event_time =
        replay->clock_offset + (speed > 0 ? (int64_t)((double)row->at_ns / speed) : row->at_ns);
    replay_tenant_name(replay, request->draw.tenant, tenant, sizeof tenant);
    (void)snprintf(id, sizeof id, "%.80s-%zu", replay->options.run, row_number + 1);
    struct quota_amount estimate[1] = {{"input_tokens", request->draw.input_estimate}};
    struct quota_check check = {
        .tenant = tenant,
        .model = replay->options.models[request->draw.model],
        .estimate = estimate,
        .estimate_count = 1,
        .max_output_tokens = REPLAY_MAX_OUTPUT,
        .max_output_tokens_given = request->draw.max_output_given,
        .request_id = id,
        .event_time_unix_ns = event_time,
    };
    pthread_mutex_lock(&replay->lock);
    struct replay_cell *cell = cell_of(request);
    cell->requests += 1;
    cell->estimated +=
        request->draw.input_estimate + (request->draw.max_output_given ? REPLAY_MAX_OUTPUT : 0);
    replay->offered.requests += 1;
    replay->offered.input += row->input;
    replay->offered.cached += row->cached;
    replay->offered.output += row->output;
    pthread_mutex_unlock(&replay->lock);
    return quota_client_check_start(replay->client, &check, NULL, on_check, request);
}

/* ---- the loop */

/* Start one thing that is due; false: nothing is. Lock held, released while starting. */
static bool start_due(struct replay *replay, size_t *sent, int64_t start)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    double speed = replay->options.speed;
    if (replay->in_flight >= replay->options.in_flight) {
        return false;
    }
    if (replay->running_count > 0 && (replay->running[1]->due <= now || interrupted)) {
        struct replay_request *request = running_pop(replay);
        replay->in_flight += 1;
        pthread_mutex_unlock(&replay->lock);
        enum quota_status status = send_gateway_report(request);
        pthread_mutex_lock(&replay->lock);
        if (status != QUOTA_OK) {
            replay->report_failed += 1;
            request_end(request);
            replay->in_flight -= 1;
        }
        return true;
    }
    if (interrupted || *sent == replay->trace.count) {
        return false;
    }
    int64_t due = start;
    if (speed > 0) {
        due += (int64_t)((double)replay->trace.rows[*sent].at_ns / speed);
    }
    if (due > now) {
        return false;
    }
    replay->in_flight += 1;
    pthread_mutex_unlock(&replay->lock);
    enum quota_status status = send_check(replay, *sent);
    pthread_mutex_lock(&replay->lock);
    *sent += 1;
    if (status != QUOTA_OK) {
        replay->failed += 1;
        replay->in_flight -= 1;
    }
    return true;
}

/* Sleep until something may be due, an answer comes, or the bar wants to move. Lock held. */
static void wait_due(struct replay *replay, size_t sent, int64_t start)
{
    int64_t until = clock_ns(CLOCK_MONOTONIC) + 100000000;
    if (replay->in_flight < replay->options.in_flight) {
        if (replay->running_count > 0 && replay->running[1]->due < until) {
            until = replay->running[1]->due;
        }
        if (sent < replay->trace.count && replay->options.speed > 0 && !interrupted) {
            int64_t due =
                start + (int64_t)((double)replay->trace.rows[sent].at_ns / replay->options.speed);
            until = due < until ? due : until;
        }
    }
    struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    (void)pthread_cond_timedwait(&replay->changed, &replay->lock, &at);
}

static void drive(struct ctl *ctl, struct replay *replay)
{
    int64_t start = clock_ns(CLOCK_MONOTONIC);
    size_t sent = 0;
    int64_t shown = 0;
    pthread_mutex_lock(&replay->lock);
    for (;;) {
        bool more = sent < replay->trace.count && !interrupted;
        if (!more && replay->running_count == 0 && replay->in_flight == 0) {
            break;
        }
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now - shown > 100000000) {
            shown = now;
            replay_progress(ctl, replay, sent, false);
        }
        if (!start_due(replay, &sent, start)) {
            wait_due(replay, sent, start);
        }
    }
    replay->elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start;
    replay_progress(ctl, replay, sent, true);
    pthread_mutex_unlock(&replay->lock);
}

static bool prepare(struct ctl *ctl, struct replay *replay)
{
    const struct replay_options *options = &replay->options;
    struct quota_config config = {
        .address = ctl->address,
        .check_timeout_ms = ctl->timeout_ms,
        .report_timeout_ms = ctl->timeout_ms > 60000 ? ctl->timeout_ms : 60000,
        .failure_mode = QUOTA_FAIL_ERROR,
        .in_flight_max = (uint32_t)options->in_flight + 16,
        .user_agent = "quotactl-replay/" QD_VERSION,
        .tls_ca_file = ctl->tls_ca,
        .tls_cert_file = ctl->tls_cert,
        .tls_key_file = ctl->tls_key,
        .token_file = ctl->token_file,
    };
    struct quota_error error;
    pthread_condattr_t clock;
    pthread_mutex_init(&replay->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&replay->changed, &clock);
    pthread_condattr_destroy(&clock);
    replay->requests = calloc(replay->trace.count, sizeof *replay->requests);
    replay->running = calloc(replay->trace.count + 2, sizeof(struct replay_request *));
    replay->cells = calloc(options->tenants * options->model_count, sizeof *replay->cells);
    if (replay->requests == NULL || replay->running == NULL || replay->cells == NULL ||
        !replay_zipf_init(replay)) {
        (void)ctl_fail(ctl, "out of memory for %zu requests", replay->trace.count);
        return false;
    }
    if (quota_client_new(&config, &error, &replay->client) != QUOTA_OK) {
        (void)ctl_fail(ctl, "%s", error.message);
        return false;
    }
    /* Event times: at full speed the trace ends now; else its first request comes now. */
    replay->clock_offset = clock_ns(CLOCK_REALTIME);
    if (options->speed <= 0) {
        replay->clock_offset -= replay->trace.rows[replay->trace.count - 1].at_ns;
    }
    return true;
}

bool replay_run(struct ctl *ctl, struct replay *replay)
{
    if (!prepare(ctl, replay)) {
        return false;
    }
    struct sigaction action = {.sa_handler = on_interrupt};
    struct sigaction before;
    interrupted = 0;
    (void)sigaction(SIGINT, &action, &before);
    drive(ctl, replay);
    (void)sigaction(SIGINT, &before, NULL);
    return true;
}

void replay_release(struct replay *replay)
{
    quota_client_free(replay->client); /* first: no answer comes after */
    for (size_t i = 0; replay->requests != NULL && i < replay->trace.count; i++) {
        free(replay->requests[i].token);
    }
    free(replay->requests);
    free(replay->running);
    free(replay->cells);
    free(replay->zipf);
    ctl_trace_release(&replay->trace);
}
