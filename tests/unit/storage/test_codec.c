/* Numbers, keys and sums. */
#include "storage/codec.h"
#include "storage/sums.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>

Test(codec, numbers_round_trip)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("numbers", 1));
    struct qd_buf buf = {0};
    for (int round = 0; round < 20000; round++) {
        uint64_t a = qd_prng_skewed(&prng, UINT64_MAX);
        int64_t b = (int64_t)qd_prng_skewed(&prng, UINT64_MAX);
        qd_int128 c =
            (qd_int128)((qd_uint128)qd_prng_skewed(&prng, UINT64_MAX) << 64 | qd_prng_next(&prng));
        qd_buf_clear(&buf);
        qd_put_varint(&buf, a);
        qd_put_signed(&buf, b);
        qd_put_signed128(&buf, c);
        qd_put_i128(&buf, c);
        qd_put_key_u64(&buf, a);
        struct qd_reader reader = qd_reader_of(qd_buf_str(&buf));
        cr_assert_eq(qd_get_varint(&reader), a);
        cr_assert_eq(qd_get_signed(&reader), b);
        cr_assert(qd_get_signed128(&reader) == c);
        cr_assert(qd_get_i128(&reader) == c);
        cr_assert_eq(qd_get_key_u64(&reader), a);
        cr_assert_eq(qd_reader_finish(&reader), QD_STORE_OK);
    }
    qd_buf_release(&buf);
}

static enum qd_store_err read_varint(const char *bytes, size_t size, uint64_t *ret_value)
{
    struct qd_reader reader = qd_reader_of((struct qd_str){bytes, size});
    *ret_value = qd_get_varint(&reader);
    return qd_reader_finish(&reader);
}

Test(codec, only_the_shortest_form_of_a_number_is_read)
{
    uint64_t value;
    cr_assert_eq(read_varint("\x7f", 1, &value), QD_STORE_OK);
    cr_assert_eq(value, 127);
    cr_assert_eq(read_varint("\xff\x00", 2, &value), QD_STORE_CORRUPT);
    cr_assert_eq(read_varint("\x80\x00", 2, &value), QD_STORE_CORRUPT);
    cr_assert_eq(read_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, &value), QD_STORE_OK);
    cr_assert_eq(value, UINT64_MAX);
    cr_assert_eq(read_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, &value),
                 QD_STORE_CORRUPT);
    cr_assert_eq(read_varint("\x80", 1, &value), QD_STORE_CORRUPT);
}

Test(codec, a_tenant_and_what_is_below_it_lie_together)
{
    static const char *const paths[] = {"acme",     "acme-x", "acme.x",   "acme/a", "acme/a/b",
                                        "acme/a-b", "acmes",  "acme/b",   "abc",    "ACME",
                                        "acme_x",   "b",      "acme/a.b", "acme0"};
    struct qd_buf key = {0};
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    qd_put_key_subtree_lower(&lower, qd_slice_of("acme"));
    qd_put_key_subtree_upper(&upper, qd_slice_of("acme"));
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct qd_str path = qd_slice_of(paths[i]);
        qd_buf_clear(&key);
        qd_put_key_tenant(&key, path);
        bool inside = qd_slice_compare(qd_buf_str(&key), qd_buf_str(&lower)) >= 0 &&
                      qd_slice_compare(qd_buf_str(&key), qd_buf_str(&upper)) < 0;
        cr_assert_eq(inside, qd_tenant_within(path, qd_slice_of("acme")), "%s", paths[i]);
        char back[QD_TENANT_PATH_MAX];
        size_t len;
        struct qd_reader reader = qd_reader_of(qd_buf_str(&key));
        qd_get_key_tenant(&reader, back, &len);
        cr_assert_eq(qd_reader_finish(&reader), QD_STORE_OK);
        cr_assert(qd_slice_equal((struct qd_str){back, len}, path));
    }
    qd_buf_release(&key);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
}

Test(codec, sums_add_in_any_grouping)
{
    static const char *const names[] = {"requests", "input_tokens", "zeta", "alpha", "#entries"};
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("sums", 4));
    for (int round = 0; round < 200; round++) {
        qd_int128 expected[5] = {0};
        bool present[5] = {0};
        struct qd_buf operands[12] = {0};
        struct qd_str slices[12];
        for (size_t i = 0; i < 12; i++) {
            struct qd_sum items[8];
            struct qd_sums sums = qd_sums_over(items, 8);
            for (uint64_t n = qd_prng_below(&prng, 6); n > 0; n--) {
                size_t name = (size_t)qd_prng_below(&prng, 5);
                int64_t value = (int64_t)qd_prng_next(&prng) >> qd_prng_below(&prng, 60);
                qd_sums_add(&sums, qd_slice_of(names[name]), value);
                expected[name] += value;
                present[name] = true;
            }
            qd_sums_encode(&sums, &operands[i]);
            slices[i] = qd_buf_str(&operands[i]);
        }
        struct qd_buf left = {0};
        struct qd_buf right = {0};
        struct qd_buf all = {0};
        size_t cut = (size_t)qd_prng_below(&prng, 13);
        qd_sums_merge(NULL, slices, cut, &left);
        struct qd_str left_bytes = qd_buf_str(&left);
        qd_sums_merge(&left_bytes, slices + cut, 12 - cut, &right);
        qd_sums_merge(NULL, slices, 12, &all);
        cr_assert(qd_slice_equal(qd_buf_str(&right), qd_buf_str(&all)));
        struct qd_sum items[QD_SUMS_MAX];
        struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
        cr_assert_eq(qd_sums_decode(qd_buf_str(&all), &sums), QD_STORE_OK);
        for (size_t n = 0; n < 5; n++) {
            cr_assert_eq(qd_sums_find(&sums, qd_slice_of(names[n])) != NULL, present[n]);
            cr_assert(qd_sums_value(&sums, qd_slice_of(names[n])) == expected[n]);
        }
        for (size_t i = 0; i < 12; i++) {
            qd_buf_release(&operands[i]);
        }
        qd_buf_release(&left);
        qd_buf_release(&right);
        qd_buf_release(&all);
    }
}

Test(codec, sums_never_wrap_and_say_so)
{
    struct qd_sum items[4];
    struct qd_sums sums = qd_sums_over(items, 2);
    qd_int128 max = (qd_int128)(~(qd_uint128)0 >> 1);
    qd_sums_add(&sums, qd_slice_of("a"), max);
    cr_assert_eq(sums.flags, 0);
    qd_sums_add(&sums, qd_slice_of("a"), 1);
    cr_assert_eq(sums.flags, QD_SUMS_OVERFLOW);
    cr_assert(qd_sums_value(&sums, qd_slice_of("a")) == max);
    qd_sums_add(&sums, qd_slice_of("b"), 1);
    qd_sums_add(&sums, qd_slice_of("c"), 1);
    cr_assert_eq(sums.flags, QD_SUMS_OVERFLOW | QD_SUMS_DROPPED);
    struct qd_str garbage = qd_slice_of("garbage");
    struct qd_buf merged = {0};
    qd_sums_merge(NULL, &garbage, 1, &merged);
    struct qd_sum more[QD_SUMS_MAX];
    struct qd_sums read = qd_sums_over(more, QD_SUMS_MAX);
    cr_assert_eq(qd_sums_decode(qd_buf_str(&merged), &read), QD_STORE_OK);
    cr_assert_eq(read.flags, QD_SUMS_CORRUPT);
    qd_buf_release(&merged);
}
