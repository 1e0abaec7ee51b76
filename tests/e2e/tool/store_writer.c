/* A program that keeps promises, or does not: the control of the power-loss test.
 *
 *     store_writer DIRECTORY synced|unsynced    write key after key; print each number once written
 *     store_writer DIRECTORY count              how many of the first keys are there, without a gap
 */
#include "storage/codec.h"
#include "storage/store_rocksdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct qd_str key_of(uint64_t number, struct qd_buf *buf)
{
    qd_buf_clear(buf);
    qd_put_u64(buf, number);
    return qd_buf_str(buf);
}

static void write_on(struct qd_store *store, bool sync)
{
    struct qd_store_error error;
    struct qd_batch batch = {0};
    struct qd_buf key = {0};
    for (uint64_t i = 0;; i++) {
        char text[32];
        qd_batch_clear(&batch);
        qd_batch_put(&batch, QD_STORE_META, key_of(i, &key), qd_slice_of("x"));
        if (qd_store_write(store, &batch, sync, &error) != QD_STORE_OK) {
            (void)fprintf(stderr, "store_writer: %s\n", error.text);
            exit(EXIT_FAILURE);
        }
        int size = snprintf(text, sizeof text, "%llu\n", (unsigned long long)i + 1);
        if (write(STDOUT_FILENO, text, (size_t)size) != size) {
            exit(EXIT_FAILURE);
        }
    }
}

static uint64_t count(struct qd_store *store)
{
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    uint64_t number = 0;
    while (qd_store_get(store, QD_STORE_META, key_of(number, &key), &value, NULL) == QD_STORE_OK) {
        number++;
    }
    qd_buf_release(&key);
    qd_buf_release(&value);
    return number;
}

int main(int argc, char **argv)
{
    struct qd_store *store = NULL;
    struct qd_store_error error;
    if (argc != 3) {
        return 64;
    }
    if (qd_store_rocksdb_open(&(struct qd_store_rocksdb_config){.path = argv[1]}, &store, &error) !=
        QD_STORE_OK) {
        (void)fprintf(stderr, "store_writer: %s\n", error.text);
        return EXIT_FAILURE;
    }
    if (strcmp(argv[2], "count") != 0) {
        write_on(store, strcmp(argv[2], "synced") == 0);
    }
    (void)printf("%llu\n", (unsigned long long)count(store));
    qd_store_close(store);
    return EXIT_SUCCESS;
}
