/* The figures of a replay: a bar while it runs, a table and totals after it. */
#include "client/ctl/replay.h"
#include "client/ctl/rpc.h"
#include "client/ctl/text.h"
#include "server/core/decimal.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void replay_progress(struct ctl *ctl, struct replay *replay, size_t sent, bool last)
{
    enum {
        WIDTH = 30
    };
    char bar[WIDTH + 1];
    if (isatty(fileno(ctl->err)) != 1) {
        return;
    }
    size_t full = sent * WIDTH / replay->trace.count;
    for (size_t i = 0; i < WIDTH; i++) {
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    }
    bar[WIDTH] = '\0';
    (void)fprintf(ctl->err, "\r[%s] %zu/%zu  allowed %llu  denied %llu  running %zu\033[K", bar,
                  sent, replay->trace.count, (unsigned long long)replay->allowed,
                  (unsigned long long)replay->denied, replay->running_count);
    (void)fputs(last ? "\n" : "", ctl->err);
    (void)fflush(ctl->err);
}

/* "unpriced" where nothing of it has a price: it is not $0 (P8). */
static struct ctl_text pico_text(const struct replay_cell *cell, replay_pico pico)
{
    char digits[QD_DECIMAL_TEXT_MAX] = "";
    if (pico != 0 || cell->unpriced == 0) {
        (void)qd_decimal_format(pico, 0, digits);
    }
    return ctl_pico_text(digits);
}

/* "pro.tokens 12, pro.cost 3" */
static void deniers_text(const struct replay *replay, const struct replay_cell *cell, char *ret,
                         size_t size)
{
    size_t at = 0;
    ret[0] = '\0';
    for (size_t k = 0; k < REPLAY_DENIERS_MAX && cell->denied_by[k].limit != 0; k++) {
        int wrote = snprintf(ret + at, size - at, "%s%s %llu", k > 0 ? ", " : "",
                             replay->limits[cell->denied_by[k].limit - 1],
                             (unsigned long long)cell->denied_by[k].count);
        if (wrote < 0 || (size_t)wrote >= size - at) {
            return;
        }
        at += (size_t)wrote;
    }
}

/* Cells with requests, the most tokens first. */
static int more_tokens(const void *a, const void *b)
{
    const struct replay_cell *x = *(const struct replay_cell *const *)a;
    const struct replay_cell *y = *(const struct replay_cell *const *)b;
    int64_t left = x->input + x->cached + x->output;
    int64_t right = y->input + y->cached + y->output;
    if (left != right) {
        return left < right ? 1 : -1;
    }
    return x < y ? -1 : x > y ? 1 : 0;
}

static const struct replay_cell **sorted(const struct replay *replay, size_t *ret_count)
{
    size_t all = replay->options.tenants * replay->options.model_count;
    const struct replay_cell **list = calloc(all + 1, sizeof(const struct replay_cell *));
    *ret_count = 0;
    for (size_t i = 0; list != NULL && i < all; i++) {
        if (replay->cells[i].requests > 0) {
            list[(*ret_count)++] = &replay->cells[i];
        }
    }
    if (list != NULL) {
        qsort(list, *ret_count, sizeof(const struct replay_cell *), more_tokens);
    }
    return list;
}

static void add_cell(struct replay_cell *sum, const struct replay_cell *cell)
{
    sum->requests += cell->requests;
    sum->admitted += cell->admitted;
    sum->denied += cell->denied;
    sum->failed += cell->failed;
    sum->estimated += cell->estimated;
    sum->held += cell->held;
    sum->input += cell->input;
    sum->cached += cell->cached;
    sum->output += cell->output;
    sum->gpu_ms += cell->gpu_ms;
    sum->cost += cell->cost;
    sum->charge += cell->charge;
    sum->unpriced += cell->unpriced;
}

static void print_row(struct ctl_table *table, const char *tenant, const char *model,
                      const struct replay_cell *cell, const char *deniers)
{
    int64_t spent = cell->input + cell->cached + cell->output;
    ctl_table_cell(table, tenant);
    ctl_table_cell(table, model);
    ctl_table_cell(table, ctl_count_text((int64_t)cell->requests).text);
    ctl_table_cell(table, ctl_count_text((int64_t)cell->admitted).text);
    ctl_table_cell(table, ctl_count_text((int64_t)cell->denied).text);
    ctl_table_cell(table, ctl_count_text(cell->estimated).text);
    ctl_table_cell(table, ctl_count_text(cell->held).text);
    ctl_table_cell(table, ctl_count_text(spent).text);
    ctl_table_cell(table, ctl_share_text(cell->cached, cell->input + cell->cached).text);
    ctl_table_cell(table, ctl_count_text(cell->gpu_ms / 1000).text);
    ctl_table_cell(table, pico_text(cell, cell->cost).text);
    ctl_table_cell(table, pico_text(cell, cell->charge).text);
    ctl_table_cell(table, deniers);
}

