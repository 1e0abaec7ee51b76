/* QueryUsage and ListLedgerEntries through a real server. What the ledger adds up is held by
 * tests/unit/ledger/test_usage.c: here, what buckets a zone has, and what pages carry. */
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUARTER_S 900

static struct served s;

static void setup(void)
{
    served_open(&s, &(struct served_with){0});
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(usage, .init = setup, .fini = teardown, .timeout = 120);

static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}

/* Of "2026-11-01T18:15", UTC. */
static int64_t seconds_of(const char *text)
{
    struct tm tm = {0};
    cr_assert_eq(sscanf(text, "%d-%d-%dT%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
                        &tm.tm_min),
                 5);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (int64_t)timegm(&tm);
}

static void book(struct qd_entry *entry, int64_t at_s)
{
    struct qd_receipt receipt;
    struct qd_booking booking = {.entry = entry, .now = {at_s * QD_NS_PER_S + 1}};
    qd_receipt_init(&receipt);
    entry->kind = QD_ENTRY_USAGE;
    entry->tenant = qd_slice_of("acme/core");
    entry->event_time.ns = at_s * QD_NS_PER_S;
    entry->charged_time = entry->event_time;
    qd_entry_sort(entry);
    cr_assert_eq(qd_ledger_book(s.ledger, &booking, &receipt), QD_BOOK_BOOKED, "%s", receipt.text);
    qd_receipt_release(&receipt);
}

/* --- zones --- */

/* An entry in each quarter hour, at its last second; its amount is the number of the quarter hour
 * since `from`, so that a sum says which quarter hours it is of. */
static void book_quarters(const char *from, const char *to)
{
    int64_t first = seconds_of(from);
    for (int64_t at = first; at < seconds_of(to); at += QUARTER_S) {
        struct qd_entry entry = {
            .quantities = {{qd_slice_of("input_tokens"), (at - first) / QUARTER_S}},
            .quantity_count = 1,
        };
        book(&entry, at + QUARTER_S - 1);
    }
}

#define STARTS_MAX 12

struct zone_case {
    const char *zone;
    Quota__V1__Bucket bucket;
    const char *booked_from, *booked_to;
    const char *starts[STARTS_MAX]; /* each bucket's, and the last one's end; UTC */
};

static void check_row(const struct zone_case *c, const Quota__V1__UsageRow *row, size_t i)
{
    int64_t booked_from = seconds_of(c->booked_from);
    int64_t booked_to = seconds_of(c->booked_to);
    int64_t start = seconds_of(c->starts[i]);
    int64_t end = seconds_of(c->starts[i + 1]);
    cr_assert_eq(row->start_unix_ns, start * QD_NS_PER_S, "%s: bucket %zu starts at %lld", c->zone,
                 i, (long long)(row->start_unix_ns / QD_NS_PER_S));
    cr_assert_eq(row->end_unix_ns, end * QD_NS_PER_S, "%s: bucket %zu ends at %lld", c->zone, i,
                 (long long)(row->end_unix_ns / QD_NS_PER_S));
    int64_t first = ((start > booked_from ? start : booked_from) - booked_from) / QUARTER_S;
    int64_t past = ((end < booked_to ? end : booked_to) - booked_from) / QUARTER_S;
    cr_assert_eq(row->entries, (uint64_t)(past - first), "%s: bucket %zu", c->zone, i);
    cr_assert_eq(row->n_quantities, 1);
    cr_assert_eq(row->quantities[0]->amount, (first + past - 1) * (past - first) / 2,
                 "%s: bucket %zu", c->zone, i);
}

