/* Checks by root tenant: the busiest ones, all others as one. */
#include "server/admin/exposition.h"
#include "server/admin/metrics.h"
#include "server/admin/metrics_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct top_root {
    char name[sizeof(((struct qd_root_count *)NULL)->name)];
    uint64_t allowed;
    uint64_t denied;
};

struct top {
    struct top_root *roots; /* a heap would do; a sorted array of at most 1000 is simpler */
    size_t count;
    size_t max;
    uint64_t other_allowed;
    uint64_t other_denied;
};

static uint64_t total(const struct top_root *root)
{
    return root->allowed + root->denied;
}

/* Insert in descending order; what falls off the end is `other`. */
static void top_add(struct top *top, const struct qd_root_count *count)
{
    struct top_root root = {.allowed = count->allowed, .denied = count->denied};
    memcpy(root.name, count->name, sizeof(root.name));
    size_t at = top->count;
    if (strcmp(root.name, "other") == 0) { /* a tenant of that name is one of the others */
        top->other_allowed += root.allowed;
        top->other_denied += root.denied;
        return;
    }
    while (at > 0 && total(&top->roots[at - 1]) < total(&root)) {
        at--;
    }
    if (at == top->max) {
        top->other_allowed += root.allowed;
        top->other_denied += root.denied;
        return;
    }
    if (top->count == top->max) {
        top->count--;
        top->other_allowed += top->roots[top->count].allowed;
        top->other_denied += top->roots[top->count].denied;
    }
    memmove(&top->roots[at + 1], &top->roots[at], (top->count - at) * sizeof(root));
    top->roots[at] = root;
    top->count++;
}

static void top_collect(struct qd_node *node, struct top *top)
{
    for (uint32_t i = 0; i < node->shards.count; i++) {
        struct qd_shard *shard = &node->shards.home[i];
        pthread_mutex_lock(&shard->lock);
        for (uint32_t r = 0; r < QD_ROOT_COUNTS; r++) {
            if (shard->roots[r].hash != 0) {
                top_add(top, &shard->roots[r]);
            }
        }
        top->other_allowed += shard->other_allowed;
        top->other_denied += shard->other_denied;
        pthread_mutex_unlock(&shard->lock);
    }
}

/* Names are path segments (P2): nothing in them needs escaping. */
static void write_tenant(FILE *out, const char *tenant, uint64_t allowed, uint64_t denied)
{
    static const char name[] = "quotad_tenant_checks_total";
    fprintf(out, "%s{tenant=\"%s\",verdict=\"allowed\"} %" PRIu64 "\n", name, tenant, allowed);
    fprintf(out, "%s{tenant=\"%s\",verdict=\"denied\"} %" PRIu64 "\n", name, tenant, denied);
}

void qd_metrics_write_tenants(struct qd_node *node, size_t max, FILE *out)
{
    struct top top = {.max = max < QD_METRICS_TOP_MAX ? max : QD_METRICS_TOP_MAX};
    top.roots = calloc(top.max + 1, sizeof(*top.roots));
    if (!top.roots) {
        return; /* a scrape without these series */
    }
    top_collect(node, &top);
    qd_expose_head(out, "quotad_tenant_checks_total", "counter",
                   "Checks by root tenant: the busiest ones, all others as `other`.");
    for (size_t i = 0; i < top.count; i++) {
        write_tenant(out, top.roots[i].name, top.roots[i].allowed, top.roots[i].denied);
    }
    write_tenant(out, "other", top.other_allowed, top.other_denied);
    free(top.roots);
}
