#include "client/ctl/export.h"

#include "client/ctl/csv.h"
#include "client/ctl/rpc.h"
#include "client/ctl/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* 0.6 MB of usual entries: a page's round trip is a few percent of its time. */
#define PAGE_ENTRIES 2500
#define CURSOR_MAX   64

/* The numbers of quota.v1.ListLedgerEntriesResponse. */
enum {
    ENTRIES = 1,
    NEXT_CURSOR = 2,
    END = 3,
    EXPIRED_THROUGH = 6
};

/* One page, being fetched or there. */
struct fetch {
    struct ctl *ctl;
    Quota__V1__ListLedgerEntriesRequest *request;
    char cursor[CURSOR_MAX];
    bool begun; /* the reply will be there, or is */
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    bool there;
    struct quota_bytes reply;
};

struct export
{
    struct ctl *ctl;
    bool csv;
    struct ctl_plan *page;
    struct ctl_plan *entry;
    struct ctl_sink *sink;
    char cursor[CURSOR_MAX]; /* of the last page that was printed */
    bool begins_anew;        /* nothing was printed yet, and no cursor was given */
    bool refused;            /* the cursor is none to go on with; the answer says what is */
};

/* --- fetching --- */

static void on_reply(void *context, struct quota_bytes reply)
{
    struct fetch *f = context;
    pthread_mutex_lock(&f->mutex);
    f->reply = reply;
    f->there = true;
    pthread_cond_signal(&f->arrived);
    pthread_mutex_unlock(&f->mutex);
}

static void fetch_begin(struct fetch *f, const char *cursor)
{
    struct quota_call call = {.timeout_ms = f->ctl->timeout_ms, .tries_max = 3};
    enum quota_status status = QUOTA_NO_MEMORY;
    (void)snprintf(f->cursor, sizeof f->cursor, "%s", cursor);
    f->request->cursor = f->cursor;
    size_t size = protobuf_c_message_get_packed_size(&f->request->base);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    f->begun = true;
    f->there = false;
    if (bytes != NULL) {
        (void)protobuf_c_message_pack(&f->request->base, bytes);
        status =
            quota_client_invoke_start(f->ctl->client, "/quota.v1.UsageService/ListLedgerEntries",
                                      bytes, size, &call, on_reply, f);
    }
    if (status != QUOTA_OK) {
        f->there = true;
        f->reply = (struct quota_bytes){.error = {.status = status}};
        (void)snprintf(f->reply.error.message, sizeof f->reply.error.message, "out of memory");
    }
    free(bytes);
}

