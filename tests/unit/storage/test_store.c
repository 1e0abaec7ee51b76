/* Both stores against a naive model: a sorted array of keys, copied for each snapshot. */
#include "storage/store.h"
#include "storage/store_memory.h"
#include "storage/store_rocksdb.h"
#include "storage/sums.h"
#include "tests/lib/failalloc.h"
#include "tests/lib/prng.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODEL_KEYS 64
#define TWO_SPACES 2

static const enum qd_store_space spaces[TWO_SPACES] = {QD_STORE_LEDGER, QD_STORE_ROLLUP};

/* Key number k of a space holds text (LEDGER) or one sum (ROLLUP). */
struct model {
    bool present[TWO_SPACES][MODEL_KEYS];
    int64_t value[TWO_SPACES][MODEL_KEYS];
};

static struct qd_str key_of(size_t k, char text[8])
{
    int size = snprintf(text, 8, "%c%c%02zu", k % 3 == 0 ? 'a' : 'b', k % 2 == 0 ? '\xff' : 'x', k);
    return (struct qd_str){text, (size_t)size};
}

static void encode(int64_t value, struct qd_buf *buf)
{
    struct qd_sum item[1];
    struct qd_sums sums = qd_sums_over(item, 1);
    qd_sums_add(&sums, qd_slice_of("n"), value);
    qd_sums_encode(&sums, buf);
}

static int64_t decode(struct qd_str bytes)
{
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    cr_assert_eq(qd_sums_decode(bytes, &sums), QD_STORE_OK);
    cr_assert_eq(sums.flags, 0);
    return (int64_t)qd_sums_value(&sums, qd_slice_of("n"));
}

static void delete_range(struct model *model, size_t s, struct qd_str lower, struct qd_str upper)
{
    char text[8];

    for (size_t k = 0; k < MODEL_KEYS; k++) {
        struct qd_str key = key_of(k, text);
        if (qd_slice_compare(key, lower) >= 0 && qd_slice_compare(key, upper) < 0) {
            model->present[s][k] = false;
        }
    }
}

static void random_range(struct qd_prng *prng, struct model *model, size_t s,
                         struct qd_batch *batch)
{
    char texts[2][8];
    struct qd_str a = key_of((size_t)qd_prng_below(prng, MODEL_KEYS), texts[0]);
    struct qd_str b = key_of((size_t)qd_prng_below(prng, MODEL_KEYS), texts[1]);
    bool ordered = qd_slice_compare(a, b) <= 0;

    qd_batch_delete_range(batch, spaces[s], ordered ? a : b, ordered ? b : a);
    delete_range(model, s, ordered ? a : b, ordered ? b : a);
}

static void random_batch(struct qd_prng *prng, struct model *model, struct qd_batch *batch)
{
    struct qd_buf value = {0};
    char text[8];
    for (uint64_t n = 1 + qd_prng_below(prng, 6); n > 0; n--) {
        size_t s = (size_t)qd_prng_below(prng, TWO_SPACES);
        size_t k = (size_t)qd_prng_below(prng, MODEL_KEYS);
        int64_t amount = qd_prng_between(prng, -1000, 1000);
        qd_buf_clear(&value);
        encode(amount, &value);
        switch (qd_prng_below(prng, 12)) {
        case 0:
            random_range(prng, model, s, batch);
            break;
        case 1:
        case 2:
        case 3:
        case 4:
            qd_batch_put(batch, spaces[s], key_of(k, text), qd_buf_str(&value));
            model->value[s][k] = amount;
            model->present[s][k] = true;
            break;
        case 5:
        case 6:
        case 7:
            qd_batch_delete(batch, spaces[s], key_of(k, text));
            model->present[s][k] = false;
            break;
        default:
            qd_batch_merge(batch, spaces[s], key_of(k, text), qd_buf_str(&value));
            model->value[s][k] = (model->present[s][k] ? model->value[s][k] : 0) + amount;
            model->present[s][k] = true;
            break;
        }
    }
    qd_buf_release(&value);
}

