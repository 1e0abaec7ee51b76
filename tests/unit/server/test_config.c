/* I10: flags over environment over file over defaults, each value with its origin. */
#include "server/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char error[QD_CONFIG_ERROR_MAX];

static struct qd_config fresh(void)
{
    struct qd_config config;
    cr_assert(qd_config_init(&config));
    error[0] = '\0';
    return config;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    cr_assert(fputs(text, file) >= 0);
    cr_assert_eq(fclose(file), 0);
}

/* Parse with the given flags; `flags` is NULL-terminated. */
static enum qd_config_parsed parse(struct qd_config *config, char **flags, char *const *environment)
{
    char *argv[16] = {strdup("quotad")};
    int argc = 1;
    for (; flags[argc - 1]; argc++) {
        argv[argc] = flags[argc - 1];
    }
    enum qd_config_parsed parsed = qd_config_parse(config, argc, argv, environment, error);
    free(argv[0]);
    return parsed;
}

Test(config, I10_flags_win_over_environment_over_file_over_defaults)
{
    char file[] = "build-test-config.yaml";
    write_file(file, "threads: 1\nshards: 8\nmax-tenants: 2k\n");
    char *environment[] = {"HOME=/", "QUOTAD_THREADS=2", "QUOTAD_SHARDS=4",
                           "QUOTAD_CONFIG=build-test-config.yaml", NULL};
    char *flags[] = {"--threads=3", "--dev", NULL};
    struct qd_config config = fresh();
    cr_assert_eq(parse(&config, flags, environment), QD_CONFIG_RUN, "%s", error);
    cr_expect_eq(qd_config_number(&config, QD_SET_THREADS), 3);
    cr_expect_str_eq(config.value[QD_SET_THREADS].where, "--threads");
    cr_expect_eq(qd_config_number(&config, QD_SET_SHARDS), 4);
    cr_expect_str_eq(config.value[QD_SET_SHARDS].where, "QUOTAD_SHARDS");
    cr_expect_eq(qd_config_number(&config, QD_SET_MAX_TENANTS), 2000);
    cr_expect_str_eq(config.value[QD_SET_MAX_TENANTS].where, "build-test-config.yaml:3");
    cr_expect_str_eq(qd_config_get(&config, QD_SET_LISTEN), "127.0.0.1:7070");
    cr_expect_str_eq(config.value[QD_SET_LISTEN].where, "default");
    char *text = qd_config_text(&config);
    cr_expect_not_null(strstr(text, "threads            3                        # --threads\n"));
    free(text);
    qd_config_release(&config);
    remove(file);
}

static void refused(char *flag, char *variable, const char *message)
{
    struct qd_config config = fresh();
    char *flags[] = {flag ? flag : "--dev", NULL};
    char *environment[] = {variable ? variable : "A=b", NULL};
    cr_expect_eq(parse(&config, flags, environment), QD_CONFIG_BAD, "%s", message);
    cr_expect_str_eq(error, message);
    qd_config_release(&config);
}

Test(config, I10_a_wrong_value_says_where_and_what_is_accepted)
{
    refused("--threads=many", NULL,
            "--threads: \"many\" is not a value for threads; accepted: a whole number from 0 to "
            "128, such as 500, 40k or 1M");
    refused("--listen=7070", NULL,
            "--listen: \"7070\" is not a value for listen; accepted: HOST:PORT with a port from 0 "
            "(any free one) to 65535");
    refused("--listen=localhost:70707", NULL,
            "--listen: \"localhost:70707\" is not a value for listen; accepted: HOST:PORT with a "
            "port from 0 (any free one) to 65535");
    refused("--drain-grace=2h", NULL,
            "--drain-grace: \"2h\" is not a value for drain-grace; accepted: a time such as 500ms, "
            "10s, 5m, 2h or 35d, from 0 ms to 3600000 ms");
    refused("--max-counters=99999999999999999999", NULL,
            "--max-counters: \"99999999999999999999\" is not a value for max-counters; accepted: a "
            "whole number from 1024 to 67108864, such as 500, 40k or 1M");
    refused(NULL, "QUOTAD_LOG_LEVEL=loud",
            "QUOTAD_LOG_LEVEL: \"loud\" is not a value for log-level; accepted: debug, info, warn "
            "or error");
    refused(NULL, "QUOTAD_THREDS=2",
            "QUOTAD_THREDS: unknown setting \"threds\"; did you mean \"threads\"? quotad --help "
            "lists them all");
    refused("--shards=6", NULL, "no policy: pass --policy FILE or --dev");
    refused("--policy=x", "QUOTAD_DEV=true",
            "--policy and --dev contradict each other; pass one of them");
    refused("file.yaml", NULL,
            "unexpected argument \"file.yaml\"; quotad takes flags only, see quotad --help");
}

Test(config, I10_shards_must_be_a_power_of_two)
{
    refused("--shards=6", "QUOTAD_DEV=true", "--shards must be a power of two: 1, 2, 4, ... 256");
}

Test(config, I10_what_a_full_table_answers_is_one_of_two_words)
{
    refused("--rls-when-full=pass", "QUOTAD_DEV=true",
            "--rls-when-full: accepted are error and deny");
}

Test(config, X1_TLS_settings_go_together)
{
    refused("--tls-cert=x", "QUOTAD_DEV=true",
            "--tls-cert and --tls-key go together; pass both, or neither for plaintext");
    refused("--tls-client-ca=x", "QUOTAD_DEV=true",
            "--tls-client-ca needs TLS: pass --tls-cert FILE and --tls-key FILE");
    refused("--tls-client-auth=maybe", "QUOTAD_DEV=true",
            "--tls-client-auth: accepted are require and optional");
    refused("--tls-client-auth=optional", "QUOTAD_DEV=true",
            "--tls-client-auth optional needs --tls-client-ca FILE");
}

static void refused_file(const char *text, const char *message)
{
    char file[] = "build-test-bad.yaml";
    write_file(file, text);
    struct qd_config config = fresh();
    cr_expect_not(qd_config_file(&config, file, error));
    cr_expect_str_eq(error, message);
    qd_config_release(&config);
    remove(file);
}

Test(config, I10_a_bad_file_says_the_line)
{
    refused_file("threads: 2\ndata-dri: /x\n",
                 "build-test-bad.yaml:2: unknown setting \"data-dri\"; did you mean \"data-dir\"? "
                 "quotad --help lists them all");
    refused_file("threads: [1]\n", "build-test-bad.yaml:1: a line of the form \"setting: value\" "
                                   "is expected here");
    refused_file("data-dir: \"a\\0b\"\n",
                 "build-test-bad.yaml:1: a line of the form \"setting: value\" "
                 "is expected here");
    refused_file("- threads\n", "build-test-bad.yaml:1: a map of settings is expected");
    struct qd_config config = fresh();
    cr_expect_not(qd_config_file(&config, "no/such/file.yaml", error));
    cr_expect_str_eq(error, "cannot read configuration file no/such/file.yaml: No such file or "
                            "directory");
    qd_config_release(&config);
}

Test(config, I10_print_config_needs_no_policy)
{
    struct qd_config config = fresh();
    char *flags[] = {"--print-config", NULL};
    char *environment[] = {NULL};
    cr_expect_eq(parse(&config, flags, environment), QD_CONFIG_PRINT, "%s", error);
    qd_config_release(&config);
}
