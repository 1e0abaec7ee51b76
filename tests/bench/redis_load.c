/* What a rate limiter that keeps its counters in Redis asks of it, by hiredis: for each descriptor
 * one INCRBY of its key and window, and one EXPIRE, pipelined.
 *
 *   bench_redis_load --port N [--in-flight N] [--keys N] [--warmup S] [--seconds S]
 *
 * One connection, --in-flight descriptors (two commands each) unanswered: the next is sent when the
 * oldest is answered, in groups as they come. Prints key=value lines, and exits 1 when an answer
 * was an error. The limiter in front of it (its own gRPC server) is not there: this is a bound on
 * what such a limiter may reach with one Redis, not a measurement of one.
 *
 * Threads: one. */
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/lib/prng.h"

#define NS_PER_S 1000000000ULL
#define SEED     20260801U

struct load {
    redisContext *redis;
    struct qd_prng prng;
    uint64_t keys;
    unsigned in_flight;
    uint64_t answered;
    uint64_t over;
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_redis_load: %s: %s\n", what, why);
    exit(1);
}

/* A key as the usual limiter makes it: domain, entries and the window's start. */
static void ask(struct load *load)
{
    unsigned long key = (unsigned long)qd_prng_below(&load->prng, load->keys);

    if (redisAppendCommand(load->redis, "INCRBY bench_rule_r%06lu_user_u%06lu_1767225600 1",
                           key % 100, key / 100) != REDIS_OK ||
        redisAppendCommand(load->redis, "EXPIRE bench_rule_r%06lu_user_u%06lu_1767225600 3600",
                           key % 100, key / 100) != REDIS_OK) {
        fail("a command", load->redis->errstr);
    }
}

static long long answer(struct load *load)
{
    redisReply *reply = NULL;

    if (redisGetReply(load->redis, (void **)&reply) != REDIS_OK) {
        fail("an answer", load->redis->errstr);
    }
    if (reply->type != REDIS_REPLY_INTEGER) {
        fail("an answer", reply->type == REDIS_REPLY_ERROR ? reply->str : "not a number");
    }
    long long value = reply->integer;
    freeReplyObject(reply);
    return value;
}

/* One descriptor's two answers; as many again are asked for at once. */
static void turn(struct load *load)
{
    load->over += answer(load) > 4000000000LL;
    (void)answer(load);
    load->answered++;
    ask(load);
}

static double run(struct load *load, double seconds)
{
    uint64_t begin = clock_ns();
    uint64_t end = begin + (uint64_t)(seconds * 1e9);
    uint64_t now = begin;

    load->answered = 0;
    while (now < end) {
        for (unsigned i = 0; i < load->in_flight; i++) {
            turn(load);
        }
        now = clock_ns();
    }
    return (double)(now - begin) / 1e9;
}

static double number(const char *name, double low, double high)
{
    char *end = NULL;
    double value = strtod(optarg, &end);

    if (end == optarg || *end != '\0' || !(value >= low && value <= high)) {
        fail(name, "not an accepted number");
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option accepted[] = {
        {"port", required_argument, NULL, 'p'},    {"in-flight", required_argument, NULL, 'f'},
        {"keys", required_argument, NULL, 'k'},    {"warmup", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
    struct load load = {.keys = 10000, .in_flight = 64};
    int port = 0;
    double warmup = 0.5;
    double seconds = 3;
    int option;

    while ((option = getopt_long(argc, argv, "", accepted, NULL)) != -1) {
        switch (option) {
        case 'p':
            port = (int)number("--port", 1, 65535);
            break;
        case 'f':
            load.in_flight = (unsigned)number("--in-flight", 1, 10000);
            break;
        case 'k':
            load.keys = (uint64_t)number("--keys", 1, 1e8);
            break;
        case 'w':
            warmup = number("--warmup", 0, 60);
            break;
        case 't':
            seconds = number("--seconds", 0.1, 3600);
            break;
        default:
            return 1;
        }
    }
    if (port == 0) {
        fail("--port", "is needed");
    }
    load.redis = redisConnect("127.0.0.1", port);
    if (load.redis == NULL || load.redis->err != 0) {
        fail("cannot connect", load.redis != NULL ? load.redis->errstr : "out of memory");
    }
    qd_prng_init(&load.prng, SEED);
    for (unsigned i = 0; i < load.in_flight; i++) {
        ask(&load);
    }
    (void)run(&load, warmup);
    double took = run(&load, seconds);
    printf("rate=%.0f\nseconds=%.3f\nover=%lu\n", (double)load.answered / took, took,
           (unsigned long)load.over);
    redisFree(load.redis);
    return 0;
}
