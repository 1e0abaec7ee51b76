/* What one decision costs in the core, with no RPC around it.
 *
 *     core_decide [tenants] [decisions] [charge|reserve] [alone] [charge|reserve]
 *
 * Each tenant is a path of its own of three levels (organisation/team/key) with four limits: a
 * sliding window and a token bucket on the key, a token bucket on the team, a calendar budget in
 * money on the organisation; so a million tenants are four million counters. A decision is: hash
 * the path into a binding key, find the binding, form and price the estimate, test four counters,
 * charge four counters. Tenants come in random order. Nothing is prefetched from outside
 * (qd_core_prefetch is not called).
 *
 * Modes: "charge" takes no reservation (rates are charged, the budget is tested); "reserve" makes
 * one each time, with a table that is full and steady: holds expire at the rate at which they are
 * made, one by one inside the checks. "charge" is measured in batches of 64 as well, where what a
 * decision needs is asked for ahead, as StreamQuota does.
 *
 * Timing: every decision is timed by itself with the time-stamp counter; the counter's own cost,
 * the median of back-to-back readings, is subtracted. The order of tenants is drawn before the
 * clock runs.
 */
#include "server/core/core.h"
#include "server/core/hash.h"
#include "server/core/slice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <x86intrin.h>

#define SEED        UINT64_C(0x5eed)
#define BATCH_WARM  200000U
#define HOLD_TTL_NS (3 * QD_NS_PER_S)
#define LIMIT_COUNT 4U

static const struct qd_zone_transition utc_transitions[] = {{INT64_MIN, 0}};
static const struct qd_zone utc = {"UTC", utc_transitions, 1};

static struct qd_limit limits[LIMIT_COUNT];
static const uint8_t depths[LIMIT_COUNT] = {3, 3, 2, 1};

static struct qd_price_line price_lines[] = {
    {.meter = QD_METER_INPUT_TOKENS, .amount_pico = 2500000, .quantity = 1},
    {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = 10000000, .quantity = 1},
};
static struct qd_price_sheet price_sheet = {.version = 1, .lines = price_lines, .line_count = 2};
static struct qd_price_list prices = {.name = "gpt-4o", .sheets = &price_sheet, .count = 1};

static void weigh(struct qd_limit *l, const uint8_t *meters, unsigned count)
{
    l->admit.count = (uint8_t)count;
    l->admit.den = 1;
    for (unsigned i = 0; i < count; i++) {
        l->admit.item[i] = (struct qd_weight){.meter = meters[i], .num = 1};
    }
    l->settle = l->admit;
}

static void make_limits(void)
{
    const uint8_t requests[] = {QD_METER_REQUESTS};
    const uint8_t tokens[] = {QD_METER_INPUT_TOKENS, QD_METER_CACHED_INPUT_TOKENS,
                              QD_METER_CACHE_WRITE_TOKENS, QD_METER_OUTPUT_TOKENS,
                              QD_METER_REASONING_TOKENS};
    const uint8_t cost[] = {QD_METER_COST};
    const char *const names[LIMIT_COUNT] = {"requests", "tokens", "team-tokens", "cost"};
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        limits[i] = (struct qd_limit){.index = i + 1, .name = names[i], .refunds = true};
        limits[i].window_ns = QD_NS_PER_MINUTE;
    }
    limits[0].algorithm = QD_SLIDING_WINDOW;
    limits[0].slots = 60;
    weigh(&limits[0], requests, 1);
    limits[1].algorithm = QD_TOKEN_BUCKET;
    weigh(&limits[1], tokens, 5);
    limits[2].algorithm = QD_TOKEN_BUCKET;
    weigh(&limits[2], tokens, 5);
    limits[3].algorithm = QD_CALENDAR;
    limits[3].calendar = (struct qd_calendar){.unit = QD_CALENDAR_MONTH, .anchor = 1, .zone = &utc};
    limits[3].money = true;
    weigh(&limits[3], cost, 1);
}

static struct qd_str path_of(uint32_t tenant, unsigned depth, char buffer[64])
{
    int n = depth == 1   ? snprintf(buffer, 64, "org-%07u", tenant)
            : depth == 2 ? snprintf(buffer, 64, "org-%07u/team-1", tenant)
                         : snprintf(buffer, 64, "org-%07u/team-1/key-1", tenant);
    return (struct qd_str){.ptr = buffer, .len = (size_t)n};
}

static struct qd_hash128 key_of(struct qd_str path, struct qd_str model)
{
    struct qd_hasher h;
    qd_hasher_init(&h, SEED);
    qd_hasher_str(&h, path);
    qd_hasher_str(&h, model);
    return qd_hasher_end(&h);
}

struct slice {
    struct qd_core *core;
    size_t size;
    uint32_t tenants;
    char (*paths)[32]; /* what a request would bring: made before the clock runs */
};

