#include "server/shard/token.h"

#include "server/core/mutant.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define VERSION  1U
#define MAC_SIZE 16U

_Static_assert(crypto_shorthash_siphashx24_BYTES == MAC_SIZE, "128-bit MAC");
_Static_assert(crypto_shorthash_siphashx24_KEYBYTES == QD_TOKEN_KEY_SIZE, "128-bit key");

/* --- writing --- */

/* All numbers of a token take at most this much: 14 fields and 32 amounts of 10 bytes, 2 bytes of
 * length for each string, and the MAC. A token that has room for it besides its strings is written
 * without looking at the end. */
#define NUMBERS_MAX \
    (14U * 10U + QD_METERS_MAX * 10U + (5U + 2U * QD_TOKEN_LABELS_MAX) * 2U + MAC_SIZE)

static inline uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value > 0x7f) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *put_fixed(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value)); /* little-endian, as all that Debian runs on */
    return at + sizeof(value);
}

static inline uint8_t *put_str(uint8_t *at, struct qd_str text)
{
    at = put_varint(at, text.len);
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at + text.len;
}

static const char digits64[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Two digits at a time. Made at first use; pthread_once orders its writes before every reader's. */
static uint16_t pairs[4096];
static pthread_once_t pairs_once = PTHREAD_ONCE_INIT;

static void make_pairs(void)
{
    for (unsigned i = 0; i < 4096; i++) {
        char two[2] = {digits64[i >> 6], digits64[i & 63]};
        memcpy(&pairs[i], two, sizeof(two));
    }
}

static size_t encode64(const uint8_t *in, size_t len, char *out)
{
    char *at = out;

    for (; len >= sizeof(uint64_t); len -= 6, in += 6, at += 8) { /* 6 of 8 bytes at a time */
        uint64_t v;
        memcpy(&v, in, sizeof(v));
        v = be64toh(v);
        memcpy(at, &pairs[v >> 52], 2);
        memcpy(at + 2, &pairs[v >> 40 & 4095], 2);
        memcpy(at + 4, &pairs[v >> 28 & 4095], 2);
        memcpy(at + 6, &pairs[v >> 16 & 4095], 2);
    }
    for (; len >= 3; len -= 3, in += 3, at += 4) {
        uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        memcpy(at, &pairs[v >> 12], 2);
        memcpy(at + 2, &pairs[v & 4095], 2);
    }
    if (len > 0) {
        uint32_t v = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);
        *at++ = digits64[v >> 18];
        *at++ = digits64[v >> 12 & 63];
        if (len == 2) {
            *at++ = digits64[v >> 6 & 63];
        }
    }
    return (size_t)(at - out);
}

static size_t string_bytes(const struct qd_token *t)
{
    size_t sum = t->tenant.len + t->model.len + t->pool.len + t->user.len + t->request_id.len;

    for (size_t i = 0; i < t->label_count; i++) {
        sum += t->labels[i].name.len + t->labels[i].value.len;
    }
    return sum;
}

/* Fields up to the MAC; returns where they end. */
static uint8_t *put_fields(uint8_t *at, const struct qd_token *token)
{
    at = put_varint(at, VERSION);
    at = put_fixed(at, token->node);
    at = put_varint(at, token->incarnation);
    at = put_varint(at, token->reservation);
    at = put_varint(at, token->policy_revision);
    at = put_fixed(at, (uint64_t)token->made_at.ns);
    /* The two other times lie near the first one; zigzag of the difference is short. */
    at = put_varint(at, (uint64_t)(token->expires.ns - token->made_at.ns));
    int64_t ago = token->made_at.ns - token->event_time.ns;
    at = put_varint(at, ((uint64_t)ago << 1) ^ (uint64_t)(ago >> 63));
    at = put_varint(at, (uint64_t)token->ttl_ns / (uint64_t)QD_NS_PER_MS);
    at = put_varint(at, token->attempt);
    at = put_varint(at, (uint64_t)token->tier);
    at = put_varint(at, (uint64_t)token->cache_write_ttl);
    at = put_varint(at, token->estimate.present);
    for (uint32_t left = token->estimate.present; left != 0; left &= left - 1) {
        at = put_varint(at, (uint64_t)token->estimate.amount[__builtin_ctz(left)]);
    }
    at = put_str(at, token->tenant);
    at = put_str(at, token->model);
    at = put_str(at, token->pool);
    at = put_str(at, token->user);
    at = put_str(at, token->request_id);
    at = put_varint(at, token->label_count);
    for (size_t i = 0; i < token->label_count; i++) {
        at = put_str(at, token->labels[i].name);
        at = put_str(at, token->labels[i].value);
    }
    return at;
}

