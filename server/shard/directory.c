#include "server/shard/directory.h"

#include "server/core/hash.h"
#include "server/core/mutant.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was compiled from a record. One block each, freed together. */
struct compiled {
    struct qd_limit_set *limits;
    struct qd_adjust *adjusts; /* followed by the texts that they point to */
    struct qd_override override;
};

struct tenant {
    struct tenant *chain; /* in its bucket */
    struct qd_buf bytes;  /* the encoded record */
    struct compiled compiled;
    struct qd_str path; /* path_text */
    char path_text[];
};

struct qd_directory {
    pthread_rwlock_t lock;
    uint64_t seed;
    uint32_t max;
    size_t count;
    size_t bucket_count; /* power of two */
    struct tenant **buckets;
    struct tenant **sorted; /* by path, `count` of them: for listing */
    size_t sorted_room;
    bool has_shadow; /* for good: it only costs a little time */
};

/* --- compiling --- */

static void compiled_clear(struct compiled *c)
{
    qd_limit_set_free(c->limits);
    free(c->adjusts);
    memset(c, 0, sizeof(*c));
}

static const struct qd_plan *plan_of(const struct qd_policy *policy,
                                     const struct qd_tenant_record *record)
{
    return record->plan.len > 0 ? qd_policy_plan(policy, record->plan) : NULL;
}

/* `problems` may be NULL: there was no memory for it. */
static const char *first_error(const struct qd_problems *problems)
{
    for (size_t i = 0; problems != NULL && i < qd_problems_count(problems); i++) {
        if (qd_problems_at(problems, i)->severity == QD_SEVERITY_ERROR) {
            return qd_problems_at(problems, i)->message;
        }
    }
    return "out of memory";
}

/* Own limits as NUL-terminated texts for the policy's compiler. */
static enum qd_error_code compile_limits(const struct qd_policy *policy,
                                         const struct qd_tenant_record *record,
                                         struct qd_limit_set **ret_set, struct qd_error *ret_error)
{
    struct qd_limit_entry entries[QD_TENANT_LIMITS_MAX];
    char texts[QD_TENANT_LIMITS_MAX * 2][QD_TENANT_TEXT_MAX + 1];
    struct qd_problems *problems;

    *ret_set = NULL;
    if (record->limit_count == 0) {
        return QD_ERROR_NONE;
    }
    assert(record->limit_count <= QD_TENANT_LIMITS_MAX);
    for (size_t i = 0; i < record->limit_count; i++) {
        (void)snprintf(texts[2 * i], sizeof(texts[0]), "%.*s", (int)record->limits[i].name.len,
                       record->limits[i].name.ptr);
        (void)snprintf(texts[2 * i + 1], sizeof(texts[0]), "%.*s", (int)record->limits[i].value.len,
                       record->limits[i].value.ptr);
        entries[i] = (struct qd_limit_entry){texts[2 * i], texts[2 * i + 1]};
    }
    problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    *ret_set = problems != NULL ? qd_policy_compile_limits(policy, plan_of(policy, record), entries,
                                                           record->limit_count, problems)
                                : NULL;
    if (*ret_set == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_LIMIT, "%s", first_error(problems));
    }
    qd_problems_free(problems);
    return *ret_set != NULL ? QD_ERROR_NONE : QD_ERROR_INVALID_LIMIT;
}

/* H1, P8: what the policy's file would be refused for. */
static enum qd_error_code check_limits(const struct qd_policy *policy,
                                       const struct qd_limit_set *set, struct qd_error *ret_error)
{
    if (set == NULL) {
        return QD_ERROR_NONE;
    }
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    bool good = problems != NULL && qd_policy_check_limits(policy, set, problems);
    if (!good) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_LIMIT, "%s", first_error(problems));
    }
    qd_problems_free(problems);
    return good ? QD_ERROR_NONE : QD_ERROR_INVALID_LIMIT;
}

static struct qd_hash128 hash_of_hex(struct qd_str hex)
{
    char text[33];
    struct qd_hash128 hash = {0, 0};

