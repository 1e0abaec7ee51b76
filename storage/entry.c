#include "storage/entry.h"

#include "storage/codec.h"

#define ENTRY_VERSION          1 /* of entries that say all by themselves */
#define ENTRY_VERSION_RESERVED 2 /* and `reserved` */
#define ENTRY_VERSION_REVERSAL 3 /* a reversal, and nothing else; `reserved` may be empty */
#define ENTRY_FLAGS            (QD_ENTRY_UNPRICED | QD_ENTRY_FINAL | QD_ENTRY_REVERSAL)
#define PICO_PER_NANO          1000
#define RESERVED_FIELDS \
    (QD_RESERVED_MODEL | QD_RESERVED_POOL | QD_RESERVED_USER | QD_RESERVED_LABELS)

static const char *const outcome_names[] = {
    [QD_OUTCOME_OK] = "OK",
    [QD_OUTCOME_NOT_DISPATCHED] = "NOT_DISPATCHED",
    [QD_OUTCOME_FAILED] = "FAILED",
    [QD_OUTCOME_DISCONNECTED] = "DISCONNECTED",
};

const char *qd_entry_outcome_name(enum qd_outcome outcome)
{
    return outcome <= QD_OUTCOME_DISCONNECTED ? outcome_names[outcome] : "UNKNOWN";
}

/* --- order and validity --- */

static void sort_labels(struct qd_label *labels, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct qd_label label = labels[i];
        size_t at = i;
        for (; at > 0 && qd_slice_compare(labels[at - 1].name, label.name) > 0; at--) {
            labels[at] = labels[at - 1];
        }
        labels[at] = label;
    }
}

void qd_entry_sort(struct qd_entry *entry)
{
    sort_labels(entry->labels, entry->label_count);
    for (size_t i = 1; i < entry->quantity_count; i++) {
        struct qd_entry_quantity quantity = entry->quantities[i];
        size_t at = i;
        for (; at > 0 && qd_slice_compare(entry->quantities[at - 1].meter, quantity.meter) > 0;
             at--) {
            entry->quantities[at] = entry->quantities[at - 1];
        }
        entry->quantities[at] = quantity;
    }
}

static bool same_labels(const struct qd_label *a, const struct qd_label *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!qd_slice_equal(a[i].name, b[i].name) || !qd_slice_equal(a[i].value, b[i].value)) {
            return false;
        }
    }
    return true;
}

static void note_difference(struct qd_entry_reserved *reserved, enum qd_entry_reserved_field field,
                            struct qd_str recorded, struct qd_str value, struct qd_str *ret_value)
{
    *ret_value = value;
    if (!qd_slice_equal(recorded, value)) {
        reserved->differs |= (uint8_t)field;
    }
}

void qd_entry_set_reserved(struct qd_entry *entry, struct qd_str model, struct qd_str pool,
                           struct qd_str user, const struct qd_label *labels, size_t label_count)
{
    struct qd_entry_reserved *r = &entry->reserved;

    r->differs = 0;
    note_difference(r, QD_RESERVED_MODEL, entry->model, model, &r->model);
    note_difference(r, QD_RESERVED_POOL, entry->pool, pool, &r->pool);
    note_difference(r, QD_RESERVED_USER, entry->user, user, &r->user);
    r->label_count = label_count;
    for (size_t i = 0; i < label_count; i++) {
        r->labels[i] = labels[i];
    }
    sort_labels(r->labels, label_count);
    if (label_count != entry->label_count || !same_labels(r->labels, entry->labels, label_count)) {
        r->differs |= QD_RESERVED_LABELS;
    }
}

static enum qd_store_err check_text(struct qd_str text, size_t max, const char *what,
                                    struct qd_store_error *error)
{
    if (!qd_text_valid(text, max)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "%s: at most %zu bytes without control characters are accepted",
                                  what, max);
    }
    return QD_STORE_OK;
}

