/* The command line: which command, its options and operands, and the settings (I10). */
#include "client/ctl/args.h"

#include "server/policy/suggest.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct ctl_option ctl_global_options[] = {
    {"address", 'a', "HOST:PORT", "the node (QUOTAD_ADDRESS; 127.0.0.1:7070)"},
    {"output", 'o', "table|json", "for people or for programs (QUOTACTL_OUTPUT; table)"},
    {"timeout", 0, "TIME", "of one call (QUOTACTL_TIMEOUT; 10s)"},
    {"tls-ca", 0, "FILE", "speak TLS; authorities of the node, PEM (QUOTACTL_TLS_CA)"},
    {"tls-cert", 0, "FILE", "a client certificate, PEM (QUOTACTL_TLS_CERT)"},
    {"tls-key", 0, "FILE", "its key, PEM (QUOTACTL_TLS_KEY)"},
    {"token-file", 0, "FILE", "a bearer token to be known by (QUOTACTL_TOKEN_FILE)"},
    {"color", 0, "auto|always|never", "colours (NO_COLOR turns them off; auto: on a terminal)"},
    {"print-config", 0, NULL, "show each setting and where it comes from"},
    {"help", 'h', NULL, "what this command does, with examples"},
    {"version", 0, NULL, "print the version"},
    {NULL, 0, NULL, NULL},
};

const char *ctl_arg_at(const struct ctl_args *args, const char *name, size_t index)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].name, name) == 0 && index-- == 0) {
            return args->given[i].value != NULL ? args->given[i].value : "";
        }
    }
    return NULL;
}

const char *ctl_arg(const struct ctl_args *args, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].name, name) == 0) {
            value = args->given[i].value != NULL ? args->given[i].value : "";
        }
    }
    return value;
}

bool ctl_flag(const struct ctl_args *args, const char *name)
{
    return ctl_arg(args, name) != NULL;
}

/* ---- options, by getopt_long */

enum {
    OPTIONS_MAX = 64,
    LETTERS_MAX = 3 * OPTIONS_MAX + 2
};