    (void)snprintf(text, sizeof(text), "%.*s", (int)hex.len, hex.ptr);
    unsigned long long hi = 0;
    unsigned long long lo = 0;
    if (sscanf(text, "%16llx%16llx", &hi, &lo) == 2) {
        hash = (struct qd_hash128){lo, hi};
    }
    return hash;
}

static const char *keep_text(char **at, struct qd_str text)
{
    char *kept = *at;

    memcpy(kept, text.ptr, text.len);
    kept[text.len] = '\0';
    *at += text.len + 1;
    return kept;
}

/* Boosts and grants as adjusts. False: out of memory. */
static bool compile_adjusts(const struct qd_tenant_record *record, struct compiled *c)
{
    size_t count = record->boost_count + record->grant_count;
    size_t text = 0;

    if (count == 0) {
        return true;
    }
    for (size_t i = 0; i < record->boost_count; i++) {
        text += record->boosts[i].limit.len + 1;
    }
    for (size_t i = 0; i < record->grant_count; i++) {
        text += record->grants[i].limit.len + 1;
    }
    c->adjusts = calloc(1, count * sizeof(struct qd_adjust) + text);
    if (c->adjusts == NULL) {
        return false;
    }
    char *at = (char *)(c->adjusts + count);
    struct qd_adjust *adjust = c->adjusts;
    for (size_t i = 0; i < record->boost_count; i++, adjust++) {
        const struct qd_tenant_boost *boost = &record->boosts[i];
        adjust->limit = keep_text(&at, boost->limit);
        adjust->kind = boost->percent > 0 ? QD_ADJUST_PERCENT : QD_ADJUST_ABSOLUTE;
        adjust->value = boost->percent > 0 ? (int64_t)boost->percent : boost->amount;
        adjust->until = boost->until;
        if (QD_MUTANT(P6_boost)) {
            adjust->until.ns = QD_WALL_NEVER;
        }
    }
    for (size_t i = 0; i < record->grant_count; i++, adjust++) {
        const struct qd_tenant_grant *grant = &record->grants[i];
        adjust->limit = keep_text(&at, grant->limit);
        adjust->kind = QD_ADJUST_ADD;
        adjust->value = grant->amount;
        adjust->until.ns = QD_WALL_NEVER;
        adjust->one_counter = grant->keys.len > 0;
        adjust->counter = hash_of_hex(grant->keys);
    }
    c->override.adjusts = c->adjusts;
    c->override.adjust_count = count;
    return true;
}

/* A record that only carries a block, boosts or grants doesn't list its tenant; neither does one
 * whose plan is gone. Without a plan of its own what the policy gives goes on applying (P2). */
static void fill_override(const struct qd_policy *policy, const struct qd_tenant_record *record,
                          struct compiled *c)
{
    const struct qd_plan *plan = plan_of(policy, record);
    bool plan_gone = record->plan.len > 0 && plan == NULL;

    c->override.listed = record->listed && !plan_gone;
    c->override.has_plan = plan != NULL;
    c->override.plan = plan;
    if (c->limits != NULL) {
        c->override.limits = c->limits->uses;
        c->override.limit_count = c->limits->count;
    }
    c->override.blocked = record->block.blocked;
    c->override.blocked_until.ns =
        record->block.until.ns != 0 ? record->block.until.ns : QD_WALL_NEVER;
}

static enum qd_error_code compile(const struct qd_policy *policy,
                                  const struct qd_tenant_record *record,
                                  struct compiled *ret_compiled, struct qd_error *ret_error)
{
    struct compiled c;

