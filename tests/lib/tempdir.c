#include "tests/lib/tempdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPEN_FOLDERS_MAX = 16
};

static void die(const char *what, const char *path)
{
    fprintf(stderr, "tempdir: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

void qd_tempdir_init(struct qd_tempdir *dir)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || *base != '/') {
        base = "/tmp";
    }
    int length = snprintf(dir->path, sizeof dir->path, "%s/quotad-test-XXXXXX", base);
    if (length < 0 || (size_t)length >= sizeof dir->path) {
        errno = ENAMETOOLONG;
        die("name", base);
    }
    if (mkdtemp(dir->path) == NULL) {
        die("make", dir->path);
    }
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void qd_tempdir_release(struct qd_tempdir *dir)
{
    if (dir->path[0] == '\0') {
        return;
    }
    if (getenv("QD_KEEP_TMP") != NULL) {
        fprintf(stderr, "kept %s\n", dir->path);
    } else if (nftw(dir->path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        fprintf(stderr, "tempdir: remove %s: %s\n", dir->path, strerror(errno));
    }
    dir->path[0] = '\0';
}

char *qd_tempdir_path(const struct qd_tempdir *dir, const char *name, char ret_path[PATH_MAX])
{
    int length = snprintf(ret_path, PATH_MAX, "%s/%s", dir->path, name);
    if (length < 0 || length >= PATH_MAX) {
        errno = ENAMETOOLONG;
        die("name", name);
    }
    return ret_path;
}

void qd_tempdir_write(const struct qd_tempdir *dir, const char *name, const void *bytes,
                      size_t size)
{
    char path[PATH_MAX];
    FILE *file = fopen(qd_tempdir_path(dir, name, path), "wb");
    if (file == NULL) {
        die("open", path);
    }
    size_t written = fwrite(bytes, 1, size, file);
    if (fclose(file) != 0 || written != size) {
        die("write", path);
    }
}
