#include "server/ledger/tenant_store.h"

#include "server/ledger/scan.h"
#include "storage/codec.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* First byte of a key in TENANT. */
#define KEY_TENANT 't'
#define KEY_AUDIT  'a'

struct qd_tenant_store {
    struct qd_store *store;
    pthread_mutex_t mutex; /* guards everything below, for the length of a change */
    uint64_t audit_sequence;
    bool stale; /* a write failed: it isn't known what is there */
    struct qd_batch batch;
    struct qd_buf key;
    struct qd_buf before;
    struct qd_buf after;
    struct qd_buf audit;
};

/* --- keys and audit --- */

static void tenant_key(struct qd_str path, struct qd_buf *ret_key)
{
    qd_buf_clear(ret_key);
    qd_buf_append_u8(ret_key, KEY_TENANT);
    qd_put_key_tenant(ret_key, path);
}

static void audit_key(uint64_t sequence, struct qd_buf *ret_key)
{
    qd_buf_clear(ret_key);
    qd_buf_append_u8(ret_key, KEY_AUDIT);
    qd_put_key_u64(ret_key, sequence);
}

static struct qd_hash128 hash_of(struct qd_str bytes)
{
    if (bytes.len == 0) {
        return (struct qd_hash128){0};
    }
    XXH128_hash_t hash = XXH3_128bits(bytes.ptr, bytes.len);
    return (struct qd_hash128){.lo = hash.low64, .hi = hash.high64};
}

/* Add the audit record of a change from `before` to `after` to the batch. */
static void add_audit(struct qd_tenant_store *tenants, const struct qd_tenant_change *change,
                      struct qd_str subject)
{
    uint64_t sequence = tenants->audit_sequence + 1;
    audit_key(sequence, &tenants->key);
    qd_buf_clear(&tenants->audit);
    qd_audit_record_encode(
        &(struct qd_audit_record){
            .sequence = sequence,
            .time = change->now,
            .actor = change->actor,
            .action = change->action,
            .subject = subject,
            .detail = change->detail,
            .before = hash_of(qd_buf_str(&tenants->before)),
            .after = hash_of(qd_buf_str(&tenants->after)),
        },
        &tenants->audit);
    tenants->batch.ops.failed |= tenants->key.failed || tenants->audit.failed;
    qd_batch_put(&tenants->batch, QD_STORE_TENANT, qd_buf_str(&tenants->key),
                 qd_buf_str(&tenants->audit));
}

static enum qd_store_err decode_audit(struct qd_str value, struct qd_audit_record *ret_record,
                                      struct qd_store_error *error)
{
    enum qd_store_err err = qd_audit_record_decode(value, ret_record);
    if (err != QD_STORE_OK) {
        qd_store_error_set(error, err, "audit record: %s", qd_store_err_text(err));
    }
    return err;
}

/* The last audit sequence, from the store. */
static enum qd_store_err recover(struct qd_tenant_store *tenants, struct qd_store_error *error)
{
    static const char lower = KEY_AUDIT;
    static const char upper = KEY_AUDIT + 1;
    struct qd_store_iter *iter = qd_store_iter_open(
        tenants->store,
        &(struct qd_store_range){
            .space = QD_STORE_TENANT, .lower = {&lower, 1}, .upper = {&upper, 1}, .reverse = true});
    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read tenants");
    }
    struct qd_str key;
    struct qd_str value;
    struct qd_audit_record last = {0};
    enum qd_store_err err = qd_store_iter_next(iter, &key, &value, error);
    if (err == QD_STORE_OK) {
        err = decode_audit(value, &last, error);
    }
    qd_store_iter_close(iter);
    if (err != QD_STORE_OK && err != QD_STORE_END) {
        return err;
    }
    tenants->audit_sequence = last.sequence;
    tenants->stale = false;
    return QD_STORE_OK;
}

enum qd_store_err qd_tenant_store_open(struct qd_store *store, struct qd_tenant_store **ret_tenants,
                                       struct qd_store_error *error)
{
    struct qd_tenant_store *tenants = calloc(1, sizeof *tenants);
    if (tenants == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for tenants");
    }
    tenants->store = store;
    pthread_mutex_init(&tenants->mutex, NULL);
    enum qd_store_err err = recover(tenants, error);
    if (err != QD_STORE_OK) {
        qd_tenant_store_close(tenants);
        return err;
    }
    *ret_tenants = tenants;
    return QD_STORE_OK;
}

