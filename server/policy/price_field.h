/* Names of fields in the public price table: which meter and variant they price.
 *
 * Layer:    policy. Threads, memory: values only.
 */
#ifndef QD_POLICY_PRICE_FIELD_H
#define QD_POLICY_PRICE_FIELD_H

#include "server/core/price.h"

enum qd_field_kind {
    QD_FIELD_OTHER,   /* says nothing about money */
    QD_FIELD_PRICE,   /* a price of a meter */
    QD_FIELD_UNKNOWN, /* money that no meter counts: see `reason` */
};

struct qd_price_field {
    enum qd_field_kind kind;
    uint8_t meter;
    uint8_t tier;
    uint8_t cache_write_ttl;
    bool is_alias;       /* a second name: the main one wins unless it is 0 */
    bool is_input_image; /* counts only for models that make images */
    int64_t above_input;
    int64_t per; /* the price is for so many units */
    const char *reason;
};

struct qd_price_field qd_price_field_parse(const char *name);

#endif /* QD_POLICY_PRICE_FIELD_H */
