#include "server/rls/merge.h"

#include <assert.h>

/* What is put together. */
struct whole {
    const struct qd_rls_merge *m;
    struct qd_rls_domain *domain;
    struct qd_rls_level *level;
    const struct qd_rls_rule **rules;
    const struct qd_rls_node **nodes;
    size_t node_count;
};

/* The file of a top descriptor of the parts before `end`. */
static const char *file_of(const struct qd_rls_domain *const *parts, size_t end,
                           const struct qd_rls_node *node)
{
    for (size_t i = 0; i < end; i++) {
        for (size_t k = 0; parts[i] != NULL && k < parts[i]->node_count; k++) {
            if (parts[i]->nodes[k] == node) {
                return parts[i]->file;
            }
        }
    }
    assert(false);
    return "";
}

/* Whether none of its top descriptors is there; the first that is, is reported. */
static bool fits(const struct whole *w, const struct qd_rls_domain *const *parts, size_t index)
{
    const struct qd_rls_domain *part = parts[index];

    for (size_t i = 0; i < part->node_count; i++) {
        const struct qd_rls_node *node = part->nodes[i];
        const struct qd_rls_node *twin = qd_rls_level_twin(w->level, node);
        if (twin != NULL) {
            qd_problems_add(w->m->problems, QD_SEVERITY_ERROR, part->file, node->line, part->column,
                            "descriptors[%zu]: \"%s.%s\": there is one already, in %s on line %u",
                            i, part->name.ptr, node->text, file_of(parts, index, twin), twin->line);
            return false;
        }
    }
    return true;
}

static void add(struct whole *w, const struct qd_rls_domain *part)
{
    for (size_t i = 0; i < part->node_count; i++) {
        const struct qd_rls_node *twin = qd_rls_level_add(w->level, part->nodes[i]);
        assert(twin == NULL);
        (void)twin;
        w->nodes[w->node_count++] = part->nodes[i];
    }
    for (size_t i = 0; i < part->rule_count; i++) {
        w->rules[w->domain->rule_count++] = part->rules[i];
    }
}

static void refuse_all(const struct qd_rls_merge *m, const struct qd_rls_domain **parts,
                       size_t count, const struct qd_rls_node *over)
{
    qd_problems_add(m->problems, QD_SEVERITY_ERROR, file_of(parts, count, over), over->line, 1,
                    QD_RLS_WILDCARDS_OVER, QD_RLS_WILDCARD_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        parts[i] = NULL;
    }
}

const struct qd_rls_domain *qd_rls_merge(const struct qd_rls_merge *m,
                                         const struct qd_rls_domain **parts, size_t count)
{
    struct whole w = {.m = m, .domain = qd_arena_alloc(m->arena, sizeof *w.domain)};
    size_t nodes = 0;
    size_t rules = 0;

    for (size_t i = 0; i < count; i++) {
        nodes += parts[i]->node_count;
        rules += parts[i]->rule_count;
    }
    w.domain->name = parts[0]->name;
    w.domain->file = parts[0]->file;
    w.rules = qd_arena_array(m->arena, rules, sizeof *w.rules);
    w.nodes = qd_arena_array(m->arena, nodes, sizeof *w.nodes);
    w.level = qd_rls_level_new(m->arena, nodes);
    for (size_t i = 0; i < count; i++) {
        if (fits(&w, parts, i)) {
            add(&w, parts[i]);
        } else {
            parts[i] = NULL;
        }
    }
    const struct qd_rls_node *over =
        qd_rls_level_index(m->arena, m->meanwhile, w.level, w.nodes, w.node_count, m->budget);
    if (over != NULL) {
        refuse_all(m, parts, count, over);
        w.domain->rule_count = 0;
        return w.domain;
    }
    w.domain->rules = w.rules;
    w.domain->nodes = w.nodes;
    w.domain->node_count = w.node_count;
    w.domain->top = nodes > 0 ? w.level : NULL;
    return w.domain;
}
