/* qd_proto_tool: turns protoc's descriptor set into what the build and proto/check-compat.sh need.
 *
 *   qd_proto_tool embed SET OUT.c       the tables of proto/reflect_data.h
 *   qd_proto_tool lock SET OUT PREFIX   the lines of proto/tools/lock.h
 */
#include <string.h>

#include "embed.h"
#include "lock.h"

static int run(int argc, char **argv, const struct qd_set *set)
{
    FILE *out = fopen(argv[3], "w");
    int result = 0;

    if (out == NULL) {
        perror(argv[3]);
        return -1;
    }
    result = argc == 4 ? qd_embed_write(set, out) : qd_lock_write(set, argv[4], out);
    if (ferror(out) || fclose(out) != 0) {
        perror(argv[3]);
        result = -1;
    }
    if (result != 0) {
        remove(argv[3]);
    }
    return result;
}

int main(int argc, char **argv)
{
    struct qd_set set;
    int result = 0;
    int embed = argc == 4 && strcmp(argv[1], "embed") == 0;
    int lock = argc == 5 && strcmp(argv[1], "lock") == 0;

    if (!embed && !lock) {
        fputs("usage: qd_proto_tool embed SET OUT.c\n"
              "       qd_proto_tool lock SET OUT PREFIX\n",
              stderr);
        return 2;
    }
    result = qd_set_read(&set, argv[2]);
    if (result == 0) {
        result = run(argc, argv, &set);
    }
    qd_set_release(&set);
    return result == 0 ? 0 : 1;
}