size_t qd_token_encode(const struct qd_token_key *key, const struct qd_token *token,
                       char ret_text[QD_TOKEN_TEXT_MAX])
{
    uint8_t bytes[QD_TOKEN_BINARY_MAX + NUMBERS_MAX];

    if (string_bytes(token) + NUMBERS_MAX > sizeof(bytes)) {
        return 0;
    }
    uint8_t *end = put_fields(bytes, token);
    size_t used = (size_t)(end - bytes);
    if (used + MAC_SIZE > QD_TOKEN_BINARY_MAX) {
        return 0;
    }
    crypto_shorthash_siphashx24(end, bytes, used, key->bytes);
    (void)pthread_once(&pairs_once, make_pairs);
    memcpy(ret_text, QD_TOKEN_PREFIX, QD_TOKEN_PREFIX_LEN);
    return QD_TOKEN_PREFIX_LEN + encode64(bytes, used + MAC_SIZE, ret_text + QD_TOKEN_PREFIX_LEN);
}

/* --- reading --- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static uint64_t get_varint(struct reader *r, uint64_t max)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            bool canonical = (byte != 0 || shift == 0) && (shift < 63 || byte == 1);
            if (canonical && value <= max) {
                return value;
            }
            break;
        }
    }
    r->failed = true;
    return 0;
}

static uint64_t get_fixed(struct reader *r)
{
    uint64_t value = 0;

    if (r->end - r->at < (ptrdiff_t)sizeof(value)) {
        r->failed = true;
        return 0;
    }
    memcpy(&value, r->at, sizeof(value));
    r->at += sizeof(value);
    return value;
}

static struct qd_str get_str(struct reader *r, size_t max)
{
    size_t len = (size_t)get_varint(r, max);

    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        return (struct qd_str){NULL, 0};
    }
    struct qd_str text = {len > 0 ? (const char *)r->at : NULL, len};
    r->at += len;
    return text;
}

/* Value of a base64url digit, or 64. Compares, so that no table is needed. */
static uint32_t digit64(char c)
{
    return c >= 'A' && c <= 'Z'   ? (uint32_t)(c - 'A')
           : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a') + 26
           : c >= '0' && c <= '9' ? (uint32_t)(c - '0') + 52
           : c == '-'             ? 62
           : c == '_'             ? 63
                                  : 64;
}

/* Bytes written, or 0 if the text isn't canonical base64url. */
static size_t decode64(struct qd_str text, uint8_t *out, size_t size)
{
    size_t used = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    if (text.len % 4 == 1) {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint32_t digit = digit64(text.ptr[i]);
        if (digit == 64) {
            return 0;
        }
        bits = bits << 6 | digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (used == size) {
                return 0;
            }
            out[used++] = (uint8_t)(bits >> have);
            bits &= (1U << have) - 1;
        }
    }
    return bits == 0 ? used : 0; /* left-over bits must be zero: one text for one token */
}

