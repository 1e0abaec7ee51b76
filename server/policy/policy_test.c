#include "server/policy/policy_test.h"

#include "server/policy/amount.h"
#include "server/policy/file.h"
#include "server/policy/json_text.h"
#include "server/policy/limit_text.h"
#include "server/policy/policy_test_file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The report and what it hangs from: the public struct comes first. */
struct owned_report {
    struct qd_policy_test_report report;
    struct qd_arena arena;
};

struct named_hold {
    const char *id;
    struct qd_world_hold hold;
};

/* One running test. */
struct run {
    struct qd_arena *arena;
    const struct qd_test_case *test;
    struct qd_policy_test_case *result;
    struct qd_world *world;
    struct named_hold *holds;
    size_t hold_count;
    size_t hold_capacity;
};

static void fail(struct run *r, uint32_t line, const char *message)
{
    if (r->result->passed) {
        r->result->passed = false;
        r->result->failure = (struct qd_policy_test_failure){line, message};
    }
}

static const char *name_of(struct run *r, const struct qd_limit_state *state, struct qd_str tenant)
{
    char text[1024];
    size_t len = qd_limit_full_name(state->limit, qd_tenant_path_prefix(tenant, state->depth), text,
                                    sizeof text);
    return qd_arena_text(r->arena, text, len);
}

static const char *reason_text(const struct qd_world_verdict *v)
{
    if (v->answer == QD_WORLD_UNKNOWN_TENANT) {
        return "unknown_tenant";
    }
    if (v->answer != QD_WORLD_DECIDED) {
        return "capacity";
    }
    switch (v->verdict.reason) {
    case QD_REASON_NONE:
        return "none";
    case QD_REASON_LIMIT:
        return "limit";
    case QD_REASON_NEVER_FITS:
        return "never_fits";
    case QD_REASON_BLOCKED:
        return "blocked";
    case QD_REASON_UNKNOWN_PRICE:
        return "unknown_price";
    case QD_REASON_CAPACITY:
        return "capacity";
    }
    return "?";
}

static bool is_allowed(const struct qd_world_verdict *v)
{
    return v->answer == QD_WORLD_DECIDED && v->verdict.decision == QD_ALLOW;
}

/* "allow (tightest free.tokens: 1,600 used, 0 held of 40,000/min)". */
static const char *verdict_text(struct run *r, const struct qd_world_verdict *v,
                                struct qd_str tenant)
{
    const char *word = is_allowed(v) ? "allow" : "deny";
    const struct qd_limit_state *s = &v->verdict.binding;
    if (v->answer != QD_WORLD_DECIDED || s->limit == NULL) {
        return is_allowed(v) ? word : qd_arena_printf(r->arena, "%s (%s)", word, reason_text(v));
    }
    char used[QD_LIMIT_TEXT_MAX];
    char held[QD_LIMIT_TEXT_MAX];
    char limit[QD_LIMIT_TEXT_MAX];
    char estimate[QD_LIMIT_TEXT_MAX];
    (void)qd_limit_amount_text(s->limit, s->used, used);
    (void)qd_limit_amount_text(s->limit, s->held, held);
    (void)qd_limit_amount_text(s->limit, s->estimate, estimate);
    (void)qd_limit_text(s->limit, s->amount, limit);
    return qd_arena_printf(r->arena, "%s (%s %s: %s used, %s held, %s estimated of %s)", word,
                           is_allowed(v) ? "tightest" : "by", name_of(r, s, tenant), used, held,
                           estimate, limit);
}

static const char *seconds_text(struct run *r, int64_t ns)
{
    char text[QD_DECIMAL_TEXT_MAX];
    if (ns == INT64_MAX) {
        return "never";
    }
    (void)qd_decimal_format(ns, 9, text);
    return qd_arena_printf(r->arena, "%ss", text);
}

static void expect_verdict(struct run *r, const struct qd_test_expect *e,
                           const struct qd_world_verdict *v, struct qd_str tenant)
{
    bool allowed = is_allowed(v);
    const char *got = verdict_text(r, v, tenant);
    if (e->verdict != QD_TEST_ANY && allowed != (e->verdict == QD_TEST_ALLOW)) {
        fail(r, e->line,
             qd_arena_printf(r->arena, "expected %s, got %s", allowed ? "deny" : "allow", got));
        return;
    }
    if (e->limit != NULL) {
        const struct qd_limit_state *s = &v->verdict.binding;
        const char *name =
            v->answer == QD_WORLD_DECIDED && s->limit != NULL ? name_of(r, s, tenant) : "none";
        if (strcmp(name, e->limit) != 0) {
            fail(r, e->line, qd_arena_printf(r->arena, "expected limit %s, got %s", e->limit, got));
        }
    }
    if (e->reason != NULL && strcmp(e->reason, reason_text(v)) != 0) {
        fail(r, e->line,
             qd_arena_printf(r->arena, "expected reason %s, got %s: %s", e->reason, reason_text(v),
                             got));
    }
}

