/* Tenants made at run time, durable, with an audit record for each change (P2, X6).
 *
 * Layer:    server/ledger, above storage/. Knows records, not plans or limits.
 * Threads:  every function may be called from any thread; changes are made one at a time and block
 * until they are on disk. Memory:   the store is the caller's and must outlive this. A record that
 * is read points into the caller's buffer.
 *
 * A change is one atomic synced batch: the tenant's record (or its deletion) and the audit record.
 * A grant goes with its ledger entry in the ledger's own batch.
 */
#ifndef QD_LEDGER_TENANT_STORE_H
#define QD_LEDGER_TENANT_STORE_H

#include "server/ledger/ledger.h"
#include "storage/audit_record.h"
#include "storage/tenant_record.h"

struct qd_tenant_store; /* opaque */

/* Who changes what, for the audit. */
struct qd_tenant_change {
    struct qd_str actor;  /* "edge/gateway", "local" */
    struct qd_str action; /* "PutTenant" */
    struct qd_str detail; /* for people */
    struct qd_wall_ns now;
};

/* OK, or CORRUPT, NEWER_FORMAT, IO, NO_MEMORY. Writes nothing. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_open(
    struct qd_store *store, struct qd_tenant_store **ret_tenants, struct qd_store_error *error);
void qd_tenant_store_close(struct qd_tenant_store *tenants); /* NULL is fine */

/* Store the record as a whole. `updated`, `audit_sequence` and, for a known tenant, `created` are
 * filled in here, in *record too. OK; INVALID: the record isn't valid; else it is not known to be
 * stored: put again. *ret_created: there was none. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_put(
    struct qd_tenant_store *tenants, struct qd_tenant_record *record,
    const struct qd_tenant_change *change, bool *ret_created, struct qd_store_error *error);

/* Book a ledger entry (a grant) and store the record in one batch. The record is stored only if the
 * result is BOOKED: a repeated grant changes nothing. `booking->extra` must be NULL. An invalid
 * record is INVALID. */
__attribute__((warn_unused_result)) enum qd_book_result qd_tenant_store_book(
    struct qd_tenant_store *tenants, struct qd_tenant_record *record,
    const struct qd_tenant_change *change, struct qd_ledger *ledger,
    const struct qd_booking *booking, struct qd_receipt *ret_receipt);

/* Book a ledger entry that changes no record (a reset), with an audit record about its tenant.
 * `booking->extra` must be NULL. */
__attribute__((warn_unused_result)) enum qd_book_result qd_tenant_store_note(
    struct qd_tenant_store *tenants, const struct qd_tenant_change *change,
    struct qd_ledger *ledger, const struct qd_booking *booking, struct qd_receipt *ret_receipt);

/* One of several bookings that each leave an audit record about their entry's tenant. */
struct qd_tenant_note {
    struct qd_tenant_change change;
    struct qd_str before; /* bytes whose hashes the audit has; empty: there was, or is, nothing */
    struct qd_str after;
    struct qd_booking booking; /* `extra` is the store's own */
    struct qd_receipt *receipt;
    struct qd_book_job job; /* `result`, afterwards */
    struct qd_batch extra;  /* zero; released before it is done */
};

/* Book several entries (corrections), each with its audit record in the same write, and wait for
 * all. One whose key was booked before is no action, and leaves no record: keys of entries booked
 * here are booked nowhere else. */
void qd_tenant_store_note_all(struct qd_tenant_store *tenants, struct qd_ledger *ledger,
                              struct qd_tenant_note *const *notes, uint32_t count);

/* An audit record in somebody else's batch, for what changes no tenant (a rebuild of rollups):
 * begin, which keeps other changes waiting until _end; put it into the batch; write the batch; end,
 * and say whether it was written. Not while leading the ledger. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_audit_begin(
    struct qd_tenant_store *tenants, struct qd_store_error *error); /* an error: it has ended */
void qd_tenant_store_audit_put(struct qd_tenant_store *tenants,
                               const struct qd_tenant_change *change, struct qd_str subject,
                               struct qd_batch *batch);
enum qd_audit_end {
    QD_AUDIT_UNUSED,
    QD_AUDIT_WRITTEN,
    QD_AUDIT_FAILED
};
void qd_tenant_store_audit_end(struct qd_tenant_store *tenants, enum qd_audit_end end);

/* An audit record of what changed nothing here, synced. `before`, `after`: whose hashes it has;
 * empty: there was, or is, nothing. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_audit_alone(
    struct qd_tenant_store *tenants, const struct qd_tenant_change *change, struct qd_str subject,
    struct qd_str before, struct qd_str after, struct qd_store_error *error);

/* Delete a tenant's record, and with `subtree` all below it. OK and how many (0: there were none).
 */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_delete(
    struct qd_tenant_store *tenants, struct qd_str path, bool subtree,
    const struct qd_tenant_change *change, uint32_t *ret_deleted, struct qd_store_error *error);

/* Called for each record in order; false stops after it. The record is valid for the call. */
typedef bool (*qd_tenant_visitor)(void *context, const struct qd_tenant_record *record);

/* Visit the records of `subtree` (empty: all) that come after the path `after` (empty: all), in the
 * order of their keys: a tenant, then what is below it. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_list(
    struct qd_tenant_store *tenants, struct qd_str subtree, struct qd_str after,
    qd_tenant_visitor visit, void *context, struct qd_store_error *error);

typedef bool (*qd_audit_visitor)(void *context, const struct qd_audit_record *record);

/* Visit the audit records after a sequence, oldest first. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_store_audit(
    struct qd_tenant_store *tenants, uint64_t after, qd_audit_visitor visit, void *context,
    struct qd_store_error *error);

#endif /* QD_LEDGER_TENANT_STORE_H */
