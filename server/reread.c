#include "server/reread.h"

#include "server/ledger/ticker.h"

#include <stdlib.h>

#define LOOK_MS 1000U

struct qd_reread {
    struct qd_reread_config config;
    uint64_t loaded; /* what it looked like */
    uint64_t seen;   /* at the last look */
    struct qd_ticker *ticker;
};

static void look(void *context)
{
    struct qd_reread *r = context;
    uint64_t now = r->config.look(r->config.context);
    bool settled = now == r->seen;

    r->seen = now;
    if (settled && now != r->loaded) {
        uint64_t read = 0;
        if (r->config.load(r->config.context, &read)) {
            r->loaded = read;
        }
    }
}

struct qd_reread *qd_reread_start(const struct qd_reread_config *config, uint64_t loaded)
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