static void check_case(const struct zone_case *c)
{
    Quota__V1__QueryUsageRequest request;
    quota__v1__query_usage_request__init(&request);
    grpc_status_code status;
    size_t count = 0;
    while (count + 1 < STARTS_MAX && c->starts[count + 1] != NULL) {
        count++;
    }
    request.zone = text_of(c->zone);
    request.bucket = c->bucket;
    request.from_unix_ns = seconds_of(c->starts[0]) * QD_NS_PER_S;
    request.to_unix_ns = seconds_of(c->starts[count]) * QD_NS_PER_S;
    Quota__V1__QueryUsageResponse *answer =
        served_call(&s, "/quota.v1.UsageService/QueryUsage", &request.base,
                    &quota__v1__query_usage_response__descriptor, &status);
    cr_assert_not_null(answer);
    cr_assert_eq(status, GRPC_STATUS_OK);
    cr_assert_eq(answer->n_rows, count, "%s: %zu buckets, not %zu", c->zone, answer->n_rows, count);
    cr_assert(!answer->scanned_entries, "%s: rollups should do", c->zone);
    for (size_t i = 0; i < count; i++) {
        check_row(c, answer->rows[i], i);
    }
    quota__v1__query_usage_response__free_unpacked(answer, NULL);
}

static void check_cases(const struct zone_case *cases, size_t count)
{
    book_quarters(cases[0].booked_from, cases[0].booked_to);
    for (size_t i = 0; i < count; i++) {
        check_case(&cases[i]);
    }
}

#define HOUR         QUOTA__V1__BUCKET__BUCKET_HOUR
#define DAY          QUOTA__V1__BUCKET__BUCKET_DAY
#define MONTH        QUOTA__V1__BUCKET__BUCKET_MONTH
#define CHECK(cases) check_cases(cases, sizeof(cases) / sizeof((cases)[0]))

/* The expected times are of Python's zoneinfo: each minute at which the clock shows a whole hour or
 * jumps over one, a new day, a new month. */

Test(usage, L4_kathmandus_hours_begin_at_a_quarter_past)
{
    static const struct zone_case cases[] = {
        {"Asia/Kathmandu",
         HOUR,
         "2026-10-29T18:15",
         "2026-11-02T18:15",
         {"2026-10-31T15:15", "2026-10-31T16:15", "2026-10-31T17:15", "2026-10-31T18:15",
          "2026-10-31T19:15", "2026-10-31T20:15", "2026-10-31T21:15"}},
        {"Asia/Kathmandu",
         DAY,
         "2026-10-29T18:15",
         "2026-11-02T18:15",
         {"2026-10-29T18:15", "2026-10-30T18:15", "2026-10-31T18:15", "2026-11-01T18:15",
          "2026-11-02T18:15"}},
        {"Asia/Kathmandu",
         MONTH,
         "2026-10-29T18:15",
         "2026-11-02T18:15",
         {"2026-09-30T18:15", "2026-10-31T18:15", "2026-11-30T18:15"}},
    };
    CHECK(cases);
}

Test(usage, L4_lord_howes_clock_goes_back_half_an_hour)
{
    static const struct zone_case cases[] = {
        {"Australia/Lord_Howe",
         HOUR,
         "2026-04-03T13:00",
         "2026-04-06T13:30",
         {"2026-04-04T12:00", "2026-04-04T13:00", "2026-04-04T14:00", "2026-04-04T15:30",
          "2026-04-04T16:30", "2026-04-04T17:30"}},
        {"Australia/Lord_Howe",
         DAY,
         "2026-04-03T13:00",
         "2026-04-06T13:30",
         {"2026-04-03T13:00", "2026-04-04T13:00", "2026-04-05T13:30", "2026-04-06T13:30"}},
        {"Australia/Lord_Howe",
         MONTH,
         "2026-04-03T13:00",
         "2026-04-06T13:30",
         {"2026-03-31T13:00", "2026-04-30T13:30"}},
    };
    CHECK(cases);
}

Test(usage, L4_lord_howes_clock_goes_on_half_an_hour)
{
    static const struct zone_case cases[] = {
        {"Australia/Lord_Howe",
         HOUR,
         "2026-10-02T13:30",
         "2026-10-05T13:00",
         {"2026-10-03T12:30", "2026-10-03T13:30", "2026-10-03T14:30", "2026-10-03T15:30",
          "2026-10-03T16:00", "2026-10-03T17:00", "2026-10-03T18:00"}},
        {"Australia/Lord_Howe",
         DAY,
         "2026-10-02T13:30",
         "2026-10-05T13:00",
         {"2026-10-02T13:30", "2026-10-03T13:30", "2026-10-04T13:00", "2026-10-05T13:00"}},
        {"Australia/Lord_Howe",
         MONTH,
         "2026-10-02T13:30",
         "2026-10-05T13:00",
         {"2026-09-30T13:30", "2026-10-31T13:00"}},
    };
    CHECK(cases);
}

