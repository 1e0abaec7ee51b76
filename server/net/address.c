#include "server/net/address.h"

#include <netinet/in.h>
#include <string.h>

void qd_address_of(const struct sockaddr *peer, uint8_t ret_address[QD_ADDRESS_BYTES])
{
    uint8_t *address = ret_address;

    memset(address, 0, QD_ADDRESS_BYTES);
    if (peer->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, peer, sizeof(six));
        memcpy(address, &six.sin6_addr, IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) ? 16 : 8);
    } else {
        struct sockaddr_in four;
        memcpy(&four, peer, sizeof(four));
        address[10] = address[11] = 0xff; /* as IPv6 writes it */
        memcpy(address + 12, &four.sin_addr, 4);
    }
}
