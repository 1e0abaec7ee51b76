/* Damage for the test of what repairs it: the rollup rows of a node that is stopped.
 *
 *     rollup_tool DIRECTORY damage    drop the first row, make the last one unreadable
 */
#include "storage/store_rocksdb.h"

#include <stdio.h>
#include <string.h>

static enum qd_store_err damage(struct qd_store *store, struct qd_store_error *error)
{
    struct qd_batch batch = {0};
    struct qd_str key;
    struct qd_str value;
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_ROLLUP});
    enum qd_store_err err =
        iter != NULL ? qd_store_iter_next(iter, &key, &value, error) : QD_STORE_NO_MEMORY;
    if (err == QD_STORE_OK) {
        qd_batch_delete(&batch, QD_STORE_ROLLUP, key);
    }
    qd_store_iter_close(iter);
    iter = qd_store_iter_open(store,
                              &(struct qd_store_range){.space = QD_STORE_ROLLUP, .reverse = true});
    if (err == QD_STORE_OK) {
        err = iter != NULL ? qd_store_iter_next(iter, &key, &value, error) : QD_STORE_NO_MEMORY;
    }
    if (err == QD_STORE_OK) {
        qd_batch_put(&batch, QD_STORE_ROLLUP, key, qd_slice_of("garbage"));
        err = qd_store_write(store, &batch, true, error);
    }
    qd_store_iter_close(iter);
    qd_batch_release(&batch);
    return err;
}

int main(int argc, char **argv)
{
    struct qd_store *store = NULL;
    struct qd_store_error error = {0};
    if (argc != 3 || strcmp(argv[2], "damage") != 0) {
        (void)fprintf(stderr, "usage: rollup_tool DIRECTORY damage\n");
        return 2;
    }
    struct qd_store_rocksdb_config config = {.path = argv[1]};
    enum qd_store_err err = qd_store_rocksdb_open(&config, &store, &error);
    if (err == QD_STORE_OK) {
        err = damage(store, &error);
    }
    if (err != QD_STORE_OK) {
        (void)fprintf(stderr, "rollup_tool: %s %s\n", qd_store_err_name(err), error.text);
    }
    qd_store_close(store);
    return err == QD_STORE_OK ? 0 : 1;
}