static void *map_huge(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    (void)madvise(p, size, MADV_HUGEPAGE);
    return p;
}

static const struct qd_str model_name = {"gpt-4o", 6};

static void bind_tenant(struct slice *s, uint32_t tenant, struct qd_wall_ns now)
{
    static const int64_t amounts[LIMIT_COUNT] = {600000, 1000000000, 2000000000,
                                                 INT64_C(500000000000000)};
    struct qd_bind_item items[LIMIT_COUNT];
    char buffers[LIMIT_COUNT][64];
    char path[64];
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct qd_hasher h;
        struct qd_str name = path_of(tenant, depths[i], buffers[i]);
        qd_hasher_init(&h, SEED);
        qd_hasher_str(&h, name);
        qd_hasher_u64(&h, i);
        items[i] = (struct qd_bind_item){.limit = &limits[i],
                                         .amount = amounts[i],
                                         .burst = amounts[i],
                                         .counter = qd_hasher_end(&h),
                                         .depth = depths[i],
                                         .name = name};
    }
    struct qd_str whole = path_of(tenant, 3, path);
    struct qd_bind bind = {.key = key_of(whole, model_name),
                           .epoch = 1,
                           .valid_until.ns = QD_WALL_NEVER,
                           .tenant = whole,
                           .items = items,
                           .item_count = LIMIT_COUNT};
    if (qd_core_bind(s->core, NULL, &bind, now, NULL) != QD_BOUND) {
        fprintf(stderr, "core_decide: tenant %u finds no room\n", tenant);
        exit(1);
    }
}

static struct slice make_slice(uint32_t tenants, uint32_t holds, struct qd_wall_ns now)
{
    struct qd_core_config config = {.hash_seed = SEED,
                                    .narrow_windows = tenants,
                                    .buckets = 2 * tenants,
                                    .gauges = tenants,
                                    .bindings = tenants,
                                    .reservations = holds,
                                    .roots = tenants,
                                    .name_bytes = (size_t)tenants * 96 + 4096};
    struct slice s = {.tenants = tenants};
    s.size = qd_core_memory(&config);
    s.core = qd_core_init(map_huge(s.size), s.size, &config);
    s.paths = map_huge((size_t)tenants * sizeof(s.paths[0]));
    for (uint32_t i = 0; i < tenants; i++) {
        char buffer[64];
        struct qd_str path = path_of(i, 3, buffer);
        memcpy(s.paths[i], path.ptr, path.len + 1);
        bind_tenant(&s, i, now);
    }
    return s;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double ns_per_tick(void)
{
    struct timespec a;
    struct timespec b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    uint64_t from = __rdtsc();
    do {
        clock_gettime(CLOCK_MONOTONIC, &b);
    } while ((b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec) < 50000000);
    uint64_t ticks = __rdtsc() - from;
    return (double)((b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec)) / (double)ticks;
}

/* Wait for everything before, read, and let nothing after start earlier. */
static inline uint64_t ticks_now(void)
{
    unsigned cpu;
    uint64_t t = __rdtscp(&cpu);
    _mm_lfence();
    return t;
}

static uint32_t clock_cost(void)
{
    enum {
        SAMPLES = 10001
    };
    static uint32_t samples[SAMPLES];
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t from = ticks_now();
        samples[i] = (uint32_t)(ticks_now() - from);
    }
    qsort(samples, SAMPLES, sizeof(samples[0]), compare);
    return samples[SAMPLES / 2];
}

/* What one dependent miss costs here and now: a walk over random lines of as much memory as a
 * million tenants take. A decision has two of them in a row (the binding, then all counters at
 * once). */
