#include "server/shard/price_keep.h"

#include "server/ledger/price_store.h"
#include "server/shard/pricing.h"

#include <inttypes.h>
#include <stdio.h>
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
