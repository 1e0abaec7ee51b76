#include "server/shard/recover.h"

#include "server/ledger/scan.h"
#include "server/policy/retention.h"
#include "server/shard/journal.h"
#include "server/shard/limit_index.h"
#include "server/shard/recount.h"
#include "server/shard/snapshot.h"
#include "server/shard/stored.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_BYTES (4U << 20) /* of records that are brought up to date in one write */

struct cut_at {
    struct qd_stored_place place;
    struct qd_cut cut;
};

struct recover {
    struct qd_node *node;
    struct qd_worker *worker;
    const struct qd_published *published;
    struct qd_recovery *recovery;
    struct qd_wall_ns now;
    struct cut_at *cuts; /* of the last process: its home slices in order, then commons */
    uint32_t cut_count;
    uint32_t cut_capacity;
    struct qd_limit_index limits;
    struct qd_batch gone;  /* what is to be forgotten */
    struct qd_batch newer; /* records on their way from the journal */
    uint64_t journal_next; /* above the number of any chunk */
    bool leased;           /* counters of this pass: those that holds point at come first (D12) */
    struct qd_recount_how how;
};

enum visit {
    GO_ON,
    DAMAGED, /* recovery->damage says what */
};

/* --- walking what is stored --- */

static enum visit damaged(struct recover *r, const char *what)
{
    (void)snprintf(r->recovery->damage, sizeof(r->recovery->damage), "%s", what);
    return DAMAGED;
}

static enum qd_store_err tell(struct qd_store_error *error, enum qd_store_err err)
{
    return qd_store_error_set(error, err, "the snapshot: %s%s", qd_store_err_text(err),
                              err == QD_STORE_NEWER_FORMAT ? ": start the version that wrote it"
                                                           : "");
}

typedef enum visit (*visitor)(struct recover *r, struct qd_str key, struct qd_str value,
                              enum qd_store_err *ret_err);

/* All keys that begin with this letter. OK also when there is damage, which has been said then. */
static enum qd_store_err walk(struct recover *r, char kind, visitor visit,
                              struct qd_store_error *error)
{
    const char bounds[2] = {kind, (char)(kind + 1)};
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {&bounds[0], 1}, .upper = {&bounds[1], 1}};
    struct qd_store_iter *iter = qd_store_iter_open(r->node->store, &range);
    struct qd_str key;
    struct qd_str value;
    enum visit outcome = GO_ON;
    enum qd_store_err err = QD_STORE_OK;

    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the snapshot");
    }
    while (outcome == GO_ON && err == QD_STORE_OK &&
           (err = qd_store_iter_next(iter, &key, &value, error)) == QD_STORE_OK) {
        outcome = visit(r, key, value, &err);
        if (err != QD_STORE_OK) {
            (void)tell(error, err);
        }
    }
    qd_store_iter_close(iter);
    if (err == QD_STORE_CORRUPT) { /* the store's own file */
        (void)damaged(r, "its file is damaged");
        err = QD_STORE_OK;
    }
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

/* A record's error: a newer version ends the boot, damage does not. */
static enum visit refuse(struct recover *r, enum qd_store_err err, const char *what,
                         enum qd_store_err *ret_err)
{
    if (err == QD_STORE_CORRUPT || err == QD_STORE_GONE) {
        return damaged(r, err == QD_STORE_GONE ? "an older version wrote it" : what);
    }
    *ret_err = err;
    return GO_ON;
}

/* --- cuts --- */

static enum visit take_cut(struct recover *r, struct qd_str key, struct qd_str value,
                           enum qd_store_err *ret_err)
{
    struct cut_at at;
    enum qd_store_err err = qd_cut_read(key, value, &at.place, &at.cut);

    if (err != QD_STORE_OK) {
        return refuse(r, err, "a slice's cut is damaged", ret_err);
    }
    if (r->cut_count == r->cut_capacity) {
        uint32_t capacity = r->cut_capacity * 2 + 64;
        struct cut_at *more = realloc(r->cuts, capacity * sizeof(*more));
        if (more == NULL) {
            free(at.cut.beyond);
            *ret_err = QD_STORE_NO_MEMORY;
            return GO_ON;
        }
        r->cuts = more;
        r->cut_capacity = capacity;
    }
    r->cuts[r->cut_count++] = at;
    qd_batch_delete(&r->gone, QD_STORE_SNAPSHOT, key); /* the boot's own come after it */
    return GO_ON;
}

