/* AdminService: Grant and Boost (P2, P6): limits that are another size for one tenant. */
#include "quota/v1/admin.pb-c.h"
#include "server/rpc/admin.h"
#include "server/rpc/codec.h"
#include "server/rpc/limits.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/tenants.h"
#include "server/shard/validate.h"

#include <stdlib.h>

#define TEXT_MAX 255U
#define YEAR_NS  (366 * QD_NS_PER_DAY)

static enum qd_error_code validate_text(const char *field, const char *text, bool required,
                                        struct qd_error *ret_error)
{
    struct qd_str s = qd_str_of(text);

    if (s.len > TEXT_MAX || !qd_utf8_valid(s) || (required && s.len == 0)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "%s: accepted are %s%u bytes of UTF-8 without control characters",
                            field, required ? "1 to " : "at most ", TEXT_MAX);
    }
    return QD_ERROR_NONE;
}

/* What `keys` say of a limit's `per` attributes, as a request's attributes. */
static enum qd_error_code keys_to_args(Quota__V1__Entry *const *keys, size_t count,
                                       struct qd_subject_args *args,
                                       struct qd_label labels[QD_LABELS_MAX],
                                       struct qd_error *ret_error)
{
    if (count > QD_LABELS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_LABELS,
                            "keys: %zu given; at most %d are accepted", count, QD_LABELS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const char *key = keys[i]->key;
        struct qd_str value = qd_str_of(keys[i]->value);
        if (strcmp(key, "model") == 0) {
            args->model = value;
        } else if (strcmp(key, "pool") == 0) {
            args->pool = value;
        } else if (strcmp(key, "user") == 0) {
            args->user = value;
        } else {
            const char *name = strncmp(key, "label:", 6) == 0 ? key + 6 : key;
            labels[args->label_count++] = (struct qd_label){qd_str_of(name), value};
        }
        if (value.len > QD_NAME_MAX) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_NAME,
                                "keys: the value of \"%.40s\" is longer than %d bytes", key,
                                QD_NAME_MAX);
        }
    }
    args->labels = labels;
    return QD_ERROR_NONE;
}

/* The state of one limit of a tenant, as field 1. */
static enum qd_error_code put_state(struct qd_place *place, const struct qd_subject_args *args,
                                    struct qd_str limit, uint64_t *ret_boosted_until,
                                    struct qd_error *ret_error)
{
    struct qd_limits limits;
    const struct qd_resolved_limit *found = NULL;
    struct qd_state_copy state;

    qd_limits_open(place, args, true, &limits);
    enum qd_error_code code = qd_limits_find(&limits, limit, &found, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_limits_state(&limits, found, &state);
        qd_codec_put_state(&place->out, 1, limits.published->policy, &state.state, limits.now);
        *ret_boosted_until = (uint64_t)found->boosted_until.ns;
    }
    qd_limits_close(&limits);
    return code;
}

/* --- Grant --- */

static enum qd_error_code find_prepaid(struct qd_place *place, const Quota__V1__GrantRequest *q,
                                       const struct qd_subject_args *subject,
                                       struct qd_grant_args *ret_args, struct qd_error *ret_error)
{
    struct qd_limits limits;
    const struct qd_resolved_limit *found = NULL;

    qd_limits_open(place, subject, true, &limits);
    enum qd_error_code code = qd_limits_find(&limits, qd_str_of(q->limit), &found, ret_error);
    if (code == QD_ERROR_NONE) {
        const struct qd_limit *limit = found->use->limit;
        uint8_t depth = qd_tenant_path_depth(subject->tenant);
        if (limit->algorithm != QD_PREPAID || found->depth != depth) {
            code = qd_error_set(
                ret_error, QD_ERROR_NOT_PREPAID,
                "limit: %s is no prepaid limit of this tenant's own; grants are for `algorithm: "
                "prepaid`, use Boost for others",
                qd_quote(qd_str_of(q->limit)).text);
        } else if ((limit->per != 0) != (q->n_keys > 0)) {
            code = qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                "keys: required when the limit has `per`, and only then");
        }
        ret_args->limit = limit->name; /* interned: lives as long as the process */
        ret_args->money = limit->money;
        ret_args->one_counter = limit->per != 0;
        ret_args->counter = found->counter;
    }
    qd_limits_close(&limits);
    return code;
}

