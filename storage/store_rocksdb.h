/* The store on disk: RocksDB, a column family for each key space.
 *
 * Layer:    storage
 * Threads:  as storage/store.h. RocksDB runs its own threads for flushes and compactions.
 * Memory:   write buffers and block cache as configured, plus RocksDB's own.
 *
 * The directory holds `quotad.pid` (the lock, storage/data_dir.h) and `db/` (RocksDB's files).
 * META's key "format" holds the format's version; a newer one is refused and left alone.
 *
 * After a failed write RocksDB refuses further ones until the store is opened anew, except when it
 * was out of disk space and could recover by itself.
 */
#ifndef QD_STORAGE_STORE_ROCKSDB_H
#define QD_STORAGE_STORE_ROCKSDB_H

#include "storage/store.h"

#define QD_STORE_FORMAT 1

struct qd_store_rocksdb_config {
    const char *path;          /* the data directory; made if its parent exists */
    size_t write_buffer_bytes; /* in total; 0: 64 MiB */
    size_t cache_bytes;        /* block cache; 0: 64 MiB */
    int open_files_max;        /* 0: 512 */
    bool read_only; /* of a copy that nobody uses: it is neither locked nor changed, writes fail */
    bool keep_logs; /* as they are before it is opened: see storage/kept_logs.h */
};

/* OK, IN_USE ("data directory in use by pid 4121"), NEWER_FORMAT, ACCESS, FULL, CORRUPT, IO,
 * INVALID, NO_MEMORY: nothing is open then. */
__attribute__((warn_unused_result)) enum qd_store_err qd_store_rocksdb_open(
    const struct qd_store_rocksdb_config *config, struct qd_store **ret_store,
    struct qd_store_error *error);

#endif /* QD_STORAGE_STORE_ROCKSDB_H */
