#include "server/shard/price_keep.h"

#include "server/ledger/expire.h"
#include "server/ledger/price_store.h"
#include "server/ledger/scan.h"
#include "server/shard/pricing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keep {
    struct qd_store *store;
    const struct qd_policy *policy;
    struct qd_wall_ns now;
    struct qd_problems *problems;
    struct qd_batch batch; /* of what is new */
    struct qd_buf content;
    struct qd_buf bytes;
    bool failed; /* said so already */
};

static void warn_failed(struct keep *k, const struct qd_store_error *error)
{
    if (!k->failed && k->problems != NULL) {
        qd_problems_add(
            k->problems, QD_SEVERITY_WARNING, "", 0, 0,
            "prices: their versions cannot be kept (%s); send SIGHUP once the store is well",
            error->text);
    }
    k->failed = true;
}

/* One line a price: meter, tier, cache-write TTL, above how much input, pico-USD / quantity. */
static void write_content(struct keep *k, const struct qd_price_sheet *sheet)
{
    static const char *const tiers[QD_TIER_COUNT] = {"standard", "batch", "priority", "flex"};

    qd_buf_clear(&k->content);
    for (size_t i = 0; i < sheet->line_count; i++) {
        const struct qd_price_line *line = &sheet->lines[i];
        char text[256];
        int size = snprintf(text, sizeof(text), "%s %s %s >%" PRId64 " %" PRId64 "/%" PRId64 "\n",
                            k->policy->meters[line->meter].name, tiers[line->tier],
                            line->cache_write_ttl == QD_CACHE_WRITE_1H ? "1h" : "5m",
                            line->above_input, line->amount_pico, line->quantity);
        qd_buf_append(&k->content, text, (size_t)size);
    }
}

static void keep_sheet(struct keep *k, enum qd_price_book book, const char *name,
                       const struct qd_price_sheet *sheet)
{
    char version[QD_PRICE_TEXT_MAX];
    struct qd_store_error error;
    struct qd_price_record kept;

    qd_price_version_text(name, sheet, version);
    write_content(k, sheet);
    struct qd_price_record record = {.book = book,
                                     .version = {version, strlen(version)},
                                     .effective = sheet->effective,
                                     .recorded = k->now,
                                     .content = qd_buf_str(&k->content)};
    enum qd_store_err err =
        qd_price_store_get(k->store, book, record.version, &k->bytes, &kept, &error);
    if (err == QD_STORE_NOT_FOUND) {
        qd_price_store_add(&k->batch, &record);
    } else if (err != QD_STORE_OK) {
        warn_failed(k, &error);
    } else if (!qd_slice_equal(kept.content, record.content) && k->problems != NULL) {
        qd_problems_add(k->problems, QD_SEVERITY_WARNING, "", 0, 0,
                        "prices.%s: the %s \"%s\" was in force with other amounts, and entries of "
                        "both name it so; give a "
                        "changed price an `effective` date",
                        name, book == QD_PRICE_BOOK_COST ? "cost" : "charge", version);
    }
}

/* --- admitting --- */

/* Changed versions that are looked at; qd_prices_keep warns of more. */
#define QD_CHANGED_MAX 1024U

/* A version that the policy gives other amounts than were kept. */
struct changed {
    enum qd_price_book book;
    char version[QD_PRICE_TEXT_MAX];
    const char *list; /* the policy's */
    bool used;
};

struct changes {
    struct changed *items; /* QD_CHANGED_MAX */
    size_t count;
    size_t used;
};

static void note_if_changed(struct keep *k, struct changes *c, enum qd_price_book book,
                            const char *name, const struct qd_price_sheet *sheet)
{
    struct qd_price_record kept;
    char version[QD_PRICE_TEXT_MAX];

    qd_price_version_text(name, sheet, version);
    write_content(k, sheet);
    if (c->count < QD_CHANGED_MAX &&
        qd_price_store_get(k->store, book, qd_slice_of(version), &k->bytes, &kept, NULL) ==
            QD_STORE_OK &&
        !qd_slice_equal(kept.content, qd_buf_str(&k->content))) {
        struct changed *item = &c->items[c->count++];
        *item = (struct changed){.book = book, .list = name};
        memcpy(item->version, version, sizeof(version));
    }
}

static void note_list(struct keep *k, struct changes *c, enum qd_price_book book,
                      const struct qd_price_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        note_if_changed(k, c, book, list->name, &list->sheets[i]);
    }
}