void qd_tenant_store_close(struct qd_tenant_store *tenants)
{
    if (tenants == NULL) {
        return;
    }
    pthread_mutex_destroy(&tenants->mutex);
    qd_batch_release(&tenants->batch);
    qd_buf_release(&tenants->key);
    qd_buf_release(&tenants->before);
    qd_buf_release(&tenants->after);
    qd_buf_release(&tenants->audit);
    free(tenants);
}

/* --- reading --- */

static enum qd_store_err decode(struct qd_str value, struct qd_str path,
                                struct qd_tenant_record *ret_record, struct qd_store_error *error)
{
    enum qd_store_err err = qd_tenant_record_decode(value, ret_record);
    if (err != QD_STORE_OK) {
        qd_store_error_set(error, err, "record of tenant %.*s: %s", (int)path.len, path.ptr,
                           qd_store_err_text(err));
    }
    return err;
}

/* What a walk does with one row; *ret_more false ends it. */
typedef enum qd_store_err (*row_visitor)(void *context, struct qd_str key, struct qd_str value,
                                         bool *ret_more, struct qd_store_error *error);

/* Walk the rows from `lower` up to `upper`. */
static enum qd_store_err walk(struct qd_tenant_store *tenants, const struct qd_buf *lower,
                              const struct qd_buf *upper, row_visitor visit, void *context,
                              struct qd_store_error *error)
{
    struct qd_store_iter *iter = NULL;
    if (!lower->failed && !upper->failed) {
        iter = qd_store_iter_open(tenants->store,
                                  &(struct qd_store_range){.space = QD_STORE_TENANT,
                                                           .lower = qd_buf_str(lower),
                                                           .upper = qd_buf_str(upper)});
    }
    enum qd_store_err err =
        iter != NULL ? QD_STORE_OK
                     : qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to list tenants");
    bool more = true;
    while (err == QD_STORE_OK && more) {
        struct qd_str key;
        struct qd_str value;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = visit(context, key, value, &more, error);
        }
    }
    qd_store_iter_close(iter);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

struct tenant_visit {
    qd_tenant_visitor visit;
    void *context;
};

static enum qd_store_err visit_tenant(void *context, struct qd_str key, struct qd_str value,
                                      bool *ret_more, struct qd_store_error *error)
{
    const struct tenant_visit *v = context;
    struct qd_tenant_record record;
    enum qd_store_err err =
        decode(value, (struct qd_str){key.ptr + 1, key.len - 1}, &record, error);
    if (err == QD_STORE_OK) {
        *ret_more = v->visit(v->context, &record);
    }
    return err;
}

enum qd_store_err qd_tenant_store_list(struct qd_tenant_store *tenants, struct qd_str subtree,
                                       struct qd_str after, qd_tenant_visitor visit, void *context,
                                       struct qd_store_error *error)
{
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    qd_buf_append_u8(&lower, KEY_TENANT);
    qd_buf_append_u8(&upper, KEY_TENANT);
    qd_put_key_subtree_lower(&lower, subtree);
    qd_put_key_subtree_upper(&upper, subtree);
    if (after.len > 0) {
        tenant_key(after, &lower);
        qd_buf_append_u8(&lower, 0); /* the first key after it */
    }
    struct tenant_visit v = {visit, context};
    enum qd_store_err err = walk(tenants, &lower, &upper, visit_tenant, &v, error);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err;
}

struct audit_visit {
    qd_audit_visitor visit;
    void *context;
};

static enum qd_store_err visit_audit(void *context, struct qd_str key, struct qd_str value,
                                     bool *ret_more, struct qd_store_error *error)
{
    (void)key;
    const struct audit_visit *v = context;
    struct qd_audit_record record;
    enum qd_store_err err = decode_audit(value, &record, error);
    if (err == QD_STORE_OK) {
        *ret_more = v->visit(v->context, &record);
    }
    return err;
}

enum qd_store_err qd_tenant_store_audit(struct qd_tenant_store *tenants, uint64_t after,
                                        qd_audit_visitor visit, void *context,
                                        struct qd_store_error *error)
{
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    audit_key(after + 1, &lower);
    qd_buf_append_u8(&upper, KEY_AUDIT + 1);
    struct audit_visit v = {visit, context};
    enum qd_store_err err = walk(tenants, &lower, &upper, visit_audit, &v, error);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err;
}

/* --- changing (the mutex is held) --- */

/* Read what is there into `before`; empty if there is nothing. */
static enum qd_store_err read_before(struct qd_tenant_store *tenants, struct qd_str path,
                                     struct qd_tenant_record *ret_record,
                                     struct qd_store_error *error)
{
    tenant_key(path, &tenants->key);
    qd_buf_clear(&tenants->before);
    if (tenants->key.failed) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read a tenant");
    }
    enum qd_store_err err = qd_store_get(tenants->store, QD_STORE_TENANT, qd_buf_str(&tenants->key),
                                         &tenants->before, error);
    if (err == QD_STORE_OK) {
        err = decode(qd_buf_str(&tenants->before), path, ret_record, error);
    }
    return err;
}