static void print_table(struct ctl *ctl, const struct replay *replay)
{
    static const char *const heads[] = {
        "tenant", "model",   ">requests", ">admitted", ">denied", ">estimated", ">held",
        ">spent", ">cached", ">gpu s",    ">cost",     ">charge", "denied by"};
    size_t count = 0;
    const struct replay_cell **list = sorted(replay, &count);
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    struct replay_cell rest = {0};
    struct replay_cell sum = {0};
    char name[512];
    char deniers[600];
    for (size_t i = 0; list != NULL && i < count; i++) {
        size_t index = (size_t)(list[i] - replay->cells);
        add_cell(&sum, list[i]);
        if (i >= replay->options.top && count > replay->options.top + 1) {
            add_cell(&rest, list[i]);
            continue;
        }
        replay_tenant_name(replay, (uint32_t)(index / replay->options.model_count), name,
                           sizeof name);
        deniers_text(replay, list[i], deniers, sizeof deniers);
        print_row(table, name, replay->options.models[index % replay->options.model_count], list[i],
                  deniers);
    }
    if (rest.requests > 0) {
        (void)snprintf(name, sizeof name, "(%zu more)", count - replay->options.top);
        print_row(table, name, "", &rest, "");
    }
    print_row(table, "all", "", &sum, "");
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    free(list);
    if (sum.unpriced > 0) {
        (void)fprintf(ctl->out, "%s parts are not priced: their money is not in the table\n",
                      ctl_count_text((int64_t)sum.unpriced).text);
    }
}

static void print_sums(struct ctl *ctl, const struct replay *replay)
{
    const struct {
        const char *name;
        const struct replay_sums *sums;
    } rows[] = {{"offered", &replay->offered},
                {"admitted", &replay->admitted},
                {"booked", &replay->booked}};
    /* Plain numbers, for scripts: awk '/^totals booked/ {print $4 + $5 + $6}' */
    for (size_t i = 0; i < 3; i++) {
        const struct replay_sums *s = rows[i].sums;
        int64_t tokens = s->input + s->cached + s->output;
        (void)fprintf(ctl->out,
                      "totals %-8s requests=%llu input_tokens=%lld cached_input_tokens=%lld "
                      "output_tokens=%lld tokens=%lld\n",
                      rows[i].name, (unsigned long long)s->requests, (long long)s->input,
                      (long long)s->cached, (long long)s->output, (long long)tokens);
    }
}

void replay_print(struct ctl *ctl, const struct replay *replay)
{
    print_table(ctl, replay);
    if (replay->options.gpu) {
        (void)fprintf(ctl->out,
                      "gpu_ms = (%lld us x input + %lld us x cached + %lld us x output) / 1000, "
                      "rounded up; reported by the pool\n",
                      (long long)REPLAY_GPU_US_INPUT, (long long)REPLAY_GPU_US_CACHED,
                      (long long)REPLAY_GPU_US_OUTPUT);
    }
    (void)fprintf(ctl->out,
                  "%llu disconnected, %llu lost (never reported), %llu reported twice, of which "
                  "%llu were recognised\n",
                  (unsigned long long)replay->disconnected, (unsigned long long)replay->lost,
                  (unsigned long long)replay->twice, (unsigned long long)replay->recognised);
    if (replay->booked_before > 0) {
        (void)fprintf(ctl->out,
                      "%llu reports were booked before, by run \"%s\": they are shown, not booked "
                      "twice\n",
                      (unsigned long long)replay->booked_before, replay->options.run);
    }
    print_sums(ctl, replay);
    (void)fprintf(ctl->out, "replay: %llu requests, %llu allowed, %llu denied",
                  (unsigned long long)replay->offered.requests, (unsigned long long)replay->allowed,
                  (unsigned long long)replay->denied);
    for (size_t i = 0; i < replay->limit_count; i++) {
        (void)fprintf(ctl->out, "%s%s %llu", i == 0 ? " (" : ", ", replay->limits[i],
                      (unsigned long long)replay->limit_denied[i]);
    }
    (void)fputs(replay->limit_count > 0 ? ")" : "", ctl->out);
    if (replay->failed + replay->report_failed > 0) {
        (void)fprintf(ctl->out, ", %llu checks and %llu reports failed",
                      (unsigned long long)replay->failed,
                      (unsigned long long)replay->report_failed);
    }
    (void)fprintf(ctl->out, "; took %s\n", ctl_span_text(replay->elapsed_ns).text);
}

/* ---- JSON */

static struct json_object *json_sums(const struct replay_sums *sums)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "requests", json_object_new_uint64(sums->requests));
    json_object_object_add(object, "input_tokens", json_object_new_int64(sums->input));
    json_object_object_add(object, "cached_input_tokens", json_object_new_int64(sums->cached));
    json_object_object_add(object, "output_tokens", json_object_new_int64(sums->output));
    json_object_object_add(object, "tokens",
                           json_object_new_int64(sums->input + sums->cached + sums->output));
    return object;
}

