/* quota.v1.UsageService: what its files share. Internal to rpc. */
#ifndef QD_RPC_USAGE_H
#define QD_RPC_USAGE_H

#include "server/rpc/call.h"

/* quota.v1.LedgerEntry as field `field`. */
void qd_usage_put_entry(struct qd_place *place, uint32_t field, const struct qd_entry *entry);

/* A cursor of ListLedgerEntries or PriceUnpriced, both a sequence; "" is 0. */
enum qd_error_code qd_usage_read_cursor(const struct qd_place *place, const char *text,
                                        uint64_t *ret_cursor, struct qd_error *ret_error);

/* usage_correct.c */
enum qd_error_code qd_usage_correct(struct qd_place *place, struct qd_call *call,
                                    struct qd_str bytes, struct qd_error *ret_error);
enum qd_error_code qd_usage_price_unpriced(struct qd_place *place, struct qd_call *call,
                                           struct qd_str bytes, struct qd_error *ret_error);

#endif /* QD_RPC_USAGE_H */
