/* S1: tokens are opaque, self-describing and authenticated, at most 1 KiB. */
#include "server/shard/token.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct qd_token_key key = {{7, 1, 2, 3}};

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

static struct qd_token sample(void)
{
    struct qd_token t = {.node = 0x1234567890abcdef,
                         .incarnation = 3,
                         .reservation = 12345,
                         .policy_revision = 2,
                         .made_at = {1764000000000000001},
                         .expires = {1764000300000000000},
                         .event_time = {1764000000000000777},
                         .ttl_ns = 300 * QD_NS_PER_S,
                         .attempt = 1,
                         .tier = QD_TIER_BATCH,
                         .cache_write_ttl = QD_CACHE_WRITE_1H,
                         .tenant = str("acme/search"),
                         .model = str("llama-70b"),
                         .pool = str("h100"),
                         .user = str("ann"),
                         .request_id = str("req-1"),
                         .labels = {{{"region", 6}, {"eu", 2}}},
                         .label_count = 1};

    qd_usage_set(&t.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&t.estimate, QD_METER_INPUT_TOKENS, 1200);
    qd_usage_set(&t.estimate, QD_METER_COST, QD_AMOUNT_MAX);
    return t;
}

Test(token, S1_says_all_that_a_report_needs)
{
    struct qd_token t = sample();
    struct qd_token back;
    struct qd_token_buffer buffer;
    char text[QD_TOKEN_TEXT_MAX];
    size_t len = qd_token_encode(&key, &t, text);

    cr_assert(len > 0 && memcmp(text, "qr1.", 4) == 0);
    cr_assert(qd_token_decode(&key, (struct qd_str){text, len}, &buffer, &back));
    cr_assert_eq(back.node, t.node);
    cr_assert_eq(back.reservation, t.reservation);
    cr_assert_eq(back.made_at.ns, t.made_at.ns);
    cr_assert_eq(back.expires.ns, t.expires.ns);
    cr_assert_eq(back.event_time.ns, t.event_time.ns);
    cr_assert_eq(back.ttl_ns, t.ttl_ns);
    cr_assert_eq(back.tier, t.tier);
    cr_assert_eq(back.cache_write_ttl, t.cache_write_ttl);
    cr_assert_eq(back.estimate.present, t.estimate.present);
    cr_assert_eq(qd_usage_get(&back.estimate, QD_METER_COST), QD_AMOUNT_MAX);
    cr_assert(back.tenant.len == t.tenant.len && memcmp(back.tenant.ptr, "acme/search", 11) == 0);
    cr_assert_eq(back.label_count, 1);
    cr_assert(back.labels[0].value.len == 2 && memcmp(back.labels[0].value.ptr, "eu", 2) == 0);
    char again[QD_TOKEN_TEXT_MAX];
    cr_assert_eq(qd_token_encode(&key, &back, again), len);
    cr_assert_arr_eq(again, text, len);
}

Test(token, S1_any_changed_character_is_refused)
{
    struct qd_token t = sample();
    struct qd_token back;
    struct qd_token_buffer buffer;
    char text[QD_TOKEN_TEXT_MAX];
    size_t len = qd_token_encode(&key, &t, text);

    for (size_t i = 0; i < len; i++) {
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        cr_assert_not(qd_token_decode(&key, (struct qd_str){text, len}, &buffer, &back), "at %zu",
                      i);
        text[i] = was;
    }
    for (size_t i = 0; i < len; i++) {
        cr_assert_not(qd_token_decode(&key, (struct qd_str){text, i}, &buffer, &back), "cut to %zu",
                      i);
    }
    struct qd_token_key other = key;
    other.bytes[15] = 1;
    cr_assert_not(qd_token_decode(&other, (struct qd_str){text, len}, &buffer, &back));
}

Test(token, S1_at_most_a_kibibyte)
{
    static char long_name[600];
    struct qd_token t = sample();
    char text[QD_TOKEN_TEXT_MAX];

    memset(long_name, 'x', sizeof(long_name));
    t.tenant = (struct qd_str){long_name, 511};
    size_t len = qd_token_encode(&key, &t, text);
    cr_assert(len > 700 && len <= QD_TOKEN_TEXT_MAX);
    t.model = (struct qd_str){long_name, 127};
    t.user = (struct qd_str){long_name, 127};
    cr_assert_eq(qd_token_encode(&key, &t, text), 0);
}

Test(token, short_ids_are_for_people)
{
    char id[QD_SHORT_ID_MAX];
    uint64_t number = 0;

    cr_assert_eq(qd_short_id_encode(247, id), 4);
    cr_assert_arr_eq(id, "r_7Q", 4);
    cr_assert(qd_short_id_decode(str("r_7q"), &number));
    cr_assert_eq(number, 247);
    cr_assert(qd_short_id_decode(str("r_iL"), &number));
    cr_assert_eq(number, 33, "I and L read as 1");
    cr_assert_eq(qd_short_id_encode(UINT64_MAX, id), 15);
    cr_assert(qd_short_id_decode((struct qd_str){id, 15}, &number));
    cr_assert_eq(number, UINT64_MAX);
    cr_assert_not(qd_short_id_decode(str("r_"), &number));
    cr_assert_not(qd_short_id_decode(str("r_7U"), &number), "U is no digit");
    cr_assert_not(qd_short_id_decode(str("r_ZZZZZZZZZZZZZ"), &number), "more than 64 bits");
}

Test(token, S1_the_key_is_made_once_and_only_the_owner_reads_it)
{
    char folder[] = "/tmp/quotad-token-XXXXXX";
    char path[64];
    char why[200];
    struct qd_token_key a;
    struct qd_token_key b;
    struct stat st;

    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/key", folder);
    cr_assert(qd_token_key_load(path, &a, why), "%s", why);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    cr_assert(qd_token_key_load(path, &b, why));
    cr_assert_arr_eq(a.bytes, b.bytes, sizeof(a.bytes));
    cr_assert_eq(chmod(path, 0644), 0);
    cr_assert_not(qd_token_key_load(path, &b, why));
    cr_assert_not_null(strstr(why, "others can read it; run: chmod 600"));
    (void)unlink(path);
    (void)rmdir(folder);
}

/* A start was killed while it wrote the key: the next one makes it. */
Test(token, X5_a_half_written_key_is_none)
{
    char folder[] = "/tmp/quotad-token-XXXXXX";
    char path[64];
    char half[64];
    char why[200];
    struct qd_token_key a;
    struct qd_token_key b;

    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/key", folder);
    (void)snprintf(half, sizeof(half), "%s/key.new", folder);
    FILE *file = fopen(half, "w");
    cr_assert_not_null(file);
    (void)fputs("half", file);
    (void)fclose(file);
    cr_assert(qd_token_key_load(path, &a, why), "%s", why);
    cr_assert_eq(access(half, F_OK), -1);
    cr_assert(qd_token_key_load(path, &b, why), "%s", why);
    cr_assert_arr_eq(a.bytes, b.bytes, sizeof(a.bytes));
    (void)unlink(path);
    (void)rmdir(folder);
}
