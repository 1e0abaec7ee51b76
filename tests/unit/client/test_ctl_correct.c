/* quotactl correct and price-unpriced against a server that answers what the test says. */
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ctl_correct, .init = setup, .fini = teardown, .timeout = 60);

#define CORRECT "/quota.v1.UsageService/CorrectUsage"
#define PRICE   "/quota.v1.UsageService/PriceUnpriced"

/* Texts that a message may point to. */
static char *text(const char *value)
{
    static char places[16][64];
    static unsigned next;
    char *place = places[next++ % 16];
    (void)snprintf(place, sizeof places[0], "%s", value);
    return place;
}

struct answer {
    Quota__V1__CorrectUsageResponse message;
    Quota__V1__LedgerEntry entries[2];
    Quota__V1__Amount amounts[2];
    Quota__V1__Amount *quantities[2];
};

static void make_entry(struct answer *a, size_t i, uint64_t sequence, int64_t tokens,
                       const char *pico)
{
    Quota__V1__LedgerEntry *e = &a->entries[i];
    quota__v1__ledger_entry__init(e);
    quota__v1__amount__init(&a->amounts[i]);
    a->amounts[i].meter = text("input_tokens");
    a->amounts[i].amount = tokens;
    a->quantities[i] = &a->amounts[i];
    e->node = text("n1");
    e->corrects_node = text("n1");
    e->corrects_sequence = 42;
    e->sequence = sequence;
    e->tenant = text("acme");
    e->model = text("m");
    e->quantities = &a->quantities[i];
    e->n_quantities = 1;
    e->cost_pico_usd = text(pico);
    e->charge_pico_usd = text(pico);
}

static void reply(uint64_t sequence, bool rebooked, bool duplicate)
{
    struct answer a;
    quota__v1__correct_usage_response__init(&a.message);
    make_entry(&a, 0, sequence, -1200, "-1200000000");
    make_entry(&a, 1, sequence > 0 ? sequence + 1 : 0, 1000, "1000000000");
    a.message.reversal = &a.entries[0];
    a.message.rebooked = rebooked ? &a.entries[1] : NULL;
    a.message.duplicate = duplicate;
    fake_server_reply(server, CORRECT, &a.message.base);
}

static Quota__V1__CorrectUsageRequest *asked(void)
{
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, CORRECT, &size);
    Quota__V1__CorrectUsageRequest *request =
        quota__v1__correct_usage_request__unpack(NULL, size, bytes);
    free(bytes);
    cr_assert_not_null(request);
    return request;
}

Test(ctl_correct, L3_a_correction_shows_what_was_taken_back_and_what_stands)
{
    reply(77, true, false);
    expect("correct --entry n1#42 --usage input_tokens=1k,output_tokens=5 --reason ticket", 0,
           "CORRECTED entry n1#42\n"
           "            entry  tenant  model  quantities               cost    charge\n"
           "taken back  n1#77  acme    m      -1,200 input_tokens  -$0.0012  -$0.0012\n"
           "instead     n1#78  acme    m      1,000 input_tokens     $0.001    $0.001\n",
           "");
    Quota__V1__CorrectUsageRequest *request = asked();
    cr_expect_eq(request->sequence, 42);
    cr_expect_str_eq(request->node, "n1");
    cr_expect_eq(request->n_usage, 2);
    cr_expect_eq(request->usage[0]->amount, 1000);
    cr_expect_str_eq(request->usage[1]->meter, "output_tokens");
    cr_expect_str_eq(request->reason, "ticket");
    cr_expect_str_eq(request->correction_id, "quotactl");
    quota__v1__correct_usage_request__free_unpacked(request, NULL);
    reply(0, false, false);
    expect("correct --report r-1 --of acme --attempt 2 --take-back --reason twice --dry-run "
           "--id t7",
           0,
           "WOULD CORRECT entry n1#42\n"
           "            entry  tenant  model  quantities               cost    charge\n"
           "taken back  -      acme    m      -1,200 input_tokens  -$0.0012  -$0.0012\n",
           "");
    request = asked();
    cr_expect_eq(request->sequence, 0);
    cr_expect_str_eq(request->report->request_id, "r-1");
    cr_expect_str_eq(request->report->tenant, "acme");
    cr_expect_eq(request->report->attempt, 2);
    cr_expect(request->take_back && request->dry_run);
    cr_expect_str_eq(request->correction_id, "t7");
    quota__v1__correct_usage_request__free_unpacked(request, NULL);
    reply(77, false, true);
    expect("correct --entry 42 --take-back --reason twice", 0, NULL, "");
    cr_expect_not_null(strstr(last.out, "TAKEN BACK entry n1#42; this was booked before\n"));
    expect("correct --entry 42 --take-back --reason twice -o json", 0, NULL, "");
    cr_expect_not_null(strstr(last.out, "\"rebooked\":null"), "%s", last.out);
}

