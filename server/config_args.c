/* The command line, by glibc's argp. */
#include "server/config.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_SETTING = 0x1000, /* plus the setting's number */
    KEY_CONFIG = 0x2000,
    KEY_PRINT,
};

const char *argp_program_version = "quotad " QD_VERSION;

static const char description[] =
    "A rate-limit, quota and usage service for LLM platforms: gateways ask CheckQuota before a "
    "request and ReportUsage after it.\v"
    "Each flag may also be given as QUOTAD_NAME in the environment (--data-dir is "
    "QUOTAD_DATA_DIR), "
    "or as `name: value` in the file that --config or QUOTAD_CONFIG names. Flags win over the "
    "environment, the environment over the file.\n\n"
    "Examples:\n"
    "  quotad --dev                                   try it, with no policy at all\n"
    "  quotad --policy policy.yaml --data-dir /var/lib/quotad\n"
    "  quotad --policy policy.yaml --print-config     each value and where it comes from\n"
    "  kill -HUP PID                                  reload the policy\n";

#define OPTION_ROW(id, name, argument, kind, min, max, standard, help) \
    {name, KEY_SETTING + QD_SET_##id, argument, 0, help, 0},
static const struct argp_option options[] = {
    QD_SETTINGS(OPTION_ROW){"config", KEY_CONFIG, "FILE", 0, "settings in YAML", 0},
    {"print-config", KEY_PRINT, NULL, 0, "print each setting with its origin, and exit", 0},
    {NULL, 0, NULL, 0, NULL, 0}};
#undef OPTION_ROW

struct parse {
    struct qd_config *config;
    const char *file;
    bool print;
    bool bad;
    char *error;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct parse *parse = state->input;
    if (key >= KEY_SETTING && key < KEY_SETTING + QD_SETTING_COUNT_ALL) {
        const char *name = options[key - KEY_SETTING].name;
        char where[80];
        snprintf(where, sizeof(where), "--%s", name);
        if (!parse->bad && !qd_config_set(parse->config, name, argument ? argument : "true",
                                          QD_ORIGIN_FLAG, where, parse->error)) {
            parse->bad = true;
        }
        return 0;
    }
    if (key == KEY_CONFIG) {
        parse->file = argument;
        return 0;
    }
    if (key == KEY_PRINT) {
        parse->print = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        if (!parse->bad) {
            snprintf(parse->error, QD_CONFIG_ERROR_MAX,
                     "unexpected argument \"%s\"; quotad takes flags only, see quotad --help",
                     argument);
        }
        parse->bad = true;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const char *lookup(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (char *const *e = environment; *e; e++) {
        if (strncmp(*e, name, length) == 0 && (*e)[length] == '=') {
            return *e + length + 1;
        }
    }
    return NULL;
}

enum qd_config_parsed qd_config_parse(struct qd_config *config, int argc, char **argv,
                                      char *const *environment, char error[QD_CONFIG_ERROR_MAX])
{
    struct parse parse = {
        .config = config, .file = lookup(environment, "QUOTAD_CONFIG"), .error = error};
    const struct argp argp = {options, parse_option, NULL, description, NULL, NULL, NULL};
    argp_err_exit_status = EXIT_FAILURE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parse) != 0 || parse.bad) {
        return QD_CONFIG_BAD;
    }
    if (!qd_config_environment(config, environment, error) ||
        (parse.file && *parse.file && !qd_config_file(config, parse.file, error))) {
        return QD_CONFIG_BAD;
    }
    if (parse.print) {
        return QD_CONFIG_PRINT;
    }
    return qd_config_check(config, error) ? QD_CONFIG_RUN : QD_CONFIG_BAD;
}
