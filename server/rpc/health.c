/* grpc.health.v1.Health: Check, and Watch (whose stream watch.c keeps) (I4). */
#include "server/rpc/call.h"

#include "grpc/health/v1/health.pb-c.h"

enum {
    SERVING = 1,
    NOT_SERVING = 2,
    SERVICE_UNKNOWN = 3,
};

static uint64_t status_of(const struct qd_rpc *rpc)
{
    return qd_rpc_serving(rpc) ? SERVING : NOT_SERVING;
}

/* A service's name, or the reference rate limit server's, if there are rate limits (I3). */
static bool is_served(const struct qd_rpc *rpc, struct qd_str name)
{
    static const char ratelimit[] = "ratelimit";
    bool is_ratelimit =
        name.len == sizeof(ratelimit) - 1 && memcmp(name.ptr, ratelimit, name.len) == 0;

    return is_ratelimit ? qd_rpc_has_rls(rpc) : qd_rpc_has_service(name);
}

/* SERVING unless the node drains or stops. The empty name is the whole server. */
static enum qd_error_code check(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                struct qd_error *ret_error)
{
    Grpc__Health__V1__HealthCheckRequest *request = qd_place_unpack(
        place, &grpc__health__v1__health_check_request__descriptor, bytes, ret_error);

    (void)call;
    if (request == NULL) {
        return ret_error->code;
    }
    struct qd_str name = {request->service, strlen(request->service)};
    if (name.len > 0 && !is_served(place->rpc, name)) {
        return qd_error_set(
            ret_error, QD_ERROR_UNKNOWN_SERVICE,
            "service: %s is not served here; leave it empty to ask for the whole server",
            qd_quote(name).text);
    }
    qd_out_number(&place->out, 1, status_of(place->rpc));
    return QD_ERROR_NONE;
}

static bool next_health(struct qd_rpc *rpc, struct qd_call *call, struct qd_out *out)
{
    if (!call->watch.dirty) {
        return false;
    }
    call->watch.dirty = false;
    qd_out_number(out, 1, call->watch.unknown ? SERVICE_UNKNOWN : status_of(rpc));
    return true;
}

/* A service that isn't served is answered, not refused: it may come with a later version (I4). */
static enum qd_error_code watch(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                struct qd_error *ret_error)
{
    const Grpc__Health__V1__HealthCheckRequest *request = qd_place_unpack(
        place, &grpc__health__v1__health_check_request__descriptor, bytes, ret_error);

    call->watch.next = next_health;
    call->watch.dirty = true;
    call->watch.unknown = request == NULL;
    if (request != NULL && request->service[0] != '\0') {
        struct qd_str name = {request->service, strlen(request->service)};
        call->watch.unknown = !is_served(place->rpc, name);
    }
    return QD_ERROR_NONE;
}

const struct qd_method qd_health_methods[] = {
    {"/grpc.health.v1.Health/Check", QD_METHOD_INLINE, 8, check, NULL, QD_ROLES_OPEN,
     QD_BOUND_FREE},
    {"/grpc.health.v1.Health/Watch", QD_METHOD_WATCH, 4, watch, NULL, QD_ROLES_OPEN, QD_BOUND_FREE},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED},
};

bool qd_rpc_has_service(struct qd_str name)
{
    const struct qd_method *const *services;
    uint32_t count = qd_rpc_methods(&services);

    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++) {
            const char *slash = strchr(m->path + 1, '/');
            if ((size_t)(slash - m->path - 1) == name.len &&
                memcmp(m->path + 1, name.ptr, name.len) == 0) {
                return true;
            }
        }
    }
    return false;
}
