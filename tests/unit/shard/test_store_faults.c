/* A crash, and a fault, at every operation of the store: a recorded scenario is run once to count
 * them, then once for each with that one failing. Whatever happened: each acknowledged report is
 * there once, under the sequence that was answered; nothing that nobody sent is; the ledger has no
 * gap and agrees with its rollups; budgets are its sums; and what had no answer, sent again, is
 * booked once (X4, X5, L2, S6, D7). */
#include "fixture.h"

#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "server/shard/reset.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_MAX 32
#define IDS         26
#define KEEP_ALL    UINT64_MAX

static const char policy[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}}\n"
    "prices: {m: {input_tokens: $1/1M, output_tokens: $2/1M}}\n"
    "plans:\n"
    "  pro:\n"
    "    tokens: {limit: 1M/month, meter: input_tokens}\n"
    "    rate: {limit: 1M/min, meter: input_tokens}\n"
    "    cost: $500/month\n"
    "  paid:\n"
    "    balance: {limit: 1000, meter: requests, algorithm: prepaid}\n"
    "tenants: {acme: {plan: pro}, acme/team: {plan: pro}, other: {plan: pro}}\n";

/* Another price from now on: publishing it writes. */
static const char next_policy[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}, m2: {max_output_tokens: 100}}\n"
    "prices: {m: {input_tokens: $1/1M, output_tokens: $2/1M}, m2: {input_tokens: $3/1M, "
    "output_tokens: $4/1M}}\n"
    "plans:\n"
    "  pro:\n"
    "    tokens: {limit: 1M/month, meter: input_tokens}\n"
    "    rate: {limit: 1M/min, meter: input_tokens}\n"
    "    cost: $500/month\n"
    "  paid:\n"
    "    balance: {limit: 1000, meter: requests, algorithm: prepaid}\n"
    "tenants: {acme: {plan: pro}, acme/team: {plan: pro}, other: {plan: pro}}\n";

/* --- the scenario --- */

enum verb {
    CHECK,
    REPORT, /* by the token of the check of that id; post-paid if there is none */
    PART,   /* likewise, more follow */
    UNDISPATCHED,
    AGAIN, /* a report of before, the same */
    OTHER, /* a report of before with other content */
    CANCEL,
    EXTEND,
    PUT,
    GRANT,
    RESET,
    BEAT,
    PASS,
    RELOAD
};

struct step {
    enum verb verb;
    char id; /* of the request */
    const char *tenant;
    int64_t tokens;
    uint32_t part;
};

static const struct step scenario[] = {
    {BEAT, 0, NULL, 0, 0},
    {CHECK, 'a', "acme", 100, 0},
    {REPORT, 'a', "acme", 80, 0},
    {REPORT, 'p', "acme", 7, 0},
    {AGAIN, 'p', NULL, 0, 0},
    {OTHER, 'p', NULL, 0, 0},
    {CHECK, 'b', "acme/team", 300, 0},
    {PART, 'b', "acme/team", 100, 0},
    {PART, 'b', "acme/team", 50, 2},
    {AGAIN, 'b', NULL, 0, 2},
    {REPORT, 'b', "acme/team", 30, 1},
    {PUT, 0, "paid-co", 0, 0},
    {CHECK, 'c', "paid-co", 10, 0},
    {REPORT, 'c', "paid-co", 9, 0},
    {GRANT, 'x', "paid-co", 0, 0},
    {REPORT, 'q', "paid-co", 5, 0},
    {CHECK, 'd', "acme", 1000, 0},
    {EXTEND, 'd', "acme", 400, 0},
    {RELOAD, 0, NULL, 0, 0},
    {REPORT, 'd', "acme", 900, 0},
    {CHECK, 'e', "acme", 50, 0},
    {CANCEL, 'e', NULL, 0, 0},
    {CHECK, 'f', "other", 50, 0},
    {UNDISPATCHED, 'f', "other", 0, 0},
    {RESET, 0, "acme", 0, 0},
    {REPORT, 'r', "acme", 11, 0},
    {CHECK, 'g', "acme", 60, 0},
    {PASS, 0, NULL, 0, 0}, /* its hold expires */
    {REPORT, 'g', "acme", 59, 0},
    {AGAIN, 'a', NULL, 0, 0},
    {OTHER, 'g', NULL, 0, 0},
    {BEAT, 0, NULL, 0, 0},
    {GRANT, 'y', "paid-co", 0, 0},
    {REPORT, 's', "other", 3, 0},
};
#define STEPS (sizeof scenario / sizeof scenario[0])

