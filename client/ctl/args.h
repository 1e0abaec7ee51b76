/* The command line of quotactl. Layer: client/ctl. Memory: arguments point into argv. */
#ifndef QD_CLIENT_CTL_ARGS_H
#define QD_CLIENT_CTL_ARGS_H

#include "client/ctl/ctl.h"

/* Read the options of `command` (NULL: the global ones) from argv[1] on; argv[0] is not looked at.
 * `stop_at_operand`: end before the first operand, whose index is *ret_used; else operands go to
 * `args`, wherever they stand. Returns CTL_OK, or CTL_ERROR after a message. */
int ctl_args_parse(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv,
                   bool stop_at_operand, struct ctl_args *args, int *ret_used);

/* All commands, one by one; NULL at the end. Begin with zeros. */
struct ctl_command_walk {
    size_t group;
    size_t index;
};
const struct ctl_command *ctl_command_next(struct ctl_command_walk *walk);

/* The command that argv begins with, and how many words it took; NULL: none. */
const struct ctl_command *ctl_command_find(int argc, char **argv, int *ret_words);

/* Says that there is no such command, and what is near. Returns CTL_ERROR. */
int ctl_command_unknown(struct ctl *ctl, int argc, char **argv);

/* Settings from flags, environment and defaults. CTL_OK, or CTL_ERROR after a message. */
int ctl_settings(struct ctl *ctl, const struct ctl_args *args);
int ctl_print_config(struct ctl *ctl);

/* help.c */
int ctl_help(struct ctl *ctl);
/* True if there are commands "NAME ...": "tenants". */
bool ctl_is_group(const char *name);
/* What a group's commands are, with their examples. */
void ctl_help_group(FILE *out, const char *group);
int ctl_help_command(struct ctl *ctl, const struct ctl_command *command);

#endif /* QD_CLIENT_CTL_ARGS_H */
