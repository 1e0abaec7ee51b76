/* Calls of the services that quota.h does not wrap, and messages as JSON.
 *
 * Layer:    client/ctl. Threads: the main one.
 * Memory:   an answer is freed with ctl_free.
 */
#ifndef QD_CLIENT_CTL_RPC_H
#define QD_CLIENT_CTL_RPC_H

#include "client/ctl/ctl.h"

#include <json-c/json.h>
#include <protobuf-c/protobuf-c.h>

/* Call "AdminService/GetStatus" (of package quota.v1). `repeat`: it changes nothing, or is harmless
 * twice. Returns the answer; NULL after a message. */
void *ctl_call(struct ctl *ctl, const char *method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *answer_type, bool repeat);
/* The same, saying nothing on failure. */
void *ctl_call_quiet(struct ctl *ctl, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *answer_type, bool repeat,
                     struct quota_error *ret_error);
void ctl_free(void *message);

/* Begin a call that answers with many messages; NULL after a message. */
struct quota_follow *ctl_follow(struct ctl *ctl, const char *method,
                                const ProtobufCMessage *request);

/* A string for a field of a request: packing only reads it. NULL is absent. */
char *ctl_wire(const char *text);

/* A message as JSON: fields by their names in the .proto, all of them, enums as words without their
 * prefix ("ALLOWED"), absent messages as null. NULL: out of memory. */
struct json_object *ctl_json_message(const ProtobufCMessage *message);
/* Print and free. Returns CTL_OK. */
int ctl_json_print(struct ctl *ctl, struct json_object *object);
/* The message as JSON, printed. Returns CTL_OK. */
int ctl_json_print_message(struct ctl *ctl, const ProtobufCMessage *message);
/* On one line, for streams, at once. */
void ctl_json_print_line(struct ctl *ctl, const ProtobufCMessage *message);
/* Show an answer, as JSON if asked for, else by `people`, and free it. Returns CTL_OK, or CTL_ERROR
 * for NULL: its call has said why. */
typedef void (*ctl_people)(struct ctl *ctl, const void *answer, const void *context);
int ctl_show(struct ctl *ctl, void *answer, ctl_people people, const void *context);
/* The word of an enum value: "SLIDING_WINDOW"; its number as text when it is unknown. */
const char *ctl_enum_word(const ProtobufCEnumDescriptor *type, int value);
/* The same in lower case with spaces: "sliding window". */
struct ctl_text;
const char *ctl_enum_words(const ProtobufCEnumDescriptor *type, int value, char *ret, size_t size);

#endif /* QD_CLIENT_CTL_RPC_H */
