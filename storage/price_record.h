/* A price version as it was used: immutable, so that what an entry cost can be computed again (P7).
 *
 * Layer:    storage
 * Threads:  values only.
 * Memory:   strings point to the caller's memory, or into the bytes that were decoded.
 */
#ifndef QD_STORAGE_PRICE_RECORD_H
#define QD_STORAGE_PRICE_RECORD_H

#include "storage/store.h"

#define QD_PRICE_VERSION_MAX 255
#define QD_PRICE_CONTENT_MAX ((size_t)1 << 16)

enum qd_price_book {
    QD_PRICE_BOOK_COST = 1,
    QD_PRICE_BOOK_CHARGE = 2,
};

struct qd_price_record {
    enum qd_price_book book;
    struct qd_str version; /* "gpt-4o@2026-01-01", as entries name it */
    struct qd_wall_ns effective;
    struct qd_wall_ns recorded; /* when it was first used */
    struct qd_str content;      /* its lines, in the policy's own canonical text */
};

/* Append the record. Version and content must be within their bounds. */
void qd_price_record_encode(const struct qd_price_record *record, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_price_record_decode(
    struct qd_str bytes, struct qd_price_record *ret_record);

#endif /* QD_STORAGE_PRICE_RECORD_H */
