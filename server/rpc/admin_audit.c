/* AdminService: ListAuditRecords (X6). */
#include "quota/v1/admin.pb-c.h"
#include "server/ledger/tenant_store.h"
#include "server/rpc/admin.h"
#include "server/rpc/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CURSOR_DIGITS_MAX 20 /* of UINT64_MAX */

struct page {
    struct qd_place *place;
    uint32_t left;
    uint64_t last; /* that was put */
    bool more;
};

static void put_hash(struct qd_out *out, uint32_t id, struct qd_hash128 hash)
{
    char text[33];

    if (hash.hi != 0 || hash.lo != 0) {
        (void)snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, hash.hi, hash.lo);
        qd_out_text(out, id, text);
    }
}

static bool put_record(void *context, const struct qd_audit_record *record)
{
    struct page *page = context;
    struct qd_out *out = &page->place->out;

    if (page->left == 0) {
        page->more = true;
        return false;
    }
    uint8_t *message = qd_out_begin(out, 1);
    qd_out_number(out, 1, record->sequence);
    qd_out_number(out, 2, (uint64_t)record->time.ns);
    qd_out_str(out, 3, record->actor);
    qd_out_str(out, 4, record->action);
    qd_out_str(out, 5, record->subject);
    qd_out_str(out, 6, record->detail);
    put_hash(out, 7, record->before);
    put_hash(out, 8, record->after);
    qd_out_end(out, message);
    page->left--;
    page->last = record->sequence;
    return true;
}

enum qd_error_code qd_admin_list_audit_records(struct qd_place *place, struct qd_call *call,
                                               struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ListAuditRecordsRequest *q = qd_place_unpack(
        place, &quota__v1__list_audit_records_request__descriptor, bytes, ret_error);
    struct page page = {.place = place};
    struct qd_store_error error = {0};
    char cursor[24];

    (void)call;
    if (q == NULL || qd_page_size(q->page_size, &page.left, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    size_t len = strlen(q->cursor);
    page.last = strtoull(q->cursor, NULL, 10);
    if (strspn(q->cursor, "0123456789") != len || len > CURSOR_DIGITS_MAX ||
        page.last == UINT64_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
                            "cursor: %s is not one that this server gave; leave it out to begin at "
                            "the start",
                            qd_quote(qd_str_of(q->cursor)).text);
    }
    if (qd_tenant_store_audit(place->node->tenants, page.last, put_record, &page, &error) !=
        QD_STORE_OK) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "audit records cannot be read: %s",
                            error.text);
    }
    (void)snprintf(cursor, sizeof(cursor), "%" PRIu64, page.last);
    qd_out_text(&place->out, 2, cursor);
    qd_out_number(&place->out, 3, !page.more);
    return QD_ERROR_NONE;
}
