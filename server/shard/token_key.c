/* The secret that authenticates tokens, in a file of the data directory. */
#include "server/shard/token.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_MAX 200

static bool make_key(const char *path, struct qd_token_key *ret_key, char *ret_why)
{
    struct qd_token_key key;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        (void)snprintf(ret_why, WHY_MAX, "%s: cannot create: %s", path, strerror(errno));
        return false;
    }
    randombytes_buf(key.bytes, sizeof(key.bytes));
    bool written =
        write(fd, key.bytes, sizeof(key.bytes)) == (ssize_t)sizeof(key.bytes) && fsync(fd) == 0;
    int error = errno;
    (void)close(fd);
    if (!written) {
        (void)unlink(path);
        (void)snprintf(ret_why, WHY_MAX, "%s: cannot write: %s", path, strerror(error));
        return false;
    }
    *ret_key = key;
    return true;
}

static bool read_key(int fd, const char *path, struct qd_token_key *ret_key, char *ret_why)
{
    struct stat st;
    struct qd_token_key key;

    if (fstat(fd, &st) != 0 || (st.st_mode & 077) != 0) {
        (void)snprintf(ret_why, WHY_MAX, "%s: others can read it; run: chmod 600 %s", path, path);
        return false;
    }
    if (st.st_size != (off_t)sizeof(key.bytes) ||
        read(fd, key.bytes, sizeof(key.bytes)) != (ssize_t)sizeof(key.bytes)) {
        (void)snprintf(ret_why, WHY_MAX, "%s: not a key of %zu bytes", path, sizeof(key.bytes));
        return false;
    }
    *ret_key = key;
    return true;
}

bool qd_token_key_load(const char *path, struct qd_token_key *ret_key, char ret_why[200])
{
    if (sodium_init() < 0) {
        (void)snprintf(ret_why, WHY_MAX, "no source of randomness");
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return make_key(path, ret_key, ret_why);
    }
    if (fd < 0) {
        (void)snprintf(ret_why, WHY_MAX, "%s: cannot open: %s", path, strerror(errno));
        return false;
    }
    bool ok = read_key(fd, path, ret_key, ret_why);
    (void)close(fd);
    return ok;
}
