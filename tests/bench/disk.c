/* bench_disk DATA_DIR: compacts the store of a node that has stopped, and prints what a ledger
 * entry takes on the disk: all files of db/, divided by the entries.
 *
 *   entries=80412
 *   bytes=9123456
 *   bytes_per_entry=113.5
 */
#include "storage/store_rocksdb.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_disk: %s: %s\n", what, why);
    exit(1);
}

static uint64_t count_entries(struct qd_store *store)
{
    struct qd_store_error error = {0};
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_LEDGER});
    struct qd_str key;
    struct qd_str value;
    uint64_t count = 0;
    enum qd_store_err err = iter != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;

    while (err == QD_STORE_OK) {
        err = qd_store_iter_next(iter, &key, &value, &error);
        count += err == QD_STORE_OK;
    }
    qd_store_iter_close(iter);
    if (err != QD_STORE_END) {
        die("reading the ledger", error.text);
    }
    return count;
}

static uint64_t folder_bytes(const char *data_dir)
{
    char path[PATH_MAX];
    struct stat st;
    uint64_t bytes = 0;

    (void)snprintf(path, sizeof(path), "%s/db", data_dir);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        die(path, "cannot read");
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_size;
        }
    }
    (void)closedir(dir);
    return bytes;
}

int main(int argc, char **argv)
{
    struct qd_store_rocksdb_config config = {.path = argc == 2 ? argv[1] : ""};
    struct qd_store *store = NULL;
    struct qd_store_error error;

    if (argc != 2 || qd_store_rocksdb_open(&config, &store, &error) != QD_STORE_OK) {
        die("usage", argc != 2 ? "bench_disk DATA_DIR" : error.text);
    }
    for (int space = 0; space < QD_STORE_SPACE_COUNT; space++) {
        if (qd_store_compact(store, (enum qd_store_space)space, (struct qd_str){NULL, 0},
                             (struct qd_str){NULL, 0}, &error) != QD_STORE_OK) {
            die("compacting", error.text);
        }
    }
    uint64_t entries = count_entries(store);
    qd_store_close(store);
    uint64_t bytes = folder_bytes(argv[1]);
    uint64_t tenths = entries > 0 ? bytes * 10 / entries : 0;
    (void)printf("entries=%llu\nbytes=%llu\nbytes_per_entry=%llu.%llu\n",
                 (unsigned long long)entries, (unsigned long long)bytes,
                 (unsigned long long)(tenths / 10), (unsigned long long)(tenths % 10));
    return 0;
}
