/* X3: what the guard makes of connections that send much and are answered little, by real sockets.
 */
#include "server/rpc/guard.h"

#include "server/net/address.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 30000

static struct qd_guard guard;
static struct qd_connection_figures figures;
static int listener;

static void setup(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};

    memset(&figures, 0, sizeof(figures));
    cr_assert(qd_guard_init(&guard, 100, 100, &figures));
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener, (struct sockaddr *)&name, sizeof(name)), 0);
    cr_assert_eq(listen(listener, 16), 0);
    cr_assert(qd_guard_start(&guard));
}

static void teardown(void)
{
    qd_guard_stop(&guard);
    qd_guard_release(&guard);
    (void)close(listener);
}

TestSuite(guard, .init = setup, .fini = teardown, .timeout = 120);

struct pair {
    int client, server;
};

static int dial(const char *from)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    struct sockaddr_in to;
    socklen_t size = sizeof(to);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(inet_pton(AF_INET, from, &name.sin_addr), 1);
    cr_assert_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&to, &size), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static enum qd_refusal try_join(const char *from, struct pair *ret_pair)
{
    ret_pair->client = dial(from);
    return qd_guard_accept(&guard, listener, &ret_pair->server);
}

static struct pair join(const char *from)
{
    struct pair pair;

    cr_assert_eq(try_join(from, &pair), QD_REFUSAL_COUNT);
    return pair;
}

static void leave(struct pair pair)
{
    (void)close(pair.client);
    (void)close(pair.server);
}

static void pause_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&pause, NULL);
}

static bool is_cut_within(struct pair pair, int ms)
{
    struct pollfd end = {.fd = pair.client, .events = POLLRDHUP};

    return poll(&end, 1, ms) == 1;
}

static int are_cut(const struct pair *pairs, int count)
{
    int cut = 0;

    for (int i = 0; i < count; i++) {
        cut += is_cut_within(pairs[i], 0);
    }
    return cut;
}

static uint64_t cuts(enum qd_cutoff why)
{
    return atomic_load(&figures.cut[why]);
}

/* Send and receive so much, and answer with so many bytes at its end. */
static void exchange(struct pair pair, size_t bytes, size_t answer)
{
    static char buffer[16384];

    for (size_t sent = 0; sent < bytes;) {
        ssize_t n = send(pair.client, buffer, sizeof(buffer), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            return;
        }
        sent += n > 0 ? (size_t)n : 0;
        while (recv(pair.server, buffer, sizeof(buffer), MSG_DONTWAIT) > 0) {
        }
    }
    (void)!send(pair.server, buffer, answer, MSG_NOSIGNAL);
}

Test(guard, X3_much_without_an_answer_is_cut_off)
{
    struct pair busy = join("127.0.0.1");
    struct pair other = join("127.0.0.1");
    struct pair again;

    exchange(busy, 2 * QD_UNANSWERED_MAX, 0);
    cr_expect(is_cut_within(busy, WAIT_MS));
    cr_expect_eq(cuts(QD_CUT_UNANSWERED), 1);
    cr_expect_not(is_cut_within(other, 0));
    /* Its address may not come back at once; another's may. */
    cr_expect_eq(try_join("127.0.0.1", &again), QD_REFUSED_CUT);
    leave(again);
    struct pair elsewhere = join("127.0.0.2");
    leave(elsewhere);
    pause_ms(QD_GUARD_BAN_MS + 10);
    again = join("127.0.0.1");
    leave(again);
    leave(other);
    leave(busy);
}

Test(guard, X3_what_is_answered_stays)
{
    struct pair pair = join("127.0.0.1");

    /* Messages of 1 MiB that are refused in 150 bytes: no client gets less. */
    for (int i = 0; i < 20; i++) {
        exchange(pair, 16384, 150);
        exchange(pair, (1U << 20) - 16384, 150);
        pause_ms(20);
    }
    pause_ms(1500);
    cr_expect_not(is_cut_within(pair, 0));
    cr_expect_eq(cuts(QD_CUT_UNANSWERED), 0);
    leave(pair);
}