Test(usage, L4_new_yorks_day_of_23_hours)
{
    static const struct zone_case cases[] = {
        {"America/New_York",
         HOUR,
         "2026-03-07T05:00",
         "2026-03-10T04:00",
         {"2026-03-08T04:00", "2026-03-08T05:00", "2026-03-08T06:00", "2026-03-08T07:00",
          "2026-03-08T08:00", "2026-03-08T09:00", "2026-03-08T10:00"}},
        {"America/New_York",
         DAY,
         "2026-03-07T05:00",
         "2026-03-10T04:00",
         {"2026-03-07T05:00", "2026-03-08T05:00", "2026-03-09T04:00", "2026-03-10T04:00"}},
        {"America/New_York",
         MONTH,
         "2026-03-07T05:00",
         "2026-03-10T04:00",
         {"2026-03-01T05:00", "2026-04-01T04:00"}},
    };
    CHECK(cases);
}

Test(usage, L4_new_yorks_day_of_25_hours_is_the_first_of_a_month)
{
    static const struct zone_case cases[] = {
        {"America/New_York",
         HOUR,
         "2026-10-31T04:00",
         "2026-11-03T05:00",
         {"2026-11-01T03:00", "2026-11-01T04:00", "2026-11-01T05:00", "2026-11-01T06:00",
          "2026-11-01T07:00", "2026-11-01T08:00", "2026-11-01T09:00"}},
        {"America/New_York",
         DAY,
         "2026-10-31T04:00",
         "2026-11-03T05:00",
         {"2026-10-31T04:00", "2026-11-01T04:00", "2026-11-02T05:00", "2026-11-03T05:00"}},
        {"America/New_York",
         MONTH,
         "2026-10-31T04:00",
         "2026-11-03T05:00",
         {"2026-10-01T04:00", "2026-11-01T04:00", "2026-12-01T05:00"}},
    };
    CHECK(cases);
}

/* 29 December, then 31 December. */
Test(usage, L4_apia_has_no_30_december_2011)
{
    static const struct zone_case cases[] = {
        {"Pacific/Apia",
         HOUR,
         "2011-12-28T10:00",
         "2012-01-01T10:00",
         {"2011-12-30T07:00", "2011-12-30T08:00", "2011-12-30T09:00", "2011-12-30T10:00",
          "2011-12-30T11:00", "2011-12-30T12:00", "2011-12-30T13:00"}},
        {"Pacific/Apia",
         DAY,
         "2011-12-28T10:00",
         "2012-01-01T10:00",
         {"2011-12-28T10:00", "2011-12-29T10:00", "2011-12-30T10:00", "2011-12-31T10:00",
          "2012-01-01T10:00"}},
        {"Pacific/Apia",
         MONTH,
         "2011-12-28T10:00",
         "2012-01-01T10:00",
         {"2011-12-01T10:00", "2011-12-31T10:00", "2012-01-31T10:00"}},
    };
    CHECK(cases);
}

/* --- pages of entries --- */

/* As large as an entry gets: 16 labels, long names. */
static void book_large(int64_t at_s, unsigned number)
{
    static char names[16][QD_ENTRY_METER_MAX + 1];
    static char value[QD_ENTRY_NAME_MAX + 1];
    char request_id[32];
    struct qd_entry entry = {.label_count = 16, .source = qd_slice_of("gateway")};
    memset(value, 'v', QD_ENTRY_NAME_MAX);
    for (size_t i = 0; i < entry.label_count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%062zu", i);
        names[i][0] = 'l';
        entry.labels[i] = (struct qd_label){qd_slice_of(names[i]), qd_slice_of(value)};
    }
    (void)snprintf(request_id, sizeof(request_id), "r-%u", number);
    entry.request_id = qd_slice_of(request_id);
    entry.note = qd_slice_of(value);
    entry.user = qd_slice_of(value);
    book(&entry, at_s);
}

