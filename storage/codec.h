/* Building blocks of every record on disk: little-endian integers, variable-length numbers,
 * strings, and the frame of a record: type, version, checksum.
 *
 * Layer:    storage
 * Threads:  none; the owner's.
 * Memory:   decoded strings point into the bytes that were decoded.
 *
 * A record is: type (1 byte), version (1 byte), checksum (4 bytes: XXH3-64 of the body, seeded with
 * type and version, low half), body. Encodings are canonical: a value has one encoding, and a
 * decoder refuses others, so that what decodes encodes to the same bytes again.
 *
 * A reader that fails stays failed and yields zeros; a decoder checks once at its end.
 */
#ifndef QD_STORAGE_CODEC_H
#define QD_STORAGE_CODEC_H

#include "storage/buf.h"
#include "storage/store.h"

/* Types of records: never renumbered. */
enum qd_record_type {
    QD_RECORD_ENTRY = 0x45,       /* 'E' storage/entry.h */
    QD_RECORD_IDEMPOTENCY = 0x49, /* 'I' storage/idempotency.h */
    QD_RECORD_SUMS = 0x53,        /* 'S' storage/sums.h */
    QD_RECORD_TENANT = 0x54,      /* 'T' storage/tenant_record.h */
    QD_RECORD_AUDIT = 0x41,       /* 'A' storage/audit_record.h */
    QD_RECORD_PRICE = 0x50,       /* 'P' storage/price_record.h */
    QD_RECORD_MARK = 0x4d,        /* 'M' server/ledger: marks in META */
    QD_RECORD_COUNTER = 0x43,     /* 'C' server/shard/stored.h, as the next two */
    QD_RECORD_ESTIMATOR = 0x51,   /* 'Q' */
    QD_RECORD_CUT = 0x4b,         /* 'K' */
    QD_RECORD_JOURNAL = 0x4a,     /* 'J' server/shard/journal.h */
    QD_RECORD_EXPIRED = 0x58,     /* 'X' storage/expired_record.h */
    QD_RECORD_IDENTITY = 0x4e,    /* 'N' storage/identity_record.h */
};

#define QD_RECORD_HEADER_SIZE 6

/* --- writing: append to a buffer --- */

void qd_put_u32(struct qd_buf *buf, uint32_t value);
void qd_put_u64(struct qd_buf *buf, uint64_t value);
void qd_put_i64(struct qd_buf *buf, int64_t value);
void qd_put_i128(struct qd_buf *buf, qd_int128 value);
void qd_put_varint(struct qd_buf *buf, uint64_t value);
/* Signed, small magnitudes are short (zigzag). */
void qd_put_signed(struct qd_buf *buf, int64_t value);
void qd_put_signed128(struct qd_buf *buf, qd_int128 value);
/* Length and bytes. */
void qd_put_str(struct qd_buf *buf, struct qd_str text);
/* Big-endian, for keys: bytes sort as numbers. */
void qd_put_key_u32(struct qd_buf *buf, uint32_t value);
void qd_put_key_u64(struct qd_buf *buf, uint64_t value);

/* Begin a record: returns where it begins, for qd_record_end. */
size_t qd_record_begin(struct qd_buf *buf, enum qd_record_type type, uint8_t version);
/* Fill in the checksum over what was appended since. */
void qd_record_end(struct qd_buf *buf, size_t begin);

/* --- reading --- */

struct qd_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

struct qd_reader qd_reader_of(struct qd_str bytes);
uint8_t qd_get_u8(struct qd_reader *reader);
uint32_t qd_get_u32(struct qd_reader *reader);
uint64_t qd_get_u64(struct qd_reader *reader);
int64_t qd_get_i64(struct qd_reader *reader);
qd_int128 qd_get_i128(struct qd_reader *reader);
uint64_t qd_get_varint(struct qd_reader *reader);
/* As qd_get_varint; fails above `max`. */
uint64_t qd_get_varint_max(struct qd_reader *reader, uint64_t max);
int64_t qd_get_signed(struct qd_reader *reader);
qd_int128 qd_get_signed128(struct qd_reader *reader);
/* Fails if longer than `max`. Empty strings are {NULL, 0}. */
struct qd_str qd_get_str(struct qd_reader *reader, size_t max);
uint32_t qd_get_key_u32(struct qd_reader *reader);
uint64_t qd_get_key_u64(struct qd_reader *reader);

/* Open a record: checks type, version and checksum. OK and a reader of its body, CORRUPT, or
 * NEWER_FORMAT for a version above `max_version` (its checksum isn't looked at: it may be another
 * one). */
__attribute__((warn_unused_result)) enum qd_store_err qd_record_open(struct qd_str bytes,
                                                                     enum qd_record_type type,
                                                                     uint8_t max_version,
                                                                     uint8_t *ret_version,
                                                                     struct qd_reader *ret_body);

/* OK if all of the body was read and nothing failed, else CORRUPT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_reader_finish(
    const struct qd_reader *reader);

/* --- names --- */

/* A name that is likely to be a well-known one (a built-in meter, a sum's name): one byte for
 * those, 0 and the string for others. The numbers are on disk: they never change. */
#define QD_KNOWN_NAMES(X)       \
    X(1, "requests")            \
    X(2, "input_tokens")        \
    X(3, "cached_input_tokens") \
    X(4, "cache_write_tokens")  \
    X(5, "output_tokens")       \
    X(6, "reasoning_tokens")    \
    X(7, "gpu_ms")              \
    X(8, "processing_ms")       \
    X(9, "memory_gb_ms")        \
    X(10, "images")             \
    X(11, "cost")               \
    X(12, "charge")             \
    X(13, "#cost_pico")         \
    X(14, "#charge_pico")       \
    X(15, "#entries")           \
    X(16, "#unpriced")

void qd_put_name(struct qd_buf *buf, struct qd_str name);
/* A known name points to a literal; others fail if empty, longer than `max`, or known. */
struct qd_str qd_get_name(struct qd_reader *reader, size_t max);

/* --- tenant paths in keys --- */

/* A path so that a tenant and all below it lie together: `/` becomes 0x01, and 0x00 ends it. */
void qd_put_key_tenant(struct qd_buf *buf, struct qd_str path);
/* The path, written into `ret_path`; fails if there is no end or it is longer than a path may be.
 */
void qd_get_key_tenant(struct qd_reader *reader, char ret_path[QD_TENANT_PATH_MAX],
                       size_t *ret_len);
/* Appends the bounds of the range of keys of `path` and all below it; an empty path: of all
 * tenants. Upper is exclusive. */
void qd_put_key_subtree_lower(struct qd_buf *buf, struct qd_str path);
void qd_put_key_subtree_upper(struct qd_buf *buf, struct qd_str path);
/* True if `path` is `subtree` or below it; an empty subtree holds everything. */
bool qd_tenant_within(struct qd_str path, struct qd_str subtree);

/* --- what texts may hold --- */

/* At most `max` bytes, no control characters. */
bool qd_text_valid(struct qd_str text, size_t max);
/* 1 to QD_TENANT_PATH_MAX bytes of [a-zA-Z0-9._/-]: what keys rely on. P2's form is the policy's.
 */
bool qd_tenant_text_valid(struct qd_str path);

#endif /* QD_STORAGE_CODEC_H */
