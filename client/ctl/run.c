/* From argv to a command, and what commands say when something fails. */
#include "client/ctl/args.h"
#include "client/ctl/ctl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int ctl_fail(struct ctl *ctl, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(ctl->err, "quotactl%s%s: ", ctl->command[0] != '\0' ? " " : "", ctl->command);
    (void)vfprintf(ctl->err, format, args);
    (void)fputc('\n', ctl->err);
    va_end(args);
    return CTL_ERROR;
}

/* The server speaks of its API's fields: what quotactl calls them. */
static const struct {
    const char *api;
    const char *here;
} renamed[] = {
    {"leave create_only out", "leave --create out"},
    {"or set subtree", "or pass --subtree"},
    {"balances of -2^53 to 2^53",
     "balances of -2^53 to 2^53 (of money: -$9,007,199.25 to $9,007,199.25)"},
};

static void fail_in_our_words(struct ctl *ctl, const char *message)
{
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++) {
        const char *found = strstr(message, renamed[i].api);
        if (found != NULL) {
            (void)ctl_fail(ctl, "%.*s%s%s", (int)(found - message), message, renamed[i].here,
                           found + strlen(renamed[i].api));
            return;
        }
    }
    (void)ctl_fail(ctl, "%s", message);
}

/* What to look at when two do not speak the same TLS; NULL: it is something else. A handshake that
 * failed is ended without an alert by gRPC 1.51: the other side sees a closed connection. */
static const char *next_of_tls(const struct ctl *ctl, const char *message)
{
    bool closed = strstr(message, "Socket closed") != NULL ||
                  strstr(message, "Connection reset by peer") != NULL;
    if (closed && ctl->tls_ca == NULL) {
        return "if the node speaks TLS, name who vouches for it with --tls-ca FILE";
    }
    if (closed && ctl->tls_ca != NULL) {
        return "if the node asks for certificates, bring one that it accepts with --tls-cert and "
               "--tls-key; its log says what was wrong";
    }
    if (strstr(message, "TLS files cannot be used") != NULL) {
        return "look at what --tls-ca, --tls-cert and --tls-key name: openssl x509 -noout -text "
               "-in FILE";
    }
    if (strstr(message, "wrong version number") != NULL) {
        return "the node speaks no TLS: leave out --tls-ca (QUOTACTL_TLS_CA), or name another port";
    }
    if (strstr(message, "certificate verify failed") != NULL) {
        return "is it that node? Its certificate has expired, or --tls-ca does not vouch for it";
    }
    if (strstr(message, "is not in peer certificate") != NULL) {
        return "name the node as its certificate does with --address";
    }
    return NULL;
}

int ctl_fail_call(struct ctl *ctl, const struct quota_error *error)
{
    fail_in_our_words(ctl, error->message);
    bool reached = error->reason[0] != '\0';
    if (strstr(error->message, "http1") != NULL || strstr(error->message, "HTTP/1") != NULL) {
        (void)fprintf(ctl->err,
                      "next: %s speaks plain HTTP, as the admin port (7071) does; "
                      "name the gRPC port (7070) with --address\n",
                      ctl->address);
        return CTL_ERROR;
    }
    const char *next = next_of_tls(ctl, error->message);
    if (error->status == QUOTA_UNAVAILABLE && !reached && next != NULL) {
        (void)fprintf(ctl->err, "next: %s\n", next);
    } else if (error->status == QUOTA_UNAVAILABLE && !reached) {
        (void)fprintf(ctl->err, "next: start a node with quotad --dev, or name another with "
                                "--address HOST:PORT (QUOTAD_ADDRESS)\n");
    } else if (error->status == QUOTA_TIMEOUT && !reached) {
        (void)fprintf(ctl->err, "next: quotactl status --address %s, or a longer --timeout\n",
                      ctl->address);
    } else if (error->status == QUOTA_UNSUPPORTED &&
               strstr(error->message, "AdminService") != NULL) {
        (void)fprintf(ctl->err,
                      "next: name the address of --admin-rpc-listen with --address, if the "
                      "node has one; it says so when it starts\n");
    } else if (error->status == QUOTA_UNSUPPORTED) {
        (void)fprintf(ctl->err, "next: compare quotactl --version with quotad --version on %s\n",
                      ctl->address);
    }
    return CTL_ERROR;
}