static void expect_retry(struct run *r, const struct qd_test_expect *e,
                         const struct qd_world_verdict *v, struct qd_wall_ns now)
{
    int64_t after = INT64_MAX;
    bool never = !v->verdict.retry_useful && v->verdict.retry_at.ns == QD_WALL_NEVER;
    if (!e->has_retry) {
        return;
    }
    if (v->verdict.retry_at.ns != QD_WALL_NEVER) {
        after = v->verdict.retry_at.ns - now.ns;
    }
    if (e->retry_never ? !never : after != e->retry_ns) {
        fail(r, e->line,
             qd_arena_printf(r->arena, "expected retry_after %s, got %s",
                             e->retry_never ? "never" : seconds_text(r, e->retry_ns),
                             seconds_text(r, after)));
    }
}

/* One figure of a state, written in the limit's unit. */
static void expect_amount(struct run *r, const struct qd_test_state *want, const char *what,
                          const char *text, const struct qd_limit_state *s, int64_t got)
{
    int64_t amount;
    char shown[QD_LIMIT_TEXT_MAX];
    if (text == NULL) {
        return;
    }
    const char *number = s->limit->money && text[0] == '$' ? text + 1 : text;
    if (qd_amount_parse(number, strlen(number), s->limit->unit_scale, &amount) != QD_AMOUNT_OK) {
        fail(r, want->line,
             qd_arena_printf(r->arena, "\"%s\" is not an amount of %s", text, s->limit->unit));
        return;
    }
    if (amount != got) {
        (void)qd_limit_amount_text(s->limit, got, shown);
        fail(r, want->line,
             qd_arena_printf(r->arena, "expected %s of %s to be %s, got %s", what, want->limit,
                             text, shown));
    }
}

static void expect_state(struct run *r, const struct qd_test_state *want,
                         const struct qd_world_verdict *v, struct qd_str tenant)
{
    const char *names = "";
    for (size_t i = 0; i < v->state_count; i++) {
        const struct qd_limit_state *s = &v->states[i];
        const char *name = name_of(r, s, tenant);
        names = qd_arena_printf(r->arena, "%s%s%s", names, i > 0 ? ", " : "", name);
        if (strcmp(name, want->limit) != 0) {
            continue;
        }
        expect_amount(r, want, "used", want->used, s, s->used);
        expect_amount(r, want, "held", want->held, s, s->held);
        expect_amount(r, want, "remaining", want->remaining, s, s->remaining);
        expect_amount(r, want, "estimate", want->estimate, s, s->estimate);
        return;
    }
    fail(r, want->line,
         qd_arena_printf(r->arena, "limit %s does not apply; those that do: %s", want->limit,
                         names[0] != '\0' ? names : "none"));
}

static void expect_cost(struct run *r, const struct qd_test_expect *e, int64_t got_nano)
{
    char want[QD_DECIMAL_TEXT_MAX];
    char got[QD_DECIMAL_TEXT_MAX] = "unknown";
    if (!e->has_cost || got_nano == e->cost_nano) {
        return;
    }
    (void)qd_money_format_nano(e->cost_nano, want);
    if (got_nano >= 0) {
        (void)qd_money_format_nano(got_nano, got);
    }
    fail(r, e->line, qd_arena_printf(r->arena, "expected a cost of %s, got %s", want, got));
}

static struct named_hold *find_hold(struct run *r, const char *id)
{
    for (size_t i = r->hold_count; i-- > 0;) {
        if (strcmp(r->holds[i].id, id) == 0) {
            return &r->holds[i];
        }
    }
    return NULL;
}

static void keep_hold(struct run *r, const char *id, const struct qd_world_hold *hold)
{
    struct named_hold *known = find_hold(r, id);
    if (known == NULL) {
        r->holds =
            qd_arena_grow(r->arena, r->holds, r->hold_count, &r->hold_capacity, sizeof *r->holds);
        known = &r->holds[r->hold_count++];
        known->id = id;
    }
    known->hold = *hold;
}