struct tables {
    const struct ctl_option *option[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char letters[LETTERS_MAX];
    int count;
    size_t letter_count;
};

static void tables_add(struct tables *tables, const struct ctl_option *options)
{
    for (; options != NULL && options->name != NULL && tables->count < OPTIONS_MAX; options++) {
        tables->option[tables->count] = options;
        tables->longs[tables->count] = (struct option){
            .name = options->name,
            .has_arg = options->arg != NULL ? required_argument : no_argument,
            .val = 256 + tables->count,
        };
        if (options->letter != 0) {
            tables->letters[tables->letter_count++] = options->letter;
            if (options->arg != NULL) {
                tables->letters[tables->letter_count++] = ':';
            }
        }
        tables->count += 1;
    }
}

static const struct ctl_option *option_of(const struct tables *tables, int value)
{
    if (value >= 256 && value < 256 + tables->count) {
        return tables->option[value - 256];
    }
    for (int i = 0; i < tables->count; i++) {
        if (tables->option[i]->letter == value && value != 0) {
            return tables->option[i];
        }
    }
    return NULL;
}

static int fail_option(struct ctl *ctl, const struct tables *tables, int value, const char *word)
{
    if (value == ':') {
        return ctl_fail(ctl, "%s needs a value; see quotactl %s --help", word, ctl->command);
    }
    struct qd_suggest suggest;
    char name[64] = "";
    (void)snprintf(name, sizeof name, "%s", strncmp(word, "--", 2) == 0 ? word + 2 : word);
    char *equals = strchr(name, '=');
    if (equals != NULL) {
        *equals = '\0';
    }
    qd_suggest_init(&suggest, name);
    for (int i = 0; i < tables->count; i++) {
        qd_suggest_offer(&suggest, tables->option[i]->name);
    }
    if (suggest.best != NULL) {
        return ctl_fail(ctl, "%s: unknown option; did you mean --%s?", word, suggest.best);
    }
    return ctl_fail(ctl, "%s: unknown option; see quotactl %s%s--help", word, ctl->command,
                    ctl->command[0] != '\0' ? " " : "");
}

int ctl_args_parse(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv,
                   bool stop_at_operand, struct ctl_args *args, int *ret_used)
{
    struct tables tables = {.letters = {stop_at_operand ? '+' : ':', ':'},
                            .letter_count = stop_at_operand ? 2 : 1};
    tables_add(&tables, command != NULL ? command->options : NULL);
    tables_add(&tables, ctl_global_options);
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (;;) {
        int before = optind > 0 ? optind : 1;
        int value = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        if (value == -1) {
            break;
        }
        if (value == '?' || value == ':') {
            return fail_option(ctl, &tables, value, argv[optind > before ? optind - 1 : before]);
        }
        const struct ctl_option *option = option_of(&tables, value);
        if (args->given_count == CTL_GIVEN_MAX) {
            return ctl_fail(ctl, "more than %d options", (int)CTL_GIVEN_MAX);
        }
        args->given[args->given_count].name = option->name;
        args->given[args->given_count].value = option->arg != NULL ? optarg : NULL;
        args->given_count += 1;
    }
    *ret_used = optind;
    for (int i = optind; i < argc && !stop_at_operand; i++) {
        if (args->operand_count == CTL_OPERANDS_MAX) {
            return ctl_fail(ctl, "more than %d arguments", (int)CTL_OPERANDS_MAX);
        }
        args->operands[args->operand_count++] = argv[i];
    }
    return CTL_OK;
}

/* ---- which command */

static const struct ctl_command *next_command(size_t *group, size_t *index)
{
    while (ctl_command_groups[*group] != NULL) {
        const struct ctl_command *command = &ctl_command_groups[*group][*index];
        if (command->name != NULL) {
            *index += 1;
            return command;
        }
        *group += 1;
        *index = 0;
    }
    return NULL;
}

const struct ctl_command *ctl_command_next(struct ctl_command_walk *walk)
{
    return next_command(&walk->group, &walk->index);
}

/* Words of `name` that argv begins with: all of them, or 0. */
static int words_match(const char *name, int argc, char **argv)
{
    int words = 0;
    while (*name != '\0') {
        size_t length = strcspn(name, " ");
        if (words == argc || strlen(argv[words]) != length ||
            strncmp(argv[words], name, length) != 0) {
            return 0;
        }
        words += 1;
        name += length;
        name += *name == ' ' ? 1 : 0;
    }
    return words;
}

const struct ctl_command *ctl_command_find(int argc, char **argv, int *ret_words)
{
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    while ((command = ctl_command_next(&walk)) != NULL) {
        int words = words_match(command->name, argc, argv);
        if (words > 0) {
            *ret_words = words;
            return command;
        }
    }
    return NULL;
}

int ctl_command_unknown(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    char whole[128];
    char list[256] = "";
    size_t first = strlen(argv[0]);
    (void)snprintf(whole, sizeof whole, "%s%s%s", argv[0], argc > 1 ? " " : "",
                   argc > 1 ? argv[1] : "");
    struct qd_suggest suggest;
    struct qd_suggest suggest_first;
    qd_suggest_init(&suggest, whole);
    qd_suggest_init(&suggest_first, argv[0]);
    while ((command = ctl_command_next(&walk)) != NULL) {
        qd_suggest_offer(strchr(command->name, ' ') != NULL ? &suggest : &suggest_first,
                         command->name);
        if (strncmp(command->name, argv[0], first) == 0 && command->name[first] == ' ') {
            size_t length = strlen(list);
            (void)snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? ", " : "",
                           command->name + first + 1);
        }
    }
    const char *best = suggest.best != NULL ? suggest.best : suggest_first.best;
    if (list[0] != '\0' && argc == 1) {
        return ctl_fail(ctl, "\"%s\" needs one of: %s", argv[0], list);
    }
    if (best != NULL) {
        return ctl_fail(ctl, "\"%s\": unknown command; did you mean \"%s\"?",
                        list[0] != '\0' || suggest.best != NULL ? whole : argv[0], best);
    }
    if (list[0] != '\0') {
        return ctl_fail(ctl, "\"%s\": unknown command; \"%s\" has: %s", whole, argv[0], list);
    }
    return ctl_fail(ctl, "\"%s\": unknown command; quotactl --help lists them", argv[0]);
}

/* ---- settings */

static const char *pick(const struct ctl_args *args, const char *option, const char *variable,
                        const char *standard, enum ctl_origin *ret_from)
{
    const char *value = ctl_arg(args, option);
    if (value != NULL) {
        *ret_from = CTL_FLAG;
        return value;
    }
    value = variable != NULL ? getenv(variable) : NULL;
    if (value != NULL && value[0] != '\0') {
        *ret_from = CTL_ENVIRONMENT;
        return value;
    }
    *ret_from = CTL_DEFAULT;
    return standard;
}

/* HOST:PORT is looked at here, a missing port is the standard one; what has a scheme (dns:///,
 * unix:/) or is IPv6 in brackets without a port is left to gRPC. */
