/* tests/data/rls: each example decides as the lines in it say, asked as Envoy asks (I3). Lines that
 * begin with `#>` are one after the other, in a node of their own:
 *
 *   #> [REQUEST'S HITS] DESCRIPTOR | DESCRIPTOR ... -> WHOLE: STATUS | STATUS ... [METADATA]
 *   #> wait SECONDS
 *
 * A descriptor: key=value ..., and hits:N, refund, limit:N/UNIT. A status: its code, the limit
 * ([NAME:]N/UNIT, or - for none) and what remains. */
#include "server/rpc/call.h"
#include "server/rpc/rls.h"
#include "server/rpc/server_internal.h"
#include "tests/lib/failalloc.h"
#include "tests/unit/rpc/served.h"
#include "tests/unit/rpc/struct_text.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Envoy__Service__Ratelimit__V3__RateLimitResponse response_message;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse__DescriptorStatus status_message;

TestSuite(rls_examples, .timeout = 120);

/* --- a node with rate limits, on a clock that only `wait` moves --- */

static int64_t now_ns;

static struct qd_mono_ns mono(void *context)
{
    (void)context;
    return (struct qd_mono_ns){(uint64_t)now_ns};
}

static struct qd_wall_ns wall(void *context)
{
    (void)context;
    return (struct qd_wall_ns){now_ns};
}

struct world {
    struct served served;
    struct qd_rpc rpc; /* as much of it as a decision looks at */
    struct qd_place place;
};

static struct world *world_new(struct qd_rls_rules *rules)
{
    struct world *w = calloc(1, sizeof(*w));

    now_ns = INT64_C(1600000000) * QD_NS_PER_S; /* 26:40 into an hour, a Sunday */
    served_open(&w->served, &(struct served_with){.clock = {mono, wall, NULL}, .no_server = true});
    w->rpc.node = w->served.node;
    w->rpc.config.rls_options.metadata = true;
    atomic_init(&w->rpc.rls, qd_rls_set_new(rules));
    w->place.node = w->served.node;
    cr_assert(qd_place_init(&w->place, &w->rpc));
    return w;
}

static void world_free(struct world *w)
{
    qd_place_release(&w->place);
    qd_rls_set_free(atomic_load(&w->rpc.rls));
    served_close(&w->served);
    free(w);
}

/* --- requests --- */

static int unit_of(const char *name)
{
    return (int)qd_rls_unit_parse((struct qd_str){name, strlen(name)});
}

/* One word of a descriptor. */
static void put_word(struct qd_out *out, const char *word)
{
    const char *equals = strchr(word, '=');
    const char *slash = strchr(word, '/');

    if (strcmp(word, "refund") == 0) {
        qd_out_number(out, 4, 1);
    } else if (strncmp(word, "hits:", 5) == 0) {
        uint8_t *hits = qd_out_begin(out, 3);
        qd_out_number(out, 1, strtoull(word + 5, NULL, 10));
        qd_out_end(out, hits);
    } else if (strncmp(word, "limit:", 6) == 0 && slash != NULL) {
        uint8_t *limit = qd_out_begin(out, 2);
        qd_out_number(out, 1, strtoull(word + 6, NULL, 10));
        qd_out_number(out, 2, (uint64_t)unit_of(slash + 1));
        qd_out_end(out, limit);
    } else {
        cr_assert(equals != NULL, "%s", word);
        uint8_t *entry = qd_out_begin(out, 1);
        qd_out_bytes(out, 1, word, (size_t)(equals - word));
        qd_out_text(out, 2, equals + 1);
        qd_out_end(out, entry);
    }
}

/* Encodes the request of a line, whose words are cut at blanks. */
static void put_request(struct qd_out *out, const char *domain, char *words)
{
    char *rest = NULL;
    uint8_t *descriptor = NULL;

    qd_out_text(out, 1, domain);
    for (char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (descriptor == NULL && isdigit((unsigned char)word[0])) {
            qd_out_number(out, 3, strtoull(word, NULL, 10));
            continue;
        }
        if (strcmp(word, "|") == 0) {
            qd_out_end(out, descriptor);
            descriptor = qd_out_begin(out, 2);
            continue;
        }
        descriptor = descriptor != NULL ? descriptor : qd_out_begin(out, 2);
        put_word(out, word);
    }
    qd_out_end(out, descriptor);
}

/* --- answers --- */

static const char *code_name(int code)
{
    return code == QD_RLS_OK ? "OK" : code == QD_RLS_OVER_LIMIT ? "OVER_LIMIT" : "UNKNOWN";
}

static void print_status(FILE *out, const status_message *status)
{
    (void)fprintf(out, "%s ", code_name((int)status->code));
    if (status->current_limit != NULL) {
        const char *name = status->current_limit->name;
        (void)fprintf(out, "%s%s%u/%s", name, name[0] != '\0' ? ":" : "",
                      status->current_limit->requests_per_unit,
                      qd_rls_unit_name((int)status->current_limit->unit));
    } else {
        (void)fputs("-", out);
    }
    (void)fprintf(out, " %u", status->limit_remaining);
}

