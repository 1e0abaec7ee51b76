/* quotactl policy ...: validate, diff and test run here, without a node; show and reload ask it. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/problems.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "server/policy/policy_diff.h"
#include "server/policy/policy_file.h"
#include "server/policy/policy_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- validate */

static struct qd_policy *load(struct ctl *ctl, const char *path, struct qd_problems *problems)
{
    struct qd_policy *policy = qd_policy_load_file(path, problems);
    if (policy == NULL && !ctl->json) {
        ctl_print_problems(ctl, problems);
    }
    return policy;
}

static int run_validate(struct ctl *ctl, const struct ctl_args *args)
{
    const char *path = args->operands[0];
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    if (problems == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    struct qd_policy *policy = load(ctl, path, problems);
    size_t errors = qd_problems_errors(problems);
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "valid", json_object_new_boolean(policy != NULL));
        json_object_object_add(object, "problems", ctl_json_problems(problems));
        json_object_object_add(
            object, "summary",
            json_object_new_string(policy != NULL ? qd_policy_info(policy)->summary : ""));
        json_object_object_add(
            object, "sha256",
            json_object_new_string(policy != NULL ? qd_policy_info(policy)->sha256 : ""));
        (void)ctl_json_print(ctl, object);
    } else if (policy != NULL) {
        ctl_print_problems(ctl, problems); /* warnings */
        (void)fprintf(ctl->out, "%s%s OK%s: %s\n", ctl_green(ctl), path, ctl_plain(ctl),
                      qd_policy_info(policy)->summary);
    } else {
        (void)ctl_fail(ctl, "%s: %zu error%s; nothing of it would take effect", path, errors,
                       errors == 1 ? "" : "s");
    }
    int rc = policy != NULL ? CTL_OK : CTL_ERROR;
    qd_policy_free(policy);
    qd_problems_free(problems);
    return rc;
}

/* ---- the running policy */

static void print_policy(struct ctl *ctl, const void *message, const void *context)
{
    (void)context;
    const Quota__V1__GetPolicyResponse *answer = message;
    const Quota__V1__PolicyInfo *info = answer->policy;
    if (info != NULL) {
        (void)fprintf(ctl->out, "# r%llu %s, loaded %s: %s\n# sha256 %s\n",
                      (unsigned long long)info->revision, info->file,
                      ctl_time_text(info->loaded_at_unix_ns, NULL).text, info->summary,
                      info->sha256);
    }
    size_t length = strlen(answer->yaml);
    (void)fprintf(ctl->out, "%s%s", answer->yaml,
                  length > 0 && answer->yaml[length - 1] != '\n' ? "\n" : "");
}

static int run_show(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__GetPolicyRequest request;
    quota__v1__get_policy_request__init(&request);
    (void)args;
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/GetPolicy", &request.base,
                             &quota__v1__get_policy_response__descriptor, true),
                    print_policy, NULL);
}

static void print_wire_problems(struct ctl *ctl, size_t count,
                                Quota__V1__PolicyProblem *const *problems)
{
    for (size_t i = 0; i < count; i++) {
        const Quota__V1__PolicyProblem *p = problems[i];
        bool warning = p->severity == QUOTA__V1__SEVERITY__SEVERITY_WARNING;
        if (p->line != 0) {
            (void)fprintf(ctl->err, "%s:%u:%u: ", p->file, p->line, p->column);
        }
        (void)fprintf(ctl->err, "%s%s\n", warning ? "warning: " : "", p->message);
    }
}

/* One line of a diff: "+ plans.pro.tokens: 2M/min". */
static void print_change(struct ctl *ctl, char sign, const char *path, const char *before,
                         const char *after, bool restarts)
{
    const char *colour = sign == '+' ? ctl_green(ctl) : sign == '-' ? ctl_red(ctl) : "";
    (void)fprintf(ctl->out, "%s%c %s%s", colour, sign, path,
                  colour[0] != '\0' ? ctl_plain(ctl) : "");
    if (sign == '~') {
        (void)fprintf(ctl->out, ": %s -> %s", before, after);
    } else if (before[0] != '\0' || after[0] != '\0') {
        (void)fprintf(ctl->out, ": %s", sign == '-' ? before : after);
    }
    (void)fprintf(ctl->out, "%s\n", restarts ? "  (counters start empty)" : "");
}