static void run_check(struct run *r, const struct qd_test_step *step)
{
    struct qd_world_verdict v = {0};
    struct qd_str tenant = step->check.attributes.tenant;
    for (uint32_t i = 0; i < step->repeat && r->result->passed; i++) {
        qd_world_check(r->world, &step->check, step->at, &v);
        if (step->expect.line != 0) {
            expect_verdict(r, &step->expect, &v, tenant);
        }
    }
    if (step->expect.line != 0 && v.answer == QD_WORLD_DECIDED) {
        expect_retry(r, &step->expect, &v, step->at);
        expect_cost(r, &step->expect, v.verdict.unpriced ? -1 : v.verdict.estimate_cost_nano);
        for (size_t i = 0; i < step->expect.state_count; i++) {
            expect_state(r, &step->expect.states[i], &v, tenant);
        }
    }
    if (step->id != NULL && is_allowed(&v)) {
        keep_hold(r, step->id, &v.hold);
    }
}

static void run_report(struct run *r, const struct qd_test_step *step)
{
    struct qd_world_report report = step->report;
    int64_t cost_nano = -1;
    if (step->id != NULL) {
        struct named_hold *known = find_hold(r, step->id);
        if (known == NULL) {
            fail(r, step->line,
                 qd_arena_printf(r->arena, "no allowed check has the id \"%s\"", step->id));
            return;
        }
        report.hold = &known->hold;
    }
    if (qd_world_report(r->world, &report, step->at, &cost_nano) != QD_WORLD_DECIDED) {
        fail(r, step->line, "the report could not be booked");
    } else {
        expect_cost(r, &step->expect, cost_nano);
    }
}

static void run_cancel(struct run *r, const struct qd_test_step *step)
{
    struct named_hold *known = step->id != NULL ? find_hold(r, step->id) : NULL;
    if (known == NULL || !qd_world_cancel(r->world, &known->hold, step->at)) {
        fail(r, step->line,
             qd_arena_printf(r->arena, "no hold of \"%s\" to cancel",
                             step->id != NULL ? step->id : ""));
    }
}

static void run_steps(struct run *r)
{
    for (size_t i = 0; i < r->test->step_count && r->result->passed; i++) {
        const struct qd_test_step *step = &r->test->steps[i];
        qd_world_expire(r->world, step->at);
        r->result->steps++;
        switch (step->action) {
        case QD_TEST_WAIT:
            break;
        case QD_TEST_CHECK:
            run_check(r, step);
            break;
        case QD_TEST_REPORT:
            run_report(r, step);
            break;
        case QD_TEST_CANCEL:
            run_cancel(r, step);
            break;
        }
    }
}

/* --- files --------------------------------------------------------------------------------------
 */

/* What must be freed also when memory runs out. */
struct session {
    struct owned_report *owned;
    struct qd_compiler compiler;
    struct qd_file text;
    struct qd_policy *policy;
    struct qd_world *world;
    const char *path;
    const char *policy_path;
};

/* The policy's path: the one given, or the file's, beside the file. */
static const char *find_policy(struct session *s, const struct qd_test_file *file,
                               const struct qd_node *root)
{
    struct qd_at top = {0};
    struct qd_arena *a = &s->owned->arena;
    if (s->policy_path != NULL) {
        return s->policy_path;
    }
    if (file->policy == NULL) {
        qd_fail(&s->compiler, &top, root,
                "no policy; name one here (\"policy: policy.yaml\") or on the command line");
        return NULL;
    }
    if (file->policy[0] == '/') {
        return file->policy;
    }
    char *folder = qd_file_folder(s->path);
    if (folder == NULL) {
        qd_arena_out_of_memory(a);
    }
    char path[8192];
    int len = snprintf(path, sizeof path, "%s/%s", folder, file->policy);
    free(folder);
    return len > 0 && (size_t)len < sizeof path ? qd_arena_text(a, path, (size_t)len) : NULL;
}

static void run_all(struct session *s, const struct qd_test_file *file)
{
    struct qd_policy_test_report *report = &s->owned->report;
    struct qd_arena *a = &s->owned->arena;
    struct qd_policy_test_case *cases = qd_arena_array(a, file->case_count, sizeof *cases);
    report->cases = cases;
    report->case_count = file->case_count;
    for (size_t i = 0; i < file->case_count; i++) {
        const struct qd_test_case *test = &file->cases[i];
        cases[i] =
            (struct qd_policy_test_case){.name = test->name, .line = test->line, .passed = true};
        s->world = qd_world_new(s->policy);
        if (s->world == NULL) {
            qd_arena_out_of_memory(a);
        }
        struct run r = {.arena = a, .test = test, .result = &cases[i], .world = s->world};
        run_steps(&r);
        qd_world_free(s->world);
        s->world = NULL;
        report->passed += cases[i].passed;
        report->failed += !cases[i].passed;
    }
}