Test(ctl_correct, I7_what_a_correction_lacks_is_said)
{
    static const char which[] = "quotactl correct: needs --entry N, or --report ID --of TENANT; "
                                "quotactl ledger ls shows entries\n";
    expect("correct --reason x", 1, "", which);
    expect("correct --report r --reason x", 1, "", which);
    expect("correct --entry 1 --report r --of acme --reason x", 1, "", which);
    expect("correct --entry 1 --take-back", 1, "",
           "quotactl correct: needs --reason TEXT: who reads the ledger later sees it\n");
    expect("correct --entry none --reason x", 1, "", NULL);
    expect("correct --entry 1 --usage input_tokens=1,input_tokens=2 --reason x", 1, "",
           "quotactl correct: --usage: input_tokens is given twice\n");
    expect("correct --entry 1 --usage input_tokens --reason x", 1, "",
           "quotactl correct: --usage \"input_tokens\": accepted is METER=AMOUNT, e.g. --usage "
           "input_tokens=1200\n");
    expect("correct --entry 1 --usage input_tokens=x --reason x", 1, "",
           "quotactl correct: --usage input_tokens=x: \"x\" is not a number; accepted: a whole "
           "number from 0 to 2^53, also as 40k or 1.5M\n");
    fake_server_refuse(server, CORRECT, 6, "ENTRY_CORRECTED",
                       "entry: 1 was taken back before, by entry 2");
    expect("correct --entry 1 --take-back --reason x", 1, "", NULL);
    cr_expect_not_null(strstr(last.err, "was taken back before, by entry 2"));
}

Test(ctl_correct, P8_price_unpriced_says_what_still_lacks_a_price)
{
    Quota__V1__PriceUnpricedResponse answer;
    Quota__V1__UnpricedModel model;
    Quota__V1__UnpricedModel *models[] = {&model};
    quota__v1__price_unpriced_response__init(&answer);
    quota__v1__unpriced_model__init(&model);
    answer.priced = 1500;
    answer.cost_pico_usd = text("2500000000000");
    answer.charge_pico_usd = text("3000000000000");
    answer.next_cursor = text("77");
    answer.end = 1;
    fake_server_reply(server, PRICE, &answer.base);
    expect("price-unpriced", 0, "priced 1,500 entries: cost $2.50, charge $3\n", "");
    model.model = text("gpt-5");
    model.pool = text("h100");
    model.entries = 3;
    answer.priced = 1;
    answer.unpriced = 3;
    answer.still_unpriced = models;
    answer.n_still_unpriced = 1;
    fake_server_reply(server, PRICE, &answer.base);
    expect("price-unpriced --dry-run --model gpt-5 --tenant acme --since 2026-11-01", 0,
           "would price 1 entry: cost $2.50, charge $3\n"
           "3 still without a price; add it to the policy, with `effective` before they happened, "
           "and run this again:\n"
           "model  pool  entries\n"
           "gpt-5  h100        3\n",
           "");
    expect("price-unpriced -o json", 0, NULL, "");
    cr_expect_not_null(strstr(last.out, "\"cost_pico_usd\":\"2500000000000\""), "%s", last.out);
    fake_server_refuse(server, PRICE, 14, "STORE_ERROR", "the ledger cannot be read");
    expect("price-unpriced", 1, "", NULL);
}