    memset(&c, 0, sizeof(c));
    if (compile_limits(policy, record, &c.limits, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (!compile_adjusts(record, &c)) {
        compiled_clear(&c);
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    fill_override(policy, record, &c);
    *ret_compiled = c;
    return QD_ERROR_NONE;
}

/* --- the table --- */

struct qd_directory *qd_directory_new(uint32_t tenants_max, uint64_t seed)
{
    struct qd_directory *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        return NULL;
    }
    d->seed = seed;
    d->max = tenants_max;
    d->bucket_count = 1024;
    while (d->bucket_count < tenants_max && d->bucket_count < ((size_t)1 << 20)) {
        d->bucket_count *= 2;
    }
    d->buckets = calloc(d->bucket_count, sizeof(struct tenant *));
    if (d->buckets == NULL || pthread_rwlock_init(&d->lock, NULL) != 0) {
        free(d->buckets);
        free(d);
        return NULL;
    }
    return d;
}

static void tenant_free(struct tenant *t)
{
    compiled_clear(&t->compiled);
    qd_buf_release(&t->bytes);
    free(t);
}

void qd_directory_free(struct qd_directory *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        tenant_free(d->sorted[i]);
    }
    (void)pthread_rwlock_destroy(&d->lock);
    free(d->sorted);
    free(d->buckets);
    free(d);
}

void qd_directory_lock_shared(struct qd_directory *d)
{
    int result = pthread_rwlock_rdlock(&d->lock);

    assert(result == 0);
    (void)result;
}

void qd_directory_unlock_shared(struct qd_directory *d)
{
    int result = pthread_rwlock_unlock(&d->lock);

    assert(result == 0);
    (void)result;
}

static void lock_exclusive(struct qd_directory *d)
{
    int result = pthread_rwlock_wrlock(&d->lock);

    assert(result == 0);
    (void)result;
}

static struct tenant **bucket_of(struct qd_directory *d, struct qd_str path)
{
    return &d->buckets[qd_hash64_bytes(path.ptr, path.len, d->seed) & (d->bucket_count - 1)];
}

static struct tenant *find(struct qd_directory *d, struct qd_str path)
{
    struct tenant *t = *bucket_of(d, path);

    while (t != NULL && !qd_slice_equal(t->path, path)) {
        t = t->chain;
    }
    return t;
}

void qd_directory_overrides(struct qd_directory *d, struct qd_str path,
                            const struct qd_override *ret_overrides[QD_TENANT_SEGMENTS_MAX])
{
    uint8_t depth = qd_tenant_path_depth(path);

    for (uint8_t i = 0; i < QD_TENANT_SEGMENTS_MAX; i++) {
        ret_overrides[i] = NULL;
        if (i < depth && d->count > 0) {
            struct tenant *t = find(d, qd_tenant_path_prefix(path, (uint8_t)(i + 1)));
            ret_overrides[i] = t != NULL ? &t->compiled.override : NULL;
        }
    }
}

/* P1: more limits than one check can hold would be found out by the tenant. */
static enum qd_error_code check_count(struct qd_directory *d, const struct qd_policy *policy,
                                      struct qd_str path, const struct compiled *c,
                                      struct qd_error *ret_error)
{
    const struct qd_override *overrides[QD_TENANT_SEGMENTS_MAX];
    struct qd_attributes attributes = {.tenant = path};
    struct qd_resolve_input in = {
        .policy = policy, .attributes = &attributes, .overrides = overrides, .all = true};
    struct qd_resolution *r = malloc(sizeof(*r));

    if (r == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    qd_directory_lock_shared(d);
    qd_directory_overrides(d, path, overrides);
    overrides[qd_tenant_path_depth(path) - 1] = &c->override;
    qd_resolve(&in, r);
    qd_directory_unlock_shared(d);
    bool too_many = r->status == QD_RESOLVE_TOO_MANY;
    free(r);
    return too_many ? qd_error_set(ret_error, QD_ERROR_INVALID_LIMIT,
                                   "limits: more than %d limits would apply to %s",
                                   QD_LIMITS_PER_CHECK_MAX, qd_quote(path).text)
                    : QD_ERROR_NONE;
}

enum qd_error_code qd_directory_try(struct qd_directory *d, const struct qd_policy *policy,
                                    const struct qd_tenant_record *record, bool new_limits,
                                    struct qd_error *ret_error)
{
    struct compiled c = {0};

