/* Reports at random against a naive ledger, an array of what was sent: retries, reorderings of
 * parts, other content under a known key, two tokens of one request, late ones, restarts and
 * crashes in between (S6, S2, D7, X5). QD_SEED replays a run. */
#include "fixture.h"

#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS  20000
#define ENTRIES_MAX 8192
#define REQUESTS    600 /* few enough to be met again and again */
#define LIVE        40  /* of them at a time: older ones come up less and less */
#define PARTS       3
#define TOKENS_KEPT 2 /* of one request */

static const char policy[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}}\n"
    "unknown_price: unpriced\n"
    "plans:\n"
    "  pro:\n"
    "    day: {limit: 100M/year, meter: input_tokens}\n"
    "    rate: {limit: 100M/min, meter: input_tokens}\n"
    "tenants: {acme: {plan: pro}, acme/team: {plan: pro}, other: {plan: pro}}\n";

static const char *const tenants[] = {"acme", "acme/team", "other"};
static const char *const sources[] = {"gateway", "pool"};

/* What a report says: its key and its content. */
struct report {
    uint32_t request;
    uint32_t source;
    uint32_t part;
    bool partial;
    int64_t tokens;
};

struct model {
    struct report entries[ENTRIES_MAX]; /* the ledger's, in order: number i has sequence i + 1 */
    size_t count;
    char tokens[REQUESTS][TOKENS_KEPT][QD_TOKEN_TEXT_MAX + 1]; /* "": not checked */
    unsigned results[3];
};

static struct fixture f;
static struct model *model;
static struct qd_prng prng;

/* A request is of one tenant; every third one is post-paid. */
static const char *tenant_of(uint32_t request)
{
    return tenants[request % 3];
}

static bool is_post_paid(uint32_t request)
{
    return request % 3 == 1;
}

static const struct report *find(const struct report *r, uint64_t *ret_sequence)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct report *e = &model->entries[i];
        if (e->request == r->request && e->source == r->source && e->part == r->part) {
            *ret_sequence = i + 1;
            return e;
        }
    }
    return NULL;
}

static enum qd_error_code send(const struct report *r)
{
    char id[16];
    const char *token = model->tokens[r->request][0];
    const char *other = model->tokens[r->request][1];
    if (other[0] != '\0' && qd_prng_chance(&prng, 1, 2)) {
        token = other; /* any of its request's tokens */
    }
    struct qd_report_args args = report_of(token[0] != '\0' ? token : NULL, r->tokens);
    (void)snprintf(id, sizeof id, "r%u", r->request);
    if (token[0] == '\0') {
        args.tenant = str(tenant_of(r->request));
        args.request_id = str(id);
        args.model = str("m");
    }
    args.source = str(sources[r->source]);
    args.sequence = r->part;
    args.partial = r->partial;
    return report_args(&f, &args);
}

static void book(const struct report *r)
{
    cr_assert_lt(model->count, ENTRIES_MAX);
    cr_assert_eq(f.report.entry_sequence, model->count + 1);
    model->entries[model->count++] = *r;
}

/* What the ledger answers must be what the array says. */
static void send_and_compare(const struct report *r)
{
    uint64_t sequence = 0;
    const struct report *first = find(r, &sequence);
    enum qd_error_code code = send(r);
    if (first == NULL) {
        cr_assert_eq(code, QD_ERROR_NONE, "%s", f.error.text);
        cr_assert_not(f.report.duplicate);
        book(r);
        model->results[0]++;
    } else if (first->tokens == r->tokens && first->partial == r->partial) {
        cr_assert_eq(code, QD_ERROR_NONE, "%s", f.error.text);
        cr_assert(f.report.duplicate);
        cr_assert_eq(f.report.entry_sequence, sequence);
        model->results[1]++;
    } else {
        cr_assert_eq(code, QD_ERROR_REPORT_CONFLICT);
        model->results[2]++;
    }
}

static uint32_t random_request(size_t operation)
{
    uint32_t newest = (uint32_t)(operation * REQUESTS / OPERATIONS);
    uint32_t back = (uint32_t)qd_prng_skewed(&prng, LIVE);
    return newest >= back ? newest - back : 0;
}

static struct report random_report(size_t operation)
{
    uint32_t request = random_request(operation);
    struct report r = {.request = request,
                       .source = (uint32_t)qd_prng_below(&prng, 2),
                       .part = (uint32_t)qd_prng_below(&prng, PARTS)};
    /* Mostly what this part always says; else it contradicts. */
    r.tokens = request % 7 + r.part + 1 + qd_prng_chance(&prng, 1, 8);
    r.partial = (r.part + 1 < PARTS) != qd_prng_chance(&prng, 1, 16);
    return r;
}