/* A ledger that lost its end (X4) gives those numbers anew: what the slices have counted under them
 * is something else. */
static bool ahead_of_ledger(const struct recover *r)
{
    uint64_t end = qd_ledger_watermark(r->node->ledger).sequence;

    for (uint32_t i = 0; i < r->cut_count; i++) {
        const struct qd_cut *cut = &r->cuts[i].cut;
        if (cut->through > end || (cut->count > 0 && cut->beyond[cut->count - 1] > end)) {
            return true;
        }
    }
    return false;
}

/* One for each slice of the last process, in the order of their keys. */
static bool cuts_complete(const struct recover *r)
{
    if (r->cut_count == 0) {
        return false;
    }
    uint32_t shards = r->cuts[0].place.shards;
    bool complete = r->cut_count == (uint64_t)shards + 1 && shards <= QD_SHARDS_MAX && shards > 0 &&
                    (shards & (shards - 1)) == 0;
    for (uint32_t i = 0; complete && i < r->cut_count; i++) {
        complete = r->cuts[i].place.shards == shards &&
                   r->cuts[i].place.shard == (i < shards ? i : QD_STORED_COMMONS);
    }
    return complete;
}

/* --- counters --- */

static enum visit take_counter(struct recover *r, struct qd_str key, struct qd_str value,
                               enum qd_store_err *ret_err)
{
    struct qd_stored_place place;
    struct qd_saved saved;
    struct qd_saved_counter counter;
    enum qd_load load = QD_LOAD_BAD;
    enum qd_store_err err = qd_stored_read(key, value, &place, &saved);

    if (err != QD_STORE_OK) {
        return refuse(r, err, "a counter's record is damaged", ret_err);
    }
    if (!qd_core_saved_counter(&saved, &counter)) {
        return damaged(r, "a counter's state is damaged");
    }
    if (counter.leased != r->leased) {
        return GO_ON; /* another pass's */
    }
    const struct qd_limit *limit = qd_limit_index_find(&r->limits, &counter);
    if (limit != NULL) {
        load = qd_core_load_counter(qd_shards_of_counter(&r->node->shards, &counter)->core, limit,
                                    &saved, r->now);
    }
    if (limit == NULL || load == QD_LOAD_FULL) { /* it may be bound some day (P6, D12) */
        atomic_store_explicit(&r->node->evicted, true, memory_order_relaxed);
        return GO_ON;
    }
    if (load == QD_LOAD_BAD) {
        return damaged(r, "a counter's state is damaged");
    }
    if (load == QD_LOAD_OVER) { /* before the ledger's end is counted, which may bind it again */
        qd_batch_delete(&r->newer, QD_STORE_SNAPSHOT, key);
    }
    r->recovery->counters += load == QD_LOADED;
    return GO_ON;
}

/* --- estimators --- */

static enum visit take_estimator(struct recover *r, struct qd_str key, struct qd_str value,
                                 enum qd_store_err *ret_err)
{
    struct qd_stored_place place = {0};
    struct qd_saved saved;
    enum qd_load load = QD_LOAD_FULL;
    enum qd_store_err err = qd_stored_read(key, value, &place, &saved);

    if (err != QD_STORE_OK) {
        return refuse(r, err, "an estimator's record is damaged", ret_err);
    }
    if (place.shards == r->node->shards.count && place.shard < place.shards) {
        load = qd_core_load_estimator(r->node->shards.home[place.shard].core, &saved, r->now);
    }
    if (load == QD_LOAD_BAD) {
        return damaged(r, "an estimator's state is damaged");
    }
    if (load == QD_LOAD_FULL) { /* as a counter that is over: it may be learnt anew */
        qd_batch_delete(&r->newer, QD_STORE_SNAPSHOT, key);
    }
    return GO_ON;
}

/* --- the journals --- */

static enum qd_store_err note_chunk(void *context, struct qd_str key, uint64_t number)
{
    struct recover *r = context;

    if (number >= r->journal_next) {
        r->journal_next = number + 1;
    }
    qd_batch_delete(&r->gone, QD_STORE_SNAPSHOT, key); /* with the boot's own snapshot */
    return QD_STORE_OK;
}