static bool mark_used(void *context, const struct qd_entry *entry)
{
    struct changes *c = context;

    for (size_t i = 0; i < entry->price_count; i++) {
        for (size_t j = 0; j < c->count; j++) {
            struct changed *item = &c->items[j];
            if (!item->used && qd_slice_equal(entry->prices[i], qd_slice_of(item->version))) {
                item->used = true;
                c->used++;
            }
        }
    }
    return c->used < c->count;
}

static void refuse(const struct changes *c, struct qd_problems *problems)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct changed *item = &c->items[i];
        if (item->used) {
            qd_problems_add(
                problems, QD_SEVERITY_ERROR, "", 0, 0,
                "prices.%s: the %s \"%s\" has priced ledger entries with other amounts, "
                "and used prices never change; keep them as they were, and give the "
                "changed price an `effective` date",
                item->list, item->book == QD_PRICE_BOOK_COST ? "cost" : "charge", item->version);
        }
    }
}

static void forget_unused(struct qd_store *store, const struct changes *c)
{
    struct qd_batch batch;

    qd_batch_init(&batch);
    for (size_t i = 0; i < c->count; i++) {
        qd_price_store_delete(&batch, c->items[i].book, qd_slice_of(c->items[i].version));
    }
    enum qd_store_err err = qd_store_write(store, &batch, true, NULL);
    (void)err; /* if it fails, qd_prices_keep warns */
    qd_batch_release(&batch);
}

bool qd_prices_admit(struct qd_store *store, struct qd_ledger *ledger,
                     const struct qd_policy *policy, struct qd_problems *problems)
{
    struct keep k = {.store = store, .policy = policy};
    struct changes c = {.items = calloc(QD_CHANGED_MAX, sizeof(struct changed))};
    uint64_t last = 0;

    if (c.items == NULL) {
        return true; /* qd_prices_keep warns of what has changed */
    }
    for (size_t i = 0; i < policy->model_count; i++) {
        note_list(&k, &c, QD_PRICE_BOOK_COST, &policy->models[i].cost);
        note_list(&k, &c, QD_PRICE_BOOK_CHARGE, &policy->models[i].charge);
    }
    for (size_t i = 0; i < policy->pool_count; i++) {
        note_list(&k, &c, QD_PRICE_BOOK_COST, &policy->pools[i].cost);
        note_list(&k, &c, QD_PRICE_BOOK_CHARGE, &policy->pools[i].charge);
    }
    note_list(&k, &c, QD_PRICE_BOOK_COST, &policy->cap_price);
    bool known =
        c.count == 0 || (qd_ledger_visit(ledger, 0, 0, mark_used, &c, &last, NULL) == QD_STORE_OK &&
                         qd_expired_visit_prices(ledger, mark_used, &c, NULL) == QD_STORE_OK);
    if (c.used > 0) {
        refuse(&c, problems);
    } else if (c.count > 0 && known) {
        forget_unused(store, &c);
    }
    bool admitted = c.used == 0;
    free(c.items);
    qd_buf_release(&k.content);
    qd_buf_release(&k.bytes);
    return admitted;
}

/* --- keeping --- */

static void keep_list(struct keep *k, enum qd_price_book book, const struct qd_price_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        keep_sheet(k, book, list->name, &list->sheets[i]);
    }
}

void qd_prices_keep(struct qd_store *store, const struct qd_policy *policy, struct qd_wall_ns now,
                    struct qd_problems *problems)
{
    struct keep k = {.store = store, .policy = policy, .now = now, .problems = problems};
    struct qd_store_error error;

    qd_batch_init(&k.batch);
    for (size_t i = 0; i < policy->model_count; i++) {
        keep_list(&k, QD_PRICE_BOOK_COST, &policy->models[i].cost);
        keep_list(&k, QD_PRICE_BOOK_CHARGE, &policy->models[i].charge);
    }
    for (size_t i = 0; i < policy->pool_count; i++) {
        keep_list(&k, QD_PRICE_BOOK_COST, &policy->pools[i].cost);
        keep_list(&k, QD_PRICE_BOOK_CHARGE, &policy->pools[i].charge);
    }
    keep_list(&k, QD_PRICE_BOOK_COST, &policy->cap_price);
    k.batch.ops.failed |= k.content.failed;
    if (k.batch.count > 0 && qd_store_write(store, &k.batch, true, &error) != QD_STORE_OK) {
        warn_failed(&k, &error);
    }
    qd_batch_release(&k.batch);
    qd_buf_release(&k.content);
    qd_buf_release(&k.bytes);
}