/* What a client knows of a report that it sent. */
struct told {
    const struct step *step;
    char id[2];
    const char *token; /* NULL: post-paid */
    uint64_t entry;    /* acknowledged as; 0: not yet */
    uint64_t seen;     /* in the ledger */
};

struct world {
    struct fixture f;
    char tokens[IDS][QD_TOKEN_TEXT_MAX + 1];
    struct told reports[REPORTS_MAX];
    size_t report_count;
    bool put_sent, put_done;
    bool reset_done;
    uint64_t granted[IDS]; /* the grant's entry; 0: not acknowledged */
    bool grant_sent[IDS];
    unsigned refused; /* reports that the store would not take */
};

static struct world w;

/* A fault is answered as one, in words; nothing else may go wrong. */
static bool went(enum qd_error_code code)
{
    if (code == QD_ERROR_STORE_ERROR) {
        cr_assert_gt(strlen(w.f.error.text), 20);
        return false;
    }
    cr_assert_eq(code, QD_ERROR_NONE, "%s", w.f.error.text);
    return true;
}

static struct told *find(char id, uint32_t part)
{
    for (size_t i = 0; i < w.report_count; i++) {
        if (w.reports[i].step->id == id && w.reports[i].step->part == part) {
            return &w.reports[i];
        }
    }
    return NULL;
}

static struct qd_report_args args_for(const struct told *told, int64_t more)
{
    struct qd_report_args args = report_of(told->token, told->step->tokens + more);
    if (told->step->verb == UNDISPATCHED) {
        args.usage_count = 0;
        args.outcome = 2;
    }
    if (told->token == NULL) {
        args.tenant = str(told->step->tenant);
        args.request_id = str(told->id);
        args.model = str("m");
    }
    args.partial = told->step->verb == PART;
    args.sequence = told->step->part;
    return args;
}

/* Send it, for the first time or again. */
static bool send(struct told *told)
{
    struct qd_report_args args = args_for(told, 0);
    if (!went(report_args(&w.f, &args))) {
        cr_assert_not_null(strstr(w.f.error.text, "booked"), "%s", w.f.error.text);
        w.refused++;
        return false;
    }
    if (told->entry != 0) {
        cr_assert(w.f.report.duplicate, "%s is booked anew", told->id);
        cr_assert_eq(w.f.report.entry_sequence, told->entry);
    }
    told->entry = w.f.report.entry_sequence;
    return true;
}

static bool step_report(const struct step *step)
{
    if (strcmp(step->tenant, "paid-co") == 0 && !w.put_done) {
        return true; /* there is no such tenant, and nothing counts its usage */
    }
    struct told *told = &w.reports[w.report_count++];
    *told = (struct told){.step = step, .id = {step->id, '\0'}};
    if (w.tokens[step->id - 'a'][0] != '\0') {
        told->token = w.tokens[step->id - 'a'];
    }
    return send(told);
}

static bool step_other(const struct step *step)
{
    struct told *told = find(step->id, step->part);
    if (told == NULL || told->entry == 0) {
        return true;
    }
    struct qd_report_args args = args_for(told, 1);
    enum qd_error_code code = report_args(&w.f, &args);
    if (code == QD_ERROR_REPORT_CONFLICT) {
        return true;
    }
    cr_assert_not(went(code), "other content of %s is no conflict", told->id);
    return false;
}

static bool step_check(const struct step *step)
{
    char id[2] = {step->id, '\0'};
    struct qd_check_args args = args_of(step->tenant, step->tokens);
    args.request_id = str(id);
    args.ttl_ms = 60000;
    if (!went(check_args(&w.f, &args))) {
        return false;
    }
    cr_assert(w.f.answer.allowed || !w.put_done, "%s", w.f.answer.message);
    if (w.f.answer.allowed) {
        memcpy(w.tokens[step->id - 'a'], w.f.token, sizeof w.f.token);
    }
    return true;
}

