#include "server/rpc/codec.h"

#include "server/shard/bind.h"
#include "server/shard/describe.h"

#include <stdio.h>

#define TEXT_MAX 256

static int64_t time_or_0(struct qd_wall_ns at)
{
    return at.ns == QD_WALL_NEVER || at.ns < 0 ? 0 : at.ns;
}

/* "acme model=gpt-4o user=ann" -> keys after the first blank. A value that holds a blank ends where
 * the next "key=" begins. */
void qd_codec_put_keys(struct qd_out *out, uint32_t id, struct qd_str text)
{
    while (text.len > 0) {
        const char *equals = memchr(text.ptr, '=', text.len);
        if (equals == NULL) {
            return;
        }
        struct qd_str key = {text.ptr, (size_t)(equals - text.ptr)};
        struct qd_str rest = {equals + 1, text.len - key.len - 1};
        size_t end = rest.len;
        const char *next = rest.len > 0 ? memchr(rest.ptr, '=', rest.len) : NULL;
        while (next != NULL && next > rest.ptr && *next != ' ') {
            next--;
        }
        if (next != NULL && next > rest.ptr) {
            end = (size_t)(next - rest.ptr);
        }
        uint8_t *entry = qd_out_begin(out, id);
        qd_out_str(out, 1, key);
        qd_out_str(out, 2, (struct qd_str){rest.ptr, end});
        qd_out_end(out, entry);
        size_t used = end < rest.len ? end + 1 : end;
        text = (struct qd_str){rest.ptr + used, rest.len - used};
    }
}

static int64_t window_of(const struct qd_limit *limit, struct qd_wall_ns now)
{
    switch (limit->algorithm) {
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET:
    case QD_FIXED_WINDOW:
    case QD_SLIDING_WINDOW:
        return limit->window_ns;
    case QD_CALENDAR: {
        struct qd_period period = qd_calendar_period(&limit->calendar, now);
        return period.end.ns - period.start.ns;
    }
    case QD_CONCURRENCY:
    case QD_PER_REQUEST:
    case QD_PREPAID:
        break;
    }
    return 0;
}

static bool is_bucket(const struct qd_limit *limit)
{
    return limit->algorithm == QD_TOKEN_BUCKET || limit->algorithm == QD_LEAKY_BUCKET;
}

static void put_name(struct qd_out *out, uint32_t id, const struct qd_limit_state *state)
{
    char buffer[TEXT_MAX * 3];
    struct qd_text text;

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_describe_name(&text, state);
    qd_out_str(out, id, (struct qd_str){buffer, text.used});
}

static void put_meter(struct qd_out *out, uint32_t id, const struct qd_policy *policy,
                      const struct qd_limit *limit)
{
    char buffer[TEXT_MAX];
    struct qd_text text;

    if (limit->admit.count == 1 && limit->admit.item[0].num == limit->admit.den &&
        limit->admit.item[0].meter < policy->meter_count) {
        qd_out_text(out, id, policy->meters[limit->admit.item[0].meter].name);
        return;
    }
    qd_text_init(&text, buffer, sizeof(buffer));
    qd_describe_meters(&text, policy, &limit->admit);
    qd_out_str(out, id, (struct qd_str){buffer, text.used});
}

void qd_codec_put_state(struct qd_out *out, uint32_t id, const struct qd_policy *policy,
                        const struct qd_limit_state *state, struct qd_wall_ns now)
{
    const struct qd_limit *limit = state->limit;
    struct qd_str keys;
    uint8_t *message = qd_out_begin(out, id);

    put_name(out, 1, state);
    struct qd_str tenant = qd_name_tenant(state->name, &keys);
    if (state->depth > 0) {
        qd_out_str(out, 2, tenant);
    }
    qd_codec_put_keys(out, 3, keys);
    qd_out_number(out, 4, (uint64_t)limit->algorithm + 1);
    put_meter(out, 5, policy, limit);
    qd_out_text(out, 6, qd_describe_unit(limit));
    qd_out_number(out, 7, (uint64_t)state->used);
    qd_out_number(out, 8, (uint64_t)state->held);
    qd_out_number(out, 9, (uint64_t)state->estimate);
    qd_out_number(out, 10, (uint64_t)(is_bucket(limit) ? state->burst : state->amount));
    qd_out_number(out, 11, (uint64_t)time_or_0(state->resets_at));
    qd_out_number(out, 12, (uint64_t)window_of(limit, now));
    qd_out_number(out, 13, limit->action == QD_SHADOW ? 2 : 1);
    qd_out_number(out, 14, limit->consistency == QD_HARD);
    qd_out_end(out, message);
}

static void put_amounts(struct qd_out *out, uint32_t id, const struct qd_policy *policy,
                        const struct qd_usage *usage)
{
    for (uint32_t left = usage->present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (meter >= policy->meter_count) {
            continue;
        }
        uint8_t *amount = qd_out_begin(out, id);
        qd_out_text(out, 1, policy->meters[meter].name);
        qd_out_number(out, 2, (uint64_t)usage->amount[meter]);
        qd_out_end(out, amount);
    }
}

/* --- headers (I5) --- */

