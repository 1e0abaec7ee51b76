/* X1: the file of --credentials: what it may say, and who is found in it. */
#include "server/rpc/caller.h"
#include "server/rpc/credentials.h"
#include "tests/lib/process.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SHA-256 of "secret", by sha256sum. */
#define SECRET "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
/* Of "other". */
#define OTHER "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

static struct qd_credentials *load(const char *yaml, char **ret_why)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_credentials *set = qd_credentials_load_bytes("c.yaml", yaml, strlen(yaml), problems);

    *ret_why = qd_problems_text(problems);
    qd_problems_free(problems);
    return set;
}

static void refused(const char *yaml, const char *part)
{
    char *why;
    struct qd_credentials *set = load(yaml, &why);

    cr_expect_null(set, "accepted: %s", yaml);
    cr_expect_not_null(strstr(why, part), "\"%s\" is not in: %s", part, why);
    qd_credentials_free(set);
    free(why);
}

static void is(const struct qd_credential *found, const char *name)
{
    if (name == NULL) {
        cr_expect_null(found, "found %s", found != NULL ? found->name : "");
    } else {
        cr_expect(found != NULL && strcmp(found->name, name) == 0, "not found: %s", name);
    }
}

Test(credentials, X1_each_proof_finds_its_credential)
{
    char *why;
    struct qd_credentials *set =
        load("- {name: edge, role: gateway, spiffe: 'spiffe://prod/ns/edge/sa/gw'}\n"
             "- {name: any, role: gateway, spiffe: 'spiffe://prod/ns/llm/*'}\n"
             "- {name: h100, role: pool, pool: h100, san: H100.Pools.example}\n"
             "- {name: acme, role: billing, tenant: acme/eu, token_sha256: " SECRET "}\n"
             "- {name: root, role: admin, token_sha256: " OTHER "}\n",
             &why);
    cr_assert_not_null(set, "%s", why);
    cr_expect_eq(qd_credentials_count(set), 5);
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/edge/sa/gw")), "edge");
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/edge/sa/gw2")), NULL);
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/llm/x")), "any");
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/llm/x/y")), NULL); /* one segment */
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/llm/")), NULL);
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/llm/*")), NULL); /* no URI has it */
    is(qd_credentials_by_spiffe(set, str("spiffe://prod/ns/llm")), NULL);
    is(qd_credentials_by_spiffe(set, str("h100.pools.example")), NULL);
    is(qd_credentials_by_spiffe(set, (struct qd_str){"spiffe://prod/ns/edge/sa/gw\0x", 29}), NULL);
    is(qd_credentials_by_san(set, str("h100.pools.EXAMPLE")), "h100");
    is(qd_credentials_by_san(set, str("h100.pools.example.")), NULL);
    is(qd_credentials_by_san(set, (struct qd_str){"h100.pools.example\0.evil", 24}), NULL);
    is(qd_credentials_by_san(set, str("spiffe://prod/ns/edge/sa/gw")), NULL);
    is(qd_credentials_by_token(set, str("secret")), "acme");
    is(qd_credentials_by_token(set, str("other")), "root");
    is(qd_credentials_by_token(set, str("secret ")), NULL);
    is(qd_credentials_by_token(set, str("")), NULL);
    is(qd_credentials_by_token(set, str(SECRET)), NULL); /* the hash is no token */
    const struct qd_credential *acme = qd_credentials_by_token(set, str("secret"));
    cr_expect_eq(acme->role, QD_ROLE_BILLING);
    cr_expect_eq(acme->tenant.len, 7);
    qd_credentials_free(set);
    free(why);
}