static bool step_cancel(const struct step *step)
{
    bool cancelled = false;
    if (w.tokens[step->id - 'a'][0] == '\0') {
        return true;
    }
    (void)qd_worker_enter(w.f.worker);
    enum qd_error_code code = qd_node_cancel(w.f.worker, str(w.tokens[step->id - 'a']), str(NULL),
                                             &cancelled, &w.f.error);
    qd_worker_leave(w.f.worker);
    return went(code);
}

static bool step_extend(const struct step *step)
{
    struct qd_extend_args args;
    struct qd_extend_answer answer;
    if (w.tokens[step->id - 'a'][0] == '\0') {
        return true;
    }
    memset(&args, 0, sizeof args);
    args.reservation = str(w.tokens[step->id - 'a']);
    args.used[0] = (struct qd_amount_arg){str("input_tokens"), step->tokens};
    args.used_count = 1;
    (void)qd_worker_enter(w.f.worker);
    enum qd_error_code code = qd_node_extend(w.f.worker, &args, &answer, &w.f.error);
    qd_worker_leave(w.f.worker);
    return went(code);
}

static bool step_put(const struct step *step)
{
    w.put_sent = true;
    w.put_done = went(put_tenant(&w.f, step->tenant, "paid", NULL, NULL));
    return w.put_done;
}

static bool step_grant(const struct step *step)
{
    char id[2] = {step->id, '\0'};
    struct qd_grant_args args = {
        .path = str(step->tenant), .limit = "balance", .amount = 5, .grant_id = str(id)};
    struct qd_tenants_work *work = calloc(1, sizeof *work);
    uint64_t *granted = &w.granted[step->id - 'a'];
    bool duplicate = false;
    uint64_t sequence = 0;
    bool done = w.put_done; /* else there is nobody to grant it to */
    if (done) {
        w.grant_sent[step->id - 'a'] = true;
        done = went(qd_tenants_grant(w.f.node, &args, work, &duplicate, &sequence, &w.f.error));
    }
    if (done) {
        cr_assert(*granted == 0 || (duplicate && *granted == sequence));
        *granted = sequence;
    }
    qd_buf_release(&work->bytes);
    free(work);
    return done;
}

static void no_counter(void *context, const struct qd_policy *p,
                       const struct qd_limit_state *before, struct qd_wall_ns now)
{
    (void)context;
    (void)p;
    (void)before;
    (void)now;
}

static bool step_reset(const struct step *step)
{
    struct qd_reset_args args = {.tenant = str(step->tenant), .limit = str("pro.tokens")};
    struct qd_reset_listener listener = {no_counter, NULL, UINT32_MAX};
    uint32_t count = 0;
    (void)qd_worker_enter(w.f.worker);
    enum qd_error_code code = qd_reset(w.f.worker, &args, &listener, &count, &w.f.error);
    qd_worker_leave(w.f.worker);
    w.reset_done = went(code);
    return w.reset_done;
}

static bool take(const struct step *step)
{
    switch (step->verb) {
    case CHECK:
        return step_check(step);
    case REPORT:
    case PART:
    case UNDISPATCHED:
        return step_report(step);
    case AGAIN:
        return find(step->id, step->part) == NULL || send(find(step->id, step->part));
    case OTHER:
        return step_other(step);
    case CANCEL:
        return step_cancel(step);
    case EXTEND:
        return step_extend(step);
    case PUT:
        return step_put(step);
    case GRANT:
        return step_grant(step);
    case RESET:
        return step_reset(step);
    case BEAT:
        return qd_ledger_heartbeat(w.f.ledger, (struct qd_wall_ns){w.f.wall}, NULL) == QD_STORE_OK;
    case PASS:
        fixture_pass(&w.f, 90 * S);
        return true;
    case RELOAD:
        fixture_publish(&w.f, next_policy);
        return true;
    }
    return false;
}

/* --- what must be so --- */

struct sums {
    uint64_t last;
    int64_t tokens; /* of acme and below, since its reset */
    int64_t cost;   /* of acme and below */
    int64_t calls;  /* of paid-co */
    unsigned grants[IDS];
};

static bool below(struct qd_str tenant, const char *root)
{
    size_t len = strlen(root);
    return tenant.len >= len && memcmp(tenant.ptr, root, len) == 0 &&
           (tenant.len == len || tenant.ptr[len] == '/');
}

