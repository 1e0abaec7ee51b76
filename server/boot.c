#include "server/boot.h"

#include "server/core/hash.h"
#include "server/credentials_file.h"
#include "server/identity.h"
#include "server/log/log.h"
#include "server/policy/policy_file.h"
#include "server/policy/utf8.h"
#include "server/rls_dir.h"
#include "server/shard/directory.h"
#include "server/shard/price_keep.h"
#include "server/shard/reload.h"
#include "server/shard/rls_stats.h"
#include "server/shard/snapshot.h"
#include "server/shard/validate.h"
#include "storage/backup/backup.h"
#include "storage/codec.h"
#include "storage/kept_logs.h"
#include "storage/store_rocksdb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK_FILE       "ledger.mark"
#define INCARNATION_KEY "node/incarnation"

/* S1, X5: at most a second of rates and holds is lost, the writing of them included: a slice is
 * stored every 0.72 s, and on disk less than 0.2 s later, where there is a core for it. In small
 * parts, so that checks and reports hardly wait for one. */
#define SNAPSHOT_PART_MS    45U
#define SNAPSHOT_PARTS      16U
#define SNAPSHOT_SYNC_PARTS 4U

__attribute__((format(printf, 1, 2))) static char *sentence(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return len >= 0 ? text : strdup("out of memory");
}

/* --- policy --- */

static char *load_policy(const char *file, struct qd_policy **ret_policy)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    char *why = NULL;

    if (problems == NULL) {
        return sentence("out of memory");
    }
    *ret_policy = file != NULL ? qd_policy_load_file(file, problems) : qd_policy_dev();
    char *text = qd_problems_text(problems);
    if (*ret_policy == NULL) {
        why = sentence("policy refused\n%s", text != NULL ? text : "");
    } else if (text != NULL && text[0] != '\0') {
        (void)fputs(text, stderr); /* warnings */
    }
    free(text);
    qd_problems_free(problems);
    return why;
}

/* NULL: none was kept. Warnings may come before it. */
static const struct qd_problem *first_error(const struct qd_problems *problems)
{
    for (size_t i = 0; i < qd_problems_count(problems); i++) {
        const struct qd_problem *problem = qd_problems_at(problems, i);
        if (problem->severity == QD_SEVERITY_ERROR) {
            return problem;
        }
    }
    return NULL;
}

/* A problem in `size` bytes: what doesn't fit is left out of the middle, because the end
 * may be the suggestion. */
static void problem_text(const struct qd_problem *problem, char *text, size_t size)
{
    static const char suggestion[] = "; did you mean ";
    char line[QD_PROBLEM_TEXT_MAX + 4096] = "cannot be read";

    if (problem != NULL) {
        (void)qd_problem_format(problem, line, sizeof(line));
    }
    const char *end = strstr(line, suggestion);
    size_t end_len = end != NULL ? strlen(end) : 0;
    size_t len = strlen(line);
    if (len < size || end_len + 4 > size) {
        len = qd_utf8_valid_prefix(line, len < size ? len : size - 1);
        (void)snprintf(text, size, "%.*s", (int)len, line);
        return;
    }
    size_t head = qd_utf8_valid_prefix(line, size - end_len - 4);
    (void)snprintf(text, size, "%.*s...%s", (int)head, line, end != NULL ? end : "");
}

static enum qd_error_code refused(const struct qd_boot *boot, const struct qd_problems *problems,
                                  uint64_t revision, struct qd_error *ret_error)
{
    char rest[QD_ERROR_TEXT_MAX - 100]; /* a file's name is long only if somebody tries */
    char first[QD_ERROR_TEXT_MAX];
    size_t errors = qd_problems_errors(problems);
    const struct qd_problem *error = first_error(problems);
    /* P7: used prices are no file's problem, `policy validate` knows nothing of them. */
    bool in_file = error == NULL || error->file[0] != '\0';

    (void)snprintf(rest, sizeof(rest), "; %zu error%s in all; r%llu stays in force%s%s", errors,
                   errors == 1 ? "" : "s", (unsigned long long)revision,
                   in_file ? "; run: quotactl policy validate " : "",
                   in_file ? boot->policy_file : "");
    problem_text(error, first, sizeof(first) - strlen(rest));
    return qd_error_set(ret_error, QD_ERROR_POLICY_INVALID, "%s%s", first, rest);
}

