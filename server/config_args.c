/* The command line, by glibc's argp. */
#include "server/config.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2 /* as main's */

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

/* The option that `name` stands for: its whole name or the only one that begins so; NULL: none. */
static const struct argp_option *find_option(const char *name, size_t length)
{
    const struct argp_option *found = NULL;
    for (const struct argp_option *o = options; o->name; o++) {
        if (strncmp(o->name, name, length) == 0) {
            found = o;
            if (o->name[length] == '\0') {
                break;
            }
        }
    }
    return found;
}

/* argp's own sentence for an unknown flag names no near one: look first. */
static bool flags_known(struct qd_config *config, int argc, char **argv, char *error)
{
    static const char *const own[] = {"help", "usage", "version"};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            break;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            continue;
        }
        const char *name = argv[i] + 2;
        size_t length = strcspn(name, "=");
        const struct argp_option *option = find_option(name, length);
        bool known = option != NULL;
        for (size_t k = 0; k < sizeof(own) / sizeof(own[0]); k++) {
            known |= strncmp(own[k], name, length) == 0;
        }
        if (!known) {
            char unknown[64];
            char where[80];
            snprintf(unknown, sizeof(unknown), "%.*s", (int)length, name);
            snprintf(where, sizeof(where), "--%s", unknown);
            return qd_config_set(config, unknown, "", QD_ORIGIN_FLAG, where, error);
        }
        if (option && option->arg && name[length] == '\0') {
            i++; /* its value */
        }
    }
    return true;
}

enum qd_config_parsed qd_config_parse(struct qd_config *config, int argc, char **argv,
                                      char *const *environment, char error[QD_CONFIG_ERROR_MAX])
{
    struct parse parse = {
        .config = config, .file = lookup(environment, "QUOTAD_CONFIG"), .error = error};
    const struct argp argp = {options, parse_option, NULL, description, NULL, NULL, NULL};
    if (!flags_known(config, argc, argv, error)) {
        return QD_CONFIG_BAD;
    }
    static char program[] = "quotad"; /* argp's own sentences begin and exit as ours do */
    char *given = argc > 0 ? argv[0] : NULL;
    if (given) {
        argv[0] = program;
    }
    argp_err_exit_status = EXIT_USAGE;
    error_t code = argp_parse(&argp, argc, argv, 0, NULL, &parse);
    if (given) {
        argv[0] = given;
    }
    if (code != 0 || parse.bad) {
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
