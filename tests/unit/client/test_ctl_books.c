/* quotactl verify, rebuild-rollups, backup and export against a server that answers what the test
 * says: the ledger as a whole. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(ctl_books, .init = setup, .fini = teardown, .timeout = 60);

Test(ctl_books, L4_verify_names_the_first_difference)
{
    Quota__V1__VerifyLedgerResponse answer;
    quota__v1__verify_ledger_response__init(&answer);
    char difference[] = "after ledger entry 7 comes 9";
    answer.entries = 1200;
    answer.through_sequence = 1201;
    answer.rollups = 30;
    answer.groups = 29;
    answer.difference = difference;
    fake_server_reply(server, "/quota.v1.AdminService/VerifyLedger", &answer.base);
    expect("verify", 1,
           "1,200 entries up to #1,201, 30 rollup rows, 29 groups, 0 budgets compared, 0 skipped: "
           "DIFFERS: "
           "after ledger "
           "entry 7 comes 9\nnext: quotactl verify --help\n",
           "");
    answer.clean = 1;
    fake_server_reply(server, "/quota.v1.AdminService/VerifyLedger", &answer.base);
    expect("verify", 0,
           "1,200 entries up to #1,201, 30 rollup rows, 29 groups, 0 budgets compared, 0 skipped: "
           "clean\n",
           "");
}

Test(ctl_books, L4_verify_says_what_repairs_rollups)
{
    Quota__V1__VerifyLedgerResponse answer;
    quota__v1__verify_ledger_response__init(&answer);
    char difference[] = "rollup row 3 is damaged";
    answer.difference = difference;
    fake_server_reply(server, "/quota.v1.AdminService/VerifyLedger", &answer.base);
    expect("verify", 1,
           "0 entries up to #0, 0 rollup rows, 0 groups, 0 budgets compared, 0 skipped: DIFFERS: "
           "rollup row 3 is "
           "damaged\nnext: quotactl ledger rebuild-rollups\n",
           "");
}

Test(ctl_books, L4_rebuild_rollups_says_what_it_changed)
{
    Quota__V1__RebuildRollupsResponse answer;
    quota__v1__rebuild_rollups_response__init(&answer);
    answer.entries = 1200;
    answer.through_sequence = 1201;
    answer.rows = 30;
    fake_server_reply(server, "/quota.v1.AdminService/RebuildRollups", &answer.base);
    expect("ledger rebuild-rollups", 0,
           "1,200 entries up to #1,201, 30 rollup rows: nothing differs, nothing was changed\n",
           "");
    answer.expired = 1;
    answer.groups = 3;
    answer.groups_unlabelled = 1;
    answer.rows_added = 4;
    answer.rows_changed = 2;
    answer.rows_dropped = 1;
    fake_server_reply(server, "/quota.v1.AdminService/RebuildRollups", &answer.base);
    expect("ledger rebuild-rollups", 0,
           "1,200 entries up to #1,201 and 1 that have expired; rollup rows: 30 before, 33 after\n"
           "4 rows added, 2 changed, 1 dropped in 3 groups\n"
           "of them with expired entries, whose sums have no labels now: 1 (usage by label is "
           "refused there)\n"
           "next: quotactl verify\n",
           "");
}

Test(ctl_books, I7_backup_says_how_much_and_through_which_entry)
{
    Quota__V1__CheckpointResponse answer;
    quota__v1__checkpoint_response__init(&answer);
    char name[] = "n";
    char path[] = "/var/lib/quotad/backups/n";
    answer.name = name;
    answer.path = path;
    answer.bytes = 37591;
    answer.files = 8;
    answer.through_sequence = 1200;
    fake_server_reply(server, "/quota.v1.AdminService/Checkpoint", &answer.base);
    expect("backup n", 0,
           "/var/lib/quotad/backups/n: 37,591 bytes in 8 files, ledger through #1,200\n"
           "next: copy it to another machine; quotactl restore --from /var/lib/quotad/backups/n "
           "--to DATA_DIR\n",
           "");
    expect("backup a b", 1, "",
           "quotactl backup: \"b\" is one argument too many; usage: quotactl backup [NAME]\n");
    expect("restore --to x", 1, "", "quotactl restore: needs --from BACKUP and --to DATA_DIR\n");
    expect("restore --from /nowhere/at/all --to x", 1, "",
           "quotactl restore: nothing was restored: cannot open the backup /nowhere/at/all: No "
           "such file or directory\n");
}

Test(ctl_books, L6_export_writes_what_a_spreadsheet_and_a_program_read)
{
    Quota__V1__ListLedgerEntriesResponse answer;
    quota__v1__list_ledger_entries_response__init(&answer);
    Quota__V1__LedgerEntry entry;
    quota__v1__ledger_entry__init(&entry);
    Quota__V1__Amount amounts[2];
    Quota__V1__Amount *quantities[] = {&amounts[0], &amounts[1]};
    Quota__V1__Entry label;
    Quota__V1__Entry *labels[] = {&label};
    Quota__V1__LedgerEntry *entries[] = {&entry};
    char text[][40] = {"n1",  "acme", "say \"hi\", all", "input_tokens", "output_tokens",
                       "env", "a;b",  "m@2026-01-01",    "1500000000",   "17"};
    char *versions[] = {text[7]};
    quota__v1__amount__init(&amounts[0]);
    quota__v1__amount__init(&amounts[1]);
    quota__v1__entry__init(&label);
    amounts[0].meter = text[3];
    amounts[0].amount = 1200;
    amounts[1].meter = text[4];
    amounts[1].amount = -5;
    label.key = text[5];
    label.value = text[6];
    entry.node = text[0];
    entry.sequence = 17;
    entry.kind = QUOTA__V1__ENTRY_KIND__ENTRY_KIND_USAGE;
    entry.event_time_unix_ns = 1000;
    entry.recorded_time_unix_ns = 2000;
    entry.tenant = text[1];
    entry.request_id = text[2];
    entry.quantities = quantities;
    entry.n_quantities = 2;
    entry.labels = labels;
    entry.n_labels = 1;
    entry.price_versions = versions;
    entry.n_price_versions = 1;
    entry.cost_pico_usd = text[8];
    entry.charge_pico_usd = text[8];
    answer.entries = entries;
    answer.n_entries = 1;
    answer.next_cursor = text[9];
    answer.end = 1;
    fake_server_reply(server, "/quota.v1.UsageService/ListLedgerEntries", &answer.base);
    expect(
        "ledger export --format csv", 0,
        "node,sequence,kind,event_time_unix_ns,recorded_time_unix_ns,tenant,model,pool,user,"
        "source,request_id,attempt,part_sequence,final,outcome,tier,quantities,labels,"
        "price_versions,cost_pico_usd,charge_pico_usd,unpriced,corrects_node,corrects_sequence,"
        "reservation_id,limit,note,reversal,cache_write_ttl,cost_nano_usd,charge_nano_usd\n"
        "n1,17,USAGE,1000,2000,acme,,,,,\"say \"\"hi\"\", all\",0,0,false,UNSPECIFIED,UNSPECIFIED,"
        "input_tokens=1200;output_tokens=-5,env=a\\;b,m@2026-01-01,1500000000,1500000000,false,,0,"
        ",,,false,UNSPECIFIED,0,0\n",
        "end; later: --cursor 17\n");
    struct json_object *object = json("ledger export");
    cr_assert_str_eq(text_of(object, "request_id"), "say \"hi\", all");
    cr_assert_str_eq(text_of(object, "cost_pico_usd"), "1500000000");
    json_object_put(object);
}

/* ---- events */
