#include "tests/unit/rpc/struct_text.h"

#include <criterion/criterion.h>

void struct_text_print_value(FILE *out, const Google__Protobuf__Value *value)
{
    switch ((int)value->kind_case) { /* protobuf-c's has one more value for the compiler */
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
        (void)fputs("null", out);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        (void)fputs(value->bool_value ? "true" : "false", out);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        (void)fprintf(out, "%g", value->number_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        (void)fprintf(out, "'%s'", value->string_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        struct_text_print(out, value->struct_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        (void)fputs("[", out);
        for (size_t i = 0; i < value->list_value->n_values; i++) {
            (void)fputs(i > 0 ? ", " : "", out);
            struct_text_print_value(out, value->list_value->values[i]);
        }
        (void)fputs("]", out);
        break;
    default:
        cr_assert_fail("a value without a kind");
    }
}

void struct_text_print(FILE *out, const Google__Protobuf__Struct *fields)
{
    (void)fputs("{", out);
    for (size_t i = 0; i < fields->n_fields; i++) {
        (void)fprintf(out, "%s%s: ", i > 0 ? ", " : "", fields->fields[i]->key);
        struct_text_print_value(out, fields->fields[i]->value);
    }
    (void)fputs("}", out);
}