/* Fill the batch with the record and its audit record. */
static enum qd_store_err prepare(struct qd_tenant_store *tenants, struct qd_tenant_record *record,
                                 const struct qd_tenant_change *change, bool *ret_created,
                                 struct qd_store_error *error)
{
    struct qd_tenant_record existing;
    enum qd_store_err err = qd_tenant_record_validate(record, error);
    if (err == QD_STORE_OK && tenants->stale) {
        err = recover(tenants, error);
    }
    if (err == QD_STORE_OK) {
        err = read_before(tenants, record->tenant, &existing, error);
    }
    if (err != QD_STORE_OK && err != QD_STORE_NOT_FOUND) {
        return err;
    }
    *ret_created = err == QD_STORE_NOT_FOUND;
    record->created = *ret_created ? change->now : existing.created;
    record->updated = change->now;
    record->audit_sequence = tenants->audit_sequence + 1;
    qd_buf_clear(&tenants->after);
    qd_tenant_record_encode(record, &tenants->after);
    qd_batch_clear(&tenants->batch);
    qd_batch_put(&tenants->batch, QD_STORE_TENANT, qd_buf_str(&tenants->key),
                 qd_buf_str(&tenants->after));
    tenants->batch.ops.failed |= tenants->after.failed;
    add_audit(tenants, change, record->tenant);
    return tenants->batch.ops.failed
               ? qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to store a tenant")
               : QD_STORE_OK;
}

static enum qd_store_err write_batch(struct qd_tenant_store *tenants, struct qd_store_error *error)
{
    enum qd_store_err err = qd_store_write(tenants->store, &tenants->batch, true, error);
    tenants->stale = err != QD_STORE_OK;
    tenants->audit_sequence += err == QD_STORE_OK;
    return err;
}

enum qd_store_err qd_tenant_store_put(struct qd_tenant_store *tenants,
                                      struct qd_tenant_record *record,
                                      const struct qd_tenant_change *change, bool *ret_created,
                                      struct qd_store_error *error)
{
    pthread_mutex_lock(&tenants->mutex);
    enum qd_store_err err = prepare(tenants, record, change, ret_created, error);
    if (err == QD_STORE_OK) {
        err = write_batch(tenants, error);
    }
    pthread_mutex_unlock(&tenants->mutex);
    return err;
}

/* Book the entry with the batch, which has one audit record. */
static enum qd_book_result book_batch(struct qd_tenant_store *tenants, struct qd_ledger *ledger,
                                      const struct qd_booking *booking,
                                      struct qd_receipt *ret_receipt)
{
    struct qd_booking with_batch = *booking;
    assert(booking->extra == NULL);
    with_batch.extra = &tenants->batch;
    enum qd_book_result result = qd_ledger_book(ledger, &with_batch, ret_receipt);
    tenants->audit_sequence += result == QD_BOOK_BOOKED;
    tenants->stale = result == QD_BOOK_STORE_ERROR;
    return result;
}

enum qd_book_result qd_tenant_store_note(struct qd_tenant_store *tenants,
                                         const struct qd_tenant_change *change,
                                         struct qd_ledger *ledger, const struct qd_booking *booking,
                                         struct qd_receipt *ret_receipt)
{
    struct qd_store_error error = {0};
    enum qd_book_result result = QD_BOOK_STORE_ERROR;
    pthread_mutex_lock(&tenants->mutex);
    enum qd_store_err err = tenants->stale ? recover(tenants, &error) : QD_STORE_OK;
    if (err == QD_STORE_OK) {
        qd_batch_clear(&tenants->batch);
        qd_buf_clear(&tenants->before);
        qd_buf_clear(&tenants->after);
        add_audit(tenants, change, booking->entry->tenant);
        err = tenants->batch.ops.failed
                  ? qd_store_error_set(&error, QD_STORE_NO_MEMORY, "no memory to store a change")
                  : QD_STORE_OK;
    }
    if (err == QD_STORE_OK) {
        result = book_batch(tenants, ledger, booking, ret_receipt);
    } else {
        (void)snprintf(ret_receipt->text, sizeof ret_receipt->text, "%s", error.text);
    }
    pthread_mutex_unlock(&tenants->mutex);
    return result;
}

/* --- an audit record in another batch --- */

