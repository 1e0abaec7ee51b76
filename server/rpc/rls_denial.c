#include "server/rpc/rls_denial.h"

#include "server/rls/unit.h"
#include "server/rpc/codec.h"
#include "server/shard/describe.h"

#include <json-c/json.h>

bool qd_rls_denies(const struct qd_check_answer *answer)
{
    switch (answer->denial) {
    case QD_DENIAL_LIMIT:
    case QD_DENIAL_NEVER_FITS:
    case QD_DENIAL_UNKNOWN_TENANT: /* P2: who is not known has nothing */
    case QD_DENIAL_BLOCKED:
    case QD_DENIAL_UNKNOWN_PRICE:
        return true;
    case QD_DENIAL_NONE:
    case QD_DENIAL_CAPACITY:
    case QD_DENIAL_DRAINING:
    case QD_DENIAL_UNDECIDED:
        break;
    }
    return false;
}

/* --- the status --- */

static uint32_t at_most_uint32(int64_t value)
{
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static enum qd_rls_unit unit_of_window(int64_t window_ns)
{
    for (int unit = 1; unit <= QD_RLS_UNIT_MAX; unit++) {
        if (qd_rls_unit_seconds(unit) * QD_NS_PER_S == window_ns) {
            return (enum qd_rls_unit)unit;
        }
    }
    return QD_RLS_UNIT_UNKNOWN;
}

static enum qd_rls_unit unit_of(const struct qd_limit_state *state)
{
    static const enum qd_rls_unit calendar[] = {
        [QD_CALENDAR_HOUR] = QD_RLS_UNIT_HOUR, [QD_CALENDAR_DAY] = QD_RLS_UNIT_DAY,
        [QD_CALENDAR_WEEK] = QD_RLS_UNIT_WEEK, [QD_CALENDAR_MONTH] = QD_RLS_UNIT_MONTH,
        [QD_CALENDAR_YEAR] = QD_RLS_UNIT_YEAR,
    };

    switch (state->limit->algorithm) {
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET: /* what is told is how much it holds: a rate only if a window fills it */
        return state->burst == state->amount ? unit_of_window(state->limit->window_ns)
                                             : QD_RLS_UNIT_UNKNOWN;
    case QD_FIXED_WINDOW:
    case QD_SLIDING_WINDOW:
        return unit_of_window(state->limit->window_ns);
    case QD_CALENDAR:
        return calendar[state->limit->calendar.unit];
    case QD_CONCURRENCY:
    case QD_PER_REQUEST:
    case QD_PREPAID:
        break;
    }
    return QD_RLS_UNIT_UNKNOWN;
}

static bool is_bucket(const struct qd_limit *limit)
{
    return limit->algorithm == QD_TOKEN_BUCKET || limit->algorithm == QD_LEAKY_BUCKET;
}

static void set_reset(const struct qd_check_answer *answer, struct qd_rls_status *status)
{
    const struct qd_limit_state *state = &answer->verdict.binding;
    int64_t wait = answer->retry_after_ns;

    if (wait <= 0 && state->limit != NULL && state->resets_at.ns != QD_WALL_NEVER) {
        wait = state->resets_at.ns - answer->now.ns;
    }
    status->has_reset = wait > 0;
    status->reset_s = wait > 0 ? wait / QD_NS_PER_S + (wait % QD_NS_PER_S > 0) : 0;
}

static struct qd_str name_of(const struct qd_limit_state *state, char name[QD_RLS_STATUS_NAME_MAX])
{
    struct qd_text text;

    qd_text_init(&text, name, QD_RLS_STATUS_NAME_MAX);
    qd_describe_name(&text, state);
    while (text.used > 0 && !qd_utf8_valid((struct qd_str){name, text.used})) {
        text.used--; /* cut within a character */
    }
    return (struct qd_str){name, text.used};
}

uint32_t qd_rls_remaining(const struct qd_check_answer *answer, int64_t taken)
{
    const struct qd_limit_state *state = &answer->verdict.binding;

    if (state->limit == NULL) {
        return answer->allowed ? UINT32_MAX : 0; /* point 8: nothing limits it */
    }
    if (state->limit->money || !answer->allowed) { /* a tenant isn't told what it costs us */
        return 0;
    }
    return at_most_uint32(state->remaining - taken); /* point 7 */
}

void qd_rls_status_of(const struct qd_check_answer *answer, struct qd_rls_status *ret_status,
                      char name[QD_RLS_STATUS_NAME_MAX])
{
    const struct qd_limit_state *state = &answer->verdict.binding;
    const struct qd_limit *limit = state->limit;
    struct qd_rls_status *s = ret_status;

    *s = (struct qd_rls_status){.code = answer->allowed ? QD_RLS_OK : QD_RLS_OVER_LIMIT};
    set_reset(answer, s);
    s->limit_remaining = qd_rls_remaining(answer, state->estimate);
    if (limit == NULL || limit->money) {
        return;
    }
    s->has_limit = true;
    s->requests_per_unit = at_most_uint32(is_bucket(limit) ? state->burst : state->amount);
    s->unit = unit_of(state);
    s->name = name_of(state, name);
}

/* --- the denial --- */

static void describe_unknown(struct qd_str tenant, struct qd_text *text)
{
    qd_text_addf(text, "%s is not known here", qd_quote(tenant).text);
}

/* What the tenant is told: not what the policy's owner is, who reads CheckQuota's sentence. */
static void describe(const struct qd_check_answer *answer, struct qd_str tenant,
                     struct qd_text *text)
{
    const struct qd_limit_state *state = &answer->verdict.binding;

    switch (answer->denial) {
    case QD_DENIAL_UNKNOWN_TENANT:
        describe_unknown(tenant, text);
        return;
    case QD_DENIAL_UNKNOWN_PRICE:
        qd_text_add(text, "this request has no price here: name a model that has one");
        return;
    case QD_DENIAL_LIMIT:
    case QD_DENIAL_NEVER_FITS:
        if (state->limit != NULL && state->limit->money) {
            qd_describe_name(text, state);
            qd_text_add(text, " is used up");
            return;
        }
        break;
    case QD_DENIAL_BLOCKED:
    case QD_DENIAL_NONE:
    case QD_DENIAL_CAPACITY:
    case QD_DENIAL_DRAINING:
    case QD_DENIAL_UNDECIDED:
        break;
    }
    qd_text_add_str(text, (struct qd_str){answer->message, answer->message_len});
}

/* A word for programs. */
static const char *code_of(enum qd_denial denial)
{
    switch (denial) {
    case QD_DENIAL_UNKNOWN_TENANT:
        return "unknown_tenant";
    case QD_DENIAL_BLOCKED:
        return "tenant_blocked";
    case QD_DENIAL_UNKNOWN_PRICE:
        return "unknown_price";
    case QD_DENIAL_NEVER_FITS:
        return "request_too_large";
    case QD_DENIAL_LIMIT:
    case QD_DENIAL_NONE:
    case QD_DENIAL_CAPACITY:
    case QD_DENIAL_DRAINING:
    case QD_DENIAL_UNDECIDED:
        break;
    }
    return "rate_limit_exceeded";
}

static bool add(struct json_object *to, const char *key, struct json_object *value)
{
    return value != NULL && json_object_object_add(to, key, value) == 0;
}

/* {"error": {"message": ..., "type": "rate_limit_exceeded", "param": null, "code": ...}} */
static bool put_body(const struct qd_text *message, const char *code, struct qd_out *out)
{
    struct json_object *root = json_object_new_object();
    struct json_object *error = json_object_new_object();
    bool whole = root != NULL && error != NULL && add(root, "error", error);

    if (!whole) {
        json_object_put(error);
    }
    whole = whole &&
            add(error, "message", json_object_new_string_len(message->at, (int)message->used)) &&
            add(error, "type", json_object_new_string("rate_limit_exceeded")) &&
            json_object_object_add(error, "param", NULL) == 0 &&
            add(error, "code", json_object_new_string(code));
    size_t len = 0;
    const char *json =
        whole ? json_object_to_json_string_length(
                    root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len)
              : NULL;
    if (json != NULL) {
        uint8_t *type = qd_out_begin(out, 3);
        qd_out_text(out, 1, "content-type");
        qd_out_text(out, 2, "application/json");
        qd_out_end(out, type);
        qd_out_bytes(out, 5, json, len);
    }
    json_object_put(root);
    return json != NULL;
}

bool qd_rls_put_denial(const struct qd_check_answer *answer, struct qd_str tenant,
                       struct qd_out *out)
{
    char message[QD_MESSAGE_MAX];
    struct qd_text text;

    qd_text_init(&text, message, sizeof(message));
    describe(answer, tenant, &text);
    qd_codec_put_headers(out, 3, answer, answer->now);
    return put_body(&text, code_of(answer->denial), out);
}

bool qd_rls_put_unfit(const struct qd_error *error, struct qd_str tenant, struct qd_out *out)
{
    /* What is no path is nobody's; whom the caller may not name, it is not told of. */
    bool unknown =
        error->code == QD_ERROR_INVALID_TENANT || error->code == QD_ERROR_TENANT_FORBIDDEN;
    char message[QD_MESSAGE_MAX];
    struct qd_text text;

    qd_text_init(&text, message, sizeof(message));
    if (unknown) {
        describe_unknown(tenant, &text);
    } else {
        qd_text_add(&text, error->text);
    }
    return put_body(&text, unknown ? code_of(QD_DENIAL_UNKNOWN_TENANT) : "invalid_request", out);
}
