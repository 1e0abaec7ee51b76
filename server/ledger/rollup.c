#include "server/ledger/rollup.h"

#include "server/core/mutant.h"
#include "storage/codec.h"

static struct qd_str label_name(const struct qd_rollup_labels *labels, size_t i)
{
    return (struct qd_str){labels->items[i].name, labels->items[i].size};
}

enum qd_store_err qd_rollup_labels_init(struct qd_rollup_labels *ret_labels,
                                        const char *const *names, size_t count,
                                        struct qd_store_error *error)
{
    struct qd_rollup_labels labels = {0};
    if (count > QD_LEDGER_ROLLUP_LABELS_MAX) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "rollup_labels: %zu are given, at most %d are accepted", count,
                                  QD_LEDGER_ROLLUP_LABELS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        struct qd_str name = qd_slice_of(names[i]);
        if (name.len == 0 || !qd_text_valid(name, QD_ROLLUP_LABEL_MAX)) {
            return qd_store_error_set(error, QD_STORE_INVALID,
                                      "rollup_labels: a name has 1 to %d bytes",
                                      QD_ROLLUP_LABEL_MAX);
        }
        size_t at = labels.count++;
        for (; at > 0 && qd_slice_compare(label_name(&labels, at - 1), name) >= 0; at--) {
            if (qd_slice_equal(label_name(&labels, at - 1), name)) {
                return qd_store_error_set(error, QD_STORE_INVALID,
                                          "rollup_labels: \"%s\" is given twice", names[i]);
            }
            labels.items[at] = labels.items[at - 1];
        }
        memcpy(labels.items[at].name, name.ptr, name.len);
        labels.items[at].size = name.len;
    }
    *ret_labels = labels;
    return QD_STORE_OK;
}

uint32_t qd_rollup_bucket(struct qd_wall_ns time)
{
    return (uint32_t)(time.ns / QD_ROLLUP_NS); /* 2^63 ns are 10,248,191 quarter hours */
}

struct qd_str qd_rollup_label_value(const struct qd_entry *entry, struct qd_str name)
{
    return qd_slice_equal(name, qd_slice_of("user")) ? entry->user : qd_entry_label(entry, name);
}

void qd_rollup_key(const struct qd_entry *entry, const struct qd_rollup_labels *labels,
                   struct qd_buf *buf)
{
    qd_put_key_u32(buf, qd_rollup_bucket(entry->event_time));
    qd_put_key_tenant(buf, entry->tenant);
    qd_put_str(buf, entry->model);
    qd_put_str(buf, entry->pool);
    qd_put_varint(buf, entry->price_count);
    for (size_t i = 0; i < entry->price_count; i++) {
        qd_put_str(buf, entry->prices[i]);
    }
    qd_put_varint(buf, labels->count);
    for (size_t i = 0; i < labels->count; i++) {
        qd_put_str(buf, label_name(labels, i));
        qd_put_str(buf, qd_rollup_label_value(entry, label_name(labels, i)));
    }
}

enum qd_store_err qd_rollup_key_decode(struct qd_str key, struct qd_rollup_row *ret_row)
{
    struct qd_reader reader = qd_reader_of(key);
    size_t tenant_size;
    ret_row->bucket = qd_get_key_u32(&reader);
    qd_get_key_tenant(&reader, ret_row->tenant_bytes, &tenant_size);
    ret_row->tenant = (struct qd_str){ret_row->tenant_bytes, tenant_size};
    ret_row->model = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    ret_row->pool = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    ret_row->price_count = qd_get_varint_max(&reader, QD_ENTRY_PRICES_MAX);
    for (size_t i = 0; i < ret_row->price_count; i++) {
        ret_row->prices[i] = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    }
    ret_row->label_count = qd_get_varint_max(&reader, QD_LEDGER_ROLLUP_LABELS_MAX);
    for (size_t i = 0; i < ret_row->label_count; i++) {
        ret_row->labels[i].name = qd_get_str(&reader, QD_ROLLUP_LABEL_MAX);
        ret_row->labels[i].value = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    }
    return qd_reader_finish(&reader);
}

void qd_rollup_group_key(const struct qd_rollup_row *row, struct qd_buf *buf)
{
    qd_put_key_u32(buf, row->bucket);
    qd_put_key_tenant(buf, row->tenant);
    qd_put_str(buf, row->model);
    qd_put_str(buf, row->pool);
    qd_put_varint(buf, row->price_count);
    for (size_t i = 0; i < row->price_count; i++) {
        qd_put_str(buf, row->prices[i]);
    }
}

void qd_rollup_add(const struct qd_entry *entry, struct qd_sums *sums)
{
    for (size_t i = 0; i < entry->quantity_count; i++) {
        qd_sums_add(sums, entry->quantities[i].meter, entry->quantities[i].amount);
    }
    /* L3: an entry that was taken back is no longer one, nor is what took it back. */
    int one = qd_entry_is_reversal(entry) && !QD_MUTANT(L3_entries) ? -1 : 1;
    qd_sums_add(sums, qd_slice_of(QD_SUM_ENTRIES), one);
    if ((entry->flags & QD_ENTRY_UNPRICED) != 0) {
        qd_sums_add(sums, qd_slice_of(QD_SUM_UNPRICED), one);
        return; /* P8: no price is not $0 */
    }
    qd_sums_add(sums, qd_slice_of(QD_SUM_COST), entry->cost_nano_usd);
    qd_sums_add(sums, qd_slice_of(QD_SUM_CHARGE), entry->charge_nano_usd);
    qd_sums_add(sums, qd_slice_of(QD_SUM_COST_PICO), entry->cost_pico_usd);
    qd_sums_add(sums, qd_slice_of(QD_SUM_CHARGE_PICO), entry->charge_pico_usd);
}

void qd_rollup_merge(const struct qd_entry *entry, const struct qd_rollup_labels *labels,
                     struct qd_buf *key, struct qd_buf *value, struct qd_batch *batch)
{
    qd_rollup_merge_to(QD_STORE_ROLLUP, entry, labels, key, value, batch);
}

void qd_rollup_merge_to(enum qd_store_space space, const struct qd_entry *entry,
                        const struct qd_rollup_labels *labels, struct qd_buf *key,
                        struct qd_buf *value, struct qd_batch *batch)
{
    if (!qd_entry_is_usage(entry)) {
        return;
    }
    struct qd_sum items[QD_ENTRY_QUANTITIES_MAX + 8];
    struct qd_sums sums = qd_sums_over(items, sizeof items / sizeof items[0]);
    qd_rollup_add(entry, &sums);
    qd_buf_clear(key);
    qd_rollup_key(entry, labels, key);
    qd_buf_clear(value);
    qd_sums_encode(&sums, value);
    batch->ops.failed |= key->failed || value->failed;
    qd_batch_merge(batch, space, qd_buf_str(key), qd_buf_str(value));
}
