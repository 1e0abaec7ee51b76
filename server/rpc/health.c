/* grpc.health.v1.Health: Check, and Watch (whose stream server.c keeps) (I4). */
#include "server/rpc/call.h"

#include "grpc/health/v1/health.pb-c.h"

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
    if (name.len > 0 && !qd_rpc_has_service(name)) {
        return qd_error_set(
            ret_error, QD_ERROR_UNKNOWN_SERVICE,
            "service: %s is not served here; leave it empty to ask for the whole server",
            qd_quote(name).text);
    }
    qd_out_number(&place->out, 1, qd_rpc_serving(place->rpc) ? 1 : 2);
    return QD_ERROR_NONE;
}

/* The stream begins without a handler: see qd_health_watch. */
const struct qd_method qd_health_methods[] = {
    {"/grpc.health.v1.Health/Check", QD_METHOD_INLINE, 8, check, NULL},
    {"/grpc.health.v1.Health/Watch", QD_METHOD_WATCH, 4, NULL, NULL},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL},
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
