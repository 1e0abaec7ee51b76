/* drip PORT COUNT FROM head|body|none|whole: connections from the address FROM to 127.0.0.1 that
 * send a request without an end, a byte a second: of its head, of its body, or nothing after the
 * half; or a whole request a second. Says "open N" each second, those that are still open, until it
 * is killed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 1000

static int open_one(unsigned short port, const char *from, const char *half)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in here = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || inet_pton(AF_INET, from, &here.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&here, sizeof(here)) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        return -1;
    }
    (void)send(fd, half, strlen(half), MSG_NOSIGNAL);
    return fd;
}

/* Whether it is still there, after another byte. */
static int drip_one(int fd, const char *byte)
{
    char answer[256];
    ssize_t heard = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);

    if (heard == 0 || send(fd, byte, strlen(byte), MSG_NOSIGNAL) < 0) {
        (void)close(fd);
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static const char body[] =
        "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nhalf";
    static const char head[] = "POST /json HTTP/1.1\r\nHost: a\r\nX-Drip: a";
    static const char whole[] = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    static int fds[LINKS_MAX];

    if (argc != 5) {
        return 2;
    }
    const char *half = strcmp(argv[4], "head") == 0 ? head : body;
    const char *byte = strcmp(argv[4], "none") == 0 ? "" : "a";
    if (strcmp(argv[4], "whole") == 0) {
        half = "";
        byte = whole;
    }
    int count = atoi(argv[2]);
    for (int i = 0; i < count && i < LINKS_MAX; i++) {
        fds[i] = open_one((unsigned short)atoi(argv[1]), argv[3], half);
    }
    for (;;) {
        int open = 0;
        for (int i = 0; i < count && i < LINKS_MAX; i++) {
            fds[i] = fds[i] >= 0 && drip_one(fds[i], byte) ? fds[i] : -1;
            open += fds[i] >= 0;
        }
        (void)printf("open %d\n", open);
        (void)fflush(stdout);
        (void)sleep(1);
    }
}
