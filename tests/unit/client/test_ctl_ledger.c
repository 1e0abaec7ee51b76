/* quotactl ledger, verify and usage against a server that answers what the test
 * says: what a billing system and its people read. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_ledger, .init = setup, .fini = teardown, .timeout = 60);

#define LIST   "/quota.v1.UsageService/ListLedgerEntries"
#define VERIFY "/quota.v1.AdminService/VerifyLedger"

/* Texts that a message may point to. */
static char *text(const char *value)
{
    static char places[32][64];
    static unsigned next;
    char *place = places[next++ % 32];
    (void)snprintf(place, sizeof places[0], "%s", value);
    return place;
}

/* ---- one entry, and the answer with it */

struct listed {
    Quota__V1__ListLedgerEntriesResponse answer;
    Quota__V1__LedgerEntry entry;
    Quota__V1__LedgerEntry *entries[1];
    Quota__V1__Entry labels[2];
    Quota__V1__Entry *label_pointers[2];
    Quota__V1__Amount amount;
    Quota__V1__Amount *quantities[1];
    char *versions[1];
};

static void listed_init(struct listed *l)
{
    quota__v1__list_ledger_entries_response__init(&l->answer);
    quota__v1__ledger_entry__init(&l->entry);
    quota__v1__amount__init(&l->amount);
    l->entries[0] = &l->entry;
    l->answer.entries = l->entries;
    l->answer.n_entries = 1;
    l->answer.next_cursor = text("1");
    l->answer.end = 1;
    l->entry.node = text("n");
    l->entry.sequence = 1;
    l->entry.tenant = text("acme");
    l->entry.labels = l->label_pointers;
    l->entry.price_versions = l->versions;
    l->quantities[0] = &l->amount;
}

static void add_label(struct listed *l, const char *name, const char *value)
{
    Quota__V1__Entry *label = &l->labels[l->entry.n_labels];
    quota__v1__entry__init(label);
    label->key = text(name);
    label->value = text(value);
    l->label_pointers[l->entry.n_labels++] = label;
}

static void answer(struct listed *l)
{
    fake_server_reply(server, LIST, &l->answer.base);
}

/* The line of an entry with these labels; up to two, NULL: no second one. */
static const char *line_with(const char *name, const char *value, const char *name2,
                             const char *value2)
{
    struct listed l;
    listed_init(&l);
    add_label(&l, name, value);
    if (name2 != NULL) {
        add_label(&l, name2, value2);
    }
    answer(&l);
    run("ledger export --format csv --cursor 0", 0);
    return strchr(last.out, '\n') + 1;
}

Test(ctl_ledger, L6_csv_a_label_cannot_look_like_two)
{
    char two[512];
    (void)snprintf(two, sizeof two, "%s", line_with("region", "eu", "team", "z"));
    expect_in(two, ",region=eu;team=z,");
    const char *one = line_with("region", "eu;team=z", NULL, NULL);
    cr_assert_str_neq(one, two);
    expect_in(one, ",region=eu\\;team\\=z,");
    expect_in(line_with("a=b", "c\\", NULL, NULL), ",a\\=b=c\\\\,");
    expect_in(line_with("a", "b\\;c", NULL, NULL), ",a=b\\\\\\;c,");
    expect_in(line_with("a", "say \"x;y\"", NULL, NULL), ",\"a=say \"\"x\\;y\"\"\",");
}

Test(ctl_ledger, L6_csv_price_versions_are_one_field)
{
    struct listed l;
    listed_init(&l);
    l.versions[0] = text("a,\"b\";c@2026-01-01");
    l.entry.n_price_versions = 1;
    answer(&l);
    run("ledger export --format csv", 0);
    expect_in(last.out, ",\"a,\"\"b\"\"\\;c@2026-01-01\",");
}

Test(ctl_ledger, L6_csv_has_what_json_has)
{
    struct listed l;
    listed_init(&l);
    l.entry.reversal = 1;
    l.entry.cache_write_ttl = QUOTA__V1__CACHE_WRITE_TTL__CACHE_WRITE_TTL_1H;
    l.entry.cost_nano_usd = -1500;
    l.entry.charge_nano_usd = -1650;
    l.entry.cost_pico_usd = text("-1500000");
    l.entry.charge_pico_usd = text("-1650000");
    l.entry.note = text("twice");
    answer(&l);
    run("ledger export --format csv", 0);
    expect_in(last.out, ",limit,note,reversal,cache_write_ttl,cost_nano_usd,charge_nano_usd\n");
    expect_in(last.out, ",twice,true,1H,-1500,-1650\n");
    /* P8: not known is not 0. */
    listed_init(&l);
    l.entry.unpriced = 1;
    answer(&l);
    run("ledger export --format csv", 0);
    expect_in(last.out, ",,false,UNSPECIFIED,,\n");
}

