/* LD_PRELOAD: a disk that can lose power and fail, beneath whatever writes files under
 * $QD_DISK_DIR. Notes in $QD_DISK_JOURNAL (disk_journal.h) how much of each file was synced, and
 * whether its name was; `disk_tool cut` takes the rest away after a kill -9.
 *
 * A new file whose directory was not synced is gone. A rename or an unlink is kept at once, and
 * with it what happened in its directory before: file systems write down what becomes of names in
 * order, and RocksDB, which renames CURRENT before it syncs the directory that its MANIFEST is new
 * in, counts on that. Bytes written over synced ones stay (RocksDB only appends). Files that were
 * there before the journal count as synced. Writes through mmap are not seen: RocksDB makes none
 * with our options. */
/* The C library declares what is replaced here under parameter names of its own. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
#define _GNU_SOURCE
#include "tests/e2e/tool/disk_journal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536

static struct disk_journal *journal;
static const char *directory;
static size_t directory_len;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint16_t file_of[FDS_MAX]; /* place + 1; 0: not ours */

#define REAL(name) ((__typeof__(&(name)))real(#name))

static void *real(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) {
        abort();
    }
    return symbol;
}

__attribute__((constructor)) static void shim_open(void)
{
    const char *path = getenv("QD_DISK_JOURNAL");
    directory = getenv("QD_DISK_DIR");
    if (path == NULL || directory == NULL) {
        return;
    }
    directory_len = strlen(directory);
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    void *map = fd >= 0 ? mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                        : MAP_FAILED;
    if (map == MAP_FAILED) {
        static const char text[] = "disk_shim: no journal: make one with disk_tool new\n";
        (void)REAL(write)(STDERR_FILENO, text, sizeof text - 1);
        _exit(99);
    }
    (void)REAL(close)(fd);
    journal = map;
}

static bool is_ours(const char *path)
{
    return journal != NULL && strncmp(path, directory, directory_len) == 0 &&
           path[directory_len] == '/' && strlen(path) < DISK_PATH_MAX;
}

/* --- the journal (the mutex is held) --- */

static struct disk_file *find(const char *path)
{
    for (size_t i = 0; i < DISK_FILES_MAX; i++) {
        if (strcmp(journal->files[i].path, path) == 0) {
            return &journal->files[i];
        }
    }
    return NULL;
}

static struct disk_file *find_or_add(const char *path)
{
    struct disk_file *file = find(path);
    if (file == NULL) {
        file = find("");
        if (file == NULL) {
            abort();
        }
        *file = (struct disk_file){.synced = 0};
        (void)snprintf(file->path, sizeof file->path, "%s", path);
    }
    return file;
}

static void forget(const char *path)
{
    struct disk_file *file = find(path);
    if (file != NULL) {
        file->path[0] = '\0';
    }
}

static struct disk_file *file_at(int fd)
{
    return fd >= 0 && fd < FDS_MAX && file_of[fd] != 0 ? &journal->files[file_of[fd] - 1] : NULL;
}

/* `before`: as the file was, NULL: it was not there. */
static void opened(int fd, const char *path, int flags, const struct stat *before)
{
    if (fd < 0 || fd >= FDS_MAX || (flags & O_ACCMODE) == O_RDONLY) {
        return;
    }
    (void)pthread_mutex_lock(&mutex);
    bool known = find(path) != NULL;
    struct disk_file *file = find_or_add(path);
    if (before == NULL) {
        file->synced = 0;
        file->linked = 0;
        file->poisoned = 0;
    } else if (!known) {
        file->synced = (uint64_t)before->st_size;
        file->linked = 1;
    }
    if ((flags & O_TRUNC) != 0) {
        file->synced = 0;
    }
    file_of[fd] = (uint16_t)(file - journal->files + 1);
    (void)pthread_mutex_unlock(&mutex);
}

/* --- opening and closing --- */

static int open_any(int (*real_open)(const char *, int, ...), const char *path, int flags,
                    mode_t mode)
{
    struct stat before;
    if (!is_ours(path)) {
        return real_open(path, flags, mode);
    }
    bool was_there = stat(path, &before) == 0;
    int fd = real_open(path, flags, mode);
    opened(fd, path, flags, was_there ? &before : NULL);
    return fd;
}

#define MODE_OF(flags, mode)                            \
    do {                                                \
        if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) { \
            va_list arguments;                          \
            va_start(arguments, flags);                 \
            (mode) = va_arg(arguments, mode_t);         \
            va_end(arguments);                          \
        }                                               \
    } while (0)

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(REAL(open), path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(REAL(open64), path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
    return open_any(REAL(open), path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    struct stat before;
    mode_t mode = 0;
    MODE_OF(flags, mode);
    if (!is_ours(path)) { /* absolute ones only */
        return REAL(openat)(at, path, flags, mode);
    }
    bool was_there = stat(path, &before) == 0;
    int fd = REAL(openat)(at, path, flags, mode);
    opened(fd, path, flags, was_there ? &before : NULL);
    return fd;
}

int close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX) {
        file_of[fd] = 0;
    }
    return REAL(close)(fd);
}

