/* Renewing holds while their requests run (S1): at half of the TTL, until the report. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

static size_t bucket_of(const char *token)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: tokens are random enough */
    for (; *token != '\0'; token++) {
        hash = (hash ^ (unsigned char)*token) * UINT64_C(1099511628211);
    }
    return (size_t)(hash % LQ_RENEW_BUCKETS);
}

static void renewal_free(struct lq_renewal *renewal)
{
    if (renewal != NULL) {
        free(renewal->token);
        free(renewal->id);
        free(renewal);
    }
}

/* Where the table points at the renewal of `key`, a token or a short id. Lock held. */
static struct lq_renewal **find(struct quota_client *client, const char *key)
{
    struct lq_renewal **link = &client->renewals[bucket_of(key)];
    for (; *link != NULL; link = &(*link)->next) {
        if (strcmp((*link)->token, key) == 0) {
            return link;
        }
    }
    if (strncmp(key, "r_", 2) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < LQ_RENEW_BUCKETS; i++) { /* people's form: rare */
        for (link = &client->renewals[i]; *link != NULL; link = &(*link)->next) {
            if ((*link)->id != NULL && strcmp((*link)->id, key) == 0) {
                return link;
            }
        }
    }
    return NULL;
}

/* Take it out of the table; free it, or let the extension that is on its way do so. Lock held. */
static void drop(struct quota_client *client, struct lq_renewal **link)
{
    struct lq_renewal *renewal = *link;
    *link = renewal->next;
    lq_timer_clear(&client->timers, &renewal->timer);
    client->renewal_count -= 1;
    client->timer_owners -= 1;
    renewal->removed = true;
    if (!renewal->busy) {
        renewal_free(renewal);
    }
}

static void renewed(void *context, const struct quota_extend_answer *answer)
{
    struct lq_renewal *renewal = context;
    struct quota_client *client = renewal->client;
    quota_stop_callback stop = NULL;
    void *stop_context = renewal->on_stop_context;
    char *token = NULL;

    pthread_mutex_lock(&client->lock);
    renewal->busy = false;
    int64_t now = lq_now();
    int64_t ttl = renewal->ttl_ms * LQ_NS_PER_MS;
    enum quota_status status = answer->error.status;
    bool again = status == QUOTA_UNAVAILABLE || status == QUOTA_TIMEOUT || status == QUOTA_BUSY ||
                 status == QUOTA_NO_MEMORY;
    if (renewal->removed) {
        renewal_free(renewal);
    } else if ((status == QUOTA_OK || again) && now < renewal->until) {
        lq_timer_set(&client->timers, &renewal->timer, now + (again ? ttl / 8 : ttl / 2));
        if (status == QUOTA_OK && answer->stop && !renewal->told && renewal->on_stop != NULL) {
            token = strdup(renewal->token);
            stop = token != NULL ? renewal->on_stop : NULL;
            renewal->told = stop != NULL;
        }
    } else {
        drop(client, find(client, renewal->token));
    }
    pthread_mutex_unlock(&client->lock);
    if (stop != NULL) {
        stop(stop_context, token, answer->message);
    }
    free(token);
}

static struct lq_call *extension(struct lq_renewal *renewal)
{
    const struct quota_extend extend = {.reservation = renewal->token, .ttl_ms = renewal->ttl_ms};
    const struct quota_call options = {.timeout_ms = renewal->ttl_ms / 4};
    grpc_slice request;
    if (!lq_encode_extend(&extend, &request)) {
        return NULL;
    }
    struct lq_call *call = lq_call_new(
        renewal->client, LQ_EXTEND, "/quota.v1.QuotaService/ExtendReservation", request, &options);
    if (call != NULL) {
        call->callback.extend = renewed;
        call->context = renewal;
    }
    return call;
}

static void fire(struct lq_timer *timer)
{
    struct lq_renewal *renewal =
        (struct lq_renewal *)(void *)((char *)timer - offsetof(struct lq_renewal, timer));
    struct quota_client *client = renewal->client;
    struct lq_call *call = client->closing ? NULL : extension(renewal);
    if (call != NULL) {
        renewal->busy = true; /* from here on only `renewed` frees it */
        client->stats.renewals += 1;
    } else if (!client->closing) {
        lq_timer_set(&client->timers, timer, lq_now() + renewal->ttl_ms * LQ_NS_PER_MS / 8);
    }
    pthread_mutex_unlock(&client->lock);
    enum quota_status status = call != NULL ? lq_call_launch(call, NULL) : QUOTA_OK;
    if (status != QUOTA_OK) {
        struct quota_extend_answer failed = {.error.status = status, .message = ""};
        lq_call_free(call);
        renewed(renewal, &failed);
    }
}

void lq_renew_add(const struct lq_call *call, const struct quota_check_answer *answer)
{
    struct quota_client *client = call->client;
    struct lq_renewal *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return; /* Not renewed: it lasts for its TTL, and a later report still books. */
    }
    made->timer.fire = fire;
    made->client = client;
    made->token = strdup(answer->reservation.token);
    made->id = strdup(answer->reservation.id);
    made->ttl_ms = call->ttl_ms;
    made->until = lq_now() + client->config.renew_for_ms * LQ_NS_PER_MS;
    made->on_stop = call->on_stop;
    made->on_stop_context = call->on_stop_context;
    if (made->token == NULL || made->id == NULL) {
        renewal_free(made);
        return;
    }
    pthread_mutex_lock(&client->lock);
    struct lq_renewal **known = find(client, made->token); /* a repeated check */
    bool room = lq_timers_reserve(&client->timers, client->timer_owners + 1);
    if (known == NULL && room && !client->closing) {
        struct lq_renewal **bucket = &client->renewals[bucket_of(made->token)];
        made->next = *bucket;
        *bucket = made;
        client->renewal_count += 1;
        client->timer_owners += 1;
        lq_timer_set(&client->timers, &made->timer, lq_now() + made->ttl_ms * LQ_NS_PER_MS / 2);
        made = NULL;
    }
    pthread_mutex_unlock(&client->lock);
    renewal_free(made);
}

void lq_renew_touch(struct quota_client *client, const char *reservation)
{
    pthread_mutex_lock(&client->lock);
    struct lq_renewal **link = find(client, reservation);
    if (link != NULL && !(*link)->busy) {
        lq_timer_set(&client->timers, &(*link)->timer,
                     lq_now() + (*link)->ttl_ms * LQ_NS_PER_MS / 2);
    }
    pthread_mutex_unlock(&client->lock);
}

void lq_renew_forget(struct quota_client *client, const char *reservation)
{
    struct lq_renewal **link = find(client, reservation);
    if (link != NULL) {
        drop(client, link);
    }
}

void quota_client_forget(struct quota_client *client, const char *reservation)
{
    if (reservation == NULL) {
        return;
    }
    pthread_mutex_lock(&client->lock);
    lq_renew_forget(client, reservation);
    pthread_mutex_unlock(&client->lock);
}

void lq_renew_release(struct quota_client *client)
{
    for (size_t i = 0; i < LQ_RENEW_BUCKETS; i++) {
        while (client->renewals[i] != NULL) {
            struct lq_renewal *renewal = client->renewals[i];
            client->renewals[i] = renewal->next;
            renewal_free(renewal);
        }
    }
}
