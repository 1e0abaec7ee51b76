/* What happens to the disk beneath a node that runs with disk_shim.c.
 *
 *     disk_tool new JOURNAL                       an empty journal
 *     disk_tool cut JOURNAL [SEED]                after kill -9: the power was lost. Without SEED
 *                                                 nothing that was not synced is left; with it a
 *                                                 random part is, and its end may be torn
 *     disk_tool fail JOURNAL write|sync ERRNO     from now on, for a node that runs: 5 is EIO,
 *                                                 28 ENOSPC, 30 EROFS
 *     disk_tool heal JOURNAL                      no failures any more
 *
 * `cut` prints what it took. */
#include "tests/e2e/tool/disk_journal.h"
#include "tests/lib/prng.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512U /* what a disk writes as a whole */

struct cut {
    struct qd_prng prng;
    bool torn; /* something of the unsynced is left */
    uint64_t files;
    uint64_t bytes;
    uint64_t removed;
};

static int fail(const char *what, const char *path)
{
    (void)fprintf(stderr, "disk_tool: %s ", what);
    perror(path);
    return EXIT_FAILURE;
}

static struct disk_journal *map(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof(struct disk_journal)) != 0) {
        return NULL;
    }
    void *at = mmap(NULL, sizeof(struct disk_journal), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return at != MAP_FAILED ? at : NULL;
}

/* Rubbish where the last sector was on its way when the power went. */
static bool tear(struct cut *cut, int fd, uint64_t from, uint64_t to)
{
    uint8_t rubbish[SECTOR / 2];
    uint64_t size = to - from < sizeof rubbish ? to - from : sizeof rubbish;
    if (qd_prng_chance(&cut->prng, 1, 2)) {
        memset(rubbish, 0, sizeof rubbish);
    } else {
        qd_prng_fill(&cut->prng, rubbish, sizeof rubbish);
    }
    return pwrite(fd, rubbish, (size_t)size, (off_t)(to - size)) == (ssize_t)size;
}

static bool cut_file(struct cut *cut, struct disk_file *file, uint64_t size)
{
    uint64_t keep = file->synced;
    if (cut->torn) {
        keep += qd_prng_below(&cut->prng, size - keep + 1);
    }
    int fd = open(file->path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && ftruncate(fd, (off_t)keep) == 0;
    if (done && keep > file->synced && qd_prng_chance(&cut->prng, 1, 2)) {
        done = tear(cut, fd, file->synced, keep);
    }
    (void)close(fd);
    cut->files++;
    cut->bytes += size - keep;
    file->synced = keep;
    return done;
}

static int cut_all(struct disk_journal *journal, struct cut *cut)
{
    for (size_t i = 0; i < DISK_FILES_MAX; i++) {
        struct disk_file *file = &journal->files[i];
        struct stat st;
        if (file->path[0] == '\0') {
            continue;
        }
        if (stat(file->path, &st) != 0) {
            file->path[0] = '\0';
        } else if (!file->linked && !(cut->torn && qd_prng_chance(&cut->prng, 1, 2))) {
            if (unlink(file->path) != 0) {
                return fail("removing", file->path);
            }
            file->path[0] = '\0';
            cut->removed++;
        } else if ((uint64_t)st.st_size > file->synced) {
            if (!cut_file(cut, file, (uint64_t)st.st_size)) {
                return fail("cutting", file->path);
            }
        }
        file->linked = 1;
        file->poisoned = 0;
    }
    (void)printf("power lost: %" PRIu64 " files cut by %" PRIu64 " bytes, %" PRIu64 " gone\n",
                 cut->files, cut->bytes, cut->removed);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    bool is_new = strcmp(verb, "new") == 0;
    struct disk_journal *journal = argc > 2 ? map(argv[2], is_new ? O_CREAT | O_TRUNC : 0) : NULL;
    if (journal == NULL) {
        return argc > 2 ? fail("mapping", argv[2]) : 64;
    }
    if (strcmp(verb, "cut") == 0) {
        struct cut cut = {.torn = argc > 3};
        qd_prng_init(&cut.prng, argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
        return cut_all(journal, &cut);
    }
    if (strcmp(verb, "fail") == 0 && argc == 5) {
        int error = (int)strtol(argv[4], NULL, 10);
        atomic_store(strcmp(argv[3], "sync") == 0 ? &journal->sync_errno : &journal->write_errno,
                     error);
        return EXIT_SUCCESS;
    }
    if (strcmp(verb, "heal") == 0) {
        atomic_store(&journal->write_errno, 0);
        atomic_store(&journal->sync_errno, 0);
        return EXIT_SUCCESS;
    }
    return is_new ? EXIT_SUCCESS : 64;
}
