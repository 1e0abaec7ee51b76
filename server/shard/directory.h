/* The tenants that were made at run time (P2): their records, compiled for resolution.
 *
 * Layer:    shard
 * Threads:  the shared lock: any thread, to resolve; changes: serialized by the caller
 * (node->admin), they take the exclusive lock for as long as it takes to swap one entry. Memory:
 * the directory owns its entries: at most tenants_max. An override belongs to the directory and is
 *           valid under the shared lock.
 *
 * The directory holds what is durable elsewhere (server/ledger's tenant store): load it at boot,
 * put an entry after the store has it. Plans are looked up by name in the policy that was published
 * last; a plan that it doesn't have counts as none.
 */
#ifndef QD_SHARD_DIRECTORY_H
#define QD_SHARD_DIRECTORY_H

#include "server/policy/policy_file.h"
#include "server/policy/resolve.h"
#include "server/shard/error.h"
#include "storage/tenant_record.h"

struct qd_directory;

/* NULL: out of memory. `seed` is that of counters' identities. */
struct qd_directory *qd_directory_new(uint32_t tenants_max, uint64_t seed);
void qd_directory_free(struct qd_directory *d);

void qd_directory_lock_shared(struct qd_directory *d);
void qd_directory_unlock_shared(struct qd_directory *d);

/* Under the shared lock: the override of each segment of a valid path, by depth - 1; NULL: none. */
void qd_directory_overrides(struct qd_directory *d, struct qd_str path,
                            const struct qd_override *ret_overrides[QD_TENANT_SEGMENTS_MAX]);

/* Compile a record's limits without putting it: QD_ERROR_NONE, or what is wrong with which.
 * `new_limits`: its limits or its plan are new, so that what the policy's file would be refused for
 * is refused (H1, P1); otherwise what was taken before stays good, and a block can always be set.
 */
enum qd_error_code qd_directory_try(struct qd_directory *d, const struct qd_policy *policy,
                                    const struct qd_tenant_record *record, bool new_limits,
                                    struct qd_error *ret_error);

/* Put a record in, or replace it. Under the admin lock. On an error nothing has changed. */
enum qd_error_code qd_directory_put(struct qd_directory *d, const struct qd_policy *policy,
                                    const struct qd_tenant_record *record,
                                    struct qd_error *ret_error);
/* Take a record out; false: there is none. */
bool qd_directory_remove(struct qd_directory *d, struct qd_str path);

/* Compile all again for a new policy. Under the admin lock. Limits that no longer compile are left
 * out and reported; those that would be refused if they were new stay and are reported. Returns how
 * many records had such. */
size_t qd_directory_recompile(struct qd_directory *d, const struct qd_policy *policy,
                              struct qd_problems *problems);

/* A copy of a record: its strings point into *buf (cleared first). False: there is none. */
bool qd_directory_get(struct qd_directory *d, struct qd_str path, struct qd_buf *buf,
                      struct qd_tenant_record *ret_record);

/* The first record whose path is greater than `after` (empty: the first) in the order of paths. */
bool qd_directory_next(struct qd_directory *d, struct qd_str after, struct qd_buf *buf,
                       struct qd_tenant_record *ret_record);

/* Some record that is or was here has a limit in shadow. */
bool qd_directory_has_shadow(struct qd_directory *d);

size_t qd_directory_count(struct qd_directory *d);

/* Order in which a tenant comes right before all that is below it: '/' sorts before everything. */
int qd_path_compare(struct qd_str a, struct qd_str b);

/* Is `path` the tenant `root` or below it? An empty root contains all. */
bool qd_path_within(struct qd_str path, struct qd_str root);

#endif /* QD_SHARD_DIRECTORY_H */