/* Entries of more than gRPC's clients take at once: pages end before that. */
Test(usage, L6_a_page_of_large_entries_ends_early_and_the_next_goes_on)
{
    enum {
        ENTRIES = 1500
    };
    int64_t at_s = seconds_of("2026-11-01T00:00");
    for (unsigned i = 0; i < ENTRIES; i++) {
        book_large(at_s, i);
    }
    Quota__V1__ListLedgerEntriesRequest request;
    quota__v1__list_ledger_entries_request__init(&request);
    char cursor[32] = "";
    uint64_t sequence = 0;
    unsigned pages = 0;
    bool end = false;
    request.page_size = 10000;
    while (!end) {
        grpc_status_code status;
        request.cursor = cursor;
        Quota__V1__ListLedgerEntriesResponse *page =
            served_call(&s, "/quota.v1.UsageService/ListLedgerEntries", &request.base,
                        &quota__v1__list_ledger_entries_response__descriptor, &status);
        cr_assert_eq(status, GRPC_STATUS_OK, "status %d", (int)status);
        cr_assert_not_null(page);
        for (size_t i = 0; i < page->n_entries; i++) {
            cr_assert_eq(page->entries[i]->sequence, ++sequence);
        }
        (void)snprintf(cursor, sizeof(cursor), "%s", page->next_cursor);
        end = page->end;
        pages++;
        quota__v1__list_ledger_entries_response__free_unpacked(page, NULL);
    }
    cr_assert_eq(sequence, ENTRIES);
    cr_assert_gt(pages, 1);
}

Test(usage, X2_a_page_has_at_most_10000_entries)
{
    Quota__V1__ListLedgerEntriesRequest request;
    quota__v1__list_ledger_entries_request__init(&request);
    grpc_status_code status;
    request.page_size = 10001;
    void *page = served_call(&s, "/quota.v1.UsageService/ListLedgerEntries", &request.base,
                             &quota__v1__list_ledger_entries_response__descriptor, &status);
    cr_assert_null(page);
    cr_assert_eq(status, GRPC_STATUS_INVALID_ARGUMENT);
}

/* --- held and used apart --- */

static void check_quota(const char *tenant, int64_t input_tokens)
{
    Quota__V1__CheckQuotaRequest request;
    quota__v1__check_quota_request__init(&request);
    Quota__V1__Amount amount;
    quota__v1__amount__init(&amount);
    Quota__V1__Amount *estimate[] = {&amount};
    grpc_status_code status;
    amount.meter = text_of("input_tokens");
    amount.amount = input_tokens;
    request.tenant = text_of(tenant);
    request.model = text_of("m");
    request.max_output_tokens_presence_case =
        QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
    request.max_output_tokens = 50;
    request.estimate = estimate;
    request.n_estimate = 1;
    Quota__V1__CheckQuotaResponse *answer =
        served_call(&s, "/quota.v1.QuotaService/CheckQuota", &request.base,
                    &quota__v1__check_quota_response__descriptor, &status);
    cr_assert_not_null(answer);
    cr_assert_eq(answer->verdict, QUOTA__V1__VERDICT__VERDICT_ALLOWED);
    quota__v1__check_quota_response__free_unpacked(answer, NULL);
}

static Quota__V1__QueryUsageResponse *held_by(const char *tenant)
{
    Quota__V1__QueryUsageRequest request;
    quota__v1__query_usage_request__init(&request);
    grpc_status_code status;
    request.tenant = text_of(tenant);
    request.include_held = 1;
    Quota__V1__QueryUsageResponse *answer =
        served_call(&s, "/quota.v1.UsageService/QueryUsage", &request.base,
                    &quota__v1__query_usage_response__descriptor, &status);
    cr_assert_not_null(answer);
    cr_assert_not_null(answer->held);
    return answer;
}