/* --- writing --- */

static bool write_fails(int fd)
{
    if (journal == NULL || file_at(fd) == NULL) {
        return false;
    }
    int error = atomic_load(&journal->write_errno);
    errno = error != 0 ? error : errno;
    return error != 0;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    return write_fails(fd) ? -1 : REAL(write)(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_fails(fd) ? -1 : REAL(pwrite)(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return write_fails(fd) ? -1 : REAL(pwrite64)(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_fails(fd) ? -1 : REAL(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_fails(fd) ? -1 : REAL(pwritev)(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return write_fails(fd) ? -1 : REAL(pwritev64)(fd, parts, count, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return write_fails(fd) ? -1 : REAL(fallocate)(fd, mode, offset, len);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return write_fails(fd) ? -1 : REAL(fallocate64)(fd, mode, offset, len);
}

static void shortened(int fd, uint64_t size)
{
    if (journal == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&mutex);
    struct disk_file *file = file_at(fd);
    if (file != NULL && file->synced > size) {
        file->synced = size;
    }
    (void)pthread_mutex_unlock(&mutex);
}

int ftruncate(int fd, off_t size)
{
    int code = REAL(ftruncate)(fd, size);
    if (code == 0) {
        shortened(fd, (uint64_t)size);
    }
    return code;
}

int ftruncate64(int fd, off64_t size)
{
    int code = REAL(ftruncate64)(fd, size);
    if (code == 0) {
        shortened(fd, (uint64_t)size);
    }
    return code;
}

/* --- syncing --- */

/* The names in the directory are durable now; the mutex is held. */
static void names_synced(const char *path, size_t size)
{
    for (size_t i = 0; i < DISK_FILES_MAX; i++) {
        struct disk_file *file = &journal->files[i];
        const char *slash = strrchr(file->path, '/');
        if (slash != NULL && (size_t)(slash - file->path) == size &&
            strncmp(file->path, path, size) == 0) {
            file->linked = 1;
        }
    }
}

/* All that is in the directory of this file; before it changes, as the process may end in between.
 */
static void neighbours_synced(const char *path)
{
    (void)pthread_mutex_lock(&mutex);
    names_synced(path, (size_t)(strrchr(path, '/') - path));
    (void)pthread_mutex_unlock(&mutex);
}

static void directory_synced(int fd)
{
    char link[64];
    char path[DISK_PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) {
        return;
    }
    (void)pthread_mutex_lock(&mutex);
    names_synced(path, (size_t)size);
    (void)pthread_mutex_unlock(&mutex);
}

static void file_synced(int fd, uint64_t size)
{
    (void)pthread_mutex_lock(&mutex);
    struct disk_file *file = file_at(fd);
    if (file != NULL && !file->poisoned && file->synced < size) {
        file->synced = size;
    }
    (void)pthread_mutex_unlock(&mutex);
}

static void sync_failed(int fd)
{
    (void)pthread_mutex_lock(&mutex);
    struct disk_file *file = file_at(fd);
    if (file != NULL) {
        file->poisoned = 1;
    }
    (void)pthread_mutex_unlock(&mutex);
}

static int sync_any(int (*real_sync)(int), int fd)
{
    struct stat before; /* what is written meanwhile may not be in it */
    if (journal == NULL || fstat(fd, &before) != 0) {
        return real_sync(fd);
    }
    bool is_directory = S_ISDIR(before.st_mode);
    int error = atomic_load(&journal->sync_errno);
    if (error != 0 && (is_directory || file_at(fd) != NULL)) {
        sync_failed(fd);
        errno = error;
        return -1;
    }
    int code = real_sync(fd);
    if (code == 0 && is_directory) {
        directory_synced(fd);
    } else if (code == 0) {
        file_synced(fd, (uint64_t)before.st_size);
    }
    return code;
}

int fsync(int fd)
{
    return sync_any(REAL(fsync), fd);
}

int fdatasync(int fd)
{
    return sync_any(REAL(fdatasync), fd);
}

/* --- names --- */

int rename(const char *from, const char *to)
{
    if (is_ours(to)) {
        neighbours_synced(to);
    }
    int code = REAL(rename)(from, to);
    if (code != 0 || !is_ours(from) || !is_ours(to)) {
        return code;
    }
    (void)pthread_mutex_lock(&mutex);
    struct disk_file *file = find(from);
    forget(to);
    if (file != NULL) {
        (void)snprintf(file->path, sizeof file->path, "%s", to);
        file->linked = 1;
    }
    (void)pthread_mutex_unlock(&mutex);
    return code;
}

int unlink(const char *path)
{
    if (is_ours(path)) {
        neighbours_synced(path);
    }
    int code = REAL(unlink)(path);
    if (code == 0 && is_ours(path)) {
        (void)pthread_mutex_lock(&mutex);
        forget(path);
        (void)pthread_mutex_unlock(&mutex);
    }
    return code;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