Test(ctl_ledger, L6_csv_goes_on_in_a_file_without_a_second_header)
{
    struct listed l;
    listed_init(&l);
    answer(&l);
    run("ledger export --format csv --no-header --cursor 0", 0);
    cr_assert_eq(strncmp(last.out, "n,1,", 4), 0, "%s", last.out);
    expect("ledger export --no-header", 1, "",
           "quotactl ledger export: --no-header is for --format csv: jsonl has "
           "none\n");
}

Test(ctl_ledger, L6_a_refused_cursor_is_not_one_to_go_on_with)
{
    fake_server_refuse(server, LIST, 3, "INVALID_PAGE_TOKEN", "cursor: \"abc\" is not one");
    expect("ledger export --cursor abc", 1, "",
           "quotactl ledger export: cursor: \"abc\" is not one\n");
    fake_server_refuse(server, LIST, 9, "ENTRIES_EXPIRED", "entries 3 to 5 have expired");
    expect("ledger export --cursor 2", 1, "",
           "quotactl ledger export: entries 3 to 5 have expired\n");
    fake_server_refuse(server, LIST, 13, "STORE_ERROR", "the ledger cannot be read");
    expect("ledger export --cursor 2", 1, "",
           "quotactl ledger export: the ledger cannot be read\n"
           "broken off; go on with: --cursor 2\n");
}

Test(ctl_ledger, L1_a_grant_is_not_shown_as_cost)
{
    struct listed l;
    listed_init(&l);
    l.entry.kind = QUOTA__V1__ENTRY_KIND__ENTRY_KIND_GRANT;
    l.entry.limit = text("credit");
    l.entry.quantities = l.quantities;
    l.entry.n_quantities = 1;
    l.amount.meter = text("cost");
    l.amount.amount = INT64_C(25000000000);
    answer(&l);
    run("ledger ls", 0);
    expect_in(last.out, "  granted $25 to credit  ");
    l.amount.meter = text("granted");
    l.amount.amount = 40000;
    answer(&l);
    run("ledger ls", 0);
    expect_in(last.out, "  granted 40,000 to credit  ");
}

/* ---- verify */

static void reply_verified(const char *difference, uint64_t skipped)
{
    Quota__V1__VerifyLedgerResponse verified;
    quota__v1__verify_ledger_response__init(&verified);
    verified.clean = difference[0] == '\0';
    verified.difference = text(difference);
    verified.budgets = 5;
    verified.budgets_skipped = skipped;
    fake_server_reply(server, VERIFY, &verified.base);
}

Test(ctl_ledger, L4_verify_says_what_was_skipped_and_why)
{
    reply_verified("", 2);
    run("verify", 0);
    expect_in(last.out, ", 5 budgets compared, 2 skipped: clean\nskipped: by today's policy no ");
    reply_verified("", 0);
    run("verify", 0);
    expect_in(last.out, ", 5 budgets compared, 0 skipped: clean\n");
    cr_assert_null(strstr(last.out, "skipped: by"));
}

Test(ctl_ledger, L4_verify_says_what_to_do_about_a_limit)
{
    reply_verified("limit pro.cost of acme has counted 5", 0);
    run("verify", 1);
    expect_in(last.out, "DIFFERS: limit pro.cost of acme has counted 5\n"
                        "next: if the limit was away from its tenant for a part of its "
                        "period, quotactl "
                        "counters reset TENANT LIMIT; else quotactl verify --help\n");
    reply_verified("limit pro.rollups of acme has counted 5", 0);
    run("verify", 1);
    cr_assert_null(strstr(last.out, "rebuild"), "%s", last.out);
    reply_verified("after ledger entry 7 comes 9", 0);
    run("verify", 1);
    expect_in(last.out, "comes 9\nnext: quotactl verify --help\n");
    run("verify --help", 0);
    expect_in(last.out, "If it says DIFFERS");
    expect_in(last.out, "quotactl counters reset TENANT LIMIT");
    expect_in(last.out, "quotactl restore");
}