Test(guard, X3_many_that_are_small_are_too_much_together)
{
    enum {
        EACH = QD_UNANSWERED_MAX / 4 * 3,
        TOO_MANY = 8,
        MANY = QD_UNANSWERED_ALL / EACH + TOO_MANY
    };
    struct pair pairs[MANY];
    int gone = 0;

    for (int i = 0; i < MANY; i++) {
        pairs[i] = join("127.0.0.1");
    }
    struct pair small = join("127.0.0.2");
    exchange(small, QD_UNANSWERED_LEAST / 2, 0);
    for (int i = 0; i < MANY; i++) {
        exchange(pairs[i], EACH, 0);
    }
    for (int waited = 0; waited < WAIT_MS && gone < TOO_MANY - 1; waited += 100) {
        pause_ms(100);
        gone = are_cut(pairs, MANY);
    }
    pause_ms(2000); /* for more than is needed */
    gone = are_cut(pairs, MANY);
    for (int i = 0; i < MANY; i++) {
        leave(pairs[i]);
    }
    cr_expect_geq(gone, TOO_MANY - 1, "%d are gone", gone);
    cr_expect_leq(gone, TOO_MANY + 4, "%d are gone", gone); /* no more than is needed */
    cr_expect_not(is_cut_within(small, 0));
    leave(small);
}

static void report(struct pair pair, enum qd_cutoff why)
{
    struct sockaddr_in name = {0};
    socklen_t size = sizeof(name);
    char text[QD_PEER_TEXT_MAX];

    cr_assert_eq(getsockname(pair.client, (struct sockaddr *)&name, &size), 0);
    (void)snprintf(text, sizeof(text), "ipv4:127.0.0.1:%u", ntohs(name.sin_port));
    qd_guard_report(&guard, text, why);
}

/* Again and again, as the RPC threads do: the guard of a machine that stood still hears none. */
static bool is_cut_when_reported(struct pair pair, enum qd_cutoff why)
{
    for (int waited = 0; waited < WAIT_MS; waited += 100) {
        report(pair, why);
        if (is_cut_within(pair, 100)) {
            return true;
        }
    }
    return false;
}

Test(guard, X3_who_has_too_many_calls_is_cut_off_by_name)
{
    struct pair one = join("127.0.0.1");
    struct pair other = join("127.0.0.2");
    struct pair again;

    qd_guard_report(&guard, "ipv4:127.0.0.1:1", QD_CUT_CALLS); /* nobody */
    qd_guard_report(&guard, "unknown", QD_CUT_CALLS);
    cr_expect(is_cut_when_reported(one, QD_CUT_CALLS));
    cr_expect_eq(cuts(QD_CUT_CALLS), 1);
    cr_expect_not(is_cut_within(other, 0));
    cr_expect_eq(try_join("127.0.0.1", &again), QD_REFUSED_CUT);
    leave(again);
    leave(one);
    leave(other);
}

/* It is a busy one's connection, or a neighbour's of many: it may come back, and so may they. */
Test(guard, X3_who_only_had_the_most_calls_may_come_back_at_once)
{
    struct pair one = join("127.0.0.1");
    struct pair beside = join("127.0.0.1");

    cr_expect(is_cut_when_reported(one, QD_CUT_MOST));
    cr_expect_eq(cuts(QD_CUT_MOST), 1);
    cr_expect_eq(cuts(QD_CUT_CALLS), 0);
    cr_expect_not(is_cut_within(beside, 0));
    leave(join("127.0.0.1"));
    leave(join("127.0.0.1"));
    leave(one);
    leave(beside);
}

/* By the address of a pair; NULL: the guard has not asked from where they come. */
static void cancel(const char *from, uint32_t calls)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    uint8_t address[QD_ADDRESS_BYTES];

    if (from != NULL) {
        cr_assert_eq(inet_pton(AF_INET, from, &name.sin_addr), 1);
        qd_address_of((struct sockaddr *)&name, address);
    }
    for (uint32_t i = 0; i < calls; i++) {
        qd_guard_cancelled(&guard, from != NULL ? address : NULL);
    }
}

