/* A folder of configuration files. */
#include "helper.h"

#include "tests/lib/failalloc.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qd_tempdir dir;

static void set_up(void)
{
    qd_tempdir_init(&dir);
}

static void tear_down(void)
{
    qd_tempdir_release(&dir);
}

TestSuite(rules_folder, .init = set_up, .fini = tear_down);

static void put(const char *name, const char *yaml)
{
    qd_tempdir_write(&dir, name, yaml, strlen(yaml));
}

static void make_folder(const char *name)
{
    char path[PATH_MAX];
    cr_assert_eq(mkdir(qd_tempdir_path(&dir, name, path), 0700), 0);
}

/* Load the folder; the problems, with the folder's own path left out, are in `lines`. */
static struct qd_rls_rules *load(char lines[4096])
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules = qd_rls_rules_load_dir(dir.path, false, problems);
    char *all = qd_problems_text(problems);
    size_t len = 0;
    for (const char *at = all; *at != '\0' && len < 4095;) {
        size_t own = strlen(dir.path);
        if (strncmp(at, dir.path, own) == 0) {
            at += own;
        } else {
            lines[len++] = *at++;
        }
    }
    lines[len] = '\0';
    free(all);
    qd_problems_free(problems);
    return rules;
}

Test(rules_folder, I3_every_yaml_file_is_read_in_the_order_of_the_paths)
{
    char lines[4096];
    make_folder("team");
    make_folder("team/.git");
    put("b.yaml", "domain: b\n");
    put("a.yml", "domain: a\n");
    put("team/c.yaml", "domain: c\n");
    put("team/.git/x.yaml", "domain: hidden\n");
    put(".hidden.yaml", "not: good\n");
    put("notes.txt", "not: good\n");
    put("yaml", "not: good\n");
    put("README.md", "not: good\n");
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_str_eq(lines, "/notes.txt: warning: left out: neither .yaml nor .yml\n"
                            "/yaml: warning: left out: neither .yaml nor .yml\n");
    cr_assert_eq(qd_rls_rules_file_count(rules), 3);
    static const char *const order[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        const struct qd_rls_domain *domain = qd_rls_rules_file(rules, i)->domain;
        cr_assert_not_null(domain);
        cr_expect_str_eq(domain->name.ptr, order[i]);
        cr_expect_eq(qd_rls_rules_domain(rules, text(order[i])), domain);
        cr_expect_str_eq(domain->file, qd_rls_rules_file(rules, i)->path);
    }
    cr_expect_null(qd_rls_rules_domain(rules, text("hidden")));
    qd_rls_rules_free(rules);
}

/* As Kubernetes mounts a ConfigMap: links into a folder that is swapped as a whole. */
Test(rules_folder, I3_a_mounted_config_map_counts_once)
{
    char lines[4096];
    char path[PATH_MAX];
    make_folder("..2026_11_29");
    put("..2026_11_29/config.yaml", "domain: mounted\n");
    cr_assert_eq(symlink("..2026_11_29", qd_tempdir_path(&dir, "..data", path)), 0);
    cr_assert_eq(symlink("..data/config.yaml", qd_tempdir_path(&dir, "config.yaml", path)), 0);
    cr_assert_eq(symlink(".", qd_tempdir_path(&dir, "round", path)), 0);
    cr_assert_eq(symlink(".", qd_tempdir_path(&dir, "round.yaml", path)), 0);
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_str_eq(lines, "");
    cr_expect_eq(qd_rls_rules_file_count(rules), 1);
    cr_expect_not_null(qd_rls_rules_domain(rules, text("mounted")));
    qd_rls_rules_free(rules);
}

Test(rules_folder, I3_P1_a_wrong_file_is_named_and_the_others_load)
{
    char lines[4096];
    char path[PATH_MAX];
    put("a.yaml", "domain: a\ndescriptors:\n- {key: k, rate_limit: {unlimited: true}}\n");
    put("b.yaml", "domain: b\ndescriptors:\n- {kee: k}\n");
    put("c.yaml", "domain: [\n");
    put("d.yaml", "domain: d\n");
    cr_assert_eq(symlink("nowhere", qd_tempdir_path(&dir, "e.yaml", path)), 0);
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_eq(qd_rls_rules_file_count(rules), 5);
    cr_expect_eq(qd_rls_rules_failed_count(rules), 3);
    cr_expect_null(qd_rls_rules_file(rules, 1)->domain);
    cr_expect_null(qd_rls_rules_domain(rules, text("b")));
    cr_expect_str_eq(rule_path(rules, "a", "k=v"), "a.k");
    cr_expect_not_null(qd_rls_rules_domain(rules, text("d")));
    cr_expect_not_null(strstr(lines, "/b.yaml:3:4: descriptors[0]: \"kee\": unknown key; "), "%s",
                       lines);
    cr_expect_not_null(strstr(lines, "/c.yaml:2:1: not YAML: "), "%s", lines);
    cr_expect_not_null(strstr(lines, "/e.yaml: No such file or directory"), "%s", lines);
    qd_rls_rules_free(rules);
}

