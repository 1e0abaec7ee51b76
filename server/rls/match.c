#include "server/rls/match.h"

#include "server/rls/level.h"

#include <assert.h>
#include <string.h>

/* Whether the pattern stands for the value, in the counter's key and in names. */
static bool is_shared(const struct qd_rls_step *step)
{
    return step->found == QD_RLS_FOUND_WILDCARD && step->node->share_threshold;
}

/* --- the walk -----------------------------------------------------------------------------------
 */

static bool walk(const struct qd_rls_domain *domain, const struct qd_rls_entry *entries,
                 size_t count, struct qd_rls_scratch *scratch, struct qd_rls_match *m)
{
    const struct qd_rls_level *level = domain->top;
    for (size_t i = 0; i < count; i++) {
        if (level == NULL) { /* more entries than levels */
            return false;
        }
        assert(i < QD_RLS_DEPTH_MAX);
        struct qd_rls_step *step = &m->path[i];
        step->found = (int)qd_rls_level_find(level, entries[i], scratch, &m->steps, &step->node);
        if (step->found == (int)QD_RLS_FOUND_NOTHING) {
            return false;
        }
        level = step->node->below;
    }
    m->depth = count;
    m->rule = count > 0 ? m->path[count - 1].node->rule : NULL;
    return m->rule != NULL;
}

static void begin_counter(struct qd_hasher *h, const struct qd_rls_domain *domain, uint64_t seed)
{
    static const struct qd_str kind = {"rls", 3}; /* no other counter has this key */
    qd_hasher_init(h, seed);
    qd_hasher_str(h, kind);
    qd_hasher_str(h, domain->name);
}

/* An empty text of a request may have no address, which would make it an absent one. */
static struct qd_str present(struct qd_str text)
{
    return text.len > 0 ? text : (struct qd_str){"", 0};
}

static void add_to_counter(struct qd_hasher *h, struct qd_str key, struct qd_str value)
{
    qd_hasher_str(h, present(key));
    qd_hasher_str(h, present(value));
}

bool qd_rls_match(const struct qd_rls_domain *domain, const struct qd_rls_entry *entries,
                  size_t count, uint64_t seed, struct qd_rls_scratch *scratch,
                  struct qd_rls_match *ret_match)
{
    struct qd_hasher h;
    ret_match->rule = NULL;
    ret_match->steps = 0;
    ret_match->depth = 0;
    ret_match->domain = domain;
    if (!walk(domain, entries, count, scratch, ret_match)) {
        return false;
    }
    begin_counter(&h, domain, seed);
    for (size_t i = 0; i < count; i++) {
        const struct qd_rls_step *step = &ret_match->path[i];
        add_to_counter(&h, entries[i].key,
                       is_shared(step) ? qd_rls_node_value(step->node) : entries[i].value);
    }
    ret_match->counter = qd_hasher_end(&h);
    return true;
}

struct qd_hash128 qd_rls_override_counter(const struct qd_rls_domain *domain,
                                          const struct qd_rls_entry *entries, size_t count,
                                          uint64_t seed)
{
    struct qd_hasher h;
    begin_counter(&h, domain, seed);
    for (size_t i = 0; i < count; i++) {
        add_to_counter(&h, entries[i].key, entries[i].value);
    }
    return qd_hasher_end(&h);
}

/* --- names --------------------------------------------------------------------------------------
 */

struct writer {
    char *buffer;
    size_t size;
    size_t len; /* of the whole text, cut off or not */
};

static void put(struct writer *w, struct qd_str text)
{
    if (text.len > 0 && w->size > 0 && w->len < w->size - 1) {
        size_t room = w->size - 1 - w->len;
        memcpy(w->buffer + w->len, text.ptr, text.len < room ? text.len : room);
    }
    w->len += text.len;
}

static size_t end(struct writer *w)
{
    if (w->size > 0) {
        w->buffer[w->len < w->size ? w->len : w->size - 1] = '\0';
    }
    return w->len;
}

/* ".key_value", or ".key" without a value; ".key_" if all of it is to be `whole`. */
static void put_pair(struct writer *w, struct qd_str key, struct qd_str value, bool whole)
{
    put(w, (struct qd_str){".", 1});
    put(w, key);
    if (value.len > 0 || whole) {
        put(w, (struct qd_str){"_", 1});
        put(w, value);
    }
}

/* With detailed_metric an empty value is shown as one, unless a wildcard shares: so does the
 * reference server. */
static bool is_whole(const struct qd_rls_match *match)
{
    for (size_t i = 0; i < match->depth; i++) {
        if (is_shared(&match->path[i])) {
            return false;
        }
    }
    return match->rule->detailed_metric;
}

/* What stands for the value of one entry in a name; {NULL, 0}: nothing. */
static struct qd_str named_value(const struct qd_rls_match *match, size_t i, struct qd_str value)
{
    const struct qd_rls_step *step = &match->path[i];
    if (is_shared(step)) {
        return qd_rls_node_value(step->node);
    }
    if (match->rule->detailed_metric || step->node->value_to_metric) {
        return value;
    }
    switch ((enum qd_rls_found)step->found) {
    case QD_RLS_FOUND_EXACT:
        return value;
    case QD_RLS_FOUND_WILDCARD:
        return qd_rls_node_value(step->node);
    case QD_RLS_FOUND_KEY:
    case QD_RLS_FOUND_NOTHING:
        break;
    }
    return (struct qd_str){NULL, 0};
}

size_t qd_rls_match_name(const struct qd_rls_match *match, const struct qd_rls_entry *entries,
                         char *buffer, size_t size)
{
    struct writer w = {.size = size};
    w.buffer = buffer;
    assert(match->rule != NULL);
    bool whole = is_whole(match);
    put(&w, match->domain->name);
    for (size_t i = 0; i < match->depth; i++) {
        put_pair(&w, entries[i].key, named_value(match, i, entries[i].value), whole);
    }
    return end(&w);
}

size_t qd_rls_override_name(const struct qd_rls_domain *domain, const struct qd_rls_entry *entries,
                            size_t count, char *buffer, size_t size)
{
    struct writer w = {.size = size};
    w.buffer = buffer;
    put(&w, domain->name);
    for (size_t i = 0; i < count; i++) {
        put_pair(&w, entries[i].key, entries[i].value, false);
    }
    return end(&w);
}
