/* What the disk shim knows of each file, in a file of its own that both it and disk_tool map: it
 * outlives kill -9.
 *
 * Layer:    tests. Threads: the shim guards it by a mutex; disk_tool runs while the node does not,
 *           but for the faults, which are single words.
 * Memory:   a mapped file, zeroed when new. */
#ifndef QD_TESTS_DISK_JOURNAL_H
#define QD_TESTS_DISK_JOURNAL_H

#include <stdatomic.h>
#include <stdint.h>

#define DISK_FILES_MAX 4096
#define DISK_PATH_MAX  232

struct disk_file {
    char path[DISK_PATH_MAX]; /* "": a free place */
    uint64_t synced;          /* bytes that survive a loss of power */
    uint32_t linked;          /* its name does: the directory was synced since */
    uint32_t poisoned; /* a sync of it failed: what was not synced never will be, whatever a later
                          sync says (Linux drops such pages, and reports it once) */
};

struct disk_journal {
    atomic_int write_errno; /* 0: none. What writes under the directory fail with */
    atomic_int sync_errno;
    uint64_t spare;
    struct disk_file files[DISK_FILES_MAX];
};

#endif /* QD_TESTS_DISK_JOURNAL_H */
