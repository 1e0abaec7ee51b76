/* The durable record of one tenant that was made at run time (P2), and its bytes.
 *
 * Layer:    storage
 * Units:    times are wall ns; amounts are in the limit's unit.
 * Threads:  values only.
 * Memory:   strings point to the caller's memory, or into the bytes that were decoded.
 */
#ifndef QD_STORAGE_TENANT_RECORD_H
#define QD_STORAGE_TENANT_RECORD_H

#include "server/core/policy.h"
#include "storage/store.h"

#define QD_TENANT_LIMITS_MAX 16
#define QD_TENANT_LABELS_MAX QD_LABELS_MAX
#define QD_TENANT_BOOSTS_MAX 16
#define QD_TENANT_GRANTS_MAX 64
#define QD_TENANT_TEXT_MAX   255

struct qd_tenant_block {
    bool blocked;
    struct qd_str reason;
    struct qd_wall_ns since;
    struct qd_wall_ns until; /* 0: until unblocked */
};

/* A limit that is another size for a while (P6). */
struct qd_tenant_boost {
    struct qd_str limit;
    uint32_t percent; /* of the policy's amount; 0: `amount` counts */
    int64_t amount;   /* instead of the policy's */
    struct qd_wall_ns until;
    struct qd_str reason;
};

/* What a prepaid limit was granted so far, all grants together. */
struct qd_tenant_grant {
    struct qd_str limit;
    struct qd_str keys; /* the values of the limit's `per` attributes, in the caller's encoding */
    int64_t amount;
    uint32_t count;
};

struct qd_tenant_record {
    struct qd_str tenant; /* path, required */
    struct qd_str plan;   /* empty: none of its own */
    bool listed; /* PutTenant or SetPlan made it; else it only carries a block, boosts or grants,
                    and the policy's patterns go on applying */
    struct qd_tenant_block block;
    struct qd_wall_ns created;
    struct qd_wall_ns updated;
    uint64_t audit_sequence;                      /* of the audit record of its last change */
    struct qd_label limits[QD_TENANT_LIMITS_MAX]; /* its own, in the policy's short form */
    size_t limit_count;
    struct qd_label labels[QD_TENANT_LABELS_MAX];
    size_t label_count;
    struct qd_tenant_boost boosts[QD_TENANT_BOOSTS_MAX];
    size_t boost_count;
    struct qd_tenant_grant grants[QD_TENANT_GRANTS_MAX];
    size_t grant_count;
};

/* OK, or INVALID with a sentence. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_record_validate(
    const struct qd_tenant_record *record, struct qd_store_error *error);

/* Append the record, which must be valid. */
void qd_tenant_record_encode(const struct qd_tenant_record *record, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. What decodes is valid, and encodes to the same bytes. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tenant_record_decode(
    struct qd_str bytes, struct qd_tenant_record *ret_record);

#endif /* QD_STORAGE_TENANT_RECORD_H */
