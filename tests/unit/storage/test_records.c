/* Round trips, canonical encodings, and what damaged records decode to: never to something else. */
#include "random_records.h"
#include "storage/audit_record.h"
#include "storage/codec.h"
#include "storage/idempotency.h"
#include "storage/price_record.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 2000

static bool same_bytes(const struct qd_buf *a, const struct qd_buf *b)
{
    return qd_slice_equal(qd_buf_str(a), qd_buf_str(b));
}

Test(records, L1_entry_round_trip)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("entry", 1));
    struct text_arena *arena = malloc(sizeof *arena);
    struct qd_buf first = {0};
    struct qd_buf second = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct qd_entry entry;
        struct qd_entry decoded;
        random_entry(&prng, arena, &entry);
        struct qd_store_error error = {0};
        cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_OK, "%s", error.text);
        qd_buf_clear(&first);
        qd_buf_clear(&second);
        qd_entry_encode(&entry, &first);
        cr_assert_leq(first.size, QD_ENTRY_BYTES_MAX);
        cr_assert_eq(qd_entry_decode(qd_buf_str(&first), &decoded), QD_STORE_OK);
        qd_entry_encode(&decoded, &second);
        cr_assert(same_bytes(&first, &second));
        cr_assert_eq(decoded.sequence, entry.sequence);
        cr_assert_eq(decoded.event_time.ns, entry.event_time.ns);
        cr_assert_eq(decoded.charged_time.ns, entry.charged_time.ns);
        cr_assert_eq(decoded.recorded_time.ns, entry.recorded_time.ns);
        cr_assert(decoded.cost_pico_usd == entry.cost_pico_usd);
        cr_assert(decoded.charge_pico_usd == entry.charge_pico_usd);
        cr_assert_eq(decoded.cost_nano_usd, entry.cost_nano_usd);
        cr_assert_eq(decoded.charge_nano_usd, entry.charge_nano_usd);
        cr_assert_eq(decoded.quantity_count, entry.quantity_count);
        cr_assert_eq(decoded.label_count, entry.label_count);
        cr_assert(qd_slice_equal(decoded.tenant, entry.tenant));
        cr_assert(qd_slice_equal(decoded.request_id, entry.request_id));
        cr_assert_eq(decoded.attempt, entry.attempt);
        cr_assert_eq(decoded.part, entry.part);
        cr_assert_eq(decoded.reserved.differs, entry.reserved.differs);
        cr_assert_eq(decoded.reserved.label_count, entry.reserved.label_count);
        cr_assert(qd_slice_equal(decoded.reserved.model, entry.reserved.model));
        cr_assert(qd_slice_equal(decoded.reserved.pool, entry.reserved.pool));
        cr_assert(qd_slice_equal(decoded.reserved.user, entry.reserved.user));
        for (size_t i = 0; i < entry.quantity_count; i++) {
            cr_assert_eq(decoded.quantities[i].amount, entry.quantities[i].amount);
            cr_assert(qd_slice_equal(decoded.quantities[i].meter, entry.quantities[i].meter));
        }
    }
    qd_buf_release(&first);
    qd_buf_release(&second);
    free(arena);
}

Test(records, a_damaged_entry_is_corrupt)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("damage", 2));
    struct text_arena *arena = malloc(sizeof *arena);
    struct qd_buf bytes = {0};
    struct qd_entry entry;
    struct qd_entry decoded;
    for (int round = 0; round < 20; round++) {
        random_entry(&prng, arena, &entry);
        qd_buf_clear(&bytes);
        qd_entry_encode(&entry, &bytes);
        for (size_t size = 0; size < bytes.size; size++) {
            struct qd_str cut = {(const char *)bytes.data, size};
            cr_assert_eq(qd_entry_decode(cut, &decoded), QD_STORE_CORRUPT);
        }
        for (size_t i = 0; i < bytes.size; i++) {
            uint8_t bit = (uint8_t)(1U << qd_prng_below(&prng, 8));
            bytes.data[i] ^= bit;
            enum qd_store_err err = qd_entry_decode(qd_buf_str(&bytes), &decoded);
            /* A flip in the version byte makes it a newer one, or version 0. */
            cr_assert(err == QD_STORE_CORRUPT || (i == 1 && err == QD_STORE_NEWER_FORMAT));
            bytes.data[i] ^= bit;
        }
    }
    qd_buf_release(&bytes);
    free(arena);
}

static struct qd_entry plain_entry(void)
{
    struct qd_entry e = {.sequence = 1,
                         .kind = QD_ENTRY_USAGE,
                         .tenant = qd_slice_of("acme"),
                         .model = qd_slice_of("m"),
                         .label_count = 2};
    e.labels[0] = (struct qd_label){qd_slice_of("app"), qd_slice_of("x")};
    e.labels[1] = (struct qd_label){qd_slice_of("team"), qd_slice_of("red")};
    return e;
}

