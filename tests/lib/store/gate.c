#include "tests/lib/store/gate.h"

#include <pthread.h>
#include <stdlib.h>

struct gate {
    struct qd_store base;
    struct qd_store *inner;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool shut;
    unsigned waiting;
};

static void gate_close(struct qd_store *store)
{
    struct gate *gate = (struct gate *)store;
    qd_store_close(gate->inner);
    (void)pthread_mutex_destroy(&gate->mutex);
    (void)pthread_cond_destroy(&gate->changed);
    free(gate);
}

static enum qd_store_err gate_get(struct qd_store *store, enum qd_store_space space,
                                  struct qd_str key, struct qd_buf *ret_value,
                                  struct qd_store_error *error)
{
    return qd_store_get(((struct gate *)store)->inner, space, key, ret_value, error);
}

static enum qd_store_err gate_write(struct qd_store *store, const struct qd_batch *batch, bool sync,
                                    struct qd_store_error *error)
{
    struct gate *gate = (struct gate *)store;
    (void)pthread_mutex_lock(&gate->mutex);
    gate->waiting++;
    (void)pthread_cond_broadcast(&gate->changed);
    while (gate->shut) {
        (void)pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    gate->waiting--;
    (void)pthread_mutex_unlock(&gate->mutex);
    return qd_store_write(gate->inner, batch, sync, error);
}

static struct qd_store_snapshot *gate_snapshot_open(struct qd_store *store)
{
    return qd_store_snapshot_open(((struct gate *)store)->inner);
}

static void gate_snapshot_close(struct qd_store *store, struct qd_store_snapshot *snapshot)
{
    qd_store_snapshot_close(((struct gate *)store)->inner, snapshot);
}

/* The inner store's iterators move themselves. */
static struct qd_store_iter *gate_iter_open(struct qd_store *store,
                                            const struct qd_store_range *range)
{
    return qd_store_iter_open(((struct gate *)store)->inner, range);
}

struct qd_store *gate_new(struct qd_store *inner)
{
    static const struct qd_store_ops ops = {
        .close = gate_close,
        .get = gate_get,
        .write = gate_write,
        .snapshot_open = gate_snapshot_open,
        .snapshot_close = gate_snapshot_close,
        .iter_open = gate_iter_open,
    };
    struct gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL || inner == NULL) {
        abort();
    }
    gate->base.ops = &ops;
    gate->inner = inner;
    (void)pthread_mutex_init(&gate->mutex, NULL);
    (void)pthread_cond_init(&gate->changed, NULL);
    return &gate->base;
}

static void set_shut(struct qd_store *store, bool shut)
{
    struct gate *gate = (struct gate *)store;
    (void)pthread_mutex_lock(&gate->mutex);
    gate->shut = shut;
    (void)pthread_cond_broadcast(&gate->changed);
    (void)pthread_mutex_unlock(&gate->mutex);
}

void gate_shut(struct qd_store *store)
{
    set_shut(store, true);
}

void gate_open(struct qd_store *store)
{
    set_shut(store, false);
}

void gate_await_writer(struct qd_store *store)
{
    struct gate *gate = (struct gate *)store;
    (void)pthread_mutex_lock(&gate->mutex);
    while (gate->waiting == 0) {
        (void)pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    (void)pthread_mutex_unlock(&gate->mutex);
}
