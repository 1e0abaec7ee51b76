/* Reservation tokens: opaque, self-describing, authenticated; any node that has the key settles
 * them (S1).
 *
 * Layer:    shard
 * Units:    times in wall ns.
 * Threads:  the key is immutable; encode and decode from any thread.
 * Memory:   decoded strings point into the decoded struct's own buffer.
 *
 * "qr1." + base64url (no padding) of: version byte, fields as variable-length numbers and strings,
 * and a SipHash-2-4-128 of all before, keyed by the cluster's secret. Not secret, but not
 * forgeable. The encoding is canonical: what decodes encodes to the same text.
 */
#ifndef QD_SHARD_TOKEN_H
#define QD_SHARD_TOKEN_H

#include "server/core/core.h"
#include "server/core/types.h"

#define QD_TOKEN_PREFIX     "qr1."
#define QD_TOKEN_PREFIX_LEN 4U
#define QD_TOKEN_TEXT_MAX   1024U /* S1 */
#define QD_TOKEN_BINARY_MAX 765U  /* (1024 - 4) * 3 / 4 */
#define QD_TOKEN_KEY_SIZE   16U
#define QD_TOKEN_LABELS_MAX (QD_LABELS_MAX + 1) /* a request's, and `provider` */

struct qd_token_key {
    uint8_t bytes[QD_TOKEN_KEY_SIZE];
};

/* What a token says. Everything that a report needs when the reservation itself is gone. */
struct qd_token {
    uint64_t node;        /* hash of the maker's name */
    uint64_t incarnation; /* the maker's boot */
    uint64_t
        reservation; /* number on the maker: the slice's number and its own, see qd_token_number */
    uint64_t policy_revision;
    struct qd_wall_ns made_at; /* the slot that was charged */
    struct qd_wall_ns expires;
    struct qd_wall_ns event_time;
    int64_t ttl_ns;
    uint32_t attempt;
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
    struct qd_usage estimate; /* as completed by the core */
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_str request_id;
    struct qd_label labels[QD_TOKEN_LABELS_MAX];
    size_t label_count;
};

/* Room that a token's strings live in. */
struct qd_token_buffer {
    uint8_t bytes[QD_TOKEN_BINARY_MAX];
};

/* Write the text (not NUL-terminated) to `ret_text`; returns its length, or 0 if the names and
 * labels are too long for QD_TOKEN_TEXT_MAX. */
size_t qd_token_encode(const struct qd_token_key *key, const struct qd_token *token,
                       char ret_text[QD_TOKEN_TEXT_MAX]);

/* False if it isn't a token that this key made. Strings of *ret_token point into *buffer. */
bool qd_token_decode(const struct qd_token_key *key, struct qd_str text,
                     struct qd_token_buffer *buffer, struct qd_token *ret_token);

/* Short ids for people: "r_" and Crockford base32 of a number, e.g. "r_7Q". */
#define QD_SHORT_ID_MAX 16U
size_t qd_short_id_encode(uint64_t number, char ret_text[QD_SHORT_ID_MAX]);
bool qd_short_id_decode(struct qd_str text, uint64_t *ret_number);

/* Read the key from `path`, or make a new one (mode 0600, synced) if there is no such file. False:
 * *ret_why says what is wrong (at most 200 bytes). A file that others can read is refused (X7). */
bool qd_token_key_load(const char *path, struct qd_token_key *ret_key, char ret_why[200]);

#endif /* QD_SHARD_TOKEN_H */
