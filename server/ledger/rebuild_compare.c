/* Which groups of rollup rows are not what their entries make of them. */
#include "server/ledger/rebuild_run.h"
#include "server/ledger/scan.h"
#include "storage/codec.h"

#include <inttypes.h>

/* --- rows as entries make them --- */

enum qd_store_err qd_rebuild_add(struct qd_aggregate *rows, const struct qd_entry *entry,
                                 const struct qd_rollup_labels *labels, struct qd_buf *key)
{
    struct qd_sum items[QD_ENTRY_QUANTITIES_MAX + 8];
    struct qd_sums sums = qd_sums_over(items, sizeof items / sizeof items[0]);
    qd_rollup_add(entry, &sums);
    qd_buf_clear(key);
    qd_rollup_key(entry, labels, key);
    return key->failed ? QD_STORE_NO_MEMORY : qd_aggregate_add(rows, qd_buf_str(key), &sums);
}

/* The entries are the truth: without all of them nothing is rebuilt. */
static enum qd_store_err read_entry(struct qd_rebuild *run, struct qd_str key, struct qd_str value,
                                    struct qd_store_error *error)
{
    struct qd_entry entry;
    enum qd_store_err err = qd_ledger_decode(key, value, &entry, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    if (entry.sequence != run->report.through + 1) {
        return qd_store_error_set(error, QD_STORE_CORRUPT,
                                  "after ledger entry %" PRIu64 " comes %" PRIu64,
                                  run->report.through, entry.sequence);
    }
    run->report.entries++;
    run->report.through = entry.sequence;
    return qd_entry_is_usage(&entry) ? qd_rebuild_add(&run->want, &entry, &run->labels, &run->key)
                                     : QD_STORE_OK;
}

static enum qd_store_err read_entries(struct qd_rebuild *run, struct qd_store_error *error)
{
    struct qd_expired expired;
    enum qd_store_err err = qd_expired_read(run->ledger->store, run->snapshot, &expired, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    run->report.expired = expired.through;
    run->report.through = expired.through;
    struct qd_store_iter *iter =
        qd_store_iter_open(run->ledger->store, &(struct qd_store_range){.space = QD_STORE_LEDGER,
                                                                        .snapshot = run->snapshot});
    err = iter != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;
    while (err == QD_STORE_OK) {
        struct qd_str key;
        struct qd_str value;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = read_entry(run, key, value, error);
        }
    }
    qd_store_iter_close(iter);
    if (err != QD_STORE_END) {
        return err;
    }
    if (run->report.expired > 0 && run->report.entries == 0) { /* the last one never expires */
        return qd_store_error_set(error, QD_STORE_CORRUPT,
                                  "after expired ledger entry %" PRIu64 " comes none",
                                  run->report.expired);
    }
    return QD_STORE_OK;
}

/* --- rows as they are --- */

/* A walk through a space of rows, in order. */
struct walk {
    struct qd_store_iter *iter;
    struct qd_aggregate *junk; /* keys that are none go here; NULL: they are an error */
    bool end;
    struct qd_str key;
    struct qd_str value;
    struct qd_rollup_row row;
    struct qd_buf group; /* the beginning of its key */
};

static enum qd_store_err walk_next(struct walk *walk, struct qd_store_error *error)
{
    for (;;) {
        enum qd_store_err err = qd_store_iter_next(walk->iter, &walk->key, &walk->value, error);
        if (err != QD_STORE_OK) {
            walk->end = err == QD_STORE_END;
            return walk->end ? QD_STORE_OK : err;
        }
        if (qd_rollup_key_decode(walk->key, &walk->row) == QD_STORE_OK) {
            qd_buf_clear(&walk->group);
            qd_rollup_group_key(&walk->row, &walk->group);
            if (walk->group.failed) {
                return QD_STORE_NO_MEMORY;
            }
            if (qd_rebuild_in_group(walk->key, qd_buf_str(&walk->group))) {
                return QD_STORE_OK;
            }
        }
        if (walk->junk == NULL) {
            return qd_store_error_set(error, QD_STORE_CORRUPT,
                                      "a row of expired entries is damaged");
        }
        err = qd_aggregate_add(walk->junk, walk->key, &(struct qd_sums){0});
        if (err != QD_STORE_OK) {
            return err;
        }
    }
}

static enum qd_store_err walk_open(struct walk *walk, const struct qd_rebuild *run,
                                   enum qd_store_space space, struct qd_store_error *error)
{
    walk->iter = qd_store_iter_open(
        run->ledger->store, &(struct qd_store_range){.space = space, .snapshot = run->snapshot});
    return walk->iter != NULL ? walk_next(walk, error) : QD_STORE_NO_MEMORY;
}

static void walk_close(struct walk *walk)
{
    qd_store_iter_close(walk->iter);
    qd_buf_release(&walk->group);
}

/* --- the comparison --- */

bool qd_rebuild_same(const struct qd_sums *sums, struct qd_str value)
{
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums other = qd_sums_over(items, QD_SUMS_MAX);
    if (qd_sums_decode(value, &other) != QD_STORE_OK || other.flags != 0 || sums->flags != 0) {
        return false;
    }
    for (size_t i = 0; i < sums->count; i++) {
        if (qd_sums_value(&other, sums->items[i].name) != sums->items[i].value) {
            return false;
        }
    }
    for (size_t i = 0; i < other.count; i++) {
        if (qd_sums_value(sums, other.items[i].name) != other.items[i].value) {
            return false;
        }
    }
    return true;
}

size_t qd_rebuild_seek(const struct qd_aggregate *rows, struct qd_str key)
{
    size_t low = 0;
    size_t high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (qd_slice_compare(rows->groups[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct comparison {
    struct qd_rebuild *run;
    struct walk rows;
    struct walk expired;
    size_t want; /* number of the next row that entries make */
    struct qd_buf group;
    /* Of this group: */
    struct qd_aggregate balance; /* under one key: entries + expired - rows */
    bool damaged;                /* a row's value cannot be read */
    bool differs;                /* a row is not what entries make of it */
    bool foreign;                /* a row has other labels than today's */
    bool labelled;               /* a row has labels */
    bool has_expired;
};

static enum qd_store_err weigh(struct comparison *with, struct qd_sums *sums, int sign)
{
    for (size_t i = 0; i < sums->count; i++) {
        sums->items[i].value *= sign;
    }
    return qd_aggregate_add(&with->balance, (struct qd_str){"=", 1}, sums);
}

static void forget_group(struct comparison *with)
{
    with->damaged = with->differs = with->foreign = with->labelled = with->has_expired = false;
    if (with->balance.count > 0) {
        struct qd_sums *sums = &with->balance.groups[0].sums;
        sums->flags = 0;
        for (size_t i = 0; i < sums->count; i++) {
            sums->items[i].value = 0;
        }
    }
}

/* The lowest of the three: rows that entries make, rows that are there, what has expired. */
static enum qd_store_err next_group(struct comparison *with, bool *ret_end)
{
    struct qd_str key = {0};
    struct qd_str group = {0};
    struct qd_rollup_row row;
    if (with->want < with->run->want.count) {
        key = with->run->want.groups[with->want].key;
        enum qd_store_err err = qd_rollup_key_decode(key, &row);
        if (err != QD_STORE_OK) {
            return err;
        }
        qd_buf_clear(&with->group);
        qd_rollup_group_key(&row, &with->group);
        if (with->group.failed) {
            return QD_STORE_NO_MEMORY;
        }
        group = qd_buf_str(&with->group);
    }
    struct walk *const walks[] = {&with->rows, &with->expired};
    for (size_t i = 0; i < 2; i++) {
        if (!walks[i]->end && (key.ptr == NULL || qd_slice_compare(walks[i]->key, key) < 0)) {
            key = walks[i]->key;
            group = qd_buf_str(&walks[i]->group);
        }
    }
    *ret_end = key.ptr == NULL;
    if (!*ret_end && group.ptr != (const char *)with->group.data) {
        qd_buf_clear(&with->group);
        qd_buf_append(&with->group, group.ptr, group.len);
    }
    return with->group.failed ? QD_STORE_NO_MEMORY : QD_STORE_OK;
}

static enum qd_store_err take_expired(struct comparison *with, struct qd_store_error *error)
{
    struct walk *walk = &with->expired;
    enum qd_store_err err = QD_STORE_OK;
    while (err == QD_STORE_OK && !walk->end &&
           qd_rebuild_in_group(walk->key, qd_buf_str(&with->group))) {
        struct qd_sum items[QD_SUMS_MAX];
        struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
        if (qd_sums_decode(walk->value, &sums) != QD_STORE_OK || sums.flags != 0) {
            return qd_store_error_set(error, QD_STORE_CORRUPT,
                                      "a row of expired entries is damaged");
        }
        with->has_expired = true;
        err = weigh(with, &sums, 1);
        if (err == QD_STORE_OK) {
            err = walk_next(walk, error);
        }
    }
    return err;
}

static bool has_labels(const struct qd_rollup_row *row, const struct qd_rollup_labels *labels)
{
    bool same = row->label_count == labels->count;
    for (size_t i = 0; i < row->label_count && same; i++) {
        same = qd_slice_equal(row->labels[i].name,
                              (struct qd_str){labels->items[i].name, labels->items[i].size});
    }
    return same;
}

/* A row that entries make, of this group. */
static enum qd_store_err take_want(struct comparison *with)
{
    const struct qd_sums *want = &with->run->want.groups[with->want].sums;
    with->want++;
    if (want->count > QD_SUMS_MAX) {
        return QD_STORE_INVALID;
    }
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    sums.flags = want->flags;
    qd_sums_add_all(&sums, want);
    return weigh(with, &sums, 1);
}

/* -1: entries make a row of this group that comes before `key`; 0: they make `key`; 1: none. */
static int wanted(const struct comparison *with, struct qd_str key)
{
    const struct qd_aggregate *want = &with->run->want;
    if (with->want == want->count ||
        !qd_rebuild_in_group(want->groups[with->want].key, qd_buf_str(&with->group))) {
        return 1;
    }
    int order = key.ptr != NULL ? qd_slice_compare(want->groups[with->want].key, key) : -1;
    return (order > 0) - (order < 0);
}

static enum qd_store_err take_row(struct comparison *with, struct qd_store_error *error)
{
    struct walk *walk = &with->rows;
    enum qd_store_err err = QD_STORE_OK;
    while (err == QD_STORE_OK && wanted(with, walk->key) < 0) {
        with->differs = true; /* it is missing */
        err = take_want(with);
    }
    if (err == QD_STORE_OK && wanted(with, walk->key) == 0) {
        with->differs |= !qd_rebuild_same(&with->run->want.groups[with->want].sums, walk->value);
        err = take_want(with);
    } else {
        with->differs = true; /* no entry has it */
    }
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    if (qd_sums_decode(walk->value, &sums) != QD_STORE_OK || sums.flags != 0) {
        with->damaged = true;
        sums.count = 0;
    }
    with->foreign |= !has_labels(&walk->row, &with->run->labels);
    with->labelled |= walk->row.label_count > 0;
    with->run->report.rows++;
    if (err == QD_STORE_OK) {
        err = weigh(with, &sums, -1);
    }
    return err == QD_STORE_OK ? walk_next(walk, error) : err;
}

static bool balanced(const struct comparison *with)
{
    const struct qd_sums *sums = &with->balance.groups[0].sums;
    bool zero = sums->flags == 0;
    for (size_t i = 0; i < sums->count && zero; i++) {
        zero = sums->items[i].value == 0;
    }
    return zero;
}

static enum qd_store_err compare_group(struct comparison *with, struct qd_store_error *error)
{
    struct qd_rebuild *run = with->run;
    forget_group(with);
    enum qd_store_err err = take_expired(with, error);
    while (err == QD_STORE_OK && !with->rows.end &&
           qd_rebuild_in_group(with->rows.key, qd_buf_str(&with->group))) {
        err = take_row(with, error);
    }
    while (err == QD_STORE_OK && wanted(with, (struct qd_str){0}) < 0) {
        with->differs = true;
        err = take_want(with);
    }
    bool derives = !with->foreign && !with->has_expired;
    if (err != QD_STORE_OK || (!with->damaged && balanced(with) && !(derives && with->differs))) {
        return err;
    }
    run->report.groups++;
    run->report.unlabelled += with->has_expired && (with->labelled || run->labels.count > 0);
    return qd_aggregate_add(&run->broken, qd_buf_str(&with->group), &(struct qd_sums){0});
}

enum qd_store_err qd_rebuild_compare(struct qd_rebuild *run, struct qd_store_error *error)
{
    struct comparison with = {.run = run, .rows = {.junk = &run->junk}};
    bool end = false;
    qd_aggregate_init(&with.balance, &run->arena, 1);
    enum qd_store_err err = read_entries(run, error);
    if (err == QD_STORE_OK) {
        qd_aggregate_sort(&run->want);
        err = walk_open(&with.rows, run, QD_STORE_ROLLUP, error);
    }
    if (err == QD_STORE_OK) {
        err = walk_open(&with.expired, run, QD_STORE_EXPIRED, error);
    }
    while (err == QD_STORE_OK && !end) {
        err = next_group(&with, &end);
        if (err == QD_STORE_OK && !end) {
            err = compare_group(&with, error);
        }
    }
    run->report.rows += run->junk.count;
    walk_close(&with.rows);
    walk_close(&with.expired);
    qd_aggregate_release(&with.balance);
    qd_buf_release(&with.group);
    return err;
}
