#include "server/rpc/caller.h"

#include "server/shard/directory.h"
#include "server/shard/reference.h"

#include <grpc/grpc_security.h>
#include <grpc/grpc_security_constants.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BEARER     "bearer "
#define BEARER_LEN (sizeof(BEARER) - 1)

void qd_caller_anyone(struct qd_caller *ret_caller)
{
    ret_caller->role = QD_ROLE_ADMIN;
    ret_caller->tenant_len = 0;
    ret_caller->pool_len = 0;
    ret_caller->name[0] = '\0';
}

static void become(struct qd_caller *caller, const struct qd_credential *credential)
{
    caller->role = credential->role;
    caller->tenant_len = (uint16_t)credential->tenant.len;
    caller->pool_len = (uint16_t)credential->pool.len;
    (void)snprintf(caller->name, sizeof(caller->name), "%s", credential->name);
    if (credential->tenant.len > 0) {
        memcpy(caller->tenant, credential->tenant.ptr, credential->tenant.len);
    }
    if (credential->pool.len > 0) {
        memcpy(caller->pool, credential->pool.ptr, credential->pool.len);
    }
}

/* --- tokens --- */

static bool begins_with_one(const char *peer, const char *const *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(peer, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

bool qd_peer_is_loopback(const char *peer)
{
    static const char *const ours[] = {"ipv4:127.", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "unix:"};

    return begins_with_one(peer, ours, sizeof(ours) / sizeof(ours[0]));
}

bool qd_peer_is_of_this_machine(const char *peer)
{
    static const char *const ours[] = {
        "ipv4:127.0.0.1:", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "unix:"};

    return begins_with_one(peer, ours, sizeof(ours) / sizeof(ours[0]));
}

static bool peer_is(grpc_call *call, bool (*what)(const char *))
{
    char *peer = grpc_call_get_peer(call);
    bool is = peer != NULL && what(peer);

    gpr_free(peer);
    return is;
}

enum qd_error_code qd_caller_may_call_unnamed(grpc_call *call, const char *path, uint32_t roles,
                                              struct qd_error *ret_error)
{
    if ((roles & (QD_ROLES_OPEN | QD_ROLE_GATEWAY | QD_ROLE_POOL)) != 0 ||
        peer_is(call, qd_peer_is_of_this_machine)) {
        return QD_ERROR_NONE;
    }
    return qd_error_set(ret_error, QD_ERROR_ROLE_FORBIDS,
                        "%s: as this node asks nobody who calls, it is served to this machine "
                        "only; name those who may call it with --credentials FILE",
                        path);
}

static bool has_property(const grpc_auth_context *context, const char *name, const char *value)
{
    grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, name);
    const grpc_auth_property *property = grpc_auth_property_iterator_next(&it);

    return property != NULL && property->value_length == strlen(value) &&
           memcmp(property->value, value, property->value_length) == 0;
}

static bool is_private(grpc_call *call, const grpc_auth_context *context)
{
    if (context != NULL && has_property(context, GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME,
                                        GRPC_SSL_TRANSPORT_SECURITY_TYPE)) {
        return true;
    }
    return peer_is(call, qd_peer_is_loopback);
}

/* How many there are; *ret_value is of the last. */
static size_t find_authorization(const grpc_metadata_array *metadata, struct qd_str *ret_value)
{
    size_t count = 0;

    for (size_t i = 0; i < metadata->count; i++) {
        const grpc_metadata *m = &metadata->metadata[i];
        if (grpc_slice_str_cmp(m->key, "authorization") == 0) {
            *ret_value = (struct qd_str){(const char *)GRPC_SLICE_START_PTR(m->value),
                                         GRPC_SLICE_LENGTH(m->value)};
            count++;
        }
    }
    return count;
}

/* X1, X7: the token is in no message. */
enum qd_error_code qd_caller_by_token(const struct qd_credentials *credentials, bool private,
                                      struct qd_str value, struct qd_caller *caller,
                                      struct qd_error *ret_error)
{
    if (!private) {
        return qd_error_set(ret_error, QD_ERROR_INSECURE_TOKEN,
                            "authorization: a token that came in plaintext is not accepted, and "
                            "somebody may have read it: replace it; tokens come over TLS, or from "
                            "this machine");
    }
    if (value.len <= BEARER_LEN || strncasecmp(value.ptr, BEARER, BEARER_LEN) != 0) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_CREDENTIALS,
                            "authorization: \"Bearer TOKEN\" is accepted");
    }
    struct qd_str token = {value.ptr + BEARER_LEN, value.len - BEARER_LEN};
    const struct qd_credential *found = qd_credentials_by_token(credentials, token);
    if (found == NULL) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_CREDENTIALS,
                            "authorization: nobody has this token; its SHA-256 belongs into the "
                            "file of --credentials");
    }
    become(caller, found);
    return QD_ERROR_NONE;
}