static void add_usage(struct sums *sums, const struct qd_entry *entry)
{
    int64_t amount = 0;
    if (below(entry->tenant, "acme")) {
        sums->tokens += qd_entry_quantity(entry, str("input_tokens"), &amount) ? amount : 0;
        sums->cost += entry->cost_nano_usd;
    } else if (below(entry->tenant, "paid-co")) {
        sums->calls += qd_entry_quantity(entry, str("requests"), &amount) ? amount : 0;
    }
}

static bool see(void *context, const struct qd_entry *entry)
{
    struct sums *sums = context;
    cr_assert_eq(entry->sequence, sums->last + 1, "a gap");
    sums->last = entry->sequence;
    if (entry->kind == QD_ENTRY_GRANT) {
        sums->grants[entry->request_id.ptr[0] - 'a']++;
    } else if (entry->kind == QD_ENTRY_ADJUSTMENT) {
        sums->tokens = 0;
    } else {
        struct told *told = find(entry->request_id.ptr[0], entry->part);
        int64_t amount = 0;
        cr_assert_not_null(told, "nobody sent entry %llu", (unsigned long long)entry->sequence);
        cr_assert_eq(told->seen, 0, "%s is there twice", told->id);
        cr_assert(qd_slice_equal(entry->tenant, str(told->step->tenant)));
        (void)qd_entry_quantity(entry, str("input_tokens"), &amount);
        cr_assert_eq(amount, told->step->tokens);
        told->seen = entry->sequence;
        add_usage(sums, entry);
    }
    return true;
}

/* D7: used comes from the ledger, and nothing else. */
static void same(int64_t used, int64_t sum, const char *what)
{
    cr_assert_eq(used, sum, "%s: %lld used, the ledger says %lld", what, (long long)used,
                 (long long)sum);
}

static void check_ledger(void)
{
    struct sums sums = {0};
    uint64_t last = 0;
    struct qd_verify_report verified;
    struct qd_store_error error = {0};
    for (size_t i = 0; i < w.report_count; i++) {
        w.reports[i].seen = 0;
    }
    cr_assert_eq(qd_ledger_visit(w.f.ledger, 0, 0, see, &sums, &last, &error), QD_STORE_OK, "%s",
                 error.text);
    for (size_t i = 0; i < w.report_count; i++) {
        const struct told *told = &w.reports[i];
        cr_assert(told->entry == 0 || told->seen == told->entry, "%s is lost", told->id);
    }
    for (size_t i = 0; i < IDS; i++) {
        cr_assert_leq(sums.grants[i], w.grant_sent[i], "a grant counts twice, or nobody made it");
        cr_assert(w.granted[i] == 0 || sums.grants[i] == 1, "a grant is lost");
    }
    cr_assert_eq(qd_ledger_verify(w.f.ledger, &verified, &error), QD_STORE_OK, "%s", error.text);
    cr_assert(verified.clean, "%s", verified.difference);
    same(used_of(&w.f, "acme", "tokens"), sums.tokens, "tokens");
    same(used_of(&w.f, "acme", "cost"), sums.cost, "cost");
    if (w.put_done) {
        same(used_of(&w.f, "paid-co", "balance"), sums.calls, "calls");
    }
}

/* The client goes on: what had no answer is sent again, what had one too. */
static void send_all_again(void)
{
    for (size_t i = 0; i < STEPS; i++) {
        if (scenario[i].verb == PUT && w.put_sent) {
            cr_assert(step_put(&scenario[i]));
        } else if (scenario[i].verb == GRANT && w.grant_sent[scenario[i].id - 'a']) {
            cr_assert(step_grant(&scenario[i]));
        }
    }
    for (size_t i = 0; i < w.report_count; i++) {
        cr_assert(send(&w.reports[i]), "%s", w.f.error.text);
    }
    check_ledger();
    for (size_t i = 0; i < w.report_count; i++) {
        cr_assert_eq(w.reports[i].seen, w.reports[i].entry);
    }
}

static struct qd_store_faults *faults(void)
{
    return qd_store_memory_faults(w.f.store);
}

static void no_more_faults(void)
{
    faults()->write.countdown = faults()->sync.countdown = faults()->read.countdown = -1;
}

static void begin(void)
{
    memset(&w, 0, sizeof w);
    fixture_open(&w.f, policy);
    faults()->write.calls = faults()->sync.calls = faults()->read.calls = 0;
}