Test(credentials, X1_many_tokens_are_each_found)
{
    char yaml[200000] = "";
    size_t used = 0;
    char *why;

    for (unsigned i = 0; i < 1000; i++) { /* no token has these hashes: they fill the table */
        used += (size_t)snprintf(yaml + used, sizeof(yaml) - used,
                                 "- {name: n%u, role: peer, token_sha256: %064x}\n", i, i * 7919);
    }
    (void)snprintf(yaml + used, sizeof(yaml) - used,
                   "- {name: last, role: peer, token_sha256: " SECRET "}\n");
    struct qd_credentials *set = load(yaml, &why);
    cr_assert_not_null(set, "%s", why);
    is(qd_credentials_by_token(set, str("secret")), "last");
    is(qd_credentials_by_token(set, str("other")), NULL);
    qd_credentials_free(set);
    free(why);
}

Test(credentials, X1_a_wrong_file_says_where_and_what_is_accepted)
{
    refused("a: b\n", "c.yaml:1:1: a list of credentials is accepted");
    refused("- x\n", "c.yaml:1:3: credentials[0]: a map such as");
    refused("- {name: x, role: gateway}\n", "one of `spiffe`, `san`, `token_sha256` is required");
    refused("- {name: x, role: gateway, san: a, token_sha256: " SECRET "}\n", "not 2");
    refused("- {role: gateway, san: a}\n", "`name` is missing");
    refused("- {name: x, san: a}\n", "`role` is missing; accepted: gateway, pool");
    refused("- {name: x, role: gatway, san: a}\n", "gateway");
    refused("- {name: x, role: admin, san: '*.pools.example'}\n", "a whole DNS name");
    refused("- {name: x, role: admin, san: 10.0.0.5}\n", "a whole DNS name");
    refused("- {name: x, role: admin, san: '::1'}\n", "a whole DNS name");
    refused("- {name: x, role: admin, san: ops@example.com}\n", "a whole DNS name");
    refused("- {name: x, role: admin, san: 'spiffe://prod/ns/edge'}\n", "a whole DNS name");
    refused("- {name: x, role: admin, san: ops.example.}\n", "a whole DNS name");
    refused("- {name: 'x y', role: admin, san: a}\n", "name");
    refused("- {name: x, role: admin, san: a, tenants: acme}\n", "did you mean \"tenant\"?");
    refused("- {name: x, role: admin, token: secret}\n", "\"token\"");
    refused("- {name: x, role: admin, token_sha256: abc}\n", "64 hexadecimal digits");
    refused("- {name: x, role: admin, san: a, tenant: 'acme/*'}\n", "without patterns");
    refused("- {name: x, role: admin, san: a, tenant: ''}\n", "a tenant's path");
    refused("- {name: x, role: pool, san: a}\n", "`pool` is required with role pool");
    refused("- {name: x, role: admin, san: a, pool: h100}\n", "accepted with no other");
    refused("- {name: x, role: peer, san: a, tenant: acme}\n", "not accepted with role peer");
    refused("- {name: x, role: admin, spiffe: 'http://a/b'}\n", "spiffe://domain/path");
    refused("- {name: x, role: admin, spiffe: 'spiffe://a/*/b'}\n", "spiffe://domain/path");
    refused("- {name: x, role: admin, spiffe: 'spiffe://*'}\n", "spiffe://domain/path");
    refused("- {name: x, role: admin, spiffe: 'spiffe://a/b*'}\n", "spiffe://domain/path");
    refused("- {name: x, role: admin, san: A.b}\n- {name: y, role: peer, san: a.b}\n",
            "c.yaml:2:1: y: its san is that of x (line 1) already");
    refused("- {name: x, role: admin, san: a}\n- {name: x, role: peer, san: b}\n",
            "x: its name is that of x");
    refused("- {name: x, role: admin, token_sha256: " SECRET "}\n"
            "- {name: y, role: peer, token_sha256: " SECRET "}\n",
            "y: its token_sha256 is that of x");
}

/* What README.md shows, between ```yml and ```; freed by the caller. */
static char *shown_in_readme(void)
{
    char path[1024];
    const char *source = getenv("QUOTAD_SOURCE_DIR");

    (void)snprintf(path, sizeof(path), "%s/README.md", source != NULL ? source : ".");
    char *text = qd_process_read_file(path);
    cr_assert_not_null(text, "%s", path);
    char *begin = strstr(text, "```yml\n");
    cr_assert_not_null(begin);
    begin += 7;
    char *end = strstr(begin, "```");
    cr_assert_not_null(end);
    char *shown = strndup(begin, (size_t)(end - begin));
    free(text);
    return shown;
}