static enum qd_store_err flush_newer(struct recover *r, struct qd_store_error *error)
{
    enum qd_store_err err = QD_STORE_OK;

    if (r->newer.count > 0) {
        err = qd_store_write(r->node->store, &r->newer, false, error);
        qd_batch_clear(&r->newer);
    }
    return err;
}

/* A record is brought up to date. A boot that ends early finds the journal again, and does the
 * same. */
static enum qd_store_err renew_record(void *context, struct qd_stored_place place,
                                      const struct qd_journal_item *item)
{
    struct recover *r = context;
    struct qd_saved saved;
    struct qd_buf key = {0};
    struct qd_buf record = {0};

    if (item->kind == QD_SAVED_HOLD) {
        return QD_STORE_OK; /* once the counters are there */
    }
    qd_journal_saved(item, &saved);
    qd_stored_key(&saved, place, &key);
    qd_stored_record(&saved, &record);
    r->newer.ops.failed |= key.failed || record.failed;
    qd_batch_put(&r->newer, QD_STORE_SNAPSHOT, qd_buf_str(&key), qd_buf_str(&record));
    qd_buf_release(&key);
    qd_buf_release(&record);
    return r->newer.ops.size > GROUP_BYTES ? flush_newer(r, NULL) : QD_STORE_OK;
}

/* Numbers of holds name their slice: with another number of slices they have no place (S1). */
static enum qd_store_err take_hold(void *context, struct qd_stored_place place,
                                   const struct qd_journal_item *item)
{
    struct recover *r = context;
    struct qd_shards *shards = &r->node->shards;
    struct qd_saved saved;

    if (item->kind != QD_SAVED_HOLD || item->bytes.len == 0) {
        return QD_STORE_OK;
    }
    enum qd_load load = QD_LOAD_FULL;
    if (place.shards == shards->count && place.shard < place.shards) {
        struct qd_shard *home = &shards->home[place.shard];
        qd_journal_saved(item, &saved);
        load = qd_core_load_hold(home->core, shards->commons.core, &saved, r->now);
        if (load == QD_LOADED && item->token.len > 0) {
            qd_shard_note(home, saved.reservation, item->token);
        }
    }
    r->recovery->holds += load == QD_LOADED;
    r->recovery->holds_lost += load == QD_LOAD_FULL;
    return load == QD_LOAD_BAD ? QD_STORE_CORRUPT : QD_STORE_OK;
}

static enum qd_store_err read_journals(struct recover *r, const struct qd_journal_visitor *with,
                                       struct qd_store_error *error)
{
    enum qd_store_err err = qd_journal_read(r->node->store, with, error);

    if (err == QD_STORE_CORRUPT) {
        (void)damaged(r, "a slice's journal is damaged");
        return QD_STORE_OK;
    }
    return err == QD_STORE_OK || error->code == err ? err : tell(error, err);
}

static enum qd_store_err renew_records(struct recover *r, struct qd_store_error *error)
{
    const struct qd_journal_visitor with = {note_chunk, renew_record, r};
    enum qd_store_err err = read_journals(r, &with, error);

    return err == QD_STORE_OK ? flush_newer(r, error) : err;
}

static enum qd_store_err take_holds(struct recover *r, struct qd_store_error *error)
{
    const struct qd_journal_visitor with = {NULL, take_hold, r};

    return read_journals(r, &with, error);
}

/* --- what came after --- */

static bool was_counted(const struct recover *r, uint32_t shard, uint64_t sequence)
{
    return qd_cut_has(&r->cuts[shard].cut, sequence);
}

static bool replay_entry(void *context, const struct qd_entry *entry)
{
    struct recover *r = context;
    uint32_t shards = r->cuts[0].place.shards;
    size_t len = 0;

    while (len < entry->tenant.len && entry->tenant.ptr[len] != '/') {
        len++;
    }
    uint64_t hash = qd_shards_root_hash(&r->node->shards, (struct qd_str){entry->tenant.ptr, len});
    r->how.in_home = !was_counted(r, qd_shards_index_of(hash, shards), entry->sequence);
    r->how.in_commons = !was_counted(r, shards, entry->sequence);
    if (r->how.in_home || r->how.in_commons) {
        r->recovery->entries +=
            qd_recount(r->worker, r->published, entry, &r->how) && entry->kind == QD_ENTRY_USAGE;
    }
    return true;
}

