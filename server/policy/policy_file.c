#include "server/policy/policy_file.h"

#include "server/policy/compile.h"
#include "server/policy/file.h"
#include "server/policy/import.h"
#include "server/policy/resolve.h"
#include "server/policy/retention.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_HORIZON_DEFAULT_NS (35 * QD_NS_PER_DAY)

/* What the loaders return: the public policy comes first. */
struct loaded {
    struct qd_policy policy;
    struct qd_policy_info info;
    struct qd_arena arena;
};

static _Atomic uint32_t last_epoch;

/* --- top-level keys -----------------------------------------------------------------------------
 */

static void read_version(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                         void *object)
{
    (void)object;
    if (value->kind != QD_NODE_SCALAR || strcmp(value->text, "1") != 0) {
        qd_fail(c, at, value, "\"%.40s\": unknown version; 1 is accepted",
                value->kind == QD_NODE_SCALAR ? value->text : "");
    }
}

static void read_ttl(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                     void *object)
{
    (void)object;
    (void)qd_read_duration(c, at, value, QD_NS_PER_S, QD_TTL_MAX_NS,
                           &c->policy->reservation_ttl_ns);
}

static void read_horizon(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                         void *object)
{
    (void)object;
    (void)qd_read_duration(c, at, value, QD_NS_PER_HOUR, QD_REPORT_HORIZON_MAX_NS,
                           &c->policy->report_horizon_ns);
}

static void read_retention(struct qd_compiler *c, const struct qd_at *at,
                           const struct qd_node *value, void *object)
{
    (void)object;
    (void)qd_read_duration(c, at, value, QD_RETENTION_MARGIN_NS, QD_RETENTION_MAX_NS,
                           &c->policy->ledger_retention_ns);
}

static void read_rollup_labels(struct qd_compiler *c, const struct qd_at *at,
                               const struct qd_node *value, void *object)
{
    (void)object;
    if (value->kind != QD_NODE_LIST || value->count > 4) {
        qd_fail(c, at, value, "a list of at most 4 labels is accepted, as [team, user]");
        return;
    }
    const char **labels = qd_arena_array(c->arena, 4, sizeof *labels);
    for (size_t i = 0; i < value->count; i++) {
        labels[i] = qd_read_ident(c, at, value->items[i], "a label's name");
        if (labels[i] == NULL) {
            return;
        }
    }
    c->policy->rollup_labels = labels;
    c->policy->rollup_label_count = value->count;
}

static void read_rls(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                     void *object)
{
    (void)object;
    qd_fail(c, at, value, "not supported by this version; remove it");
}

/* Sections are read in the order of what they depend on, not of the text. */
static void later(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                  void *object)
{
    (void)c;
    (void)at;
    (void)value;
    (void)object;
}

static const struct qd_field top_fields[] = {
    {"version", read_version},
    {"meters", later},
    {"models", later},
    {"pools", later},
    {"prices", later},
    {"unknown_price", later},
    {"plans", later},
    {"default_plan", later},
    {"tenants", later},
    {"limits", later},
    {"reservation_ttl", read_ttl},
    {"report_horizon", read_horizon},
    {"ledger_retention", read_retention},
    {"rollup_labels", read_rollup_labels},
    {"rls", read_rls},
};

static void compile_global_limits(struct qd_compiler *c, const struct qd_node *node)
{
    struct qd_at top = {0};
    struct qd_at at = {&top, "limits"};
    struct qd_use_list list = {0};
    struct qd_limit_scope scope = {
        .kind = "global", .owner = "global", .origin = "global", .is_shared = true};
    qd_compile_limits(c, &at, node, &scope, &list);
    c->policy->limits = list.uses;
    c->policy->limit_count = list.count;
}

static void compile_default_plan(struct qd_compiler *c, const struct qd_node *node)
{
    struct qd_at top = {0};
    struct qd_at at = {&top, "default_plan"};
    c->policy->default_plan =
        node->kind == QD_NODE_SCALAR ? qd_find_plan(c->policy, node->text) : NULL;
    if (c->policy->default_plan == NULL) {
        qd_unknown_plan(c, &at, node);
    }
}

