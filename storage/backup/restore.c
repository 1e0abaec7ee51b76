/* Restoring a backup.
 *
 * All is copied below TO/restoring and synced. Then the key and the mark move to their places, and
 * at the very end restoring/db becomes db: as long as restoring/db is there, the restore has not
 * ended, and no node starts. */
#include "storage/backup/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTORING    "restoring"
#define PID_FILE     "quotad.pid" /* the lock of storage/data_dir.h */
#define NUMBER_BYTES 32

enum qd_backup_code qd_backup_check(const char *from, struct qd_backup_info *ret_info,
                                    struct qd_backup_error *error)
{
    int folder = qd_folder_open(AT_FDCWD, from);
    if (folder < 0) {
        return qd_backup_errno(error, "open the backup", from, "");
    }
    size_t size = 0;
    struct qd_backup_info info = {0};
    enum qd_backup_code code = QD_BACKUP_OK;
    char *text = qd_folder_read(folder, QD_BACKUP_INFO_FILE, QD_BACKUP_INFO_BYTES, &size);
    if (text == NULL && errno == ENOENT) {
        code = qd_backup_error_set(error, QD_BACKUP_DAMAGED,
                                   "%s is no backup: it has no file \"" QD_BACKUP_INFO_FILE
                                   "\"; name a folder that quotactl backup made",
                                   from);
    } else if (text == NULL) {
        code = qd_backup_errno(error, "read", from, QD_BACKUP_INFO_FILE);
    } else {
        switch (qd_backup_info_decode((struct qd_str){text, size}, &info)) {
        case QD_BACKUP_DECODED:
            break;
        case QD_BACKUP_DECODED_BAD:
            code = qd_backup_error_set(error, QD_BACKUP_DAMAGED,
                                       "%s/" QD_BACKUP_INFO_FILE
                                       " is damaged: this is not all of a backup; copy it again "
                                       "from where it was made",
                                       from);
            break;
        case QD_BACKUP_DECODED_NEWER:
            code = qd_backup_error_set(error, QD_BACKUP_NEWER,
                                       "%s was made by a newer version: restore it with that "
                                       "version's quotactl",
                                       from);
            break;
        case QD_BACKUP_DECODED_NO_MEMORY:
            code = qd_backup_error_set(error, QD_BACKUP_NO_MEMORY, "out of memory");
            break;
        }
    }
    free(text);
    bool has_key = false;
    bool has_db = false;
    for (size_t i = 0; code == QD_BACKUP_OK && i < info.file_count; i++) {
        struct stat st;
        const struct qd_backup_file *file = &info.files[i];
        has_key |= strcmp(file->path, QD_BACKUP_KEY_FILE) == 0;
        has_db |= strcmp(file->path, QD_BACKUP_DB "/CURRENT") == 0;
        if (fstatat(folder, file->path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            code = qd_backup_error_set(error, QD_BACKUP_DAMAGED, "%s lacks its file %s", from,
                                       file->path);
        } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->bytes) {
            code = qd_backup_error_set(error, QD_BACKUP_DAMAGED,
                                       "%s/%s has %lld bytes, the backup was made with %" PRIu64,
                                       from, file->path, (long long)st.st_size, file->bytes);
        }
    }
    if (code == QD_BACKUP_OK && (!has_key || !has_db)) {
        code = qd_backup_error_set(error, QD_BACKUP_DAMAGED, "%s lists no store or no key", from);
    }
    (void)close(folder);
    if (code != QD_BACKUP_OK) {
        qd_backup_info_release(&info);
        return code;
    }
    *ret_info = info;
    return QD_BACKUP_OK;
}

/* --- the place --- */

struct restoring {
    const char *from;
    const char *to;
    int from_fd;
    int to_fd;
    int lock_fd;
    int stage_fd; /* TO/restoring */
    bool unfinished;
    char stranger[256]; /* something in TO that is not ours */
};