static void random_check(size_t operation)
{
    char id[16];
    uint32_t request = random_request(operation);
    if (is_post_paid(request)) {
        return;
    }
    struct qd_check_args args = args_of(tenant_of(request), 10);
    (void)snprintf(id, sizeof id, "r%u", request);
    args.request_id = str(id);
    args.ttl_ms = 20000;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    if (f.answer.allowed) {
        size_t at = model->tokens[request][0][0] == '\0' ? 0 : 1;
        memcpy(model->tokens[request][at], f.token, sizeof f.token);
    }
}

/* --- the whole --- */

static bool see(void *context, const struct qd_entry *entry)
{
    char id[16];
    int64_t amount = 0;
    uint64_t *seen = context;
    cr_assert_lt(*seen, model->count);
    const struct report *r = &model->entries[(*seen)++];
    (void)snprintf(id, sizeof id, "r%u", r->request);
    cr_assert_eq(entry->sequence, *seen);
    cr_assert(qd_slice_equal(entry->request_id, str(id)));
    cr_assert(qd_slice_equal(entry->source, str(sources[r->source])));
    cr_assert(qd_slice_equal(entry->tenant, str(tenant_of(r->request))));
    cr_assert_eq(entry->part, r->part);
    cr_assert(qd_entry_quantity(entry, str("input_tokens"), &amount));
    cr_assert_eq(amount, r->tokens);
    return true;
}

static int64_t sum_of(const char *root)
{
    int64_t sum = 0;
    for (size_t i = 0; i < model->count; i++) {
        const char *tenant = tenant_of(model->entries[i].request);
        sum += strncmp(tenant, root, strlen(root)) == 0 ? model->entries[i].tokens : 0;
    }
    return sum;
}

static void compare_all(void)
{
    uint64_t seen = 0;
    uint64_t last = 0;
    struct qd_verify_report verified;
    cr_assert_eq(qd_ledger_visit(f.ledger, 0, 0, see, &seen, &last, NULL), QD_STORE_OK);
    cr_assert_eq(seen, model->count);
    cr_assert_eq(qd_ledger_verify(f.ledger, &verified, NULL), QD_STORE_OK);
    cr_assert(verified.clean, "%s", verified.difference);
    cr_assert_eq(used_of(&f, "acme", "day"), sum_of("acme"));
    cr_assert_eq(used_of(&f, "other", "day"), sum_of("other"));
}

static void boot_again(uint64_t keep)
{
    fixture_close(&f);
    qd_store_memory_crash(f.store, keep);
    fixture_open(&f, policy);
}

/* The power goes while it is booked: it is there or not, and sent again it is booked once. */
static void crash_while_booking(const struct report *r)
{
    uint64_t sequence = 0;
    bool known = find(r, &sequence) != NULL;
    struct qd_store_faults *faults = qd_store_memory_faults(f.store);
    struct qd_store_fault *fault = qd_prng_chance(&prng, 1, 2) ? &faults->write : &faults->sync;
    fault->countdown = 0;
    enum qd_error_code code = send(r);
    cr_assert(known || code == QD_ERROR_STORE_ERROR);
    fault->countdown = -1;
    boot_again(qd_prng_below(&prng, 2));
    if (!known) {
        cr_assert_eq(send(r), QD_ERROR_NONE, "%s", f.error.text);
        book(r);
    }
    send_and_compare(r);
}

TestSuite(report_model, .timeout = 250);

Test(report_model, S6_retries_reorderings_and_conflicts_against_a_naive_ledger)
{
    qd_prng_init(&prng, qd_prng_seed("report_model", 71));
    model = calloc(1, sizeof *model);
    fixture_open(&f, policy);
    for (size_t i = 0; i < OPERATIONS; i++) {
        struct report r = random_report(i);
        uint64_t draw = qd_prng_below(&prng, 1000);
        if (draw < 200) {
            random_check(i);
        } else if (draw < 210) {
            fixture_pass(&f, qd_prng_between(&prng, 1, 30) * S);
        } else if (draw < 213) {
            boot_again(UINT64_MAX);
        } else if (draw < 220) {
            crash_while_booking(&r);
        } else {
            send_and_compare(&r);
        }
        if (i % 1000 == 0) {
            compare_all();
        }
    }
    compare_all();
    boot_again(0);
    compare_all();
    printf("%u booked, %u retries, %u conflicts\n", model->results[0], model->results[1],
           model->results[2]);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_gt(model->results[i], 500);
    }
    fixture_pass(&f, QD_NS_PER_DAY);
    cr_assert_eq(held_of(&f, "acme", "day"), 0);
    fixture_end(&f);
    free(model);
}
