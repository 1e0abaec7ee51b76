#include "server/shard/corrected.h"

#include "server/ledger/scan.h"
#include "server/shard/directory.h"
#include "server/shard/recount.h"

/* The counters that an entry's limits have now; those that are gone do not matter. */
static void find_counters(struct qd_worker *worker, const struct qd_published *published,
                          const struct qd_entry *entry, struct qd_wall_ns now,
                          struct qd_corrected *ret_corrected)
{
    struct qd_node *node = worker->node;
    struct qd_subject_args args = qd_recount_subject(entry);
    struct qd_subject subject;

    qd_subject_init(&subject, published->policy, node->shards.seed, &args);
    qd_directory_lock_shared(node->directory);
    qd_bind_resolve(worker, published, &subject.attributes, false, now);
    for (size_t i = 0; i < worker->resolution.count; i++) {
        ret_corrected->counters[i] = worker->resolution.limit[i].counter;
    }
    ret_corrected->count = worker->resolution.count;
    qd_directory_unlock_shared(node->directory);
}

bool qd_corrected_find(struct qd_worker *worker, const struct qd_published *published,
                       const struct qd_entry *entry, struct qd_wall_ns now,
                       struct qd_corrected *ret_corrected)
{
    struct qd_entry original = *entry;
    struct qd_buf bytes = {0};
    enum qd_store_err err = QD_STORE_OK;

    if (entry->kind != QD_ENTRY_CORRECTION) {
        return false;
    }
    ret_corrected->count = 0;
    while (err == QD_STORE_OK && original.kind == QD_ENTRY_CORRECTION) {
        ret_corrected->sequence = original.corrects_sequence;
        err =
            qd_ledger_read(worker->node->ledger, ret_corrected->sequence, &bytes, &original, NULL);
    }
    if (err == QD_STORE_OK) {
        find_counters(worker, published, &original, now, ret_corrected);
    }
    qd_buf_release(&bytes);
    return true;
}
