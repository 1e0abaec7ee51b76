/* A store's identity is that of its first start (L1, L6). */
#include "server/identity.h"
#include "storage/codec.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <string.h>

static struct qd_store *store;

static void open_store(void)
{
    store = qd_store_memory_new();
    cr_assert_not_null(store);
}

static void close_store(void)
{
    qd_store_close(store);
}

TestSuite(identity, .init = open_store, .fini = close_store);

static struct qd_identity settle(const char *name, uint64_t seed)
{
    struct qd_identity identity = {.hash_seed = seed};
    struct qd_store_error error;

    (void)strncpy(identity.name, name, QD_NODE_NAME_MAX);
    cr_assert_eq(qd_identity_settle(store, &identity, &error), QD_STORE_OK, "%s", error.text);
    return identity;
}

Test(identity, L1_the_first_one_stays)
{
    char longest[QD_NODE_NAME_MAX + 1] = {0};

    memset(longest, 'n', QD_NODE_NAME_MAX);
    struct qd_identity first = settle(longest, UINT64_MAX);
    cr_assert_str_eq(first.name, longest);
    qd_store_memory_crash(store, 0); /* durable when it returned */
    struct qd_identity second = settle("other", 7);
    cr_assert_str_eq(second.name, longest);
    cr_assert_eq(second.hash_seed, UINT64_MAX);
}

static void put_mark(struct qd_str value)
{
    struct qd_batch batch;

    qd_batch_init(&batch);
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of("node/identity"), value);
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

Test(identity, L1_a_damaged_one_is_told_and_not_replaced)
{
    struct qd_identity identity = {.hash_seed = 7, .name = "other"};
    struct qd_store_error error;

    put_mark(qd_slice_of("something"));
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(qd_identity_settle(store, &identity, &error), QD_STORE_CORRUPT);
        cr_assert_not_null(strstr(error.text, "the node's identity: "), "%s", error.text);
    }
}

Test(identity, a_name_with_a_zero_is_damage)
{
    struct qd_identity identity = {0};
    struct qd_buf bytes = {0};

    size_t begin = qd_record_begin(&bytes, QD_RECORD_IDENTITY, 1);
    qd_put_u64(&bytes, 7);
    qd_put_str(&bytes, (struct qd_str){"a\0b", 3});
    qd_record_end(&bytes, begin);
    cr_assert_eq(qd_identity_decode(qd_buf_str(&bytes), &identity), QD_STORE_CORRUPT);
    qd_buf_release(&bytes);
}
