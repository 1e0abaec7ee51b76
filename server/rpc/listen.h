/* HOST:PORT as listening sockets.
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; it owns the descriptors.
 *
 * A name may have several addresses (`localhost`: 127.0.0.1 and ::1): each is listened on, by one
 * port number. `0.0.0.0` is IPv4, `[::]` is both. Port 0: any that is free for all of them.
 */
#ifndef QD_RPC_LISTEN_H
#define QD_RPC_LISTEN_H

#include "server/shard/error.h"

#include <stdint.h>

#define QD_LISTEN_SOCKETS_MAX 8U

struct qd_listen {
    int fds[QD_LISTEN_SOCKETS_MAX]; /* do not block; `count` of them */
    uint32_t count;
    int port;
};

/* Bind and listen, or *ret_error says why not, and what to do ("127.0.0.1:7070: cannot listen; is
 * another quotad running? choose another address with --listen"): nothing is open then. `flag`
 * names the setting. A family that this machine lacks is left out, if another is there. */
enum qd_error_code qd_listen_open(struct qd_listen *listen, const char *address, const char *flag,
                                  struct qd_error *ret_error);
void qd_listen_close(struct qd_listen *listen);

#endif /* QD_RPC_LISTEN_H */
