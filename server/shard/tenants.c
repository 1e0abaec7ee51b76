#include "server/shard/tenants.h"

#include "server/core/mutant.h"
#include "server/shard/bind.h"
#include "server/shard/directory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum qd_error_code store_error(const struct qd_store_error *error,
                                      struct qd_error *ret_error)
{
    if (error->code == QD_STORE_INVALID) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", error->text);
    }
    return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "not stored: %s; retry", error->text);
}

struct find_record {
    struct qd_str path;
    struct qd_tenants_work *work;
    bool found;
};

static bool take_record(void *context, const struct qd_tenant_record *record)
{
    struct find_record *f = context;

    if (qd_slice_equal(record->tenant, f->path)) { /* others lie below it */
        qd_buf_clear(&f->work->bytes);
        qd_tenant_record_encode(record, &f->work->bytes);
        f->found = true;
    }
    return false;
}

/* As the store has it: a write that failed may have come to be there all the same (X4), and what
 * it booked, such as a grant, is not to be overwritten by what memory has. Absent: it is empty. */
static enum qd_error_code read_record(struct qd_node *node, struct qd_str path,
                                      struct qd_tenants_work *work, bool *ret_exists,
                                      struct qd_error *ret_error)
{
    struct find_record find = {.path = path, .work = work};
    struct qd_store_error error = {.text = "its record is damaged"};

    enum qd_store_err err = qd_tenant_store_list(node->tenants, path, (struct qd_str){NULL, 0},
                                                 take_record, &find, &error);
    if (err == QD_STORE_OK && find.found) {
        err = work->bytes.failed ? qd_store_error_set(&error, QD_STORE_NO_MEMORY, "out of memory")
                                 : qd_tenant_record_decode(qd_buf_str(&work->bytes), &work->record);
    }
    if (err != QD_STORE_OK) {
        return store_error(&error, ret_error);
    }
    if (!find.found) {
        memset(&work->record, 0, sizeof(work->record));
        work->record.tenant = path;
    }
    *ret_exists = find.found;
    return QD_ERROR_NONE;
}

/* P2: effective at once. Whoever resolved the old record has bound it by now, or will resolve
 * again. */
static void forget(struct qd_node *node, struct qd_str path)
{
    struct qd_str root = qd_path_root(path);
    struct qd_shard *home = qd_shards_of(&node->shards, root);

    if (qd_directory_has_shadow(node->directory)) {
        atomic_store_explicit(&node->runtime_shadow, true, memory_order_relaxed);
    }
    if (QD_MUTANT(P2_forget)) {
        return;
    }
    qd_shards_lock(&node->shards, home);
    qd_core_forget_root(home->core, root);
    qd_shards_unlock(&node->shards, home);
}

static const struct qd_policy *policy_of(struct qd_node *node)
{
    /* Published policies change under the admin lock only, and it is held. */
    return atomic_load_explicit(&node->published, memory_order_acquire)->policy;
}

static struct qd_tenant_change change_of(struct qd_node *node, struct qd_str actor,
                                         const char *action)
{
    return (struct qd_tenant_change){.actor = qd_actor_or_local(actor),
                                     .action = qd_slice_of(action),
                                     .now = qd_clock_now(&node->clock)};
}

static enum qd_error_code change_locked(struct qd_node *node, const struct qd_tenants_edit *edit,
                                        struct qd_tenants_work *work, struct qd_error *ret_error)
{
    const struct qd_policy *policy = policy_of(node);
    struct qd_tenant_change change = change_of(node, edit->actor, edit->action);
    struct qd_store_error error;

