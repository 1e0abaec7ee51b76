/* I8: the words of `quotad-reason` are part of the API: proto/README.md lists each with its status.
 */
#include "server/shard/error.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum qd_status status;
    const char *name;
} status_names[] = {
    {QD_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT"},
    {QD_STATUS_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"},
    {QD_STATUS_NOT_FOUND, "NOT_FOUND"},
    {QD_STATUS_ALREADY_EXISTS, "ALREADY_EXISTS"},
    {QD_STATUS_FAILED_PRECONDITION, "FAILED_PRECONDITION"},
    {QD_STATUS_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"},
    {QD_STATUS_UNIMPLEMENTED, "UNIMPLEMENTED"},
    {QD_STATUS_INTERNAL, "INTERNAL"},
    {QD_STATUS_UNAVAILABLE, "UNAVAILABLE"},
    {QD_STATUS_PERMISSION_DENIED, "PERMISSION_DENIED"},
    {QD_STATUS_UNAUTHENTICATED, "UNAUTHENTICATED"},
};

static const char *status_name(enum qd_status status)
{
    for (size_t i = 0; i < sizeof(status_names) / sizeof(status_names[0]); i++) {
        if (status_names[i].status == status) {
            return status_names[i].name;
        }
    }
    return "?";
}

/* The table's row of a status: "| `STATUS` | ..." */
static bool find_row(FILE *readme, const char *status, char *line, size_t size)
{
    char start[64];
    snprintf(start, sizeof(start), "| `%s` |", status);
    rewind(readme);
    while (fgets(line, (int)size, readme)) {
        if (strncmp(line, start, strlen(start)) == 0) {
            return true;
        }
    }
    return false;
}

Test(error, I8_every_reason_is_documented_with_its_status)
{
    char path[1024];
    char line[4096];
    const char *source = getenv("QUOTAD_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/proto/README.md", source ? source : ".");
    FILE *readme = fopen(path, "re");
    cr_assert_not_null(readme, "%s", path);
    for (int code = QD_ERROR_NONE + 1; code < QD_ERROR_COUNT; code++) {
        char word[80];
        const char *status = status_name(qd_error_status((enum qd_error_code)code));
        snprintf(word, sizeof(word), "`%s`", qd_error_reason((enum qd_error_code)code));
        cr_expect(find_row(readme, status, line, sizeof(line)) && strstr(line, word),
                  "proto/README.md: the row of %s lacks %s", status, word);
    }
    fclose(readme);
}