static enum qd_store_err check_texts(const struct qd_entry *entry, struct qd_store_error *error)
{
    const struct {
        struct qd_str text;
        const char *what;
        size_t max;
    } texts[] = {
        {entry->model, "model", QD_ENTRY_NAME_MAX},
        {entry->pool, "pool", QD_ENTRY_NAME_MAX},
        {entry->user, "user", QD_ENTRY_NAME_MAX},
        {entry->source, "source", QD_ENTRY_NAME_MAX},
        {entry->request_id, "request_id", QD_ENTRY_NAME_MAX},
        {entry->corrects_node, "corrects_node", QD_ENTRY_NAME_MAX},
        {entry->limit, "limit", QD_ENTRY_LIMIT_MAX},
        {entry->note, "note", QD_ENTRY_NAME_MAX},
        {entry->reservation_node, "reservation_node", QD_ENTRY_NAME_MAX},
        {entry->reserved.model, "reserved model", QD_ENTRY_NAME_MAX},
        {entry->reserved.pool, "reserved pool", QD_ENTRY_NAME_MAX},
        {entry->reserved.user, "reserved user", QD_ENTRY_NAME_MAX},
    };
    enum qd_store_err err = QD_STORE_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && err == QD_STORE_OK; i++) {
        err = check_text(texts[i].text, texts[i].max, texts[i].what, error);
    }
    for (size_t i = 0; i < entry->price_count && err == QD_STORE_OK; i++) {
        err = check_text(entry->prices[i], QD_ENTRY_NAME_MAX, "price version", error);
    }
    if (err == QD_STORE_OK && !qd_tenant_text_valid(entry->tenant)) {
        err = qd_store_error_set(error, QD_STORE_INVALID,
                                 "tenant: a path of 1 to %d bytes of [a-zA-Z0-9._/-] is expected",
                                 QD_TENANT_PATH_MAX);
    }
    return err;
}

static enum qd_store_err check_labels(const struct qd_label *labels, size_t count,
                                      struct qd_store_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const struct qd_label *label = &labels[i];
        if (label->name.len == 0 || !qd_text_valid(label->name, QD_ENTRY_METER_MAX) ||
            !qd_text_valid(label->value, QD_ENTRY_NAME_MAX)) {
            return qd_store_error_set(error, QD_STORE_INVALID,
                                      "label %zu: a name of 1 to %d and a value of at most %d "
                                      "bytes are accepted",
                                      i, QD_ENTRY_METER_MAX, QD_ENTRY_NAME_MAX);
        }
        if (i > 0 && qd_slice_compare(label[-1].name, label->name) >= 0) {
            return qd_store_error_set(error, QD_STORE_INVALID, "label \"%.*s\" is given twice",
                                      (int)label->name.len, label->name.ptr);
        }
    }
    return QD_STORE_OK;
}

static enum qd_store_err check_quantities(const struct qd_entry *entry,
                                          struct qd_store_error *error)
{
    bool may_be_negative = entry->kind != QD_ENTRY_USAGE;
    for (size_t i = 0; i < entry->quantity_count; i++) {
        const struct qd_entry_quantity *quantity = &entry->quantities[i];
        if (quantity->meter.len == 0 || quantity->meter.ptr[0] == '#' ||
            !qd_text_valid(quantity->meter, QD_ENTRY_METER_MAX) ||
            (entry->kind != QD_ENTRY_GRANT &&
             (qd_slice_equal(quantity->meter, qd_slice_of("cost")) ||
              qd_slice_equal(quantity->meter, qd_slice_of("charge"))))) {
            return qd_store_error_set(error, QD_STORE_INVALID,
                                      "quantity %zu: \"%.*s\" is no meter that an entry may carry",
                                      i, (int)quantity->meter.len, quantity->meter.ptr);
        }
        if (quantity->amount > QD_AMOUNT_MAX || quantity->amount < -QD_AMOUNT_MAX ||
            (quantity->amount < 0 && !may_be_negative)) {
            return qd_store_error_set(
                error, QD_STORE_INVALID, "%.*s: %lld is out of range, 0 to 2^53 is accepted",
                (int)quantity->meter.len, quantity->meter.ptr, (long long)quantity->amount);
        }
        if (i > 0 && qd_slice_compare(quantity[-1].meter, quantity->meter) >= 0) {
            return qd_store_error_set(error, QD_STORE_INVALID, "meter \"%.*s\" is given twice",
                                      (int)quantity->meter.len, quantity->meter.ptr);
        }
    }
    return QD_STORE_OK;
}

static bool enums_valid(const struct qd_entry *entry)
{
    return entry->kind >= QD_ENTRY_USAGE && entry->kind <= QD_ENTRY_ADJUSTMENT &&
           entry->outcome <= QD_OUTCOME_DISCONNECTED && entry->tier < QD_TIER_COUNT &&
           (entry->flags & ~ENTRY_FLAGS) == 0 && (entry->reserved.differs & ~RESERVED_FIELDS) == 0;
}