enum qd_error_code qd_boot_reload(void *context, uint64_t expected_revision,
                                  struct qd_problems *problems, bool *ret_changed,
                                  struct qd_error *ret_error)
{
    struct qd_boot *boot = context;
    uint64_t revision = atomic_load(&boot->node->revision);

    if (boot->policy_file == NULL) {
        return qd_error_set(
            ret_error, QD_ERROR_NO_POLICY_FILE,
            "this node runs with --dev: there is no policy file to read; restart it with --policy "
            "FILE");
    }
    if (expected_revision != 0 && expected_revision != revision) {
        return qd_error_set(
            ret_error, QD_ERROR_REVISION_MISMATCH,
            "expected_revision: r%llu is not running, r%llu is; run: quotactl policy show",
            (unsigned long long)expected_revision, (unsigned long long)revision);
    }
    switch (qd_reload_file(boot->node, boot->policy_file, problems,
                           NULL)) { /* the loop watches the new one's files */
    case QD_RELOAD_DONE:
        qd_log(QD_LOG_INFO, "policy reloaded", "revision=r%llu by=ReloadPolicy",
               (unsigned long long)atomic_load(&boot->node->revision));
        *ret_changed = true;
        return QD_ERROR_NONE;
    case QD_RELOAD_UNCHANGED:
        qd_log(QD_LOG_INFO, "policy unchanged", "revision=r%llu by=ReloadPolicy",
               (unsigned long long)revision);
        *ret_changed = false;
        return QD_ERROR_NONE;
    case QD_RELOAD_BAD:
        qd_log(QD_LOG_ERROR, "policy refused; the one in force stays",
               "revision=r%llu errors=%zu by=ReloadPolicy", (unsigned long long)revision,
               qd_problems_errors(problems));
        break;
    }
    return refused(boot, problems, revision, ret_error);
}

/* --- what is durable --- */

static char *read_incarnation(struct qd_store *store, uint64_t *ret_incarnation)
{
    struct qd_store_error error;
    struct qd_buf value = {0};

    *ret_incarnation = 0;
    enum qd_store_err err =
        qd_store_get(store, QD_STORE_META, qd_slice_of(INCARNATION_KEY), &value, &error);
    if (err == QD_STORE_OK) {
        struct qd_reader reader = qd_reader_of(qd_buf_str(&value));
        *ret_incarnation = qd_get_u64(&reader);
        err = qd_reader_finish(&reader);
        (void)snprintf(error.text, sizeof(error.text), "the count of boots is damaged");
    }
    qd_buf_release(&value);
    return err == QD_STORE_OK || err == QD_STORE_NOT_FOUND ? NULL : sentence("%s", error.text);
}

/* C3: every boot is a new incarnation, counted on disk before anything is promised in its name.
 * What was restored may have booted on after its backup: `restored_at`, in seconds, is beyond all
 * that it can have counted, because nothing boots once a second for years. */
static char *next_incarnation(struct qd_store *store, int64_t restored_at,
                              uint64_t *ret_incarnation)
{
    struct qd_store_error error;
    struct qd_buf value = {0};
    struct qd_batch batch;
    uint64_t incarnation;

    char *why = read_incarnation(store, &incarnation);
    if (why != NULL) {
        return why;
    }
    incarnation++;
    if (restored_at > 0 && incarnation < (uint64_t)restored_at) {
        incarnation = (uint64_t)restored_at;
    }
    qd_batch_init(&batch);
    qd_put_u64(&value, incarnation);
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of(INCARNATION_KEY), qd_buf_str(&value));
    enum qd_store_err err = qd_store_write(store, &batch, true, &error);
    qd_batch_release(&batch);
    qd_buf_release(&value);
    *ret_incarnation = incarnation;
    return err == QD_STORE_OK ? NULL : sentence("%s", error.text);
}

