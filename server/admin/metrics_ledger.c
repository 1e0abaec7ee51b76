/* What is durable: the ledger, snapshots, backups. */
#include "server/admin/exposition.h"
#include "server/admin/metrics_parts.h"
#include "server/shard/snapshot.h"

static void write_commits(struct qd_node *node, FILE *out)
{
    static const char wait[] = "quotad_ledger_commit_duration_seconds";
    static const char size[] = "quotad_ledger_group_bookings";
    struct qd_ledger_measured measured;

    qd_ledger_measured(node->ledger, &measured);
    qd_expose_head(out, wait, "histogram", "A booking's wait, from the queue to the disk.");
    qd_expose_histogram(out, wait, NULL, NULL, QD_HISTOGRAM_LATENCY, QD_EXPOSE_SECONDS,
                        &measured.commit_ns);
    qd_expose_head(out, size, "histogram", "Bookings that shared a synced batch.");
    qd_expose_histogram(out, size, NULL, NULL, QD_HISTOGRAM_SIZE, QD_EXPOSE_COUNT,
                        &measured.group_size);
}

void qd_metrics_write_ledger(struct qd_node *node, FILE *out)
{
    struct qd_ledger_status status;
    qd_ledger_status(node->ledger, &status);
    qd_expose_one(out, "quotad_ledger_sequence", "gauge",
                  "Sequence number of the last ledger entry.", status.watermark.sequence);
    qd_expose_time(
        out, "quotad_ledger_complete_through_timestamp_seconds", "gauge",
        "Every entry recorded up to here is in, Unix time; stands still while the store fails.",
        status.watermark.complete_through.ns);
    qd_expose_one(out, "quotad_ledger_groups_total", "counter", "Synced batches written.",
                  status.groups);
    qd_expose_one(out, "quotad_ledger_errors_total", "counter", "Bookings that the store refused.",
                  status.store_errors);
    qd_expose_one(out, "quotad_ledger_expired_entries", "gauge",
                  "Entries that ledger_retention has deleted.", status.expired.through);
    qd_expose_one(out, "quotad_ledger_expired_keys_through", "gauge",
                  "Idempotency keys of reports up to this entry are deleted.",
                  status.expired.keys_through);
    qd_expose_one(out, "quotad_ledger_failed", "gauge",
                  "1 while reports are refused: the store fails.", status.failed ? 1 : 0);
    qd_expose_one(out, "quotad_ledger_damaged", "gauge",
                  "1: a report met a damaged record since the start; restore a backup.",
                  status.damage.code != QD_STORE_OK ? 1 : 0);
    write_commits(node, out);
}

void qd_metrics_write_snapshots(struct qd_node *node, FILE *out)
{
    const struct qd_snapshot_figures *s = &node->snapshot;
    qd_expose_one(out, "quotad_snapshot_rounds_total", "counter",
                  "Times that all counters and reservations that had changed were stored.",
                  atomic_load_explicit(&s->rounds, memory_order_relaxed));
    qd_expose_one(out, "quotad_snapshot_bytes_total", "counter", "Bytes written for that.",
                  atomic_load_explicit(&s->bytes, memory_order_relaxed));
    qd_expose_one(out, "quotad_snapshot_failures_total", "counter",
                  "Writes of them that the store refused; a crash would forget rates since.",
                  atomic_load_explicit(&s->failures, memory_order_relaxed));
    qd_expose_time(out, "quotad_snapshot_last_success_timestamp_seconds", "gauge",
                   "When all counters and reservations had been stored last, Unix time.",
                   atomic_load_explicit(&s->stored_at, memory_order_relaxed));
    qd_expose_time(
        out, "quotad_snapshot_oldest_slice_timestamp_seconds", "gauge",
        "A crash forgets rates and holds that are younger than this, Unix time: the slice that was "
        "stored the longest ago; 0: one never was.",
        qd_snapshot_oldest(node).ns);
    qd_expose_time(out, "quotad_backup_last_success_timestamp_seconds", "gauge",
                   "When the last backup was made, Unix time; 0: never.",
                   atomic_load_explicit(&node->backup_at, memory_order_relaxed));
}