static bool money_fits(qd_int128 pico, int64_t nano)
{
    qd_int128 bound = (qd_int128)INT64_MAX * PICO_PER_NANO;
    return pico <= bound && pico >= -bound && nano > INT64_MIN;
}

enum qd_store_err qd_entry_validate(const struct qd_entry *entry, struct qd_store_error *error)
{
    if (!enums_valid(entry)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "entry: unknown kind, outcome, tier or flag");
    }
    if (qd_entry_is_reversal(entry) &&
        (entry->kind != QD_ENTRY_CORRECTION || entry->corrects_sequence == 0)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "entry: a reversal is a correction of another entry");
    }
    if (entry->label_count > QD_ENTRY_LABELS_MAX ||
        entry->reserved.label_count > QD_ENTRY_LABELS_MAX ||
        entry->quantity_count > QD_ENTRY_QUANTITIES_MAX ||
        entry->price_count > QD_ENTRY_PRICES_MAX) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "entry: at most %d labels, %d meters and %d prices are accepted",
                                  QD_ENTRY_LABELS_MAX, QD_ENTRY_QUANTITIES_MAX,
                                  QD_ENTRY_PRICES_MAX);
    }
    if (entry->event_time.ns < 0 || entry->recorded_time.ns < 0 || entry->charged_time.ns < 0) {
        return qd_store_error_set(error, QD_STORE_INVALID, "entry: a time before 1970");
    }
    if (!money_fits(entry->cost_pico_usd, entry->cost_nano_usd) ||
        !money_fits(entry->charge_pico_usd, entry->charge_nano_usd)) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "entry: cost or charge beyond 9,223,372,036 USD");
    }
    if (entry->cache_write_1h_tokens > QD_AMOUNT_MAX ||
        entry->cache_write_1h_tokens < -QD_AMOUNT_MAX) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "cache_write_1h_tokens: 0 to 2^53 is accepted");
    }
    enum qd_store_err err = check_texts(entry, error);
    err = err == QD_STORE_OK ? check_labels(entry->labels, entry->label_count, error) : err;
    err = err == QD_STORE_OK
              ? check_labels(entry->reserved.labels, entry->reserved.label_count, error)
              : err;
    return err == QD_STORE_OK ? check_quantities(entry, error) : err;
}

/* --- bytes --- */

/* As qd_nano_usd_from_pico, for negative money too; both directions use it. */
static qd_int128 nano_rounded_up(qd_int128 pico)
{
    qd_int128 nano = pico / PICO_PER_NANO;
    return pico > nano * PICO_PER_NANO ? nano + 1 : nano;
}

static void encode_money(const struct qd_entry *entry, struct qd_buf *buf)
{
    /* The charge is mostly the cost, and nano mostly pico rounded up: differences are one byte. */
    qd_put_signed128(buf, entry->cost_pico_usd);
    qd_put_signed128(buf, entry->charge_pico_usd - entry->cost_pico_usd);
    qd_put_signed128(buf, entry->cost_nano_usd - nano_rounded_up(entry->cost_pico_usd));
    qd_put_signed128(buf, entry->charge_nano_usd - nano_rounded_up(entry->charge_pico_usd));
}

static int64_t narrow(struct qd_reader *reader, qd_int128 value)
{
    if (value > INT64_MAX || value < INT64_MIN) {
        reader->failed = true;
        return 0;
    }
    return (int64_t)value;
}

/* Sums of what a hostile record says must not overflow: every term is bounded first. */
static qd_int128 get_bounded(struct qd_reader *reader)
{
    qd_int128 bound = (qd_int128)1 << 100;
    qd_int128 value = qd_get_signed128(reader);
    if (value > bound || value < -bound) {
        reader->failed = true;
        return 0;
    }
    return value;
}

static void decode_money(struct qd_reader *reader, struct qd_entry *entry)
{
    entry->cost_pico_usd = get_bounded(reader);
    entry->charge_pico_usd = entry->cost_pico_usd + get_bounded(reader);
    entry->cost_nano_usd =
        narrow(reader, get_bounded(reader) + nano_rounded_up(entry->cost_pico_usd));
    entry->charge_nano_usd =
        narrow(reader, get_bounded(reader) + nano_rounded_up(entry->charge_pico_usd));
}

