/* The audit record of one admin action: who did what to which tenant, and the state before and
 * after (X6).
 *
 * Layer:    storage
 * Threads:  values only.
 * Memory:   strings point to the caller's memory, or into the bytes that were decoded.
 */
#ifndef QD_STORAGE_AUDIT_RECORD_H
#define QD_STORAGE_AUDIT_RECORD_H

#include "storage/store.h"

#define QD_AUDIT_TEXT_MAX   255
#define QD_AUDIT_DETAIL_MAX 1024

struct qd_audit_record {
    uint64_t sequence; /* gap-free from 1 */
    struct qd_wall_ns time;
    struct qd_str actor;      /* the credential's name and role, "ops/admin"; "local" */
    struct qd_str action;     /* "PutTenant", "Block", ... */
    struct qd_str subject;    /* what it was done to: a tenant's path, mostly */
    struct qd_str detail;     /* for people */
    struct qd_hash128 before; /* of the record's bytes; zero: there was none */
    struct qd_hash128 after;  /* zero: there is none any more */
};

/* Append the record. Texts over their bound are cut. */
void qd_audit_record_encode(const struct qd_audit_record *record, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_audit_record_decode(
    struct qd_str bytes, struct qd_audit_record *ret_record);

#endif /* QD_STORAGE_AUDIT_RECORD_H */
