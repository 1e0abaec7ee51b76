/* The configuration of Envoy's rate limits that is published. */
#include "server/rpc/rls.h"
#include "server/shard/rls_stats.h"

#include <stdlib.h>
#include <string.h>

struct qd_rls_set *qd_rls_set_new(struct qd_rls_rules *rules)
{
    struct qd_rls_set *set = calloc(1, sizeof(*set));
    bool whole = set != NULL;

    for (int i = 0; whole && i < QD_RLS_WINDOW_KINDS * QD_RLS_UNIT_MAX; i++) {
        int unit = i % QD_RLS_UNIT_MAX + 1;
        bool slides = i >= QD_RLS_UNIT_MAX;
        set->limits[slides][unit] = qd_rls_limit(qd_rls_unit_seconds(unit) * QD_NS_PER_S, slides);
        whole = set->limits[slides][unit] != NULL;
    }
    if (!whole) {
        free(set);
        qd_rls_rules_free(rules);
        return NULL;
    }
    set->rules = rules;
    return set;
}

void qd_rls_set_free(void *thing)
{
    struct qd_rls_set *set = thing;

    if (set != NULL) {
        qd_rls_table_release(set->series);
        qd_rls_rules_free(set->rules);
        free(set);
    }
}

/* False: there is no room for more. */
static bool name_rules(struct qd_rls_table *table, const struct qd_rls_domain *domain)
{
    for (size_t i = 0; i < domain->rule_count; i++) {
        const char *rule = domain->rules[i]->path + domain->name.len + 1; /* "domain." */
        if (domain->rules[i]->named_by_file &&
            !qd_rls_table_name(table, domain->name, (struct qd_str){rule, strlen(rule)})) {
            return false;
        }
    }
    return true;
}

void qd_rls_set_keep_stats(struct qd_rls_set *set, struct qd_rls_stats *stats)
{
    struct qd_rls_table *table = qd_rls_table_new(stats);
    bool room = true;

    if (table == NULL) { /* out of memory: as before */
        set->series = qd_rls_stats_hold(stats);
        return;
    }
    for (size_t i = 0; room && i < qd_rls_rules_file_count(set->rules); i++) {
        const struct qd_rls_domain *domain = qd_rls_rules_file(set->rules, i)->domain;
        room = domain == NULL || name_rules(table, domain);
    }
    qd_rls_stats_show(stats, table);
    set->series = table;
}
