/* Runs every file of the given folders (or the given files) through a fuzz target: the corpus as a
 * test, in builds without libFuzzer. The empty input is always run too. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Returns 0, or -1 with a message printed. */
static int replay_file(const char *path, unsigned *counted)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return 0;
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1);
    int rc = -1;
    if (data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        goto out;
    }
    printf("replay %s (%zu bytes)\n", path, size);
    fflush(stdout); /* A crash in the target must leave the name of its input. */
    (void)LLVMFuzzerTestOneInput(data, size);
    *counted += 1;
    rc = 0;
out:
    free(data);
    fclose(file);
    return rc;
}

static int replay_folder(const char *path, unsigned *counted)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int rc = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.' && rc == 0) {
            char file[PATH_MAX];
            snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
            rc = replay_file(file, counted);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

int main(int argc, char **argv)
{
    unsigned counted = 0;
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        int is_folder = stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode);
        int rc = is_folder ? replay_folder(argv[i], &counted) : replay_file(argv[i], &counted);
        if (rc != 0) {
            return 1;
        }
    }
    printf("replayed %u inputs\n", counted);
    if (counted == 0) {
        fprintf(stderr,
                "no input found: every fuzz target needs seeds in tests/fuzz/corpus/<name>\n");
        return 1;
    }
    return 0;
}
