#include "server/rpc/text.h"

#include "server/core/decimal.h"
#include "server/shard/validate.h"

enum qd_error_code qd_page_size(uint32_t asked, uint32_t *ret_size, struct qd_error *ret_error)
{
    return qd_page_size_to(asked, QD_PAGE_MAX, ret_size, ret_error);
}

enum qd_error_code qd_page_size_to(uint32_t asked, uint32_t max, uint32_t *ret_size,
                                   struct qd_error *ret_error)
{
    if (asked > max) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "page_size: %u is out of range; accepted are 1 to %u, or 0 for %u",
                            asked, max, QD_PAGE_DEFAULT);
    }
    *ret_size = asked == 0 ? QD_PAGE_DEFAULT : asked;
    return QD_ERROR_NONE;
}

void qd_out_hex(struct qd_out *out, uint32_t id, struct qd_str bytes)
{
    static const char digits[] = "0123456789abcdef";

    qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_BYTES);
    qd_out_varint(out, bytes.len * 2);
    if (out->full || (size_t)(out->end - out->at) < bytes.len * 2) {
        out->full = true;
        return;
    }
    for (size_t i = 0; i < bytes.len; i++) {
        *out->at++ = (uint8_t)digits[(uint8_t)bytes.ptr[i] >> 4];
        *out->at++ = (uint8_t)digits[(uint8_t)bytes.ptr[i] & 15];
    }
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool qd_unhex(struct qd_place *place, const char *hex, struct qd_str *ret_bytes)
{
    size_t len = strlen(hex);
    char *bytes = qd_scratch_take(&place->arena, len / 2 + 1);

    if (len % 2 != 0 || bytes == NULL) {
        return false;
    }
    for (size_t i = 0; i < len; i += 2) {
        int high = digit(hex[i]);
        int low = digit(hex[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i / 2] = (char)(high << 4 | low);
    }
    *ret_bytes = (struct qd_str){bytes, len / 2};
    return true;
}

void qd_out_int128(struct qd_out *out, uint32_t id, qd_int128 value)
{
    char text[QD_DECIMAL_TEXT_MAX];

    (void)qd_decimal_format(value, 0, text);
    qd_out_text(out, id, text);
}

void qd_out_entry(struct qd_out *out, uint32_t id, struct qd_str key, struct qd_str value)
{
    uint8_t *entry = qd_out_begin(out, id);

    qd_out_str(out, 1, key);
    qd_out_str(out, 2, value);
    qd_out_end(out, entry);
}

void qd_out_amount(struct qd_out *out, uint32_t id, struct qd_str meter, int64_t amount)
{
    uint8_t *message = qd_out_begin(out, id);

    qd_out_str(out, 1, meter);
    qd_out_number(out, 2, (uint64_t)amount);
    qd_out_end(out, message);
}

enum qd_error_code qd_optional_tenant(struct qd_str tenant, struct qd_error *ret_error)
{
    return tenant.len == 0 ? QD_ERROR_NONE : qd_validate_tenant(tenant, ret_error);
}