/* What the answer's bytes say, as the lines do; good until the next call. */
static const char *answer_text(const struct qd_out *bytes)
{
    static char text[4096];
    response_message *m = envoy__service__ratelimit__v3__rate_limit_response__unpack(
        NULL, qd_out_used(bytes), bytes->begin);
    FILE *out = fmemopen(text, sizeof(text), "w");

    cr_assert(m != NULL && m->dynamic_metadata != NULL);
    (void)fprintf(out, "%s:", code_name((int)m->overall_code));
    for (size_t i = 0; i < m->n_statuses; i++) {
        (void)fputs(i > 0 ? " | " : " ", out);
        print_status(out, m->statuses[i]);
    }
    for (size_t i = 0; i < m->dynamic_metadata->n_fields; i++) {
        if (strcmp(m->dynamic_metadata->fields[i]->key, "metadata") == 0) {
            (void)fputc(' ', out);
            struct_text_print_value(out, m->dynamic_metadata->fields[i]->value);
        }
    }
    (void)fclose(out);
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(m, NULL);
    return text;
}

/* --- files --- */

/* Asks for the words of a line. */
static enum qd_error_code ask(struct world *w, const char *domain, char *words,
                              struct qd_error *ret_error)
{
    static uint8_t request[8192];
    struct qd_out out;

    qd_out_init(&out, request, sizeof(request));
    put_request(&out, domain, words);
    cr_assert_not(out.full);
    qd_place_clear(&w->place);
    (void)qd_worker_enter(w->place.worker);
    enum qd_error_code code = qd_rls_decide(
        &w->place, NULL, (struct qd_str){(const char *)request, qd_out_used(&out)}, ret_error);
    qd_worker_leave(w->place.worker);
    return code;
}

static void check_line(struct world *w, const char *path, const char *domain, char *line)
{
    struct qd_error error = {.code = QD_ERROR_NONE};

    if (strncmp(line, "wait ", 5) == 0) {
        now_ns += strtoll(line + 5, NULL, 10) * QD_NS_PER_S;
        return;
    }
    char *arrow = strstr(line, " -> ");
    cr_assert(arrow != NULL, "%s: %s", path, line);
    *arrow = '\0';
    char *said = strdup(line);
    enum qd_error_code code = ask(w, domain, line, &error);
    cr_expect_eq(code, QD_ERROR_NONE, "%s: %s: %s", path, said, error.text);
    if (code == QD_ERROR_NONE) {
        const char *got = answer_text(&w->place.out);
        cr_expect_str_eq(got, arrow + 4, "%s: %s -> %s, not %s", path, said, got, arrow + 4);
    }
    free(said);
}

/* Returns how many lines there were. */
static size_t check_file(const char *path)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;
    size_t lines = 0;

    cr_assert(in != NULL && getdelim(&text, &size, '\0', in) > 0, "%s", path);
    (void)fclose(in);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes(path, text, strlen(text), problems);
    cr_assert(rules != NULL && qd_rls_rules_failed_count(rules) == 0, "%s", path);
    const char *domain = qd_rls_rules_file(rules, 0)->domain->name.ptr;
    struct world *w = world_new(rules);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "#> ", 3) == 0) {
            check_line(w, path, domain, line + 3);
            lines++;
        }
    }
    world_free(w);
    free(text);
    qd_problems_free(problems);
    return lines;
}

Test(rls_examples, I3_every_example_is_decided_as_it_says)
{
    char dir[512];
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    (void)snprintf(dir, sizeof(dir), "%s/tests/data/rls", getenv("QUOTAD_SOURCE_DIR"));
    struct qd_rls_rules *rules = qd_rls_rules_load_dir(dir, false, problems);
    cr_assert_not_null(rules);
    size_t files = qd_rls_rules_file_count(rules);
    cr_expect_geq(files, 17);
    for (size_t i = 0; i < files; i++) {
        const char *path = qd_rls_rules_file(rules, i)->path;
        cr_expect_gt(check_file(path), 1, "%s says too little", path);
    }
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
}

/* --- what a thread keeps --- */

static struct qd_rls_rules *load_wildcards(unsigned count)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&yaml, &size);
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    cr_assert(out != NULL && problems != NULL);
    (void)fputs("domain: d\ndescriptors:\n", out);
    for (unsigned i = 0; i < count; i++) {
        (void)fprintf(out, "- {key: k, value: 'a*b%u*c'}\n", i);
    }
    (void)fclose(out);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("d.yaml", yaml, size, problems);
    cr_assert(rules != NULL && qd_rls_rules_failed_count(rules) == 0);
    qd_problems_free(problems);
    free(yaml);
    return rules;
}

/* Allocations of one call. */
static uint64_t allocations(struct world *w)
{
    char words[] = "k=axb7c";
    struct qd_fault count = {.countdown = -1};
    struct qd_error error;

    qd_failalloc_arm(&count);
    enum qd_error_code code = ask(w, "d", words, &error);
    qd_failalloc_disarm();
    cr_assert_eq(code, QD_ERROR_NONE);
    return count.calls;
}

Test(rls_examples, X2_the_room_for_a_files_wildcards_goes_when_another_file_is_published)
{
    struct world *w = world_new(load_wildcards(1000));
    uint64_t first = allocations(w);

    cr_expect_gt(first, 0);
    cr_expect_eq(allocations(w), 0);
    struct qd_rls_set *small = qd_rls_set_new(load_wildcards(10));
    qd_rls_set_free(atomic_exchange(&w->rpc.rls, small));
    cr_expect_eq(allocations(w), first, "the room of the larger file is still there");
    cr_expect_eq(allocations(w), 0);
    world_free(w);
}
