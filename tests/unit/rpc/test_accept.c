/* X2, X3: the accept loop of a real server, by plain sockets. */
#include "tests/unit/rpc/served.h"

#include "quota/v1/quota.pb-c.h"
#include "server/rpc/handover.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 30000

TestSuite(accept, .timeout = 120);

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* A call over gRPC's own client. */
static bool call_succeeds(struct served *s)
{
    Quota__V1__CheckQuotaRequest request;
    char tenant[] = "acme";
    char model[] = "m";
    grpc_status_code status = GRPC_STATUS_UNKNOWN;

    quota__v1__check_quota_request__init(&request);
    request.tenant = tenant;
    request.model = model;
    request.dry_run = 1;
    ProtobufCMessage *answer = served_call(s, "/quota.v1.QuotaService/CheckQuota", &request.base,
                                           &quota__v1__check_quota_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return answer != NULL && status == GRPC_STATUS_OK;
}

static bool serves(struct served *s)
{
    for (int waited = 0; waited < WAIT_MS; waited += 100) {
        if (call_succeeds(s)) {
            return true;
        }
        pause_ms(100);
    }
    return false;
}

static int new_socket(const char *from)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(inet_pton(AF_INET, from, &name.sin_addr), 1);
    cr_assert_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    return fd;
}

static void join(const struct served *s, int fd)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)qd_rpc_port(s->rpc))};

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* One that is turned away may learn it here. */
    (void)connect(fd, (struct sockaddr *)&name, sizeof(name));
}

static int join_from(const struct served *s, const char *from)
{
    int fd = new_socket(from);

    join(s, fd);
    return fd;
}

/* A server that takes the connection speaks first: its SETTINGS. */
static bool is_taken(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    char byte;

    cr_assert_eq(poll(&readable, 1, WAIT_MS), 1, "neither served nor closed");
    return recv(fd, &byte, 1, MSG_PEEK) == 1;
}

/* The server has seen a close within a sweep's time: somebody else is let in. */
static bool is_taken_in_the_end(const struct served *s, const char *from)
{
    for (int waited = 0; waited < WAIT_MS; waited += 20) {
        int fd = join_from(s, from);
        bool taken = is_taken(fd);
        (void)close(fd);
        if (taken) {
            return true;
        }
        pause_ms(20);
    }
    return false;
}

static uint64_t refused(const struct served *s, enum qd_refusal why)
{
    return atomic_load(&s->node->connections.refused[why]);
}

Test(accept, X2_connections_over_the_cap_are_closed_and_counted)
{
    struct served s;
    int fds[3];

    served_open(&s, &(struct served_with){.rpc = {.connections_max = 3}});
    for (int i = 0; i < 3; i++) {
        fds[i] = join_from(&s, "127.0.0.1");
        cr_expect(is_taken(fds[i]));
    }
    int over = join_from(&s, "127.0.0.2");
    cr_expect_not(is_taken(over));
    cr_expect_eq(refused(&s, QD_REFUSED_TOTAL), 1);
    cr_expect_eq(atomic_load(&s.node->connections.accepted), 3);
    (void)close(over);
    (void)close(fds[0]);
    cr_expect(is_taken_in_the_end(&s, "127.0.0.2"));
    (void)close(fds[1]);
    (void)close(fds[2]);
    cr_expect(is_taken_in_the_end(&s, "127.0.0.1"));
    cr_expect(serves(&s));
    served_close(&s);
}

Test(accept, X2_one_address_leaves_room_for_others)
{
    struct served s;

    served_open(
        &s, &(struct served_with){.rpc = {.connections_max = 100, .connections_per_address = 2}});
    int first = join_from(&s, "127.0.0.1");
    int second = join_from(&s, "127.0.0.1");
    cr_expect(is_taken(first) && is_taken(second));
    int over = join_from(&s, "127.0.0.1");
    cr_expect_not(is_taken(over));
    int other = join_from(&s, "127.0.0.2");
    cr_expect(is_taken(other));
    cr_expect_eq(refused(&s, QD_REFUSED_ADDRESS), 1);
    cr_expect_eq(refused(&s, QD_REFUSED_TOTAL), 0);
    (void)close(first);
    (void)close(second);
    (void)close(over);
    (void)close(other);
    cr_expect(is_taken_in_the_end(&s, "127.0.0.1"));
    cr_expect(serves(&s));
    served_close(&s);
}

static int highest_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)close(fd);
    return fd;
}

#define MANY 40

/* gRPC 1.51's own listener never accepts again after this (CVE-2023-4785). */
Test(accept, X3_serves_again_after_descriptors_ran_out)
{
    struct served s;
    struct rlimit limit, few;
    int fds[MANY];
    int taken = 0;

    served_open(&s, &(struct served_with){.rpc = {.connections_max = 1000}});
    for (int i = 0; i < MANY; i++) {
        fds[i] = new_socket("127.0.0.1");
    }
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = limit;
    few.rlim_cur = (rlim_t)highest_fd() + 5;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < MANY; i++) {
        join(&s, fds[i]);
    }
    for (int i = 0; i < MANY; i++) {
        taken += is_taken(fds[i]); /* each is told */
    }
    cr_expect_gt(taken, 0);
    cr_expect_lt(taken, MANY);
    cr_expect_eq(refused(&s, QD_REFUSED_DESCRIPTORS), (uint64_t)(MANY - taken));
    for (int i = 0; i < MANY; i++) {
        (void)close(fds[i]);
    }
    cr_expect(is_taken_in_the_end(&s, "127.0.0.1")); /* with as few as before */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_expect(serves(&s));
    served_close(&s);
}

Test(accept, X3_a_server_stops_while_others_connect)
{
    struct served s;
    int fds[MANY];

    served_open(&s, &(struct served_with){.rpc = {.connections_max = 1000}});
    for (int i = 0; i < MANY; i++) {
        fds[i] = join_from(&s, "127.0.0.1");
    }
    served_close(&s);
    for (int i = 0; i < MANY; i++) {
        struct pollfd closed = {.fd = fds[i], .events = POLLRDHUP};
        cr_expect_eq(poll(&closed, 1, WAIT_MS), 1);
        (void)close(fds[i]);
    }
}

/* The ABI that handover.h tells of is used with the gRPC that it was tried with, and no other. */
Test(accept, X3_another_grpc_listens_by_itself)
{
    struct served s;

    cr_expect(qd_handover_supported(grpc_g_stands_for()), "this build's gRPC is \"%s\"",
              grpc_g_stands_for());
    cr_expect_not(qd_handover_supported("galley"));
    cr_expect_not(qd_handover_supported(""));
    served_open(&s, &(struct served_with){.rpc = {.grpc_listener = true}});
    cr_expect(serves(&s));
    cr_expect_eq(atomic_load(&s.node->connections.accepted), 0);
    served_close(&s);
}