static void put_header(struct qd_out *out, uint32_t id, struct qd_str name,
                       const struct qd_text *value)
{
    uint8_t *header = qd_out_begin(out, id);

    qd_out_str(out, 1, name);
    qd_out_str(out, 2, (struct qd_str){value->at, value->used});
    qd_out_end(out, header);
}

static void put_number_header(struct qd_out *out, uint32_t id, const char *name, int64_t value)
{
    char buffer[32];
    struct qd_text text;

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_text_add_int(&text, value);
    put_header(out, id, (struct qd_str){name, strlen(name)}, &text);
}

static int64_t seconds_up(int64_t ns)
{
    return ns <= 0 ? 0 : (ns + QD_NS_PER_S - 1) / QD_NS_PER_S;
}

/* OpenAI's form of a duration: "12.4s", "6m0s", "1h30m0s". I5: rounded up to the last digit shown.
 */
static void add_openai_duration(struct qd_text *text, int64_t ns)
{
    int64_t ms = ns <= 0 ? 0 : ns / QD_NS_PER_MS + (ns % QD_NS_PER_MS > 0);
    ms = ms < 1000 ? ms : (ms + 99) / 100 * 100;
    ms = ms < 60000 ? ms : (ms + 999) / 1000 * 1000;
    int64_t s = ms / 1000;

    if (s >= 3600) {
        qd_text_add_int(text, s / 3600);
        qd_text_add(text, "h");
    }
    if (s >= 60) {
        qd_text_add_int(text, s / 60 % 60);
        qd_text_add(text, "m");
        qd_text_add_int(text, s % 60);
    } else if (s >= 1) {
        qd_text_add_int(text, s);
        qd_text_add(text, ".");
        qd_text_add_int(text, ms % 1000 / 100);
    } else {
        qd_text_add_int(text, ms);
        qd_text_add(text, "m");
    }
    qd_text_add(text, "s");
}

/* `"free.tokens";q=40000;w=60`: a quoted name and two numbers; without the second where there is
 * none, as a gauge has no window. */
static void put_ietf_header(struct qd_out *out, uint32_t id, struct qd_str header,
                            const struct qd_limit_state *state, const char *first,
                            int64_t first_value, const char *second, int64_t second_value)
{
    char buffer[TEXT_MAX * 3];
    struct qd_text text;

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_text_add(&text, "\"");
    qd_describe_name(&text, state);
    qd_text_add(&text, first);
    qd_text_add_int(&text, first_value);
    if (second_value > 0) {
        qd_text_add(&text, second);
        qd_text_add_int(&text, second_value);
    }
    put_header(out, id, header, &text);
}

/* I5: OpenAI's form knows requests and tokens. What counts anything else has no place in it. */
enum openai_form {
    OPENAI_NONE,
    OPENAI_REQUESTS,
    OPENAI_TOKENS
};

static enum openai_form openai_form_of(const struct qd_limit *limit)
{
    const uint32_t tokens =
        QD_METER_BIT(QD_METER_INPUT_TOKENS) | QD_METER_BIT(QD_METER_CACHED_INPUT_TOKENS) |
        QD_METER_BIT(QD_METER_CACHE_WRITE_TOKENS) | QD_METER_BIT(QD_METER_OUTPUT_TOKENS) |
        QD_METER_BIT(QD_METER_REASONING_TOKENS) | QD_METER_BIT(QD_METER_TOKENS);
    uint32_t counted = 0;

    for (size_t i = 0; i < limit->admit.count; i++) {
        counted |= QD_METER_BIT(limit->admit.item[i].meter);
    }
    if (limit->algorithm == QD_CONCURRENCY || limit->algorithm == QD_PER_REQUEST || counted == 0) {
        return OPENAI_NONE;
    }
    if (counted == QD_METER_BIT(QD_METER_REQUESTS)) {
        return OPENAI_REQUESTS;
    }
    return (counted & ~tokens) == 0 ? OPENAI_TOKENS : OPENAI_NONE;
}

#define HEADER(text) ((struct qd_str){text, sizeof(text) - 1})

static void put_openai_headers(struct qd_out *out, uint32_t id, const struct qd_limit_state *state,
                               int64_t limit, int64_t wait_ns)
{
    enum openai_form form = openai_form_of(state->limit);
    bool requests = form == OPENAI_REQUESTS;
    char buffer[64];
    struct qd_text reset;

    if (form == OPENAI_NONE) {
        return;
    }
    put_number_header(out, id, requests ? "x-ratelimit-limit-requests" : "x-ratelimit-limit-tokens",
                      limit);
    put_number_header(out, id,
                      requests ? "x-ratelimit-remaining-requests" : "x-ratelimit-remaining-tokens",
                      state->remaining);
    qd_text_init(&reset, buffer, sizeof(buffer));
    add_openai_duration(&reset, wait_ns);
    put_header(out, id,
               requests ? HEADER("x-ratelimit-reset-requests") : HEADER("x-ratelimit-reset-tokens"),
               &reset);
}

void qd_codec_put_headers(struct qd_out *out, uint32_t id, const struct qd_check_answer *answer,
                          struct qd_wall_ns now)
{
    const struct qd_limit_state *state = &answer->verdict.binding;

