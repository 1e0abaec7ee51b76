/* The logs before a start: kept beside, dropped when it turned out well, set aside when not (X4).
 */
#include "storage/kept_logs.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qd_tempdir dir;

static void make_dir(void)
{
    char path[PATH_MAX];
    qd_tempdir_init(&dir);
    qd_tempdir_path(&dir, "db", path);
    cr_assert_eq(mkdir(path, 0755), 0);
}

static void drop_dir(void)
{
    qd_tempdir_release(&dir);
}

TestSuite(kept_logs, .init = make_dir, .fini = drop_dir);

static void write_file(const char *name, char text)
{
    char path[PATH_MAX];
    qd_tempdir_path(&dir, name, path);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fputc(text, file), text);
    cr_assert_eq(fclose(file), 0);
}

/* What is in it; 0: it isn't there. */
static char read_file(const char *name)
{
    char path[PATH_MAX];
    qd_tempdir_path(&dir, name, path);
    FILE *file = fopen(path, "r");
    int c = file != NULL ? fgetc(file) : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    return (char)c;
}

static void remove_file(const char *name)
{
    char path[PATH_MAX];
    qd_tempdir_path(&dir, name, path);
    cr_assert_eq(unlink(path), 0);
}

Test(kept_logs, X4_logs_are_kept_until_the_start_has_turned_out_well)
{
    write_file("db/000004.log", 'a');
    write_file("db/000005.sst", 'b');
    qd_kept_logs_make(dir.path);
    remove_file("db/000004.log"); /* as RocksDB does, damaged or not */
    cr_assert_eq(read_file("db.before/000004.log"), 'a');
    cr_assert_eq(read_file("db.before/000005.sst"), 0);
    qd_kept_logs_drop(dir.path);
    cr_assert_eq(read_file("db.before/000004.log"), 0);
    char path[PATH_MAX];
    qd_tempdir_path(&dir, "db.before", path);
    cr_assert_neq(access(path, F_OK), 0);
}

Test(kept_logs, X4_logs_of_the_first_bad_start_stay)
{
    write_file("db/000004.log", 'a');
    qd_kept_logs_make(dir.path);
    remove_file("db/000004.log");
    qd_kept_logs_set_aside(dir.path);
    cr_assert_eq(read_file("db.lost/000004.log"), 'a');
    write_file("db/000009.log", 'b');
    qd_kept_logs_make(dir.path); /* the second bad start */
    qd_kept_logs_set_aside(dir.path);
    cr_assert_eq(read_file("db.lost/000004.log"), 'a');
    cr_assert_eq(read_file("db.lost/000009.log"), 0);
    cr_assert_eq(read_file("db.before/000009.log"), 0);
    qd_kept_logs_make(dir.path); /* a good one, without what was lost */
    qd_kept_logs_drop(dir.path);
    cr_assert_eq(read_file("db.lost/000004.log"), 'a');
}

Test(kept_logs, X4_where_there_is_nothing_nothing_is_kept)
{
    char path[PATH_MAX];
    qd_tempdir_path(&dir, "db", path);
    cr_assert_eq(rmdir(path), 0);
    qd_kept_logs_make(dir.path);
    qd_kept_logs_drop(dir.path);
    qd_kept_logs_set_aside(dir.path);
    qd_tempdir_path(&dir, "db.before", path);
    cr_assert_neq(access(path, F_OK), 0);
}