/* --- certificates --- */

typedef const struct qd_credential *(*finder)(const struct qd_credentials *, struct qd_str);

static const struct qd_credential *find_by(const struct qd_credentials *credentials,
                                           const grpc_auth_context *context, const char *name,
                                           finder find, struct qd_str *ret_seen)
{
    grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, name);
    const struct qd_credential *found = NULL;
    const grpc_auth_property *p;

    while (found == NULL && (p = grpc_auth_property_iterator_next(&it)) != NULL) {
        *ret_seen = (struct qd_str){p->value, p->value_length};
        found = find(credentials, *ret_seen);
    }
    return found;
}

/* A peer is authenticated when its certificate was verified: gRPC then knows an identity. */
static enum qd_error_code by_certificate(const struct qd_credentials *credentials,
                                         const grpc_auth_context *context, struct qd_caller *caller,
                                         struct qd_error *ret_error)
{
    struct qd_str seen = {NULL, 0};

    if (context == NULL || grpc_auth_context_peer_is_authenticated(context) == 0) {
        return qd_error_set(ret_error, QD_ERROR_NO_CREDENTIALS,
                            "this node asks who calls: bring a client certificate, or a token "
                            "(authorization: Bearer TOKEN) over TLS");
    }
    const struct qd_credential *found = find_by(
        credentials, context, GRPC_PEER_SPIFFE_ID_PROPERTY_NAME, qd_credentials_by_spiffe, &seen);
    if (found == NULL) {
        found = find_by(credentials, context, GRPC_PEER_DNS_PROPERTY_NAME, qd_credentials_by_san,
                        &seen);
    }
    if (found == NULL) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_CREDENTIALS,
                            "the client certificate is nobody's here: its %s is in no `spiffe` or "
                            "`san` of the file of --credentials",
                            seen.len > 0 ? qd_quote(seen).text : "name");
    }
    become(caller, found);
    return QD_ERROR_NONE;
}

enum qd_error_code qd_caller_identify(const struct qd_credentials *credentials, grpc_call *call,
                                      const grpc_metadata_array *metadata,
                                      struct qd_caller *ret_caller, struct qd_error *ret_error)
{
    struct qd_str value = {NULL, 0};
    size_t count = find_authorization(metadata, &value);
    grpc_auth_context *context = grpc_call_auth_context(call);
    enum qd_error_code code;

    if (count > 1) { /* one proxy's idea of it and another's */
        code = qd_error_set(ret_error, QD_ERROR_UNKNOWN_CREDENTIALS,
                            "authorization: given %zu times; once is accepted", count);
    } else if (count == 1) {
        code = qd_caller_by_token(credentials, is_private(call, context), value, ret_caller,
                                  ret_error);
    } else {
        code = by_certificate(credentials, context, ret_caller, ret_error);
    }
    grpc_auth_context_release(context);
    return code;
}

/* --- what it may --- */

enum qd_error_code qd_caller_may_call(const struct qd_caller *caller, const char *path,
                                      uint32_t roles, enum qd_bound bound,
                                      struct qd_error *ret_error)
{
    const char *method = strrchr(path, '/');

