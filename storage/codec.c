#include "storage/codec.h"

#include <assert.h>
#include <xxhash.h>

#define VARINT_MORE 0x80U
#define VARINT_BITS 0x7fU

/* --- writing --- */

static void put_little(struct qd_buf *buf, qd_uint128 value, size_t size)
{
    uint8_t bytes[16];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    qd_buf_append(buf, bytes, size);
}

static void put_big(struct qd_buf *buf, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
    qd_buf_append(buf, bytes, size);
}

static void put_varint128(struct qd_buf *buf, qd_uint128 value)
{
    uint8_t bytes[19];
    size_t size = 0;
    while (value > VARINT_BITS) {
        bytes[size++] = (uint8_t)((value & VARINT_BITS) | VARINT_MORE);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    qd_buf_append(buf, bytes, size);
}

void qd_put_u32(struct qd_buf *buf, uint32_t value)
{
    put_little(buf, value, 4);
}

void qd_put_u64(struct qd_buf *buf, uint64_t value)
{
    put_little(buf, value, 8);
}

void qd_put_i64(struct qd_buf *buf, int64_t value)
{
    put_little(buf, (uint64_t)value, 8);
}

void qd_put_i128(struct qd_buf *buf, qd_int128 value)
{
    put_little(buf, (qd_uint128)value, 16);
}

void qd_put_varint(struct qd_buf *buf, uint64_t value)
{
    put_varint128(buf, value);
}

void qd_put_signed128(struct qd_buf *buf, qd_int128 value)
{
    qd_uint128 doubled = (qd_uint128)value << 1;
    put_varint128(buf, value < 0 ? ~doubled : doubled);
}

void qd_put_signed(struct qd_buf *buf, int64_t value)
{
    qd_put_signed128(buf, value);
}

void qd_put_str(struct qd_buf *buf, struct qd_str text)
{
    qd_put_varint(buf, text.len);
    qd_buf_append_str(buf, text);
}

void qd_put_key_u32(struct qd_buf *buf, uint32_t value)
{
    put_big(buf, value, 4);
}

void qd_put_key_u64(struct qd_buf *buf, uint64_t value)
{
    put_big(buf, value, 8);
}

static uint32_t checksum(uint8_t type, uint8_t version, const uint8_t *body, size_t size)
{
    return (uint32_t)XXH3_64bits_withSeed(body, size, (uint64_t)type << 8 | version);
}

size_t qd_record_begin(struct qd_buf *buf, enum qd_record_type type, uint8_t version)
{
    size_t begin = buf->size;
    qd_buf_append_u8(buf, (uint8_t)type);
    qd_buf_append_u8(buf, version);
    qd_put_u32(buf, 0);
    return begin;
}

void qd_record_end(struct qd_buf *buf, size_t begin)
{
    if (buf->failed) {
        return;
    }
    assert(buf->size >= begin + QD_RECORD_HEADER_SIZE);
    uint8_t *record = buf->data + begin;
    size_t size = buf->size - begin - QD_RECORD_HEADER_SIZE;
    uint32_t sum = checksum(record[0], record[1], record + QD_RECORD_HEADER_SIZE, size);
    for (size_t i = 0; i < 4; i++) {
        record[2 + i] = (uint8_t)(sum >> (8 * i));
    }
}

/* --- reading --- */

struct qd_reader qd_reader_of(struct qd_str bytes)
{
    const uint8_t *begin = (const uint8_t *)bytes.ptr;
    return (struct qd_reader){.at = begin, .end = bytes.len > 0 ? begin + bytes.len : begin};
}

/* The next `size` bytes, or NULL and failed. */
static const uint8_t *take(struct qd_reader *reader, size_t size)
{
    if (reader->failed || (size_t)(reader->end - reader->at) < size) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    reader->at += size;
    return bytes;
}

/* Of up to 8 bytes. */
static inline uint64_t get_little(struct qd_reader *reader, size_t size)
{
    const uint8_t *bytes = take(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; bytes != NULL && i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static uint64_t get_big(struct qd_reader *reader, size_t size)
{
    const uint8_t *bytes = take(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; bytes != NULL && i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* A canonical number of up to 63 bits, as nearly all are; false, with nothing taken: another. */
static inline bool get_short_varint(struct qd_reader *reader, uint64_t *ret)
{
    size_t left = reader->failed ? 0 : (size_t)(reader->end - reader->at);
    uint64_t value = 0;
    for (unsigned i = 0; i < 9 && i < left; i++) {
        uint8_t byte = reader->at[i];
        value |= (uint64_t)(byte & VARINT_BITS) << (7 * i);
        if ((byte & VARINT_MORE) == 0) {
            reader->at += byte != 0 || i == 0 ? i + 1 : 0;
            *ret = value;
            return byte != 0 || i == 0;
        }
    }
    return false;
}

static qd_uint128 get_varint128(struct qd_reader *reader)
{
    uint64_t small;
    if (get_short_varint(reader, &small)) {
        return small;
    }
    qd_uint128 value = 0;
    for (unsigned shift = 0; shift < 128; shift += 7) {
        const uint8_t *byte = take(reader, 1);
        if (byte == NULL) {
            return 0;
        }
        qd_uint128 bits = *byte & VARINT_BITS;
        if (shift == 126 && bits > 3) {
            break;
        }
        value |= bits << shift;
        if ((*byte & VARINT_MORE) == 0) {
            /* Canonical: no useless last group. */
            reader->failed |= *byte == 0 && shift > 0;
            return reader->failed ? 0 : value;
        }
    }
    reader->failed = true;
    return 0;
}

uint8_t qd_get_u8(struct qd_reader *reader)
{
    return (uint8_t)get_little(reader, 1);
}

uint32_t qd_get_u32(struct qd_reader *reader)
{
    return (uint32_t)get_little(reader, 4);
}

uint64_t qd_get_u64(struct qd_reader *reader)
{
    return get_little(reader, 8);
}

int64_t qd_get_i64(struct qd_reader *reader)
{
    return (int64_t)qd_get_u64(reader);
}

qd_int128 qd_get_i128(struct qd_reader *reader)
{
    uint64_t low = get_little(reader, 8);
    uint64_t high = get_little(reader, 8);
    return reader->failed ? 0 : (qd_int128)((qd_uint128)high << 64 | low);
}

uint64_t qd_get_varint_max(struct qd_reader *reader, uint64_t max)
{
    qd_uint128 value = get_varint128(reader);
    if (value > max) {
        reader->failed = true;
        return 0;
    }
    return (uint64_t)value;
}

uint64_t qd_get_varint(struct qd_reader *reader)
{
    return qd_get_varint_max(reader, UINT64_MAX);
}

qd_int128 qd_get_signed128(struct qd_reader *reader)
{
    qd_uint128 value = get_varint128(reader);
    qd_int128 half = (qd_int128)(value >> 1);
    return (value & 1) != 0 ? ~half : half;
}

int64_t qd_get_signed(struct qd_reader *reader)
{
    qd_int128 value = qd_get_signed128(reader);
    if (value > INT64_MAX || value < INT64_MIN) {
        reader->failed = true;
        return 0;
    }
    return (int64_t)value;
}

struct qd_str qd_get_str(struct qd_reader *reader, size_t max)
{
    size_t size = qd_get_varint_max(reader, max);
    const uint8_t *bytes = take(reader, size);
    return size == 0 || bytes == NULL ? (struct qd_str){0}
                                      : (struct qd_str){(const char *)bytes, size};
}

uint32_t qd_get_key_u32(struct qd_reader *reader)
{
    return (uint32_t)get_big(reader, 4);
}

uint64_t qd_get_key_u64(struct qd_reader *reader)
{
    return get_big(reader, 8);
}

enum qd_store_err qd_record_open(struct qd_str bytes, enum qd_record_type type, uint8_t max_version,
                                 uint8_t *ret_version, struct qd_reader *ret_body)
{
    struct qd_reader reader = qd_reader_of(bytes);
    uint8_t found_type = qd_get_u8(&reader);
    uint8_t version = qd_get_u8(&reader);
    uint32_t sum = qd_get_u32(&reader);
    if (reader.failed || found_type != (uint8_t)type || version == 0) {
        return QD_STORE_CORRUPT;
    }
    if (version > max_version) {
        return QD_STORE_NEWER_FORMAT;
    }
    if (sum != checksum(found_type, version, reader.at, (size_t)(reader.end - reader.at))) {
        return QD_STORE_CORRUPT;
    }
    *ret_version = version;
    *ret_body = reader;
    return QD_STORE_OK;
}

enum qd_store_err qd_reader_finish(const struct qd_reader *reader)
{
    return reader->failed || reader->at != reader->end ? QD_STORE_CORRUPT : QD_STORE_OK;
}

/* --- names --- */

static const struct qd_str known_names[] = {
#define KNOWN_NAME(number, text) [number] = {text, sizeof(text) - 1},
    QD_KNOWN_NAMES(KNOWN_NAME)
#undef KNOWN_NAME
};

#define KNOWN_NAME_COUNT (sizeof known_names / sizeof known_names[0])

static uint8_t known_number(struct qd_str name)
{
    for (size_t i = 1; i < KNOWN_NAME_COUNT; i++) {
        if (qd_slice_equal(known_names[i], name)) {
            return (uint8_t)i;
        }
    }
    return 0;
}

void qd_put_name(struct qd_buf *buf, struct qd_str name)
{
    uint8_t number = known_number(name);
    qd_buf_append_u8(buf, number);
    if (number == 0) {
        qd_put_str(buf, name);
    }
}

struct qd_str qd_get_name(struct qd_reader *reader, size_t max)
{
    uint8_t number = qd_get_u8(reader);
    if (number == 0) {
        struct qd_str name = qd_get_str(reader, max);
        reader->failed |= name.len == 0 || known_number(name) != 0;
        return name;
    }
    if (number >= KNOWN_NAME_COUNT) {
        reader->failed = true;
        return (struct qd_str){0};
    }
    return known_names[number];
}

/* --- tenant paths in keys --- */

#define KEY_SLASH      0x01
#define KEY_TENANT_END 0x00

static void put_key_path(struct qd_buf *buf, struct qd_str path)
{
    size_t begin = buf->size;
    qd_buf_append_str(buf, path);
    for (size_t i = begin; !buf->failed && i < buf->size; i++) {
        if (buf->data[i] == '/') {
            buf->data[i] = KEY_SLASH;
        }
    }
}

void qd_put_key_tenant(struct qd_buf *buf, struct qd_str path)
{
    put_key_path(buf, path);
    qd_buf_append_u8(buf, KEY_TENANT_END);
}

void qd_get_key_tenant(struct qd_reader *reader, char ret_path[QD_TENANT_PATH_MAX], size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        const uint8_t *byte = take(reader, 1);
        if (byte == NULL || *byte == KEY_TENANT_END) {
            break;
        }
        if (len == QD_TENANT_PATH_MAX || *byte == '/') {
            reader->failed = true;
            break;
        }
        ret_path[len++] = *byte == KEY_SLASH ? '/' : (char)*byte;
    }
    *ret_len = reader->failed ? 0 : len;
}

void qd_put_key_subtree_lower(struct qd_buf *buf, struct qd_str path)
{
    put_key_path(buf, path);
}

void qd_put_key_subtree_upper(struct qd_buf *buf, struct qd_str path)
{
    put_key_path(buf, path);
    /* After a path come 0x00 (its end) and 0x01 (what is below); names begin far above. */
    qd_buf_append_u8(buf, path.len == 0 ? 0xff : KEY_SLASH + 1);
}

bool qd_tenant_within(struct qd_str path, struct qd_str subtree)
{
    if (subtree.len == 0) {
        return true;
    }
    return qd_slice_starts(path, subtree) &&
           (path.len == subtree.len || path.ptr[subtree.len] == '/');
}

/* --- what texts may hold --- */

bool qd_text_valid(struct qd_str text, size_t max)
{
    if (text.len > max) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (byte < 0x20 || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

bool qd_tenant_text_valid(struct qd_str path)
{
    if (path.len == 0 || path.len > QD_TENANT_PATH_MAX) {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool other = (c >= '0' && c <= '9') || (c >= '-' && c <= '/') || c == '_';
        if (!letter && !other) {
            return false;
        }
    }
    return true;
}
