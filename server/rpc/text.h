/* Small things that several services need: hexadecimal page tokens, strings of protobuf-c. Internal
 * to rpc. */
#ifndef QD_RPC_TEXT_H
#define QD_RPC_TEXT_H

#include "server/rpc/call.h"

#define QD_PAGE_DEFAULT 100U
#define QD_PAGE_MAX     1000U

static inline struct qd_str qd_str_of(const char *text)
{
    return (struct qd_str){text, text != NULL ? strlen(text) : 0};
}

/* 0: the default; above the bound: an error. */
enum qd_error_code qd_page_size(uint32_t asked, uint32_t *ret_size, struct qd_error *ret_error);
/* The same with a bound of its own. */
enum qd_error_code qd_page_size_to(uint32_t asked, uint32_t max, uint32_t *ret_size,
                                   struct qd_error *ret_error);

/* Append bytes as a string field of hexadecimal digits: what pages go on with. */
void qd_out_hex(struct qd_out *out, uint32_t id, struct qd_str bytes);
/* Bytes in the place's arena. False: not hexadecimal. */
bool qd_unhex(struct qd_place *place, const char *hex, struct qd_str *ret_bytes);

/* A decimal integer as a string field. */
void qd_out_int128(struct qd_out *out, uint32_t id, qd_int128 value);

/* {1: key, 2: value} as field `id`. */
void qd_out_entry(struct qd_out *out, uint32_t id, struct qd_str key, struct qd_str value);
/* {1: meter, 2: amount} as field `id`. */
void qd_out_amount(struct qd_out *out, uint32_t id, struct qd_str meter, int64_t amount);

/* An optional tenant filter: empty, or a valid path. */
enum qd_error_code qd_optional_tenant(struct qd_str tenant, struct qd_error *ret_error);

#endif /* QD_RPC_TEXT_H */