static char *open_store(struct qd_boot *boot, const struct qd_config *config)
{
    struct qd_store_error error;
    struct qd_store_rocksdb_config rocksdb = {.path = qd_config_get(config, QD_SET_DATA_DIR),
                                              .open_files_max = boot->store_files,
                                              .keep_logs = true};
    struct qd_ledger_config ledger = {
        /* S6: the policy's report_horizon refuses, and reloads; the ledger takes what any policy
         * may, and a day for what waits. */
        .report_horizon_ns = QD_REPORT_HORIZON_MAX_NS + QD_NS_PER_DAY,
        .future_max_ns = QD_EVENT_AHEAD_MAX_NS,
    };

    if (qd_is_backup(rocksdb.path)) {
        return sentence("%s is a backup: restore it with: quotactl restore --from %s --to DATA_DIR",
                        rocksdb.path, rocksdb.path);
    }
    if (qd_restore_unfinished(rocksdb.path)) {
        return sentence("%s: a restore has not ended there; run the same quotactl restore again",
                        rocksdb.path);
    }
    if (qd_store_rocksdb_open(&rocksdb, &boot->store, &error) != QD_STORE_OK ||
        qd_ledger_open(boot->store, &ledger, &boot->ledger, &error) != QD_STORE_OK ||
        qd_tenant_store_open(boot->store, &boot->tenants, &error) != QD_STORE_OK) {
        return sentence("%s%s", error.text,
                        error.code == QD_STORE_CORRUPT ? ". Restore a backup" : "");
    }
    return NULL;
}

/* X4: without the mark nobody knows what the ledger should have; it is served all the same. A new
 * node has none, and what was just restored is an older copy that somebody chose. */
static void tell_of_mark(const struct qd_boot *boot, const char *dir, const char *path,
                         uint64_t boots)
{
    switch (qd_tidemark_found(boot->tidemark)) {
    case QD_TIDEMARK_READ:
        break;
    case QD_TIDEMARK_NONE:
        if (boots > 0 && qd_restored_at(dir) == 0) {
            qd_log(QD_LOG_WARN,
                   "the ledger's mark is missing: whether acknowledged entries are missing is not "
                   "known",
                   "file=%s", qd_log_quote(path).text);
        }
        break;
    case QD_TIDEMARK_UNREADABLE:
        qd_log(QD_LOG_WARN,
               "the ledger's mark cannot be read: whether acknowledged entries are missing is not "
               "known",
               "file=%s", qd_log_quote(path).text);
        break;
    }
}

/* X4: what was acknowledged is there, or nothing is served. A store whose log was damaged or lost
 * opens without a word; going on would give sequences and tokens' numbers a second time. */