#define HANGING_UP (4U * QD_LEAVERS_HANG_UPS)

/* As a redialling flood does; the server has not closed them yet. */
static void hang_up(const char *from, struct pair *ret_pairs)
{
    for (size_t i = 0; i < HANGING_UP; i++) {
        ret_pairs[i] = join(from);
        exchange(ret_pairs[i], 2 * QD_LEAVERS_LEAST, 200);
    }
    for (size_t i = 0; i < HANGING_UP; i++) {
        (void)close(ret_pairs[i].client);
    }
}

static void close_servers(const struct pair *pairs)
{
    for (size_t i = 0; i < HANGING_UP; i++) {
        (void)close(pairs[i].server);
    }
}

/* It is tried again where the machine stood still meanwhile: then all is forgotten. */
static bool is_banned_for_hanging_up(const char *from)
{
    for (int tries = 0; tries < 10 && cuts(QD_CUT_LEFT) == 0; tries++) {
        struct pair gone[HANGING_UP];
        hang_up(from, gone);
        for (int waited = 0; waited < 2000 && cuts(QD_CUT_LEFT) == 0; waited += 10) {
            cancel(from, QD_LEAVERS_CALLS);
            pause_ms(10);
        }
        close_servers(gone);
    }
    return cuts(QD_CUT_LEFT) > 0;
}

/* Its neighbours at its address stay, and so does everybody else. */
Test(guard, X3_who_calls_and_hangs_up_again_and_again_is_banned)
{
    struct pair beside = join("127.0.0.1");
    struct pair other = join("127.0.0.2");
    struct pair again;

    cancel("127.0.0.2", 8 * QD_LEAVERS_CALLS);
    cr_assert(is_banned_for_hanging_up("127.0.0.1"));
    cr_expect_eq(try_join("127.0.0.1", &again), QD_REFUSED_CUT);
    cr_expect_geq(cuts(QD_CUT_LEFT), QD_LEAVERS_HANG_UPS); /* the guard is through with them */
    leave(again);
    leave(join("127.0.0.2"));
    cr_expect_not(is_cut_within(beside, 0));
    cr_expect_not(is_cut_within(other, 0));
    leave(beside);
    leave(other);
}

/* While somebody else floods, say: deadlines of the one, command lines of the other. */
Test(guard, X3_who_only_hangs_up_or_only_cancels_is_not_banned)
{
    struct pair gone[HANGING_UP];
    struct pair stays = join("127.0.0.2");

    hang_up("127.0.0.1", gone);
    for (int i = 0; i < 10; i++) {
        cancel(NULL, QD_GUARD_CANCELLED);
        cancel("127.0.0.2", QD_LEAVERS_CALLS);
        pause_ms(100);
    }
    cr_expect_eq(cuts(QD_CUT_LEFT), 0);
    leave(join("127.0.0.1"));
    leave(join("127.0.0.2"));
    leave(stays);
    close_servers(gone);
}

/* Their clients hang up, while many of their address's calls are cancelled. */
static void expect_no_ban_for_hanging_up(const struct pair *pairs)
{
    for (size_t i = 0; i < HANGING_UP; i++) {
        (void)close(pairs[i].client);
    }
    for (int i = 0; i < 10; i++) {
        cancel("127.0.0.1", QD_LEAVERS_CALLS);
        pause_ms(100);
    }
    cr_expect_eq(cuts(QD_CUT_LEFT), 0);
    leave(join("127.0.0.1"));
    close_servers(pairs);
}

/* A rolling restart of gateways: what they had in hand is cancelled, but they had lasted. */
Test(guard, X3_who_hangs_up_after_a_while_is_not_banned)
{
    struct pair pairs[HANGING_UP];

    for (size_t i = 0; i < HANGING_UP; i++) {
        pairs[i] = join("127.0.0.1");
        exchange(pairs[i], 2 * QD_LEAVERS_LEAST, 200);
    }
    pause_ms(QD_LEAVERS_SOON_MS + 100);
    expect_no_ban_for_hanging_up(pairs);
}

