/* Backups: a folder that holds a copy of the store, the node's key, and a list of what belongs to
 * it.
 *
 * Layer:    storage/backup; files only, knows no store.
 * Units:    wall ns, bytes.
 * Threads:  none of its own. One backup at a time is made below a root, by whatever process: the
 *           root holds a lock.
 * Memory:   the caller's structs; release an info.
 *
 *   ROOT/NAME/db/...            the store's files
 *   ROOT/NAME/reservation.key   mode 0600
 *   ROOT/NAME/backup            what is in it (backup_info.h); written last
 *
 * A backup is made as ROOT/.partial and gets its name when all of it is on disk. It is restored
 * below DATA_DIR/restoring, and moves to its places in the end, db/ last: quotad does not start on
 * a data directory whose restore has not ended (qd_restore_unfinished).
 */
#ifndef QD_STORAGE_BACKUP_BACKUP_H
#define QD_STORAGE_BACKUP_BACKUP_H

#include "storage/backup/backup_info.h"

#include <limits.h>

#define QD_BACKUP_NAME_MAX 64
#define QD_BACKUP_TEXT_MAX 400
#define QD_BACKUP_KEY_FILE "reservation.key"
#define QD_RESTORED_FILE   "restored" /* in a data directory: the Unix time of its restore, in s */

enum qd_backup_code {
    QD_BACKUP_OK,
    QD_BACKUP_INVALID, /* a name, or a place that is not empty */
    QD_BACKUP_EXISTS,
    QD_BACKUP_BUSY,    /* another backup is being made, or a node runs there */
    QD_BACKUP_DAMAGED, /* no backup, or not all of one */
    QD_BACKUP_NEWER,   /* made by a newer version */
    QD_BACKUP_FULL,
    QD_BACKUP_ACCESS,
    QD_BACKUP_IO,
    QD_BACKUP_NO_MEMORY,
};

struct qd_backup_error {
    enum qd_backup_code code;
    char text[QD_BACKUP_TEXT_MAX]; /* what, where, what to do */
};

/* 1 to 64 of [a-zA-Z0-9._-], the first no dot and no dash: one folder below the root, never more.
 */
bool qd_backup_name_valid(const char *name);

/* --- making one --- */

struct qd_backup_making {
    char root[PATH_MAX];
    char path[PATH_MAX]; /* ROOT/.partial: the caller puts the store's copy to path/db */
    int lock_fd;
};

/* Make the root if need be (its parent must exist; mode 0700), lock it, clear what a backup that
 * did not end has left, and make `path`. `name` may be NULL: it is given in the end. INVALID,
 * EXISTS, BUSY, FULL, ACCESS, IO: nothing is begun. Else finish or abandon. */
__attribute__((warn_unused_result)) enum qd_backup_code qd_backup_begin(
    const char *root, const char *name, struct qd_backup_making *ret_making,
    struct qd_backup_error *error);

/* Copy the key, list the files in info->files, write the list, make all durable and give the backup
 * its name; ends the making. After a failure nothing of that name is there. */
__attribute__((warn_unused_result)) enum qd_backup_code qd_backup_finish(
    struct qd_backup_making *making, const char *key_file, const char *name,
    struct qd_backup_info *info, struct qd_backup_error *error);

/* Remove what there is of it. */
void qd_backup_abandon(struct qd_backup_making *making);

/* --- restoring one --- */

/* Read a backup's list and see that every file is there with its size. Release *ret_info. */
__attribute__((warn_unused_result)) enum qd_backup_code qd_backup_check(
    const char *from, struct qd_backup_info *ret_info, struct qd_backup_error *error);

/* Copy a backup to the data directory `to`, which is absent (its parent exists), empty, or holds a
 * restore that did not end. BUSY: a node runs there; INVALID: it is not empty. Whatever fails, and
 * whenever the power goes, no node starts on what is there until a restore has ended. */
__attribute__((warn_unused_result)) enum qd_backup_code qd_backup_restore(
    const char *from, const char *to, int64_t now_unix_s, struct qd_backup_info *ret_info,
    struct qd_backup_error *error);

/* The folder is a backup, not a data directory: a node that served it would change it. */
bool qd_is_backup(const char *folder);

/* A restore into this data directory has begun and not ended. */
bool qd_restore_unfinished(const char *data_dir);

/* When the data directory was restored, in Unix s; 0: it was not, or that is forgotten. */
int64_t qd_restored_at(const char *data_dir);
/* Forget it. False: the file is still there. */
bool qd_restored_forget(const char *data_dir);

#endif /* QD_STORAGE_BACKUP_BACKUP_H */
