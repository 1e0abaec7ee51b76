/* Which rows and entries a query counts, and in which group. */
#include "server/ledger/usage_run.h"
#include "storage/codec.h"

#define VALUE_MAX (QD_ENTRY_PRICES_MAX * (QD_ENTRY_NAME_MAX + 1))
#define VALUE_END 0x00 /* names have no control characters */

/* --- values of dimensions --- */

static struct qd_str tenant_level(struct qd_str path, uint8_t level)
{
    if (level == 0) {
        return path;
    }
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] == '/' && --level == 0) {
            return (struct qd_str){path.ptr, i};
        }
    }
    return path;
}

static struct qd_str label_value(struct qd_usage_run *run, const struct qd_usage_facts *facts,
                                 struct qd_str name)
{
    if (facts->entry != NULL) {
        return qd_rollup_label_value(facts->entry, name);
    }
    for (size_t i = 0; i < facts->row->label_count; i++) {
        if (qd_slice_equal(facts->row->labels[i].name, name)) {
            return facts->row->labels[i].value;
        }
    }
    run->label_missing = true;
    return (struct qd_str){0};
}

static struct qd_str join_prices(const struct qd_usage_facts *facts, char text[VALUE_MAX])
{
    size_t size = 0;
    for (size_t i = 0; i < facts->price_count; i++) {
        if (i > 0) {
            text[size++] = ',';
        }
        if (facts->prices[i].len > 0) {
            memcpy(text + size, facts->prices[i].ptr, facts->prices[i].len);
        }
        size += facts->prices[i].len;
    }
    return (struct qd_str){text, size};
}

static struct qd_str dimension_value(struct qd_usage_run *run, const struct qd_usage_facts *facts,
                                     enum qd_usage_dimension dimension, struct qd_str label,
                                     char text[VALUE_MAX])
{
    switch (dimension) {
    case QD_BY_TENANT:
        return facts->tenant;
    case QD_BY_MODEL:
        return facts->model;
    case QD_BY_POOL:
        return facts->pool;
    case QD_BY_PRICE_VERSION:
        return join_prices(facts, text);
    case QD_BY_LABEL:
        return label_value(run, facts, label);
    case QD_BY_USER:
        return label_value(run, facts, qd_slice_of("user"));
    case QD_BY_METER:
        break;
    }
    return (struct qd_str){0};
}

/* --- filters --- */

static bool any_equal(const struct qd_usage_filter *filter, struct qd_str value)
{
    for (size_t i = 0; i < filter->value_count; i++) {
        if (qd_slice_equal(filter->values[i], value)) {
            return true;
        }
    }
    return false;
}

static bool tenant_passes(const struct qd_usage_filter *filter, struct qd_str tenant)
{
    for (size_t i = 0; i < filter->value_count; i++) {
        if (filter->values[i].len > 0 && qd_tenant_within(tenant, filter->values[i])) {
            return true;
        }
    }
    return false;
}

static bool price_passes(const struct qd_usage_filter *filter, const struct qd_usage_facts *facts)
{
    if (facts->price_count == 0) {
        return any_equal(filter, (struct qd_str){0});
    }
    for (size_t i = 0; i < facts->price_count; i++) {
        if (any_equal(filter, facts->prices[i])) {
            return true;
        }
    }
    return false;
}

static bool passes(struct qd_usage_run *run, const struct qd_usage_facts *facts)
{
    char text[VALUE_MAX];
    bool all = true;
    for (size_t i = 0; all && i < run->query->filter_count; i++) {
        const struct qd_usage_filter *filter = &run->query->filters[i];
        switch (filter->dimension) {
        case QD_BY_METER:
            break; /* of the sums, not of the row */
        case QD_BY_TENANT:
            all &= tenant_passes(filter, facts->tenant);
            break;
        case QD_BY_PRICE_VERSION:
            all &= price_passes(filter, facts);
            break;
        case QD_BY_MODEL:
        case QD_BY_POOL:
        case QD_BY_LABEL:
        case QD_BY_USER:
            all &= any_equal(filter,
                             dimension_value(run, facts, filter->dimension, filter->label, text));
            break;
        }
    }
    return all;
}

static bool meter_passes(const struct qd_usage_run *run, struct qd_str name)
{
    bool is_meter = name.ptr[0] != '#' && !qd_slice_equal(name, qd_slice_of(QD_SUM_COST)) &&
                    !qd_slice_equal(name, qd_slice_of(QD_SUM_CHARGE));
    bool all = is_meter || (!run->by_meter && !run->of_meter);
    for (size_t i = 0; i < run->query->filter_count; i++) {
        const struct qd_usage_filter *filter = &run->query->filters[i];
        all &= filter->dimension != QD_BY_METER || any_equal(filter, name);
    }
    return all;
}

/* --- adding up --- */

/* The key of a group: bucket, then each value and an end. `meter` for QD_BY_METER. */
static void group_key(struct qd_usage_run *run, const struct qd_usage_facts *facts, uint32_t bucket,
                      struct qd_str meter)
{
    char text[VALUE_MAX];
    qd_buf_clear(&run->key);
    qd_put_key_u32(&run->key, bucket);
    for (size_t i = 0; i < run->query->group_count; i++) {
        const struct qd_usage_group *group = &run->query->groups[i];
        struct qd_str value =
            group->dimension == QD_BY_METER
                ? meter
                : dimension_value(run, facts, group->dimension, group->label, text);
        if (group->dimension == QD_BY_TENANT) {
            value = tenant_level(value, group->tenant_level);
        }
        qd_buf_append_str(&run->key, value);
        qd_buf_append_u8(&run->key, VALUE_END);
    }
}

static void add_to_group(struct qd_usage_run *run, const struct qd_usage_facts *facts,
                         uint32_t bucket, struct qd_str meter, const struct qd_sums *sums)
{
    if (run->err != QD_STORE_OK || run->label_missing) {
        return;
    }
    group_key(run, facts, bucket, meter);
    run->err = run->key.failed ? QD_STORE_NO_MEMORY
                               : qd_aggregate_add(&run->aggregate, qd_buf_str(&run->key), sums);
}

void qd_usage_add(struct qd_usage_run *run, const struct qd_usage_facts *facts, uint32_t bucket,
                  const struct qd_sums *sums)
{
    if (!passes(run, facts) || bucket < run->first_bucket) {
        return;
    }
    if (!run->by_meter && !run->of_meter) {
        add_to_group(run, facts, bucket, (struct qd_str){0}, sums);
        return;
    }
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums kept = qd_sums_over(items, QD_SUMS_MAX);
    kept.flags = sums->flags;
    for (size_t i = 0; i < sums->count; i++) {
        if (!meter_passes(run, sums->items[i].name)) {
            continue;
        }
        if (run->by_meter) {
            kept.count = 0;
        }
        qd_sums_add(&kept, sums->items[i].name, sums->items[i].value);
        if (run->by_meter) {
            add_to_group(run, facts, bucket, sums->items[i].name, &kept);
        }
    }
    if (!run->by_meter && kept.count > 0) {
        add_to_group(run, facts, bucket, (struct qd_str){0}, &kept);
    }
}
