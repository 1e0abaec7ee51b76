/* Making a backup. */
#include "storage/backup/backup.h"

#include "storage/backup/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTIAL   ".partial"
#define LOCK_FILE ".lock"

bool qd_backup_name_valid(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= QD_BACKUP_NAME_MAX && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

static enum qd_backup_code check_name(const char *root, const char *name,
                                      struct qd_backup_error *error)
{
    char path[PATH_MAX];
    struct stat st;

    if (!qd_backup_name_valid(name)) {
        return qd_backup_error_set(error, QD_BACKUP_INVALID,
                                   "a backup's name has 1 to %d of a-z A-Z 0-9 . _ - and begins "
                                   "with a letter, a digit or _: it becomes a folder of %s",
                                   QD_BACKUP_NAME_MAX, root);
    }
    int size = snprintf(path, sizeof(path), "%s/%s", root, name);
    if (size < 0 || (size_t)size >= sizeof(path)) {
        return qd_backup_error_set(error, QD_BACKUP_INVALID, "%s: the path is too long", root);
    }
    if (lstat(path, &st) == 0) {
        return qd_backup_error_set(error, QD_BACKUP_EXISTS,
                                   "%s exists: a backup is never overwritten; give another name",
                                   path);
    }
    return QD_BACKUP_OK;
}

static enum qd_backup_code lock_root(struct qd_backup_making *making, struct qd_backup_error *error)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/" LOCK_FILE, making->root);

    if (size < 0 || (size_t)size >= sizeof(path)) {
        return qd_backup_error_set(error, QD_BACKUP_INVALID, "%s: the path is too long",
                                   making->root);
    }
    if (mkdir(making->root, S_IRWXU) != 0 && errno != EEXIST) {
        return qd_backup_errno(error, "make the folder of backups", making->root, "");
    }
    making->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (making->lock_fd < 0) {
        return qd_backup_errno(error, "open", path, "");
    }
    if (flock(making->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        enum qd_backup_code code =
            errno == EWOULDBLOCK
                ? qd_backup_error_set(error, QD_BACKUP_BUSY,
                                      "another backup is being made in %s: wait for its end",
                                      making->root)
                : qd_backup_errno(error, "lock", path, "");
        (void)close(making->lock_fd);
        making->lock_fd = -1;
        return code;
    }
    return QD_BACKUP_OK;
}

enum qd_backup_code qd_backup_begin(const char *root, const char *name,
                                    struct qd_backup_making *ret_making,
                                    struct qd_backup_error *error)
{
    struct qd_backup_making making = {.lock_fd = -1};
    int size = snprintf(making.path, sizeof(making.path), "%s/" PARTIAL, root);

    if (size < 0 || (size_t)size >= sizeof(making.path)) {
        return qd_backup_error_set(error, QD_BACKUP_INVALID, "%.100s...: the path is too long",
                                   root);
    }
    (void)snprintf(making.root, sizeof(making.root), "%s", root);
    enum qd_backup_code code = name != NULL ? check_name(root, name, error) : QD_BACKUP_OK;
    if (code == QD_BACKUP_OK) {
        code = lock_root(&making, error);
    }
    if (code != QD_BACKUP_OK) {
        return code;
    }
    if (!qd_folder_remove(AT_FDCWD, making.path)) {
        code = qd_backup_errno(error, "remove what an earlier backup left in", making.path, "");
    } else if (mkdir(making.path, S_IRWXU) != 0) {
        code = qd_backup_errno(error, "make", making.path, "");
    }
    if (code != QD_BACKUP_OK) {
        (void)close(making.lock_fd);
        return code;
    }
    *ret_making = making;
    return QD_BACKUP_OK;
}

void qd_backup_abandon(struct qd_backup_making *making)
{
    (void)qd_folder_remove(AT_FDCWD, making->path); /* what stays is removed by the next one */
    (void)close(making->lock_fd);
    making->lock_fd = -1;
}

/* --- finishing --- */

struct listing {
    struct qd_backup_info *info;
    const char *failed; /* which file */
};

/* Sync it: what the store has linked is durable already, what it has copied may not be. */
static bool list_file(void *context, int folder, const char *name)
{
    struct listing *listing = context;
    char path[QD_BACKUP_WORD_MAX * 4];
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool good = fd >= 0 && fstat(fd, &st) == 0 && fsync(fd) == 0;

    if (good) {
        (void)snprintf(path, sizeof(path), QD_BACKUP_DB "/%s", name);
        errno = EINVAL; /* a name that is none of the store's */
        good = S_ISREG(st.st_mode) && qd_backup_info_add(listing->info, path, (uint64_t)st.st_size);
    }
    int code = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = code;
    return good;
}

static enum qd_backup_code copy_key(const struct qd_backup_making *making, int folder,
                                    const char *key_file, struct qd_backup_info *info,
                                    struct qd_backup_error *error)
{
    struct stat st;

    if (!qd_folder_copy(AT_FDCWD, key_file, folder, QD_BACKUP_KEY_FILE, S_IRUSR | S_IWUSR)) {
        return qd_backup_errno(error, "copy the node's key to", making->path, QD_BACKUP_KEY_FILE);
    }
    if (fstatat(folder, QD_BACKUP_KEY_FILE, &st, 0) != 0) {
        return qd_backup_errno(error, "read", making->path, QD_BACKUP_KEY_FILE);
    }
    return qd_backup_info_add(info, QD_BACKUP_KEY_FILE, (uint64_t)st.st_size)
               ? QD_BACKUP_OK
               : qd_backup_error_set(error, QD_BACKUP_NO_MEMORY, "out of memory");
}

static enum qd_backup_code list_db(const struct qd_backup_making *making, int folder,
                                   struct qd_backup_info *info, struct qd_backup_error *error)
{
    struct listing listing = {.info = info};
    int db = qd_folder_open(folder, QD_BACKUP_DB);
    bool good = db >= 0 && qd_folder_each(db, list_file, &listing) && fsync(db) == 0;
    enum qd_backup_code code =
        good ? QD_BACKUP_OK : qd_backup_errno(error, "make durable", making->path, QD_BACKUP_DB);

    if (db >= 0) {
        (void)close(db);
    }
    return code;
}

static enum qd_backup_code write_list(const struct qd_backup_making *making, int folder,
                                      const struct qd_backup_info *info,
                                      struct qd_backup_error *error)
{
    size_t size = 0;
    char *text = qd_backup_info_encode(info, &size);

    if (text == NULL) {
        return qd_backup_error_set(error, QD_BACKUP_NO_MEMORY, "out of memory");
    }
    bool good = qd_folder_write(folder, QD_BACKUP_INFO_FILE, text, size,
                                S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    free(text);
    return good && fsync(folder) == 0
               ? QD_BACKUP_OK
               : qd_backup_errno(error, "write", making->path, QD_BACKUP_INFO_FILE);
}

static enum qd_backup_code give_name(const struct qd_backup_making *making, const char *name,
                                     struct qd_backup_error *error)
{
    int root = qd_folder_open(AT_FDCWD, making->root);
    enum qd_backup_code code = check_name(making->root, name, error);

    if (code == QD_BACKUP_OK && (root < 0 || renameat(root, PARTIAL, root, name) != 0)) {
        code = qd_backup_errno(error, "make", making->root, name);
    }
    if (code == QD_BACKUP_OK && fsync(root) != 0) {
        code = qd_backup_errno(error, "make durable", making->root, name);
    }
    if (root >= 0) {
        (void)close(root);
    }
    return code;
}

enum qd_backup_code qd_backup_finish(struct qd_backup_making *making, const char *key_file,
                                     const char *name, struct qd_backup_info *info,
                                     struct qd_backup_error *error)
{
    int folder = qd_folder_open(AT_FDCWD, making->path);
    enum qd_backup_code code =
        folder < 0 ? qd_backup_errno(error, "open", making->path, "") : QD_BACKUP_OK;

    if (code == QD_BACKUP_OK) {
        code = copy_key(making, folder, key_file, info, error);
    }
    if (code == QD_BACKUP_OK) {
        code = list_db(making, folder, info, error);
    }
    if (code == QD_BACKUP_OK) {
        code = write_list(making, folder, info, error);
    }
    if (code == QD_BACKUP_OK) {
        code = give_name(making, name, error);
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    if (code != QD_BACKUP_OK) {
        qd_backup_abandon(making);
        return code;
    }
    (void)close(making->lock_fd);
    making->lock_fd = -1;
    return QD_BACKUP_OK;
}