static void encode_labels(const struct qd_label *labels, size_t count, struct qd_buf *buf)
{
    qd_put_varint(buf, count);
    for (size_t i = 0; i < count; i++) {
        qd_put_str(buf, labels[i].name);
        qd_put_str(buf, labels[i].value);
    }
}

static size_t decode_labels(struct qd_reader *reader, struct qd_label *labels)
{
    size_t count = qd_get_varint_max(reader, QD_ENTRY_LABELS_MAX);
    for (size_t i = 0; i < count; i++) {
        labels[i].name = qd_get_str(reader, QD_ENTRY_METER_MAX);
        labels[i].value = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    }
    return count;
}

static void encode_reserved(const struct qd_entry_reserved *reserved, struct qd_buf *buf)
{
    qd_buf_append_u8(buf, reserved->differs);
    if ((reserved->differs & QD_RESERVED_MODEL) != 0) {
        qd_put_str(buf, reserved->model);
    }
    if ((reserved->differs & QD_RESERVED_POOL) != 0) {
        qd_put_str(buf, reserved->pool);
    }
    if ((reserved->differs & QD_RESERVED_USER) != 0) {
        qd_put_str(buf, reserved->user);
    }
    if ((reserved->differs & QD_RESERVED_LABELS) != 0) {
        encode_labels(reserved->labels, reserved->label_count, buf);
    }
}

static void decode_reserved(struct qd_reader *reader, struct qd_entry_reserved *reserved)
{
    reserved->differs = qd_get_u8(reader);
    if ((reserved->differs & QD_RESERVED_MODEL) != 0) {
        reserved->model = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    }
    if ((reserved->differs & QD_RESERVED_POOL) != 0) {
        reserved->pool = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    }
    if ((reserved->differs & QD_RESERVED_USER) != 0) {
        reserved->user = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    }
    if ((reserved->differs & QD_RESERVED_LABELS) != 0) {
        reserved->label_count = decode_labels(reader, reserved->labels);
    }
}

static uint8_t version_of(const struct qd_entry *entry)
{
    if (qd_entry_is_reversal(entry)) {
        return ENTRY_VERSION_REVERSAL;
    }
    return entry->reserved.differs != 0 ? ENTRY_VERSION_RESERVED : ENTRY_VERSION;
}

void qd_entry_encode(const struct qd_entry *entry, struct qd_buf *buf)
{
    uint8_t version = version_of(entry);
    size_t begin = qd_record_begin(buf, QD_RECORD_ENTRY, version);
    qd_put_varint(buf, entry->sequence);
    qd_put_i64(buf, entry->recorded_time.ns);
    qd_put_signed(buf, entry->recorded_time.ns - entry->event_time.ns);
    qd_put_signed(buf, entry->event_time.ns - entry->charged_time.ns);
    qd_buf_append_u8(buf, (uint8_t)entry->kind);
    qd_buf_append_u8(buf, (uint8_t)entry->outcome);
    qd_buf_append_u8(buf, (uint8_t)entry->tier);
    qd_buf_append_u8(buf, entry->flags);
    qd_put_str(buf, entry->tenant);
    qd_put_str(buf, entry->model);
    qd_put_str(buf, entry->pool);
    qd_put_str(buf, entry->user);
    encode_labels(entry->labels, entry->label_count, buf);
    qd_put_str(buf, entry->source);
    qd_put_str(buf, entry->request_id);
    qd_put_varint(buf, entry->attempt);
    qd_put_varint(buf, entry->part);
    qd_put_varint(buf, entry->quantity_count);
    for (size_t i = 0; i < entry->quantity_count; i++) {
        qd_put_name(buf, entry->quantities[i].meter);
        qd_put_signed(buf, entry->quantities[i].amount);
    }
    qd_put_signed(buf, entry->cache_write_1h_tokens);
    qd_put_varint(buf, entry->price_count);
    for (size_t i = 0; i < entry->price_count; i++) {
        qd_put_str(buf, entry->prices[i]);
    }
    encode_money(entry, buf);
    qd_put_str(buf, entry->corrects_node);
    qd_put_varint(buf, entry->corrects_sequence);
    qd_put_str(buf, entry->limit);
    qd_put_str(buf, entry->note);
    qd_put_str(buf, entry->reservation_node);
    qd_put_varint(buf, entry->reservation_incarnation);
    qd_put_varint(buf, entry->reservation);
    if (version >= ENTRY_VERSION_RESERVED) {
        encode_reserved(&entry->reserved, buf);
    }
    qd_record_end(buf, begin);
}

