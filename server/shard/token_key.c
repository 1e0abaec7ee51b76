/* The secret that authenticates tokens, in a file of the data directory. */
#include "server/shard/token.h"
#include "storage/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_MAX 200

/* All of it, on disk, or why not. */
static bool write_key(const char *path, const struct qd_token_key *key)
{
    (void)unlink(path); /* what a start left that ended half-way */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    bool written =
        write(fd, key->bytes, sizeof(key->bytes)) == (ssize_t)sizeof(key->bytes) && fsync(fd) == 0;
    int error = errno;
    (void)close(fd);
    errno = error;
    return written;
}

/* S1, X5: a token that somebody holds settles after a loss of power too, so the key is on disk,
 * under its name, before there is one. A start that ends half-way leaves no half key. */
static bool make_key(const char *path, struct qd_token_key *ret_key, char *ret_why)
{
    struct qd_token_key key;
    char temporary[PATH_MAX];
    int size = snprintf(temporary, sizeof(temporary), "%s.new", path);

    if (size < 0 || (size_t)size >= sizeof(temporary)) {
        (void)snprintf(ret_why, WHY_MAX, "the path of the key is too long");
        return false;
    }
    randombytes_buf(key.bytes, sizeof(key.bytes));
    if (!write_key(temporary, &key) || rename(temporary, path) != 0 ||
        !qd_data_dir_sync_entry(path)) {
        (void)snprintf(ret_why, WHY_MAX, "%s: cannot write: %s", path, strerror(errno));
        (void)unlink(temporary);
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
