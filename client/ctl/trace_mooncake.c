/* Mooncake traces: JSON lines with the hashes of the prompt's blocks. */
#include "client/ctl/trace.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct ctl_trace_blocks *blocks, int64_t id)
{
    uint64_t hash = (uint64_t)id * UINT64_C(0x9e3779b97f4a7c15);
    size_t slot = (size_t)(hash >> 20) & (blocks->room - 1);
    while (blocks->slots[slot] != 0 && blocks->slots[slot] != id + 1) {
        slot = (slot + 1) & (blocks->room - 1);
    }
    return slot;
}

static bool grow(struct ctl_trace_blocks *blocks)
{
    struct ctl_trace_blocks bigger = {.room = blocks->room > 0 ? blocks->room * 2 : 1024};
    bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < blocks->room; i++) {
        if (blocks->slots[i] != 0) {
            bigger.slots[slot_of(&bigger, blocks->slots[i] - 1)] = blocks->slots[i];
        }
    }
    bigger.count = blocks->count;
    free(blocks->slots);
    *blocks = bigger;
    return true;
}

void ctl_trace_blocks_release(struct ctl_trace_blocks *blocks)
{
    free(blocks->slots);
    *blocks = (struct ctl_trace_blocks){.slots = NULL};
}

/* Add an id; `ret_new` says whether it was there. */
static bool add(struct ctl_trace_blocks *blocks, int64_t id, bool *ret_new)
{
    if (blocks->count * 2 >= blocks->room &&
        (blocks->count >= CTL_TRACE_BLOCKS_MAX || !grow(blocks))) {
        return false;
    }
    size_t slot = slot_of(blocks, id);
    *ret_new = blocks->slots[slot] == 0;
    if (*ret_new) {
        blocks->slots[slot] = id + 1;
        blocks->count += 1;
    }
    return true;
}

/* A whole number from 0 to `max`. */
static bool whole(struct json_object *value, int64_t max, int64_t *ret)
{
    if (value == NULL || !json_object_is_type(value, json_type_int)) {
        return false;
    }
    int64_t number = json_object_get_int64(value);
    if (number < 0 || number > max) {
        return false;
    }
    *ret = number;
    return true;
}

static bool member(struct json_object *object, const char *name, int64_t max, int64_t *ret,
                   char *ret_why, size_t why_size)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, name, &value)) {
        (void)snprintf(ret_why, why_size, "\"%s\" is missing", name);
        return false;
    }
    if (!whole(value, max, ret)) {
        (void)snprintf(ret_why, why_size, "\"%s\" is not a whole number from 0 to %lld", name,
                       (long long)max);
        return false;
    }
    return true;
}

/* How many of the first blocks came before; all become known. */
static bool prefix(struct ctl_trace_blocks *blocks, struct json_object *object,
                   int64_t *ret_cached_blocks, char *ret_why, size_t why_size)
{
    struct json_object *ids = NULL;
    int64_t cached = 0;
    bool hit = true;
    if (!json_object_object_get_ex(object, "hash_ids", &ids) ||
        !json_object_is_type(ids, json_type_array)) {
        (void)snprintf(ret_why, why_size, "\"hash_ids\" is not a list");
        return false;
    }
    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        int64_t id = 0;
        bool is_new = true;
        if (!whole(json_object_array_get_idx(ids, i), INT64_MAX - 1, &id)) {
            (void)snprintf(ret_why, why_size, "hash_ids[%zu] is not a whole number from 0", i);
            return false;
        }
        if (!add(blocks, id, &is_new)) {
            (void)snprintf(ret_why, why_size, "more than %u different blocks, or out of memory",
                           CTL_TRACE_BLOCKS_MAX);
            return false;
        }
        hit = hit && !is_new;
        cached += hit ? 1 : 0;
    }
    *ret_cached_blocks = cached;
    return true;
}

bool ctl_trace_mooncake_line(struct ctl_trace_blocks *blocks, const char *line, size_t length,
                             struct ctl_trace_row *ret, char *ret_why, size_t why_size)
{
    struct json_tokener *tokener = json_tokener_new_ex(8);
    if (tokener == NULL) {
        (void)snprintf(ret_why, why_size, "out of memory");
        return false;
    }
    struct json_object *object = json_tokener_parse_ex(tokener, line, (int)length);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    size_t used = json_tokener_get_parse_end(tokener);
    bool ok = false;
    if (object == NULL || error != json_tokener_success) {
        (void)snprintf(ret_why, why_size, "not JSON: %s at column %zu",
                       error == json_tokener_continue ? "it ends too early"
                                                      : json_tokener_error_desc(error),
                       used + 1);
    } else if (!json_object_is_type(object, json_type_object)) {
        (void)snprintf(ret_why, why_size, "not a JSON object");
    } else if (used != length) {
        (void)snprintf(ret_why, why_size, "more than one JSON object, from column %zu", used + 1);
    } else {
        struct ctl_trace_row row = {.at_ns = 0};
        int64_t ms = 0;
        int64_t input = 0;
        int64_t cached = 0;
        ok =
            member(object, "timestamp", INT64_C(1) << 42, &ms, ret_why, why_size) &&
            member(object, "input_length", CTL_TRACE_TOKENS_MAX, &input, ret_why, why_size) &&
            member(object, "output_length", CTL_TRACE_TOKENS_MAX, &row.output, ret_why, why_size) &&
            prefix(blocks, object, &cached, ret_why, why_size);
        if (ok) {
            int64_t tokens = cached * CTL_TRACE_BLOCK_TOKENS; /* a line has < 2^20 ids */
            row.at_ns = ms * 1000000;
            row.cached = tokens < input ? tokens : input;
            row.input = input - row.cached;
            *ret = row;
        }
    }
    json_object_put(object);
    json_tokener_free(tokener);
    return ok;
}