/* Entries of before there was a second version, and those that need none, are the same bytes. */
Test(records, L1_an_entry_says_what_was_reserved_only_where_it_differs)
{
    struct qd_label labels[] = {{qd_slice_of("team"), qd_slice_of("red")},
                                {qd_slice_of("app"), qd_slice_of("x")}};
    struct qd_str none = {0};
    struct qd_buf bytes = {0};
    struct qd_buf plain = {0};
    struct qd_entry e = plain_entry();
    struct qd_entry decoded;

    qd_entry_encode(&e, &plain);
    qd_entry_set_reserved(&e, qd_slice_of("m"), none, none, labels, 2);
    cr_assert_eq(e.reserved.differs, 0);
    qd_entry_encode(&e, &bytes);
    cr_assert(same_bytes(&plain, &bytes));
    cr_assert_eq(bytes.data[1], 1);

    labels[0].value = qd_slice_of("blue");
    qd_entry_set_reserved(&e, none, qd_slice_of("p"), none, labels, 2);
    cr_assert_eq(e.reserved.differs, QD_RESERVED_MODEL | QD_RESERVED_POOL | QD_RESERVED_LABELS);
    qd_buf_clear(&bytes);
    qd_entry_encode(&e, &bytes);
    cr_assert_eq(bytes.data[1], 2);
    cr_assert_eq(qd_entry_decode(qd_buf_str(&bytes), &decoded), QD_STORE_OK);
    cr_assert_eq(decoded.reserved.model.len, 0);
    cr_assert(qd_slice_equal(decoded.reserved.pool, qd_slice_of("p")));
    cr_assert(qd_slice_equal(decoded.reserved.labels[1].value, qd_slice_of("blue")));
    qd_buf_release(&bytes);
    qd_buf_release(&plain);
}

/* Version 2 without a difference would be another encoding of a version 1. */
Test(records, L1_a_second_version_without_a_difference_is_corrupt)
{
    struct qd_entry e = plain_entry();
    struct qd_entry decoded;
    struct qd_buf first = {0};
    struct qd_buf second = {0};

    qd_entry_encode(&e, &first);
    for (unsigned differs = 0; differs <= 32; differs += 16) { /* none, and unknown ones */
        qd_buf_clear(&second);
        size_t begin = qd_record_begin(&second, QD_RECORD_ENTRY, 2);
        qd_buf_append(&second, first.data + QD_RECORD_HEADER_SIZE,
                      first.size - QD_RECORD_HEADER_SIZE);
        qd_buf_append_u8(&second, (uint8_t)differs);
        qd_record_end(&second, begin);
        cr_assert_eq(qd_entry_decode(qd_buf_str(&second), &decoded), QD_STORE_CORRUPT);
    }
    qd_buf_release(&first);
    qd_buf_release(&second);
}

/* Who doesn't know reversals must not take one for usage: not readable, rather than misread. */
Test(records, L3_a_reversal_has_a_version_of_its_own)
{
    struct qd_buf bytes = {0};
    struct qd_buf other = {0};
    struct qd_entry decoded;
    struct qd_entry e = plain_entry();
    e.kind = QD_ENTRY_CORRECTION;
    e.corrects_sequence = 7;
    e.flags |= QD_ENTRY_REVERSAL;
    qd_entry_encode(&e, &bytes);
    cr_assert_eq(bytes.data[1], 3);
    cr_assert_eq(qd_entry_decode(qd_buf_str(&bytes), &decoded), QD_STORE_OK);
    cr_assert(qd_entry_is_reversal(&decoded));
    for (uint8_t version = 1; version <= 2; version++) {
        qd_buf_clear(&other);
        size_t begin = qd_record_begin(&other, QD_RECORD_ENTRY, version);
        qd_buf_append(&other, bytes.data + QD_RECORD_HEADER_SIZE,
                      bytes.size - QD_RECORD_HEADER_SIZE - (version == 1));
        qd_record_end(&other, begin);
        cr_assert_eq(qd_entry_decode(qd_buf_str(&other), &decoded), QD_STORE_CORRUPT);
    }
    e.corrects_sequence = 0;
    cr_assert_eq(qd_entry_validate(&e, NULL), QD_STORE_INVALID);
    e.corrects_sequence = 7;
    e.kind = QD_ENTRY_USAGE;
    cr_assert_eq(qd_entry_validate(&e, NULL), QD_STORE_INVALID);
    qd_buf_release(&bytes);
    qd_buf_release(&other);
}