static char *check_tidemark(struct qd_boot *boot, const struct qd_config *config)
{
    char path[4096];
    struct qd_store_error error;
    const char *dir = qd_config_get(config, QD_SET_DATA_DIR);
    uint64_t sequence = qd_ledger_watermark(boot->ledger).sequence;
    uint64_t boots;

    char *why = read_incarnation(boot->store, &boots);
    if (why != NULL) {
        return why;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", dir, MARK_FILE);
    if (qd_tidemark_open(path, &boot->tidemark, &error) != QD_STORE_OK) {
        return sentence("%s", error.text);
    }
    tell_of_mark(boot, dir, path, boots);
    struct qd_tide reached = qd_tidemark_get(boot->tidemark);
    if (sequence >= reached.sequence && boots >= reached.incarnation) {
        qd_kept_logs_drop(dir);
        return NULL;
    }
    qd_kept_logs_set_aside(dir);
    return sentence(
        "%s/db: entries up to #%llu, of %llu starts, were acknowledged, but the ledger ends at "
        "#%llu, of %llu: its log is damaged or lost, or it is an older copy. Restore a backup that "
        "has them (the logs as they were are in %s/" QD_KEPT_LOGS_LOST
        "); to go on without them, and give their numbers anew, remove %s",
        dir, (unsigned long long)reached.sequence, (unsigned long long)reached.incarnation,
        (unsigned long long)sequence, (unsigned long long)boots, dir, path);
}

struct load_tenants {
    struct qd_directory *directory;
    const struct qd_policy *policy;
    size_t bad;
    struct qd_error first;
};

static bool load_tenant(void *context, const struct qd_tenant_record *record)
{
    struct load_tenants *load = context;
    struct qd_error error;

    if (qd_directory_put(load->directory, load->policy, record, &error) == QD_ERROR_NONE) {
        return true;
    }
    /* A limit that this policy no longer understands: the tenant stays, without it. */
    struct qd_tenant_record *without = malloc(sizeof(*without));
    if (without != NULL) {
        *without = *record;
        without->limit_count = 0;
        struct qd_error again;
        if (qd_directory_put(load->directory, load->policy, without, &again) != QD_ERROR_NONE) {
            error = again;
        }
        free(without);
    }
    (void)fprintf(stderr, "warning: tenant %.*s: %s\n", (int)record->tenant.len, record->tenant.ptr,
                  error.text);
    return true;
}

/* --- the node --- */

static uint32_t per_shard(int64_t total, uint32_t shards)
{
    /* Tenants spread unevenly: a quarter more than an even share. */
    int64_t share = total / shards + total / shards / 4 + 64;

    return (uint32_t)(share < (1 << 24) ? share : 1 << 24);
}

static void fill_capacities(const struct qd_config *config, uint64_t seed,
                            struct qd_shards_config *ret_config)
{
    uint32_t shards = (uint32_t)qd_config_number(config, QD_SET_SHARDS);
    uint32_t counters = per_shard(qd_config_number(config, QD_SET_MAX_COUNTERS), shards);
    uint32_t bindings = per_shard(qd_config_number(config, QD_SET_MAX_BINDINGS), shards);
    uint32_t reservations = per_shard(qd_config_number(config, QD_SET_MAX_RESERVATIONS), shards);
    int64_t root = qd_config_number(config, QD_SET_ROOT_RESERVATIONS);
    struct qd_core_config slice = {
        .hash_seed = seed,
        .narrow_windows = counters,
        .wide_windows = counters / 8 + 64,
        .buckets = counters,
        .gauges = counters,
        .bindings = bindings,
        .reservations = reservations,
        .progress = reservations / 16 + 64,
        .estimators = counters / 8 + 64,
        .roots = counters,
        .name_bytes = (size_t)counters * 64 + ((size_t)1 << 16),
        .counters_per_root = (uint32_t)qd_config_number(config, QD_SET_ROOT_COUNTERS),
        /* D12: a full table denies everybody in the slice: no tenant fills it alone. */
        .reservations_per_root = root > 0 ? (uint32_t)root : reservations / 2,
    };
    ret_config->count = shards;
    ret_config->slice = slice;
    ret_config->huge_pages = qd_config_number(config, QD_SET_HUGE_PAGES) != 0;
    /* Limits that tenants share have few counters, unless they are split by user or tenant. */
    slice.bindings = 1024;
    slice.reservations = 1024;
    slice.progress = 64;
    slice.counters_per_root = 0;
    slice.reservations_per_root = 0;
    ret_config->common = slice;
}

/* The name that this start was given. */
static void node_name(const struct qd_config *config, char *name, size_t size)
{
    const char *given = qd_config_get(config, QD_SET_NODE_NAME);

    if (given != NULL && given[0] != '\0') {
        (void)snprintf(name, size, "%s", given);
    } else if (gethostname(name, size) != 0) {
        (void)snprintf(name, size, "quotad");
    }
    name[size - 1] = '\0';
}

/* Reads the key, or makes one. `boots` before this one. */
static char *load_key(const char *data_dir, uint64_t boots, struct qd_token_key *ret_key)
{
    char path[4096];
    char why[200];

    (void)snprintf(path, sizeof(path), "%s/%s", data_dir, QD_BACKUP_KEY_FILE);
    bool absent = access(path, F_OK) != 0 && errno == ENOENT;
    if (!qd_token_key_load(path, ret_key, why)) {
        return sentence("%s", why);
    }
    if (absent && boots > 0) { /* S1 */
        qd_log(QD_LOG_WARN,
               "the node's key was not there, a new one was made: tokens of reservations made "
               "before are not accepted",
               "file=%s", qd_log_quote(path).text);
    }
    return NULL;
}

/* L1, L6: entries are known by their node's name, which is that of the ledger's first start. So
 * are counters by the seed of all hashes: it comes from the first key, so that users cannot craft
 * collisions, and stays when that key is lost. */
static char *settle_identity(struct qd_boot *boot, const struct qd_config *config,
                             const struct qd_token_key *key, struct qd_identity *ret_identity)
{
    char given[sizeof(ret_identity->name)];
    struct qd_store_error error;

    node_name(config, given, sizeof(given));
    memcpy(ret_identity->name, given, sizeof(given));
    ret_identity->hash_seed = qd_hash64_bytes(key->bytes, sizeof(key->bytes), 0x71756f746164);
    if (qd_identity_settle(boot->store, ret_identity, &error) != QD_STORE_OK) {
        return sentence("%s%s", error.text,
                        error.code == QD_STORE_CORRUPT ? ". Restore a backup" : "");
    }
    if (strcmp(given, ret_identity->name) != 0) {
        qd_log(QD_LOG_WARN, "the ledger keeps the name of its first start", "name=%s given=%s",
               qd_log_quote(ret_identity->name).text, qd_log_quote(given).text);
    }
    return NULL;
}

static char *make_node(struct qd_boot *boot, const struct qd_config *config,
                       struct qd_policy *policy)
{
    const char *data_dir = qd_config_get(config, QD_SET_DATA_DIR);
    uint64_t boots;
    struct qd_identity identity = {0};
    struct qd_error error;
    struct qd_node_config node = {.clock = qd_clock_system,
                                  .store = boot->store,
                                  .ledger = boot->ledger,
                                  .name = identity.name,
                                  .tenants_max =
                                      (uint32_t)qd_config_number(config, QD_SET_MAX_TENANTS)};

    int64_t restored_at = qd_restored_at(data_dir);
    char *problem = read_incarnation(boot->store, &boots);
    if (problem == NULL) {
        problem = load_key(data_dir, boots, &node.token_key);
    }
    if (problem == NULL) {
        problem = settle_identity(boot, config, &node.token_key, &identity);
    }
    if (problem == NULL) {
        problem = next_incarnation(boot->store, restored_at, &node.incarnation);
    }
    if (problem != NULL) {
        return problem;
    }
    (void)qd_tidemark_raise(boot->tidemark, (struct qd_tide){.incarnation = node.incarnation});
    if (restored_at > 0 && !qd_restored_forget(data_dir)) {
        return sentence("%s/" QD_RESTORED_FILE ": cannot remove: %s", data_dir, strerror(errno));
    }
    fill_capacities(config, identity.hash_seed, &node.shards);
    boot->node = qd_node_new(&node, &error);
    if (boot->node == NULL) {
        return sentence("%s", error.text);
    }
    boot->node->tenants = boot->tenants;
    qd_boot_recall_backup(boot);
    boot->node->rls_stats =
        qd_rls_stats_new((size_t)qd_config_number(config, QD_SET_METRICS_RULES),
                         (uint32_t)qd_config_number(config, QD_SET_RLS_NEAR_LIMIT));
    if (boot->node->rls_stats == NULL) {
        return sentence("out of memory");
    }
    if (boot->rls != NULL) {
        qd_rls_set_keep_stats(boot->rls, boot->node->rls_stats);
    }
    struct load_tenants load = {.directory = boot->node->directory, .policy = policy};
    struct qd_store_error store_error;
    if (qd_tenant_store_list(boot->tenants, (struct qd_str){NULL, 0}, (struct qd_str){NULL, 0},
                             load_tenant, &load, &store_error) != QD_STORE_OK) {
        return sentence("%s", store_error.text);
    }
    return NULL;
}

/* P7: as a reload would refuse it. Its file, or the price table that it imports, tells what to
 * mend.
 */
static char *admit_prices(struct qd_boot *boot, const struct qd_policy *policy)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    char *why = NULL;

    if (problems != NULL && !qd_prices_admit(boot->store, boot->ledger, policy, problems)) {
        why = qd_problems_text(problems);
    }
    qd_problems_free(problems);
    return why;
}

