#include "tests/lib/failalloc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct qd_fault *armed;

/* The linker's names for the wrapped functions and the ones they hide. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

void qd_failalloc_arm(struct qd_fault *fault)
{
    armed = fault;
}

void qd_failalloc_disarm(void)
{
    armed = NULL;
}

static bool fails(void)
{
    if (armed == NULL || !qd_fault_hit(armed)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

static int run(int (*body)(void *context), void *context, struct qd_fault *fault)
{
    qd_failalloc_arm(fault);
    int rc = body(context);
    qd_failalloc_disarm();
    return rc;
}

uint64_t qd_failalloc_each(int (*body)(void *context), void *context, bool may_survive)
{
    struct qd_fault count = {.countdown = -1};
    if (run(body, context, &count) != 0) {
        fprintf(stderr, "failalloc: the body fails without a failing allocation\n");
        abort();
    }
    for (int repeat = 0; repeat <= 1; repeat++) {
        for (uint64_t i = 0; i < count.calls; i++) {
            struct qd_fault fault = {.countdown = (int64_t)i, .repeat = repeat == 1};
            int rc = run(body, context, &fault);
            if (fault.failures == 0) {
                fprintf(stderr, "failalloc: run %" PRIu64 " made fewer allocations than before\n",
                        i);
                abort();
            }
            if (rc == 0 && !may_survive) {
                fprintf(stderr,
                        "failalloc: allocation %" PRIu64 " of %" PRIu64
                        " failed and nobody noticed\n",
                        i, count.calls);
                abort();
            }
        }
    }
    return count.calls;
}
