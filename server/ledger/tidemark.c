#include "server/ledger/tidemark.h"

#include "storage/data_dir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DIGITS 20U /* of a number: all have them, so that the size stays */

struct qd_tidemark {
    int fd;
    struct qd_tide tide;
    enum qd_tidemark_found found;
    bool longer; /* than a mark is: the next one cuts it */
};

static bool read_number(const char *text, char end, uint64_t *ret_number)
{
    for (size_t i = 0; i < DIGITS; i++) {
        if (isdigit((unsigned char)text[i]) == 0) {
            return false;
        }
    }
    if (text[DIGITS] != end) {
        return false;
    }
    errno = 0;
    *ret_number = strtoull(text, NULL, 10);
    return errno == 0;
}

bool qd_tide_decode(const char *text, size_t size, struct qd_tide *ret_tide)
{
    struct qd_tide tide;

    if (size != QD_TIDE_TEXT_SIZE || !read_number(text, ' ', &tide.sequence) ||
        !read_number(text + DIGITS + 1, '\n', &tide.incarnation)) {
        return false;
    }
    *ret_tide = tide;
    return true;
}

void qd_tide_encode(struct qd_tide tide, char ret_text[QD_TIDE_TEXT_SIZE + 1])
{
    (void)snprintf(ret_text, QD_TIDE_TEXT_SIZE + 1, "%020" PRIu64 " %020" PRIu64 "\n",
                   tide.sequence, tide.incarnation);
}

enum qd_store_err qd_tidemark_open(const char *path, struct qd_tidemark **ret_mark,
                                   struct qd_store_error *error)
{
    char reason[96];
    struct qd_tidemark *mark = calloc(1, sizeof(*mark));

    if (mark == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for the ledger's mark");
    }
    mark->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (mark->fd < 0 || !qd_data_dir_sync_entry(path)) {
        enum qd_store_err code = errno == ENOSPC ? QD_STORE_FULL : QD_STORE_ACCESS;
        const char *why = strerror_r(errno, reason, sizeof(reason));
        qd_tidemark_close(mark);
        return qd_store_error_set(error, code, "cannot open %s: %s", path, why);
    }
    char text[QD_TIDE_TEXT_SIZE + 1];
    ssize_t size = pread(mark->fd, text, sizeof(text), 0);
    if (size != 0) {
        bool read = size > 0 && qd_tide_decode(text, (size_t)size, &mark->tide);
        mark->found = read ? QD_TIDEMARK_READ : QD_TIDEMARK_UNREADABLE; /* nothing is known */
        mark->longer = size > (ssize_t)QD_TIDE_TEXT_SIZE;
    }
    *ret_mark = mark;
    return QD_STORE_OK;
}

void qd_tidemark_close(struct qd_tidemark *mark)
{
    if (mark == NULL) {
        return;
    }
    if (mark->fd >= 0) {
        (void)close(mark->fd);
    }
    free(mark);
}

struct qd_tide qd_tidemark_get(const struct qd_tidemark *mark)
{
    return mark->tide;
}

enum qd_tidemark_found qd_tidemark_found(const struct qd_tidemark *mark)
{
    return mark->found;
}

bool qd_tidemark_raise(struct qd_tidemark *mark, struct qd_tide tide)
{
    char text[QD_TIDE_TEXT_SIZE + 1];
    struct qd_tide now = mark->tide;

    now.sequence = tide.sequence > now.sequence ? tide.sequence : now.sequence;
    now.incarnation = tide.incarnation > now.incarnation ? tide.incarnation : now.incarnation;
    if (now.sequence == mark->tide.sequence && now.incarnation == mark->tide.incarnation) {
        return true;
    }
    qd_tide_encode(now, text);
    if (pwrite(mark->fd, text, QD_TIDE_TEXT_SIZE, 0) != (ssize_t)QD_TIDE_TEXT_SIZE ||
        (mark->longer && ftruncate(mark->fd, (off_t)QD_TIDE_TEXT_SIZE) != 0) ||
        fdatasync(mark->fd) != 0) {
        return false;
    }
    mark->longer = false;
    mark->tide = now;
    return true;
}
