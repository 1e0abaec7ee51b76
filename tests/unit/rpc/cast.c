#include "tests/unit/rpc/cast.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *rest;
} cast[] = {
    {"gateway", "role: gateway"},
    {"pool", "role: pool, pool: h100"},
    {"billing", "role: billing"},
    {"admin", "role: admin"},
    {"peer", "role: peer"},
    {"acme-gateway", "role: gateway, tenant: acme"},
    {"acme-billing", "role: billing, tenant: acme"},
    {"acme-admin", "role: admin, tenant: acme"},
    {"acme-pool", "role: pool, pool: h100, tenant: acme"},
};

/* A line of the file: who has this token. */
static size_t put_line(char *at, size_t size, const char *token, const char *rest)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof(hash) + 1];

    (void)crypto_hash_sha256(hash, (const unsigned char *)token, strlen(token));
    (void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
    return (size_t)snprintf(at, size, "- {name: %s, %s, token_sha256: %s}\n", token, rest, hex);
}

static struct qd_credentials *load(const char *yaml, size_t used)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_credentials *set = qd_credentials_load_bytes("cast.yaml", yaml, used, problems);
    char *why = qd_problems_text(problems);
    cr_assert_not_null(set, "%s", why);
    free(why);
    qd_problems_free(problems);
    return set;
}

struct qd_credentials *cast_without(const char *name)
{
    char yaml[4096];
    size_t used = 0;

    for (size_t i = 0; i < sizeof(cast) / sizeof(cast[0]); i++) {
        if (name == NULL || strcmp(name, cast[i].name) != 0) {
            used += put_line(yaml + used, sizeof(yaml) - used, cast[i].name, cast[i].rest);
        }
    }
    return load(yaml, used);
}

struct qd_credentials *cast_one(const char *name, const char *rest)
{
    char yaml[512];

    return load(yaml, put_line(yaml, sizeof(yaml), name, rest));
}

struct qd_credentials *cast_all(void)
{
    return cast_without(NULL);
}

static enum qd_error_code reload(void *context, uint64_t expected_revision,
                                 struct qd_problems *problems, bool *ret_changed,
                                 struct qd_error *ret_error)
{
    (void)context;
    (void)expected_revision;
    (void)problems;
    (void)ret_error;
    *ret_changed = false;
    return QD_ERROR_NONE;
}

struct served_with cast_with(void)
{
    return (struct served_with){.rpc = {.credentials = cast_all(), .hooks = {.reload = reload}}};
}

char *cast_text(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}
