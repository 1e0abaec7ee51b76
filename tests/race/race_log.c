/* Threads that log to one pipe while another changes the level and the place: no data race
 * (ThreadSanitizer), every line whole, none lost at its own level; a sampler counts what it leaves
 * out. */
#include "server/log/log.h"
#include "tests/race/race.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define WRITERS 4U
#define ROUNDS  2000U

static struct qd_log_sampler sampler = {.per_second = 3};
static _Atomic unsigned running = WRITERS;
static _Atomic uint64_t sampled;
static _Atomic uint64_t told; /* left out, as told by the sampler */

static void *writer(void *argument)
{
    unsigned who = *(unsigned *)argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t left_out = 0;
        qd_log(QD_LOG_ERROR, "a line", "who=%u i=%u value=%s end=1", who, i,
               qd_log_quote("two words").text);
        qd_log(QD_LOG_INFO, "maybe", "who=%u i=%u end=1", who, i);
        if (qd_log_sample(&sampler, &left_out)) {
            atomic_fetch_add(&sampled, 1);
            atomic_fetch_add(&told, left_out);
        }
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *changer(void *argument)
{
    const int *fds = argument;
    for (unsigned i = 0; atomic_load(&running) > 0; i++) {
        qd_log_set_level(i % 2 == 0 ? QD_LOG_ERROR : QD_LOG_DEBUG);
        qd_log_set_fd(fds[i % 3 == 0]);
    }
    return NULL;
}

struct lines {
    FILE *in;
    unsigned sure; /* lines at level error */
    unsigned maybe;
};

static void *reader(void *argument)
{
    struct lines *lines = argument;
    char line[QD_LOG_LINE_MAX];
    while (fgets(line, sizeof(line), lines->in) != NULL) {
        unsigned who = WRITERS;
        unsigned i = ROUNDS;
        const char *fields = strstr(line, "who=");
        size_t length = strlen(line);
        REQUIRE(strncmp(line, "ts=", 3) == 0 && fields != NULL);
        REQUIRE(length > 7 && strcmp(line + length - 7, " end=1\n") == 0);
        REQUIRE(sscanf(fields, "who=%u i=%u", &who, &i) == 2 && who < WRITERS && i < ROUNDS);
        lines->sure += strstr(line, " level=error msg=\"a line\" who=") != NULL;
        lines->maybe += strstr(line, " level=info msg=maybe who=") != NULL;
    }
    return NULL;
}

int main(void)
{
    int ends[2];
    int fds[2];
    pthread_t threads[WRITERS];
    unsigned numbers[WRITERS];
    pthread_t change;
    pthread_t read;
    struct lines lines = {0};

    REQUIRE(pipe(ends) == 0);
    fds[0] = ends[1];
    fds[1] = dup(ends[1]); /* another number for the same place */
    lines.in = fdopen(ends[0], "r");
    REQUIRE(fds[1] >= 0 && lines.in != NULL);
    qd_log_set_fd(fds[0]);
    REQUIRE(pthread_create(&read, NULL, reader, &lines) == 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&threads[i], NULL, writer, &numbers[i]) == 0);
    }
    REQUIRE(pthread_create(&change, NULL, changer, fds) == 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_join(change, NULL);
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)pthread_join(read, NULL);
    (void)fclose(lines.in);
    REQUIRE(lines.sure == WRITERS * ROUNDS);
    REQUIRE(lines.maybe <= WRITERS * ROUNDS); /* as the level was */
    REQUIRE(sampled > 0 && sampled < (uint64_t)WRITERS * ROUNDS);
    REQUIRE(sampled + told + sampler.left_out == (uint64_t)WRITERS * ROUNDS);
    (void)printf("ok: %u lines, %u of %u at info\n", lines.sure, lines.maybe, WRITERS * ROUNDS);
    return 0;
}
