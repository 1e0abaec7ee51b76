/* quotactl rls check: files of envoyproxy/ratelimit, before anybody ships them (I3, I7). */
#include "run_ctl.h"

#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define GOOD                                                      \
    "domain: shop\ndescriptors:\n"                                \
    "- {key: a, rate_limit: {unit: day, requests_per_unit: 3}}\n" \
    "- {key: b, rate_limit: {unit: minute, requests_per_unit: 30}}\n"

static struct qd_tempdir dir;
static struct ctl_run last;

static void setup(void)
{
    char path[PATH_MAX];

    qd_tempdir_init(&dir);
    cr_assert_eq(mkdir(qd_tempdir_path(&dir, "one", path), 0700), 0);
    cr_assert_eq(mkdir(qd_tempdir_path(&dir, "two", path), 0700), 0);
}

static void teardown(void)
{
    ctl_run_release(&last);
    qd_tempdir_release(&dir);
}

TestSuite(ctl_rls, .init = setup, .fini = teardown);

static void put(const char *name, const char *yaml)
{
    qd_tempdir_write(&dir, name, yaml, strlen(yaml));
}

/* rls check DIR/FOLDER REST */
static void run(const char *folder, const char *rest)
{
    char line[2 * PATH_MAX + 64];

    ctl_run_release(&last);
    (void)snprintf(line, sizeof(line), "rls check %s/%s %s", dir.path, folder, rest);
    last = run_ctl(NULL, line);
}

static void expect(int code, const char *out, const char *err)
{
    char wanted[8192];

    cr_expect_eq(last.code, code, "%d: %s%s", last.code, last.out, last.err);
    (void)snprintf(wanted, sizeof(wanted), "%s%s", *out != '\0' ? dir.path : "", out);
    cr_expect_str_eq(last.out, wanted);
    cr_expect_not_null(strstr(last.err, err), "%s", last.err);
}

Test(ctl_rls, I3_a_good_folder_says_its_domains_and_rules)
{
    put("one/a.yaml", GOOD);
    put("one/b.yml", "domain: other\n");
    run("one", "");
    expect(0, "/one OK: 2 domains, 2 rules in 2 files\n", "");
    cr_expect_str_eq(last.err, "");
    run("one", "--rules");
    cr_expect_not_null(strstr(last.out, "/one/a.yaml\nshop.a: unit=DAY requests_per_unit=3, "),
                       "%s", last.out);
    cr_expect_not_null(strstr(last.out, "# domain other: 0 rules of "), "%s", last.out);
}

Test(ctl_rls, I3_domains_are_merged_if_told_so)
{
    put("one/a.yaml", GOOD);
    put("one/b.yml", "domain: shop\ndescriptors: [{key: c, rate_limit: {unlimited: true}}]\n");
    run("one", "");
    expect(1, "", "/one/b.yml:1:9: domain \"shop\" is in ");
    run("one", "--merge-domains");
    expect(0, "/one OK: 1 domain, 3 rules in 2 files\n", "");
}

Test(ctl_rls, I3_each_wrong_file_is_named_with_its_place)
{
    put("one/a.yaml", GOOD);
    put("one/bad.yaml", "domain: bad\ndescriptors:\n- {keey: x}\n");
    put("one/twice.yaml", "domain: shop\n");
    run("one", "");
    expect(1, "", "/one/bad.yaml:3:4: ");
    cr_expect_not_null(strstr(last.err, "/one/twice.yaml:1:9: domain \"shop\" is in "), "%s",
                       last.err);
    cr_expect_not_null(strstr(last.err, "; nothing of it would take effect\n"), "%s", last.err);
    run("none", "");
    expect(1, "", "/none: ");
}

Test(ctl_rls, I3_one_wrong_folder_of_several_is_an_error)
{
    char both[PATH_MAX + 64];

    put("one/a.yaml", GOOD);
    put("two/a.yaml", "domain: [\n");
    (void)snprintf(both, sizeof(both), "%s/two", dir.path);
    run("one", both);
    expect(1, "/one OK: 1 domain, 2 rules in 1 file\n", "/two/a.yaml:2:1: ");
    put("two/a.yaml", GOOD); /* each is a configuration of its own */
    run("one", both);
    cr_expect_eq(last.code, 0, "%s", last.err);
}

/* A running node refuses what would be the end of all limits. */
Test(ctl_rls, I3_an_empty_folder_is_an_error)
{
    run("one", "");
    expect(1, "", "/one: no files: nothing would be limited\n");
}

Test(ctl_rls, I3_the_domain_of_the_tenants_is_taken)
{
    put("one/a.yaml", "domain: quotad\n");
    run("one", "");
    expect(1, "", "/one/a.yaml: domain: \"quotad\" is the domain whose descriptors name tenants");
    run("one", "--tenant-domain llm");
    expect(0, "/one OK: 1 domain, 0 rules in 1 file\n", "");
}

Test(ctl_rls, I7_as_JSON)
{
    put("one/a.yaml", GOOD);
    put("one/bad.yaml", "domain: bad\ndescriptors:\n- {keey: x}\n");
    run("one", "-o json");
    cr_expect_eq(last.code, 1);
    static const char *const parts[] = {
        "\"valid\":false", "\"files\":2",     "\"wrong_files\":1",
        "\"domains\":1",   "\"rules\":2",     "\"severity\":\"ERROR\"",
        "\"line\":3",      "/one/bad.yaml\"",
    };
    char *to = last.out;
    for (const char *c = last.out; *c != '\0'; c++) { /* however it is indented */
        if (*c != ' ' && *c != '\n') {
            *to++ = *c;
        }
    }
    *to = '\0';
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        cr_expect_not_null(strstr(last.out, parts[i]), "%s: %s", parts[i], last.out);
    }
}