/* How many operations of each kind the scenario makes. */
static struct qd_store_faults count_operations(void)
{
    begin();
    for (size_t i = 0; i < STEPS; i++) {
        cr_assert(take(&scenario[i]), "step %zu: %s", i, w.f.error.text);
    }
    struct qd_store_faults seen = *faults();
    check_ledger();
    cr_assert_eq(held_of(&w.f, "acme", "tokens"), 0);
    fixture_end(&w.f);
    return seen;
}

/* The scenario until the operation that `fault` counts strikes: then the power goes. */
static void crash_at(uint64_t operation, bool in_sync, uint64_t keep)
{
    begin();
    struct qd_store_fault *fault = in_sync ? &faults()->sync : &faults()->write;
    fault->countdown = (int64_t)operation;
    fault->repeat = true;
    for (size_t i = 0; i < STEPS && fault->calls <= operation; i++) {
        (void)take(&scenario[i]);
    }
    cr_assert_gt(fault->calls, operation);
    fault->repeat = false;
    no_more_faults();
    fixture_close(&w.f);
    qd_store_memory_crash(w.f.store, keep);
    fixture_open(&w.f, policy);
    check_ledger();
    send_all_again();
    fixture_end(&w.f);
}

TestSuite(store_faults, .timeout = 250);

Test(store_faults, X5_a_crash_at_every_write_loses_and_doubles_nothing)
{
    static const uint64_t keeps[] = {0, 1, KEEP_ALL};
    struct qd_store_faults seen = count_operations();
    cr_assert_gt(seen.write.calls, 10);
    for (uint64_t k = 0; k < seen.write.calls; k++) {
        for (size_t i = 0; i < sizeof keeps / sizeof keeps[0]; i++) {
            crash_at(k, false, keeps[i]);
        }
    }
    printf("%llu writes, each with 3 kinds of crash\n", (unsigned long long)seen.write.calls);
}

Test(store_faults, L2_a_crash_at_every_sync_loses_and_doubles_nothing)
{
    static const uint64_t keeps[] = {0, 1, KEEP_ALL};
    struct qd_store_faults seen = count_operations();
    cr_assert_gt(seen.sync.calls, 10);
    for (uint64_t k = 0; k < seen.sync.calls; k++) {
        for (size_t i = 0; i < sizeof keeps / sizeof keeps[0]; i++) {
            crash_at(k, true, keeps[i]);
        }
    }
    printf("%llu syncs, each with 3 kinds of crash\n", (unsigned long long)seen.sync.calls);
}

/* The scenario with a fault, or faults for good, from an operation on, and no crash: the node goes
 * on, and what it refused is sent again.
 *
 * A batch whose sync failed is there, and a later one makes it durable. Its report is refused, and
 * a duplicate when it is sent again: the counters take it in as what the ledger has found (X5). */
static void fail_at(struct qd_store_fault *fault, uint64_t operation, bool for_good)
{
    fault->countdown = (int64_t)operation;
    fault->repeat = for_good;
    for (size_t i = 0; i < STEPS; i++) {
        (void)take(&scenario[i]);
    }
    fault->repeat = false;
    no_more_faults();
    cr_assert_eq(qd_ledger_heartbeat(w.f.ledger, (struct qd_wall_ns){w.f.wall}, NULL), QD_STORE_OK);
    send_all_again();
    /* No hold is left behind by what failed, once they have had their time. */
    fixture_pass(&w.f, 90 * S);
    cr_assert_eq(held_of(&w.f, "acme", "tokens"), 0);
    cr_assert_eq(held_of(&w.f, "other", "tokens"), 0);
    /* And the next boot says the same. */
    fixture_close(&w.f);
    qd_store_memory_crash(w.f.store, 0);
    fixture_open(&w.f, policy);
    check_ledger();
    fixture_end(&w.f);
}

Test(store_faults, X4_a_failed_write_at_every_place_is_refused_and_nothing_more)
{
    struct qd_store_faults seen = count_operations();
    for (uint64_t k = 0; k < seen.write.calls; k++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            begin();
            fail_at(&faults()->write, k, for_good != 0);
        }
    }
}

Test(store_faults, X4_a_failed_sync_at_every_place_is_refused_and_nothing_more)
{
    struct qd_store_faults seen = count_operations();
    for (uint64_t k = 0; k < seen.sync.calls; k++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            begin();
            fail_at(&faults()->sync, k, for_good != 0);
        }
    }
}