    if (answer->retry_useful && answer->retry_after_ns > 0) {
        put_number_header(out, id, "retry-after", seconds_up(answer->retry_after_ns));
    }
    if (state->limit == NULL || state->limit->money) {
        return; /* a tenant isn't told what it costs us */
    }
    int64_t limit = is_bucket(state->limit) ? state->burst : state->amount;
    int64_t wait =
        answer->retry_after_ns > 0 ? answer->retry_after_ns : time_or_0(state->resets_at) - now.ns;
    put_ietf_header(out, id, HEADER("ratelimit-policy"), state, "\";q=", limit,
                    ";w=", seconds_up(window_of(state->limit, now)));
    put_ietf_header(out, id, HEADER("ratelimit"), state, "\";r=", state->remaining,
                    ";t=", seconds_up(wait));
    put_openai_headers(out, id, state, limit, wait);
}

/* --- answers --- */

static void put_tightest(struct qd_out *out, const struct qd_limit_state *state)
{
    char buffer[QD_MESSAGE_MAX];
    struct qd_text text;

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_text_add(&text, "tightest ");
    qd_describe_name(&text, state);
    qd_text_add(&text, ": ");
    qd_describe_amount(&text, state->limit, state->used + state->held + state->estimate);
    qd_text_add(&text, " of ");
    qd_describe_size(&text, state->limit, is_bucket(state->limit) ? state->burst : state->amount);
    qd_out_str(out, 7, (struct qd_str){buffer, text.used});
}

void qd_codec_put_check(struct qd_out *out, const struct qd_check_answer *a, bool brief,
                        struct qd_wall_ns now)
{
    bool full = !brief || !a->allowed;

    qd_out_number(out, 1, a->allowed ? 1 : 2);
    qd_out_number(out, 2, (uint64_t)a->denial);
    if (full && a->verdict.binding.limit != NULL) {
        qd_codec_put_state(out, 3, a->policy, &a->verdict.binding, now);
    }
    qd_out_number(out, 4, (uint64_t)a->retry_after_ns);
    qd_out_number(out, 5, a->retry_useful);
    qd_out_number(out, 6, a->retry_is_hint);
    if (!a->allowed) {
        qd_out_str(out, 7, (struct qd_str){a->message, a->message_len});
    } else if (full && a->verdict.binding.limit != NULL) {
        put_tightest(out, &a->verdict.binding);
    }
    qd_out_number(out, 8, a->verdict.candidate);
    if (a->token_len > 0) {
        uint8_t *reservation = qd_out_begin(out, 9);
        qd_out_bytes(out, 1, a->token, a->token_len);
        qd_out_bytes(out, 2, a->id, a->id_len);
        qd_out_number(out, 3, (uint64_t)a->verdict.expires.ns);
        qd_out_end(out, reservation);
    }
    for (size_t i = 0; i < a->shadow_count; i++) {
        qd_codec_put_state(out, 10, a->policy, &a->shadow[i].state, now);
    }
    qd_out_number(out, 11, a->policy_revision);
    if (!a->allowed) {
        qd_codec_put_headers(out, 12, a, now);
    }
    qd_out_number(out, 13, a->verdict.repeated);
    if (full) {
        put_amounts(out, 14, a->policy, &a->verdict.estimate);
    }
}

void qd_codec_put_report(struct qd_out *out, const struct qd_report_answer *a, const char *node)
{
    qd_out_number(out, 1, a->duplicate);
    qd_out_number(out, 2, a->entry_sequence);
    qd_out_text(out, 3, node);
    qd_out_number(out, 4, (uint64_t)a->cost_nano);
    qd_out_number(out, 5, (uint64_t)a->charge_nano);
    qd_out_text(out, 6, a->cost_pico);
    qd_out_text(out, 7, a->charge_pico);
    qd_out_number(out, 8, a->unpriced);
    for (uint32_t left = a->unpriced ? a->unpriced_meters : 0; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (meter < a->policy->meter_count) {
            qd_out_text(out, 9, a->policy->meters[meter].name);
        }
    }
    qd_out_number(out, 10, (uint64_t)a->settlement);
    put_amounts(out, 11, a->policy, &a->released);
    put_amounts(out, 12, a->policy, &a->overrun);
    qd_out_number(out, 13, a->limits_over);
    qd_out_number(out, 14, a->policy_revision);
}

void qd_codec_put_extend(struct qd_out *out, const struct qd_extend_answer *a,
                         struct qd_wall_ns now)
{
    qd_out_number(out, 1, a->go_on ? 1 : 2);
    qd_out_number(out, 2, (uint64_t)a->denial);
    if (!a->go_on && a->stopping.state.limit != NULL) {
        qd_codec_put_state(out, 3, a->policy, &a->stopping.state, now);
    }
    qd_out_str(out, 4, (struct qd_str){a->message, a->message_len});
    qd_out_number(out, 5, (uint64_t)a->expires.ns);
}

void qd_codec_put_cancel(struct qd_out *out, bool cancelled)
{
    qd_out_number(out, 1, cancelled);
}
