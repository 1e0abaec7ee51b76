/* Messages read where they lie, for exports: no copy, no tree, no allocation for each.
 *
 * Layer:    client/ctl. Threads: a plan may be read by several.
 * Memory:   a plan is freed with ctl_plan_free; values point into the bytes that were read.
 *
 * A plan says how a type of message is read and printed; it is made of the type's descriptor, once.
 * The rest of quotactl unpacks with protobuf-c and prints by json-c (rpc.h), which is ten times
 * slower; tests/fuzz/fuzz_ctl_wire.c compares both.
 */
#ifndef QD_CLIENT_CTL_WIRE_H
#define QD_CLIENT_CTL_WIRE_H

#include "client/ctl/sink.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum {
    CTL_PLAN_FIELDS_MAX = 48
};

struct ctl_plan;

/* One field of a message as it was read. What is absent is 0, "" and none. */
struct ctl_value {
    uint64_t number;   /* numbers, enums, bool */
    const char *bytes; /* a string, or a message; of a repeated field the last one */
    size_t size;
    const uint8_t *first; /* repeated: the tag of the first one */
    size_t count;         /* repeated: how many */
};

/* NULL: out of memory. The type has at most CTL_PLAN_FIELDS_MAX fields with ids up to that;
 * strings, integers, enums, bools, and messages and strings repeated; what it holds does not
 * recurse. */
struct ctl_plan *ctl_plan_new(const ProtobufCMessageDescriptor *type);
void ctl_plan_free(struct ctl_plan *plan);

/* Read a message: values[id] for each field. False: the bytes are no such message. */
bool ctl_wire_read(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_value values[CTL_PLAN_FIELDS_MAX + 1]);

/* The items of a repeated field. Begin with *at = NULL; false: that was the last one. */
bool ctl_wire_next(const struct ctl_value *values, uint32_t id, const uint8_t **at,
                   const char **ret_bytes, size_t *ret_size);

/* The plan of the messages in field `id`. */
const struct ctl_plan *ctl_plan_inner(const struct ctl_plan *plan, uint32_t id);
/* The word of an enum field, as ctl_enum_word has it. */
const char *ctl_plan_word(const struct ctl_plan *plan, uint32_t id, uint64_t number);

/* A message as JSON on one line, the same as ctl_json_message makes. False: it is none; part of it
 * may be printed. */
bool ctl_wire_json(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_sink *sink);

#endif /* QD_CLIENT_CTL_WIRE_H */
