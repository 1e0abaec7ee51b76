#include "server/policy/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool refuse(struct qd_problems *problems, const char *path, const char *what)
{
    qd_problems_add(problems, QD_SEVERITY_ERROR, path, 0, 0, "%s", what);
    return false;
}

static bool read_all(FILE *in, const char *path, size_t max, struct qd_file *ret_file,
                     struct qd_problems *problems)
{
    struct stat info;
    if (fstat(fileno(in), &info) != 0) {
        return refuse(problems, path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return refuse(problems, path, "not a file; the path of a regular file is accepted");
    }
    if (info.st_size < 0 || (uintmax_t)info.st_size > max) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, path, 0, 0,
                        "too large; at most %zu MiB are accepted", max >> 20);
        return false;
    }
    size_t size = (size_t)info.st_size;
    char *bytes = malloc(size + 1);
    if (bytes == NULL) {
        return refuse(problems, path, "out of memory");
    }
    size = fread(bytes, 1, size, in);
    if (ferror(in)) {
        free(bytes);
        return refuse(problems, path, strerror(errno));
    }
    bytes[size] = '\0';
    *ret_file = (struct qd_file){bytes, size};
    return true;
}

bool qd_file_read(const char *path, size_t max, struct qd_file *ret_file,
                  struct qd_problems *problems)
{
    /* O_NONBLOCK: a pipe must not hold us up before it is seen to be none. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return refuse(problems, path, strerror(errno));
    }
    FILE *in = fdopen(fd, "rb");
    if (in == NULL) {
        (void)close(fd);
        return refuse(problems, path, "out of memory");
    }
    bool good = read_all(in, path, max, ret_file, problems);
    (void)fclose(in);
    return good;
}

void qd_file_release(struct qd_file *file)
{
    free(file->bytes);
    *file = (struct qd_file){0};
}

char *qd_file_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return strdup(".");
    }
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}
