/* Making and ending clients, and the thread that drives their calls. */
#include "client/client.h"

#include <assert.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int64_t lq_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

gpr_timespec lq_deadline(int64_t at_ns)
{
    /* gRPC's monotonic clock is CLOCK_MONOTONIC, too. */
    return gpr_time_from_nanos(at_ns, GPR_CLOCK_MONOTONIC);
}

uint64_t lq_random(struct quota_client *client)
{
    /* splitmix64: jitter needs spread, not secrecy. */
    client->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = client->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool lq_on_own_thread(struct quota_client *client)
{
    return pthread_equal(client->thread, pthread_self()) != 0;
}

/* How long the thread may sleep. */
static gpr_timespec next_wake(struct quota_client *client)
{
    pthread_mutex_lock(&client->lock);
    const struct lq_timer *first = lq_timers_first(&client->timers);
    int64_t at = first != NULL ? first->at_ns : INT64_MAX;
    if (client->streams > 0) {
        int64_t tick = lq_now() + LQ_STREAM_TICK_NS;
        at = at < tick ? at : tick;
    }
    pthread_mutex_unlock(&client->lock);
    return at == INT64_MAX ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : lq_deadline(at);
}

/* Fire what is due at `now`. */
static void fire_timers(struct quota_client *client, int64_t now)
{
    for (;;) {
        pthread_mutex_lock(&client->lock);
        struct lq_timer *first = lq_timers_first(&client->timers);
        if (first == NULL || first->at_ns > now) {
            pthread_mutex_unlock(&client->lock);
            return;
        }
        lq_timer_clear(&client->timers, first);
        first->fire(first); /* releases the lock */
    }
}

static void *run(void *arg)
{
    struct quota_client *client = arg;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(client->queue, next_wake(client), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            break;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct lq_event *owner = event.tag;
            owner->run(owner, event.success != 0);
        }
        fire_timers(client, lq_now());
    }
    /* Closing: no timer leads to a new try now, so whatever waits in the heap ends as cancelled. */
    fire_timers(client, INT64_MAX);
    return NULL;
}

static enum quota_status fill_config(struct quota_config *config, struct quota_error *error)
{
    struct {
        const char *name;
        int64_t *value;
        int64_t standard;
        int64_t max;
    } times[] = {
        {"check_timeout_ms", &config->check_timeout_ms, 1000, 86400000},
        {"report_timeout_ms", &config->report_timeout_ms, 10000, 86400000},
        {"backoff_ms", &config->backoff_ms, 20, 3600000},
        {"backoff_max_ms", &config->backoff_max_ms, 1000, 3600000},
        {"renew_for_ms", &config->renew_for_ms, 3600000, INT64_C(31536000000)},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (*times[i].value < 0 || *times[i].value > times[i].max) {
            lq_error_set(error, QUOTA_INVALID, "config.%s is %lld; accepted are 0 to %lld",
                         times[i].name, (long long)*times[i].value, (long long)times[i].max);
            return QUOTA_INVALID;
        }
        if (*times[i].value == 0) {
            *times[i].value = times[i].standard;
        }
    }
    if ((int)config->failure_mode < 0 || config->failure_mode > QUOTA_FAIL_ERROR) {
        lq_error_set(error, QUOTA_INVALID, "config.failure_mode is %d; see enum quota_failure_mode",
                     (int)config->failure_mode);
        return QUOTA_INVALID;
    }
    if (config->address == NULL || config->address[0] == '\0') {
        config->address = "127.0.0.1:7070";
    }
    if (config->failure_mode == QUOTA_FAIL_DEFAULT) {
        config->failure_mode = QUOTA_FAIL_CLOSED;
    }
    config->tries_max = config->tries_max > 0 ? config->tries_max : 4;
    config->in_flight_max = config->in_flight_max > 0 ? config->in_flight_max : 4096;
    while (config->seed == 0) {
        if (getrandom(&config->seed, sizeof config->seed, 0) != (ssize_t)sizeof config->seed) {
            config->seed = (uint64_t)lq_now();
        }
    }
    return QUOTA_OK;
}

static grpc_arg int_arg(const char *key, int value)
{
    union { /* gRPC does not write to it */
        const char *in;
        char *out;
    } name = {.in = key};
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = name.out, .value.integer = value};
}

/* Takes the credentials. */
static grpc_channel *open_channel(const struct quota_config *config,
                                  grpc_channel_credentials *credentials)
{
    char agent[128];
    (void)snprintf(agent, sizeof agent, "%s%slibquota/%s",
                   config->user_agent != NULL ? config->user_agent : "",
                   config->user_agent != NULL ? " " : "", QD_VERSION);
    union {
        const char *in;
        char *out;
    } key = {.in = GRPC_ARG_PRIMARY_USER_AGENT_STRING};
    grpc_arg args[] = {
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0), /* ours know the idempotency keys */
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, LQ_REPLY_BYTES_MAX),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000), /* in truth: the time to connect */
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, 30000),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000),
        {.type = GRPC_ARG_STRING, .key = key.out, .value.string = agent},
    };
    grpc_channel_args list = {sizeof args / sizeof args[0], args};
    grpc_channel *channel = grpc_channel_create(config->address, credentials, &list);
    grpc_channel_credentials_release(credentials);
    return channel;
}