static void publish(struct qd_boot *boot, struct qd_policy *policy)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT); /* NULL: nobody is told */

    qd_node_publish(boot->node, policy, problems);
    char *text = problems != NULL ? qd_problems_text(problems) : NULL;
    if (text != NULL && text[0] != '\0') {
        (void)fputs(text, stderr);
    }
    free(text);
    qd_problems_free(problems);
}

static char *recover(struct qd_boot *boot)
{
    struct qd_error error;
    struct qd_worker *worker = qd_worker_new(boot->node);

    if (worker == NULL) {
        return sentence("out of memory");
    }
    bool ok = qd_node_recover(boot->node, worker, &boot->recovery, &error);
    qd_worker_free(worker);
    return ok ? NULL : sentence("%s", error.text);
}

static void heart_durable(void *context, uint64_t sequence)
{
    const struct qd_boot *boot = context;

    (void)qd_tidemark_raise(boot->tidemark, (struct qd_tide){.sequence = sequence});
}

/* --- the ledger's heartbeat --- */

static struct qd_wall_ns heart_now(void *context)
{
    const struct qd_boot *boot = context;

    return qd_clock_now(&boot->node->clock);
}

/* X4: an operator reads here when reports began to be refused, and when they were taken again. */
static void heart_changed(void *context, const struct qd_store_error *failure)
{
    (void)context;
    if (failure != NULL) {
        qd_log(QD_LOG_ERROR, "the store takes no writes: reports are refused, checks go on",
               "why=%s", qd_log_quote(failure->text).text);
    } else {
        qd_log(QD_LOG_INFO, "the store takes writes again", NULL);
    }
}

