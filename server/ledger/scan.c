#include "server/ledger/scan.h"

#include "server/ledger/expire.h"
#include "server/ledger/ledger_internal.h"
#include "storage/codec.h"
#include "storage/idempotency.h"

#define LIST_PAGE_DEFAULT 100

enum qd_store_err qd_ledger_read(struct qd_ledger *ledger, uint64_t sequence, struct qd_buf *bytes,
                                 struct qd_entry *ret_entry, struct qd_store_error *error)
{
    return qd_ledger_get(ledger->store, sequence, bytes, ret_entry, error);
}

enum qd_store_err qd_ledger_find(struct qd_ledger *ledger, const struct qd_entry *entry,
                                 uint64_t *ret_sequence, struct qd_store_error *error)
{
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    struct qd_idempotency_record record;
    enum qd_store_err err = QD_STORE_NO_MEMORY;
    qd_idempotency_key(entry, &key);
    if (!key.failed) {
        err = qd_store_get(ledger->store, QD_STORE_IDEMPOTENCY, qd_buf_str(&key), &value, error);
    }
    if (err == QD_STORE_OK) {
        err = qd_idempotency_decode(qd_buf_str(&value), &record);
        if (err == QD_STORE_OK) {
            *ret_sequence = record.sequence;
        } else {
            qd_store_error_set(error, err, "idempotency key: %s", qd_store_err_text(err));
        }
    }
    qd_buf_release(&key);
    qd_buf_release(&value);
    return err;
}

enum qd_store_err qd_ledger_visit(struct qd_ledger *ledger, uint64_t after, uint64_t through,
                                  qd_entry_visitor visit, void *context, uint64_t *ret_last,
                                  struct qd_store_error *error)
{
    uint64_t last = qd_ledger_watermark(ledger).sequence;
    if (through == 0 || through > last) {
        through = last;
    }
    *ret_last = after;
    if (after >= through) {
        return QD_STORE_OK;
    }
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    struct qd_store_iter *iter = NULL;
    qd_ledger_entry_key(after + 1, &lower);
    if (through < UINT64_MAX) {
        qd_ledger_entry_key(through + 1, &upper);
    }
    if (!lower.failed && !upper.failed) {
        iter = qd_store_iter_open(ledger->store,
                                  &(struct qd_store_range){.space = QD_STORE_LEDGER,
                                                           .lower = qd_buf_str(&lower),
                                                           .upper = qd_buf_str(&upper)});
    }
    enum qd_store_err err = QD_STORE_OK;
    if (iter == NULL) {
        err = qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the ledger");
    }
    bool more = true;
    while (err == QD_STORE_OK && more) {
        struct qd_str key;
        struct qd_str value;
        struct qd_entry entry;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = qd_ledger_decode(key, value, &entry, error);
        }
        if (err == QD_STORE_OK) {
            *ret_last = entry.sequence;
            more = visit(context, &entry);
        }
    }
    qd_store_iter_close(iter);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

/* The lowest sequence there is (retention may have taken the first ones), or one past the last. */
static enum qd_store_err first_sequence(struct qd_ledger *ledger, uint64_t last,
                                        uint64_t *ret_sequence, struct qd_store_error *error)
{
    struct qd_store_iter *iter =
        qd_store_iter_open(ledger->store, &(struct qd_store_range){.space = QD_STORE_LEDGER});
    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the ledger");
    }
    struct qd_str key;
    struct qd_str value;
    enum qd_store_err err = qd_store_iter_next(iter, &key, &value, error);
    if (err == QD_STORE_OK) {
        struct qd_reader reader = qd_reader_of(key);
        *ret_sequence = qd_get_key_u64(&reader);
        err = qd_reader_finish(&reader);
    } else if (err == QD_STORE_END) {
        *ret_sequence = last + 1;
        err = QD_STORE_OK;
    }
    qd_store_iter_close(iter);
    return err;
}

/* Recorded times rise with the sequence, so this is a binary search. */
enum qd_store_err qd_ledger_seek_time(struct qd_ledger *ledger, struct qd_wall_ns time,
                                      uint64_t *ret_sequence, struct qd_store_error *error)
{
    uint64_t high = qd_ledger_watermark(ledger).sequence + 1;
    uint64_t low = 0;
    struct qd_buf bytes = {0};
    struct qd_entry entry;
    enum qd_store_err err = first_sequence(ledger, high - 1, &low, error);
    while (err == QD_STORE_OK && low < high) {
        uint64_t middle = low + (high - low) / 2;
        err = qd_ledger_get(ledger->store, middle, &bytes, &entry, error);
        if (err == QD_STORE_OK && entry.recorded_time.ns >= time.ns) {
            high = middle;
        } else {
            low = middle + 1;
        }
        if (err == QD_STORE_NOT_FOUND && middle <= qd_ledger_expired(ledger).through) {
            err = QD_STORE_OK; /* it has just expired: `low` is behind it */
        } else if (err == QD_STORE_NOT_FOUND) {
            err = qd_store_error_set(error, QD_STORE_CORRUPT, "ledger entry %llu is missing",
                                     (unsigned long long)middle);
        }
    }
    qd_buf_release(&bytes);
    if (err == QD_STORE_OK) {
        *ret_sequence = low;
    }
    return err;
}