enum qd_store_err qd_tenant_store_audit_begin(struct qd_tenant_store *tenants,
                                              struct qd_store_error *error)
{
    pthread_mutex_lock(&tenants->mutex);
    enum qd_store_err err = tenants->stale ? recover(tenants, error) : QD_STORE_OK;
    if (err != QD_STORE_OK) {
        pthread_mutex_unlock(&tenants->mutex);
    }
    return err;
}

void qd_tenant_store_audit_put(struct qd_tenant_store *tenants,
                               const struct qd_tenant_change *change, struct qd_str subject,
                               struct qd_batch *batch)
{
    qd_batch_clear(&tenants->batch);
    qd_buf_clear(&tenants->before);
    qd_buf_clear(&tenants->after);
    add_audit(tenants, change, subject);
    batch->ops.failed |= tenants->batch.ops.failed;
    qd_batch_append(batch, &tenants->batch);
}

void qd_tenant_store_audit_end(struct qd_tenant_store *tenants, enum qd_audit_end end)
{
    tenants->audit_sequence += end == QD_AUDIT_WRITTEN;
    tenants->stale |= end == QD_AUDIT_FAILED;
    pthread_mutex_unlock(&tenants->mutex);
}

enum qd_store_err qd_tenant_store_audit_alone(struct qd_tenant_store *tenants,
                                              const struct qd_tenant_change *change,
                                              struct qd_str subject, struct qd_str before,
                                              struct qd_str after, struct qd_store_error *error)
{
    enum qd_store_err err = qd_tenant_store_audit_begin(tenants, error); /* locks */

    if (err != QD_STORE_OK) {
        return err;
    }
    qd_batch_clear(&tenants->batch);
    qd_buf_clear(&tenants->before);
    qd_buf_clear(&tenants->after);
    qd_buf_append(&tenants->before, before.ptr, before.len);
    qd_buf_append(&tenants->after, after.ptr, after.len);
    tenants->batch.ops.failed |= tenants->before.failed || tenants->after.failed;
    add_audit(tenants, change, subject);
    err = tenants->batch.ops.failed
              ? qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for an audit record")
              : write_batch(tenants, error);
    pthread_mutex_unlock(&tenants->mutex);
    return err;
}

/* The audit record of a note, with the number `sequence`, as what is written with its entry. */
static void add_note(struct qd_tenant_store *tenants, struct qd_tenant_note *note,
                     uint64_t sequence)
{
    audit_key(sequence, &tenants->key);
    qd_buf_clear(&tenants->audit);
    qd_audit_record_encode(
        &(struct qd_audit_record){
            .sequence = sequence,
            .time = note->change.now,
            .actor = note->change.actor,
            .action = note->change.action,
            .subject = note->booking.entry->tenant,
            .detail = note->change.detail,
            .before = hash_of(note->before),
            .after = hash_of(note->after),
        },
        &tenants->audit);
    qd_batch_put(&note->extra, QD_STORE_TENANT, qd_buf_str(&tenants->key),
                 qd_buf_str(&tenants->audit));
    note->extra.ops.failed |= tenants->key.failed || tenants->audit.failed;
    note->booking.extra = &note->extra;
}

#define NOTES_AT_ONCE 64

static bool is_booked(struct qd_ledger *ledger, const struct qd_entry *entry)
{
    uint64_t sequence;
    return qd_ledger_find(ledger, entry, &sequence, NULL) == QD_STORE_OK;
}

static void book_notes(struct qd_tenant_store *tenants, struct qd_ledger *ledger,
                       struct qd_tenant_note *const *notes, uint32_t count)
{
    struct qd_book_job *jobs[NOTES_AT_ONCE];
    struct qd_store_error error = {0};
    enum qd_store_err err = tenants->stale ? recover(tenants, &error) : QD_STORE_OK;
    uint64_t sequence = tenants->audit_sequence;
    for (uint32_t i = 0; i < count; i++) {
        struct qd_tenant_note *note = notes[i];
        note->job = (struct qd_book_job){.booking = &note->booking, .receipt = note->receipt};
        jobs[i] = &note->job;
        if (err != QD_STORE_OK) {
            note->job.result = QD_BOOK_STORE_ERROR;
            (void)snprintf(note->receipt->text, sizeof note->receipt->text, "%s", error.text);
        } else if (!is_booked(ledger, note->booking.entry)) {
            add_note(tenants, note, ++sequence);
        }
    }
    if (err == QD_STORE_OK) {
        qd_ledger_book_all(ledger, jobs, count);
        tenants->stale = true; /* which of them are there, the store knows */
    }
    for (uint32_t i = 0; i < count; i++) {
        qd_batch_release(&notes[i]->extra);
    }
}

