#include "server/policy/look.h"

#include "server/core/hash.h"

#include <string.h>
#include <sys/stat.h>

uint64_t qd_look_at(const char *path, uint64_t seed)
{
    struct stat found;
    uint64_t seen[8] = {0};

    if (stat(path, &found) == 0) {
        uint64_t now[8] = {found.st_dev,
                           found.st_ino,
                           (uint64_t)found.st_size,
                           (uint64_t)found.st_mtim.tv_sec,
                           (uint64_t)found.st_mtim.tv_nsec,
                           (uint64_t)found.st_ctim.tv_sec,
                           (uint64_t)found.st_ctim.tv_nsec,
                           1};
        memcpy(seen, now, sizeof(seen));
    }
    uint64_t name = qd_hash64_bytes(path, strlen(path), seed);
    return qd_hash64_bytes(seen, sizeof(seen), name);
}
