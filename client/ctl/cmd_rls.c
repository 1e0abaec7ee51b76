/* quotactl rls ...: envoyproxy/ratelimit's files, read here by the server's own code, without a
 * node. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/problems.h"
#include "client/ctl/rpc.h"
#include "server/rls/rules.h"
#include "server/rls/show.h"

#include <json-c/json.h>
#include <string.h>

#define TENANT_DOMAIN "quotad" /* as --rls-tenant-domain of the node */

/* What became of one folder. */
struct checked {
    const char *dir;
    struct qd_rls_rules *rules; /* NULL: it cannot be read at all */
    struct qd_problems *problems;
    struct qd_rls_counts counts;
    bool valid;
};

/* The node refuses a folder that has the domain whose descriptors name tenants of the policy. */
static void refuse_reserved(struct checked *c, const char *reserved)
{
    struct qd_str name = {reserved, strlen(reserved)};
    const struct qd_rls_domain *domain =
        c->rules != NULL ? qd_rls_rules_domain(c->rules, name) : NULL;

    if (domain != NULL) {
        qd_problems_add(c->problems, QD_SEVERITY_ERROR, domain->file, 0, 0,
                        "domain: \"%s\" is the domain whose descriptors name tenants of the "
                        "policy; rename it, or say which one that is: --tenant-domain NAME",
                        reserved);
    }
}

/* As a running node, which keeps what it has then. */
static void refuse_empty(struct checked *c)
{
    if (c->rules != NULL && qd_rls_rules_file_count(c->rules) == 0) {
        qd_problems_add(c->problems, QD_SEVERITY_ERROR, c->dir, 0, 0,
                        "no files: nothing would be limited");
    }
}

/* False: out of memory. */
static bool check(struct checked *c, const char *dir, const char *reserved, bool merge_domains)
{
    *c = (struct checked){.dir = dir, .problems = qd_problems_new(QD_PROBLEMS_MAX)};
    if (c->problems == NULL) {
        return false;
    }
    c->rules = qd_rls_rules_load_dir(dir, merge_domains, c->problems);
    refuse_empty(c);
    refuse_reserved(c, reserved);
    c->valid = c->rules != NULL && qd_problems_errors(c->problems) == 0 &&
               qd_rls_rules_failed_count(c->rules) == 0;
    if (c->rules != NULL) {
        c->counts = qd_rls_rules_counts(c->rules);
    }
    return true;
}

static void release(struct checked *c)
{
    qd_rls_rules_free(c->rules);
    qd_problems_free(c->problems);
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static void print(struct ctl *ctl, const struct checked *c, bool rules)
{
    size_t files = c->rules != NULL ? qd_rls_rules_file_count(c->rules) : 0;
    size_t errors = qd_problems_errors(c->problems);

    ctl_print_problems(ctl, c->problems);
    if (!c->valid) {
        (void)ctl_fail(ctl, "%s: %zu error%s; nothing of it would take effect", c->dir, errors,
                       plural(errors));
        return;
    }
    (void)fprintf(ctl->out, "%s%s OK%s: %zu domain%s, %zu rule%s in %zu file%s\n", ctl_green(ctl),
                  c->dir, ctl_plain(ctl), c->counts.domains, plural(c->counts.domains),
                  c->counts.rules, plural(c->counts.rules), files, plural(files));
    if (rules) {
        qd_rls_rules_show(c->rules, ctl->out);
    }
}

static struct json_object *json_of(const struct checked *c)
{
    struct json_object *object = json_object_new_object();
    size_t files = c->rules != NULL ? qd_rls_rules_file_count(c->rules) : 0;
    size_t wrong = c->rules != NULL ? qd_rls_rules_failed_count(c->rules) : 0;

    json_object_object_add(object, "folder", json_object_new_string(c->dir));
    json_object_object_add(object, "valid", json_object_new_boolean(c->valid));
    json_object_object_add(object, "files", json_object_new_uint64(files));
    json_object_object_add(object, "wrong_files", json_object_new_uint64(wrong));
    json_object_object_add(object, "domains", json_object_new_uint64(c->counts.domains));
    json_object_object_add(object, "rules", json_object_new_uint64(c->counts.rules));
    json_object_object_add(object, "problems", ctl_json_problems(c->problems));
    return object;
}

static int run_check(struct ctl *ctl, const struct ctl_args *args)
{
    const char *given = ctl_arg(args, "tenant-domain");
    const char *reserved = given != NULL ? given : TENANT_DOMAIN;
    struct json_object *folders = ctl->json ? json_object_new_array() : NULL;
    bool valid = true;

    for (size_t i = 0; i < args->operand_count; i++) {
        struct checked c;
        if (!check(&c, args->operands[i], reserved, ctl_flag(args, "merge-domains"))) {
            json_object_put(folders);
            return ctl_fail(ctl, "out of memory");
        }
        valid = valid && c.valid;
        if (ctl->json) {
            json_object_array_add(folders, json_of(&c));
        } else {
            print(ctl, &c, ctl_flag(args, "rules"));
        }
        release(&c);
    }
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "valid", json_object_new_boolean(valid));
        json_object_object_add(object, "folders", folders);
        (void)ctl_json_print(ctl, object);
    }
    return valid ? CTL_OK : CTL_ERROR;
}

static const struct ctl_option check_options[] = {
    {"rules", 0, NULL, "and list the rules, as the node's /rlconfig does"},
    {"merge-domains", 0, NULL, "several files may have one domain, as for --rls-merge-domains"},
    {"tenant-domain", 0, "NAME", "the node's --rls-tenant-domain (quotad); '' for none"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_rls_commands[] = {
    {"rls check", "DIR...", "are these files of envoyproxy/ratelimit right?",
     "Reads each folder as quotad --rls-config DIR does, here, without a node. Says which file is\n"
     "wrong where, or how many domains and rules there are. Exit code 1 when a folder would be\n"
     "refused.\n",
     "  quotactl rls check /srv/ratelimit/config\n  quotactl rls check config/ --rules\n"
     "  quotactl rls check config/ -o json\n",
     check_options, 1, CTL_OPERANDS_MAX, run_check},
    {.name = NULL},
};
