/* The file of --credentials: no input crashes the loader; a file is refused with an error, or its
 * credentials are found by nothing but their own proofs (X1). */
#include "server/policy/problem.h"
#include "server/rpc/credentials.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536

static void check(const struct qd_credential *c)
{
    assert(c->name != NULL && c->name[0] != '\0' && strlen(c->name) <= 63);
    assert(strcmp(qd_role_name(c->role), "none") != 0);
    assert((c->role == QD_ROLE_POOL) == (c->pool.len > 0));
    assert(c->tenant.len <= QD_TENANT_PATH_MAX && c->pool.len <= QD_NAME_MAX);
}

/* Each word of the file as a proof. */
static void ask(const struct qd_credentials *set, const char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        size_t len = 0;
        while (at + len < size && strchr(" \n\t'\",{}", text[at + len]) == NULL) {
            len++;
        }
        struct qd_str word = {text + at, len};
        const struct qd_credential *found[] = {qd_credentials_by_spiffe(set, word),
                                               qd_credentials_by_san(set, word),
                                               qd_credentials_by_token(set, word)};
        for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
            if (found[i] != NULL) {
                check(found[i]);
            }
        }
        assert(found[0] == NULL || (len > 9 && memcmp(word.ptr, "spiffe://", 9) == 0));
        at += len + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_problems *problems = size <= FUZZ_BYTES_MAX ? qd_problems_new(5) : NULL;
    if (problems == NULL) {
        return 0;
    }
    struct qd_credentials *set = qd_credentials_load_bytes("fuzz.yaml", data, size, problems);
    assert((set == NULL) == (qd_problems_errors(problems) > 0));
    if (set != NULL) {
        ask(set, (const char *)data, size);
    }
    free(qd_problems_text(problems));
    qd_credentials_free(set);
    qd_problems_free(problems);
    return 0;
}
