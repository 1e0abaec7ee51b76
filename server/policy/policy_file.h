/* A policy from YAML: parse, validate, compile into the core's flat arrays (P1-P8).
 *
 * Layer:    policy (may block on reading files; never called with a shard's lock held)
 * Units:    as in server/core/{limit,price,policy}.h.
 * Threads:  any number of threads may load at the same time; a loaded policy is immutable but for
 *           `revision`, which its publisher sets before it publishes.
 * Memory:   a policy owns everything that hangs from it, except limit specs and zones, which are
 * interned and live as long as the process (intern.h). The struct qd_policy that the loaders return
 * is freed with qd_policy_free only.
 *
 * A policy with any error is refused whole: the loader returns NULL and nothing of it takes effect
 * (P1). The format is described in server/policy/README.md.
 */
#ifndef QD_POLICY_POLICY_FILE_H
#define QD_POLICY_POLICY_FILE_H

#include "server/core/policy.h"
#include "server/policy/problem.h"

#define QD_POLICY_BYTES_MAX   (16U << 20) /* of the YAML file */
#define QD_POLICY_DEPTH_MAX   32
#define QD_POLICY_ALIASES_MAX 1000
#define QD_POLICY_NODES_MAX   8000000U    /* visited while compiling, aliases counted each time */
#define QD_IMPORT_BYTES_MAX   (64U << 20) /* of one imported price file */
#define QD_OWN_LIMITS_MAX     16          /* of one plan, tenant, pool, model, or the global ones */

#define QD_REPORT_HORIZON_MAX_NS (366 * QD_NS_PER_DAY) /* the largest report_horizon (S6) */

/* What else is known of a loaded policy. */
struct qd_policy_info {
    const char *file; /* as given to the loader; "--dev" for the development policy */
    const char *yaml; /* its text, NUL-terminated */
    size_t yaml_size;
    char
        sha256[65]; /* hex, of the text and of the imported files in order of their first mention */
    const char *const *imports; /* paths of imported files: watch them too */
    size_t import_count;
    const char *summary; /* "2 plans, 3 tenant rules, 2 priced models" */
};

/* Load `path`. NULL if it cannot be read or has an error; `problems` then says why (it may also
 * have warnings after success). `revision` is 0 until the publisher sets it; `epoch` is unique in
 * the process. */
struct qd_policy *qd_policy_load_file(const char *path, struct qd_problems *problems)
    __attribute__((warn_unused_result));

/* The same from memory. `name` stands for the file in messages; imports are looked up in `folder`
 * (NULL: imports are refused). */
struct qd_policy *qd_policy_load_bytes(const char *name, const char *folder, const void *bytes,
                                       size_t size, struct qd_problems *problems)
    __attribute__((warn_unused_result));

/* The policy of --dev: any tenant, any model, one generous plan, no prices. NULL: out of memory. */
struct qd_policy *qd_policy_dev(void) __attribute__((warn_unused_result));

/* Free a policy from one of the loaders. NULL is fine. No reader may still hold it. */
void qd_policy_free(struct qd_policy *policy);

/* Only for policies from the loaders. Lives as long as the policy. */
const struct qd_policy_info *qd_policy_info(const struct qd_policy *policy);

/* --- limits of run-time tenants (PutTenant) -----------------------------------------------------
 */

/* A limit as key and value: "tokens", "40k/min"; the value may also be a map in flow style,
 * "{limit: 1M/min, per: model}". */
struct qd_limit_entry {
    const char *key;
    const char *value;
};

/* Compiled limits: one block of memory, independent of the policy's life. Its specs name meters by
 * the index that this policy gives them: compile again from the texts whenever a new policy is
 * published. */
struct qd_limit_set {
    size_t count;
    struct qd_limit_use uses[];
};

/* Compile the own limits of a run-time tenant with the given plan (NULL: none), whose limits they
 * may replace by name. At most QD_OWN_LIMITS_MAX. NULL on any error, with messages such as
 * `limits.tokns: unknown meter "tokns"; ...` (no file, line 0). */
struct qd_limit_set *qd_policy_compile_limits(const struct qd_policy *policy,
                                              const struct qd_plan *plan,
                                              const struct qd_limit_entry *entries, size_t count,
                                              struct qd_problems *problems)
    __attribute__((warn_unused_result));

/* What the policy as a whole says of compiled limits: the checks that its own limits got when it
 * was loaded (H1, P8), with the same sentences. False: one would be refused there. Limits that were
 * taken under an earlier policy may fail them, and still work as far as they can: their tenant is
 * better off with them. */
bool qd_policy_check_limits(const struct qd_policy *policy, const struct qd_limit_set *set,
                            struct qd_problems *problems) __attribute__((warn_unused_result));
void qd_limit_set_free(struct qd_limit_set *set);

#endif /* QD_POLICY_POLICY_FILE_H */
