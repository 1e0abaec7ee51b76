/* The store's logs as they were before a start, kept until that has turned out well. RocksDB takes
 * from a damaged log what comes before the damage and deletes the file, with all that comes after;
 * who has lost something wants that back.
 *
 * Layer:    storage
 * Threads:  one, the one that opens the store.
 * Memory:   none.
 *
 * They are hard links in `db.before` in the data directory: nothing is copied. Where there are none
 * (a file system without them, no room) nothing is kept, and nothing fails.
 */
#ifndef QD_STORAGE_KEPT_LOGS_H
#define QD_STORAGE_KEPT_LOGS_H

#define QD_KEPT_LOGS_LOST "db.lost"

/* Before the store is opened; its directory is locked. */
void qd_kept_logs_make(const char *data_dir);

/* It has turned out well: they go. */
void qd_kept_logs_drop(const char *data_dir);

/* It has not: they are in QD_KEPT_LOGS_LOST from now on, for whoever can use them, and stay there.
 * Those of the first such start, where there were several. */
void qd_kept_logs_set_aside(const char *data_dir);

#endif /* QD_STORAGE_KEPT_LOGS_H */
