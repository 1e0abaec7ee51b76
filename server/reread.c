#include "server/reread.h"

#include "server/ledger/ticker.h"
#include "server/rpc/audit.h"

#include <stdlib.h>

#define LOOK_MS 1000U

struct qd_reread {
    struct qd_reread_config config;
    struct qd_reread_mark loaded;
    uint64_t seen;      /* at the last look */
    uint32_t unsettled; /* looks since it was loaded or rested */
    bool refused;       /* what it looked like since it was loaded, at last like this */
    uint64_t refused_look;
    uint32_t waited; /* looks since then */
    struct qd_ticker *ticker;
};

static void audit(const struct qd_reread_config *c, const struct qd_hash128 *before,
                  const struct qd_hash128 *after)
{
    if (c->node == NULL || qd_hash128_equal(*before, *after)) {
        return;
    }
    qd_audit_write_by(c->node, QD_ACTOR_FILE,
                      &(struct qd_audit_action){.action = c->action,
                                                .subject = qd_slice_of(c->subject),
                                                .detail = qd_slice_of(c->path),
                                                .before = {(const char *)before, sizeof(*before)},
                                                .after = {(const char *)after, sizeof(*after)}});
}

static bool rests(struct qd_reread *r, uint64_t now)
{
    r->unsettled = now == r->seen ? QD_REREAD_UNSETTLED_MAX : r->unsettled + 1;
    r->seen = now;
    if (r->unsettled < QD_REREAD_UNSETTLED_MAX) {
        return false;
    }
    r->unsettled = 0;
    return true;
}

static void look(void *context)
{
    struct qd_reread *r = context;
    uint64_t now = r->config.look(r->config.context);

    if (!rests(r, now) || (now == r->loaded.look && !r->refused)) {
        return;
    }
    if (r->refused && now == r->refused_look && ++r->waited < r->config.retry_looks) {
        return;
    }
    struct qd_reread_mark mark = r->loaded;
    if (r->config.load(r->config.context, &mark)) {
        audit(&r->config, &r->loaded.content, &mark.content);
        r->loaded = mark;
        r->refused = false;
    } else {
        r->refused = true;
        r->refused_look = now;
        r->waited = 0;
    }
}

struct qd_reread *qd_reread_start(const struct qd_reread_config *config,
                                  struct qd_reread_mark loaded)
{
    struct qd_reread *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    r->config = *config;
    r->loaded = loaded;
    r->ticker = qd_ticker_start(LOOK_MS, look, r);
    if (r->ticker == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

void qd_reread_stop(struct qd_reread *reread)
{
    if (reread != NULL) {
        qd_ticker_stop(reread->ticker);
        free(reread);
    }
}