/* Index of the key that comes after `last` in order within [lower, upper), or -1. */
static int next_key(const struct model *model, size_t s, const struct qd_store_range *range,
                    struct qd_str last, bool inclusive)
{
    int best = -1;
    char best_text[8];
    char text[8];
    for (size_t k = 0; k < MODEL_KEYS; k++) {
        struct qd_str key = key_of(k, text);
        bool inside = qd_slice_compare(key, range->lower) >= 0 &&
                      (range->upper.len == 0 || qd_slice_compare(key, range->upper) < 0);
        int order = last.ptr == NULL ? 0 : qd_slice_compare(key, last);
        order = range->reverse ? -order : order;
        bool after = last.ptr == NULL || order > 0 || (inclusive && order == 0);
        if (!model->present[s][k] || !inside || !after) {
            continue;
        }
        int versus = best < 0 ? -1 : qd_slice_compare(key, key_of((size_t)best, best_text));
        if (best < 0 || (range->reverse ? versus > 0 : versus < 0)) {
            best = (int)k;
        }
    }
    return best;
}

static void check_range(struct qd_store *store, const struct model *model, size_t s,
                        const struct qd_store_range *range, int seek_to)
{
    struct qd_store_iter *iter = qd_store_iter_open(store, range);
    cr_assert_neq(iter, NULL);
    char text[8];
    char last_text[8];
    struct qd_str last = {0};
    bool inclusive = false;
    if (seek_to >= 0) {
        last = key_of((size_t)seek_to, last_text);
        inclusive = true;
        qd_store_iter_seek(iter, last);
    }
    for (;;) {
        int expected = next_key(model, s, range, last, inclusive);
        struct qd_str key;
        struct qd_str value;
        enum qd_store_err err = qd_store_iter_next(iter, &key, &value, NULL);
        if (expected < 0) {
            cr_assert_eq(err, QD_STORE_END);
            cr_assert_eq(qd_store_iter_next(iter, &key, &value, NULL), QD_STORE_END);
            break;
        }
        cr_assert_eq(err, QD_STORE_OK);
        cr_assert(qd_slice_equal(key, key_of((size_t)expected, text)));
        cr_assert_eq(decode(value), model->value[s][expected]);
        last = key_of((size_t)expected, last_text);
        inclusive = false;
    }
    qd_store_iter_close(iter);
}

static void random_check(struct qd_prng *prng, struct qd_store *store, const struct model *model,
                         const struct qd_store_snapshot *snapshot)
{
    char lower[8];
    char upper[8];
    size_t s = (size_t)qd_prng_below(prng, TWO_SPACES);
    struct qd_store_range range = {
        .space = spaces[s], .reverse = qd_prng_chance(prng, 1, 2), .snapshot = snapshot};
    if (qd_prng_chance(prng, 1, 2)) {
        range.lower = key_of((size_t)qd_prng_below(prng, MODEL_KEYS), lower);
    }
    if (qd_prng_chance(prng, 1, 2)) {
        range.upper = key_of((size_t)qd_prng_below(prng, MODEL_KEYS), upper);
    }
    int seek_to = qd_prng_chance(prng, 1, 2) ? (int)qd_prng_below(prng, MODEL_KEYS) : -1;
    check_range(store, model, s, &range, seek_to);
    char text[8];
    size_t k = (size_t)qd_prng_below(prng, MODEL_KEYS);
    struct qd_buf value = {0};
    if (snapshot == NULL) {
        enum qd_store_err err = qd_store_get(store, spaces[s], key_of(k, text), &value, NULL);
        cr_assert_eq(err, model->present[s][k] ? QD_STORE_OK : QD_STORE_NOT_FOUND);
        cr_assert(err != QD_STORE_OK || decode(qd_buf_str(&value)) == model->value[s][k]);
    }
    qd_buf_release(&value);
}