static char *start_heart(struct qd_boot *boot)
{
    struct qd_heart_config heart = {.ledger = boot->ledger,
                                    .now = heart_now,
                                    .changed = heart_changed,
                                    .durable = heart_durable,
                                    .sweep = qd_boot_sweep,
                                    .context = boot};

    boot->heart = qd_heart_start(&heart);
    return boot->heart != NULL ? NULL : sentence("cannot start a thread: out of memory or threads");
}

/* --- snapshots --- */

/* Once a change. */
static void tell_snapshot(struct qd_boot *boot, bool ok)
{
    if (ok != boot->snapshot_failed) {
        return;
    }
    boot->snapshot_failed = !ok;
    if (ok) {
        qd_log(QD_LOG_INFO, "counters are stored again", NULL);
    } else {
        qd_log(QD_LOG_ERROR,
               "counters cannot be stored: a crash would forget what they have "
               "counted since, but no budget",
               "why=%s", qd_log_quote(boot->snapshot_error.text).text);
    }
}

static void snapshot(void *context)
{
    struct qd_boot *boot = context;
    uint32_t part = boot->snapshot_part;
    bool synced = part % SNAPSHOT_SYNC_PARTS == SNAPSHOT_SYNC_PARTS - 1;

    boot->snapshot_part = (part + 1) % SNAPSHOT_PARTS;
    if (!qd_snapshot_part(boot->node, part, SNAPSHOT_PARTS, synced, &boot->snapshot_error)) {
        boot->snapshot_bad = true;
        tell_snapshot(boot, false);
    }
    if (boot->snapshot_part == 0) { /* a part that has nothing to write says nothing */
        tell_snapshot(boot, !boot->snapshot_bad);
        boot->snapshot_bad = false;
    }
}