static void decode_times(struct qd_reader *reader, struct qd_entry *entry)
{
    entry->recorded_time.ns = qd_get_i64(reader);
    entry->event_time.ns =
        narrow(reader, (qd_int128)entry->recorded_time.ns - qd_get_signed(reader));
    entry->charged_time.ns =
        narrow(reader, (qd_int128)entry->event_time.ns - qd_get_signed(reader));
}

static void decode_lists(struct qd_reader *reader, struct qd_entry *entry)
{
    entry->label_count = decode_labels(reader, entry->labels);
    entry->source = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    entry->request_id = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    entry->attempt = (uint32_t)qd_get_varint_max(reader, UINT32_MAX);
    entry->part = (uint32_t)qd_get_varint_max(reader, UINT32_MAX);
    entry->quantity_count = qd_get_varint_max(reader, QD_ENTRY_QUANTITIES_MAX);
    for (size_t i = 0; i < entry->quantity_count; i++) {
        entry->quantities[i].meter = qd_get_name(reader, QD_ENTRY_METER_MAX);
        entry->quantities[i].amount = qd_get_signed(reader);
    }
    entry->cache_write_1h_tokens = qd_get_signed(reader);
    entry->price_count = qd_get_varint_max(reader, QD_ENTRY_PRICES_MAX);
    for (size_t i = 0; i < entry->price_count; i++) {
        entry->prices[i] = qd_get_str(reader, QD_ENTRY_NAME_MAX);
    }
}

enum qd_store_err qd_entry_decode(struct qd_str bytes, struct qd_entry *ret_entry)
{
    uint8_t version;
    struct qd_reader reader;
    enum qd_store_err err =
        qd_record_open(bytes, QD_RECORD_ENTRY, ENTRY_VERSION_REVERSAL, &version, &reader);
    if (err != QD_STORE_OK) {
        return err;
    }
    struct qd_entry *entry = ret_entry;
    entry->sequence = qd_get_varint(&reader);
    decode_times(&reader, entry);
    entry->kind = (enum qd_entry_kind)qd_get_u8(&reader);
    entry->outcome = (enum qd_outcome)qd_get_u8(&reader);
    entry->tier = (enum qd_price_tier)qd_get_u8(&reader);
    entry->flags = qd_get_u8(&reader);
    entry->tenant = qd_get_str(&reader, QD_TENANT_PATH_MAX);
    entry->model = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    entry->pool = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    entry->user = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    decode_lists(&reader, entry);
    decode_money(&reader, entry);
    entry->corrects_node = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    entry->corrects_sequence = qd_get_varint(&reader);
    entry->limit = qd_get_str(&reader, QD_ENTRY_LIMIT_MAX);
    entry->note = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    entry->reservation_node = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
    entry->reservation_incarnation = qd_get_varint(&reader);
    entry->reservation = qd_get_varint(&reader);
    entry->reserved = (struct qd_entry_reserved){0};
    if (version >= ENTRY_VERSION_RESERVED) {
        decode_reserved(&reader, &entry->reserved);
    }
    reader.failed |= version != version_of(entry);
    if (qd_reader_finish(&reader) != QD_STORE_OK || qd_entry_validate(entry, NULL) != QD_STORE_OK) {
        return QD_STORE_CORRUPT;
    }
    return QD_STORE_OK;
}

/* --- looking in --- */

bool qd_entry_quantity(const struct qd_entry *entry, struct qd_str meter, int64_t *ret_amount)
{
    for (size_t i = 0; i < entry->quantity_count; i++) {
        if (qd_slice_equal(entry->quantities[i].meter, meter)) {
            *ret_amount = entry->quantities[i].amount;
            return true;
        }
    }
    return false;
}

struct qd_str qd_entry_label(const struct qd_entry *entry, struct qd_str name)
{
    for (size_t i = 0; i < entry->label_count; i++) {
        if (qd_slice_equal(entry->labels[i].name, name)) {
            return entry->labels[i].value;
        }
    }
    return (struct qd_str){0};
}
