/* AdminService: PutTenant, DeleteTenant, SetPlan, ListTenants, Block (P2). */
#include "quota/v1/admin.pb-c.h"
#include "server/rpc/admin.h"
#include "server/rpc/text.h"
#include "server/shard/directory.h"
#include "server/shard/tenants.h"
#include "server/shard/validate.h"

#include <stdlib.h>

#define REASON_MAX 255U

/* --- quota.v1.Tenant --- */

static void put_block(struct qd_out *out, uint32_t id, const struct qd_tenant_block *block)
{
    uint8_t *message = qd_out_begin(out, id);

    qd_out_str(out, 1, block->reason);
    qd_out_number(out, 2, (uint64_t)block->until.ns);
    qd_out_number(out, 3, (uint64_t)block->since.ns);
    qd_out_end(out, message);
}

static bool blocked_now(const struct qd_tenant_record *record, struct qd_wall_ns now)
{
    return record->block.blocked &&
           (record->block.until.ns == 0 || record->block.until.ns > now.ns);
}

static void put_record(struct qd_out *out, uint32_t id, const struct qd_tenant_record *record,
                       struct qd_wall_ns now)
{
    uint8_t *message = qd_out_begin(out, id);

    qd_out_str(out, 1, record->tenant);
    qd_out_number(out, 2, 2); /* ORIGIN_RUNTIME */
    qd_out_str(out, 3, record->plan);
    for (size_t i = 0; i < record->limit_count; i++) {
        qd_out_entry(out, 4, record->limits[i].name, record->limits[i].value);
    }
    for (size_t i = 0; i < record->label_count; i++) {
        qd_out_entry(out, 5, record->labels[i].name, record->labels[i].value);
    }
    if (blocked_now(record, now)) {
        put_block(out, 6, &record->block);
    }
    qd_out_number(out, 7, (uint64_t)record->created.ns);
    qd_out_number(out, 8, (uint64_t)record->updated.ns);
    qd_out_end(out, message);
}

static void put_rule(struct qd_out *out, uint32_t id, const struct qd_tenant_rule *rule)
{
    uint8_t *message = qd_out_begin(out, id);

    qd_out_text(out, 1, rule->pattern);
    qd_out_number(out, 2, 1); /* ORIGIN_POLICY */
    qd_out_text(out, 3, rule->plan != NULL ? rule->plan->name : "");
    if (rule->blocked) {
        struct qd_tenant_block block = {.blocked = true,
                                        .reason = qd_str_of("blocked by the policy")};
        put_block(out, 6, &block);
    }
    qd_out_number(out, 9, rule->line);
    qd_out_end(out, message);
}

/* --- changing --- */

static enum qd_error_code known_plan(const struct qd_policy *policy, struct qd_str plan,
                                     struct qd_error *ret_error)
{
    if (plan.len == 0 || qd_policy_plan(policy, plan) != NULL) {
        return QD_ERROR_NONE;
    }
    char known[256];
    size_t used = 0;
    known[0] = '\0';
    for (size_t i = 0; i < policy->plan_count && used < sizeof(known) - 80; i++) {
        const char *name = policy->plans[i].name;
        size_t len = strlen(name) < 70 ? strlen(name) : 70;
        memcpy(known + used, i > 0 ? ", " : "", i > 0 ? 2 : 0);
        used += i > 0 ? 2 : 0;
        memcpy(known + used, name, len);
        used += len;
        known[used] = '\0';
    }
    return qd_error_set(ret_error, QD_ERROR_UNKNOWN_PLAN,
                        "plan: %s is not in the policy; it has %s", qd_quote(plan).text,
                        used > 0 ? known : "no plans");
}

struct put {
    const Quota__V1__PutTenantRequest *request;
};

static enum qd_error_code edit_put(void *context, const struct qd_policy *policy, bool exists,
                                   struct qd_tenant_record *record, struct qd_error *ret_error)
{
    const Quota__V1__PutTenantRequest *q = ((struct put *)context)->request;