enum qd_error_code qd_admin_grant(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                  struct qd_error *ret_error)
{
    const Quota__V1__GrantRequest *q =
        qd_place_unpack(place, &quota__v1__grant_request__descriptor, bytes, ret_error);
    struct qd_label labels[QD_LABELS_MAX];
    struct qd_subject_args subject = {.label_count = 0};
    struct qd_grant_args args = {.one_counter = false};
    bool duplicate = false;
    uint64_t sequence = 0;
    uint64_t unused = 0;

    if (q == NULL || qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        validate_text("grant_id", q->grant_id, true, ret_error) != QD_ERROR_NONE ||
        validate_text("note", q->note, false, ret_error) != QD_ERROR_NONE ||
        keys_to_args(q->keys, q->n_keys, &subject, labels, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (q->amount == 0 || q->amount > QD_AMOUNT_MAX || q->amount < -QD_AMOUNT_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "amount: %lld is out of range; accepted are -2^53 to 2^53, not 0",
                            (long long)q->amount);
    }
    subject.tenant = qd_str_of(q->tenant);
    if (find_prepaid(place, q, &subject, &args, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    args.path = subject.tenant;
    args.amount = q->amount;
    args.grant_id = qd_str_of(q->grant_id);
    args.note = qd_str_of(q->note);
    args.actor = qd_place_actor(place, call);
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    enum qd_error_code code =
        qd_tenants_grant(place->node, &args, work, &duplicate, &sequence, ret_error);
    qd_buf_release(&work->bytes);
    free(work);
    if (code == QD_ERROR_NONE) {
        code = put_state(place, &subject, qd_str_of(q->limit), &unused, ret_error);
        qd_out_number(&place->out, 2, duplicate);
        qd_out_number(&place->out, 3, sequence);
    }
    return code;
}

/* --- Boost --- */

struct boost_change {
    const Quota__V1__BoostRequest *request;
    struct qd_str limit; /* last part of its name */
    struct qd_wall_ns now;
};

static enum qd_error_code edit_boost(void *context, const struct qd_policy *policy, bool exists,
                                     struct qd_tenant_record *record, struct qd_error *ret_error)
{
    struct boost_change *change = context;
    const Quota__V1__BoostRequest *q = change->request;
    size_t kept = 0;

    (void)policy;
    (void)exists;
    for (size_t i = 0; i < record->boost_count;
         i++) { /* the old one of this limit, and those that are over */
        if (!qd_slice_equal(record->boosts[i].limit, change->limit) &&
            record->boosts[i].until.ns > change->now.ns) {
            record->boosts[kept++] = record->boosts[i];
        }
    }
    record->boost_count = kept;
    if (q->remove) {
        return QD_ERROR_NONE;
    }
    if (kept == QD_TENANT_BOOSTS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_LIMIT,
                            "tenant: it has %d boosts already; remove one first",
                            QD_TENANT_BOOSTS_MAX);
    }
    bool percent = q->size_case == QUOTA__V1__BOOST_REQUEST__SIZE_PERCENT;
    record->boosts[record->boost_count++] =
        (struct qd_tenant_boost){.limit = change->limit,
                                 .percent = percent ? q->percent : 0,
                                 .amount = percent ? 0 : q->amount,
                                 .until = {q->until_unix_ns},
                                 .reason = qd_str_of(q->reason)};
    return QD_ERROR_NONE;
}

static enum qd_error_code validate_boost(const Quota__V1__BoostRequest *q, struct qd_wall_ns now,
                                         struct qd_error *ret_error)
{
    if (qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        validate_text("reason", q->reason, false, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (q->remove) {
        return QD_ERROR_NONE;
    }
    bool percent = q->size_case == QUOTA__V1__BOOST_REQUEST__SIZE_PERCENT;
    bool amount = q->size_case == QUOTA__V1__BOOST_REQUEST__SIZE_AMOUNT;
    if (!(percent && q->percent >= 1 && q->percent <= 100000) &&
        !(amount && q->amount >= 0 && q->amount <= QD_AMOUNT_MAX)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "percent or amount: required; accepted are 1 to 100000 percent, or an "
                            "amount of 0 to 2^53");
    }
    if (q->until_unix_ns <= now.ns || q->until_unix_ns - now.ns > YEAR_NS) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_TIME,
                            "until_unix_ns: required, in the future, at most one year ahead");
    }
    return QD_ERROR_NONE;
}

/* A size that the policy's file would be refused for, before it is clamped to one that works. */
static enum qd_error_code check_boost_size(const struct qd_limit_use *use,
                                           const Quota__V1__BoostRequest *q,
                                           struct qd_error *ret_error)
{
    bool percent = q->size_case == QUOTA__V1__BOOST_REQUEST__SIZE_PERCENT;
    qd_int128 num = percent ? (qd_int128)q->percent : (qd_int128)q->amount;
    qd_int128 den = percent ? 100 : (qd_int128)use->amount;
    qd_int128 amount = percent ? use->amount * num / den : num;
    qd_int128 burst = den > 0 ? use->burst * num / den : num;
    char size[QD_MESSAGE_MAX];
    struct qd_text text;