Test(records, X2_the_largest_entry_is_within_its_bound)
{
    static char text[QD_ENTRY_LIMIT_MAX];
    static char names[QD_ENTRY_LABELS_MAX + QD_ENTRY_QUANTITIES_MAX][QD_ENTRY_METER_MAX];
    struct qd_str name = {text, QD_ENTRY_NAME_MAX};
    struct qd_buf bytes = {0};
    qd_int128 pico = (qd_int128)INT64_MAX * 1000;

    memset(text, 'x', sizeof text);
    struct qd_entry e = {.sequence = UINT64_MAX,
                         .kind = QD_ENTRY_CORRECTION,
                         .event_time = {INT64_MAX},
                         .tenant = name,
                         .model = name,
                         .pool = name,
                         .user = name,
                         .label_count = QD_ENTRY_LABELS_MAX,
                         .source = name,
                         .request_id = name,
                         .attempt = UINT32_MAX,
                         .part = UINT32_MAX,
                         .quantity_count = QD_ENTRY_QUANTITIES_MAX,
                         .cache_write_1h_tokens = QD_AMOUNT_MAX,
                         .price_count = QD_ENTRY_PRICES_MAX,
                         .cost_pico_usd = pico,
                         .charge_pico_usd = -pico,
                         .cost_nano_usd = -INT64_MAX,
                         .charge_nano_usd = INT64_MAX,
                         .corrects_node = name,
                         .corrects_sequence = UINT64_MAX,
                         .limit = {text, QD_ENTRY_LIMIT_MAX},
                         .note = name,
                         .reservation_node = name,
                         .reservation_incarnation = UINT64_MAX,
                         .reservation = UINT64_MAX,
                         .reserved = {.differs = 15,
                                      .model = name,
                                      .pool = name,
                                      .user = name,
                                      .label_count = QD_ENTRY_LABELS_MAX}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        memset(names[i], 'x', sizeof names[i]);
        names[i][0] = (char)('0' + i);
        struct qd_str of = {names[i], sizeof names[i]};
        if (i < QD_ENTRY_LABELS_MAX) {
            e.labels[i] = e.reserved.labels[i] = (struct qd_label){of, name};
        } else {
            e.quantities[i - QD_ENTRY_LABELS_MAX] = (struct qd_entry_quantity){of, -QD_AMOUNT_MAX};
        }
    }
    for (size_t i = 0; i < QD_ENTRY_PRICES_MAX; i++) {
        e.prices[i] = name;
    }
    struct qd_store_error error = {0};
    cr_assert_eq(qd_entry_validate(&e, &error), QD_STORE_OK, "%s", error.text);
    qd_entry_encode(&e, &bytes);
    cr_assert_leq(bytes.size, QD_ENTRY_BYTES_MAX, "%zu", bytes.size);
    cr_assert_eq(qd_entry_decode(qd_buf_str(&bytes), &e), QD_STORE_OK);
    qd_buf_release(&bytes);
}

Test(records, a_newer_version_is_refused)
{
    struct qd_buf bytes = {0};
    size_t begin = qd_record_begin(&bytes, QD_RECORD_ENTRY, 4);
    qd_put_varint(&bytes, 1);
    qd_record_end(&bytes, begin);
    struct qd_entry entry;
    cr_assert_eq(qd_entry_decode(qd_buf_str(&bytes), &entry), QD_STORE_NEWER_FORMAT);
    qd_buf_release(&bytes);
}

Test(records, P2_tenant_round_trip)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("tenant", 3));
    struct text_arena *arena = malloc(sizeof *arena);
    struct qd_buf first = {0};
    struct qd_buf second = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct qd_tenant_record record;
        struct qd_tenant_record decoded;
        random_tenant(&prng, arena, &record);
        qd_buf_clear(&first);
        qd_buf_clear(&second);
        qd_tenant_record_encode(&record, &first);
        cr_assert_eq(qd_tenant_record_decode(qd_buf_str(&first), &decoded), QD_STORE_OK);
        qd_tenant_record_encode(&decoded, &second);
        cr_assert(same_bytes(&first, &second));
        cr_assert(qd_slice_equal(decoded.plan, record.plan));
        cr_assert_eq(decoded.boost_count, record.boost_count);
        cr_assert_eq(decoded.grant_count, record.grant_count);
        cr_assert_eq(decoded.block.until.ns, record.block.until.ns);
        first.data[qd_prng_below(&prng, first.size)] ^= 0x10;
        cr_assert_neq(qd_tenant_record_decode(qd_buf_str(&first), &decoded), QD_STORE_OK);
    }
    qd_buf_release(&first);
    qd_buf_release(&second);
    free(arena);
}

