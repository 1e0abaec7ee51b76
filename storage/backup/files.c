#include "storage/backup/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

enum qd_backup_code qd_backup_error_set(struct qd_backup_error *error, enum qd_backup_code code,
                                        const char *format, ...)
{
    va_list args;

    error->code = code;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return code;
}

enum qd_backup_code qd_backup_errno(struct qd_backup_error *error, const char *what,
                                    const char *folder, const char *name)
{
    char reason[96];
    enum qd_backup_code code = QD_BACKUP_IO;

    if (errno == ENOSPC || errno == EDQUOT) {
        code = QD_BACKUP_FULL;
    } else if (errno == EACCES || errno == EPERM || errno == EROFS || errno == ENOENT ||
               errno == ENOTDIR) {
        code = QD_BACKUP_ACCESS;
    } else if (errno == ENOMEM) {
        code = QD_BACKUP_NO_MEMORY;
    }
    const char *text = strerror_r(errno, reason, sizeof(reason));
    return qd_backup_error_set(error, code, "cannot %s %s%s%s: %s", what, folder,
                               name[0] != '\0' ? "/" : "", name, text);
}

int qd_folder_open(int at, const char *path)
{
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool qd_folder_each(int folder, bool (*visit)(void *context, int folder, const char *name),
                    void *context)
{
    int fd = qd_folder_open(folder, "."); /* a place to read from that is its own */
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    bool go_on = true;

    if (dir == NULL) {
        int code = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        errno = code;
        return false;
    }
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL && go_on; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            go_on = visit(context, folder, entry->d_name);
        }
        errno = go_on ? 0 : errno;
    }
    go_on = go_on && errno == 0;
    int code = errno;
    (void)closedir(dir);
    errno = code;
    return go_on;
}

static bool remove_one(void *context, int folder, const char *name)
{
    const bool *deeper = context;

    if (unlinkat(folder, name, 0) == 0) {
        return true;
    }
    if (errno != EISDIR || !*deeper) {
        return false;
    }
    int inner = qd_folder_open(folder, name);
    bool no_deeper = false;
    bool removed = inner >= 0 && qd_folder_each(inner, remove_one, &no_deeper);
    int code = errno;
    if (inner >= 0) {
        (void)close(inner);
    }
    errno = code;
    return removed && unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

bool qd_folder_remove(int at, const char *name)
{
    int folder = qd_folder_open(at, name);
    bool deeper = true;

    if (folder < 0) {
        return errno == ENOENT;
    }
    bool removed = qd_folder_each(folder, remove_one, &deeper);
    int code = errno;
    (void)close(folder);
    errno = code;
    return removed && unlinkat(at, name, AT_REMOVEDIR) == 0;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        }
    }
    return true;
}

static bool copy_bytes(int in, int out)
{
    char *buffer = malloc(COPY_BYTES);
    bool good = buffer != NULL;

    while (good) {
        ssize_t size = read(in, buffer, COPY_BYTES);
        if (size == 0) {
            break;
        }
        good = size > 0 ? write_all(out, buffer, (size_t)size) : errno == EINTR;
    }
    int code = errno;
    free(buffer);
    errno = code;
    return good;
}

/* Close; the errno of what came before stays. */
static bool close_after(int fd, bool good)
{
    int code = errno;

    if (close(fd) != 0 && good) {
        return false;
    }
    errno = code;
    return good;
}

bool qd_folder_copy(int from, const char *from_name, int to, const char *to_name, mode_t mode)
{
    int in = openat(from, from_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0) {
        return false;
    }
    int out = openat(to, to_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (out < 0) {
        return close_after(in, false);
    }
    bool good = copy_bytes(in, out) && fsync(out) == 0;
    good = close_after(out, good);
    return close_after(in, good);
}

bool qd_folder_write(int at, const char *name, const void *bytes, size_t size, mode_t mode)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    return fd >= 0 && close_after(fd, write_all(fd, bytes, size) && fsync(fd) == 0);
}

char *qd_folder_read(int at, const char *name, size_t max, size_t *ret_size)
{
    struct stat st;
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return NULL;
    }
    char *bytes = NULL;
    size_t size = 0;
    if (fstat(fd, &st) == 0) {
        errno = EFBIG;
        bytes = (size_t)st.st_size <= max ? malloc((size_t)st.st_size + 1) : NULL;
    }
    bool good = bytes != NULL;
    while (good && size < (size_t)st.st_size) {
        ssize_t got = read(fd, bytes + size, (size_t)st.st_size - size);
        if (got == 0) {
            break;
        }
        good = got > 0 || errno == EINTR;
        size += got > 0 ? (size_t)got : 0;
    }
    if (!close_after(fd, good)) {
        free(bytes);
        return NULL;
    }
    *ret_size = size;
    return bytes;
}
