/* Files and folders of backups: what the making and the restoring share. Internal to
 * storage/backup. Folders are descriptors, so that a name is never looked up twice. */
#ifndef QD_STORAGE_BACKUP_FILES_H
#define QD_STORAGE_BACKUP_FILES_H

#include "storage/backup/backup.h"

#include <sys/types.h>

#define QD_BACKUP_INFO_FILE "backup"
#define QD_BACKUP_DB        "db"

/* Fill *error; returns its code. */
__attribute__((format(printf, 3, 4))) enum qd_backup_code qd_backup_error_set(
    struct qd_backup_error *error, enum qd_backup_code code, const char *format, ...);

/* The code that errno means, with "cannot WHAT FOLDER/NAME: reason". */
enum qd_backup_code qd_backup_errno(struct qd_backup_error *error, const char *what,
                                    const char *folder, const char *name);

/* A folder's descriptor, or -1 and errno. */
int qd_folder_open(int at, const char *path);

/* Each name in a folder but "." and "..", until `visit` returns false. False: it did, or the folder
 * cannot be read (errno). */
bool qd_folder_each(int folder, bool (*visit)(void *context, int folder, const char *name),
                    void *context);

/* Remove a folder, the files in it, and one level of folders in it; missing is fine. False: errno.
 */
bool qd_folder_remove(int at, const char *name);

/* Copy a file and sync the copy, which must not exist. False: errno; there may be a part of it. */
bool qd_folder_copy(int from, const char *from_name, int to, const char *to_name, mode_t mode);

/* Write a new file and sync it. False: errno. */
bool qd_folder_write(int at, const char *name, const void *bytes, size_t size, mode_t mode);

/* Read a whole file of at most `max` bytes; free it. NULL: errno (EFBIG: it is larger). */
char *qd_folder_read(int at, const char *name, size_t max, size_t *ret_size);

#endif /* QD_STORAGE_BACKUP_FILES_H */