static void json_pico(struct json_object *object, const char *name, replay_pico pico)
{
    char digits[QD_DECIMAL_TEXT_MAX];
    (void)qd_decimal_format(pico, 0, digits);
    json_object_object_add(object, name, json_object_new_string(digits));
}

static struct json_object *json_cell(const struct replay *replay, const struct replay_cell *cell)
{
    struct json_object *object = json_object_new_object();
    struct json_object *deniers = json_object_new_object();
    size_t index = (size_t)(cell - replay->cells);
    char name[512];
    replay_tenant_name(replay, (uint32_t)(index / replay->options.model_count), name, sizeof name);
    json_object_object_add(object, "tenant", json_object_new_string(name));
    json_object_object_add(
        object, "model",
        json_object_new_string(replay->options.models[index % replay->options.model_count]));
    json_object_object_add(object, "requests", json_object_new_uint64(cell->requests));
    json_object_object_add(object, "admitted", json_object_new_uint64(cell->admitted));
    json_object_object_add(object, "denied", json_object_new_uint64(cell->denied));
    json_object_object_add(object, "failed", json_object_new_uint64(cell->failed));
    for (size_t k = 0; k < REPLAY_DENIERS_MAX && cell->denied_by[k].limit != 0; k++) {
        json_object_object_add(deniers, replay->limits[cell->denied_by[k].limit - 1],
                               json_object_new_uint64(cell->denied_by[k].count));
    }
    json_object_object_add(object, "denied_by", deniers);
    json_object_object_add(object, "estimated_tokens", json_object_new_int64(cell->estimated));
    json_object_object_add(object, "held_tokens", json_object_new_int64(cell->held));
    json_object_object_add(object, "input_tokens", json_object_new_int64(cell->input));
    json_object_object_add(object, "cached_input_tokens", json_object_new_int64(cell->cached));
    json_object_object_add(object, "output_tokens", json_object_new_int64(cell->output));
    json_object_object_add(object, "gpu_ms", json_object_new_int64(cell->gpu_ms));
    json_pico(object, "cost_pico_usd", cell->cost);
    json_pico(object, "charge_pico_usd", cell->charge);
    json_object_object_add(object, "unpriced_parts", json_object_new_uint64(cell->unpriced));
    return object;
}

void replay_print_json(struct ctl *ctl, const struct replay *replay)
{
    struct json_object *object = json_object_new_object();
    struct json_object *totals = json_object_new_object();
    struct json_object *deniers = json_object_new_object();
    struct json_object *rows = json_object_new_array();
    size_t count = 0;
    const struct replay_cell **list = sorted(replay, &count);
    json_object_object_add(object, "trace", json_object_new_string(replay->options.path));
    json_object_object_add(object, "run", json_object_new_string(replay->options.run));
    json_object_object_add(object, "seed", json_object_new_uint64(replay->options.seed));
    json_object_object_add(object, "elapsed_ns", json_object_new_int64(replay->elapsed_ns));
    json_object_object_add(totals, "offered", json_sums(&replay->offered));
    json_object_object_add(totals, "admitted", json_sums(&replay->admitted));
    json_object_object_add(totals, "booked", json_sums(&replay->booked));
    json_object_object_add(object, "totals", totals);
    json_object_object_add(object, "allowed", json_object_new_uint64(replay->allowed));
    json_object_object_add(object, "denied", json_object_new_uint64(replay->denied));
    for (size_t i = 0; i < replay->limit_count; i++) {
        json_object_object_add(deniers, replay->limits[i],
                               json_object_new_uint64(replay->limit_denied[i]));
    }
    json_object_object_add(object, "denied_by", deniers);
    json_object_object_add(object, "failed_checks", json_object_new_uint64(replay->failed));
    json_object_object_add(object, "failed_reports", json_object_new_uint64(replay->report_failed));
    json_object_object_add(object, "disconnected", json_object_new_uint64(replay->disconnected));
    json_object_object_add(object, "lost", json_object_new_uint64(replay->lost));
    json_object_object_add(object, "reported_twice", json_object_new_uint64(replay->twice));
    json_object_object_add(object, "recognised_repeats",
                           json_object_new_uint64(replay->recognised));
    json_object_object_add(object, "booked_before", json_object_new_uint64(replay->booked_before));
    json_object_object_add(object, "gpu_ms", json_object_new_int64(replay->gpu_ms));
    for (size_t i = 0; list != NULL && i < count; i++) {
        json_object_array_add(rows, json_cell(replay, list[i]));
    }
    json_object_object_add(object, "rows", rows);
    free(list);
    (void)ctl_json_print(ctl, object);
}
