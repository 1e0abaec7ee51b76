/* A connection of the flood tool: a socket that does not block, with TLS over it or without.
 *
 * Errors: as send(2) and recv(2) tell them; a failed handshake is EPIPE.
 */
#ifndef QD_TESTS_E2E_TOOL_WIRE_H
#define QD_TESTS_E2E_TOOL_WIRE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct wire {
    int fd;             /* -1: none */
    struct ssl_st *tls; /* NULL: plain */
};

/* On its way. False: no. */
bool wire_dial(struct wire *wire, const struct sockaddr_in *from, const struct sockaddr_in *to,
               bool tls);
ssize_t wire_send(struct wire *wire, const void *bytes, size_t size);
ssize_t wire_receive(struct wire *wire, void *bytes, size_t size);
/* At once: nothing of it stays in the kernel. */
void wire_close(struct wire *wire);

#endif /* QD_TESTS_E2E_TOOL_WIRE_H */