Test(store_faults, X4_a_failed_read_at_every_place_is_refused_and_nothing_more)
{
    struct qd_store_faults seen = count_operations();
    for (uint64_t k = 0; k < seen.read.calls; k++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            begin();
            fail_at(&faults()->read, k, for_good != 0);
        }
    }
    printf("%llu reads\n", (unsigned long long)seen.read.calls);
}

/* --- a start that cannot read is none --- */

static bool any_entry(void *context, const struct qd_entry *entry)
{
    (void)context;
    (void)entry;
    return true;
}

static bool any_tenant(void *context, const struct qd_tenant_record *record)
{
    (void)context;
    (void)record;
    return true;
}

/* What a start reads before there is a node: the first error, told in words. */
static enum qd_store_err read_all(struct qd_store *store)
{
    struct qd_ledger_config config = {0};
    struct qd_ledger *ledger = NULL;
    struct qd_tenant_store *stored = NULL;
    struct qd_store_error error = {0};
    enum qd_store_err err = qd_ledger_open(store, &config, &ledger, &error);
    if (err == QD_STORE_OK) {
        err = qd_tenant_store_open(store, &stored, &error);
    }
    if (err == QD_STORE_OK) {
        err = qd_tenant_store_list(stored, str(NULL), str(NULL), any_tenant, NULL, &error);
    }
    if (err == QD_STORE_OK) {
        err = qd_ledger_visit_since(ledger, (struct qd_wall_ns){0}, any_entry, NULL, &error);
    }
    cr_assert(err == QD_STORE_OK || strstr(error.text, "injected") != NULL, "\"%s\"", error.text);
    qd_tenant_store_close(stored);
    qd_ledger_close(ledger);
    return err;
}

static void run_scenario(void)
{
    begin();
    for (size_t i = 0; i < STEPS; i++) {
        cr_assert(take(&scenario[i]));
    }
}

Test(store_faults, X4_a_start_that_cannot_read_says_so)
{
    run_scenario();
    fixture_close(&w.f);
    uint64_t before = faults()->read.calls;
    cr_assert_eq(read_all(w.f.store), QD_STORE_OK);
    uint64_t reads = faults()->read.calls - before;
    cr_assert_gt(reads, 20);
    for (uint64_t k = 0; k < reads; k++) {
        faults()->read.countdown = (int64_t)k;
        cr_assert_eq(read_all(w.f.store), QD_STORE_IO, "read %llu of %llu", (unsigned long long)k,
                     (unsigned long long)reads);
        no_more_faults();
    }
    qd_store_close(w.f.store);
}

static bool recover(void)
{
    struct qd_recovery recovery;
    qd_shards_clear(&w.f.node->shards);
    return qd_node_recover(w.f.node, w.f.worker, &recovery, &w.f.error);
}

/* Budgets that count too little would be worse than no node: from the snapshot, and from the
 * ledger. */
static void expect_whole_or_none(void)
{
    cr_assert(recover()); /* which stores anew: from now on each reads the same */
    uint64_t before = faults()->read.calls;
    cr_assert(recover());
    uint64_t reads = faults()->read.calls - before;
    cr_assert_gt(reads, 10);
    for (uint64_t k = 0; k < reads; k++) {
        faults()->read.countdown = (int64_t)k;
        cr_assert_not(recover(), "read %llu of %llu", (unsigned long long)k,
                      (unsigned long long)reads);
        cr_assert_eq(w.f.error.code, QD_ERROR_STORE_ERROR);
        cr_assert(strstr(w.f.error.text, "injected") != NULL ||
                      strstr(w.f.error.text, "cannot be read") != NULL,
                  "\"%s\"", w.f.error.text);
        no_more_faults();
    }
    cr_assert(recover());
    check_ledger();
}

Test(store_faults, X4_budgets_come_back_whole_or_there_is_no_start)
{
    run_scenario();
    fixture_snapshot(&w.f);
    expect_whole_or_none();
    fixture_close(&w.f);
    fixture_forget_snapshot(&w.f);
    fixture_open(&w.f, policy);
    cr_assert(w.f.recovery.from_ledger);
    expect_whole_or_none();
    fixture_end(&w.f);
}
