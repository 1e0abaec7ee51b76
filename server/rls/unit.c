#include "server/rls/unit.h"

#include <string.h>
#include <strings.h>

#define DAY_S INT64_C(86400)

/* I3, point 7: MONTH is 30 d, YEAR 365 d. */
static const struct {
    const char *name;
    int64_t seconds;
} units[QD_RLS_UNIT_MAX + 1] = {
    [QD_RLS_UNIT_UNKNOWN] = {"unknown", 0},      [QD_RLS_UNIT_SECOND] = {"second", 1},
    [QD_RLS_UNIT_MINUTE] = {"minute", 60},       [QD_RLS_UNIT_HOUR] = {"hour", 3600},
    [QD_RLS_UNIT_DAY] = {"day", DAY_S},          [QD_RLS_UNIT_WEEK] = {"week", 7 * DAY_S},
    [QD_RLS_UNIT_MONTH] = {"month", 30 * DAY_S}, [QD_RLS_UNIT_YEAR] = {"year", 365 * DAY_S},
};

enum qd_rls_unit qd_rls_unit_parse(struct qd_str name)
{
    for (int i = QD_RLS_UNIT_SECOND; i <= QD_RLS_UNIT_MAX; i++) {
        if (strlen(units[i].name) == name.len &&
            strncasecmp(units[i].name, name.ptr, name.len) == 0) {
            return (enum qd_rls_unit)i;
        }
    }
    return QD_RLS_UNIT_UNKNOWN;
}

const char *qd_rls_unit_name(int unit)
{
    return unit > 0 && unit <= QD_RLS_UNIT_MAX ? units[unit].name : units[0].name;
}

int64_t qd_rls_unit_seconds(int unit)
{
    return unit > 0 && unit <= QD_RLS_UNIT_MAX ? units[unit].seconds : 0;
}