static double miss_ns(double tick_ns)
{
    enum {
        NODES = 1 << 20,
        STRIDE = 1408,
        HOPS = 64,
        BATCHES = 2001
    };
    static uint32_t took[BATCHES];
    char *memory = map_huge((size_t)NODES * STRIDE);
    uint32_t *order = malloc(sizeof(order[0]) * NODES);
    uint64_t random = 12345;
    for (uint32_t i = 0; i < NODES; i++) {
        order[i] = i;
    }
    for (uint32_t i = NODES - 1; i > 0; i--) { /* one cycle through all (Sattolo) */
        uint32_t j = (uint32_t)(next_random(&random) % i);
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (uint32_t i = 0; i < NODES; i++) {
        *(uint32_t *)(void *)(memory + (size_t)i * STRIDE) = order[i];
    }
    uint32_t at = 0;
    for (unsigned b = 0; b < BATCHES; b++) {
        uint64_t from = ticks_now();
        for (unsigned h = 0; h < HOPS; h++) {
            at = *(volatile uint32_t *)(void *)(memory + (size_t)at * STRIDE);
        }
        took[b] = (uint32_t)(ticks_now() - from);
    }
    qsort(took, BATCHES, sizeof(took[0]), compare);
    free(order);
    munmap(memory, (size_t)NODES * STRIDE);
    uint32_t median = took[BATCHES / 2];
    return median * tick_ns / HOPS;
}

/* By a pointer that the compiler cannot see through: a call of its own, which a profiler can tell
 * from what surrounds it. */
typedef void (*decide_fn)(struct qd_core *, struct qd_core *, const struct qd_check *,
                          struct qd_wall_ns, struct qd_verdict *, struct qd_limit_state *,
                          size_t *);
static volatile decide_fn decide_through = qd_core_check;

struct figures {
    double median_ns, p99_ns, mean_ns;
    double batch_ns; /* 0: not measured */
    uint64_t allowed;
};

/* `step_ns` of wall time pass from one check to the next. */
static struct figures run(struct slice *s, uint32_t decisions, bool reserve, int64_t step_ns,
                          struct qd_wall_ns *now, double tick_ns)
{
    uint32_t *order = malloc(sizeof(order[0]) * decisions);
    uint32_t *took = malloc(sizeof(took[0]) * decisions);
    uint64_t random = UINT64_C(88172645463325252);
    for (uint32_t i = 0; i < decisions; i++) {
        order[i] = (uint32_t)(next_random(&random) % s->tenants);
    }
    uint32_t clock_ticks = clock_cost();

    struct qd_candidate candidate = {
        .cost_model = &prices, .max_output_tokens = 400, .max_output_given = true};
    struct qd_check check = {.epoch = 1,
                             .candidates = &candidate,
                             .candidate_count = 1,
                             .ttl_ns = HOLD_TTL_NS,
                             .reserve = reserve,
                             .attempt = 1};
    qd_usage_set(&check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&check.estimate, QD_METER_INPUT_TOKENS, 1200);
    struct qd_verdict verdict;
    struct figures f = {0};
    uint64_t total = 0;
    decide_fn decide = decide_through;
    for (uint32_t i = 0; i < decisions; i++) {
        now->ns += step_ns;
        const char *path = s->paths[order[i]];
        size_t size = strlen(path); /* the request has just been read: its path is in the cache */
        check.request = reserve ? (struct qd_hash128){next_random(&random), next_random(&random)}
                                : (struct qd_hash128){0};
        uint64_t from = ticks_now();
        candidate.binding = key_of((struct qd_str){path, size}, model_name);
        decide(s->core, NULL, &check, *now, &verdict, NULL, NULL);
        uint64_t ticks = ticks_now() - from;
        took[i] = ticks > clock_ticks ? (uint32_t)(ticks - clock_ticks) : 0;
        total += took[i];
        f.allowed += verdict.decision == QD_ALLOW;
    }
    qsort(took, decisions, sizeof(took[0]), compare);
    uint32_t median = took[decisions / 2];
    uint32_t p99 = took[(uint64_t)decisions * 99 / 100];
    f.median_ns = median * tick_ns;
    f.p99_ns = p99 * tick_ns;
    f.mean_ns = (double)total / decisions * tick_ns;
    free(order);
    free(took);
    return f;
}

/* The same decisions, 64 at a time as StreamQuota takes them: each is asked for two before its turn
 * and its counters one before (server/shard/check.h). Returns the median batch's ns a decision. */
static double run_batches(struct slice *s, uint32_t decisions, struct qd_wall_ns *now,
                          double tick_ns)
{
    enum {
        BATCH = 64
    };
    uint32_t batches = decisions / BATCH;
    uint32_t *took = malloc(sizeof(took[0]) * batches);
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    struct qd_candidate candidate = {
        .cost_model = &prices, .max_output_tokens = 400, .max_output_given = true};
    struct qd_check check = {.epoch = 1, .candidates = &candidate, .candidate_count = 1};
    check.ttl_ns = HOLD_TTL_NS;
    check.attempt = 1;
    qd_usage_set(&check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&check.estimate, QD_METER_INPUT_TOKENS, 1200);
    struct qd_verdict verdict;
    for (uint32_t b = 0; b < batches; b++) {
        struct qd_str paths[BATCH + 2];
        struct qd_hash128 keys[BATCH + 2] = {{0}};
        for (unsigned i = 0; i < BATCH; i++) {
            const char *path = s->paths[next_random(&random) % s->tenants];
            paths[i] = (struct qd_str){path, strlen(path)};
        }
        uint64_t from = ticks_now();
        for (unsigned i = 0; i < BATCH + 2; i++) {
            if (i < BATCH) {
                keys[i] = key_of(paths[i], model_name);
                qd_core_prefetch(s->core, keys[i]);
            }
            if (i >= 1 && i <= BATCH) {
                qd_core_prefetch_counters(s->core, NULL, keys[i - 1]);
            }
            if (i >= 2) {
                now->ns += 1000;
                candidate.binding = keys[i - 2];
                qd_core_check(s->core, NULL, &check, *now, &verdict, NULL, NULL);
            }
        }
        took[b] = (uint32_t)(ticks_now() - from);
    }
    qsort(took, batches, sizeof(took[0]), compare);
    uint32_t median = took[batches / 2];
    free(took);
    return median * tick_ns / BATCH;
}

static struct figures measure(uint32_t tenants, uint32_t decisions, bool reserve, double tick_ns,
                              size_t *ret_touched, double *ret_open)
{
    uint32_t holds = 1000000;
    struct qd_wall_ns now = {.ns = INT64_C(1790000000) * QD_NS_PER_S};
    struct slice s = make_slice(tenants, holds, now);
    /* The table is full and steady: TTL / step = its capacity, less the second in which holds wait.
     */
    int64_t step_ns = reserve ? (HOLD_TTL_NS + QD_NS_PER_S) / (holds - 10000) : 1000;
    uint32_t warm = reserve ? 2 * holds : decisions < BATCH_WARM ? decisions : BATCH_WARM;
    run(&s, warm, reserve, step_ns, &now, tick_ns);
    struct figures f = run(&s, decisions, reserve, step_ns, &now, tick_ns);
    struct qd_core_stats stats;
    qd_core_stats(s.core, &stats);
    f.batch_ns = reserve ? 0 : run_batches(&s, decisions, &now, tick_ns);
    if (f.allowed != decisions) {
        printf("note: %" PRIu64 " of %u allowed\n", f.allowed, decisions);
    }
    *ret_touched = s.size;
    *ret_open = (double)stats.reservations_open / holds;
    munmap(s.paths, (size_t)tenants * sizeof(s.paths[0]));
    munmap(s.core, s.size);
    return f;
}

/* What one more counter of a kind adds to a slice, by the slice's own account. `count` points into
 * `config`. */
static double bytes_each(struct qd_core_config *config, uint32_t *count)
{
    enum {
        FEW = 1 << 20
    };
    *count = FEW;
    size_t few = qd_core_memory(config);
    *count = 2 * FEW;
    size_t many = qd_core_memory(config);
    *count = 0;
    return (double)(many - few) / FEW;
}

static void print_memory(void)
{
    struct qd_core_config config = {.hash_seed = SEED};
    double narrow = bytes_each(&config, &config.narrow_windows);
    double wide = bytes_each(&config, &config.wide_windows);
    double bucket = bytes_each(&config, &config.buckets);
    double gauge = bytes_each(&config, &config.gauges);
    printf(
        "bytes a counter, its share of the index and the cold part included: narrow window %.0f, "
        "wide window %.0f, bucket %.0f, gauge %.0f\n",
        narrow, wide, bucket, gauge);
}

int main(int argc, char **argv)
{
    uint32_t tenants = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    uint32_t decisions = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2000000;
    const char *only = argc > 3 ? argv[3] : NULL;
    bool alone = argc > 4; /* not the 10,000 tenants to compare with: for a profiler */
    double tick_ns = ns_per_tick();
    make_limits();
    print_memory();
    printf("%-9s %9s %12s %10s %10s %12s %10s\n", "mode", "tenants", "median ns", "p99 ns",
           "mean ns", "memory MiB", "holds");
    const uint32_t sizes[] = {10000, tenants};
    for (unsigned reserve = 0; reserve < 2; reserve++) {
        if (only != NULL && strcmp(only, reserve ? "reserve" : "charge") != 0) {
            continue;
        }
        double medians[2] = {0};
        for (unsigned i = alone ? 1 : 0; i < 2; i++) {
            size_t size;
            double open;
            struct figures f = measure(sizes[i], decisions, reserve, tick_ns, &size, &open);
            medians[i] = f.median_ns;
            printf("%-9s %9u %12.0f %10.0f %10.0f %12.0f %9.0f%%\n", reserve ? "reserve" : "charge",
                   sizes[i], f.median_ns, f.p99_ns, f.mean_ns, (double)size / (1 << 20),
                   100 * open);
            if (f.batch_ns > 0) {
                printf("%-9s %9u in batches of 64, asked for ahead: %.0f ns each\n", "charge",
                       sizes[i], f.batch_ns);
            }
        }
        if (alone) {
            continue;
        }
        printf("%-9s one dependent cache miss took %.0f ns here and now; a decision has two in a "
               "row\n",
               reserve ? "reserve" : "charge", miss_ns(tick_ns));
        printf("%-9s %u tenants cost %.2f times as much as 10000\n", reserve ? "reserve" : "charge",
               tenants, medians[1] / medians[0]);
    }
    return 0;
}