/* More limits than one check can hold would be found out by a tenant; say it now. */
static void check_limit_counts(struct qd_compiler *c, const struct qd_node *tenants)
{
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at = {&top, "tenants"};
    struct qd_resolution *r = qd_arena_alloc(c->arena, sizeof *r);
    for (size_t i = 0; i < p->tenant_count; i++) {
        const struct qd_tenant_rule *rule = &p->tenants[i];
        struct qd_attributes a = {.tenant = {rule->pattern, strlen(rule->pattern)}};
        struct qd_resolve_input in = {.policy = p, .attributes = &a, .all = true};
        qd_resolve(&in, r);
        if (r->status == QD_RESOLVE_TOO_MANY) {
            struct qd_node place = *tenants;
            place.line = rule->line;
            qd_fail(c, &at, &place, "more than %d limits would apply to \"%s\"",
                    QD_LIMITS_PER_CHECK_MAX, rule->pattern);
        }
    }
}

static void compile_sections(struct qd_compiler *c, const struct qd_node *root)
{
    struct qd_at top = {0};
    struct qd_at at_meters = {&top, "meters"};
    const struct qd_node *models = qd_node_get(root, "models");
    const struct qd_node *pools = qd_node_get(root, "pools");
    const struct qd_node *node;
    qd_compile_meters(c, &at_meters, qd_node_get(root, "meters"));
    qd_compile_models(c, models, pools);
    if ((node = qd_node_get(root, "prices")) != NULL) {
        qd_compile_prices(c, node);
    } else {
        c->policy->unknown_price = QD_UNKNOWN_PRICE_UNPRICED;
    }
    qd_compile_unknown_price(c, qd_node_get(root, "unknown_price"));
    if ((node = qd_node_get(root, "limits")) != NULL) {
        compile_global_limits(c, node);
    }
    qd_compile_model_limits(c, models, pools);
    if ((node = qd_node_get(root, "plans")) != NULL) {
        qd_compile_plans(c, node);
    }
    if ((node = qd_node_get(root, "default_plan")) != NULL) {
        compile_default_plan(c, node);
    }
    if ((node = qd_node_get(root, "tenants")) != NULL) {
        qd_compile_tenants(c, node);
    }
    qd_check_policy(c, root);
    if (node != NULL && qd_problems_errors(c->problems) == 0) {
        check_limit_counts(c, node);
    }
}

static void compile(struct qd_compiler *c, const struct qd_node *root)
{
    struct qd_at top = {0};
    c->policy->reservation_ttl_ns = QD_TTL_DEFAULT_NS;
    c->policy->report_horizon_ns = REPORT_HORIZON_DEFAULT_NS;
    c->policy->unknown_price = QD_UNKNOWN_PRICE_DENY;
    c->labels = qd_arena_array(c->arena, QD_LABELS_MAX, sizeof *c->labels);
    c->policy->attribute_labels = c->labels;
    if (root->kind != QD_NODE_MAP) {
        qd_fail(c, &top, root, "%s; a policy is a map that begins with \"version: 1\"",
                qd_node_is_null(root) ? "empty" : "not a policy");
        return;
    }
    (void)qd_read_fields(c, &top, root, top_fields, sizeof top_fields / sizeof top_fields[0], NULL);
    if (qd_node_get(root, "version") == NULL) {
        qd_fail(c, &top, root, "no \"version\"; begin with \"version: 1\"");
    }
    compile_sections(c, root);
}

/* --- what else is known of it -------------------------------------------------------------------
 */

static size_t count_priced(const struct qd_policy *p)
{
    size_t priced = 0;
    for (size_t i = 0; i < p->model_count; i++) {
        const struct qd_pool *pool =
            p->models[i].pool != NULL ? qd_find_pool(p, p->models[i].pool) : NULL;
        priced += p->models[i].cost.count > 0 || (pool != NULL && pool->cost.count > 0);
    }
    return priced;
}

static const char *counted_noun(struct qd_arena *a, size_t count, const char *noun)
{
    return qd_arena_printf(a, "%zu %s%s", count, noun, count == 1 ? "" : "s");
}