/* Probes, and clients that gave up before they were accepted. */
Test(guard, X3_who_hangs_up_on_little_is_not_banned)
{
    struct pair pairs[HANGING_UP];

    for (size_t i = 0; i < HANGING_UP; i++) {
        pairs[i] = join("127.0.0.1");
        cr_assert_eq(send(pairs[i].client, "hello", 5, 0), 5);
    }
    expect_no_ban_for_hanging_up(pairs);
}

Test(guard, X3_it_is_asked_from_where_calls_come_while_many_are_cancelled)
{
    cr_expect_not(qd_guard_asks_who(&guard));
    for (int waited = 0; waited < WAIT_MS && !qd_guard_asks_who(&guard); waited += 10) {
        cancel(NULL, QD_GUARD_CANCELLED);
        pause_ms(10);
    }
    cr_expect(qd_guard_asks_who(&guard));
    for (int waited = 0; waited < WAIT_MS && qd_guard_asks_who(&guard); waited += 10) {
        pause_ms(10);
    }
    cr_expect_not(qd_guard_asks_who(&guard));
}

Test(guard, X3_who_holds_the_accepting_thread_is_cut_off)
{
    struct pair pair = join("127.0.0.1");

    qd_guard_hands(&guard, pair.server);
    exchange(pair, 2 * QD_UNANSWERED_LEAST, 0);
    cr_expect(is_cut_within(pair, WAIT_MS));
    qd_guard_has_handed(&guard);
    cr_expect_eq(cuts(QD_CUT_CAPTIVE), 1);
    leave(pair);
}

/* The flood's connections have gone, what they left is still in use: no second wave on top of it.
 */
Test(guard, X3_an_address_that_was_cut_off_waits_for_the_heap)
{
    static char *left[QD_HEAP_OVER_MAX / (64U << 10) + 1024];
    struct pair busy;
    struct pair again;

    if (mallinfo2().uordblks == 0) {
        cr_skip_test("a sanitizer's allocator does not say what is in use");
    }
    busy = join("127.0.0.1");
    exchange(busy, 2 * QD_UNANSWERED_MAX, 0);
    cr_assert(is_cut_within(busy, WAIT_MS));
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        left[i] = malloc(64U << 10);
    }
    leave(busy);
    pause_ms(2 * QD_GUARD_BAN_MS);
    cr_expect_eq(try_join("127.0.0.1", &again), QD_REFUSED_CUT);
    leave(again);
    leave(join("127.0.0.2"));
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        free(left[i]);
    }
    pause_ms(2 * QD_GUARD_BAN_MS);
    leave(join("127.0.0.1"));
}

/* A machine that is short of time hands over slowly, too. */
Test(guard, X3_who_is_handed_over_slowly_stays)
{
    struct pair pair = join("127.0.0.1");

    qd_guard_hands(&guard, pair.server);
    cr_assert_eq(send(pair.client, "hello", 5, 0), 5);
    pause_ms(2 * QD_CAPTIVE_MS);
    cr_expect_not(is_cut_within(pair, 0));
    qd_guard_has_handed(&guard);
    leave(pair);
}

/* What came and was not read is gone: gRPC doesn't go on with it. */
Test(guard, X3_nothing_is_left_of_a_connection_that_was_cut_off)
{
    struct pair pair = join("127.0.0.1");
    char byte;

    cr_assert_eq(send(pair.client, "hello", 5, 0), 5);
    struct pollfd readable = {.fd = pair.server, .events = POLLIN};
    cr_assert_eq(poll(&readable, 1, WAIT_MS), 1);
    qd_guard_hands(&guard, pair.server);
    cr_expect(is_cut_within(pair, WAIT_MS));
    cr_expect_leq(recv(pair.server, &byte, 1, 0), 0);
    leave(pair);
}
