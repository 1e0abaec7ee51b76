/* Temporary folders of tests, gone with the test.
 *
 * Layer:    tests/lib. Threads: any.
 * Memory:   the caller's struct; release removes the folder and everything in it.
 */
#ifndef QD_TESTS_TEMPDIR_H
#define QD_TESTS_TEMPDIR_H

#include <limits.h>
#include <stddef.h>

struct qd_tempdir {
    char path[PATH_MAX]; /* Absolute. "" when there is none. */
};

/* Make a folder under TMPDIR (or /tmp). Aborts with a message when it cannot. */
void qd_tempdir_init(struct qd_tempdir *dir);

/* Remove it, with everything in it. Fine when there is none. QD_KEEP_TMP=1 keeps and prints it. */
void qd_tempdir_release(struct qd_tempdir *dir);

/* The path of `name` in `dir`, written to `ret_path`. Returns `ret_path`. */
char *qd_tempdir_path(const struct qd_tempdir *dir, const char *name, char ret_path[PATH_MAX]);

/* Write `size` bytes to the file `name` in `dir`. Aborts with a message when it cannot. */
void qd_tempdir_write(const struct qd_tempdir *dir, const char *name, const void *bytes,
                      size_t size);

#endif /* QD_TESTS_TEMPDIR_H */
