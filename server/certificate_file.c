#include "server/certificate_file.h"

#define RETRY_LOOKS 60U

static uint64_t look(void *context)
{
    return qd_rpc_tls_look(context);
}

/* A handshake may have been first: what it loaded is news here all the same. */
static bool reload(void *context, struct qd_reread_mark *ret_mark)
{
    return qd_rpc_tls_read_again(context, &ret_mark->content, &ret_mark->look);
}

struct qd_reread *qd_certificate_watch_start(const char *path, struct qd_node *node,
                                             struct qd_rpc *rpc)
{
    struct qd_reread_config config = {.look = look,
                                      .load = reload,
                                      .context = rpc,
                                      .retry_looks = RETRY_LOOKS,
                                      .action = "ReloadCertificate",
                                      .subject = "(certificate)",
                                      .path = path,
                                      .node = node};
    struct qd_reread_mark loaded = {0};

    (void)reload(rpc, &loaded);
    return qd_reread_start(&config, loaded);
}
