/* For the fuzzers of records: the input as it is, and as the body of a record with a right
 * checksum, so that what lies behind the checksum is reached.
 *
 * Layer:    tests/fuzz. Threads: none.
 */
#ifndef QD_TESTS_RECORD_FUZZ_H
#define QD_TESTS_RECORD_FUZZ_H

#include "storage/codec.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

/* Decodes `record`; if it decodes, encodes again into `ret_again`. */
typedef bool (*record_round_trip)(struct qd_str record, struct qd_buf *ret_again);

static inline void check_record(struct qd_str record, record_round_trip round_trip)
{
    struct qd_buf again = {0};
    if (round_trip(record, &again)) {
        assert(!again.failed && qd_slice_equal(record, qd_buf_str(&again)));
    }
    qd_buf_release(&again);
}

static inline void check_body(const uint8_t *data, size_t size, enum qd_record_type type,
                              uint8_t version, record_round_trip round_trip)
{
    struct qd_buf framed = {0};
    size_t begin = qd_record_begin(&framed, type, version);
    qd_buf_append(&framed, data, size);
    qd_record_end(&framed, begin);
    check_record(qd_buf_str(&framed), round_trip);
    qd_buf_release(&framed);
}

static inline int fuzz_record(const uint8_t *data, size_t size, enum qd_record_type type,
                              record_round_trip round_trip)
{
    check_record((struct qd_str){(const char *)data, size}, round_trip);
    check_body(data, size, type, 1, round_trip);
    return 0;
}

#endif /* QD_TESTS_RECORD_FUZZ_H */