struct quota_client *ctl_client(struct ctl *ctl)
{
    if (ctl->client == NULL) {
        struct quota_config config = {
            .address = ctl->address,
            .check_timeout_ms = ctl->timeout_ms,
            .report_timeout_ms = ctl->timeout_ms,
            .failure_mode = QUOTA_FAIL_ERROR,
            .no_renewal = true, /* the hold outlives this process */
            .tries_max = 3,
            .user_agent = "quotactl/" QD_VERSION,
            .tls_ca_file = ctl->tls_ca,
            .tls_cert_file = ctl->tls_cert,
            .tls_key_file = ctl->tls_key,
            .token_file = ctl->token_file,
        };
        struct quota_error error;
        if (quota_client_new(&config, &error, &ctl->client) != QUOTA_OK) {
            (void)ctl_fail(ctl, "%s", error.message);
            return NULL;
        }
    }
    return ctl->client;
}

static int check_operands(struct ctl *ctl, const struct ctl_args *args)
{
    const struct ctl_command *command = args->command;
    if (args->operand_count < command->operands_min) {
        return ctl_fail(ctl, "needs %s; see quotactl %s --help", command->operands, ctl->command);
    }
    if (args->operand_count > command->operands_max) {
        return ctl_fail(ctl, "\"%s\" is one argument too many; usage: quotactl %s %s",
                        args->operands[command->operands_max], ctl->command, command->operands);
    }
    return CTL_OK;
}

/* "tenants", and no command of that group: its help is the answer, or part of the complaint. */
static int run_group(struct ctl *ctl, int argc, char **argv)
{
    for (int i = 1; i < argc && (argv[i][0] == '-' || i == 1); i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
            strcmp(argv[i], "help") == 0) {
            ctl_help_group(ctl->out, argv[0]);
            return CTL_OK;
        }
    }
    int rc = ctl_command_unknown(ctl, argc, argv);
    if (argc == 1) {
        (void)fputc('\n', ctl->err);
        ctl_help_group(ctl->err, argv[0]);
    }
    return rc;
}

/* quotactl help WORD... */
static int run_help(struct ctl *ctl, int argc, char **argv)
{
    int words = 0;
    const struct ctl_command *command = ctl_command_find(argc, argv, &words);
    if (command != NULL) {
        return ctl_help_command(ctl, command);
    }
    if (argc == 1 && ctl_is_group(argv[0])) {
        ctl_help_group(ctl->out, argv[0]);
        return CTL_OK;
    }
    return ctl_command_unknown(ctl, argc, argv);
}

static int run_command(struct ctl *ctl, struct ctl_args *args, int argc, char **argv)
{
    int words = 0;
    const struct ctl_command *command = ctl_command_find(argc, argv, &words);
    if (command == NULL) {
        return ctl_is_group(argv[0]) ? run_group(ctl, argc, argv)
                                     : ctl_command_unknown(ctl, argc, argv);
    }
    args->command = command;
    ctl->command = command->name;
    int used = 0;
    /* The last word of the command stands where getopt expects a program's name. */
    int rc = ctl_args_parse(ctl, command, argc - words + 1, argv + words - 1, false, args, &used);
    if (rc == CTL_OK && ctl_flag(args, "help")) {
        return ctl_help_command(ctl, command);
    }
    if (rc == CTL_OK) {
        rc = ctl_settings(ctl, args);
    }
    if (rc == CTL_OK && ctl_flag(args, "print-config")) {
        return ctl_print_config(ctl);
    }
    if (rc == CTL_OK) {
        rc = check_operands(ctl, args);
    }
    return rc == CTL_OK ? command->run(ctl, args) : rc;
}

int ctl_run(int argc, char **argv, FILE *out, FILE *err)
{
    struct ctl ctl = {.out = out, .err = err, .command = ""};
    struct ctl_args args = {.command = NULL};
    (void)setenv("GRPC_VERBOSITY", "NONE", 0); /* its log is not for people */
    int used = 0;
    int rc = ctl_args_parse(&ctl, NULL, argc, argv, true, &args, &used);
    if (rc != CTL_OK) {
        return rc;
    }
    if (ctl_flag(&args, "version")) {
        (void)fprintf(out, "quotactl %s\n", QD_VERSION);
    } else if (used < argc && strcmp(argv[used], "help") == 0 && used + 1 < argc) {
        rc = run_help(&ctl, argc - used - 1, argv + used + 1);
    } else if (ctl_flag(&args, "help") || (used < argc && strcmp(argv[used], "help") == 0)) {
        rc = ctl_help(&ctl);
    } else if (used < argc) {
        rc = run_command(&ctl, &args, argc - used, argv + used);
    } else if (ctl_flag(&args, "print-config")) {
        rc = ctl_settings(&ctl, &args);
        rc = rc == CTL_OK ? ctl_print_config(&ctl) : rc;
    } else {
        rc = ctl_fail(&ctl, "no command; quotactl --help lists them");
    }
    quota_client_free(ctl.client);
    if (fflush(out) != 0 && rc == CTL_OK) {
        rc = CTL_ERROR; /* a full disk, a closed pipe: the output is not there */
    }
    return rc;
}