static enum qd_store_err replay(struct recover *r, struct qd_store_error *error)
{
    uint64_t through = UINT64_MAX;
    uint64_t last;

    for (uint32_t i = 0; i < r->cut_count; i++) {
        through = r->cuts[i].cut.through < through ? r->cuts[i].cut.through : through;
    }
    r->how = (struct qd_recount_how){.budgets_only = false};
    r->node->resumed = r->cuts[0].place;
    enum qd_store_err err = flush_newer(r, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    qd_frontier_start(&r->node->frontier, through); /* counters that are new count from here on */
    return qd_ledger_visit(r->node->ledger, through, 0, replay_entry, r, &last, error);
}

/* --- from the ledger alone --- */

static bool count_entry(void *context, const struct qd_entry *entry)
{
    struct recover *r = context;

    r->recovery->entries +=
        qd_recount(r->worker, r->published, entry, &r->how) && entry->kind == QD_ENTRY_USAGE;
    return true;
}

/* The earliest time that some budget still counts; INT64_MAX: there are no budgets. */
static struct qd_wall_ns count_since(struct qd_wall_ns now)
{
    int64_t longest = qd_retention_of_budgets_ns();

    return (struct qd_wall_ns){longest == 0 ? INT64_MAX : longest < now.ns ? now.ns - longest : 0};
}

/* Without a look at what cannot be read. Before anything is counted: counters that make room
 * meanwhile are stored under the same keys, and look there for what they had. A boot that ends
 * early finds cuts missing, and does this again. */
static enum qd_store_err forget_all(struct recover *r, struct qd_store_error *error)
{
    static const char kinds[] = {QD_SAVED_COUNTER, QD_SAVED_ESTIMATOR, QD_SAVED_HOLD,
                                 QD_JOURNAL_KIND, 'k'};

    qd_batch_clear(&r->gone);
    qd_batch_clear(&r->newer);
    for (size_t i = 0; i < sizeof(kinds); i++) {
        const char bounds[2] = {kinds[i], (char)(kinds[i] + 1)};
        qd_batch_delete_range(&r->newer, QD_STORE_SNAPSHOT, (struct qd_str){&bounds[0], 1},
                              (struct qd_str){&bounds[1], 1});
    }
    return flush_newer(r, error);
}

static enum qd_store_err count_ledger(struct recover *r, struct qd_store_error *error)
{
    r->recovery->from_ledger = true;
    r->recovery->counters = r->recovery->holds = r->recovery->holds_lost = 0;
    atomic_store_explicit(&r->node->evicted, false, memory_order_relaxed);
    qd_shards_clear(&r->node->shards);
    enum qd_store_err err = forget_all(r, error);
    r->how = (struct qd_recount_how){.budgets_only = true, .in_home = true, .in_commons = true};
    struct qd_wall_ns since = count_since(r->now);
    if (err == QD_STORE_OK && since.ns != INT64_MAX) {
        err = qd_ledger_visit_since(r->node->ledger, since, count_entry, r, error);
    }
    return err;
}

/* --- all of it --- */

static bool is_good(const struct recover *r, enum qd_store_err err)
{
    return err == QD_STORE_OK && r->recovery->damage[0] == '\0';
}

/* Counters first: holds look for theirs. */
static enum qd_store_err take_snapshot(struct recover *r, struct qd_store_error *error)
{
    enum qd_store_err err = renew_records(r, error);