/* A channel without a call tells nothing of its name; look at it here, so that "" or "::" fail at
 * once and in words. */
static bool address_valid(const char *address)
{
    size_t length = strlen(address);
    if (length > 512) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (address[i] <= ' ' || address[i] == 127) {
            return false;
        }
    }
    return true;
}

static void client_release(struct quota_client *client)
{
    if (client->channel != NULL) {
        grpc_channel_destroy(client->channel);
    }
    if (client->queue != NULL) {
        grpc_completion_queue_destroy(client->queue);
    }
    lq_secure_release(&client->secure);
    lq_renew_release(client);
    lq_timers_release(&client->timers);
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->lock);
    free(client->address);
    free(client->source);
    free(client);
}

enum quota_status quota_client_new(const struct quota_config *config, struct quota_error *error,
                                   struct quota_client **ret_client)
{
    struct quota_config filled = config != NULL ? *config : (struct quota_config){0};
    enum quota_status status = fill_config(&filled, error);
    if (status != QUOTA_OK) {
        return status;
    }
    if (!address_valid(filled.address)) {
        lq_error_set(error, QUOTA_INVALID,
                     "address \"%.200s\" is not valid; accepted: host:port, dns:///name:port or "
                     "unix:/path",
                     filled.address);
        return QUOTA_INVALID;
    }
    struct quota_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        goto out_of_memory;
    }
    pthread_mutex_init(&client->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&client->changed, &clock);
    pthread_condattr_destroy(&clock);
    client->config = filled;
    client->random = filled.seed;
    client->id_prefix = lq_random(client);
    client->address = strdup(filled.address);
    client->source = filled.source != NULL ? strdup(filled.source) : NULL;
    if (client->address == NULL || (filled.source != NULL && client->source == NULL) ||
        !lq_timers_reserve(&client->timers, 64)) {
        client_release(client);
        goto out_of_memory;
    }
    grpc_init();
    grpc_channel_credentials *credentials = lq_secure_open(&filled, &client->secure, error);
    if (credentials == NULL) {
        client_release(client);
        grpc_shutdown_blocking();
        return QUOTA_INVALID;
    }
    client->queue = grpc_completion_queue_create_for_next(NULL);
    client->channel = open_channel(&filled, credentials);
    if (pthread_create(&client->thread, NULL, run, client) != 0) {
        grpc_completion_queue_shutdown(client->queue);
        client_release(client);
        grpc_shutdown_blocking();
        lq_error_set(error, QUOTA_INTERNAL, "no thread for the client: the system has none left");
        return QUOTA_INTERNAL;
    }
    lq_error_set(error, QUOTA_OK, "%s", "");
    *ret_client = client;
    return QUOTA_OK;

out_of_memory:
    lq_error_set(error, QUOTA_NO_MEMORY, "out of memory");
    return QUOTA_NO_MEMORY;
}

void quota_client_free(struct quota_client *client)
{
    if (client == NULL) {
        return;
    }
    assert(!lq_on_own_thread(client)); /* A callback would wait for itself. */
    pthread_mutex_lock(&client->lock);
    assert(client->streams == 0);
    client->closing = true;
    for (struct lq_call *call = client->calls; call != NULL; call = call->next) {
        if (call->rpc != NULL) {
            (void)grpc_call_cancel(call->rpc, NULL);
        }
    }
    pthread_mutex_unlock(&client->lock);
    grpc_completion_queue_shutdown(client->queue);
    pthread_join(client->thread, NULL);
    client_release(client);
    grpc_shutdown_blocking();
}

enum quota_status quota_client_wait(struct quota_client *client, size_t open_max,
                                    int64_t timeout_ms)
{
    const int64_t most_ms = INT64_C(86400000) * 365;
    enum quota_status status = QUOTA_OK;
    assert(!lq_on_own_thread(client));
    int64_t ms = timeout_ms < most_ms ? timeout_ms : most_ms;
    int64_t until = timeout_ms >= 0 ? lq_now() + ms * LQ_NS_PER_MS : INT64_MAX;
    struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    pthread_mutex_lock(&client->lock);
    while (client->open_counted > open_max && status == QUOTA_OK) {
        if (timeout_ms < 0) {
            pthread_cond_wait(&client->changed, &client->lock);
        } else if (pthread_cond_timedwait(&client->changed, &client->lock, &at) != 0) {
            status = client->open_counted > open_max ? QUOTA_TIMEOUT : QUOTA_OK;
        }
    }
    pthread_mutex_unlock(&client->lock);
    return status;
}

void quota_client_stats(struct quota_client *client, struct quota_stats *ret_stats)
{
    pthread_mutex_lock(&client->lock);
    *ret_stats = client->stats;
    ret_stats->open = client->open;
    ret_stats->renewing = client->renewal_count;
    pthread_mutex_unlock(&client->lock);
}