static void run_model(struct qd_store *store, uint64_t seed, int rounds)
{
    struct qd_prng prng;
    qd_prng_init(&prng, seed);
    struct model model = {0};
    struct model past = {0};
    struct qd_store_snapshot *snapshot = NULL;
    struct qd_batch batch = {0};
    for (int round = 0; round < rounds; round++) {
        qd_batch_clear(&batch);
        random_batch(&prng, &model, &batch);
        cr_assert_eq(qd_store_write(store, &batch, false, NULL), QD_STORE_OK);
        if (qd_prng_chance(&prng, 1, 10)) {
            qd_store_snapshot_close(store, snapshot);
            snapshot = qd_store_snapshot_open(store);
            past = model;
        }
        random_check(&prng, store, &model, NULL);
        if (snapshot != NULL) {
            random_check(&prng, store, &past, snapshot);
        }
    }
    qd_store_snapshot_close(store, snapshot);
    qd_batch_release(&batch);
}

Test(store, memory_agrees_with_a_model)
{
    struct qd_store *store = qd_store_memory_new();
    run_model(store, qd_prng_seed("memory", 5), 2000);
    qd_store_close(store);
}

Test(store, rocksdb_agrees_with_a_model)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store_error error = {0};
    struct qd_store_rocksdb_config config = {.path = dir.path};
    cr_assert_eq(qd_store_rocksdb_open(&config, &store, &error), QD_STORE_OK, "%s", error.text);
    run_model(store, qd_prng_seed("rocksdb", 6), 1000);
    qd_store_close(store);
    qd_tempdir_release(&dir);
}

Test(store, X4_memory_crash_loses_what_was_not_synced)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("crash", 7));
    struct qd_store *store = qd_store_memory_new();
    struct model history[64];
    struct qd_batch batch = {0};
    struct model model = {0};
    for (int round = 0; round < 100; round++) {
        size_t unsynced = 0;
        history[0] = model;
        for (uint64_t n = qd_prng_below(&prng, 60); n > 0; n--) {
            bool sync = qd_prng_chance(&prng, 1, 10);
            qd_batch_clear(&batch);
            random_batch(&prng, &model, &batch);
            cr_assert_eq(qd_store_write(store, &batch, sync, NULL), QD_STORE_OK);
            unsynced = sync ? 0 : unsynced + 1;
            history[unsynced] = model;
        }
        uint64_t keep = qd_prng_below(&prng, 5);
        qd_store_memory_crash(store, keep);
        model = history[keep < unsynced ? keep : unsynced];
        for (int i = 0; i < 4; i++) {
            random_check(&prng, store, &model, NULL);
        }
    }
    qd_batch_release(&batch);
    qd_store_close(store);
}

Test(store, X4_memory_faults)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_store_faults *faults = qd_store_memory_faults(store);
    struct qd_store_error error = {0};
    struct qd_batch batch = {0};
    struct qd_buf value = {0};
    struct qd_str key = qd_slice_of("k");
    qd_batch_put(&batch, QD_STORE_META, key, qd_slice_of("v"));
    faults->write.countdown = 0;
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_IO);
    cr_assert_eq(qd_store_get(store, QD_STORE_META, key, &value, NULL), QD_STORE_NOT_FOUND);
    faults->sync.countdown = 0;
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_IO);
    cr_assert_eq(qd_store_get(store, QD_STORE_META, key, &value, NULL), QD_STORE_OK);
    qd_store_memory_crash(store, 0);
    cr_assert_eq(qd_store_get(store, QD_STORE_META, key, &value, NULL), QD_STORE_NOT_FOUND);
    faults->read.countdown = 0;
    cr_assert_eq(qd_store_get(store, QD_STORE_META, key, &value, NULL), QD_STORE_IO);
    faults->capacity_bytes = 1;
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_FULL);
    cr_assert_eq(error.code, QD_STORE_FULL);
    faults->capacity_bytes = 0;
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&value);
    qd_store_close(store);
}

