/* Any RateLimitRequest as facts of tenants: what is fit is what a native call accepts, usage
 * always; and what is refused says which descriptor it is about. */
#include "server/rpc/rls_facts.h"

#include "server/policy/policy_file.h"
#include "server/shard/validate.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct qd_policy *policy(void)
{
    static const char yaml[] = "version: 1\nmeters: {searches: {unit: searches}}\n"
                               "plans: {free: {requests: 10/min}}\ntenants: {'*': {plan: free}}\n";
    static struct qd_policy *loaded;

    if (loaded == NULL) {
        struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
        loaded = qd_policy_load_bytes("policy.yaml", NULL, yaml, sizeof(yaml) - 1, problems);
        qd_problems_free(problems);
        assert(loaded != NULL);
    }
    return loaded;
}

/* Each entry is one fact: none is lost, none is made up. */
static size_t count_facts(const struct qd_rls_facts *facts)
{
    const struct qd_str known[] = {facts->tenant, facts->model, facts->user, facts->pool,
                                   facts->meter};
    size_t count = facts->label_count;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        count += known[i].ptr != NULL ? 1 : 0;
    }
    return count;
}

static void expect_valid(const struct qd_rls_facts *facts, const struct qd_rls_descriptor *d)
{
    struct qd_check_args args = {.tenant = facts->tenant,
                                 .model = facts->model,
                                 .user = facts->user,
                                 .pool = facts->pool,
                                 .label_count = facts->label_count};
    struct qd_error error;
    struct qd_error unfit = {.code = QD_ERROR_NONE};

    assert(facts->label_count <= QD_LABELS_MAX);
    memcpy(args.labels, facts->labels, facts->label_count * sizeof(facts->labels[0]));
    assert(qd_validate_check(&args, &error) == qd_rls_facts_validate(facts, &unfit));
    assert(unfit.code == QD_ERROR_NONE || !qd_rls_facts_used(facts));
    assert(facts->hits >= 0 && facts->hits <= QD_AMOUNT_MAX);
    assert(!d->has_hits || (uint64_t)facts->hits == d->hits);
    assert(!d->negative && !d->has_limit);
    assert(count_facts(facts) == d->entry_count);
    assert(facts->meter.len == 0 || qd_policy_meter(policy(), facts->meter) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_rls_request request;
    struct qd_error error;

    if (qd_rls_decode((struct qd_str){(const char *)data, size}, &request, &error) !=
        QD_ERROR_NONE) {
        return 0;
    }
    for (size_t i = 0; i < request.descriptor_count; i++) {
        struct qd_rls_facts facts;
        enum qd_error_code code = qd_rls_facts_read(&request, i, policy(), &facts, &error);
        if (code == QD_ERROR_NONE) {
            expect_valid(&facts, &request.descriptors[i]);
        } else {
            assert(error.code == code && memcmp(error.text, "descriptors[", 12) == 0);
            assert(qd_error_status(code) == QD_STATUS_INVALID_ARGUMENT);
        }
    }
    return 0;
}
