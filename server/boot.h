/* What has to be there before a node can serve: policy, store, key, incarnation, ledger, tenants,
 * tables.
 *
 * Layer:    composition (main.c)
 * Threads:  open and close: main; qd_boot_reload: any.
 * Memory:   the caller's struct owns everything in it.
 */
#ifndef QD_SERVER_BOOT_H
#define QD_SERVER_BOOT_H

#include "server/config.h"
#include "server/ledger/heart.h"
#include "server/ledger/tenant_store.h"
#include "server/ledger/ticker.h"
#include "server/ledger/tidemark.h"
#include "server/reread.h"
#include "server/rpc/rls.h"
#include "server/rpc/server.h"
#include "server/shard/evicted.h"
#include "server/shard/node.h"
#include "server/shard/recover.h"

struct qd_boot {
    struct qd_store *store;
    struct qd_ledger *ledger;
    struct qd_tenant_store *tenants;
    struct qd_node *node;
    struct qd_heart *heart;      /* of the ledger; beats from the end of qd_boot_open on */
    struct qd_ticker *snapshots; /* of counters and holds, likewise */
    uint32_t snapshot_part;      /* the next one of its round */
    bool snapshot_bad;           /* one of this round failed */
    bool snapshot_failed;        /* as told last */
    struct qd_store_error snapshot_error;
    uint64_t journal_looked_ns; /* expire.c: when it was looked at last, monotonic */
    uint64_t journal_bytes;     /* written until then */
    uint64_t journal_compacted; /* and until the last compaction */
    uint64_t journal_next_ns;   /* none before; 0: there was none yet */
    struct qd_evicted_sweep evicted;
    struct qd_tidemark *tidemark;
    struct qd_rls_set *rls;             /* of --rls-config, until the server takes it; NULL: none */
    struct qd_reread_mark rls_mark;     /* of its folder, when it was loaded */
    struct qd_credentials *credentials; /* of --credentials; likewise */
    struct qd_reread_mark credentials_mark;
    const char *policy_file; /* NULL: --dev */
    int store_files;         /* descriptors that the store may have, set before; 0: its default */
    const char *data_dir;
    const char *backup_dir; /* "": data_dir/backups */
    uint32_t threads;
    struct qd_recovery recovery;
    bool keeps_longer; /* the heart's: it has been said that budgets need older entries */
    char summary[256];
};

/* NULL, or what is wrong, to be freed: whole sentences, several lines for a bad policy. *boot must
 * be zeroed, but for store_files, and is to be closed in any case. */
char *qd_boot_open(struct qd_boot *boot, const struct qd_config *config);
void qd_boot_close(struct qd_boot *boot);

/* struct qd_rpc_hooks.reload; the context is a struct qd_boot. */
enum qd_error_code qd_boot_reload(void *context, uint64_t expected_revision,
                                  struct qd_problems *problems, bool *ret_changed,
                                  struct qd_error *ret_error);

/* struct qd_heart_config.sweep; likewise. */
bool qd_boot_sweep(void *context);

/* struct qd_rpc_hooks.checkpoint; likewise. */
enum qd_error_code qd_boot_checkpoint(void *context, const char *name,
                                      struct qd_checkpoint *ret_checkpoint,
                                      struct qd_error *ret_error);

/* When the last backup was made, into the node's figures; at boot. Unknown if it cannot be read. */
void qd_boot_recall_backup(struct qd_boot *boot);

#endif /* QD_SERVER_BOOT_H */
