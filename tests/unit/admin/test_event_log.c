/* X8: each kind of event as a log line, so many a second. */
#include "server/admin/event_log.h"

#include "server/core/limit.h"
#include "server/log/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char text[1 << 16];
static int ends[2];

static void listen_in(void)
{
    cr_assert_eq(pipe(ends), 0);
    qd_log_set_fd(ends[1]);
}

static void end(void)
{
    qd_log_set_fd(STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
}

TestSuite(event_log, .init = listen_in, .fini = end);

/* One event's line, without its time stamp. */
static const char *line_of(const struct qd_event *event)
{
    qd_event_log(NULL, event);
    ssize_t n = read(ends[0], text, sizeof(text) - 1);
    cr_assert(n > 0);
    text[n] = '\0';
    return strstr(text, " level=") + 1;
}

Test(event_log, X8_each_kind_says_whose_and_what)
{
    static const struct qd_limit limit = {.name = "cost"};
    struct qd_event event = {.kind = QD_EVENT_THRESHOLD,
                             .limit = &limit,
                             .permille = 805,
                             .used = 85,
                             .amount = 100,
                             .name = "acme model=m"};
    cr_expect_str_eq(line_of(&event),
                     "level=warn msg=\"threshold passed\" counter=\"acme model=m\" limit=cost "
                     "percent=80.5 used=85 amount=100 left_out=0\n");
    event = (struct qd_event){.kind = QD_EVENT_EXPIRED, .reservation = 3, .name = "acme/search"};
    cr_expect_str_eq(line_of(&event), "level=info msg=\"reservation expired unreported\" "
                                      "tenant=acme/search reservation=r_3 left_out=0\n");
    event = (struct qd_event){.kind = QD_EVENT_FULL, .name = "acme"};
    cr_expect_str_eq(line_of(&event),
                     "level=error msg=\"a table is full\" tenant=acme left_out=0\n");
    event = (struct qd_event){.kind = QD_EVENT_CORRECTION, .entry = 17, .name = "acme"};
    cr_expect_str_eq(line_of(&event),
                     "level=info msg=\"correction booked\" tenant=acme sequence=17 left_out=0\n");
}

Test(event_log, X8_a_flood_of_expiries_is_sampled_and_hides_no_correction)
{
    struct qd_event expired = {.kind = QD_EVENT_EXPIRED, .name = "acme"};
    struct qd_event correction = {.kind = QD_EVENT_CORRECTION, .entry = 17, .name = "acme"};
    unsigned lines = 0;
    for (unsigned i = 0; i < 10000; i++) {
        expired.reservation = i + 1;
        qd_event_log(NULL, &expired);
    }
    ssize_t n = read(ends[0], text, sizeof(text) - 1);
    cr_assert(n > 0);
    for (ssize_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    cr_expect(lines >= 5 && lines <= 50, "%u", lines); /* 5 a second */
    cr_expect_not_null(strstr(line_of(&correction), "sequence=17 left_out=0"));
}
