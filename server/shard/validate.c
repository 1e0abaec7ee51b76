#include "server/shard/validate.h"

#include "server/policy/suggest.h"
#include "storage/buf.h"

#include <stdio.h>
#include <string.h>

enum qd_error_code qd_validate_tenant(struct qd_str tenant, struct qd_error *ret_error)
{
    if (qd_tenant_path_valid(tenant)) {
        return QD_ERROR_NONE;
    }
    if (tenant.len == 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_TENANT,
                            "tenant: required; a path such as \"acme/search\"");
    }
    return qd_error_set(
        ret_error, QD_ERROR_INVALID_TENANT,
        "tenant: %s is no path; accepted are 1-8 segments joined by \"/\", each 1-63 of "
        "[a-zA-Z0-9._-]",
        qd_quote(tenant).text);
}

/* Names that are plain ASCII without control characters, the usual case, eight bytes at a time. */
static bool plain_ascii(struct qd_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c >= 0x7f) {
            return false;
        }
    }
    return true;
}

enum qd_error_code qd_validate_name(const char *field, struct qd_str name,
                                    struct qd_error *ret_error)
{
    if (name.len > QD_NAME_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_NAME,
                            "%s: %zu bytes long; at most %d are accepted", field, name.len,
                            QD_NAME_MAX);
    }
    if (!plain_ascii(name) && !qd_utf8_valid(name)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_UTF8,
                            "%s: %s is not UTF-8 without control characters", field,
                            qd_quote(name).text);
    }
    return QD_ERROR_NONE;
}

static bool label_name_valid(struct qd_str name)
{
    if (name.len == 0 || name.len > 63) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
        if (!ok) {
            return false;
        }
    }
    return true;
}

enum qd_error_code qd_validate_labels(const struct qd_label *labels, size_t count,
                                      struct qd_error *ret_error)
{
    if (count > QD_LABELS_MAX) { /* X2 */
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_LABELS,
                            "labels: %zu given; at most %d are accepted", count, QD_LABELS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!label_name_valid(labels[i].name)) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_NAME,
                                "labels: %s is no key; accepted are 1-63 of [a-zA-Z0-9._-]",
                                qd_quote(labels[i].name).text);
        }
        if (qd_validate_name("labels: value", labels[i].value, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
        for (size_t j = 0; j < i; j++) {
            if (labels[j].name.len == labels[i].name.len &&
                memcmp(labels[j].name.ptr, labels[i].name.ptr, labels[i].name.len) == 0) {
                return qd_error_set(ret_error, QD_ERROR_DUPLICATE_LABEL,
                                    "labels: key %s is given twice; give it once",
                                    qd_quote(labels[i].name).text);
            }
        }
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_validate_request_labels(const struct qd_label *labels, size_t count,
                                              struct qd_error *ret_error)
{
    enum qd_error_code code = qd_validate_labels(labels, count, ret_error);

    for (size_t i = 0; i < count && code == QD_ERROR_NONE; i++) { /* there are as many as it says */
        if (qd_slice_equal(labels[i].name, qd_slice_of("user"))) {
            code = qd_error_set(ret_error, QD_ERROR_INVALID_NAME,
                                "labels: \"user\" is no label; give it in the field user");
        }
    }
    return code;
}

/* --- meters --- */

static bool reportable(const struct qd_policy *policy, size_t meter)
{
    return !policy->meters[meter].derived && meter != QD_METER_COST && meter != QD_METER_CHARGE &&
           meter != QD_METER_CONCURRENCY;
}

static enum qd_error_code unknown_meter(const char *field, const struct qd_policy *policy,
                                        struct qd_str name, struct qd_error *ret_error)
{
    char word[64];
    struct qd_suggest near;

    (void)snprintf(word, sizeof(word), "%.*s", (int)(name.len < 64 ? name.len : 63),
                   name.ptr != NULL ? name.ptr : "");
    qd_suggest_init(&near, word);
    for (size_t i = 0; i < policy->meter_count; i++) {
        if (reportable(policy, i)) {
            qd_suggest_offer(&near, policy->meters[i].name);
        }
    }
    if (near.best != NULL) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_METER,
                            "%s: %s: unknown meter; did you mean \"%s\"?", field,
                            qd_quote(name).text, near.best);
    }
    return qd_error_set(ret_error, QD_ERROR_UNKNOWN_METER,
                        "%s: %s: unknown meter; accepted are input_tokens, cached_input_tokens, "
                        "cache_write_tokens, output_tokens, reasoning_tokens, requests, gpu_ms, "
                        "processing_ms, memory_gb_ms, images, and those of `meters:` in the policy",
                        field, qd_quote(name).text);
}