    enum qd_error_code code = compile(policy, record, &c, ret_error);
    if (code == QD_ERROR_NONE && new_limits) {
        code = check_limits(policy, c.limits, ret_error);
    }
    if (code == QD_ERROR_NONE && new_limits) {
        code = check_count(d, policy, record->tenant, &c, ret_error);
    }
    compiled_clear(&c);
    return code;
}

int qd_path_compare(struct qd_str a, struct qd_str b)
{
    size_t common = a.len < b.len ? a.len : b.len;

    for (size_t i = 0; i < common; i++) {
        int ca = a.ptr[i] == '/' ? 1 : (unsigned char)a.ptr[i];
        int cb = b.ptr[i] == '/' ? 1 : (unsigned char)b.ptr[i];
        if (ca != cb) {
            return ca - cb;
        }
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

/* Index of the first tenant whose path is >= `path`. */
static size_t lower_bound(const struct qd_directory *d, struct qd_str path)
{
    size_t low = 0;
    size_t high = d->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (qd_path_compare(d->sorted[middle]->path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool make_room(struct qd_directory *d)
{
    if (d->count < d->sorted_room) {
        return true;
    }
    size_t room = d->sorted_room == 0 ? 64 : d->sorted_room * 2;
    struct tenant **sorted = realloc(d->sorted, room * sizeof(struct tenant *));
    if (sorted == NULL) {
        return false;
    }
    d->sorted = sorted;
    d->sorted_room = room;
    return true;
}

static struct tenant *tenant_new(struct qd_str path)
{
    struct tenant *t = calloc(1, sizeof(*t) + path.len);

    if (t != NULL) {
        memcpy(t->path_text, path.ptr, path.len);
        t->path = (struct qd_str){t->path_text, path.len};
    }
    return t;
}

static void insert(struct qd_directory *d, struct tenant *t)
{
    size_t at = lower_bound(d, t->path);
    struct tenant **bucket = bucket_of(d, t->path);

    memmove(&d->sorted[at + 1], &d->sorted[at], (d->count - at) * sizeof(struct tenant *));
    d->sorted[at] = t;
    d->count++;
    t->chain = *bucket;
    *bucket = t;
}

enum qd_error_code qd_directory_put(struct qd_directory *d, const struct qd_policy *policy,
                                    const struct qd_tenant_record *record,
                                    struct qd_error *ret_error)
{
    struct compiled compiled = {0};
    struct qd_buf bytes = {0};

    if (compile(policy, record, &compiled, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    qd_tenant_record_encode(record, &bytes);
    lock_exclusive(d);
    struct tenant *t = find(d, record->tenant);
    if (t == NULL && d->count < d->max && make_room(d)) {
        t = tenant_new(record->tenant);
        if (t != NULL) {
            insert(d, t);
        }
    }
    if (t == NULL || bytes.failed) {
        qd_directory_unlock_shared(d);
        compiled_clear(&compiled);
        qd_buf_release(&bytes);
        return qd_error_set(
            ret_error, QD_ERROR_TENANTS_FULL,
            "no room for another tenant; this node is configured for %u (--max-tenants)", d->max);
    }
    for (size_t i = 0; i < compiled.override.limit_count; i++) {
        d->has_shadow |= compiled.override.limits[i].limit->action == QD_SHADOW;
    }
    struct compiled old = t->compiled;
    struct qd_buf old_bytes = t->bytes;
    t->compiled = compiled;
    t->bytes = bytes;
    qd_directory_unlock_shared(d);
    compiled_clear(&old); /* nobody reads it: readers hold the lock as long as they look */
    qd_buf_release(&old_bytes);
    return QD_ERROR_NONE;
}

bool qd_directory_remove(struct qd_directory *d, struct qd_str path)
{
    lock_exclusive(d);
    struct tenant *t = find(d, path);
    if (t != NULL) {
        struct tenant **at = bucket_of(d, path);
        size_t index = lower_bound(d, path);
        while (*at != t) {
            at = &(*at)->chain;
        }
        *at = t->chain;
        memmove(&d->sorted[index], &d->sorted[index + 1],
                (d->count - index - 1) * sizeof(struct tenant *));
        d->count--;
    }
    qd_directory_unlock_shared(d);
    if (t != NULL) {
        tenant_free(t);
    }
    return t != NULL;
}

static bool decode(const struct tenant *t, struct qd_tenant_record *ret_record)
{
    return qd_tenant_record_decode(qd_buf_str(&t->bytes), ret_record) == QD_STORE_OK;
}

size_t qd_directory_recompile(struct qd_directory *d, const struct qd_policy *policy,
                              struct qd_problems *problems)
{
    struct qd_tenant_record *record = malloc(sizeof(*record));
    size_t bad = 0;

    lock_exclusive(d);
    for (size_t i = 0; i < d->count && record != NULL; i++) {
        struct compiled compiled = {0};
        struct qd_error error;
        struct tenant *t = d->sorted[i];
        if (!decode(t, record)) {
            continue; /* it decoded when it was put */
        }
        bool plan_gone = record->plan.len > 0 && plan_of(policy, record) == NULL;
        if (plan_gone) {
            (void)qd_error_set(&error, QD_ERROR_UNKNOWN_PLAN,
                               "plan %s is gone; the tenant falls back to the "
                               "policy's rules",
                               qd_quote(record->plan).text);
        }
        if (compile(policy, record, &compiled, &error) != QD_ERROR_NONE) {
            record->limit_count = 0;
            plan_gone = true;
            struct qd_error unused;
            if (compile(policy, record, &compiled, &unused) != QD_ERROR_NONE) {
                continue; /* out of memory: the old one stays */
            }
        }
        if (plan_gone) {
            bad++;
            if (problems != NULL) {
                qd_problems_add(problems, QD_SEVERITY_WARNING, "", 0, 0, "tenant %.*s: %s",
                                (int)t->path.len, t->path.ptr, error.text);
            }
        } else if (problems != NULL &&
                   check_limits(policy, compiled.limits, &error) != QD_ERROR_NONE) {
            qd_problems_add(problems, QD_SEVERITY_WARNING, "", 0, 0,
                            "tenant %.*s: %s; the limit stays as it is", (int)t->path.len,
                            t->path.ptr, error.text);
        }
        compiled_clear(&t->compiled);
        t->compiled = compiled;
    }
    qd_directory_unlock_shared(d);
    free(record);
    return bad;
}

/* --- reading --- */

static bool copy_out(const struct tenant *t, struct qd_buf *buf,
                     struct qd_tenant_record *ret_record)
{
    qd_buf_clear(buf);
    qd_buf_append_str(buf, qd_buf_str(&t->bytes));
    return !buf->failed && qd_tenant_record_decode(qd_buf_str(buf), ret_record) == QD_STORE_OK;
}

bool qd_directory_get(struct qd_directory *d, struct qd_str path, struct qd_buf *buf,
                      struct qd_tenant_record *ret_record)
{
    qd_directory_lock_shared(d);
    struct tenant *t = find(d, path);
    bool found = t != NULL && copy_out(t, buf, ret_record);
    qd_directory_unlock_shared(d);
    return found;
}

bool qd_directory_next(struct qd_directory *d, struct qd_str after, struct qd_buf *buf,
                       struct qd_tenant_record *ret_record)
{
    qd_directory_lock_shared(d);
    size_t at = after.len > 0 ? lower_bound(d, after) : 0;
    if (after.len > 0 && at < d->count && qd_slice_equal(d->sorted[at]->path, after)) {
        at++;
    }
    bool found = at < d->count && copy_out(d->sorted[at], buf, ret_record);
    qd_directory_unlock_shared(d);
    return found;
}

bool qd_directory_has_shadow(struct qd_directory *d)
{
    qd_directory_lock_shared(d);
    bool has = d->has_shadow;
    qd_directory_unlock_shared(d);
    return has;
}

size_t qd_directory_count(struct qd_directory *d)
{
    qd_directory_lock_shared(d);
    size_t count = d->count;
    qd_directory_unlock_shared(d);
    return count;
}

bool qd_path_within(struct qd_str path, struct qd_str root)
{
    return root.len == 0 ||
           (qd_slice_starts(path, root) && (path.len == root.len || path.ptr[root.len] == '/'));
}
