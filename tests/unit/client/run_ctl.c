#include "tests/unit/client/run_ctl.h"

#include "client/ctl/ctl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ctl_run run_ctl(const char *address, const char *line)
{
    char *argv[64] = {"quotactl"};
    char address_option[128];
    int argc = 1;
    struct ctl_run run = {.code = -1};
    size_t out_size = 0;
    size_t err_size = 0;
    char *words = strdup(line);
    assert(words != NULL);
    if (address != NULL) {
        (void)snprintf(address_option, sizeof address_option, "--address=%s", address);
        argv[argc++] = address_option;
    }
    for (char *at = words; *at != '\0' && argc < 63;) {
        at += strspn(at, " ");
        if (*at == '\0') {
            break;
        }
        char stop = *at == '\'' ? '\'' : ' ';
        at += stop == '\'' ? 1 : 0;
        argv[argc++] = at;
        at = strchr(at, stop);
        if (at == NULL) {
            break;
        }
        *at++ = '\0';
    }
    FILE *out = open_memstream(&run.out, &out_size);
    FILE *err = open_memstream(&run.err, &err_size);
    assert(out != NULL && err != NULL);
    run.code = ctl_run(argc, argv, out, err);
    (void)fclose(out);
    (void)fclose(err);
    free(words);
    return run;
}

void ctl_run_release(struct ctl_run *run)
{
    free(run->out);
    free(run->err);
    *run = (struct ctl_run){.code = -1};
}
