/* P7: the prices of a policy are kept, each version once, and never replaced. */
#include "server/ledger/price_store.h"
#include "server/policy/policy_file.h"
#include "server/shard/price_keep.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct qd_policy *policy_of(const char *price)
{
    char yaml[512];
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    int size = snprintf(yaml, sizeof(yaml),
                        "version: 1\nmodels:\n  m: {}\nprices:\n  m:\n"
                        "    - {input_tokens: %s, output_tokens: $2/1M}\n"
                        "    - {effective: 2027-01-01, input_tokens: $5/1M, output_tokens: $9/1M}\n"
                        "plans:\n  p: {requests: 5/min}\n",
                        price);
    struct qd_policy *policy =
        qd_policy_load_bytes("policy.yaml", NULL, yaml, (size_t)size, problems);
    char *text = qd_problems_text(problems);
    cr_assert_not_null(policy, "%s", text);
    free(text);
    qd_problems_free(problems);
    return policy;
}

static void keep(struct qd_store *store, const char *price, struct qd_problems *problems)
{
    struct qd_policy *policy = policy_of(price);
    qd_prices_keep(store, policy, (struct qd_wall_ns){77}, problems);
    qd_policy_free(policy);
}

/* The start of what is kept of the cost `version`. */
static void expect_kept(struct qd_store *store, const char *version, const char *content)
{
    struct qd_price_record record;
    struct qd_store_error error;
    struct qd_buf bytes = {0};
    struct qd_str name = {version, strlen(version)};
    cr_assert(qd_price_store_get(store, QD_PRICE_BOOK_COST, name, &bytes, &record, &error) ==
              QD_STORE_OK);
    cr_assert(record.recorded.ns == 77);
    char text[1024];
    snprintf(text, sizeof(text), "%.*s", (int)record.content.len, record.content.ptr);
    cr_assert_not_null(strstr(text, content), "%s", text);
    qd_buf_release(&bytes);
}

Test(price_keep, P7_versions_are_kept_once_and_never_replaced)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    keep(store, "$1/1M", problems);
    cr_assert(qd_problems_count(problems) == 0);
    cr_assert(qd_store_memory_writes(store) == 1 && qd_store_memory_synced(store) == 1);
    expect_kept(store, "m", "input_tokens standard 5m >0 ");
    expect_kept(store, "m@2027-01-01", "output_tokens standard 5m >0 ");
    keep(store, "$1/1M", problems);
    cr_assert(qd_store_memory_writes(store) == 1 && qd_problems_count(problems) == 0);
    keep(store, "$4/1M", problems); /* the dated sheet is as it was; the first one isn't */
    cr_assert(qd_store_memory_writes(store) == 1);
    cr_assert(qd_problems_count(problems) >= 1 && qd_problems_errors(problems) == 0);
    char line[QD_PROBLEM_TEXT_MAX];
    qd_problem_format(qd_problems_at(problems, 0), line, sizeof(line));
    cr_assert_not_null(
        strstr(line,
               "prices.m: the cost \"m\" was in force with other amounts, and entries of both name "
               "it so; give a changed price an `effective` date"),
        "%s", line);
    qd_problems_free(problems);
    qd_store_close(store);
}

static void book(struct qd_store *store, const char *version)
{
    struct qd_ledger_config config = {0};
    struct qd_ledger *ledger = NULL;
    struct qd_receipt receipt;
    struct qd_entry entry = {.kind = QD_ENTRY_USAGE,
                             .tenant = qd_slice_of("acme"),
                             .prices = {qd_slice_of(version)},
                             .price_count = 1,
                             .event_time = {77},
                             .charged_time = {77}};
    struct qd_booking booking = {.entry = &entry, .now = {77}};

    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
    qd_receipt_init(&receipt);
    cr_assert_eq(qd_ledger_book(ledger, &booking, &receipt), QD_BOOK_BOOKED, "%s", receipt.text);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
}

static bool admit(struct qd_store *store, const char *price, struct qd_problems *problems)
{
    struct qd_ledger_config config = {0};
    struct qd_ledger *ledger = NULL;
    struct qd_policy *policy = policy_of(price);

    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
    bool admitted = qd_prices_admit(store, ledger, policy, problems);
    qd_ledger_close(ledger);
    qd_policy_free(policy);
    return admitted;
}

Test(price_keep, P7_a_used_version_with_other_amounts_is_refused)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    char line[QD_PROBLEM_TEXT_MAX];

    keep(store, "$1/1M", problems);
    book(store, "m@2027-01-01"); /* as it stays */
    cr_assert(admit(store, "$1/1M", problems));
    cr_assert(admit(store, "$4/1M", problems), "nobody has used it");
    keep(store, "$4/1M", problems);
    cr_assert_eq(qd_problems_count(problems), 0, "what is kept is the new one");
    book(store, "m");
    cr_assert(admit(store, "$4/1M", problems));
    cr_assert_not(admit(store, "$1/1M", problems));
    cr_assert_eq(qd_problems_errors(problems), 1);
    qd_problem_format(qd_problems_at(problems, 0), line, sizeof(line));
    cr_assert_not_null(strstr(line, "prices.m: the cost \"m\" has priced ledger entries with other "
                                    "amounts, and used prices never change; keep them as they "
                                    "were, and give the changed price an `effective` date"),
                       "%s", line);
    qd_problems_free(problems);
    qd_store_close(store);
}

Test(price_keep, X4_a_full_store_is_a_warning)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    qd_store_memory_faults(store)->capacity_bytes = 1;
    keep(store, "$1/1M", problems);
    cr_assert(qd_problems_count(problems) == 1 && qd_problems_errors(problems) == 0);
    char line[QD_PROBLEM_TEXT_MAX];
    qd_problem_format(qd_problems_at(problems, 0), line, sizeof(line));
    cr_assert_not_null(strstr(line, "prices: their versions cannot be kept ("), "%s", line);
    cr_assert_not_null(strstr(line, "); send SIGHUP once the store is well"), "%s", line);
    keep(store, "$1/1M", NULL);
    qd_problems_free(problems);
    qd_store_close(store);
}
