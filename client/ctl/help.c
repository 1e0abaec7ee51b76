/* The help of quotactl and of its commands, from the command table. */
#include "client/ctl/args.h"

#include <string.h>

int ctl_help(struct ctl *ctl)
{
    (void)fprintf(ctl->out, "quotactl: ask and operate quotad.\n\n"
                            "usage: quotactl [OPTION...] COMMAND [ARGUMENT...]\n\ncommands:\n");
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    while ((command = ctl_command_next(&walk)) != NULL) {
        (void)fprintf(ctl->out, "  %-22s %s\n", command->name, command->summary);
    }
    (void)fprintf(ctl->out, "\noptions of every command:\n");
    for (const struct ctl_option *option = ctl_global_options; option->name != NULL; option++) {
        char form[64];
        (void)snprintf(form, sizeof form, "--%s%s%s", option->name, option->arg != NULL ? " " : "",
                       option->arg != NULL ? option->arg : "");
        (void)fprintf(ctl->out, "  %c%c%c %-26s %s\n", option->letter != 0 ? '-' : ' ',
                      option->letter != 0 ? option->letter : ' ', option->letter != 0 ? ',' : ' ',
                      form, option->help);
    }
    (void)fprintf(ctl->out, "\nexit codes: 0 allowed or done, 1 error, 2 denied\n"
                            "quotactl COMMAND --help shows examples\n");
    return CTL_OK;
}

/* "tenants ls" is of the group "tenants". */
static bool in_group(const struct ctl_command *command, const char *group)
{
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

bool ctl_is_group(const char *name)
{
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    while ((command = ctl_command_next(&walk)) != NULL) {
        if (in_group(command, name)) {
            return true;
        }
    }
    return false;
}

void ctl_help_group(FILE *out, const char *group)
{
    const struct ctl_command *command;
    (void)fprintf(out, "usage: quotactl %s COMMAND [OPTION...] [ARGUMENT...]\n\ncommands:\n",
                  group);
    for (struct ctl_command_walk walk = {0, 0}; (command = ctl_command_next(&walk)) != NULL;) {
        if (in_group(command, group)) {
            (void)fprintf(out, "  %-22s %s\n", command->name, command->summary);
        }
    }
    (void)fprintf(out, "\nexamples:\n");
    for (struct ctl_command_walk walk = {0, 0}; (command = ctl_command_next(&walk)) != NULL;) {
        if (in_group(command, group)) {
            (void)fputs(command->examples, out);
        }
    }
    (void)fprintf(out, "\nquotactl %s COMMAND --help shows a command's options\n", group);
}

int ctl_help_command(struct ctl *ctl, const struct ctl_command *command)
{
    (void)fprintf(ctl->out, "%s: %s\n\nusage: quotactl %s%s%s [OPTION...]\n", command->name,
                  command->summary, command->name, command->operands[0] != '\0' ? " " : "",
                  command->operands);
    if (command->details != NULL) {
        (void)fprintf(ctl->out, "\n%s", command->details);
    }
    if (command->options != NULL && command->options->name != NULL) {
        (void)fprintf(ctl->out, "\noptions:\n");
    }
    for (const struct ctl_option *option = command->options; option != NULL && option->name != NULL;
         option++) {
        char form[64];
        (void)snprintf(form, sizeof form, "--%s%s%s", option->name, option->arg != NULL ? " " : "",
                       option->arg != NULL ? option->arg : "");
        (void)fprintf(ctl->out, "  %-30s %s\n", form, option->help);
    }
    (void)fprintf(ctl->out, "\nexamples:\n%s", command->examples);
    return CTL_OK;
}
