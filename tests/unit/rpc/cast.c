#include "tests/unit/rpc/cast.h"

#include "tests/unit/rpc/served.h"

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
};

struct qd_credentials *cast_without(const char *name)
{
    char yaml[4096];
    size_t used = 0;
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    for (size_t i = 0; i < sizeof(cast) / sizeof(cast[0]); i++) {
        unsigned char hash[crypto_hash_sha256_BYTES];
        char hex[2 * sizeof(hash) + 1];
        if (name != NULL && strcmp(name, cast[i].name) == 0) {
            continue;
        }
        (void)crypto_hash_sha256(hash, (const unsigned char *)cast[i].name, strlen(cast[i].name));
        (void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
        used += (size_t)snprintf(yaml + used, sizeof(yaml) - used,
                                 "- {name: %s, %s, token_sha256: %s}\n", cast[i].name, cast[i].rest,
                                 hex);
    }
    struct qd_credentials *set = qd_credentials_load_bytes("cast.yaml", yaml, used, problems);
    char *why = qd_problems_text(problems);
    cr_assert_not_null(set, "%s", why);
    free(why);
    qd_problems_free(problems);
    return set;
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

struct qd_rpc_config cast_config(void)
{
    struct qd_rpc_config config = served_config();

    config.credentials = cast_all();
    config.hooks.reload = reload;
    return config;
}

char *cast_text(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}