    bool exists = false;
    if (read_record(node, edit->path, work, &exists, ret_error) != QD_ERROR_NONE ||
        edit->edit(edit->context, policy, exists, &work->record, ret_error) != QD_ERROR_NONE ||
        qd_directory_try(node->directory, policy, &work->record, edit->new_limits, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (qd_tenant_store_put(node->tenants, &work->record, &change, &work->created, &error) !=
        QD_STORE_OK) {
        return store_error(&error, ret_error);
    }
    enum qd_error_code code = qd_directory_put(node->directory, policy, &work->record, ret_error);
    if (code == QD_ERROR_NONE) {
        forget(node, edit->path);
    }
    return code;
}

enum qd_error_code qd_tenants_change(struct qd_node *node, const struct qd_tenants_edit *edit,
                                     struct qd_tenants_work *work, struct qd_error *ret_error)
{
    (void)pthread_mutex_lock(&node->admin);
    enum qd_error_code code = change_locked(node, edit, work, ret_error);
    (void)pthread_mutex_unlock(&node->admin);
    return code;
}

/* --- deleting --- */

static enum qd_error_code delete_locked(struct qd_node *node, struct qd_str path, bool subtree,
                                        struct qd_str actor, struct qd_tenants_work *work,
                                        uint32_t *ret_deleted, struct qd_error *ret_error)
{
    struct qd_tenant_change change = change_of(node, actor, "DeleteTenant");
    struct qd_store_error error;
    char next[QD_TENANT_PATH_MAX];

    bool exists = qd_directory_get(node->directory, path, &work->bytes, &work->record);
    bool below = qd_directory_next(node->directory, path, &work->bytes, &work->record) &&
                 qd_path_within(work->record.tenant, path);
    if (!exists && !(below && subtree)) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_TENANT,
                            "tenant: %s has no run-time record; run: quotactl tenants ls",
                            qd_quote(path).text);
    }
    if (below && !subtree) {
        return qd_error_set(
            ret_error, QD_ERROR_TENANT_HAS_CHILDREN,
            "tenant: there are records below %s, such as %s; delete them first, or set subtree",
            qd_quote(path).text, qd_quote(work->record.tenant).text);
    }
    if (qd_tenant_store_delete(node->tenants, path, subtree, &change, ret_deleted, &error) !=
        QD_STORE_OK) {
        return store_error(&error, ret_error);
    }
    (void)qd_directory_remove(node->directory, path);
    while (subtree && qd_directory_next(node->directory, path, &work->bytes, &work->record) &&
           qd_path_within(work->record.tenant, path)) {
        memcpy(next, work->record.tenant.ptr, work->record.tenant.len);
        (void)qd_directory_remove(node->directory, (struct qd_str){next, work->record.tenant.len});
    }
    forget(node, path);
    return QD_ERROR_NONE;
}

enum qd_error_code qd_tenants_delete(struct qd_node *node, struct qd_str path, bool subtree,
                                     struct qd_str actor, uint32_t *ret_deleted,
                                     struct qd_error *ret_error)
{
    struct qd_tenants_work *work = calloc(1, sizeof(*work));