    method = method != NULL ? method + 1 : path;
    if ((roles & (uint32_t)caller->role) == 0) {
        return qd_error_set(ret_error, QD_ERROR_ROLE_FORBIDS,
                            "%s is not for role %s, which %s has in the file of --credentials",
                            method, qd_role_name(caller->role), caller->name);
    }
    if (qd_caller_is_bound(caller) && bound == QD_BOUND_REFUSED) {
        return qd_error_set(ret_error, QD_ERROR_TENANT_FORBIDDEN,
                            "%s is about all tenants, and %s is bound to %s in the file of "
                            "--credentials",
                            method, caller->name, qd_quote(qd_caller_tenant(caller)).text);
    }
    if (qd_caller_is_bound(caller) && bound == QD_BOUND_ADMIN_ONLY &&
        caller->role != QD_ROLE_ADMIN) {
        return qd_error_set(
            ret_error, QD_ERROR_TENANT_FORBIDDEN,
            "%s changes what is billed; %s is bound to %s with role %s, which reads "
            "only",
            method, caller->name, qd_quote(qd_caller_tenant(caller)).text,
            qd_role_name(caller->role));
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_caller_reaches(const struct qd_caller *caller, struct qd_str tenant,
                                     struct qd_error *ret_error)
{
    if (qd_path_within(tenant, qd_caller_tenant(caller))) {
        return QD_ERROR_NONE;
    }
    return qd_error_set(ret_error, QD_ERROR_TENANT_FORBIDDEN,
                        "tenant: %s is bound to %s and what is below; %s is not", caller->name,
                        qd_quote(qd_caller_tenant(caller)).text, qd_quote(tenant).text);
}

enum qd_error_code qd_caller_narrow(const struct qd_caller *caller, struct qd_str *tenant,
                                    struct qd_error *ret_error)
{
    if (tenant->len == 0) {
        *tenant = qd_caller_tenant(caller);
        return QD_ERROR_NONE;
    }
    return qd_caller_reaches(caller, *tenant, ret_error);
}

static bool is_token(struct qd_str reservation)
{
    return reservation.len > QD_TOKEN_PREFIX_LEN &&
           memcmp(reservation.ptr, QD_TOKEN_PREFIX, QD_TOKEN_PREFIX_LEN) == 0;
}

/* A short id names one hold now and another a moment later: only together with its tenant, which
 * whoever acts compares, is it confined. */
enum qd_error_code qd_caller_reaches_hold(const struct qd_caller *caller, struct qd_node *node,
                                          struct qd_str reservation, struct qd_str tenant,
                                          struct qd_error *ret_error)
{
    struct qd_reference reference;

    if (!qd_caller_is_bound(caller)) {
        return QD_ERROR_NONE;
    }
    if (tenant.len > 0 || reservation.len == 0) {
        return qd_caller_reaches(caller, tenant, ret_error);
    }
    if (!is_token(reservation)) {
        return qd_error_set(ret_error, QD_ERROR_TENANT_FORBIDDEN,
                            "tenant: required with a short id, because %s is bound to %s; or give "
                            "the reservation's token",
                            caller->name, qd_quote(qd_caller_tenant(caller)).text);
    }
    if (qd_reference_read(node, reservation, tenant, &reference, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    return qd_caller_reaches(caller, reference.token.tenant, ret_error);
}

static bool same(struct qd_str a, struct qd_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Its reservation too must be the pool's, or of no pool. */
enum qd_error_code qd_caller_reports_for(const struct qd_caller *caller, struct qd_node *node,
                                         struct qd_str reservation, struct qd_str pool,
                                         struct qd_error *ret_error)
{
    struct qd_str own = {caller->pool, caller->pool_len};
    struct qd_reference reference;

    if (caller->pool_len == 0) {
        return QD_ERROR_NONE;
    }
    if (!same(pool, own)) {
        return qd_error_set(ret_error, QD_ERROR_POOL_FORBIDDEN,
                            "pool: %s reports for %s only; %s is another", caller->name,
                            qd_quote(own).text, qd_quote(pool).text);
    }
    if (reservation.len == 0) {
        return QD_ERROR_NONE;
    }
    if (!is_token(reservation)) {
        return qd_error_set(ret_error, QD_ERROR_POOL_FORBIDDEN,
                            "reservation: a pool reports by the token, because a short id does not "
                            "say whose it is");
    }
    if (qd_reference_read(node, reservation, (struct qd_str){NULL, 0}, &reference, ret_error) !=
        QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (reference.token.pool.len > 0 && !same(reference.token.pool, own)) {
        return qd_error_set(ret_error, QD_ERROR_POOL_FORBIDDEN,
                            "reservation: it is of pool %s, and %s reports for %s only",
                            qd_quote(reference.token.pool).text, caller->name, qd_quote(own).text);
    }
    return QD_ERROR_NONE;
}

struct qd_str qd_caller_actor(const struct qd_caller *caller, char ret_text[QD_ACTOR_MAX])
{
    int len = caller->name[0] == '\0' ? snprintf(ret_text, QD_ACTOR_MAX, "local")
                                      : snprintf(ret_text, QD_ACTOR_MAX, "%s/%s", caller->name,
                                                 qd_role_name(caller->role));

    return (struct qd_str){ret_text, (size_t)len};
}
