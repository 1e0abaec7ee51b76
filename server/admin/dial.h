/* Does the gRPC port answer? /livez dials it for real: this gRPC version's listener can stop
 * accepting while the process lives (CVE-2023-4785).
 *
 * Layer:    admin
 * Threads:  any; blocks for at most QD_DIAL_TIMEOUT_MS.
 * Memory:   none.
 */
#ifndef QD_ADMIN_DIAL_H
#define QD_ADMIN_DIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_DIAL_TIMEOUT_MS 1000

/* Connect to `host`:`port`, send the HTTP/2 preface and wait for the server's SETTINGS frame.
 * False: `error` says what failed. A wildcard host (0.0.0.0, ::) is dialled by loopback. */
bool qd_dial_http2(const char *host, uint16_t port, char *error, size_t error_size);

/* The same of a port that speaks TLS: send a ClientHello and wait for a record of the answer. The
 * handshake is not finished: the port may ask for a certificate, and we have none. */
bool qd_dial_tls(const char *host, uint16_t port, char *error, size_t error_size);

#endif /* QD_ADMIN_DIAL_H */