static void session_body(struct session *s)
{
    struct qd_compiler *c = &s->compiler;
    struct qd_test_file file = {0};
    if (!qd_file_read(s->path, QD_TEST_BYTES_MAX, &s->text, c->problems)) {
        return;
    }
    const struct qd_node *root =
        qd_node_parse(c->arena, c->file, s->text.bytes, s->text.size, c->problems);
    if (root == NULL) {
        return;
    }
    qd_test_file_read_policy(c, root, &file);
    const char *policy_path =
        qd_problems_errors(c->problems) == 0 ? find_policy(s, &file, root) : NULL;
    if (policy_path == NULL) {
        return;
    }
    s->policy = qd_policy_load_file(policy_path, c->problems);
    if (s->policy == NULL) {
        return;
    }
    c->policy = s->policy;
    qd_test_file_read(c, root, &file);
    if (qd_problems_errors(c->problems) > 0) {
        return;
    }
    s->owned->report.file = c->file;
    s->owned->report.policy_file = qd_arena_text(c->arena, policy_path, strlen(policy_path));
    run_all(s, &file);
}

static bool session_guarded(struct session *s)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_problems_add(s->compiler.problems, QD_SEVERITY_ERROR, s->path, 0, 0, "out of memory");
        return false;
    }
    qd_arena_init(&s->owned->arena, &oom);
    s->compiler.file = qd_arena_text(&s->owned->arena, s->path, strlen(s->path));
    session_body(s);
    s->owned->arena.oom = NULL;
    return true;
}

struct qd_policy_test_report *qd_policy_test_run(const char *path, const char *policy_path,
                                                 struct qd_problems *problems)
{
    size_t errors = qd_problems_errors(problems);
    struct owned_report *owned = calloc(1, sizeof *owned);
    struct session *s = calloc(1, sizeof *s);
    bool good = owned != NULL && s != NULL;
    if (good) {
        s->owned = owned;
        s->path = path;
        s->policy_path = policy_path;
        s->compiler = (struct qd_compiler){.arena = &owned->arena, .problems = problems};
        good = session_guarded(s);
        qd_file_release(&s->text);
        qd_world_free(s->world);
        qd_policy_free(s->policy);
    } else {
        qd_problems_add(problems, QD_SEVERITY_ERROR, path, 0, 0, "out of memory");
    }
    free(s);
    qd_problems_sort(problems);
    if (!good || qd_problems_errors(problems) > errors) {
        qd_policy_test_free(owned != NULL ? &owned->report : NULL);
        return NULL;
    }
    return &owned->report;
}

void qd_policy_test_free(struct qd_policy_test_report *report)
{
    if (report == NULL) {
        return;
    }
    struct owned_report *owned = (struct owned_report *)report;
    qd_arena_release(&owned->arena);
    free(owned);
}

void qd_policy_test_print(const struct qd_policy_test_report *report, FILE *out)
{
    for (size_t i = 0; i < report->case_count; i++) {
        const struct qd_policy_test_case *t = &report->cases[i];
        if (t->passed) {
            fprintf(out, "PASS  %s\n", t->name);
        } else {
            fprintf(out, "FAIL  %s\n      %s:%u: %s\n", t->name, report->file, t->failure.line,
                    t->failure.message);
        }
    }
    fprintf(out, "%zu passed, %zu failed (%s)\n", report->passed, report->failed,
            report->policy_file);
}

void qd_policy_test_print_json(const struct qd_policy_test_report *report, FILE *out)
{
    fputs("{\"file\":", out);
    qd_json_text(out, report->file);
    fputs(",\"policy\":", out);
    qd_json_text(out, report->policy_file);
    fprintf(out, ",\"passed\":%zu,\"failed\":%zu,\"tests\":[", report->passed, report->failed);
    for (size_t i = 0; i < report->case_count; i++) {
        const struct qd_policy_test_case *t = &report->cases[i];
        fprintf(out, "%s{\"name\":", i > 0 ? "," : "");
        qd_json_text(out, t->name);
        fprintf(out, ",\"line\":%u,\"passed\":%s", t->line, t->passed ? "true" : "false");
        if (!t->passed) {
            fprintf(out, ",\"failure\":{\"line\":%u,\"message\":", t->failure.line);
            qd_json_text(out, t->failure.message);
            fputs("}", out);
        }
        fputs("}", out);
    }
    fputs("]}\n", out);
}
