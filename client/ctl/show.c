#include "client/ctl/show.h"

#include "client/ctl/rpc.h"
#include "client/ctl/uses.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

int64_t ctl_now_unix_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Append, as far as there is room. */
static void append(char *ret, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void append(char *ret, size_t size, const char *format, ...)
{
    size_t at = strlen(ret);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(ret + at, size - at, format, args);
    va_end(args);
}

void ctl_keys_text(size_t count, Quota__V1__Entry *const *keys, char *ret, size_t size)
{
    ret[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        append(ret, size, "%s%s=%s", i > 0 ? " " : "", keys[i]->key, keys[i]->value);
    }
}

/* "gpu_ms": shown in seconds. */
static bool is_time(const char *meter)
{
    size_t length = strlen(meter);
    return length > 3 && strcmp(meter + length - 3, "_ms") == 0 &&
           strcmp(meter, "memory_gb_ms") != 0;
}

struct ctl_text ctl_meter_text(const char *meter, int64_t amount)
{
    bool money = strcmp(meter, "cost") == 0 || strcmp(meter, "charge") == 0;
    return ctl_amount_text(amount, money ? "nano_usd" : is_time(meter) ? "ms" : "");
}

void ctl_held_text(size_t count, Quota__V1__Amount *const *amounts, char *ret, size_t size)
{
    ret[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *meter = amounts[i]->meter;
        struct ctl_text amount = ctl_meter_text(meter, amounts[i]->amount);
        const char *comma = i > 0 ? ", " : "";
        if (is_time(meter)) { /* "gpu 2.345 s": the unit once */
            append(ret, size, "%s%.*s %s", comma, (int)strlen(meter) - 3, meter, amount.text);
        } else {
            append(ret, size, "%s%s %s", comma, amount.text, meter);
        }
    }
}

struct ctl_text ctl_fullness_text(const Quota__V1__LimitState *state)
{
    return ctl_share_text(state->used + state->held, state->limit);
}

struct ctl_text ctl_in_text(int64_t unix_ns)
{
    struct ctl_text ret = {"-"};
    if (unix_ns != 0) {
        int64_t left = unix_ns - ctl_now_unix_ns();
        (void)snprintf(ret.text, sizeof ret.text, "%s%.80s", left > 0 ? "in " : "",
                       ctl_span_text(left > 0 ? left : -1).text);
    }
    return ret;
}

void ctl_print_states(struct ctl *ctl, size_t count, Quota__V1__LimitState *const *states)
{
    static const char *const heads[] = {"limit", "tenant", "keys",  ">used",
                                        ">held", ">limit", ">full", "resets"};
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    char keys[256];
    for (size_t i = 0; i < count; i++) {
        const Quota__V1__LimitState *state = states[i];
        ctl_keys_text(state->n_keys, state->keys, keys, sizeof keys);
        ctl_table_cell(table, state->name);
        ctl_table_cell(table, state->tenant[0] != '\0' ? state->tenant : "(all)");
        ctl_table_cell(table, keys);
        ctl_table_cell(table, ctl_amount_text(state->used, state->unit).text);
        ctl_table_cell(table, ctl_amount_text(state->held, state->unit).text);
        ctl_table_cell(table, ctl_amount_text(state->limit, state->unit).text);
        ctl_table_cell(table, ctl_fullness_text(state).text);
        ctl_table_cell(table, ctl_in_text(state->resets_at_unix_ns).text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
}

void ctl_place_text(const Quota__V1__EffectiveLimit *limit, char *ret, size_t size)
{
    if (limit->origin == QUOTA__V1__ORIGIN__ORIGIN_RUNTIME) {
        (void)snprintf(ret, size, "run time");
    } else if (limit->line == 0) {
        (void)snprintf(ret, size, "%s", limit->file);
    } else if (limit->column == 0) {
        (void)snprintf(ret, size, "%s:%u", limit->file, limit->line);
    } else {
        (void)snprintf(ret, size, "%s:%u:%u", limit->file, limit->line, limit->column);
    }
}

void ctl_wire_entries(const struct ctl_labels *labels, Quota__V1__Entry *entries,
                      Quota__V1__Entry **pointers)
{
    for (size_t i = 0; i < labels->count; i++) {
        quota__v1__entry__init(&entries[i]);
        entries[i].key = ctl_wire(labels->pairs[i].key);
        entries[i].value = ctl_wire(labels->pairs[i].value);
        pointers[i] = &entries[i];
    }
}

void ctl_block_text(const Quota__V1__BlockState *block, char *ret, size_t size)
{
    ret[0] = '\0';
    if (block != NULL) {
        append(ret, size, "blocked: %s", block->reason);
        if (block->until_unix_ns != 0) {
            append(ret, size, " (until %s)", ctl_time_text(block->until_unix_ns, NULL).text);
        }
    }
}

void ctl_print_more(struct ctl *ctl, const char *next_page_token)
{
    if (next_page_token[0] != '\0') {
        (void)fprintf(ctl->out, "more: --page %s\n", next_page_token);
    }
}