static int write_and_read(void *context)
{
    (void)context;
    int failed = 1;
    struct qd_batch batch = {0};
    struct qd_buf value = {0};
    struct qd_buf sums = {0};
    struct qd_store_iter *iter = NULL;
    struct qd_store *store = qd_store_memory_new();
    if (store == NULL) {
        goto out;
    }
    struct qd_sum item[1] = {{qd_slice_of("n"), 1}};
    qd_sums_encode(&(struct qd_sums){.items = item, .count = 1, .capacity = 1}, &sums);
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of("a"), qd_slice_of("1"));
    qd_batch_merge(&batch, QD_STORE_ROLLUP, qd_slice_of("b"), qd_buf_str(&sums));
    if (sums.failed || qd_store_write(store, &batch, true, NULL) != QD_STORE_OK ||
        qd_store_get(store, QD_STORE_ROLLUP, qd_slice_of("b"), &value, NULL) != QD_STORE_OK) {
        goto out;
    }
    iter = qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_META,
                                                              .lower = qd_slice_of("a"),
                                                              .upper = qd_slice_of("b")});
    struct qd_str key;
    struct qd_str text;
    failed = iter == NULL || qd_store_iter_next(iter, &key, &text, NULL) != QD_STORE_OK;
out:
    qd_store_iter_close(iter);
    qd_batch_release(&batch);
    qd_buf_release(&value);
    qd_buf_release(&sums);
    qd_store_close(store);
    return failed;
}

Test(store, memory_survives_every_failing_allocation)
{
    cr_assert_gt(qd_failalloc_each(write_and_read, NULL, false), 5);
}

static enum qd_store_err open_in(const char *path, struct qd_store **ret_store,
                                 struct qd_store_error *error)
{
    return qd_store_rocksdb_open(&(struct qd_store_rocksdb_config){.path = path}, ret_store, error);
}

Test(rocksdb, data_survives_closing_and_a_second_owner_is_refused)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store *second = NULL;
    struct qd_store_error error = {0};
    cr_assert_eq(open_in(dir.path, &store, &error), QD_STORE_OK, "%s", error.text);
    struct qd_batch batch = {0};
    qd_batch_put(&batch, QD_STORE_TENANT, qd_slice_of("k"), qd_slice_of("v"));
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_OK);
    cr_assert_eq(open_in(dir.path, &second, &error), QD_STORE_IN_USE);
    char expected[64];
    snprintf(expected, sizeof expected, "data directory in use by pid %ld", (long)getpid());
    cr_assert_str_eq(error.text, expected);
    cr_assert_eq(second, NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(open_in(dir.path, &second, &error) == QD_STORE_IN_USE ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    qd_store_close(store);
    cr_assert_eq(open_in(dir.path, &store, &error), QD_STORE_OK, "%s", error.text);
    struct qd_buf value = {0};
    cr_assert_eq(qd_store_get(store, QD_STORE_TENANT, qd_slice_of("k"), &value, NULL), QD_STORE_OK);
    cr_assert(qd_slice_equal(qd_buf_str(&value), qd_slice_of("v")));
    qd_store_close(store);
    qd_buf_release(&value);
    qd_batch_release(&batch);
    qd_tempdir_release(&dir);
}

Test(rocksdb, a_newer_format_is_refused_and_left_alone)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store_error error = {0};
    cr_assert_eq(open_in(dir.path, &store, &error), QD_STORE_OK, "%s", error.text);
    struct qd_batch batch = {0};
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of("format"), (struct qd_str){"\x02\0\0\0", 4});
    cr_assert_eq(qd_store_write(store, &batch, true, &error), QD_STORE_OK);
    qd_store_close(store);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(open_in(dir.path, &store, &error), QD_STORE_NEWER_FORMAT);
        char expected[QD_STORE_ERROR_TEXT_MAX];
        snprintf(
            expected, sizeof expected,
            "%.200s/db has format 2, this version reads up to 1: start the version that wrote it",
            dir.path);
        cr_assert_str_eq(error.text, expected);
    }
    qd_batch_release(&batch);
    qd_tempdir_release(&dir);
}