static bool read_address(struct ctl *ctl, const char *address)
{
    const char *colon = strrchr(address, ':');
    if (strchr(address, '/') != NULL || address[0] == '\0' || colon != strchr(address, ':')) {
        return true;
    }
    if (colon == NULL) {
        (void)snprintf(ctl->address_text, sizeof ctl->address_text, "%.250s:7070", address);
        ctl->address = ctl->address_text;
        return true;
    }
    char *end = NULL;
    long port = strtol(colon + 1, &end, 10);
    if (colon == address || colon[1] < '0' || colon[1] > '9' || *end != '\0' || port < 1 ||
        port > 65535) {
        (void)ctl_fail(ctl,
                       "%s \"%s\": accepted is HOST:PORT with a port from 1 to 65535, as in "
                       "127.0.0.1:7070",
                       ctl->address_from == CTL_FLAG ? "--address" : "QUOTAD_ADDRESS", address);
        return false;
    }
    return true;
}

int ctl_settings(struct ctl *ctl, const struct ctl_args *args)
{
    static const char *const outputs[] = {"table", "json", NULL};
    static const char *const colours[] = {"auto", "always", "never", NULL};
    ctl->address = pick(args, "address", "QUOTAD_ADDRESS", "127.0.0.1:7070", &ctl->address_from);
    if (!read_address(ctl, ctl->address)) {
        return CTL_ERROR;
    }
    const char *output = pick(args, "output", "QUOTACTL_OUTPUT", "table", &ctl->output_from);
    int index = ctl_read_word(ctl, ctl->output_from == CTL_FLAG ? "--output" : "QUOTACTL_OUTPUT",
                              output, outputs);
    if (index < 0) {
        return CTL_ERROR;
    }
    ctl->json = index == 1;
    const char *timeout = pick(args, "timeout", "QUOTACTL_TIMEOUT", "10s", &ctl->timeout_from);
    int64_t ns = 0;
    if (!ctl_read_span(ctl, ctl->timeout_from == CTL_FLAG ? "--timeout" : "QUOTACTL_TIMEOUT",
                       timeout, &ns)) {
        return CTL_ERROR;
    }
    ctl->timeout_ms = ns / 1000000 > 0 ? ns / 1000000 : 1;
    ctl->tls_ca = pick(args, "tls-ca", "QUOTACTL_TLS_CA", NULL, &ctl->tls_ca_from);
    ctl->tls_cert = pick(args, "tls-cert", "QUOTACTL_TLS_CERT", NULL, &ctl->tls_cert_from);
    ctl->tls_key = pick(args, "tls-key", "QUOTACTL_TLS_KEY", NULL, &ctl->tls_key_from);
    ctl->token_file = pick(args, "token-file", "QUOTACTL_TOKEN_FILE", NULL, &ctl->token_from);
    const char *colour = pick(args, "color", NULL, "auto", &ctl->colour_from);
    index = ctl_read_word(ctl, "--color", colour, colours);
    if (index < 0) {
        return CTL_ERROR;
    }
    const char *no_colour = getenv("NO_COLOR");
    bool wanted = no_colour == NULL || no_colour[0] == '\0';
    if (!wanted && ctl->colour_from == CTL_DEFAULT) {
        ctl->colour_from = CTL_ENVIRONMENT;
    }
    ctl->colour = index == 1 || (index == 0 && wanted && isatty(fileno(ctl->out)) == 1);
    return CTL_OK;
}

int ctl_print_config(struct ctl *ctl)
{
    static const char *const from[] = {"default", "environment", "flag"};
    (void)fprintf(ctl->out, "address  %s  (%s)\n", ctl->address, from[ctl->address_from]);
    (void)fprintf(ctl->out, "output   %s  (%s)\n", ctl->json ? "json" : "table",
                  from[ctl->output_from]);
    (void)fprintf(ctl->out, "timeout  %lld ms  (%s)\n", (long long)ctl->timeout_ms,
                  from[ctl->timeout_from]);
    (void)fprintf(ctl->out, "color    %s  (%s)\n", ctl->colour ? "on" : "off",
                  from[ctl->colour_from]);
    const struct {
        const char *name;
        const char *value;
        enum ctl_origin origin;
    } files[] = {{"tls-ca", ctl->tls_ca, ctl->tls_ca_from},
                 {"tls-cert", ctl->tls_cert, ctl->tls_cert_from},
                 {"tls-key", ctl->tls_key, ctl->tls_key_from},
                 {"token-file", ctl->token_file, ctl->token_from}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) { /* those that are given */
        if (files[i].value != NULL) {
            (void)fprintf(ctl->out, "%-8s %s  (%s)\n", files[i].name, files[i].value,
                          from[files[i].origin]);
        }
    }
    return CTL_OK;
}
