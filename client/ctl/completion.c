/* quotactl completion bash: made from the command table, so it is never out of date. */
#include "client/ctl/args.h"
#include "client/ctl/commands.h"

#include <string.h>

static void print_options(FILE *out, const struct ctl_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        (void)fprintf(out, " --%s", options->name);
    }
}

/* Words that may come first, or after the first word `group`. */
static void print_words(FILE *out, const char *group)
{
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    const char *last = "";
    size_t last_length = 0;
    size_t length = group != NULL ? strlen(group) : 0;
    while ((command = ctl_command_next(&walk)) != NULL) {
        if (group == NULL) {
            size_t word = strcspn(command->name, " ");
            if (word != last_length || strncmp(command->name, last, word) != 0) {
                (void)fprintf(out, "%.*s ", (int)word, command->name);
            }
            last = command->name;
            last_length = word;
        } else if (strncmp(command->name, group, length) == 0 && command->name[length] == ' ') {
            (void)fprintf(out, "%s ", command->name + length + 1);
        }
    }
}

static int run_completion(struct ctl *ctl, const struct ctl_args *args)
{
    static const char *const shells[] = {"bash", NULL};
    static const char *const groups[] = {"tenants", "counters", "reservations", "ledger", "policy",
                                         "prices",  NULL};
    if (ctl_read_word(ctl, "SHELL", args->operands[0], shells) < 0) {
        return CTL_ERROR;
    }
    FILE *out = ctl->out;
    (void)fputs("# bash completion of quotactl: source <(quotactl completion bash)\n"
                "_quotactl() {\n"
                "    local cur=\"${COMP_WORDS[COMP_CWORD]}\" word words=() i\n"
                "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                "        word=\"${COMP_WORDS[i]}\"\n"
                "        [[ $word == -* ]] || words+=(\"$word\")\n"
                "    done\n"
                "    local first=\"${words[0]}\" key=\"${words[0]} ${words[1]}\" list=\"\"\n"
                "    if [[ $cur == -* ]]; then\n"
                "        case \"$key\" in\n",
                out);
    struct ctl_command_walk walk = {0, 0};
    const struct ctl_command *command;
    while ((command = ctl_command_next(&walk)) != NULL) {
        bool two = strchr(command->name, ' ') != NULL;
        (void)fprintf(out, "        \"%s\"%s) list=\"", command->name, two ? "" : "' '*");
        print_options(out, command->options);
        (void)fputs("\" ;;\n", out);
    }
    (void)fputs("        esac\n        list+=\"", out);
    print_options(out, ctl_global_options);
    (void)fputs("\"\n    elif [[ ${#words[@]} -eq 0 ]]; then\n        list=\"", out);
    print_words(out, NULL);
    (void)fputs("help\"\n    elif [[ ${#words[@]} -eq 1 ]]; then\n        case \"$first\" in\n",
                out);
    for (size_t i = 0; groups[i] != NULL; i++) {
        (void)fprintf(out, "        %s) list=\"", groups[i]);
        print_words(out, groups[i]);
        (void)fputs("\" ;;\n", out);
    }
    (void)fputs("        completion) list=\"bash\" ;;\n"
                "        esac\n"
                "    fi\n"
                "    mapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$cur\")\n"
                "}\n"
                "complete -o default -F _quotactl quotactl\n",
                out);
    return CTL_OK;
}

const struct ctl_command ctl_completion_commands[] = {
    {"completion", "bash", "completion for your shell", NULL,
     "  source <(quotactl completion bash)\n"
     "  quotactl completion bash > /etc/bash_completion.d/quotactl\n",
     NULL, 1, 1, run_completion},
    {.name = NULL},
};