    for (unsigned pass = 0; pass < 2 && is_good(r, err); pass++) {
        r->leased = pass == 0;
        err = walk(r, QD_SAVED_COUNTER, take_counter, error);
    }
    if (is_good(r, err)) {
        err = take_holds(r, error);
    }
    return is_good(r, err) ? walk(r, QD_SAVED_ESTIMATOR, take_estimator, error) : err;
}

/* D5: if the clock went back over the boot, time goes on where the ledger's and the counters' has
 * stopped. Beyond a day it is the clock that counts. */
static void resume_clock(struct recover *r)
{
    int64_t seen = qd_ledger_watermark(r->node->ledger).complete_through.ns;

    for (uint32_t i = 0; i < r->cut_count; i++) {
        seen = r->cuts[i].cut.time.ns > seen ? r->cuts[i].cut.time.ns : seen;
    }
    r->now = qd_clock_now(&r->node->clock);
    if (seen > r->now.ns && seen - r->now.ns <= QD_NS_PER_DAY) {
        r->now.ns = seen;
        qd_clock_resume(&r->node->clock, r->now);
    }
}

static enum qd_store_err recover(struct recover *r, struct qd_store_error *error)
{
    enum qd_store_err err = walk(r, 'k', take_cut, error);

    resume_clock(r);

    if (err == QD_STORE_OK && ahead_of_ledger(r)) {
        (void)damaged(r, "it has counted entries that the ledger does not have");
    }
    if (is_good(r, err) && cuts_complete(r)) {
        err = take_snapshot(r, error);
        if (is_good(r, err)) {
            return replay(r, error);
        }
    }
    return err == QD_STORE_OK ? count_ledger(r, error) : err;
}

/* D12: a counter that was bound again and whose stored state could not be read would count too
 * little.
 */
static enum qd_store_err check_states(struct qd_node *node, struct qd_store_error *error)
{
    uint64_t lost = 0;
    struct qd_core_stats stats;

    for (uint32_t i = 0; i <= node->shards.count; i++) {
        qd_core_stats(
            i < node->shards.count ? node->shards.home[i].core : node->shards.commons.core, &stats);
        lost += stats.states_lost;
    }
    return lost == 0 ? QD_STORE_OK
                     : qd_store_error_set(error, QD_STORE_IO,
                                          "the snapshot: a counter's state cannot be read");
}

/* P3: thresholds that what was counted again has reached were told when it was booked. */
static void drop_events(struct qd_node *node)
{
    struct qd_event event;

    for (uint32_t i = 0; i < node->shards.count; i++) {
        while (qd_core_event(node->shards.home[i].core, &event)) {
        }
    }
    while (qd_core_event(node->shards.commons.core, &event)) {
    }
}

static void release(struct recover *r)
{
    for (uint32_t i = 0; i < r->cut_count; i++) {
        free(r->cuts[i].cut.beyond);
    }
    free(r->cuts);
    qd_limit_index_release(&r->limits);
    qd_batch_release(&r->gone);
    qd_batch_release(&r->newer);
}

bool qd_node_recover(struct qd_node *node, struct qd_worker *worker,
                     struct qd_recovery *ret_recovery, struct qd_error *ret_error)
{
    struct qd_store_error error = {0};
    struct recover r = {.node = node, .worker = worker, .recovery = ret_recovery};
    enum qd_store_err err = QD_STORE_NO_MEMORY;

    *ret_recovery = (struct qd_recovery){0};
    qd_batch_init(&r.gone);
    qd_batch_init(&r.newer);
    r.published = qd_worker_enter(worker);
    assert(r.published != NULL);
    node->booting = true;
    if (qd_limit_index_init(&r.limits)) {
        err = recover(&r, &error);
    }
    node->booting = false;
    qd_worker_leave(worker);
    drop_events(node);
    if (err == QD_STORE_OK) {
        err = check_states(node, &error);
    }
    if (err == QD_STORE_OK) {
        qd_frontier_start(&node->frontier, qd_ledger_watermark(node->ledger).sequence);
        err = qd_snapshot_boot(node, r.journal_next, &r.gone, &error) ? QD_STORE_OK : error.code;
    }
    release(&r);
    if (err != QD_STORE_OK) {
        (void)qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "%s",
                           error.text[0] != '\0' ? error.text : qd_store_err_text(err));
        return false;
    }
    return true;
}

/* --- while it runs --- */

/* X5: in the ledger, so in the counters; its hold is settled with it. Its report was told to come
 * again, and finds what was booked (S6). */
void qd_node_adopt(void *context, const struct qd_entry *entry)
{
    static const struct qd_recount_how how = {.in_home = true, .in_commons = true, .live = true};
    struct qd_node *node = context;

    (void)qd_recount(node->adopter, qd_worker_enter(node->adopter), entry, &how);
    qd_worker_leave(node->adopter);
}