enum qd_store_err qd_ledger_visit_since(struct qd_ledger *ledger, struct qd_wall_ns since,
                                        qd_entry_visitor visit, void *context,
                                        struct qd_store_error *error)
{
    /* An event, and a slot, lies at most future_max after its entry was recorded. */
    struct qd_wall_ns recorded = {since.ns - ledger->future_max_ns};
    uint64_t first = 1;
    uint64_t last;
    if (recorded.ns > 0) {
        enum qd_store_err err = qd_ledger_seek_time(ledger, recorded, &first, error);
        if (err != QD_STORE_OK) {
            return err;
        }
    }
    return qd_ledger_visit(ledger, first > 0 ? first - 1 : 0, 0, visit, context, &last, error);
}

/* --- listing --- */

struct listing {
    const struct qd_ledger_list *list;
    qd_entry_visitor visit;
    void *context;
    uint32_t page_max;
    uint32_t scan_max;
    uint32_t count;
    uint32_t scanned;
    bool past_end; /* recorded_to is reached: this entry isn't in */
    bool stopped;  /* the page is full, or the visitor had enough */
};

static bool text_fits(struct qd_str wanted, struct qd_str text)
{
    return wanted.len == 0 || qd_slice_equal(wanted, text);
}

static bool entry_fits(const struct qd_ledger_list *list, const struct qd_entry *entry)
{
    return qd_tenant_within(entry->tenant, list->tenant) && text_fits(list->model, entry->model) &&
           text_fits(list->pool, entry->pool) && text_fits(list->request_id, entry->request_id) &&
           (list->kinds == 0 || (list->kinds >> entry->kind & 1) != 0) &&
           (!list->unpriced_only || (entry->flags & QD_ENTRY_UNPRICED) != 0) &&
           entry->recorded_time.ns >= list->recorded_from.ns;
}

static bool list_entry(void *context, const struct qd_entry *entry)
{
    struct listing *listing = context;
    const struct qd_ledger_list *list = listing->list;
    if (list->recorded_to.ns > 0 && entry->recorded_time.ns >= list->recorded_to.ns) {
        listing->past_end = true;
        return false;
    }
    listing->scanned++;
    if (entry_fits(list, entry)) {
        listing->count++;
        listing->stopped = !listing->visit(listing->context, entry);
    }
    listing->stopped |=
        listing->count >= listing->page_max || listing->scanned >= listing->scan_max;
    return !listing->stopped;
}

enum qd_store_err qd_ledger_list(struct qd_ledger *ledger, const struct qd_ledger_list *list,
                                 qd_entry_visitor visit, void *context,
                                 struct qd_ledger_page *ret_page, struct qd_store_error *error)
{
    struct qd_watermark mark = qd_ledger_watermark(ledger);
    uint64_t cursor = list->cursor;
    if (cursor == 0 && list->recorded_from.ns > 0) {
        uint64_t first;
        enum qd_store_err err = qd_ledger_seek_time(ledger, list->recorded_from, &first, error);
        if (err != QD_STORE_OK) {
            return err;
        }
        cursor = first - 1;
    }
    struct listing listing = {
        .list = list,
        .visit = visit,
        .context = context,
        .page_max = list->page_max > 0 ? list->page_max : LIST_PAGE_DEFAULT,
        .scan_max = list->scan_max > 0 ? list->scan_max : QD_LIST_SCAN_DEFAULT,
    };
    uint64_t last = cursor;
    enum qd_store_err err = QD_STORE_OK;
    if (cursor < mark.sequence) {
        err = qd_ledger_visit(ledger, cursor, mark.sequence, list_entry, &listing, &last, error);
    }
    if (err == QD_STORE_OK) {
        err = qd_expired_check_cursor(ledger, list->cursor, error);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    *ret_page = (struct qd_ledger_page){
        .next_cursor = listing.past_end ? last - 1 : last,
        .end = listing.past_end || last >= mark.sequence,
        .count = listing.count,
        .watermark = mark,
    };
    return QD_STORE_OK;
}
