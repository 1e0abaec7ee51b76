/* The tidemark: what was reached is known at the next start; what cannot be read is nothing (X4).
 */
#include "server/ledger/tidemark.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static struct qd_tempdir dir;
static char path[PATH_MAX];

static void make_dir(void)
{
    qd_tempdir_init(&dir);
    qd_tempdir_path(&dir, "ledger.mark", path);
}

static void drop_dir(void)
{
    qd_tempdir_release(&dir);
}

TestSuite(tidemark, .init = make_dir, .fini = drop_dir);

static struct qd_tidemark *open_mark(void)
{
    struct qd_tidemark *mark = NULL;
    struct qd_store_error error;
    cr_assert_eq(qd_tidemark_open(path, &mark, &error), QD_STORE_OK, "%s", error.text);
    return mark;
}

static void expect(uint64_t sequence, uint64_t incarnation)
{
    struct qd_tidemark *mark = open_mark();
    struct qd_tide tide = qd_tidemark_get(mark);
    cr_assert_eq(tide.sequence, sequence);
    cr_assert_eq(tide.incarnation, incarnation);
    qd_tidemark_close(mark);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

Test(tidemark, X4_what_was_reached_is_known_at_the_next_start)
{
    expect(0, 0);
    struct qd_tidemark *mark = open_mark();
    cr_assert_eq(qd_tidemark_found(mark), QD_TIDEMARK_NONE);
    cr_assert(qd_tidemark_raise(mark, (struct qd_tide){.sequence = 7, .incarnation = 1}));
    cr_assert(qd_tidemark_raise(mark, (struct qd_tide){.sequence = 12}));
    cr_assert(qd_tidemark_raise(mark, (struct qd_tide){.sequence = 3, .incarnation = 2}));
    qd_tidemark_close(mark);
    expect(12, 2); /* each is the highest there was */
    mark = open_mark();
    cr_assert(qd_tidemark_raise(mark, (struct qd_tide){UINT64_MAX, UINT64_MAX}));
    qd_tidemark_close(mark);
    expect(UINT64_MAX, UINT64_MAX);
}

Test(tidemark, X4_what_cannot_be_read_is_nothing)
{
    static const char *const texts[] = {
        "00000000000000000012 0000000000000000000",   /* cut */
        "00000000000000000012 000000000000000000020", /* longer */
        "00000000000000000012 00000000000000000002\n\n",
        "0000000000000000001x 00000000000000000002\n",
        "00000000000000000012-00000000000000000002\n",
        "-0000000000000000012 00000000000000000002\n",
        "99999999999999999999 00000000000000000002\n", /* more than there are */
    };
    write_file("00000000000000000012 00000000000000000002\n");
    expect(12, 2);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_file(texts[i]);
        expect(0, 0);
        struct qd_tidemark *mark = open_mark();
        cr_assert_eq(qd_tidemark_found(mark), QD_TIDEMARK_UNREADABLE, "%zu", i);
        cr_assert(qd_tidemark_raise(mark, (struct qd_tide){.sequence = 5, .incarnation = 3}));
        qd_tidemark_close(mark);
        mark = open_mark(); /* it is a mark again */
        cr_assert_eq(qd_tidemark_found(mark), QD_TIDEMARK_READ, "%zu", i);
        qd_tidemark_close(mark);
        expect(5, 3);
    }
}

Test(tidemark, X4_a_directory_that_is_not_there_is_named)
{
    struct qd_tidemark *mark = NULL;
    struct qd_store_error error;
    char missing[PATH_MAX + 32];
    (void)snprintf(missing, sizeof missing, "%s/none/ledger.mark", path);
    cr_assert_eq(qd_tidemark_open(missing, &mark, &error), QD_STORE_ACCESS);
    cr_assert_not_null(strstr(error.text, "/none/ledger.mark: No such file"), "%s", error.text);
}
