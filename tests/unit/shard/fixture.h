/* A whole node on a memory store, with a clock that the test moves, and short forms of its calls.
 */
#ifndef QD_TESTS_UNIT_SHARD_FIXTURE_H
#define QD_TESTS_UNIT_SHARD_FIXTURE_H

#include "server/ledger/tenant_store.h"
#include "server/shard/directory.h"
#include "server/shard/node.h"
#include "server/shard/recover.h"
#include "server/shard/reports.h"
#include "server/shard/tenants.h"
#include "storage/store_memory.h"

#define T0 (INT64_C(1764000000) * QD_NS_PER_S) /* 2025-11-24T16:00:00Z */
#define S  QD_NS_PER_S

struct fixture {
    int64_t wall;
    uint64_t mono;
    int64_t step_ns; /* by which time goes on with each look at it */
    struct qd_store *store;
    struct qd_ledger *ledger;
    struct qd_tenant_store *tenants;
    struct qd_node *node;
    struct qd_worker *worker;
    uint32_t root_counters;
    uint32_t gauges;             /* of each slice, from the next boot on; 0: 64 */
    uint32_t roots;              /* likewise; 0: 512 */
    size_t name_bytes;           /* likewise; 0: 65,536 */
    uint32_t shards;             /* likewise; 0: 4 */
    uint32_t reservations;       /* likewise; 0: 64 */
    struct qd_recovery recovery; /* of the last boot */
    struct qd_error error;
    struct qd_check_answer answer;
    struct qd_report_answer report;
    char token[QD_TOKEN_TEXT_MAX + 1]; /* of the last allowed check */
};

/* A new node, or the next boot of one on the same store. */
void fixture_open(struct fixture *f, const char *yaml);
/* False: the boot has failed; close it. */
bool fixture_try_open(struct fixture *f, const char *yaml);
void fixture_close(struct fixture *f); /* keeps the store */
void fixture_end(struct fixture *f);
/* Store counters and holds, as happens every second. */
void fixture_snapshot(struct fixture *f);
/* The same, with all records brought up to date and new journals. */
void fixture_fold(struct fixture *f);
/* As if none had been stored ever; between a close and an open. */
void fixture_forget_snapshot(struct fixture *f);
void fixture_publish(struct fixture *f, const char *yaml);

/* Wall and monotonic time go on together. */
void fixture_pass(struct fixture *f, int64_t ns);

struct qd_str str(const char *text);

/* Check `tokens` input tokens of model m. True: allowed. An error fails the test. */
bool check(struct fixture *f, const char *tenant, int64_t tokens);
/* As given; the error's code. */
enum qd_error_code check_args(struct fixture *f, const struct qd_check_args *args);
struct qd_check_args args_of(const char *tenant, int64_t tokens);

/* Report input tokens of the last token. */
enum qd_error_code report_tokens(struct fixture *f, int64_t tokens);
enum qd_error_code report_args(struct fixture *f, const struct qd_report_args *args);
struct qd_report_args report_of(const char *reservation, int64_t tokens);

/* `used` and `held` of the limit `limit` of `tenant`, by its last name; -1: no such limit. */
int64_t used_of(struct fixture *f, const char *tenant, const char *limit);
int64_t held_of(struct fixture *f, const char *tenant, const char *limit);
/* `used` as of other attributes than a tenant and model m. */
int64_t used_by(struct fixture *f, const struct qd_attributes *attributes, const char *limit);

/* Put a tenant with a plan and at most one limit of its own. */
enum qd_error_code put_tenant(struct fixture *f, const char *path, const char *plan,
                              const char *limit, const char *size);

#endif /* QD_TESTS_UNIT_SHARD_FIXTURE_H */
