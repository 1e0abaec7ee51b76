/* A google.protobuf.Struct as one line, for tests: {a: 1, b: ['x', null]}. */
#ifndef QD_TESTS_UNIT_RPC_STRUCT_TEXT_H
#define QD_TESTS_UNIT_RPC_STRUCT_TEXT_H

#include "envoy/service/ratelimit/v3/rls.pb-c.h"

#include <stdio.h>

void struct_text_print(FILE *out, const Google__Protobuf__Struct *fields);
void struct_text_print_value(FILE *out, const Google__Protobuf__Value *value);

#endif /* QD_TESTS_UNIT_RPC_STRUCT_TEXT_H */
