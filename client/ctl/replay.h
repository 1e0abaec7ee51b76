/* Driving a trace through a node: what is drawn for each request, the run, and its figures.
 *
 * Layer:    client/ctl, over libquota's public header.
 * Units:    tokens, ns, pico-USD.
 * Threads:  the main thread starts calls; libquota's thread brings the answers. `lock` guards what
 *           says so.
 * Memory:   new requests are one array; release frees all.
 *
 * A trace holds what really happened. What a gateway would have known before is made here,
 * independent of it: the estimate (input within 20%, max_output_tokens 4096 or, in 30%, none), the
 * tenant (a Zipf law), the model, and what goes wrong with the request. All of it is drawn from
 * (seed, row number), so that the same seed gives the same requests whatever the timing.
 */
#ifndef QD_CLIENT_CTL_REPLAY_H
#define QD_CLIENT_CTL_REPLAY_H

#include "client/ctl/ctl.h"
#include "client/ctl/trace.h"

#include <pthread.h>

#define REPLAY_MAX_OUTPUT  INT64_C(4096)
#define REPLAY_MODELS_MAX  16
#define REPLAY_NAMED_MAX   64
#define REPLAY_TENANTS_MAX 1000000
#define REPLAY_LIMITS_MAX  64 /* limits that deny, counted apart */
#define REPLAY_DENIERS_MAX 6
/* GPU time, in microseconds a token. */
#define REPLAY_GPU_US_INPUT  INT64_C(100)
#define REPLAY_GPU_US_CACHED INT64_C(5)
#define REPLAY_GPU_US_OUTPUT INT64_C(2000)
/* How long a request runs, in microseconds. */
#define REPLAY_RUN_US_START  INT64_C(50000)
#define REPLAY_RUN_US_OUTPUT INT64_C(20000)

__extension__ typedef __int128 replay_pico;

struct replay_options {
    const char *path;
    enum ctl_trace_format format;
    size_t tenants;
    uint64_t seed;
    double speed; /* 0: as fast as it goes */
    size_t limit;
    size_t in_flight;
    double zipf;
    double disconnect_rate, lost_rate, twice_rate; /* 0..1 */
    const char *models[REPLAY_MODELS_MAX];
    size_t model_count;
    const char *named[REPLAY_NAMED_MAX]; /* tenants of the first ranks */
    size_t named_count;
    const char *run; /* names this run's request ids */
    bool gpu;        /* the pool reports GPU time */
    size_t top;      /* rows of the table */
};

enum replay_fate {
    REPLAY_FINE,
    REPLAY_DISCONNECTED,
    REPLAY_LOST,
    REPLAY_TWICE
};

/* What is drawn for one row. */
struct replay_draw {
    uint32_t tenant;
    uint32_t model;
    enum replay_fate fate;
    int64_t input_estimate;
    bool max_output_given;
    int64_t output; /* less than the trace's when the client goes away */
};

struct replay;

struct replay_request {
    struct replay *replay;
    size_t row;
    struct replay_draw draw;
    char *token;              /* while it runs */
    int64_t due;              /* monotonic: when it has run */
    unsigned gateway_reports; /* sent */
};

struct replay_sums {
    uint64_t requests;
    int64_t input, cached, output;
};

/* One tenant and model. */
struct replay_cell {
    uint64_t requests, admitted, denied, failed;
    int64_t estimated, held;
    int64_t input, cached, output; /* booked */
    int64_t gpu_ms;
    replay_pico cost, charge;
    uint64_t unpriced;
    struct {
        uint16_t limit; /* index + 1; 0: free */
        uint64_t count;
    } denied_by[REPLAY_DENIERS_MAX]; /* the first limits that denied it; `denied` has all */
};

struct replay {
    struct replay_options options;
    struct ctl_trace trace;
    struct quota_client *client;
    struct replay_request *requests;
    double *zipf;         /* cumulative, ends with 1 */
    int64_t clock_offset; /* event time of a row: offset + at / speed */
    int64_t elapsed_ns;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Guarded. */
    size_t in_flight;
    struct replay_request **running; /* heap by `due` */
    size_t running_count;
    struct replay_cell *cells; /* tenant-major */
    struct replay_sums offered, admitted, booked;
    uint64_t allowed, denied, failed;
    uint64_t disconnected, lost, twice, recognised; /* recognised: second reports found to be so */
    uint64_t booked_before; /* first reports that were duplicates: of another run of this name */
    uint64_t report_failed;
    int64_t gpu_ms;
    char limits[REPLAY_LIMITS_MAX][128];
    uint64_t limit_denied[REPLAY_LIMITS_MAX];
    size_t limit_count;
    char first_error[512];
};

/* replay_draw.c */
bool replay_zipf_init(struct replay *replay);
void replay_draw(const struct replay *replay, size_t row, struct replay_draw *ret);
/* Name of a tenant, at most 511 bytes. */
void replay_tenant_name(const struct replay *replay, uint32_t tenant, char *ret, size_t size);
int64_t replay_gpu_ms(const struct ctl_trace_row *row, int64_t output);
int64_t replay_run_ns(const struct ctl_trace_row *row, int64_t output);

/* replay_run.c: all of it; false after a message, which is when nothing could be done at all. */
bool replay_run(struct ctl *ctl, struct replay *replay);
void replay_release(struct replay *replay);

/* replay_print.c */
void replay_progress(struct ctl *ctl, struct replay *replay, size_t sent, bool last);
void replay_print(struct ctl *ctl, const struct replay *replay);
void replay_print_json(struct ctl *ctl, const struct replay *replay);

#endif /* QD_CLIENT_CTL_REPLAY_H */
