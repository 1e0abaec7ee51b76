/* How Envoy's rate limits are answered, beyond what their files say: the reference server's own
 * switches, and a few beyond it, all of them off by default (I3).
 *
 * Layer:    rpc
 * Threads:  set once, before the server starts.
 * Memory:   the texts are the caller's, and live as long as the server.
 */
#ifndef QD_RPC_RLS_OPTIONS_H
#define QD_RPC_RLS_OPTIONS_H

#include "server/core/types.h"

#define QD_RLS_HEADER_NAME_MAX 64U /* bytes */
#define QD_RLS_SLIDING_MAX     64U /* domains that are named */

/* The headers' names, in the order in which they are sent. */
enum qd_rls_header_kind {
    QD_RLS_HEADER_LIMIT,
    QD_RLS_HEADER_REMAINING,
    QD_RLS_HEADER_RESET,
    QD_RLS_HEADER_KINDS
};

struct qd_rls_options {
    bool headers;                                    /* point 12 */
    struct qd_str header_names[QD_RLS_HEADER_KINDS]; /* set if `headers` */
    bool denial_headers;                             /* I5: beyond the reference server's */
    bool metadata;                                   /* point 13 */
    bool shadow;         /* point 6: the whole answer is never OVER_LIMIT */
    bool stop_when_over; /* where one descriptor is over, the others count nothing */
    bool deny_when_full; /* what finds no room for its counter is over, instead of an error */
    bool all_sliding;    /* every domain's windows slide */
    size_t sliding_count;
    struct qd_str sliding[QD_RLS_SLIDING_MAX]; /* these domains' do */
};

/* "LIMIT,REMAINING,RESET": three header names. False: it is not, and nothing has changed. */
bool qd_rls_options_header_names(struct qd_rls_options *options, const char *text);

/* "DOMAIN,DOMAIN", or "*" for all of them; "" for none. False: too many, or an empty name. */
bool qd_rls_options_sliding(struct qd_rls_options *options, const char *text);

/* Whether this domain's windows slide. */
bool qd_rls_options_slides(const struct qd_rls_options *options, struct qd_str domain);

#endif /* QD_RPC_RLS_OPTIONS_H */