/* The reply is the caller's. */
static struct quota_bytes fetch_await(struct fetch *f)
{
    pthread_mutex_lock(&f->mutex);
    while (!f->there) {
        pthread_cond_wait(&f->arrived, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
    f->begun = false;
    return f->reply;
}

/* --- printing --- */

static bool print_entries(struct export *e, const struct ctl_value *page)
{
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    bool well = true;
    while (well && ctl_wire_next(page, ENTRIES, &at, &bytes, &size)) {
        if (e->csv) {
            well = ctl_csv_entry(e->entry, bytes, size, e->sink);
        } else {
            well = ctl_wire_json(e->entry, bytes, size, e->sink);
            ctl_sink_put_char(e->sink, '\n');
        }
    }
    ctl_sink_flush(e->sink);
    return well;
}

/* L7: an export from the start, or from a time, begins after what has expired. Said once. */
static void note_expired(struct export *e, const struct ctl_value *through)
{
    if (e->begins_anew && through->number > 0) {
        (void)fprintf(e->ctl->err,
                      "note: entries up to #%s have expired (ledger_retention in the policy) and "
                      "are not listed; quotactl usage still has their sums\n",
                      ctl_count_text((int64_t)through->number).text);
    }
    e->begins_anew = false;
}

/* L6: asked again with this cursor, the server would say the same. */
static bool is_refused(const struct quota_error *error)
{
    return strcmp(error->reason, "INVALID_PAGE_TOKEN") == 0 ||
           strcmp(error->reason, "ENTRIES_EXPIRED") == 0;
}

/* The fetched page: print it, while the next one is fetched. False: broken off, after a message.
 * *ret_end: it was the last. */
static bool one_page(struct export *e, struct fetch *f, bool *ret_end)
{
    struct ctl_value page[CTL_PLAN_FIELDS_MAX + 1];
    struct quota_bytes reply = fetch_await(f);
    char next[CURSOR_MAX];
    bool well = reply.error.status == QUOTA_OK;
    if (!well) {
        e->refused = is_refused(&reply.error);
        (void)ctl_fail_call(e->ctl, &reply.error);
        quota_bytes_release(&reply);
        return false;
    }
    well = ctl_wire_read(e->page, (const char *)reply.data, reply.size, page) &&
           page[NEXT_CURSOR].size > 0 && page[NEXT_CURSOR].size < sizeof next;
    if (well) {
        (void)snprintf(next, sizeof next, "%.*s", (int)page[NEXT_CURSOR].size,
                       page[NEXT_CURSOR].bytes);
        *ret_end = page[END].number != 0;
        note_expired(e, &page[EXPIRED_THROUGH]);
        if (!*ret_end) {
            fetch_begin(f, next);
        }
        well = print_entries(e, page);
    }
    if (well) {
        (void)snprintf(e->cursor, sizeof e->cursor, "%s", next);
    } else {
        (void)ctl_fail(e->ctl, "the answer is not a list of ledger entries; compare the versions");
    }
    quota_bytes_release(&reply);
    return well;
}

static int print_pages(struct export *e, Quota__V1__ListLedgerEntriesRequest *request)
{
    struct ctl *ctl = e->ctl;
    struct fetch fetch = {.ctl = ctl, .request = request};
    pthread_mutex_init(&fetch.mutex, NULL);
    pthread_cond_init(&fetch.arrived, NULL);
    bool end = false;
    bool well = true;
    fetch_begin(&fetch, e->cursor);
    while (well && !end && ferror(ctl->out) == 0) {
        well = one_page(e, &fetch, &end);
    }
    if (fetch.begun) { /* nobody wants it any more */
        struct quota_bytes reply = fetch_await(&fetch);
        quota_bytes_release(&reply);
    }
    pthread_cond_destroy(&fetch.arrived);
    pthread_mutex_destroy(&fetch.mutex);
    (void)fflush(ctl->out);
    if (ferror(ctl->out) != 0) {
        return ctl_fail(ctl,
                        "the output cannot be written; the entries before --cursor %s may be lost",
                        e->cursor);
    }
    if (e->refused) {
        return CTL_ERROR;
    }
    (void)fprintf(ctl->err, "%s: --cursor %s\n", well ? "end; later" : "broken off; go on with",
                  e->cursor);
    return well ? CTL_OK : CTL_ERROR;
}

int ctl_export(struct ctl *ctl, Quota__V1__ListLedgerEntriesRequest *request,
               enum ctl_export_format format)
{
    struct export e = {
        .ctl = ctl,
        .csv = format != CTL_EXPORT_JSONL,
        .page = ctl_plan_new(&quota__v1__list_ledger_entries_response__descriptor),
        .entry = ctl_plan_new(&quota__v1__ledger_entry__descriptor),
        .sink = malloc(sizeof *e.sink),
    };
    int code = CTL_ERROR;
    if (e.page == NULL || e.entry == NULL || e.sink == NULL) {
        (void)ctl_fail(ctl, "out of memory");
    } else if (ctl_client(ctl) != NULL) {
        e.sink->out = ctl->out;
        e.sink->used = 0;
        (void)snprintf(e.cursor, sizeof e.cursor, "%s", request->cursor);
        e.begins_anew = e.cursor[0] == '\0';
        request->page_size = PAGE_ENTRIES;
        if (format == CTL_EXPORT_CSV) {
            ctl_sink_put_text(e.sink, ctl_csv_head);
            ctl_sink_flush(e.sink);
        }
        code = print_pages(&e, request);
    }
    ctl_plan_free(e.page);
    ctl_plan_free(e.entry);
    free(e.sink);
    return code;
}
