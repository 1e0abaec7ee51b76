/* The policy parser: no input crashes it, and what it accepts can be resolved and compared. */
#include "tests/fuzz/fuzz.h"

#include "server/policy/policy_diff.h"
#include "server/policy/policy_file.h"
#include "server/policy/resolve.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536

static void resolve_all(const struct qd_policy *p)
{
    static struct qd_resolution r;
    for (size_t i = 0; i < p->tenant_exact_count; i++) {
        struct qd_attributes a = {.tenant = {p->tenants[i].pattern, strlen(p->tenants[i].pattern)}};
        if (p->model_count > 0) {
            a.model = (struct qd_str){p->models[0].name, strlen(p->models[0].name)};
        }
        qd_attributes_complete(p, &a);
        struct qd_resolve_input in = {.policy = p, .attributes = &a};
        qd_resolve(&in, &r);
        assert(r.count <= QD_LIMITS_PER_CHECK_MAX);
    }
}

static void compile_value(const struct qd_policy *p, const uint8_t *data, size_t size)
{
    struct qd_problems *problems = qd_problems_new(5);
    char *value = strndup((const char *)data, size);
    if (problems != NULL && value != NULL) {
        struct qd_limit_entry entry = {"tokens", value};
        qd_limit_set_free(qd_policy_compile_limits(p, NULL, &entry, 1, problems));
    }
    free(value);
    qd_problems_free(problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_BYTES_MAX) {
        return 0;
    }
    struct qd_problems *problems = qd_problems_new(5);
    if (problems == NULL) {
        return 0;
    }
    struct qd_policy *p = qd_policy_load_bytes("fuzz.yaml", NULL, data, size, problems);
    assert((p == NULL) == (qd_problems_errors(problems) > 0));
    free(qd_problems_text(problems));
    if (p != NULL) {
        struct qd_policy_changes *changes = qd_policy_diff(p, p);
        assert(changes == NULL || changes->count == 0);
        qd_policy_changes_free(changes);
        resolve_all(p);
        compile_value(p, data, size);
    }
    qd_policy_free(p);
    qd_problems_free(problems);
    return 0;
}
