/* half_open PORT COUNT: connections to 127.0.0.1 that send half of a request and wait. Says "open"
 * when all that could be made are there, and stays until it is killed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_one(unsigned short port)
{
    static const char half[] = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0) {
        return 0;
    }
    return send(fd, half, strlen(half), MSG_NOSIGNAL) > 0; /* stays open */
}

int main(int argc, char **argv)
{
    int made = 0;

    if (argc != 3) {
        return 2;
    }
    for (int i = 0; i < atoi(argv[2]); i++) {
        made += open_one((unsigned short)atoi(argv[1]));
    }
    (void)printf("open %d\n", made);
    (void)fflush(stdout);
    (void)pause();
    return 0;
}