    if (exists && record->listed && q->create_only) {
        return qd_error_set(ret_error, QD_ERROR_TENANT_EXISTS,
                            "tenant: %s has a record already; leave create_only out to replace it",
                            qd_quote(record->tenant).text);
    }
    if (known_plan(policy, qd_str_of(q->plan), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    record->plan = qd_str_of(q->plan);
    record->listed = true;
    record->limit_count = q->n_limits;
    for (size_t i = 0; i < q->n_limits; i++) {
        record->limits[i] =
            (struct qd_label){qd_str_of(q->limits[i]->key), qd_str_of(q->limits[i]->value)};
    }
    record->label_count = q->n_labels;
    for (size_t i = 0; i < q->n_labels; i++) {
        record->labels[i] =
            (struct qd_label){qd_str_of(q->labels[i]->key), qd_str_of(q->labels[i]->value)};
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code validate_put(const Quota__V1__PutTenantRequest *q,
                                       struct qd_error *ret_error)
{
    struct qd_label labels[QD_LABELS_MAX];

    if (qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (q->n_limits > QD_TENANT_LIMITS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_LIMIT,
                            "limits: %zu given; at most %d are accepted", q->n_limits,
                            QD_TENANT_LIMITS_MAX);
    }
    for (size_t i = 0; i < q->n_labels && i < QD_LABELS_MAX; i++) {
        labels[i] = (struct qd_label){qd_str_of(q->labels[i]->key), qd_str_of(q->labels[i]->value)};
    }
    return qd_validate_labels(labels, q->n_labels, ret_error);
}

/* Runs one edit and, when it was made, leaves the record in *ret_work, to be freed by end_work. */
static enum qd_error_code run_edit(struct qd_place *place, const struct qd_tenants_edit *edit,
                                   struct qd_tenants_work **ret_work, struct qd_error *ret_error)
{
    *ret_work = calloc(1, sizeof(**ret_work));
    if (*ret_work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    return qd_tenants_change(place->node, edit, *ret_work, ret_error);
}

static void end_work(struct qd_tenants_work *work)
{
    if (work != NULL) {
        qd_buf_release(&work->bytes);
        free(work);
    }
}

enum qd_error_code qd_admin_put_tenant(struct qd_place *place, struct qd_call *call,
                                       struct qd_str bytes, struct qd_error *ret_error)
{
    struct put put = {
        qd_place_unpack(place, &quota__v1__put_tenant_request__descriptor, bytes, ret_error)};
    struct qd_tenants_work *work = NULL;

    if (put.request == NULL || validate_put(put.request, ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(put.request->tenant), ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_tenants_edit edit = {
        qd_str_of(put.request->tenant), "PutTenant", edit_put, &put, true,
        qd_place_actor(place, call)};
    enum qd_error_code code = run_edit(place, &edit, &work, ret_error);
    if (code == QD_ERROR_NONE) {
        put_record(&place->out, 1, &work->record, qd_clock_now(&place->node->clock));
        qd_out_number(&place->out, 2, work->created);
    }
    end_work(work);
    return code;
}

enum qd_error_code qd_admin_delete_tenant(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__DeleteTenantRequest *q =
        qd_place_unpack(place, &quota__v1__delete_tenant_request__descriptor, bytes, ret_error);
    uint32_t deleted = 0;

    if (q == NULL || qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    enum qd_error_code code = qd_tenants_delete(place->node, qd_str_of(q->tenant), q->subtree != 0,
                                                qd_place_actor(place, call), &deleted, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_out_number(&place->out, 1, deleted);
    }
    return code;
}

struct plan_change {
    struct qd_str plan;
    char previous[QD_TENANT_TEXT_MAX + 1];
};

static enum qd_error_code edit_plan(void *context, const struct qd_policy *policy, bool exists,
                                    struct qd_tenant_record *record, struct qd_error *ret_error)
{
    struct plan_change *change = context;

    (void)exists;
    if (known_plan(policy, change->plan, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    memcpy(change->previous, record->plan.ptr != NULL ? record->plan.ptr : "", record->plan.len);
    change->previous[record->plan.len] = '\0';
    record->plan = change->plan;
    record->listed = true;
    return QD_ERROR_NONE;
}

enum qd_error_code qd_admin_set_plan(struct qd_place *place, struct qd_call *call,
                                     struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__SetPlanRequest *q =
        qd_place_unpack(place, &quota__v1__set_plan_request__descriptor, bytes, ret_error);
    struct plan_change change = {{NULL, 0}, ""};
    struct qd_tenants_work *work = NULL;

    if (q == NULL || qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    change.plan = qd_str_of(q->plan);
    struct qd_tenants_edit edit = {qd_str_of(q->tenant),       "SetPlan", edit_plan, &change, true,
                                   qd_place_actor(place, call)};
    enum qd_error_code code = run_edit(place, &edit, &work, ret_error);
    if (code == QD_ERROR_NONE) {
        put_record(&place->out, 1, &work->record, qd_clock_now(&place->node->clock));
        qd_out_text(&place->out, 2, change.previous);
    }
    end_work(work);
    return code;
}

struct block_change {
    const Quota__V1__BlockRequest *request;
    struct qd_wall_ns now;
    bool was_blocked;
};

static enum qd_error_code edit_block(void *context, const struct qd_policy *policy, bool exists,
                                     struct qd_tenant_record *record, struct qd_error *ret_error)
{
    struct block_change *change = context;
    const Quota__V1__BlockRequest *q = change->request;

    (void)policy;
    (void)exists;
    (void)ret_error;
    change->was_blocked = blocked_now(record, change->now);
    if (q->unblock) {
        memset(&record->block, 0, sizeof(record->block));
        return QD_ERROR_NONE;
    }
    if (!change->was_blocked) {
        record->block.since = change->now;
    }
    record->block.blocked = true;
    record->block.reason =
        q->reason[0] != '\0' ? qd_str_of(q->reason) : qd_str_of("blocked by the operator");
    record->block.until.ns = q->until_unix_ns;
    return QD_ERROR_NONE;
}

static enum qd_error_code validate_block(const Quota__V1__BlockRequest *q, struct qd_wall_ns now,
                                         struct qd_error *ret_error)
{
    struct qd_str reason = qd_str_of(q->reason);

    if (qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (reason.len > REASON_MAX || !qd_utf8_valid(reason)) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_FIELD,
            "reason: accepted are at most %u bytes of UTF-8 without control characters",
            REASON_MAX);
    }
    if (!q->unblock && q->until_unix_ns != 0 && q->until_unix_ns <= now.ns) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_TIME,
            "until_unix_ns: %lld is not in the future; leave it out to block until unblocked",
            (long long)q->until_unix_ns);
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_admin_block(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                  struct qd_error *ret_error)
{
    struct block_change change = {
        qd_place_unpack(place, &quota__v1__block_request__descriptor, bytes, ret_error),
        qd_clock_now(&place->node->clock), false};
    struct qd_tenants_work *work = NULL;

    if (change.request == NULL ||
        validate_block(change.request, change.now, ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(change.request->tenant), ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_tenants_edit edit = {qd_str_of(change.request->tenant),
                                   change.request->unblock ? "Unblock" : "Block",
                                   edit_block,
                                   &change,
                                   false,
                                   qd_place_actor(place, call)};
    enum qd_error_code code = run_edit(place, &edit, &work, ret_error);
    if (code == QD_ERROR_NONE) {
        if (work->record.block.blocked) {
            put_block(&place->out, 1, &work->record.block);
        }
        qd_out_number(&place->out, 2, change.was_blocked);
    }
    end_work(work);
    return code;
}

/* --- listing --- */

struct listing {
    const Quota__V1__ListTenantsRequest *request;
    struct qd_str tenant; /* and all below it; empty: all */
    const struct qd_policy *policy;
    struct qd_wall_ns now;
    struct qd_tenants_work *work;
};

/* The first rule of the policy after `after`, in the order of paths. */
static const struct qd_tenant_rule *next_rule(const struct qd_policy *policy, struct qd_str after)
{
    const struct qd_tenant_rule *best = NULL;

    for (size_t i = 0; i < policy->tenant_count; i++) {
        const struct qd_tenant_rule *rule = &policy->tenants[i];
        struct qd_str path = qd_str_of(rule->pattern);
        if ((after.len == 0 || qd_path_compare(path, after) > 0) &&
            (best == NULL || qd_path_compare(path, qd_str_of(best->pattern)) < 0)) {
            best = rule;
        }
    }
    return best;
}

static bool rule_wanted(const struct listing *l, const struct qd_tenant_rule *rule)
{
    const Quota__V1__ListTenantsRequest *q = l->request;

    return qd_path_within(qd_str_of(rule->pattern), l->tenant) &&
           (!q->blocked_only || rule->blocked) &&
           (q->plan[0] == '\0' || (rule->plan != NULL && strcmp(rule->plan->name, q->plan) == 0));
}

static bool record_wanted(const struct listing *l, const struct qd_tenant_record *record)
{
    const Quota__V1__ListTenantsRequest *q = l->request;

    return qd_path_within(record->tenant, l->tenant) &&
           (!q->blocked_only || blocked_now(record, l->now)) &&
           (q->plan[0] == '\0' || qd_slice_equal(record->plan, qd_str_of(q->plan)));
}

/* One page: rules and records merged by path. A path that both have is listed twice, the rule
 * first. */
static void list_page(struct qd_place *place, struct listing *l, struct qd_str after, uint32_t page)
{
    char last[QD_TENANT_PATH_MAX + 1];
    const struct qd_tenant_rule *rule = next_rule(l->policy, after);
    bool more = qd_directory_next(place->node->directory, after, &l->work->bytes, &l->work->record);

    while (rule != NULL || more) {
        struct qd_str path = rule != NULL ? qd_str_of(rule->pattern) : l->work->record.tenant;
        if (rule != NULL && more && qd_path_compare(l->work->record.tenant, path) < 0) {
            path = l->work->record.tenant;
        }
        bool rule_now = rule != NULL && qd_slice_equal(path, qd_str_of(rule->pattern));
        bool record_now = more && qd_slice_equal(path, l->work->record.tenant);
        bool wanted = (rule_now && rule_wanted(l, rule)) ||
                      (record_now && record_wanted(l, &l->work->record));
        if (wanted && page == 0) { /* `after` is of the tenant asked for: its paths lie together */
            qd_out_hex(&place->out, 2, after);
            return;
        }
        if (rule_now && rule_wanted(l, rule)) {
            put_rule(&place->out, 1, rule);
        }
        if (record_now && record_wanted(l, &l->work->record)) {
            put_record(&place->out, 1, &l->work->record, l->now);
        }
        page -= wanted ? 1 : 0;
        memcpy(last, path.ptr, path.len);
        after = (struct qd_str){last, path.len};
        if (rule_now) {
            rule = next_rule(l->policy, after);
        }
        if (record_now) {
            more =
                qd_directory_next(place->node->directory, after, &l->work->bytes, &l->work->record);
        }
    }
}

enum qd_error_code qd_admin_list_tenants(struct qd_place *place, struct qd_call *call,
                                         struct qd_str bytes, struct qd_error *ret_error)
{
    struct listing l = {
        qd_place_unpack(place, &quota__v1__list_tenants_request__descriptor, bytes, ret_error),
        {NULL, 0},
        atomic_load(&place->node->published)->policy,
        qd_clock_now(&place->node->clock),
        NULL};
    struct qd_str after = {NULL, 0};
    uint32_t page = 0;

    if (l.request == NULL) {
        return ret_error->code;
    }
    l.tenant = qd_str_of(l.request->tenant);
    if (qd_optional_tenant(l.tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &l.tenant, ret_error) != QD_ERROR_NONE ||
        qd_page_size(l.request->page_size, &page, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (!qd_unhex(place, l.request->page_token, &after) || after.len > QD_TENANT_PATH_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
                            "page_token: not as this server gave it; begin with the first page");
    }
    l.work = calloc(1, sizeof(*l.work));
    if (l.work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    list_page(place, &l, after, page);
    end_work(l.work);
    return QD_ERROR_NONE;
}