struct known_meter {
    const char *name;
    uint8_t len;
    uint8_t meter;
};

/* The token meters are in nearly every request: no search for them. */
static int meter_index(const struct qd_policy *policy, struct qd_str name)
{
    static const struct known_meter known[] = {
        {"input_tokens", 12, QD_METER_INPUT_TOKENS},
        {"output_tokens", 13, QD_METER_OUTPUT_TOKENS},
        {"cached_input_tokens", 19, QD_METER_CACHED_INPUT_TOKENS},
        {"requests", 8, QD_METER_REQUESTS},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (name.len == known[i].len && memcmp(name.ptr, known[i].name, name.len) == 0) {
            return known[i].meter;
        }
    }
    return qd_policy_meter(policy, name);
}

enum qd_error_code qd_validate_usage(const char *field, const struct qd_policy *policy,
                                     const struct qd_amount_arg *amounts, size_t count,
                                     struct qd_usage *ret_usage, struct qd_error *ret_error)
{
    if (count > QD_METERS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_METERS,
                            "%s: %zu meters given; at most %d are accepted", field, count,
                            QD_METERS_MAX);
    }
    ret_usage->present = 0;
    for (size_t i = 0; i < count; i++) {
        int meter = meter_index(policy, amounts[i].meter);
        if (meter < 0) {
            return unknown_meter(field, policy, amounts[i].meter, ret_error);
        }
        if (!reportable(policy, (size_t)meter)) {
            return qd_error_set(
                ret_error, QD_ERROR_DERIVED_METER,
                "%s: %s is computed, not given; give the meters that it is made of, such as "
                "input_tokens and output_tokens",
                field, qd_quote(amounts[i].meter).text);
        }
        if (qd_usage_has(ret_usage, (unsigned)meter)) {
            return qd_error_set(ret_error, QD_ERROR_DUPLICATE_METER,
                                "%s: %s is given twice; give it once", field,
                                qd_quote(amounts[i].meter).text);
        }
        if (amounts[i].amount < 0 || amounts[i].amount > QD_AMOUNT_MAX) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                                "%s: %s: %lld is out of range; accepted are 0 to %lld", field,
                                policy->meters[meter].name, (long long)amounts[i].amount,
                                (long long)QD_AMOUNT_MAX);
        }
        qd_usage_set(ret_usage, (unsigned)meter, amounts[i].amount);
    }
    return QD_ERROR_NONE;
}

/* --- numbers and times --- */

enum qd_error_code qd_validate_ttl(int64_t ttl_ms, int64_t absent_ns, int64_t *ret_ns,
                                   struct qd_error *ret_error)
{
    if (ttl_ms == 0) {
        *ret_ns = absent_ns;
        return QD_ERROR_NONE;
    }
    if (ttl_ms < 1000 || ttl_ms > QD_TTL_MAX_NS / QD_NS_PER_MS) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_TTL,
            "ttl_ms: %lld is out of range; accepted are 1000 to %lld (6 h), or 0 for the default",
            (long long)ttl_ms, (long long)(QD_TTL_MAX_NS / QD_NS_PER_MS));
    }
    *ret_ns = ttl_ms * QD_NS_PER_MS;
    return QD_ERROR_NONE;
}