static bool look_at(void *context, int folder, const char *name)
{
    struct restoring *r = context;

    (void)folder;
    if (strcmp(name, PID_FILE) == 0 || strcmp(name, "lost+found") == 0 ||
        strcmp(name, RESTORING) == 0) {
        return true;
    }
    if (r->unfinished &&
        (strcmp(name, QD_BACKUP_KEY_FILE) == 0 || strcmp(name, QD_RESTORED_FILE) == 0)) {
        return true; /* moved there by the restore that did not end */
    }
    (void)snprintf(r->stranger, sizeof(r->stranger), "%s", name);
    errno = ENOTEMPTY;
    return false;
}

static enum qd_backup_code lock_place(struct restoring *r, struct qd_backup_error *error)
{
    r->lock_fd = openat(r->to_fd, PID_FILE, O_RDWR | O_CREAT | O_CLOEXEC,
                        S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    if (r->lock_fd < 0) {
        return qd_backup_errno(error, "open", r->to, PID_FILE);
    }
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? qd_backup_error_set(error, QD_BACKUP_BUSY,
                                         "%s is in use by a running quotad: restore to another "
                                         "folder, or stop it first",
                                         r->to)
                   : qd_backup_errno(error, "lock", r->to, PID_FILE);
    }
    return QD_BACKUP_OK;
}

/* Make it if need be, lock it, and see that nothing of anybody's is in it. */
static enum qd_backup_code take_place(struct restoring *r, struct qd_backup_error *error)
{
    if (mkdir(r->to, S_IRWXU) != 0 && errno != EEXIST) {
        return qd_backup_errno(error, "make", r->to, "");
    }
    r->to_fd = qd_folder_open(AT_FDCWD, r->to);
    if (r->to_fd < 0) {
        return qd_backup_errno(error, "open", r->to, "");
    }
    r->unfinished = qd_restore_unfinished(r->to);
    if (!qd_folder_each(r->to_fd, look_at, r)) {
        return r->stranger[0] == '\0'
                   ? qd_backup_errno(error, "read", r->to, "")
                   : qd_backup_error_set(error, QD_BACKUP_INVALID,
                                         "%s is not empty: \"%.60s\" is there; a backup is "
                                         "restored to a new or an empty folder only",
                                         r->to, r->stranger);
    }
    enum qd_backup_code code = lock_place(r, error);
    if (code != QD_BACKUP_OK) {
        return code;
    }
    if ((unlinkat(r->to_fd, QD_BACKUP_KEY_FILE, 0) != 0 && errno != ENOENT) ||
        (unlinkat(r->to_fd, QD_RESTORED_FILE, 0) != 0 && errno != ENOENT) ||
        !qd_folder_remove(r->to_fd, RESTORING)) {
        return qd_backup_errno(error, "remove what a restore left in", r->to, RESTORING);
    }
    /* The mark of what has not ended comes before anything else. */
    if (mkdirat(r->to_fd, RESTORING, S_IRWXU) != 0 ||
        mkdirat(r->to_fd, RESTORING "/" QD_BACKUP_DB, S_IRWXU) != 0 || fsync(r->to_fd) != 0) {
        return qd_backup_errno(error, "make", r->to, RESTORING);
    }
    r->stage_fd = qd_folder_open(r->to_fd, RESTORING);
    return r->stage_fd >= 0 ? QD_BACKUP_OK : qd_backup_errno(error, "open", r->to, RESTORING);
}

/* --- copying --- */

static enum qd_backup_code copy_files(const struct restoring *r, const struct qd_backup_info *info,
                                      int64_t now_unix_s, struct qd_backup_error *error)
{
    char number[NUMBER_BYTES];
    int size = snprintf(number, sizeof(number), "%" PRId64 "\n", now_unix_s);

    for (size_t i = 0; i < info->file_count; i++) {
        const char *path = info->files[i].path;
        if (!qd_folder_copy(r->from_fd, path, r->stage_fd, path, S_IRUSR | S_IWUSR)) {
            return qd_backup_errno(error, "copy to", r->to, path);
        }
    }
    if (!qd_folder_write(r->stage_fd, QD_RESTORED_FILE, number, (size_t)size, S_IRUSR | S_IWUSR)) {
        return qd_backup_errno(error, "write", r->to, QD_RESTORED_FILE);
    }
    int db = qd_folder_open(r->stage_fd, QD_BACKUP_DB);
    bool good = db >= 0 && fsync(db) == 0 && fsync(r->stage_fd) == 0;
    enum qd_backup_code code =
        good ? QD_BACKUP_OK : qd_backup_errno(error, "make durable", r->to, RESTORING);
    if (db >= 0) {
        (void)close(db);
    }
    return code;
}