Test(records, S6_idempotency_round_trip)
{
    struct qd_idempotency_record record = {
        .content = {.lo = 1, .hi = UINT64_MAX},
        .sequence = 77,
        .recorded_time = {1700000000},
        .answer = qd_slice_of("answer\0x"),
    };
    struct qd_idempotency_record decoded;
    struct qd_buf bytes = {0};
    qd_idempotency_encode(&record, &bytes);
    cr_assert_eq(qd_idempotency_decode(qd_buf_str(&bytes), &decoded), QD_STORE_OK);
    cr_assert(qd_hash128_equal(decoded.content, record.content));
    cr_assert_eq(decoded.sequence, 77);
    cr_assert_eq(decoded.recorded_time.ns, 1700000000);
    cr_assert(qd_slice_equal(decoded.answer, record.answer));
    bytes.data[bytes.size - 1] ^= 1;
    cr_assert_eq(qd_idempotency_decode(qd_buf_str(&bytes), &decoded), QD_STORE_CORRUPT);
    qd_buf_release(&bytes);
}

static void key_of(struct qd_entry *entry, const char *const texts[3], uint32_t attempt,
                   uint32_t part, struct qd_buf *ret_key)
{
    *entry = (struct qd_entry){.tenant = qd_slice_of(texts[0]),
                               .source = qd_slice_of(texts[1]),
                               .request_id = qd_slice_of(texts[2]),
                               .attempt = attempt,
                               .part = part};
    qd_buf_clear(ret_key);
    qd_idempotency_key(entry, ret_key);
}

Test(records, S6_keys_differ_when_any_part_differs)
{
    static const char *const texts[][3] = {
        {"a", "g", "r"}, {"a", "gr", ""}, {"a", "", "gr"}, {"a/b", "g", "r"}, {"ab", "g", "r"},
    };
    struct qd_entry entry;
    struct qd_buf keys[20] = {0};
    size_t count = 0;
    for (size_t i = 0; i < 5; i++) {
        for (uint32_t k = 0; k < 4; k++) {
            key_of(&entry, texts[i], k & 1, k >> 1, &keys[count++]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert(!(same_bytes(&keys[i], &keys[k])), "keys %zu and %zu", i, k);
        }
    }
    for (size_t i = 0; i < count; i++) {
        qd_buf_release(&keys[i]);
    }
}

Test(records, X6_audit_and_P7_price_round_trip)
{
    struct qd_buf bytes = {0};
    struct qd_audit_record audit = {
        .sequence = 3,
        .time = {5},
        .actor = qd_slice_of("admin@loopback"),
        .action = qd_slice_of("Block"),
        .subject = qd_slice_of("acme/search"),
        .detail = qd_slice_of("unpaid"),
        .before = {1, 2},
        .after = {3, 4},
    };
    struct qd_audit_record audit_read;
    qd_audit_record_encode(&audit, &bytes);
    cr_assert_eq(qd_audit_record_decode(qd_buf_str(&bytes), &audit_read), QD_STORE_OK);
    cr_assert(qd_slice_equal(audit_read.subject, audit.subject));
    cr_assert(qd_hash128_equal(audit_read.after, audit.after));

    qd_buf_clear(&bytes);
    struct qd_price_record price = {
        .book = QD_PRICE_BOOK_CHARGE,
        .version = qd_slice_of("gpt-4o@2026-01-01"),
        .effective = {7},
        .recorded = {9},
        .content = qd_slice_of("input_tokens 2500000/1000000"),
    };
    struct qd_price_record price_read;
    qd_price_record_encode(&price, &bytes);
    cr_assert_eq(qd_price_record_decode(qd_buf_str(&bytes), &price_read), QD_STORE_OK);
    cr_assert(qd_slice_equal(price_read.content, price.content));
    cr_assert_eq(qd_audit_record_decode(qd_buf_str(&bytes), &audit_read), QD_STORE_CORRUPT);
    qd_buf_release(&bytes);
}

Test(records, invalid_entries_say_why)
{
    struct qd_entry base = {.kind = QD_ENTRY_USAGE, .tenant = qd_slice_of("acme")};
    struct qd_store_error error = {0};
    struct qd_entry entry = base;
    entry.tenant = qd_slice_of("a b");
    cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "tenant: a path of 1 to 511 bytes of [a-zA-Z0-9._/-] is expected");
    entry = base;
    entry.quantities[0] = (struct qd_entry_quantity){qd_slice_of("input_tokens"), -1};
    entry.quantity_count = 1;
    cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "input_tokens: -1 is out of range, 0 to 2^53 is accepted");
    entry.quantities[0] = (struct qd_entry_quantity){qd_slice_of("cost"), 1};
    cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "quantity 0: \"cost\" is no meter that an entry may carry");
    entry = base;
    entry.model = qd_slice_of("gpt\n4");
    cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text,
                     "model: at most 255 bytes without control characters are accepted");
    entry = base;
    entry.labels[0] = (struct qd_label){qd_slice_of("env"), qd_slice_of("a")};
    entry.labels[1] = (struct qd_label){qd_slice_of("env"), qd_slice_of("b")};
    entry.label_count = 2;
    cr_assert_eq(qd_entry_validate(&entry, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "label \"env\" is given twice");
}
