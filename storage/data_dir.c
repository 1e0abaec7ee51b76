#include "storage/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID_FILE "quotad.pid"

static enum qd_store_err access_error(struct qd_store_error *error, const char *what,
                                      const char *path)
{
    char reason[96];
    enum qd_store_err code = errno == ENOSPC ? QD_STORE_FULL : QD_STORE_ACCESS;
    return qd_store_error_set(error, code, "cannot %s %s: %s", what, path,
                              strerror_r(errno, reason, sizeof reason));
}

static enum qd_store_err in_use(int fd, const char *path, struct qd_store_error *error)
{
    char text[32] = {0};
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;
    if (pid <= 0) {
        return qd_store_error_set(error, QD_STORE_IN_USE,
                                  "data directory in use by another process: %s", path);
    }
    return qd_store_error_set(error, QD_STORE_IN_USE, "data directory in use by pid %ld", pid);
}

static bool write_pid(int fd)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size;
}

bool qd_data_dir_sync_entry(const char *path)
{
    char parent[PATH_MAX];
    if (snprintf(parent, sizeof parent, "%s", path) >= (int)sizeof parent) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool done = fsync(fd) == 0;
    int reason = errno;
    close(fd);
    errno = reason;
    return done;
}

/* 0 if it is there, and will be after a loss of power. */
static int make(const char *path)
{
    if (mkdir(path, S_IRWXU) != 0) {
        return errno == EEXIST ? 0 : -1;
    }
    return qd_data_dir_sync_entry(path) ? 0 : -1;
}

enum qd_store_err qd_data_dir_lock(const char *path, struct qd_data_dir *ret_dir,
                                   struct qd_store_error *error)
{
    char file[PATH_MAX];
    int size = snprintf(file, sizeof file, "%s/" PID_FILE, path);
    if (path[0] == '\0' || size < 0 || (size_t)size >= sizeof file) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "data directory: a path of 1 to %d bytes is expected",
                                  PATH_MAX - (int)sizeof PID_FILE - 1);
    }
    if (make(path) != 0) {
        return access_error(error, "make data directory", path);
    }
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    if (fd < 0) {
        return access_error(error, "open", file);
    }
    enum qd_store_err err = QD_STORE_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? in_use(fd, path, error) : access_error(error, "lock", file);
    } else if (!write_pid(fd)) {
        err = access_error(error, "write", file);
    }
    if (err != QD_STORE_OK) {
        close(fd);
        return err;
    }
    ret_dir->lock_fd = fd;
    return QD_STORE_OK;
}

void qd_data_dir_unlock(struct qd_data_dir *dir)
{
    if (dir->lock_fd >= 0) {
        /* The file stays: unlinking it would let two owners hold two files of one name. */
        if (ftruncate(dir->lock_fd, 0) != 0) {
            /* An outdated pid in an unlocked file does no harm. */
        }
        close(dir->lock_fd);
        dir->lock_fd = -1;
    }
}