static enum qd_backup_code move_to_places(const struct restoring *r, struct qd_backup_error *error)
{
    if (renameat(r->stage_fd, QD_BACKUP_KEY_FILE, r->to_fd, QD_BACKUP_KEY_FILE) != 0 ||
        renameat(r->stage_fd, QD_RESTORED_FILE, r->to_fd, QD_RESTORED_FILE) != 0 ||
        fsync(r->to_fd) != 0 || renameat(r->stage_fd, QD_BACKUP_DB, r->to_fd, QD_BACKUP_DB) != 0 ||
        fsync(r->to_fd) != 0 || unlinkat(r->to_fd, RESTORING, AT_REMOVEDIR) != 0) {
        return qd_backup_errno(error, "move what was copied to", r->to, "");
    }
    return QD_BACKUP_OK;
}

enum qd_backup_code qd_backup_restore(const char *from, const char *to, int64_t now_unix_s,
                                      struct qd_backup_info *ret_info,
                                      struct qd_backup_error *error)
{
    struct restoring r = {
        .from = from, .to = to, .from_fd = -1, .to_fd = -1, .lock_fd = -1, .stage_fd = -1};
    struct qd_backup_info info = {0};
    enum qd_backup_code code = qd_backup_check(from, &info, error);
    if (code != QD_BACKUP_OK) {
        return code;
    }
    r.from_fd = qd_folder_open(AT_FDCWD, from);
    code = r.from_fd >= 0 ? QD_BACKUP_OK : qd_backup_errno(error, "open the backup", from, "");
    if (code == QD_BACKUP_OK) {
        code = take_place(&r, error);
    }
    if (code == QD_BACKUP_OK) {
        code = copy_files(&r, &info, now_unix_s, error);
    }
    if (code == QD_BACKUP_OK) {
        code = move_to_places(&r, error);
    }
    int fds[] = {r.from_fd, r.stage_fd, r.lock_fd, r.to_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    if (code != QD_BACKUP_OK) {
        qd_backup_info_release(&info);
        return code;
    }
    *ret_info = info;
    return QD_BACKUP_OK;
}

/* --- what a node asks --- */

bool qd_is_backup(const char *folder)
{
    char path[PATH_MAX];
    struct stat st;
    int size = snprintf(path, sizeof(path), "%s/" QD_BACKUP_INFO_FILE, folder);

    return size > 0 && (size_t)size < sizeof(path) && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool qd_restore_unfinished(const char *data_dir)
{
    char path[PATH_MAX];
    struct stat st;
    int size = snprintf(path, sizeof(path), "%s/" RESTORING "/" QD_BACKUP_DB, data_dir);

    return size > 0 && (size_t)size < sizeof(path) && lstat(path, &st) == 0;
}

int64_t qd_restored_at(const char *data_dir)
{
    int folder = qd_folder_open(AT_FDCWD, data_dir);
    if (folder < 0) {
        return 0;
    }
    size_t size = 0;
    char *text = qd_folder_read(folder, QD_RESTORED_FILE, NUMBER_BYTES, &size);
    int64_t seconds = 0;
    if (text != NULL) {
        text[size] = '\0';
        seconds = strtoll(text, NULL, 10);
    }
    free(text);
    (void)close(folder);
    return seconds > 0 ? seconds : 0;
}

bool qd_restored_forget(const char *data_dir)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/" QD_RESTORED_FILE, data_dir);

    return size > 0 && (size_t)size < sizeof(path) && (unlink(path) == 0 || errno == ENOENT);
}
