/* quotactl: what its commands share.
 *
 * Layer:    client/ctl. Names begin with ctl_. A command is one function over libquota, or, where
 *           the public header has no such call, over the generated messages (rpc.h).
 * Units:    as the names say.
 * Threads:  commands run on the main thread; replay's callbacks on libquota's.
 * Memory:   `struct ctl` lives in ctl_run; commands free what they take.
 *
 * A command prints its result on `out` and what went wrong on `err`, and returns an exit code.
 */
#ifndef QD_CLIENT_CTL_CTL_H
#define QD_CLIENT_CTL_CTL_H

#include "client/quota.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ctl_exit {
    CTL_OK = 0,
    CTL_ERROR = 1,
    CTL_DENIED = 2
};

/* ---- settings: flag over environment over default */

enum ctl_origin {
    CTL_DEFAULT,
    CTL_ENVIRONMENT,
    CTL_FLAG
};

struct ctl {
    FILE *out;
    FILE *err;
    const char *address;
    char address_text[264]; /* it with a port, if it came without */
    bool json;
    bool colour;
    int64_t timeout_ms;
    const char *tls_ca; /* files; NULL: not given */
    const char *tls_cert;
    const char *tls_key;
    const char *token_file;
    enum ctl_origin tls_ca_from, tls_cert_from, tls_key_from, token_from;
    enum ctl_origin address_from, output_from, timeout_from, colour_from;
    struct quota_client *client; /* NULL until a command needs it */
    const char *command;         /* "policy diff"; "" while none is known */
};

/* ---- the command table */

struct ctl_option {
    const char *name; /* long form, without "--" */
    char letter;      /* 0: none */
    const char *arg;  /* what follows, "N"; NULL: a switch */
    const char *help;
};

struct ctl_args;

struct ctl_command {
    const char *name;                 /* "tenants put": one or two words */
    const char *operands;             /* "TENANT [PLAN]"; "" for none */
    const char *summary;              /* one line */
    const char *details;              /* more, or NULL */
    const char *examples;             /* lines, each ending with \n */
    const struct ctl_option *options; /* ends with a name of NULL; or NULL */
    unsigned operands_min, operands_max;
    int (*run)(struct ctl *ctl, const struct ctl_args *args);
};

/* All commands, in the order of the help; ends with a name of NULL. */
extern const struct ctl_command *const ctl_command_groups[];
extern const struct ctl_option ctl_global_options[];

/* What was given to a command. */
enum {
    CTL_GIVEN_MAX = 128,
    CTL_OPERANDS_MAX = 16
};

struct ctl_args {
    const struct ctl_command *command;
    struct {
        const char *name;
        const char *value; /* NULL for a switch */
    } given[CTL_GIVEN_MAX];
    size_t given_count;
    const char *operands[CTL_OPERANDS_MAX];
    size_t operand_count;
};

/* The last value of an option; NULL when it was not given. */
const char *ctl_arg(const struct ctl_args *args, const char *name);
/* True when a switch was given. */
bool ctl_flag(const struct ctl_args *args, const char *name);
/* The value number `index` of an option that may come again; NULL beyond the last. */
const char *ctl_arg_at(const struct ctl_args *args, const char *name, size_t index);

/* ---- running */

/* All of quotactl. Returns the exit code. */
int ctl_run(int argc, char **argv, FILE *out, FILE *err);

/* "quotactl check: ..." on err. Returns CTL_ERROR. */
int ctl_fail(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A failed call: its message, and the next command where there is one. Returns CTL_ERROR. */
int ctl_fail_call(struct ctl *ctl, const struct quota_error *error);

/* The client; NULL after a message. */
struct quota_client *ctl_client(struct ctl *ctl);

/* ---- reading values. False after a message that names the option. */

bool ctl_read_count(struct ctl *ctl, const char *option, const char *text, int64_t min, int64_t max,
                    int64_t *ret);
/* `--count` of a list: how many rows a page has; 100 unless given. */
bool ctl_read_rows(struct ctl *ctl, const struct ctl_args *args, uint32_t *ret_rows);
/* A length of time: "90s", "5min", "1h", "2 weeks"; in ns. */
bool ctl_read_span(struct ctl *ctl, const char *option, const char *text, int64_t *ret_ns);
/* A time: "2026-11-01" (midnight in `zone`), "2026-11-01T08:30" there, "...Z", or "24h" (ago). */
bool ctl_read_time(struct ctl *ctl, const char *option, const char *text, const char *zone,
                   int64_t *ret_unix_ns);
/* A time to come: a date as above in UTC, or "2h" (from now). */
bool ctl_read_end(struct ctl *ctl, const char *option, const char *text, int64_t *ret_unix_ns);
/* True if `from` is before `to` (0: not given). Else says so, with dates. */
bool ctl_check_range(struct ctl *ctl, int64_t from_unix_ns, int64_t to_unix_ns, const char *zone);
/* "meter=amount"; gpu_seconds=1.5 is gpu_ms=1500. The meter's name is copied to `ret_meter`. */
enum {
    CTL_METER_MAX = 128
};
bool ctl_read_use(struct ctl *ctl, const char *option, const char *text,
                  char ret_meter[CTL_METER_MAX], int64_t *ret_amount);
/* "key=value"; both are copied. */
struct ctl_pair {
    char key[128];
    char value[512];
};
bool ctl_read_pair(struct ctl *ctl, const char *option, const char *text, struct ctl_pair *ret);
/* One of the words (ends with NULL): its index; -1 after a message with the nearest. */
int ctl_read_word(struct ctl *ctl, const char *option, const char *text, const char *const words[]);

#endif /* QD_CLIENT_CTL_CTL_H */
