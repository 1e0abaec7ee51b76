/* What the tests of quotactl's commands share: a server that answers what the test says, and a
 * command's exit code and output against what they should be. Each test program has its own. */
#ifndef QD_TESTS_UNIT_CLIENT_CTL_CASE_H
#define QD_TESTS_UNIT_CLIENT_CTL_CASE_H

#include "tests/unit/client/fake_server.h"
#include "tests/unit/client/run_ctl.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <string.h>

static struct fake_server *server;
static struct ctl_run last; /* what the last command said */

static inline void setup(void)
{
    server = fake_server_new();
}

static inline void teardown(void)
{
    ctl_run_release(&last);
    fake_server_free(server);
}

/* Run a command, whatever comes of it; without setup no server is named. */
static inline void run_any(const char *line)
{
    ctl_run_release(&last);
    last = run_ctl(server != NULL ? fake_server_address(server) : NULL, line);
}

static inline void run(const char *line, int code)
{
    run_any(line);
    cr_assert_eq(last.code, code, "%s: exit %d; %s%s", line, last.code, last.out, last.err);
}

/* NULL: whatever it says there. */
static inline void expect(const char *line, int code, const char *out, const char *err)
{
    run(line, code);
    if (out != NULL) {
        cr_assert_str_eq(last.out, out);
    }
    if (err != NULL) {
        cr_assert_str_eq(last.err, err);
    }
}

static inline void expect_in(const char *text, const char *part)
{
    cr_assert_not_null(strstr(text, part), "no \"%s\" in: %s", part, text);
}

/* The command's output, which is JSON; to be put. */
static inline struct json_object *json(const char *line)
{
    run_any(line);
    struct json_object *object = json_tokener_parse(last.out);
    cr_assert_not_null(object, "%s: not JSON: %s%s", line, last.out, last.err);
    return object;
}

static inline const char *text_of(struct json_object *object, const char *name)
{
    return json_object_get_string(json_object_object_get(object, name));
}

#endif /* QD_TESTS_UNIT_CLIENT_CTL_CASE_H */