static void get_fields(struct reader *r, struct qd_token *t)
{
    t->node = get_fixed(r);
    t->incarnation = get_varint(r, UINT64_MAX);
    t->reservation = get_varint(r, UINT64_MAX);
    t->policy_revision = get_varint(r, UINT64_MAX);
    t->made_at.ns = (int64_t)get_fixed(r);
    if (t->made_at.ns < 0 || t->made_at.ns > INT64_MAX / 2) {
        r->failed = true;
        return;
    }
    t->expires.ns = t->made_at.ns + (int64_t)get_varint(r, INT64_MAX / 4);
    uint64_t ago = get_varint(r, INT64_MAX / 4);
    t->event_time.ns = t->made_at.ns - (int64_t)((ago >> 1) ^ (0 - (ago & 1)));
    t->ttl_ns = (int64_t)get_varint(r, QD_TTL_MAX_NS / QD_NS_PER_MS) * QD_NS_PER_MS;
    t->attempt = (uint32_t)get_varint(r, UINT32_MAX);
    t->tier = (enum qd_price_tier)get_varint(r, QD_TIER_COUNT - 1);
    t->cache_write_ttl = (enum qd_cache_write_ttl)get_varint(r, QD_CACHE_WRITE_1H);
    t->estimate.present = (uint32_t)get_varint(r, UINT32_MAX);
    for (uint32_t left = t->estimate.present; left != 0 && !r->failed; left &= left - 1) {
        t->estimate.amount[__builtin_ctz(left)] = (int64_t)get_varint(r, INT64_MAX);
    }
    t->tenant = get_str(r, QD_TENANT_PATH_MAX);
    t->model = get_str(r, QD_NAME_MAX);
    t->pool = get_str(r, QD_NAME_MAX);
    t->user = get_str(r, QD_NAME_MAX);
    t->request_id = get_str(r, QD_NAME_MAX);
    t->label_count = (size_t)get_varint(r, QD_TOKEN_LABELS_MAX);
    for (size_t i = 0; i < t->label_count && !r->failed; i++) {
        t->labels[i].name = get_str(r, QD_NAME_MAX);
        t->labels[i].value = get_str(r, QD_NAME_MAX);
    }
}

bool qd_token_decode(const struct qd_token_key *key, struct qd_str text,
                     struct qd_token_buffer *buffer, struct qd_token *ret_token)
{
    uint8_t mac[MAC_SIZE];

    if (text.len <= QD_TOKEN_PREFIX_LEN || text.len > QD_TOKEN_TEXT_MAX ||
        memcmp(text.ptr, QD_TOKEN_PREFIX, QD_TOKEN_PREFIX_LEN) != 0) {
        return false;
    }
    struct qd_str body = {text.ptr + QD_TOKEN_PREFIX_LEN, text.len - QD_TOKEN_PREFIX_LEN};
    size_t size = decode64(body, buffer->bytes, sizeof(buffer->bytes));
    if (size <= MAC_SIZE) {
        return false;
    }
    size -= MAC_SIZE;
    crypto_shorthash_siphashx24(mac, buffer->bytes, size, key->bytes);
    /* S1: authenticated. Constant time, so that a forger learns nothing from how long it took. */
    if (sodium_memcmp(mac, buffer->bytes + size, MAC_SIZE) != 0 && !QD_MUTANT(S1_token)) {
        return false;
    }
    struct reader r = {buffer->bytes, buffer->bytes + size, false};
    struct qd_token token;
    if (get_varint(&r, UINT64_MAX) != VERSION || r.failed) {
        return false;
    }
    get_fields(&r, &token);
    if (r.failed || r.at != r.end || token.tenant.len == 0) {
        return false;
    }
    *ret_token = token;
    return true;
}

/* --- short ids --- */

static const char digits32[32] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

size_t qd_short_id_encode(uint64_t number, char ret_text[QD_SHORT_ID_MAX])
{
    char reversed[13];
    size_t len = 0;
    size_t at = 0;

    do {
        reversed[len++] = digits32[number & 31];
        number >>= 5;
    } while (number != 0);
    ret_text[at++] = 'r';
    ret_text[at++] = '_';
    while (len > 0) {
        ret_text[at++] = reversed[--len];
    }
    assert(at < QD_SHORT_ID_MAX);
    return at;
}

/* Value of a Crockford digit, or 32. I and L read as 1, O as 0, in either case. */
static uint32_t digit32(char c)
{
    if (c >= 'a' && c <= 'z') {
        c = (char)(c - 'a' + 'A');
    }
    if (c == 'I' || c == 'L') {
        c = '1';
    } else if (c == 'O') {
        c = '0';
    }
    const char *found = memchr(digits32, c, sizeof(digits32));
    return found != NULL ? (uint32_t)(found - digits32) : 32;
}

bool qd_short_id_decode(struct qd_str text, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (text.len < 3 || text.len >= QD_SHORT_ID_MAX || memcmp(text.ptr, "r_", 2) != 0) {
        return false;
    }
    for (size_t i = 2; i < text.len; i++) {
        uint32_t digit = digit32(text.ptr[i]);
        if (digit == 32 || number >> 59 != 0) {
            return false;
        }
        number = number << 5 | digit;
    }
    *ret_number = number;
    return true;
}