static char *start_snapshots(struct qd_boot *boot)
{
    boot->snapshots = qd_ticker_start(SNAPSHOT_PART_MS, snapshot, boot);
    return boot->snapshots != NULL ? NULL
                                   : sentence("cannot start a thread: out of memory or threads");
}

/* Nothing comes any more: what is stored now is all there is. */
static void stop_snapshots(struct qd_boot *boot)
{
    if (boot->snapshots != NULL) {
        qd_ticker_stop(boot->snapshots);
        tell_snapshot(boot, qd_snapshot_round(boot->node, true, &boot->snapshot_error));
    }
}

/* Before the recovery: its counters are of the limits that this makes known. */
static char *load_rls(struct qd_boot *boot, const struct qd_config *config)
{
    struct qd_rls_dir dir = qd_rls_dir_of(config);
    char *why = NULL;

    if (dir.path[0] != '\0') {
        boot->rls = qd_rls_dir_load(&dir, false, &boot->rls_mark, &why);
        if (boot->rls != NULL) {
            (void)fputs(why != NULL ? why : "", stderr); /* warnings */
            free(why);
            why = NULL;
        }
    }
    return why;
}

static char *load_credentials(struct qd_boot *boot, const char *path)
{
    char *why = NULL;

    if (path[0] != '\0') {
        boot->credentials = qd_credentials_file_load(path, &boot->credentials_mark, &why);
    }
    return why;
}

char *qd_boot_open(struct qd_boot *boot, const struct qd_config *config)
{
    struct qd_policy *policy = NULL;
    bool dev = qd_config_number(config, QD_SET_DEV) != 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t threads = qd_config_number(config, QD_SET_THREADS);

    boot->threads = threads > 0 ? (uint32_t)threads : cores > 0 ? (uint32_t)cores : 1;
    boot->data_dir = qd_config_get(config, QD_SET_DATA_DIR);
    boot->backup_dir = qd_config_get(config, QD_SET_BACKUP_DIR);
    boot->policy_file = dev ? NULL : qd_config_get(config, QD_SET_POLICY);
    char *why = load_policy(boot->policy_file, &policy);
    if (why == NULL) {
        why = load_rls(boot, config);
    }
    if (why == NULL) {
        why = load_credentials(boot, qd_config_get(config, QD_SET_CREDENTIALS));
    }
    if (why == NULL) {
        why = open_store(boot, config);
    }
    if (why == NULL) {
        why = check_tidemark(boot, config);
    }
    if (why == NULL) {
        why = make_node(boot, config, policy);
    }
    if (why == NULL) {
        why = admit_prices(boot, policy);
    }
    if (why == NULL) {
        (void)snprintf(boot->summary, sizeof(boot->summary), "%s", qd_policy_info(policy)->summary);
        publish(boot, policy);
        policy = NULL;
        why = recover(boot);
    }
    if (why == NULL) {
        why = start_heart(boot);
    }
    if (why == NULL) {
        why = start_snapshots(boot);
    }
    qd_policy_free(policy);
    return why;
}

void qd_boot_close(struct qd_boot *boot)
{
    qd_rls_set_free(boot->rls);
    qd_credentials_free(boot->credentials);
    qd_heart_stop(boot->heart);
    stop_snapshots(boot);
    qd_tidemark_close(boot->tidemark);
    qd_node_free(boot->node);
    qd_tenant_store_close(boot->tenants);
    qd_ledger_close(boot->ledger);
    qd_store_close(boot->store);
    memset(boot, 0, sizeof(*boot));
}
