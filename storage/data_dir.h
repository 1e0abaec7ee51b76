/* A data directory and its lock: one process at a time.
 *
 * Layer:    storage
 * Threads:  open and close from one thread.
 * Memory:   the caller's struct.
 *
 * The lock is flock(2) on `quotad.pid` in the directory, so that it ends with the process however
 * that ends; the file holds the owner's pid, for the message.
 */
#ifndef QD_STORAGE_DATA_DIR_H
#define QD_STORAGE_DATA_DIR_H

#include "storage/store.h"

struct qd_data_dir {
    int lock_fd; /* -1: not locked */
};

/* Make the directory if need be (its parent must exist; mode 0700), and lock it.
 * IN_USE: "data directory in use by pid 4121"; ACCESS: what cannot be done, and why. */
__attribute__((warn_unused_result)) enum qd_store_err qd_data_dir_lock(
    const char *path, struct qd_data_dir *ret_dir, struct qd_store_error *error);

/* Unlock. The directory may be used again. */
void qd_data_dir_unlock(struct qd_data_dir *dir);

/* Make durable that `path` is in its directory (a file that is new there, or renamed). False: errno
 * says why not. */
__attribute__((warn_unused_result)) bool qd_data_dir_sync_entry(const char *path);

#endif /* QD_STORAGE_DATA_DIR_H */