static void fill_info(struct loaded *l, struct qd_compiler *c, const char *name, const void *bytes,
                      size_t size)
{
    struct qd_policy *p = &l->policy;
    struct qd_arena *a = &l->arena;
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES];
    const char **imports = qd_arena_array(a, c->import_count + 1, sizeof *imports);
    (void)crypto_hash_sha256_init(&state);
    (void)crypto_hash_sha256_update(&state, bytes, size);
    for (size_t i = 0; i < c->import_count; i++) {
        imports[i] = c->imports[i].path;
        (void)crypto_hash_sha256_update(&state, (const unsigned char *)c->imports[i].file.bytes,
                                        c->imports[i].file.size);
    }
    (void)crypto_hash_sha256_final(&state, digest);
    (void)sodium_bin2hex(l->info.sha256, sizeof l->info.sha256, digest, sizeof digest);
    memcpy(&p->content.lo, digest, 8);
    memcpy(&p->content.hi, digest + 8, 8);
    l->info.file = qd_arena_text(a, name, strlen(name));
    l->info.yaml = qd_arena_text(a, bytes, size);
    l->info.yaml_size = size;
    l->info.imports = imports;
    l->info.import_count = c->import_count;
    l->info.summary = qd_arena_printf(a, "%s, %s, %s", counted_noun(a, p->plan_count, "plan"),
                                      counted_noun(a, p->tenant_count, "tenant rule"),
                                      counted_noun(a, count_priced(p), "priced model"));
}

/* --- loading ------------------------------------------------------------------------------------
 */

static void load(struct loaded *l, struct qd_compiler *c, const char *name, const void *bytes,
                 size_t size)
{
    const struct qd_node *root = qd_node_parse(c->arena, c->file, bytes, size, c->problems);
    if (root == NULL) {
        return;
    }
    compile(c, root);
    fill_info(l, c, name, bytes, size);
    l->policy.epoch = atomic_fetch_add(&last_epoch, 1) + 1;
}

/* Runs `load`; without memory comes back here. */
static bool load_guarded(struct loaded *l, struct qd_compiler *c, const char *name,
                         const void *bytes, size_t size)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_problems_add(c->problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        return false;
    }
    qd_arena_init(&l->arena, &oom);
    c->file = qd_arena_text(&l->arena, name, strlen(name)); /* limits point to it */
    load(l, c, name, bytes, size);
    l->arena.oom = NULL;
    return true;
}

struct qd_policy *qd_policy_load_bytes(const char *name, const char *folder, const void *bytes,
                                       size_t size, struct qd_problems *problems)
{
    size_t errors = qd_problems_errors(problems);
    if (size > QD_POLICY_BYTES_MAX) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0,
                        "too large; at most 16 MiB are accepted");
        return NULL;
    }
    struct loaded *l = calloc(1, sizeof *l);
    if (l == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        return NULL;
    }
    struct qd_compiler c = {
        .arena = &l->arena,
        .file = name,
        .folder = folder,
        .problems = problems,
        .policy = &l->policy,
    };
    bool good = load_guarded(l, &c, name, bytes, size);
    qd_imports_release(&c);
    qd_problems_sort(problems);
    if (!good || qd_problems_errors(problems) > errors) {
        qd_policy_free(&l->policy);
        return NULL;
    }
    return &l->policy;
}

struct qd_policy *qd_policy_load_file(const char *path, struct qd_problems *problems)
{
    struct qd_file file;
    char *folder = qd_file_folder(path);
    struct qd_policy *policy = NULL;
    if (folder == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, path, 0, 0, "out of memory");
    } else if (qd_file_read(path, QD_POLICY_BYTES_MAX, &file, problems)) {
        policy = qd_policy_load_bytes(path, folder, file.bytes, file.size, problems);
        qd_file_release(&file);
    }
    free(folder);
    return policy;
}

static const char dev_policy[] = "# The policy of --dev: any tenant, any model.\n"
                                 "version: 1\n"
                                 "plans:\n"
                                 "  dev:\n"
                                 "    requests: 6000/min\n"
                                 "    tokens: 10M/min\n"
                                 "    concurrency: 200\n"
                                 "default_plan: dev\n";

struct qd_policy *qd_policy_dev(void)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    if (problems == NULL) {
        return NULL;
    }
    struct qd_policy *policy =
        qd_policy_load_bytes("--dev", NULL, dev_policy, sizeof dev_policy - 1, problems);
    if (policy != NULL) {
        policy->dev = true;
    }
    qd_problems_free(problems);
    return policy;
}

void qd_policy_free(struct qd_policy *policy)
{
    if (policy == NULL) {
        return;
    }
    struct loaded *l = (struct loaded *)policy;
    qd_arena_release(&l->arena);
    free(l);
}

const struct qd_policy_info *qd_policy_info(const struct qd_policy *policy)
{
    return &((const struct loaded *)policy)->info;
}
