#include "tests/unit/shard/fixture.h"

#include "server/shard/bind.h"
#include "server/shard/snapshot.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qd_mono_ns mono(void *context)
{
    struct fixture *f = context;

    f->mono += (uint64_t)f->step_ns;
    f->wall += f->step_ns;
    return (struct qd_mono_ns){f->mono};
}

static struct qd_wall_ns wall(void *context)
{
    return (struct qd_wall_ns){((struct fixture *)context)->wall};
}

struct qd_str str(const char *text)
{
    return (struct qd_str){text, text != NULL ? strlen(text) : 0};
}

static struct qd_policy *load(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_policy *policy =
        qd_policy_load_bytes("policy.yaml", NULL, yaml, strlen(yaml), problems);

    if (policy == NULL) {
        char *text = qd_problems_text(problems);
        cr_assert_fail("%s", text);
        free(text);
    }
    qd_problems_free(problems);
    return policy;
}

static bool put_stored(void *context, const struct qd_tenant_record *record)
{
    struct fixture *f = context;
    const struct qd_policy *policy = atomic_load(&f->node->published)->policy;

    cr_assert_eq(qd_directory_put(f->node->directory, policy, record, &f->error), QD_ERROR_NONE,
                 "%s", f->error.text);
    return true;
}

bool fixture_try_open(struct fixture *f, const char *yaml)
{
    struct qd_ledger_config ledger = {0};

    if (f->store == NULL) {
        uint32_t root_counters = f->root_counters;
        memset(f, 0, sizeof(*f));
        f->root_counters = root_counters;
        f->wall = T0;
        f->mono = 1000;
        f->store = qd_store_memory_new();
    }
    cr_assert_eq(qd_ledger_open(f->store, &ledger, &f->ledger, NULL), QD_STORE_OK);
    cr_assert_eq(qd_tenant_store_open(f->store, &f->tenants, NULL), QD_STORE_OK);
    struct qd_core_config slice = {.hash_seed = 42,
                                   .narrow_windows = 64,
                                   .wide_windows = 64,
                                   .buckets = 64,
                                   .gauges = f->gauges > 0 ? f->gauges : 64,
                                   .bindings = 64,
                                   .reservations = f->reservations > 0 ? f->reservations : 64,
                                   .progress = 16,
                                   .estimators = 16,
                                   .counters_per_root = f->root_counters,
                                   .roots = f->roots > 0 ? f->roots : 512,
                                   .name_bytes = f->name_bytes > 0 ? f->name_bytes : 65536};
    static uint64_t incarnation = 0;
    struct qd_node_config config = {
        .shards = {.count = f->shards > 0 ? f->shards : 4, .slice = slice, .common = slice},
        .clock = {mono, wall, f},
        .store = f->store,
        .ledger = f->ledger,
        .name = "test",
        .incarnation = ++incarnation,
        .token_key = {{1, 2, 3}},
        .tenants_max = 100};
    f->node = qd_node_new(&config, &f->error);
    cr_assert_not_null(f->node, "%s", f->error.text);
    f->node->tenants = f->tenants;
    f->worker = qd_worker_new(f->node);
    qd_node_publish(f->node, load(yaml), NULL);
    cr_assert_eq(qd_tenant_store_list(f->tenants, str(NULL), str(NULL), put_stored, f, NULL),
                 QD_STORE_OK);
    return qd_node_recover(f->node, f->worker, &f->recovery, &f->error);
}

void fixture_open(struct fixture *f, const char *yaml)
{
    cr_assert(fixture_try_open(f, yaml), "%s", f->error.text);
}

void fixture_snapshot(struct fixture *f)
{
    struct qd_store_error error = {0};

    cr_assert(qd_snapshot_round(f->node, true, &error), "%s", error.text);
}

void fixture_fold(struct fixture *f)
{
    struct qd_shards *shards = &f->node->shards;

    for (uint32_t i = 0; i < shards->count; i++) {
        qd_shards_lock(shards, &shards->home[i]);
        cr_assert(qd_snapshot_locked(f->node, &shards->home[i]));
        qd_shards_unlock(shards, &shards->home[i]);
    }
    (void)pthread_mutex_lock(&shards->commons.lock);
    cr_assert(qd_snapshot_locked(f->node, &shards->commons));
    (void)pthread_mutex_unlock(&shards->commons.lock);
}

