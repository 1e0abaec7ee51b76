#include "storage/kept_logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEFORE "db.before"

static bool is_log(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

/* The directory `name` in data_dir; NULL: it isn't there. */
static DIR *open_in(const char *data_dir, const char *name)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/%s", data_dir, name);
    return size > 0 && (size_t)size < sizeof path ? opendir(path) : NULL;
}

void qd_kept_logs_make(const char *data_dir)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/" BEFORE, data_dir);
    DIR *db = open_in(data_dir, "db");
    if (db == NULL || size < 0 || (size_t)size >= sizeof path) {
        return;
    }
    (void)mkdir(path, S_IRWXU);
    DIR *kept = opendir(path);
    for (const struct dirent *entry = kept != NULL ? readdir(db) : NULL; entry != NULL;
         entry = readdir(db)) {
        if (is_log(entry->d_name)) {
            (void)linkat(dirfd(db), entry->d_name, dirfd(kept), entry->d_name, 0);
        }
    }
    if (kept != NULL) {
        (void)closedir(kept);
    }
    (void)closedir(db);
}

void qd_kept_logs_drop(const char *data_dir)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/" BEFORE, data_dir);
    DIR *kept = open_in(data_dir, BEFORE);
    if (kept == NULL || size < 0 || (size_t)size >= sizeof path) {
        return;
    }
    for (const struct dirent *entry = readdir(kept); entry != NULL; entry = readdir(kept)) {
        if (is_log(entry->d_name)) {
            (void)unlinkat(dirfd(kept), entry->d_name, 0);
        }
    }
    (void)closedir(kept);
    (void)rmdir(path);
}

void qd_kept_logs_set_aside(const char *data_dir)
{
    DIR *dir = opendir(data_dir);
    if (dir == NULL) {
        return;
    }
    if (faccessat(dirfd(dir), QD_KEPT_LOGS_LOST, F_OK, 0) != 0) {
        (void)renameat(dirfd(dir), BEFORE, dirfd(dir), QD_KEPT_LOGS_LOST);
    }
    (void)closedir(dir);
    qd_kept_logs_drop(data_dir);
}
