#include "client/ctl/problems.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

struct json_object *ctl_json_problems(const struct qd_problems *problems)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < qd_problems_count(problems); i++) {
        const struct qd_problem *problem = qd_problems_at(problems, i);
        struct json_object *object = json_object_new_object();
        bool error = problem->severity == QD_SEVERITY_ERROR;
        json_object_object_add(object, "severity",
                               json_object_new_string(error ? "ERROR" : "WARNING"));
        json_object_object_add(object, "file", json_object_new_string(problem->file));
        json_object_object_add(object, "line", json_object_new_int64(problem->line));
        json_object_object_add(object, "column", json_object_new_int64(problem->column));
        json_object_object_add(object, "message", json_object_new_string(problem->message));
        json_object_array_add(array, object);
    }
    return array;
}

void ctl_print_problems(struct ctl *ctl, const struct qd_problems *problems)
{
    char *text = qd_problems_text(problems);
    if (text != NULL && text[0] != '\0') {
        (void)fprintf(ctl->err, "%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
    }
    free(text);
}
