/* The units of a rate limit. */
#include "helper.h"

#include <criterion/criterion.h>

Test(unit, I3_point_7_units_have_the_lengths_of_the_reference)
{
    static const struct {
        const char *name;
        int unit;
        int64_t seconds;
    } units[] = {{"second", 1, 1},   {"minute", 2, 60},     {"hour", 3, 3600},
                 {"day", 4, 86400},  {"month", 5, 2592000}, {"year", 6, 31536000},
                 {"week", 7, 604800}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        cr_expect_eq((int)qd_rls_unit_parse(text(units[i].name)), units[i].unit);
        cr_expect_str_eq(qd_rls_unit_name(units[i].unit), units[i].name);
        cr_expect_eq(qd_rls_unit_seconds(units[i].unit), units[i].seconds);
    }
}

Test(unit, I3_point_9_numbers_off_the_wire_that_are_no_unit_have_no_length)
{
    static const int numbers[] = {0, -1, 8, 1000, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        cr_expect_eq(qd_rls_unit_seconds(numbers[i]), 0);
        cr_expect_str_eq(qd_rls_unit_name(numbers[i]), "unknown");
    }
}

Test(unit, I3_names_of_units_in_any_case_and_no_others)
{
    cr_expect_eq(qd_rls_unit_parse(text("MINUTE")), QD_RLS_UNIT_MINUTE);
    cr_expect_eq(qd_rls_unit_parse(text("Week")), QD_RLS_UNIT_WEEK);
    static const char *const others[] = {"", "unknown", "minutes", "min", "second "};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_expect_eq(qd_rls_unit_parse(text(others[i])), QD_RLS_UNIT_UNKNOWN, "%s", others[i]);
    }
}
