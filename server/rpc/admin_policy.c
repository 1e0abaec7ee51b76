/* AdminService: GetPolicy, ValidatePolicy, ReloadPolicy (P1, P6). */
#include "quota/v1/admin.pb-c.h"
#include "server/policy/policy_diff.h"
#include "server/rpc/admin.h"
#include "server/rpc/audit.h"
#include "server/rpc/text.h"

#include <stdio.h>

#define YAML_BYTES_MAX ((size_t)192 << 10)

void qd_admin_put_policy(struct qd_place *place, uint32_t id)
{
    const struct qd_published *p = atomic_load(&place->node->published);
    struct qd_out *out = &place->out;
    uint8_t *message = qd_out_begin(out, id);

    qd_out_number(out, 1, p->policy->revision);
    qd_out_text(out, 2, p->info->sha256);
    qd_out_text(out, 3, p->info->file);
    qd_out_number(out, 4, (uint64_t)p->loaded_at.ns);
    qd_out_text(out, 5, p->info->summary);
    qd_out_end(out, message);
}

enum qd_error_code qd_admin_get_policy(struct qd_place *place, struct qd_call *call,
                                       struct qd_str bytes, struct qd_error *ret_error)
{
    const struct qd_published *p = atomic_load(&place->node->published);

    (void)call;
    (void)bytes;
    (void)ret_error;
    qd_admin_put_policy(place, 1);
    if (p->info->yaml != NULL) {
        qd_out_str(&place->out, 2, (struct qd_str){p->info->yaml, p->info->yaml_size});
    }
    return QD_ERROR_NONE;
}

static void put_problems(struct qd_out *out, uint32_t id, const struct qd_problems *problems,
                         bool warnings_only)
{
    for (size_t i = 0; i < qd_problems_count(problems); i++) {
        const struct qd_problem *p = qd_problems_at(problems, i);
        if (warnings_only && p->severity == QD_SEVERITY_ERROR) {
            continue;
        }
        uint8_t *message = qd_out_begin(out, id);
        qd_out_number(out, 1, p->severity == QD_SEVERITY_ERROR ? 1 : 2);
        qd_out_text(out, 2, p->file);
        qd_out_number(out, 3, p->line);
        qd_out_number(out, 4, p->column);
        qd_out_text(out, 5, p->message);
        qd_out_end(out, message);
    }
}

static void put_changes(struct qd_out *out, uint32_t id, const struct qd_policy *before,
                        const struct qd_policy *after)
{
    struct qd_policy_changes *changes = qd_policy_diff(before, after);

    for (size_t i = 0; changes != NULL && i < changes->count; i++) {
        const struct qd_policy_change *c = &changes->changes[i];
        uint8_t *message = qd_out_begin(out, id);
        qd_out_number(out, 1, (uint64_t)c->kind + 1);
        qd_out_text(out, 2, c->path);
        qd_out_text(out, 3, c->before);
        qd_out_text(out, 4, c->after);
        qd_out_number(out, 5, c->restarts_counters);
        qd_out_end(out, message);
    }
    qd_policy_changes_free(changes);
}

/* The folder of the node's policy file: imports of a text are looked up there. */
static const char *policy_folder(struct qd_place *place, const char *file)
{
    const char *slash = file != NULL ? strrchr(file, '/') : NULL;

    if (slash == NULL) {
        return ".";
    }
    size_t len = slash == file ? 1 : (size_t)(slash - file);
    return qd_scratch_text(&place->arena, (struct qd_str){file, len});
}

enum qd_error_code qd_admin_validate_policy(struct qd_place *place, struct qd_call *call,
                                            struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ValidatePolicyRequest *q =
        qd_place_unpack(place, &quota__v1__validate_policy_request__descriptor, bytes, ret_error);
    const struct qd_published *p = atomic_load(&place->node->published);
    struct qd_policy *policy = NULL;

    (void)call;
    if (q == NULL) {
        return ret_error->code;
    }
    size_t size = strlen(q->yaml);
    if (size > YAML_BYTES_MAX) {
        return qd_error_set(ret_error, QD_ERROR_MESSAGE_TOO_LARGE,
                            "yaml: %zu bytes; at most %zu are accepted; run: quotad --policy FILE "
                            "--print-config, or "
                            "put it into the node's policy file and leave yaml out",
                            size, YAML_BYTES_MAX);
    }
    bool dev = p->policy->dev;
    if (size == 0 && dev) {
        return qd_error_set(
            ret_error, QD_ERROR_NO_POLICY_FILE,
            "this node runs with --dev: there is no policy file; give the text in yaml");
    }
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    if (problems == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    if (size > 0) {
        policy =
            qd_policy_load_bytes("policy.yaml", policy_folder(place, dev ? NULL : p->info->file),
                                 q->yaml, size, problems);
    } else {
        policy = qd_policy_load_file(p->info->file, problems);
    }
    qd_out_number(&place->out, 1, policy != NULL);
    put_problems(&place->out, 2, problems, false);
    if (policy != NULL) {
        put_changes(&place->out, 3, p->policy, policy);
        qd_out_text(&place->out, 4, qd_policy_info(policy)->summary);
    }
    qd_policy_free(policy);
    qd_problems_free(problems);
    return QD_ERROR_NONE;
}

static void audit_reload(struct qd_place *place, const struct qd_call *call,
                         const struct qd_published *before, const struct qd_published *after)
{
    char detail[128];
    int len = snprintf(detail, sizeof(detail), "r%llu to r%llu",
                       (unsigned long long)before->policy->revision,
                       (unsigned long long)after->policy->revision);

    qd_audit_write(place, call,
                   &(struct qd_audit_action){.action = "ReloadPolicy",
                                             .subject = qd_slice_of("(policy)"),
                                             .detail = {detail, (size_t)len},
                                             .before = qd_slice_of(before->info->sha256),
                                             .after = qd_slice_of(after->info->sha256)});
}

/* The old policy stays readable until this call leaves: its worker entered before the reload. */
enum qd_error_code qd_admin_reload_policy(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ReloadPolicyRequest *q =
        qd_place_unpack(place, &quota__v1__reload_policy_request__descriptor, bytes, ret_error);
    const struct qd_rpc_hooks *hooks = qd_rpc_hooks_of(place->rpc);
    const struct qd_published *before = atomic_load(&place->node->published);
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    bool changed = false;

    if (q == NULL || problems == NULL) {
        qd_problems_free(problems);
        return q == NULL ? ret_error->code
                         : qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    enum qd_error_code code =
        hooks->reload(hooks->context, q->expected_revision, problems, &changed, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_admin_put_policy(place, 1);
        qd_out_number(&place->out, 2, changed);
        put_problems(&place->out, 3, problems, true);
        if (changed) {
            const struct qd_published *after = atomic_load(&place->node->published);
            put_changes(&place->out, 4, before->policy, after->policy);
            audit_reload(place, call, before, after);
        }
    }
    qd_problems_free(problems);
    return code;
}