static void print_wire_changes(struct ctl *ctl, size_t count,
                               Quota__V1__PolicyChange *const *changes)
{
    for (size_t i = 0; i < count; i++) {
        const Quota__V1__PolicyChange *c = changes[i];
        char sign = c->kind == QUOTA__V1__CHANGE_KIND__CHANGE_KIND_ADDED     ? '+'
                    : c->kind == QUOTA__V1__CHANGE_KIND__CHANGE_KIND_REMOVED ? '-'
                                                                             : '~';
        print_change(ctl, sign, c->path, c->before, c->after, c->restarts_counters != 0);
    }
}

static void print_reload(struct ctl *ctl, const void *message, const void *context)
{
    (void)context;
    const Quota__V1__ReloadPolicyResponse *answer = message;
    print_wire_problems(ctl, answer->n_problems, answer->problems);
    print_wire_changes(ctl, answer->n_changes, answer->changes);
    if (answer->policy != NULL) {
        (void)fprintf(ctl->out, "policy r%llu %s: %s\n",
                      (unsigned long long)answer->policy->revision,
                      answer->changed ? "applied" : "unchanged", answer->policy->summary);
    }
}

static int run_reload(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ReloadPolicyRequest request;
    quota__v1__reload_policy_request__init(&request);
    const char *text = ctl_arg(args, "expect");
    int64_t revision = 0;
    if (text != NULL && !ctl_read_count(ctl, "--expect", text[0] == 'r' ? text + 1 : text, 1,
                                        INT64_C(1) << 53, &revision)) {
        return CTL_ERROR;
    }
    request.expected_revision = (uint64_t)revision;
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ReloadPolicy", &request.base,
                             &quota__v1__reload_policy_response__descriptor, revision == 0),
                    print_reload, NULL);
}

/* ---- diff */

static char *read_text(struct ctl *ctl, const char *path)
{
    enum {
        TEXT_MAX = 192 * 1024
    };
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)ctl_fail(ctl, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = calloc(1, TEXT_MAX + 2);
    size_t size = text != NULL ? fread(text, 1, TEXT_MAX + 1, file) : 0;
    (void)fclose(file);
    if (text == NULL || size > TEXT_MAX || strlen(text) != size) {
        (void)ctl_fail(ctl, "%s: %s", path,
                       text == NULL      ? "out of memory"
                       : size > TEXT_MAX ? "larger than the 192 KiB that a node compares; put it "
                                           "beside the running file and name both"
                                         : "not text");
        free(text);
        return NULL;
    }
    return text;
}

static void print_difference(struct ctl *ctl, const void *message, const void *context)
{
    (void)context;
    const Quota__V1__ValidatePolicyResponse *answer = message;
    print_wire_problems(ctl, answer->n_problems, answer->problems);
    print_wire_changes(ctl, answer->n_changes, answer->changes);
    if (answer->valid && answer->n_changes == 0) {
        (void)fprintf(ctl->out, "no difference\n");
    }
}

static int diff_running(struct ctl *ctl, const char *path)
{
    Quota__V1__ValidatePolicyRequest request;
    quota__v1__validate_policy_request__init(&request);
    char *text = read_text(ctl, path);
    if (text == NULL) {
        return CTL_ERROR;
    }
    request.yaml = text;
    Quota__V1__ValidatePolicyResponse *answer =
        ctl_call(ctl, "AdminService/ValidatePolicy", &request.base,
                 &quota__v1__validate_policy_response__descriptor, true);
    free(text);
    if (answer == NULL) {
        return CTL_ERROR;
    }
    bool valid = answer->valid;
    (void)ctl_show(ctl, answer, print_difference, NULL);
    return valid ? CTL_OK : CTL_ERROR;
}

static struct json_object *json_change(const struct qd_policy_change *change)
{
    static const char *const kinds[] = {"ADDED", "REMOVED", "CHANGED"};
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "kind", json_object_new_string(kinds[change->kind]));
    json_object_object_add(object, "path", json_object_new_string(change->path));
    json_object_object_add(object, "before", json_object_new_string(change->before));
    json_object_object_add(object, "after", json_object_new_string(change->after));
    json_object_object_add(object, "restarts_counters",
                           json_object_new_boolean(change->restarts_counters));
    return object;
}

