/* A peer's address as the bounds on connections count it (X2).
 *
 * Layer:    net
 * Threads:  any.
 *
 * That is an IPv4 address, or the first 64 bits of an IPv6 address: who has one of these has all
 * 2^64.
 */
#ifndef QD_NET_ADDRESS_H
#define QD_NET_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

#define QD_ADDRESS_BYTES 16U

/* `peer`: an IPv4 or IPv6 address. */
void qd_address_of(const struct sockaddr *peer, uint8_t ret_address[QD_ADDRESS_BYTES]);

#endif /* QD_NET_ADDRESS_H */
