/* Records of sums: what decodes encodes to the same bytes, and merging anything with anything never
 * fails and never wraps. */
#include "storage/sums.h"
#include "tests/fuzz/record_fuzz.h"

static bool round_trip(struct qd_str record, struct qd_buf *ret_again)
{
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    if (qd_sums_decode(record, &sums) != QD_STORE_OK) {
        return false;
    }
    qd_sums_encode(&sums, ret_again);
    return true;
}

static void check_merge(struct qd_str a, struct qd_str b)
{
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums merged = qd_sums_over(items, QD_SUMS_MAX);
    struct qd_str operands[2] = {a, b};
    struct qd_buf value = {0};
    qd_sums_merge(&a, operands, 2, &value);
    assert(!value.failed && qd_sums_decode(qd_buf_str(&value), &merged) == QD_STORE_OK);
    qd_buf_release(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_buf halves[2] = {0};
    size_t cut = size > 0 ? data[0] % size : 0;
    for (size_t i = 0; i < 2; i++) {
        size_t begin = qd_record_begin(&halves[i], QD_RECORD_SUMS, 1);
        qd_buf_append(&halves[i], i == 0 ? data : data + cut, i == 0 ? cut : size - cut);
        qd_record_end(&halves[i], begin);
    }
    check_merge(qd_buf_str(&halves[0]), qd_buf_str(&halves[1]));
    check_merge(qd_buf_str(&halves[1]), (struct qd_str){(const char *)data, size});
    qd_buf_release(&halves[0]);
    qd_buf_release(&halves[1]);
    return fuzz_record(data, size, QD_RECORD_SUMS, round_trip);
}