static void print_changes(struct ctl *ctl, const struct qd_policy_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct qd_policy_change *c = &changes->changes[i];
        char sign = c->kind == QD_CHANGE_ADDED ? '+' : c->kind == QD_CHANGE_REMOVED ? '-' : '~';
        print_change(ctl, sign, c->path, c->before, c->after, c->restarts_counters);
    }
    if (changes->count == 0) {
        (void)fprintf(ctl->out, "no difference\n");
    }
    if (changes->dropped > 0) {
        (void)fprintf(ctl->out, "and %zu more\n", changes->dropped);
    }
}

/* The same shape as the node's answer, so that scripts need not care who compared. */
static void print_changes_json(struct ctl *ctl, const struct qd_policy_changes *changes,
                               const struct qd_problems *problems)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; changes != NULL && i < changes->count; i++) {
        json_object_array_add(array, json_change(&changes->changes[i]));
    }
    json_object_object_add(object, "valid", json_object_new_boolean(changes != NULL));
    json_object_object_add(object, "problems", ctl_json_problems(problems));
    json_object_object_add(object, "changes", array);
    (void)ctl_json_print(ctl, object);
}

static int diff_files(struct ctl *ctl, const char *old_path, const char *new_path)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    if (problems == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    struct qd_policy *before = qd_policy_load_file(old_path, problems);
    struct qd_policy *after = before != NULL ? qd_policy_load_file(new_path, problems) : NULL;
    struct qd_policy_changes *changes = after != NULL ? qd_policy_diff(before, after) : NULL;
    if (ctl->json) {
        print_changes_json(ctl, changes, problems);
    } else if (changes != NULL) {
        print_changes(ctl, changes);
    } else {
        ctl_print_problems(ctl, problems);
    }
    int rc = changes != NULL ? CTL_OK : CTL_ERROR;
    qd_policy_changes_free(changes);
    qd_policy_free(before);
    qd_policy_free(after);
    qd_problems_free(problems);
    return rc;
}

static int run_diff(struct ctl *ctl, const struct ctl_args *args)
{
    return args->operand_count == 2 ? diff_files(ctl, args->operands[0], args->operands[1])
                                    : diff_running(ctl, args->operands[0]);
}

/* ---- test */

static int run_test(struct ctl *ctl, const struct ctl_args *args)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    if (problems == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    int rc = CTL_OK;
    for (size_t i = 0; i < args->operand_count; i++) {
        struct qd_policy_test_report *report =
            qd_policy_test_run(args->operands[i], ctl_arg(args, "policy"), problems);
        if (report == NULL) {
            rc = CTL_ERROR;
            break;
        }
        if (ctl->json) {
            qd_policy_test_print_json(report, ctl->out);
        } else {
            qd_policy_test_print(report, ctl->out);
        }
        rc = report->failed > 0 ? CTL_ERROR : rc;
        qd_policy_test_free(report);
    }
    ctl_print_problems(ctl, problems);
    qd_problems_free(problems);
    return rc;
}

static const struct ctl_option reload_options[] = {
    {"expect", 0, "REVISION", "only if this revision is running"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option test_options[] = {
    {"policy", 0, "FILE", "instead of the policy that the test names"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_policy_commands[] = {
    {"policy validate", "FILE", "is this policy right? says what is wrong and where",
     "Runs here, without a node.\n",
     "  quotactl policy validate policy.yaml\n  quotactl policy validate policy.yaml -o json\n",
     NULL, 1, 1, run_validate},
    {"policy show", "", "the policy that the node runs", NULL,
     "  quotactl policy show\n  quotactl policy show > running.yaml\n", NULL, 0, 0, run_show},
    {"policy reload", "", "let the node read its policy file again",
     "A bad policy changes nothing; counters keep what was used.\n",
     "  quotactl policy reload\n  quotactl policy reload --expect r3\n", reload_options, 0, 0,
     run_reload},
    {"policy diff", "FILE [FILE]", "what would change",
     "With one file: against the policy that the node runs. With two: from the first to the\n"
     "second, without a node.\n",
     "  quotactl policy diff policy.yaml\n  quotactl policy diff old.yaml new.yaml\n", NULL, 1, 2,
     run_diff},
    {"policy test", "FILE...", "run a file of checks with the verdicts that a policy must give",
     "Runs here, without a node, on a clock of its own. Exit code 1 when a test fails.\n",
     "  quotactl policy test policy_test.yaml\n"
     "  quotactl policy test policy_test.yaml --policy next.yaml -o json\n",
     test_options, 1, CTL_OPERANDS_MAX, run_test},
    {.name = NULL},
};
