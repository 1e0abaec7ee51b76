#include "oracle.h"

static struct qd_str pick(struct qd_prng *prng, const char *const *texts, size_t count)
{
    const char *text = texts[qd_prng_below(prng, count)];
    return (struct qd_str){*text != '\0' ? text : NULL, strlen(text)};
}

#define PICK(prng, texts) pick((prng), (texts), sizeof(texts) / sizeof((texts)[0]))

static const char *const tenants[] = {"acme",   "acme/search", "acme/search/key-7", "acme/ads",
                                      "acme-x", "beta",        "beta/one",          "acme.eu"};
static const char *const models[] = {"", "gpt-4o", "llama-70b"};
static const char *const pools[] = {"", "h100"};
static const char *const users[] = {"", "ann", "bob"};
static const char *const envs[] = {"", "dev", "prod"};
static const char *const meters[] = {"input_tokens", "output_tokens", "gpu_ms", "requests",
                                     "widgets"};
static const char *const prices[] = {"gpt-4o@1", "gpt-4o@2", "h100@1"};

void oracle_random_entry(struct qd_prng *prng, int64_t days, struct qd_entry *ret_entry)
{
    struct qd_entry *e = ret_entry;
    *e = (struct qd_entry){
        .kind = qd_prng_chance(prng, 1, 20) ? QD_ENTRY_CORRECTION : QD_ENTRY_USAGE,
        .flags = QD_ENTRY_FINAL,
        .tenant = PICK(prng, tenants),
        .model = PICK(prng, models),
        .pool = PICK(prng, pools),
        .user = PICK(prng, users),
        .source = qd_slice_of("gateway"),
    };
    e->event_time.ns = qd_prng_between(prng, ORACLE_NOW_NS - days * QD_NS_PER_DAY, ORACLE_NOW_NS);
    e->charged_time = e->event_time;
    e->labels[0] = (struct qd_label){qd_slice_of("env"), PICK(prng, envs)};
    e->labels[1] = (struct qd_label){qd_slice_of("team"), PICK(prng, users)};
    e->label_count = 2;
    for (size_t i = 0; i < sizeof meters / sizeof meters[0]; i++) {
        if (qd_prng_chance(prng, 1, 2)) {
            int64_t amount = (int64_t)qd_prng_skewed(prng, 100000);
            amount = e->kind == QD_ENTRY_CORRECTION ? -amount : amount;
            e->quantities[e->quantity_count++] =
                (struct qd_entry_quantity){qd_slice_of(meters[i]), amount};
        }
    }
    if (qd_prng_chance(prng, 1, 10)) {
        e->flags |= QD_ENTRY_UNPRICED;
    } else {
        e->prices[e->price_count++] = PICK(prng, prices);
        e->cost_pico_usd = qd_prng_between(prng, 0, INT64_C(1) << 40);
        e->charge_pico_usd = 2 * e->cost_pico_usd + 1;
        e->cost_nano_usd = (int64_t)((e->cost_pico_usd + 999) / 1000);
        e->charge_nano_usd = (int64_t)((e->charge_pico_usd + 999) / 1000);
    }
    qd_entry_sort(e);
}

long oracle_find(const struct oracle *oracle, const struct qd_entry *entry)
{
    for (size_t i = 0; entry->request_id.len > 0 && i < oracle->count; i++) {
        const struct qd_entry *e = &oracle->entries[i];
        if (qd_slice_equal(e->tenant, entry->tenant) && qd_slice_equal(e->source, entry->source) &&
            qd_slice_equal(e->request_id, entry->request_id) && e->attempt == entry->attempt &&
            e->part == entry->part) {
            return (long)i;
        }
    }
    return -1;
}

void oracle_sum(const struct oracle *oracle, int64_t from_ns, int64_t to_ns, oracle_test fits,
                const void *context, struct qd_sums *ret_sums)
{
    for (size_t i = 0; i < oracle->count; i++) {
        const struct qd_entry *e = &oracle->entries[i];
        if (e->event_time.ns < from_ns || e->event_time.ns >= to_ns ||
            (fits != NULL && !fits(e, context))) {
            continue;
        }
        for (size_t k = 0; k < e->quantity_count; k++) {
            qd_sums_add(ret_sums, e->quantities[k].meter, e->quantities[k].amount);
        }
        qd_sums_add(ret_sums, qd_slice_of("#entries"), 1);
        if ((e->flags & QD_ENTRY_UNPRICED) != 0) {
            qd_sums_add(ret_sums, qd_slice_of("#unpriced"), 1);
        } else {
            qd_sums_add(ret_sums, qd_slice_of("cost"), e->cost_nano_usd);
            qd_sums_add(ret_sums, qd_slice_of("charge"), e->charge_nano_usd);
            qd_sums_add(ret_sums, qd_slice_of("#cost_pico"), e->cost_pico_usd);
            qd_sums_add(ret_sums, qd_slice_of("#charge_pico"), e->charge_pico_usd);
        }
    }
}

bool oracle_same_sums(const struct qd_sums *a, const struct qd_sums *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!qd_slice_equal(a->items[i].name, b->items[i].name) ||
            a->items[i].value != b->items[i].value) {
            return false;
        }
    }
    return true;
}
