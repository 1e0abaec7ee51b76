#include "server/policy/retention.h"

#include "server/policy/compile.h"
#include "server/policy/intern.h"

int64_t qd_retention_of_limit_ns(const struct qd_limit *limit)
{
    static const int64_t days[] = {[QD_CALENDAR_HOUR] = 1,
                                   [QD_CALENDAR_DAY] = 2,
                                   [QD_CALENDAR_WEEK] = 8,
                                   [QD_CALENDAR_MONTH] = 32,
                                   [QD_CALENDAR_YEAR] = 367};

    if (!qd_limit_is_budget(limit)) {
        return 0;
    }
    if (limit->algorithm == QD_PREPAID) {
        return INT64_MAX;
    }
    return limit->algorithm == QD_CALENDAR ? days[limit->calendar.unit] * QD_NS_PER_DAY
                                           : limit->window_ns;
}

int64_t qd_retention_of_budgets_ns(void)
{
    int64_t longest = 0;

    for (uint32_t i = 0; i < qd_intern_limit_count(); i++) {
        const struct qd_limit *limit = qd_intern_limit_at(i);
        int64_t one = limit != NULL ? qd_retention_of_limit_ns(limit) : 0;
        longest = one > longest ? one : longest;
    }
    return longest;
}

void qd_check_budget_kept(struct qd_compiler *c, const struct qd_pending_check *check)
{
    struct qd_at at = {NULL, check->path};
    int64_t kept = c->policy->ledger_retention_ns;
    int64_t needed = kept > 0 ? qd_retention_of_limit_ns(check->limit) : 0;

    if (needed == INT64_MAX) {
        qd_fail(c, &at, check->node,
                "a prepaid balance is the sum of all entries, and \"ledger_retention\" lets them "
                "expire; leave \"ledger_retention\" out");
    } else if (needed > 0 && kept < needed + QD_RETENTION_MARGIN_NS) {
        qd_fail(c, &at, check->node,
                "it counts entries of up to %s, and \"ledger_retention\" keeps them for %s; at "
                "least %s is accepted there",
                qd_duration_text(c, needed), qd_duration_text(c, kept),
                qd_duration_text(c, needed + QD_RETENTION_MARGIN_NS));
    }
}

void qd_check_retention(struct qd_compiler *c, const struct qd_node *root)
{
    const struct qd_node *node = qd_node_get(root, "ledger_retention");
    int64_t needed = c->policy->report_horizon_ns + QD_RETENTION_MARGIN_NS;
    struct qd_at top = {0};
    struct qd_at at = {&top, "ledger_retention"};

    if (node != NULL && c->policy->ledger_retention_ns > 0 &&
        c->policy->ledger_retention_ns < needed) {
        qd_fail(c, &at, node,
                "\"%s\" is less than \"report_horizon\" (%s) and 2 days for what is late; at least "
                "%s is accepted",
                node->text, qd_duration_text(c, c->policy->report_horizon_ns),
                qd_duration_text(c, needed));
    }
}