Test(rules_folder, I3_P1_two_files_with_one_domain_name_each_other)
{
    char lines[4096];
    put("a.yaml", "domain: same\ndescriptors: [{key: first}]\n");
    put("b.yaml", "# the second\ndomain: same\n");
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_str_eq(lines, "/b.yaml:2:9: domain \"same\" is in /a.yaml already\n");
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    cr_expect_eq(qd_rls_rules_domain(rules, text("same")), qd_rls_rules_file(rules, 0)->domain);
    qd_rls_rules_free(rules);
}

Test(rules_folder, I3_a_folder_without_files_knows_no_domain)
{
    char lines[4096];
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_str_eq(lines,
                     ": warning: no file that ends in .yaml or .yml; every domain is unknown\n");
    cr_expect_null(qd_rls_rules_domain(rules, text("any")));
    qd_rls_rules_free(rules);
}

Test(rules_folder, X2_P1_a_folder_that_cannot_be_read_or_is_too_large_is_refused)
{
    char lines[4096];
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    cr_expect_null(qd_rls_rules_load_dir("/nowhere/at/all", false, problems));
    cr_expect_eq(qd_problems_errors(problems), 1);
    qd_problems_free(problems);
    for (size_t i = 0; i < QD_RLS_FILES_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%zu.yaml", i);
        char yaml[32];
        (void)snprintf(yaml, sizeof yaml, "domain: d%zu\n", i);
        put(name, yaml);
    }
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules, "%s", lines);
    cr_expect_eq(qd_rls_rules_failed_count(rules), 0);
    for (size_t i = 0; i < QD_RLS_FILES_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "d%zu", i);
        const struct qd_rls_domain *domain = qd_rls_rules_domain(rules, text(name));
        cr_assert(domain != NULL && strcmp(domain->name.ptr, name) == 0);
    }
    qd_rls_rules_free(rules);
    put("one-more.yaml", "domain: more\n");
    cr_expect_null(load(lines));
    cr_expect_not_null(strstr(lines, "too many files; at most 1000 are accepted"), "%s", lines);
}

Test(rules_folder, X2_P1_files_have_a_size_and_all_together_too)
{
    char lines[4096];
    size_t size = QD_RLS_FILE_BYTES_MAX + 1;
    char *yaml = malloc(size);
    cr_assert_not_null(yaml);
    memset(yaml, '\n', size);
    for (int i = 0; i < 5; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d.yaml", i);
        memcpy(yaml, "domain: ", 8);
        yaml[8] = (char)('a' + i);
        qd_tempdir_write(&dir, name, yaml, i == 1 ? size : size - 1);
    }
    free(yaml);
    struct qd_rls_rules *rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_str_eq(lines, "/1.yaml: too large; at most 16 MiB are accepted\n");
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    cr_expect_not_null(qd_rls_rules_domain(rules, text("e")));
    qd_rls_rules_free(rules);
    put("5.yaml", "domain: f\n"); /* 4 of 16 MiB are all there is room for */
    rules = load(lines);
    cr_assert_not_null(rules);
    cr_expect_not_null(strstr(lines, "/5.yaml: too large; all files together may have 64 MiB"),
                       "%s", lines);
    cr_expect_null(qd_rls_rules_domain(rules, text("f")));
    qd_rls_rules_free(rules);
}

Test(rules_folder, X2_P1_folders_have_a_depth)
{
    char lines[4096];
    char name[64] = "d";
    for (int i = 0; i < QD_RLS_FOLDERS_MAX; i++) {
        make_folder(name);
        (void)strcat(name, "/d");
    }
    struct qd_rls_rules *rules = load(lines);
    cr_expect_not_null(rules, "%s", lines);
    qd_rls_rules_free(rules);
    make_folder(name);
    cr_expect_null(load(lines));
    cr_expect_not_null(strstr(lines, "nested too deeply"), "%s", lines);
}

static int load_folder_once(void *context)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    if (problems == NULL) {
        return 1;
    }
    struct qd_rls_rules *rules = qd_rls_rules_load_dir(context, false, problems);
    bool good = rules != NULL && qd_rls_rules_failed_count(rules) == 0;
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return good ? 0 : 1;
}

Test(rules_folder, X2_every_allocation_may_fail)
{
    put("a.yaml", "domain: a\n");
    make_folder("team");
    put("team/b.yaml", "domain: b\n");
    cr_expect_gt(qd_failalloc_each(load_folder_once, dir.path, false), 10);
}
