/* One group of bookings, one atomic synced batch (L2). */
#include "server/ledger/ledger_internal.h"

#include "server/core/mutant.h"
#include "storage/codec.h"
#include "storage/idempotency.h"

#define XXH_STATIC_LINKING_ONLY /* the streaming state on the stack */
#include <xxhash.h>

static void put_text(XXH3_state_t *state, struct qd_str text)
{
    uint64_t size = text.len;
    XXH3_128bits_update(state, &size, sizeof size);
    if (text.len > 0) {
        XXH3_128bits_update(state, text.ptr, text.len);
    }
}

static void put_number(XXH3_state_t *state, int64_t number)
{
    XXH3_128bits_update(state, &number, sizeof number);
}

struct qd_hash128 qd_ledger_content(const struct qd_entry *entry, bool event_time)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    put_number(&state, entry->kind);
    put_number(&state, entry->outcome);
    put_number(&state, entry->tier);
    put_number(&state, (entry->flags & QD_ENTRY_FINAL) != 0);
    put_number(&state, event_time ? entry->event_time.ns : -1);
    put_text(&state, entry->model);
    put_text(&state, entry->pool);
    put_text(&state, entry->user);
    put_text(&state, entry->limit);
    put_number(&state, (int64_t)entry->label_count);
    for (size_t i = 0; i < entry->label_count; i++) {
        put_text(&state, entry->labels[i].name);
        put_text(&state, entry->labels[i].value);
    }
    for (size_t i = 0; i < entry->quantity_count; i++) {
        put_text(&state, entry->quantities[i].meter);
        put_number(&state, entry->quantities[i].amount);
    }
    put_number(&state, entry->cache_write_1h_tokens);
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return (struct qd_hash128){.lo = hash.low64, .hi = hash.high64};
}

static void add_idempotency(struct qd_ledger *ledger, const struct qd_book_job *job,
                            const struct qd_entry *entry)
{
    if (job->own.key.size == 0) {
        return;
    }
    struct qd_buf *value = &ledger->scratch_value;
    qd_buf_clear(value);
    qd_idempotency_encode(
        &(struct qd_idempotency_record){
            .content = job->booking->content,
            .sequence = entry->sequence,
            .recorded_time = entry->recorded_time,
            .answer = job->booking->answer,
        },
        value);
    ledger->batch.ops.failed |= value->failed;
    qd_batch_put(&ledger->batch, QD_STORE_IDEMPOTENCY, qd_buf_str(&job->own.key),
                 qd_buf_str(value));
}

/* The next sequence is the entry's. Recorded times rise strictly: a clock that steps back (C7)
 * cannot pass a watermark. */
static void add_entry(struct qd_ledger *ledger, struct qd_entry *entry, struct qd_wall_ns now,
                      struct qd_watermark *mark)
{
    mark->sequence++;
    mark->complete_through.ns =
        now.ns > mark->complete_through.ns ? now.ns : mark->complete_through.ns + 1;
    entry->sequence = mark->sequence;
    entry->recorded_time = mark->complete_through;
    qd_ledger_entry_key(entry->sequence, &ledger->scratch_key);
    qd_buf_clear(&ledger->scratch_value);
    qd_entry_encode(entry, &ledger->scratch_value);
    ledger->batch.ops.failed |= ledger->scratch_key.failed || ledger->scratch_value.failed;
    qd_batch_put(&ledger->batch, QD_STORE_LEDGER, qd_buf_str(&ledger->scratch_key),
                 qd_buf_str(&ledger->scratch_value));
    qd_rollup_merge(entry, &ledger->labels, &ledger->scratch_key, &ledger->scratch_value,
                    &ledger->batch);
}

static void add_job(struct qd_ledger *ledger, const struct qd_book_job *job,
                    struct qd_watermark *mark)
{
    const struct qd_booking *booking = job->booking;
    struct qd_entry entry = *booking->entry;
    add_entry(ledger, &entry, booking->now, mark);
    add_idempotency(ledger, job, &entry);
    job->receipt->sequence = entry.sequence;
    job->receipt->recorded_time = entry.recorded_time;
    if (booking->companion != NULL && !QD_MUTANT(L3_pair)) {
        entry = *booking->companion;
        add_entry(ledger, &entry, booking->now, mark);
    }
    if (booking->extra != NULL) {
        qd_batch_append(&ledger->batch, booking->extra);
    }
}

enum qd_store_err qd_ledger_commit(struct qd_ledger *ledger, struct qd_book_job *first,
                                   uint32_t count, struct qd_watermark *ret_mark,
                                   struct qd_store_error *error)
{
    struct qd_watermark mark = *ret_mark;
    qd_batch_clear(&ledger->batch);
    struct qd_book_job *job = first;
    for (uint32_t i = 0; i < count; i++, job = job->own.queue_next) {
        add_job(ledger, job, &mark);
    }
    enum qd_store_err err = qd_store_write(ledger->store, &ledger->batch, true, error);
    if (err == QD_STORE_OK) {
        *ret_mark = mark;
    }
    return err;
}
