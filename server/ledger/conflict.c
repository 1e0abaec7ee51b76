/* S6: the same key with other content. What differs, for people, field by field with both values.
 */
#include "server/ledger/ledger_internal.h"

#include <stdarg.h>
#include <stdio.h>

struct text {
    char *at;
    size_t room;
    unsigned differences;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->at, text->room, format, arguments);
    va_end(arguments);
    size_t used = size < 0 ? 0 : (size_t)size;
    if (used >= text->room) {
        used = text->room > 0 ? text->room - 1 : 0;
    }
    text->at += used;
    text->room -= used;
}

static void begin_difference(struct text *text)
{
    say(text, "%s", text->differences++ == 0 ? ": " : "; ");
}

static void compare_text(struct text *text, const char *what, struct qd_str a, struct qd_str b)
{
    if (qd_slice_equal(a, b)) {
        return;
    }
    begin_difference(text);
    say(text, "%s \"%.*s\", now \"%.*s\"", what, (int)a.len, a.len > 0 ? a.ptr : "", (int)b.len,
        b.len > 0 ? b.ptr : "");
}

static void compare_number(struct text *text, const char *what, int64_t a, int64_t b)
{
    if (a != b) {
        begin_difference(text);
        say(text, "%s %lld, now %lld", what, (long long)a, (long long)b);
    }
}

static void say_amount(struct text *text, bool present, int64_t amount)
{
    if (present) {
        say(text, "%lld", (long long)amount);
    } else {
        say(text, "missing");
    }
}

static void compare_quantity(struct text *text, struct qd_str meter, const struct qd_entry *first,
                             const struct qd_entry *again)
{
    int64_t a = 0;
    int64_t b = 0;
    bool in_first = qd_entry_quantity(first, meter, &a);
    bool in_again = qd_entry_quantity(again, meter, &b);
    if (in_first == in_again && a == b) {
        return;
    }
    begin_difference(text);
    say(text, "%.*s ", (int)meter.len, meter.ptr);
    say_amount(text, in_first, a);
    say(text, ", now ");
    say_amount(text, in_again, b);
}

static void compare_quantities(struct text *text, const struct qd_entry *first,
                               const struct qd_entry *again)
{
    for (size_t i = 0; i < first->quantity_count; i++) {
        compare_quantity(text, first->quantities[i].meter, first, again);
    }
    for (size_t i = 0; i < again->quantity_count; i++) {
        int64_t amount;
        if (!qd_entry_quantity(first, again->quantities[i].meter, &amount)) {
            compare_quantity(text, again->quantities[i].meter, first, again);
        }
    }
}

static void compare_label(struct text *text, struct qd_str name, const struct qd_entry *first,
                          const struct qd_entry *again)
{
    char what[QD_ENTRY_METER_MAX + 8];
    (void)snprintf(what, sizeof what, "label %.*s", (int)name.len, name.ptr);
    compare_text(text, what, qd_entry_label(first, name), qd_entry_label(again, name));
}

static void compare_labels(struct text *text, const struct qd_entry *first,
                           const struct qd_entry *again)
{
    for (size_t i = 0; i < first->label_count; i++) {
        compare_label(text, first->labels[i].name, first, again);
    }
    for (size_t i = 0; i < again->label_count; i++) {
        if (qd_entry_label(first, again->labels[i].name).len == 0) {
            compare_label(text, again->labels[i].name, first, again);
        }
    }
}

static const char *finality(const struct qd_entry *entry)
{
    return (entry->flags & QD_ENTRY_FINAL) != 0 ? "true" : "false";
}

void qd_ledger_conflict_text(const struct qd_entry *first, const struct qd_entry *again, char *text,
                             size_t size)
{
    struct text out = {.room = size};
    out.at = text;
    say(&out,
        "request_id \"%.*s\" (source \"%.*s\", attempt %u, sequence %u) was booked as entry %llu "
        "with other content",
        (int)again->request_id.len, again->request_id.ptr, (int)again->source.len,
        again->source.len > 0 ? again->source.ptr : "", again->attempt, again->part,
        (unsigned long long)first->sequence);
    compare_quantities(&out, first, again);
    compare_text(&out, "model", first->model, again->model);
    compare_text(&out, "pool", first->pool, again->pool);
    compare_text(&out, "user", first->user, again->user);
    compare_labels(&out, first, again);
    compare_text(&out, "outcome", qd_slice_of(qd_entry_outcome_name(first->outcome)),
                 qd_slice_of(qd_entry_outcome_name(again->outcome)));
    compare_text(&out, "final", qd_slice_of(finality(first)), qd_slice_of(finality(again)));
    compare_text(&out, "limit", first->limit, again->limit);
    compare_number(&out, "tier", first->tier, again->tier);
    compare_number(&out, "cache_write_1h_tokens", first->cache_write_1h_tokens,
                   again->cache_write_1h_tokens);
    if (out.differences == 0) {
        /* A retry that leaves its event time to the node has another one: no difference by itself.
         */
        compare_number(&out, "event_time", first->event_time.ns, again->event_time.ns);
    }
    say(&out, "%s; nothing is booked: give another part another sequence, a retry the same content",
        out.differences == 0 ? " (in fields that the ledger does not keep)" : "");
}