    if (q->remove) {
        return QD_ERROR_NONE;
    }
    qd_text_init(&text, size, sizeof(size));
    qd_describe_size(&text, use->limit, use->amount);
    if (amount > QD_AMOUNT_MAX || burst > QD_AMOUNT_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "percent or amount: too large for a limit of %s; at most 2^53 of what "
                            "it counts is accepted",
                            size);
    }
    if (amount > 0 && use->burst > 0 && burst == 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "percent or amount: the burst of a limit of %s would be 0; a capacity "
                            "of at least 1 is accepted",
                            size);
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code check_boost(const struct qd_limit_use *use,
                                      const Quota__V1__BoostRequest *q, struct qd_error *ret_error)
{
    if (!q->remove && use->limit->algorithm == QD_PREPAID) { /* its amount is what was granted */
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_LIMIT,
            "limit: %s: a prepaid balance is raised by: quotactl tenants grant %s %s AMOUNT",
            qd_quote(qd_str_of(q->limit)).text, q->tenant, use->limit->name);
    }
    return check_boost_size(use, q, ret_error);
}

enum qd_error_code qd_admin_boost(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                  struct qd_error *ret_error)
{
    const Quota__V1__BoostRequest *q =
        qd_place_unpack(place, &quota__v1__boost_request__descriptor, bytes, ret_error);
    struct qd_wall_ns now = qd_clock_now(&place->node->clock);
    struct qd_limits limits;
    const struct qd_resolved_limit *found = NULL;
    uint64_t until = 0;

    if (q == NULL || validate_boost(q, now, ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_subject_args subject = {.tenant = qd_str_of(q->tenant)};
    qd_limits_open(place, &subject, true, &limits);
    enum qd_error_code code = qd_limits_find(&limits, qd_str_of(q->limit), &found, ret_error);
    const char *name = code == QD_ERROR_NONE ? found->use->limit->name : ""; /* interned */
    if (code == QD_ERROR_NONE && found->depth != qd_tenant_path_depth(subject.tenant)) {
        code = qd_error_set(
            ret_error, QD_ERROR_UNKNOWN_LIMIT,
            "limit: %s is not this tenant's own but an ancestor's or shared; boost it there",
            qd_quote(qd_str_of(q->limit)).text);
    }
    if (code == QD_ERROR_NONE) {
        code = check_boost(found->use, q, ret_error);
    }
    qd_limits_close(&limits);
    if (code != QD_ERROR_NONE) {
        return code;
    }
    struct boost_change change = {q, qd_str_of(name), now};
    struct qd_tenants_edit edit = {subject.tenant, "Boost", edit_boost,
                                   &change,        false,   qd_place_actor(place, call)};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    code = qd_tenants_change(place->node, &edit, work, ret_error);
    qd_buf_release(&work->bytes);
    free(work);
    if (code == QD_ERROR_NONE) {
        code = put_state(place, &subject, qd_str_of(q->limit), &until, ret_error);
        qd_out_number(&place->out, 2, until);
    }
    return code;
}