    if (work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    (void)pthread_mutex_lock(&node->admin);
    enum qd_error_code code =
        delete_locked(node, path, subtree, actor, work, ret_deleted, ret_error);
    (void)pthread_mutex_unlock(&node->admin);
    qd_buf_release(&work->bytes);
    free(work);
    return code;
}

/* --- granting --- */

/* The balance that a grant adds to, made if there is none. NULL: the record is full. */
static struct qd_tenant_grant *grant_of(struct qd_tenant_record *record,
                                        const struct qd_grant_args *args, char keys[33])
{
    struct qd_str limit = qd_slice_of(args->limit);
    struct qd_str of = {keys, 0};

    if (args->one_counter) {
        of.len = (size_t)snprintf(keys, 33, "%016" PRIx64 "%016" PRIx64, args->counter.hi,
                                  args->counter.lo);
    }
    for (size_t i = 0; i < record->grant_count; i++) {
        if (qd_slice_equal(record->grants[i].limit, limit) &&
            qd_slice_equal(record->grants[i].keys, of)) {
            return &record->grants[i];
        }
    }
    if (record->grant_count == QD_TENANT_GRANTS_MAX) {
        return NULL;
    }
    struct qd_tenant_grant *grant = &record->grants[record->grant_count++];
    *grant = (struct qd_tenant_grant){.limit = limit, .keys = of};
    return grant;
}

static void fill_entry(const struct qd_grant_args *args, struct qd_wall_ns now,
                       struct qd_entry *entry)
{
    memset(entry, 0, sizeof(*entry));
    entry->kind = QD_ENTRY_GRANT;
    entry->event_time = now;
    entry->charged_time = now;
    entry->tenant = args->path;
    entry->source = qd_slice_of("admin");
    entry->request_id = args->grant_id;
    entry->limit = qd_slice_of(args->limit);
    entry->note = args->note;
    entry->quantities[0] = (struct qd_entry_quantity){
        args->money ? qd_slice_of("cost") : qd_slice_of("granted"), args->amount};
    entry->quantity_count = 1;
    qd_entry_sort(entry);
}

static enum qd_error_code book_grant(struct qd_node *node, const struct qd_grant_args *args,
                                     struct qd_tenants_work *work, bool *ret_duplicate,
                                     uint64_t *ret_sequence, struct qd_error *ret_error)
{
    struct qd_tenant_change change = change_of(node, args->actor, "Grant");
    struct qd_entry entry;
    struct qd_receipt receipt;

    fill_entry(args, change.now, &entry);
    struct qd_booking booking = {
        .entry = &entry, .content = qd_ledger_content(&entry, false), .now = change.now};
    qd_receipt_init(&receipt);
    enum qd_book_result result = qd_tenant_store_book(node->tenants, &work->record, &change,
                                                      node->ledger, &booking, &receipt);
    enum qd_error_code code = QD_ERROR_NONE;
    if (result == QD_BOOK_CONFLICT) {
        code = qd_error_set(ret_error, QD_ERROR_GRANT_CONFLICT, "%s", receipt.text);
    } else if (result == QD_BOOK_STORE_ERROR) {
        code = qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "not booked: %s; retry with the same grant_id", receipt.text);
    } else if (result != QD_BOOK_BOOKED && result != QD_BOOK_DUPLICATE) {
        code = qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", receipt.text);
    }
    *ret_duplicate = result == QD_BOOK_DUPLICATE;
    *ret_sequence = receipt.sequence;
    if (result ==
        QD_BOOK_BOOKED) { /* the balance is in the tenant's record: nothing is to be counted */
        qd_frontier_mark(&node->frontier, receipt.sequence);
    }
    qd_receipt_release(&receipt);
    return code;
}

static enum qd_error_code grant_locked(struct qd_node *node, const struct qd_grant_args *args,
                                       struct qd_tenants_work *work, bool *ret_duplicate,
                                       uint64_t *ret_sequence, struct qd_error *ret_error)
{
    char keys[33];
    bool exists = false;

    if (read_record(node, args->path, work, &exists, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_tenant_grant *grant = grant_of(&work->record, args, keys);
    if (grant == NULL || __builtin_add_overflow(grant->amount, args->amount, &grant->amount) ||
        grant->amount > QD_AMOUNT_MAX || grant->amount < -QD_AMOUNT_MAX) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_AMOUNT,
            "amount: the balance would be out of range, or the tenant has more than %d balances; "
            "accepted are balances of -2^53 to 2^53",
            QD_TENANT_GRANTS_MAX);
    }
    grant->count++;
    /* What could not be put must not be booked either. */
    if (qd_directory_try(node->directory, policy_of(node), &work->record, false, ret_error) !=
            QD_ERROR_NONE ||
        book_grant(node, args, work, ret_duplicate, ret_sequence, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (*ret_duplicate) { /* the first time may have been answered by an error */
        if (read_record(node, args->path, work, &exists, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
        if (!exists) {
            return QD_ERROR_NONE; /* it was deleted since */
        }
    }
    enum qd_error_code code =
        qd_directory_put(node->directory, policy_of(node), &work->record, ret_error);
    if (code == QD_ERROR_NONE) {
        forget(node, args->path);
    }
    return code;
}

enum qd_error_code qd_tenants_grant(struct qd_node *node, const struct qd_grant_args *args,
                                    struct qd_tenants_work *work, bool *ret_duplicate,
                                    uint64_t *ret_sequence, struct qd_error *ret_error)
{
    (void)pthread_mutex_lock(&node->admin);
    enum qd_error_code code =
        grant_locked(node, args, work, ret_duplicate, ret_sequence, ret_error);
    (void)pthread_mutex_unlock(&node->admin);
    return code;
}