void fixture_forget_snapshot(struct fixture *f)
{
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {"c", 1}, .upper = {"l", 1}};
    struct qd_store_iter *iter = qd_store_iter_open(f->store, &range);
    struct qd_str key;
    struct qd_str value;
    struct qd_batch batch;

    cr_assert_not_null(iter);
    qd_batch_init(&batch);
    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        qd_batch_delete(&batch, QD_STORE_SNAPSHOT, key);
    }
    qd_store_iter_close(iter);
    cr_assert_eq(qd_store_write(f->store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
}

void fixture_close(struct fixture *f)
{
    qd_worker_free(f->worker);
    qd_node_free(f->node);
    qd_tenant_store_close(f->tenants);
    qd_ledger_close(f->ledger);
    f->node = NULL;
}

void fixture_end(struct fixture *f)
{
    fixture_close(f);
    qd_store_close(f->store);
    f->store = NULL;
}

void fixture_publish(struct fixture *f, const char *yaml)
{
    qd_node_publish(f->node, load(yaml), NULL);
}

void fixture_pass(struct fixture *f, int64_t ns)
{
    f->wall += ns;
    f->mono += (uint64_t)ns;
    qd_node_tick(f->node);
}

struct qd_check_args args_of(const char *tenant, int64_t tokens)
{
    struct qd_check_args args;

    memset(&args, 0, sizeof(args));
    args.tenant = str(tenant);
    args.model = str("m");
    args.estimate[0] = (struct qd_amount_arg){str("input_tokens"), tokens};
    args.estimate_count = 1;
    return args;
}

enum qd_error_code check_args(struct fixture *f, const struct qd_check_args *args)
{
    (void)qd_worker_enter(f->worker);
    enum qd_error_code code = qd_node_check(f->worker, args, &f->answer, &f->error);
    qd_worker_leave(f->worker);
    if (code == QD_ERROR_NONE && f->answer.token_len > 0) {
        memcpy(f->token, f->answer.token, f->answer.token_len);
        f->token[f->answer.token_len] = '\0';
    }
    return code;
}

bool check(struct fixture *f, const char *tenant, int64_t tokens)
{
    struct qd_check_args args = args_of(tenant, tokens);

    cr_assert_eq(check_args(f, &args), QD_ERROR_NONE, "%s", f->error.text);
    return f->answer.allowed;
}

struct qd_report_args report_of(const char *reservation, int64_t tokens)
{
    struct qd_report_args args;

    memset(&args, 0, sizeof(args));
    args.reservation = str(reservation);
    args.usage[0] = (struct qd_amount_arg){str("input_tokens"), tokens};
    args.usage_count = 1;
    return args;
}

enum qd_error_code report_args(struct fixture *f, const struct qd_report_args *args)
{
    (void)qd_worker_enter(f->worker);
    enum qd_error_code code = qd_node_report(f->worker, args, &f->report, &f->error);
    qd_worker_leave(f->worker);
    return code;
}

enum qd_error_code report_tokens(struct fixture *f, int64_t tokens)
{
    struct qd_report_args args = report_of(f->token, tokens);

    return report_args(f, &args);
}

static bool find_by(struct fixture *f, const struct qd_attributes *attributes, const char *name,
                    struct qd_limit_state *ret_state)
{
    struct qd_attributes a = *attributes;
    const struct qd_published *p = qd_worker_enter(f->worker);
    bool found = false;

    qd_directory_lock_shared(f->node->directory);
    qd_bind_resolve(f->worker, p, &a, false, qd_clock_now(&f->node->clock));
    const struct qd_resolution *r = &f->worker->resolution;
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->limit[i].use->limit->name, name) == 0) {
            struct qd_shard *home = qd_shards_of(&f->node->shards, a.tenant);
            struct qd_core *core =
                r->limit[i].depth == 0 ? f->node->shards.commons.core : home->core;
            memset(ret_state, 0, sizeof(*ret_state));
            (void)qd_core_counter(core, r->limit[i].counter, qd_clock_now(&f->node->clock),
                                  ret_state);
            found = true;
        }
    }
    qd_directory_unlock_shared(f->node->directory);
    qd_worker_leave(f->worker);
    return found;
}

static bool find(struct fixture *f, const char *tenant, const char *name,
                 struct qd_limit_state *ret_state)
{
    struct qd_attributes a = {.tenant = str(tenant), .model = str("m"), .family = str("m")};

    return find_by(f, &a, name, ret_state);
}

int64_t used_by(struct fixture *f, const struct qd_attributes *attributes, const char *limit)
{
    struct qd_limit_state state;

    return find_by(f, attributes, limit, &state) ? state.used : -1;
}

int64_t used_of(struct fixture *f, const char *tenant, const char *limit)
{
    struct qd_limit_state state;

    return find(f, tenant, limit, &state) ? state.used : -1;
}

int64_t held_of(struct fixture *f, const char *tenant, const char *limit)
{
    struct qd_limit_state state;

    return find(f, tenant, limit, &state) ? state.held : -1;
}

struct put {
    const char *plan;
    const char *limit;
    const char *size;
};

static enum qd_error_code edit(void *context, const struct qd_policy *policy, bool exists,
                               struct qd_tenant_record *record, struct qd_error *ret_error)
{
    const struct put *put = context;

    (void)policy;
    (void)exists;
    (void)ret_error;
    record->plan = str(put->plan);
    record->listed = true;
    record->limit_count = put->limit != NULL;
    record->limits[0] = (struct qd_label){str(put->limit), str(put->size)};
    return QD_ERROR_NONE;
}

enum qd_error_code put_tenant(struct fixture *f, const char *path, const char *plan,
                              const char *limit, const char *size)
{
    struct put put = {plan, limit, size};
    struct qd_tenants_edit change = {str(path), "PutTenant", edit, &put, true, {NULL, 0}};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));

    enum qd_error_code code = qd_tenants_change(f->node, &change, work, &f->error);
    qd_buf_release(&work->bytes);
    free(work);
    return code;
}