Test(rocksdb, X4_what_cannot_be_opened_says_why)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store_error error = {0};
    char path[PATH_MAX];
    char expected[QD_STORE_ERROR_TEXT_MAX];
    qd_tempdir_path(&dir, "no/such", path);
    cr_assert_eq(open_in(path, &store, &error), QD_STORE_ACCESS);
    snprintf(expected, sizeof expected,
             "cannot make data directory %.200s: No such file or directory", path);
    cr_assert_str_eq(error.text, expected);
    cr_assert_eq(open_in("", &store, &error), QD_STORE_INVALID);
    qd_tempdir_write(&dir, "file", "x", 1);
    qd_tempdir_path(&dir, "file", path);
    cr_assert_eq(open_in(path, &store, &error), QD_STORE_ACCESS);
    snprintf(expected, sizeof expected, "cannot open %.200s/quotad.pid: Not a directory", path);
    cr_assert_str_eq(error.text, expected);
    qd_tempdir_release(&dir);
}

Test(rocksdb, X4_a_damaged_database_is_corrupt)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store_error error = {0};
    cr_assert_eq(open_in(dir.path, &store, &error), QD_STORE_OK, "%s", error.text);
    qd_store_close(store);
    qd_tempdir_write(&dir, "db/CURRENT", "nonsense", 8);
    enum qd_store_err err = open_in(dir.path, &store, &error);
    cr_assert_eq(err, QD_STORE_CORRUPT, "%s: %s", qd_store_err_name(err), error.text);
    qd_tempdir_release(&dir);
}

/* What was deleted gives back its room, what stays is the same. */
Test(store, compaction_changes_nothing_that_is_read)
{
    struct qd_tempdir dir;
    struct qd_store *stores[2] = {qd_store_memory_new(), NULL};
    qd_tempdir_init(&dir);
    struct qd_store_rocksdb_config config = {.path = dir.path};
    cr_assert_eq(qd_store_rocksdb_open(&config, &stores[1], NULL), QD_STORE_OK);
    for (size_t s = 0; s < 2; s++) {
        struct qd_batch batch = {0};
        struct qd_buf value = {0};
        char text[8];
        for (size_t k = 0; k < MODEL_KEYS; k++) {
            qd_buf_clear(&value);
            encode((int64_t)k, &value);
            qd_batch_put(&batch, QD_STORE_LEDGER, key_of(k, text), qd_buf_str(&value));
        }
        for (size_t k = 0; k < MODEL_KEYS; k += 2) {
            qd_batch_delete(&batch, QD_STORE_LEDGER, key_of(k, text));
        }
        cr_assert_eq(qd_store_write(stores[s], &batch, true, NULL), QD_STORE_OK);
        cr_assert_eq(qd_store_compact(stores[s], QD_STORE_LEDGER, (struct qd_str){NULL, 0},
                                      key_of(9, text), NULL),
                     QD_STORE_OK);
        cr_assert_eq(qd_store_compact(stores[s], QD_STORE_LEDGER, (struct qd_str){NULL, 0},
                                      (struct qd_str){NULL, 0}, NULL),
                     QD_STORE_OK);
        for (size_t k = 0; k < MODEL_KEYS; k++) {
            enum qd_store_err err =
                qd_store_get(stores[s], QD_STORE_LEDGER, key_of(k, text), &value, NULL);
            cr_assert_eq(err, k % 2 == 0 ? QD_STORE_NOT_FOUND : QD_STORE_OK);
            cr_assert(err != QD_STORE_OK || decode(qd_buf_str(&value)) == (int64_t)k);
        }
        qd_buf_release(&value);
        qd_batch_release(&batch);
        qd_store_close(stores[s]);
    }
    qd_tempdir_release(&dir);
}