enum qd_error_code qd_validate_event_time(const char *field, struct qd_wall_ns event,
                                          struct qd_wall_ns now, int64_t horizon_ns,
                                          enum qd_error_code too_old, struct qd_error *ret_error)
{
    if (event.ns < 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_TIME,
                            "%s: %lld is before 1970; accepted are ns since 1970-01-01T00:00:00Z",
                            field, (long long)event.ns);
    }
    if (event.ns > now.ns && event.ns - now.ns > QD_EVENT_AHEAD_MAX_NS) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_TIME,
                            "%s: %lld s ahead of this node's clock; accepted are at most 300 s",
                            field, (long long)((event.ns - now.ns) / QD_NS_PER_S));
    }
    if (now.ns - event.ns > horizon_ns) { /* S6: older keys may be gone */
        long long age_days = (now.ns - event.ns) / QD_NS_PER_DAY;
        long long most_days = horizon_ns / QD_NS_PER_DAY;
        return too_old == QD_ERROR_REPORT_TOO_OLD
                   ? qd_error_set(ret_error, too_old,
                                  "%s: %lld days ago; reports are accepted for %lld days "
                                  "(report_horizon in the policy); nothing is booked: see what was "
                                  "booked in time with quotactl ledger ls TENANT",
                                  field, age_days, most_days)
                   : qd_error_set(ret_error, too_old,
                                  "%s: %lld days ago; accepted are at most %lld days "
                                  "(report_horizon in the policy); leave it out for now",
                                  field, age_days, most_days);
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_validate_tier(uint32_t wire, enum qd_price_tier *ret_tier,
                                    struct qd_error *ret_error)
{
    if (wire >= QD_TIER_COUNT) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "tier: %u is no service tier; accepted are 0 to %d", wire,
                            QD_TIER_COUNT - 1);
    }
    *ret_tier = (enum qd_price_tier)wire;
    return QD_ERROR_NONE;
}

enum qd_error_code qd_validate_cache_ttl(uint32_t wire, enum qd_cache_write_ttl *ret_ttl,
                                         struct qd_error *ret_error)
{
    if (wire > 2) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "cache_write_ttl: %u is unknown; accepted are 0 to 2", wire);
    }
    *ret_ttl = wire == 2 ? QD_CACHE_WRITE_1H : QD_CACHE_WRITE_5M;
    return QD_ERROR_NONE;
}

static enum qd_error_code validate_candidates(const struct qd_check_args *args,
                                              struct qd_error *ret_error)
{
    if (args->candidate_count > QD_CANDIDATES_MAX) { /* D9, X2 */
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_CANDIDATES,
                            "candidates: %zu given; at most %d are accepted", args->candidate_count,
                            QD_CANDIDATES_MAX);
    }
    for (size_t i = 0; i < args->candidate_count; i++) {
        const struct qd_candidate_arg *c = &args->candidates[i];
        if (qd_validate_name("candidates: model", c->model, ret_error) != QD_ERROR_NONE ||
            qd_validate_name("candidates: pool", c->pool, ret_error) != QD_ERROR_NONE ||
            qd_validate_name("candidates: provider", c->provider, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code validate_numbers(const struct qd_check_args *args,
                                           struct qd_error *ret_error)
{
    if (args->max_output_given &&
        (args->max_output_tokens < 0 || args->max_output_tokens > QD_AMOUNT_MAX)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "max_output_tokens: %lld is out of range; accepted are 0 to %lld",
                            (long long)args->max_output_tokens, (long long)QD_AMOUNT_MAX);
    }
    if (args->priority > 100) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "priority: %u is out of range; accepted are 0 to 100", args->priority);
    }
    if (args->weight > 1000) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "weight: %u is out of range; accepted are 1 to 1000, or 0 for 1",
                            args->weight);
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_validate_check(const struct qd_check_args *args, struct qd_error *ret_error)
{
    if (qd_validate_tenant(args->tenant, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("model", args->model, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", args->pool, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", args->user, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("request_id", args->request_id, ret_error) != QD_ERROR_NONE ||
        qd_validate_request_labels(args->labels, args->label_count, ret_error) != QD_ERROR_NONE ||
        validate_candidates(args, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    return validate_numbers(args, ret_error);
}

enum qd_error_code qd_validate_check_quickly(const struct qd_check_args *args,
                                             struct qd_error *ret_error)
{
    bool plain = args->candidate_count == 0 && args->label_count == 0 && args->user.len == 0 &&
                 args->tenant.len - 1 < QD_TENANT_PATH_MAX && args->model.len <= QD_NAME_MAX &&
                 args->pool.len <= QD_NAME_MAX;

    if (!plain) {
        return qd_validate_check(args, ret_error);
    }
    if (args->request_id.len > 0 &&
        qd_validate_name("request_id", args->request_id, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    return validate_numbers(args, ret_error);
}
