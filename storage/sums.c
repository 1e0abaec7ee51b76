#include "storage/sums.h"

#define SUMS_VERSION 1

#define SUM_MAX ((qd_int128)(~(qd_uint128)0 >> 1))
#define SUM_MIN (-SUM_MAX - 1)

/* Index of `name`, or where it belongs; looks at `hint` first, as rows mostly have the same names.
 */
static size_t locate(const struct qd_sums *sums, struct qd_str name, size_t hint, bool *ret_found)
{
    if (hint < sums->count && qd_slice_equal(sums->items[hint].name, name)) {
        *ret_found = true;
        return hint;
    }
    size_t low = 0;
    size_t high = sums->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = qd_slice_compare(sums->items[middle].name, name);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = false;
    return low;
}

static size_t add_at(struct qd_sums *sums, struct qd_str name, qd_int128 value, size_t hint)
{
    bool found;
    size_t at = locate(sums, name, hint, &found);
    if (!found) {
        if (sums->count == sums->capacity) {
            sums->flags |= QD_SUMS_DROPPED;
            return at;
        }
        memmove(sums->items + at + 1, sums->items + at, (sums->count - at) * sizeof *sums->items);
        sums->items[at] = (struct qd_sum){name, value};
        sums->count++;
        return at;
    }
    qd_int128 *total = &sums->items[at].value;
    qd_int128 result;
    if (__builtin_add_overflow(*total, value, &result)) {
        sums->flags |= QD_SUMS_OVERFLOW;
        result = value > 0 ? SUM_MAX : SUM_MIN;
    }
    *total = result;
    return at;
}

void qd_sums_add(struct qd_sums *sums, struct qd_str name, qd_int128 value)
{
    (void)add_at(sums, name, value, sums->count);
}

void qd_sums_add_all(struct qd_sums *sums, const struct qd_sums *from)
{
    sums->flags |= from->flags;
    size_t hint = 0;
    for (size_t i = 0; i < from->count; i++) {
        hint = add_at(sums, from->items[i].name, from->items[i].value, hint) + 1;
    }
}

const struct qd_sum *qd_sums_find(const struct qd_sums *sums, struct qd_str name)
{
    bool found;
    size_t at = locate(sums, name, sums->count, &found);
    return found ? &sums->items[at] : NULL;
}

qd_int128 qd_sums_value(const struct qd_sums *sums, struct qd_str name)
{
    const struct qd_sum *sum = qd_sums_find(sums, name);
    return sum != NULL ? sum->value : 0;
}

void qd_sums_encode(const struct qd_sums *sums, struct qd_buf *buf)
{
    size_t begin = qd_record_begin(buf, QD_RECORD_SUMS, SUMS_VERSION);
    qd_buf_append_u8(buf, sums->flags);
    qd_put_varint(buf, sums->count);
    for (size_t i = 0; i < sums->count; i++) {
        qd_put_name(buf, sums->items[i].name);
        qd_put_i128(buf, sums->items[i].value);
    }
    qd_record_end(buf, begin);
}

enum qd_store_err qd_sums_decode(struct qd_str bytes, struct qd_sums *ret_sums)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err = qd_record_open(bytes, QD_RECORD_SUMS, SUMS_VERSION, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    ret_sums->flags = qd_get_u8(&reader);
    ret_sums->count = 0;
    size_t count = qd_get_varint_max(&reader, ret_sums->capacity);
    for (size_t i = 0; i < count && !reader.failed; i++) {
        struct qd_sum *item = &ret_sums->items[i];
        item->name = qd_get_name(&reader, QD_SUM_NAME_MAX);
        item->value = qd_get_i128(&reader);
        reader.failed |= i > 0 && qd_slice_compare(item[-1].name, item->name) >= 0;
        ret_sums->count = i + 1;
    }
    reader.failed |= ret_sums->flags > (QD_SUMS_OVERFLOW | QD_SUMS_DROPPED | QD_SUMS_CORRUPT);
    return qd_reader_finish(&reader);
}

void qd_sums_merge(const struct qd_str *existing, const struct qd_str *operands, size_t count,
                   struct qd_buf *ret_value)
{
    struct qd_sum total_items[QD_SUMS_MAX];
    struct qd_sum operand_items[QD_SUMS_MAX];
    struct qd_sums total = qd_sums_over(total_items, QD_SUMS_MAX);
    if (existing != NULL && qd_sums_decode(*existing, &total) != QD_STORE_OK) {
        total.count = 0;
        total.flags = QD_SUMS_CORRUPT;
    }
    for (size_t i = 0; i < count; i++) {
        struct qd_sums operand = qd_sums_over(operand_items, QD_SUMS_MAX);
        if (qd_sums_decode(operands[i], &operand) == QD_STORE_OK) {
            qd_sums_add_all(&total, &operand);
        } else {
            total.flags |= QD_SUMS_CORRUPT;
        }
    }
    qd_sums_encode(&total, ret_value);
}
