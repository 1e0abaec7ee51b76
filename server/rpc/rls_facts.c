#include "server/rpc/rls_facts.h"

#include "server/shard/validate.h"
#include "storage/buf.h"

/* Where a key's value goes; NULL: it is a label. */
static struct qd_str *place_of(struct qd_rls_facts *facts, struct qd_str key)
{
    const struct {
        struct qd_str key;
        struct qd_str *value;
    } known[] = {{{"tenant", 6}, &facts->tenant},
                 {{"model", 5}, &facts->model},
                 {{"user", 4}, &facts->user},
                 {{"pool", 4}, &facts->pool},
                 {{"meter", 5}, &facts->meter}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (qd_slice_equal(known[i].key, key)) {
            return known[i].value;
        }
    }
    return NULL;
}

static enum qd_error_code read_entries(const struct qd_rls_descriptor *d,
                                       struct qd_rls_facts *facts, struct qd_error *ret_error)
{
    for (size_t i = 0; i < d->entry_count; i++) {
        const struct qd_rls_entry *entry = &d->entries[i];
        struct qd_str *value = place_of(facts, entry->key);
        /* An empty value is there all the same: only absence is NULL. */
        struct qd_str given = {entry->value.ptr != NULL ? entry->value.ptr : "", entry->value.len};
        if (value == NULL) {
            if (facts->label_count < QD_ARG_LABELS) {
                facts->labels[facts->label_count] = (struct qd_label){entry->key, given};
            }
            facts->label_count++;
            continue;
        }
        if (value->ptr != NULL) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                "entries: %s is given twice; give it once",
                                qd_quote(entry->key).text);
        }
        *value = given;
    }
    if (facts->meter.ptr != NULL && facts->meter.len == 0) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_METER,
                            "meter: empty; name what was used, such as output_tokens, or leave the "
                            "entry out to ask for a request");
    }
    return QD_ERROR_NONE;
}

/* Point 3, with the bound that native amounts have. */
static enum qd_error_code read_hits(const struct qd_rls_request *request,
                                    const struct qd_rls_descriptor *d, struct qd_rls_facts *facts,
                                    struct qd_error *ret_error)
{
    uint64_t hits = d->has_hits ? d->hits : request->hits_addend > 0 ? request->hits_addend : 1;

    if (d->negative) { /* L3: a correction names the entry that it corrects */
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_FIELD,
            "is_negative_hits: what is booked for a tenant is not given back by hits, nothing was "
            "changed; correct its entry: quotactl correct");
    }
    if (d->has_limit) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "limit: a tenant's limits are the policy's; leave it out");
    }
    facts->hits = hits > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)hits;
    return QD_ERROR_NONE;
}

/* What the keys say, which whoever configured Envoy has chosen. */
static enum qd_error_code validate_keys(const struct qd_rls_facts *facts,
                                        const struct qd_policy *policy, struct qd_error *ret_error)
{
    struct qd_str requests = {"requests", 8};
    struct qd_amount_arg amount = {facts->meter.len > 0 ? facts->meter : requests, facts->hits};
    struct qd_label labels[QD_ARG_LABELS];
    struct qd_usage usage;

    if (facts->tenant.ptr == NULL) {
        return qd_validate_tenant(facts->tenant, ret_error);
    }
    for (size_t i = 0; i < facts->label_count && i < QD_ARG_LABELS; i++) {
        labels[i] = (struct qd_label){facts->labels[i].name, {"", 0}};
    }
    if (qd_validate_request_labels(labels, facts->label_count, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    return qd_validate_usage(facts->meter.len > 0 ? "meter" : "hits_addend", policy, &amount, 1,
                             &usage, ret_error);
}

enum qd_error_code qd_rls_facts_validate(const struct qd_rls_facts *facts,
                                         struct qd_error *ret_error)
{
    if (qd_validate_tenant(facts->tenant, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("model", facts->model, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", facts->user, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", facts->pool, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    return qd_validate_request_labels(facts->labels, facts->label_count, ret_error);
}

/* "descriptors[2]: ..." */
static enum qd_error_code name_descriptor(size_t index, const struct qd_error *wrong,
                                          struct qd_error *ret_error)
{
    return qd_error_set(ret_error, wrong->code, "descriptors[%zu]: %s", index, wrong->text);
}

enum qd_error_code qd_rls_facts_read(const struct qd_rls_request *request, size_t index,
                                     const struct qd_policy *policy, struct qd_rls_facts *ret_facts,
                                     struct qd_error *ret_error)
{
    const struct qd_rls_descriptor *d = &request->descriptors[index];
    struct qd_error wrong;

    *ret_facts = (struct qd_rls_facts){.hits = 0};
    if (read_entries(d, ret_facts, &wrong) != QD_ERROR_NONE ||
        read_hits(request, d, ret_facts, &wrong) != QD_ERROR_NONE ||
        validate_keys(ret_facts, policy, &wrong) != QD_ERROR_NONE) {
        return name_descriptor(index, &wrong, ret_error);
    }
    /* Usage that cannot be booked is an error; a request that cannot be is only denied. */
    if (qd_rls_facts_used(ret_facts) && qd_rls_facts_validate(ret_facts, &wrong) != QD_ERROR_NONE) {
        return name_descriptor(index, &wrong, ret_error);
    }
    return QD_ERROR_NONE;
}
