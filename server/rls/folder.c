#include "server/rls/folder.h"

#include "server/rls/rules.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A list of texts from malloc. */
static bool append(struct qd_rls_folder *list, char *path)
{
    if (path == NULL) {
        return false;
    }
    if (list->count == list->capacity) {
        size_t more = list->capacity == 0 ? 16 : list->capacity * 2;
        char **grown = realloc(list->paths, more * sizeof *grown);
        if (grown == NULL) {
            free(path);
            return false;
        }
        list->paths = grown;
        list->capacity = more;
    }
    list->paths[list->count++] = path;
    return true;
}

void qd_rls_folder_release(struct qd_rls_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->paths[i]);
    }
    free(folder->paths);
    *folder = (struct qd_rls_folder){0};
}

static int compare_paths(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static bool refuse(struct qd_problems *problems, const char *dir, const char *what)
{
    qd_problems_add(problems, QD_SEVERITY_ERROR, dir, 0, 0, "%s", what);
    return false;
}

static char *join(const char *dir, const char *name)
{
    size_t dir_len = strlen(dir);
    size_t size = dir_len + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL) {
        bool has_slash = dir_len > 0 && dir[dir_len - 1] == '/';
        (void)snprintf(path, size, "%s%s%s", dir, has_slash ? "" : "/", name);
    }
    return path;
}

static bool has_end(const char *name, const char *end)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, end) == 0;
}

static bool is_yaml(const char *name)
{
    return has_end(name, ".yaml") || has_end(name, ".yml");
}

/* The paths of everything in `dir`, but for hidden names. The folder is closed again before any of
 * them is looked at. */
static bool read_names(const char *dir, struct qd_rls_folder *names, struct qd_problems *problems)
{
    DIR *stream = opendir(dir);
    if (stream == NULL) {
        return refuse(problems, dir, strerror(errno));
    }
    bool good = true;
    while (good) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) { /* half a folder would be a folder with fewer rules */
            good = errno == 0 || refuse(problems, dir, strerror(errno));
            break;
        }
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (names->count == QD_RLS_NAMES_MAX) {
            good = refuse(problems, dir, "too many files; at most 10000 in one folder");
        } else if (!append(names, join(dir, entry->d_name))) {
            good = refuse(problems, dir, "out of memory");
        }
    }
    (void)closedir(stream);
    return good;
}

static bool list_below(const char *dir, unsigned depth, struct qd_rls_folder *files,
                       struct qd_problems *problems);

static bool take(char **path, unsigned depth, struct qd_rls_folder *files,
                 struct qd_problems *problems)
{
    struct stat info;
    if (lstat(*path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return list_below(*path, depth + 1, files, problems);
    }
    /* Anything else with such a name is the reader's to refuse, by its own name. */
    bool found = stat(*path, &info) == 0;
    if (!is_yaml(*path) || (found && S_ISDIR(info.st_mode))) {
        if (found && S_ISREG(info.st_mode) && !has_end(*path, ".md")) {
            qd_problems_add(problems, QD_SEVERITY_WARNING, *path, 0, 0,
                            "left out: neither .yaml nor .yml");
        }
        return true;
    }
    if (files->count == QD_RLS_FILES_MAX) {
        return refuse(problems, *path, "too many files; at most 1000 are accepted");
    }
    char *mine = *path;
    *path = NULL;
    return append(files, mine) || refuse(problems, "", "out of memory");
}

static bool list_below(const char *dir, unsigned depth, struct qd_rls_folder *files,
                       struct qd_problems *problems)
{
    if (depth > QD_RLS_FOLDERS_MAX) {
        return refuse(problems, dir, "nested too deeply; at most 8 folders below each other");
    }
    struct qd_rls_folder names = {0};
    bool good = read_names(dir, &names, problems);
    for (size_t i = 0; good && i < names.count; i++) {
        good = take(&names.paths[i], depth, files, problems);
    }
    qd_rls_folder_release(&names);
    return good;
}

bool qd_rls_folder_list(const char *dir, struct qd_rls_folder *ret_folder,
                        struct qd_problems *problems)
{
    struct qd_rls_folder files = {0};
    if (!list_below(dir, 0, &files, problems)) {
        qd_rls_folder_release(&files);
        return false;
    }
    if (files.count > 0) {
        qsort(files.paths, files.count, sizeof *files.paths, compare_paths);
    }
    *ret_folder = files;
    return true;
}