void qd_tenant_store_note_all(struct qd_tenant_store *tenants, struct qd_ledger *ledger,
                              struct qd_tenant_note *const *notes, uint32_t count)
{
    pthread_mutex_lock(&tenants->mutex);
    for (uint32_t done = 0; done < count; done += NOTES_AT_ONCE) {
        uint32_t now = count - done < NOTES_AT_ONCE ? count - done : NOTES_AT_ONCE;
        book_notes(tenants, ledger, notes + done, now);
    }
    pthread_mutex_unlock(&tenants->mutex);
}

enum qd_book_result qd_tenant_store_book(struct qd_tenant_store *tenants,
                                         struct qd_tenant_record *record,
                                         const struct qd_tenant_change *change,
                                         struct qd_ledger *ledger, const struct qd_booking *booking,
                                         struct qd_receipt *ret_receipt)
{
    struct qd_store_error error = {0};
    bool created;
    pthread_mutex_lock(&tenants->mutex);
    enum qd_store_err err = prepare(tenants, record, change, &created, &error);
    enum qd_book_result result = err == QD_STORE_INVALID ? QD_BOOK_INVALID : QD_BOOK_STORE_ERROR;
    if (err == QD_STORE_OK) {
        result = book_batch(tenants, ledger, booking, ret_receipt);
    } else {
        (void)snprintf(ret_receipt->text, sizeof ret_receipt->text, "%s", error.text);
    }
    pthread_mutex_unlock(&tenants->mutex);
    return result;
}

/* Add the deletion of everything in the subtree but the tenant itself: their number. */
static enum qd_store_err delete_below(struct qd_tenant_store *tenants, struct qd_str path,
                                      uint32_t *ret_count, struct qd_store_error *error)
{
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    struct qd_store_iter *iter = NULL;
    qd_buf_append_u8(&upper, KEY_TENANT);
    qd_put_key_subtree_upper(&upper, path);
    tenant_key(path, &lower);
    qd_buf_append_u8(&lower, 0);
    if (!lower.failed && !upper.failed) {
        iter = qd_store_iter_open(tenants->store,
                                  &(struct qd_store_range){.space = QD_STORE_TENANT,
                                                           .lower = qd_buf_str(&lower),
                                                           .upper = qd_buf_str(&upper)});
    }
    enum qd_store_err err =
        iter != NULL ? QD_STORE_OK
                     : qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to list tenants");
    while (err == QD_STORE_OK) {
        struct qd_str key;
        struct qd_str value;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            qd_batch_delete(&tenants->batch, QD_STORE_TENANT, key);
            ++*ret_count;
        }
    }
    qd_store_iter_close(iter);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

static enum qd_store_err delete_locked(struct qd_tenant_store *tenants, struct qd_str path,
                                       bool subtree, const struct qd_tenant_change *change,
                                       uint32_t *ret_deleted, struct qd_store_error *error)
{
    struct qd_tenant_record existing;
    uint32_t deleted = 0;
    enum qd_store_err err = tenants->stale ? recover(tenants, error) : QD_STORE_OK;
    if (err == QD_STORE_OK) {
        err = read_before(tenants, path, &existing, error);
    }
    qd_batch_clear(&tenants->batch);
    if (err == QD_STORE_OK) {
        qd_batch_delete(&tenants->batch, QD_STORE_TENANT, qd_buf_str(&tenants->key));
        deleted++;
    } else if (err != QD_STORE_NOT_FOUND) {
        return err;
    }
    err = subtree ? delete_below(tenants, path, &deleted, error) : QD_STORE_OK;
    if (err == QD_STORE_OK && deleted > 0) {
        qd_buf_clear(&tenants->after);
        add_audit(tenants, change, path);
        err = write_batch(tenants, error);
    }
    if (err == QD_STORE_OK) {
        *ret_deleted = deleted;
    }
    return err;
}

enum qd_store_err qd_tenant_store_delete(struct qd_tenant_store *tenants, struct qd_str path,
                                         bool subtree, const struct qd_tenant_change *change,
                                         uint32_t *ret_deleted, struct qd_store_error *error)
{
    if (!qd_tenant_text_valid(path)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "tenant: a path of 1 to %d bytes of [a-zA-Z0-9._/-] is expected",
                                  QD_TENANT_PATH_MAX);
    }
    pthread_mutex_lock(&tenants->mutex);
    enum qd_store_err err = delete_locked(tenants, path, subtree, change, ret_deleted, error);
    pthread_mutex_unlock(&tenants->mutex);
    return err;
}