Test(usage, D7_what_is_held_is_told_apart_from_what_was_used)
{
    struct qd_entry entry = {.quantities = {{qd_slice_of("input_tokens"), 7}}, .quantity_count = 1};
    book(&entry, (int64_t)time(NULL));
    Quota__V1__QueryUsageResponse *answer = held_by("acme");
    cr_expect_eq(answer->held->reservations, 0);
    cr_expect_eq(answer->held->n_amounts, 0, "missing is not zero");
    quota__v1__query_usage_response__free_unpacked(answer, NULL);

    check_quota("acme/core", 100);
    check_quota("acme/edge", 200);
    check_quota("acmeister", 400);
    answer = held_by("acme");
    cr_expect_eq(answer->held->reservations, 2);
    cr_assert_eq(answer->held->n_amounts, 1);
    cr_expect_str_eq(answer->held->amounts[0]->meter, "tokens");
    cr_expect_eq(answer->held->amounts[0]->amount, 100 + 50 + 200 + 50);
    cr_assert_eq(answer->n_rows, 1);
    cr_assert_eq(answer->rows[0]->n_quantities, 1);
    cr_expect_eq(answer->rows[0]->quantities[0]->amount, 7, "of the ledger, and nothing else");
    quota__v1__query_usage_response__free_unpacked(answer, NULL);
    answer = held_by("");
    cr_expect_eq(answer->held->reservations, 3);
    quota__v1__query_usage_response__free_unpacked(answer, NULL);
}

/* --- pages of sums --- */

Test(usage, L5_pages_of_sums_are_complete_and_say_as_of_what)
{
    enum {
        MODELS = 5,
        EACH = 3
    };
    static const char *const models[MODELS] = {"a", "b", "c", "d", "e"};
    int64_t at_s = seconds_of("2026-11-01T00:00");
    for (unsigned i = 0; i < MODELS * EACH; i++) {
        bool unpriced = i % EACH == 0;
        struct qd_entry entry = {
            .model = qd_slice_of(models[i % MODELS]),
            .flags = unpriced ? QD_ENTRY_UNPRICED : 0,
            .quantities = {{qd_slice_of("output_tokens"), 1 + i}},
            .quantity_count = 1,
            .cost_pico_usd = unpriced ? 0 : 1000 + i,
        };
        book(&entry, at_s);
    }
    Quota__V1__QueryUsageRequest request;
    quota__v1__query_usage_request__init(&request);
    Quota__V1__GroupBy group;
    quota__v1__group_by__init(&group);
    Quota__V1__GroupBy *groups[] = {&group};
    char token[256] = "";
    unsigned rows = 0;
    group.dimension = QUOTA__V1__DIMENSION__DIMENSION_MODEL;
    request.group_by = groups;
    request.n_group_by = 1;
    request.page_size = 2;
    request.page_token = token;
    request.to_unix_ns = (at_s + QUARTER_S) * QD_NS_PER_S;
    do {
        grpc_status_code status;
        Quota__V1__QueryUsageResponse *page =
            served_call(&s, "/quota.v1.UsageService/QueryUsage", &request.base,
                        &quota__v1__query_usage_response__descriptor, &status);
        cr_assert_not_null(page);
        for (size_t i = 0; i < page->n_rows; i++, rows++) {
            unsigned cost = 0;
            unsigned unpriced = 0;
            for (unsigned k = rows; k < MODELS * EACH; k += MODELS) {
                cost += k % EACH == 0 ? 0 : 1000 + k;
                unpriced += k % EACH == 0;
            }
            char text[32];
            (void)snprintf(text, sizeof(text), "%u", cost);
            cr_expect_str_eq(page->rows[i]->groups[0]->value, models[rows]);
            cr_expect_eq(page->rows[i]->entries, EACH);
            cr_expect_eq(page->rows[i]->unpriced_entries, unpriced, "P8: counted, not $0");
            cr_expect_str_eq(page->rows[i]->cost_pico_usd, text);
            cr_expect_eq(page->rows[i]->n_quantities, 1, "missing is not zero");
        }
        cr_expect_eq(page->as_of[0]->sequence, (uint64_t)MODELS * EACH);
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        quota__v1__query_usage_response__free_unpacked(page, NULL);
    } while (token[0] != '\0');
    cr_expect_eq(rows, MODELS);
}