/* The text with `by` for its first HASH; freed by the caller. */
static char *filled_in(const char *text, const char *by)
{
    const char *hash = strstr(text, ": HASH}");
    char *filled = NULL;

    cr_assert_not_null(hash);
    cr_assert(asprintf(&filled, "%.*s: %s%s", (int)(hash - text), text, by, hash + 6) > 0);
    return filled;
}

/* Whoever copies it must make tokens: a hash that is printed there would be known to everybody. */
Test(credentials, X1_README_shows_a_file_that_loads_once_its_hashes_are_filled_in)
{
    char *why;
    char *shown = shown_in_readme();
    char *half = filled_in(shown, SECRET);
    char *whole = filled_in(half, OTHER);

    cr_expect_null(strstr(whole, ": HASH}"));
    refused(shown, "quotactl token new");
    refused(half, "quotactl token new");
    struct qd_credentials *set = load(whole, &why);
    cr_assert_not_null(set, "%s", why);
    cr_expect_eq(qd_credentials_count(set), 4);
    is(qd_credentials_by_spiffe(set, str("spiffe://prod.example/ns/edge/sa/gw")), "edge");
    is(qd_credentials_by_token(set, str("secret")), "ops");
    qd_credentials_free(set);
    free(why);
    free(shown);
    free(half);
    free(whole);
}

Test(credentials, X1_no_credentials_let_nobody_in)
{
    char *why;
    struct qd_credentials *set = load("[]\n", &why);

    cr_assert_not_null(set, "%s", why);
    is(qd_credentials_by_token(set, str("secret")), NULL);
    is(qd_credentials_by_san(set, str("a")), NULL);
    qd_credentials_free(set);
    free(why);
}

Test(credentials, X1_loopback_is_told_from_other_peers)
{
    cr_expect(qd_peer_is_loopback("ipv4:127.0.0.1:5000"));
    cr_expect(qd_peer_is_loopback("ipv4:127.8.9.1:5000"));
    cr_expect(qd_peer_is_loopback("ipv6:[::1]:5000"));
    cr_expect(qd_peer_is_loopback("ipv6:%5B::1%5D:5000"));
    cr_expect(qd_peer_is_loopback("unix:/run/quotad.sock"));
    cr_expect_not(qd_peer_is_loopback("ipv4:10.0.0.1:5000"));
    cr_expect_not(qd_peer_is_loopback("ipv4:12.7.0.1:5000"));
    cr_expect_not(qd_peer_is_loopback("ipv6:[::1:2]:5000"));
    cr_expect_not(qd_peer_is_loopback("ipv6:[2001:db8::1]:5000"));
    cr_expect_not(qd_peer_is_loopback("ipv6:%5B2001:db8::1%5D:5000"));
    cr_expect_not(qd_peer_is_loopback("unknown"));
    cr_expect_not(qd_peer_is_loopback(""));
    cr_expect(qd_peer_is_of_this_machine("ipv4:127.0.0.1:5000"));
    cr_expect(qd_peer_is_of_this_machine("ipv6:[::1]:5000"));
    cr_expect(qd_peer_is_of_this_machine("ipv6:%5B::1%5D:5000"));
    cr_expect(qd_peer_is_of_this_machine("unix:/run/quotad.sock"));
    cr_expect_not(qd_peer_is_of_this_machine("ipv4:127.0.0.6:5000"), "Istio's proxy");
    cr_expect_not(qd_peer_is_of_this_machine("ipv4:127.0.0.10:5000"));
    cr_expect_not(qd_peer_is_of_this_machine("ipv4:10.0.0.1:5000"));
    cr_expect_not(qd_peer_is_of_this_machine("unknown"));
}
