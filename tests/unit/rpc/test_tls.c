/* X1, X7: a TLS port: what it accepts, whom it asks for a certificate, and files that change. */
#include "grpc/health/v1/health.pb-c.h"
#include "server/rpc/pem.h"
#include "tests/unit/rpc/certs.h"
#include "tests/unit/rpc/served.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct served s;
static struct qd_tempdir dir;
static char cert[PATH_MAX], key[PATH_MAX], client_ca[PATH_MAX];

static void setup(void)
{
    qd_tempdir_init(&dir);
    certs_authority(&dir, "ca");
    certs_make(&dir, "server", "ca", "DNS:localhost,IP:127.0.0.1", 2);
    (void)qd_tempdir_path(&dir, "server.pem", cert);
    (void)qd_tempdir_path(&dir, "server.key", key);
    (void)qd_tempdir_path(&dir, "client-ca.pem", client_ca);
}

static void teardown(void)
{
    qd_tempdir_release(&dir);
}

TestSuite(tls, .init = setup, .fini = teardown, .timeout = 120);

enum clients {
    NO_CLIENT_CERTS,
    CLIENT_CERTS_OPTIONAL,
    CLIENT_CERTS_REQUIRED
};

static void open_tls(enum clients clients)
{
    struct served_with with = {.no_channel = true};

    with.rpc.tls = (struct qd_tls_files){.cert = cert, .key = key};
    if (clients != NO_CLIENT_CERTS) {
        certs_authority(&dir, "client-ca");
        with.rpc.tls.client_ca = client_ca;
        with.rpc.tls.client_optional = clients == CLIENT_CERTS_OPTIONAL;
    }
    served_open(&s, &with);
}

/* One call on a new connection: its status. */
static grpc_status_code call_again(void)
{
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    Grpc__Health__V1__HealthCheckRequest request;

    grpc__health__v1__health_check_request__init(&request);
    ProtobufCMessage *answer =
        served_call(&s, "/grpc.health.v1.Health/Check", &request.base,
                    &grpc__health__v1__health_check_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return status;
}

static grpc_status_code call_with(const char *authority, const char *own)
{
    grpc_channel *before = s.channel;

    served_dial(&s, certs_channel(&dir, authority, own));
    grpc_status_code status = call_again();
    grpc_channel_destroy(s.channel);
    s.channel = before;
    return status;
}

Test(tls, X1_a_call_by_TLS_and_none_in_plaintext)
{
    open_tls(NO_CLIENT_CERTS);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    served_dial(&s, grpc_insecure_credentials_create());
    cr_expect_eq(call_again(), GRPC_STATUS_UNAVAILABLE);
    served_close(&s);
}

Test(tls, X1_a_client_knows_the_server_by_its_authority_and_name)
{
    open_tls(NO_CLIENT_CERTS);
    certs_authority(&dir, "other");
    cr_expect_eq(call_with("other", NULL), GRPC_STATUS_UNAVAILABLE);
    certs_make(&dir, "elsewhere", "ca", "DNS:elsewhere.example", 2);
    certs_replace(&dir, "elsewhere", "server");
    (void)sleep(2); /* files are looked at once a second */
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_UNAVAILABLE);
    served_close(&s);
}

Test(tls, X1_client_certificates_are_verified)
{
    open_tls(CLIENT_CERTS_REQUIRED);
    certs_authority(&dir, "other");
    certs_make(&dir, "good", "client-ca", "DNS:gateway.example", 2);
    certs_make(&dir, "expired", "client-ca", "DNS:gateway.example", -1);
    certs_make(&dir, "wrong-ca", "other", "DNS:gateway.example", 2);
    certs_make(&dir, "self-signed", NULL, "DNS:gateway.example", 2);
    cr_expect_eq(call_with("ca", "good"), GRPC_STATUS_OK);
    cr_expect_eq(call_with("ca", "expired"), GRPC_STATUS_UNAVAILABLE);
    cr_expect_eq(call_with("ca", "wrong-ca"), GRPC_STATUS_UNAVAILABLE);
    cr_expect_eq(call_with("ca", "self-signed"), GRPC_STATUS_UNAVAILABLE);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_UNAVAILABLE);
    served_close(&s);
}

Test(tls, X1_optional_client_certificates_are_verified_when_given)
{
    open_tls(CLIENT_CERTS_OPTIONAL);
    certs_make(&dir, "good", "client-ca", "DNS:gateway.example", 2);
    certs_make(&dir, "expired", "client-ca", "DNS:gateway.example", -1);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    cr_expect_eq(call_with("ca", "good"), GRPC_STATUS_OK);
    cr_expect_eq(call_with("ca", "expired"), GRPC_STATUS_UNAVAILABLE);
    served_close(&s);
}

/* --- below gRPC --- */

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)qd_rpc_port(s.rpc)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static bool shakes_hands_with(int version)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    cr_assert_not_null(context);
    (void)SSL_CTX_set_min_proto_version(context, version);
    (void)SSL_CTX_set_max_proto_version(context, version);
    (void)SSL_CTX_set_cipher_list(context, "DEFAULT:@SECLEVEL=0"); /* we would speak it */
    (void)SSL_CTX_set_alpn_protos(context, h2, sizeof(h2));
    SSL *ssl = SSL_new(context);
    int fd = dial();
    (void)SSL_set_fd(ssl, fd);
    bool good = SSL_connect(ssl) == 1;
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(fd);
    return good;
}

Test(tls, X1_TLS_1_2_is_the_oldest)
{
    open_tls(NO_CLIENT_CERTS);
    cr_expect(shakes_hands_with(TLS1_3_VERSION));
    cr_expect(shakes_hands_with(TLS1_2_VERSION));
    cr_expect_not(shakes_hands_with(TLS1_1_VERSION));
    cr_expect_not(shakes_hands_with(TLS1_VERSION));
    served_close(&s);
}

/* Read until the server closes: the test's own limit is the only one. */
static void await_close(int fd)
{
    char bytes[512];

    while (read(fd, bytes, sizeof(bytes)) > 0) {
    }
    (void)close(fd);
}

Test(tls, X3_a_handshake_that_stalls_ends_by_itself)
{
    open_tls(NO_CLIENT_CERTS);
    int silent = dial();
    int begun = dial();
    cr_assert_eq(write(begun, "\x16\x03\x01", 3), 3);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK); /* nobody waits for them */
    await_close(silent);
    await_close(begun);
    served_close(&s);
}

/* --- files that change --- */

Test(tls, X1_a_new_certificate_is_served_while_connections_live)
{
    open_tls(NO_CLIENT_CERTS);
    served_dial(&s, certs_channel(&dir, "ca", NULL));
    cr_assert_eq(call_again(), GRPC_STATUS_OK);
    certs_authority(&dir, "next");
    certs_make(&dir, "renewed", "next", "IP:127.0.0.1", 2);
    certs_replace(&dir, "renewed", "server");
    (void)sleep(2);
    cr_expect_eq(call_with("next", NULL), GRPC_STATUS_OK);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_UNAVAILABLE);
    cr_expect_eq(call_again(), GRPC_STATUS_OK); /* the connection of before */
    cr_expect_not(atomic_load(&s.node->tls.is_old));
    served_close(&s);
}

Test(tls, X1_a_bad_pair_leaves_the_one_in_force)
{
    open_tls(NO_CLIENT_CERTS);
    certs_make(&dir, "other", "ca", "IP:127.0.0.1", 2);
    char *other = certs_text(&dir, "other.key");
    char *own = certs_text(&dir, "server.key");
    qd_tempdir_write(&dir, "server.key", other, strlen(other)); /* of another certificate */
    (void)sleep(2);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    cr_expect(atomic_load(&s.node->tls.is_old), "and an operator can see it");
    cr_expect_gt(atomic_load(&s.node->tls.ends_s), (int64_t)time(NULL));
    qd_tempdir_write(&dir, "server.key", "garbage", 7);
    (void)sleep(2);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    cr_assert_eq(unlink(cert), 0);
    (void)sleep(2);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    free(other);
    free(own);
    served_close(&s);
}

Test(tls, X1_a_new_client_authority_is_asked_for)
{
    open_tls(CLIENT_CERTS_REQUIRED);
    certs_make(&dir, "old", "client-ca", "DNS:gateway.example", 2);
    cr_expect_eq(call_with("ca", "old"), GRPC_STATUS_OK);
    certs_authority(&dir, "next");
    certs_make(&dir, "new", "next", "DNS:gateway.example", 2);
    cr_expect_eq(call_with("ca", "new"), GRPC_STATUS_UNAVAILABLE);
    certs_replace(&dir, "next", "client-ca");
    (void)sleep(2);
    cr_expect_eq(call_with("ca", "new"), GRPC_STATUS_OK);
    cr_expect_eq(call_with("ca", "old"), GRPC_STATUS_UNAVAILABLE);
    served_close(&s);
}

/* --- what OpenSSL or the clock refuses --- */

static const char server_names[] = "subjectAltName=DNS:localhost,IP:127.0.0.1";

/* `name` in the server's place: refused, and what was in force goes on. */
static void is_refused(const char *name)
{
    int64_t ends_s = atomic_load(&s.node->tls.ends_s);

    certs_replace(&dir, name, "server");
    (void)sleep(2);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK, "%s", name);
    cr_expect(atomic_load(&s.node->tls.is_old), "%s: and an operator can see it", name);
    cr_expect_eq(atomic_load(&s.node->tls.ends_s), ends_s, "%s: of the one in force", name);
}

Test(tls, X1_a_pair_that_openssl_refuses_leaves_the_one_in_force)
{
    certs_make_as(&dir, "short", "ca",
                  &(struct certs_kind){.key = "rsa:1024", .extension = server_names, .days = 9});
    certs_make_as(&dir, "sha1", "ca",
                  &(struct certs_kind){.digest = "sha1", .extension = server_names, .days = 9});
    certs_make_as(
        &dir, "between", "ca",
        &(struct certs_kind){.digest = "sha1", .extension = "basicConstraints=CA:TRUE", .days = 9});
    certs_make(&dir, "chained", "between", "IP:127.0.0.1", 9);
    certs_chain(&dir, "chained", "between");
    open_tls(NO_CLIENT_CERTS);
    is_refused("short");
    is_refused("sha1");
    is_refused("chained");
    served_close(&s);
}

Test(tls, X1_a_pair_out_of_its_time_leaves_a_valid_one_in_force)
{
    int64_t now = (int64_t)time(NULL);

    certs_make(&dir, "expired", "ca", "DNS:localhost,IP:127.0.0.1", 2);
    certs_date(&dir, "expired", "ca", now - 7200, now - 3600);
    certs_make(&dir, "early", "ca", "DNS:localhost,IP:127.0.0.1", 2);
    certs_date(&dir, "early", "ca", now + 3600, now + 9 * 86400);
    open_tls(NO_CLIENT_CERTS);
    is_refused("expired");
    is_refused("early");
    served_close(&s);
}

/* `early` in the server's place before its time: refused. How long a machine takes for that nobody
 * knows: once more, and twice as early, until it was. Returns when the pair ends. */
static int64_t is_refused_early(void)
{
    int64_t good_ends_s = atomic_load(&s.node->tls.ends_s);

    for (int64_t lead_s = 6;; lead_s *= 2) { /* the test's limit ends it */
        int64_t begins_s = (int64_t)time(NULL) + lead_s;
        certs_date(&dir, "early", "ca", begins_s, begins_s + 9 * 86400);
        certs_replace(&dir, "early", "server");
        (void)sleep(2);
        cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
        if ((int64_t)time(NULL) < begins_s) {
            cr_expect(atomic_load(&s.node->tls.is_old));
            cr_expect_eq(atomic_load(&s.node->tls.ends_s), good_ends_s);
            return begins_s + 9 * 86400;
        }
        certs_replace(&dir, "good", "server");
        (void)sleep(2);
        cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
        cr_expect_eq(atomic_load(&s.node->tls.ends_s), good_ends_s);
    }
}

Test(tls, X1_a_pair_whose_time_comes_is_taken_then)
{
    open_tls(NO_CLIENT_CERTS);
    certs_replace(&dir, "server", "good");
    certs_make(&dir, "early", "ca", "DNS:localhost,IP:127.0.0.1", 2);
    int64_t ends_s = is_refused_early();
    while (atomic_load(&s.node->tls.ends_s) != ends_s) { /* the test's limit ends it */
        (void)sleep(1);
        (void)call_with("ca", NULL);
    }
    cr_expect_not(atomic_load(&s.node->tls.is_old));
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    served_close(&s);
}

/* Whoever looks, and reads again what looks different, sees it without a handshake. */
Test(tls, X1_a_pair_whose_time_has_come_looks_different)
{
    struct qd_tls_files files = {.cert = cert, .key = key};
    struct qd_error error;
    uint64_t tried;
    uint64_t seen;
    struct qd_tls *tls = qd_tls_open(&files, &error);

    cr_assert_not_null(tls);
    certs_make(&dir, "early", "ca", "IP:127.0.0.1", 2);
    struct qd_hash128 before, after;
    int64_t begins_s;
    int64_t lead_s = 3;
    do { /* once more, and earlier, if its time came in the midst of it */
        begins_s = (int64_t)time(NULL) + lead_s;
        lead_s *= 2;
        certs_date(&dir, "early", "ca", begins_s, begins_s + 9 * 86400);
        certs_replace(&dir, "early", "server");
        (void)qd_tls_read_again(tls, &before, &tried);
        seen = qd_tls_look(tls);
    } while ((int64_t)time(NULL) >= begins_s);
    cr_expect_eq(seen, tried);
    while (qd_tls_look(tls) == tried) { /* the test's limit ends it */
        (void)sleep(1);
    }
    (void)qd_tls_read_again(tls, &after, &tried);
    cr_expect_neq(memcmp(&before, &after, sizeof(before)), 0);
    cr_expect_eq(qd_tls_look(tls), tried);
    qd_tls_free(tls);
}

/* A start has nothing better to serve with, and the clock may be what is wrong. */
Test(tls, X1_a_start_serves_with_an_expired_pair_until_a_better_one_comes)
{
    int64_t now = (int64_t)time(NULL);

    certs_make(&dir, "good", "ca", "DNS:localhost,IP:127.0.0.1", 2);
    certs_date(&dir, "server", "ca", now - 7200, now - 3600);
    open_tls(NO_CLIENT_CERTS);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_UNAVAILABLE);
    cr_expect_eq(atomic_load(&s.node->tls.ends_s), now - 3600);
    certs_replace(&dir, "good", "server");
    (void)sleep(2);
    cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK);
    served_close(&s);
}

/* What is tried at load must be no stricter than gRPC. */
Test(tls, X1_keys_of_each_usual_kind_are_served)
{
    static const char *const keys[] = {"rsa:2048", "ec -pkeyopt ec_paramgen_curve:secp384r1",
                                       "ed25519"};

    open_tls(CLIENT_CERTS_OPTIONAL);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct certs_kind kind = {.key = keys[i], .extension = server_names, .days = 20 + (int)i};
        certs_make_as(&dir, "other", "ca", &kind);
        certs_replace(&dir, "other", "server");
        (void)sleep(2);
        cr_expect_eq(call_with("ca", NULL), GRPC_STATUS_OK, "%s", keys[i]);
        cr_expect_not(atomic_load(&s.node->tls.is_old), "%s", keys[i]);
    }
    served_close(&s);
}

/* --- files that are refused at the start --- */

static void refused(const char *part)
{
    struct qd_tls_files files = {.cert = cert, .key = key, .client_ca = client_ca};
    struct qd_error error = {.text = ""};
    struct qd_tls *tls = qd_tls_open(&files, &error);

    cr_expect_null(tls, "accepted; wanted: %s", part);
    cr_expect_not_null(strstr(error.text, part), "\"%s\" is not in: %s", part, error.text);
    qd_tls_free(tls);
}

/* --- what /metrics says of them --- */

Test(tls, I6_the_end_of_the_certificate_in_force_is_known)
{
    struct qd_tls_figures figures = {0};
    struct qd_tls_files files = {.cert = cert, .key = key, .figures = &figures};
    struct qd_error error;
    int64_t now = (int64_t)time(NULL);
    struct qd_tls *tls = qd_tls_open(&files, &error);

    cr_assert_not_null(tls);
    /* Two days from when it was made, moments ago. */
    cr_expect_leq(atomic_load(&figures.ends_s), now + 2 * 86400);
    cr_expect_gt(atomic_load(&figures.ends_s), now + 86400);
    cr_expect_not(atomic_load(&figures.is_old));
    qd_tls_free(tls);
}

Test(tls, X7_a_key_that_others_can_read_is_refused)
{
    cr_assert_eq(chmod(key, 0644), 0);
    refused("server.key: others can read this key");
    cr_assert_eq(chmod(key, 0660), 0);
    refused("server.key: others can read this key");
}

Test(tls, X1_a_file_that_is_wrong_is_named)
{
    certs_make(&dir, "other", "ca", "IP:127.0.0.1", 2);
    refused("client-ca.pem: cannot open: No such file");
    qd_tempdir_write(&dir, "client-ca.pem", "hello", 5);
    refused("client-ca.pem: no certificate in it");
    certs_replace(&dir, "ca", "client-ca");
    char *bad = certs_text(&dir, "server.pem");
    memset(strchr(bad, '\n') + 10, 'A', 100);
    qd_tempdir_write(&dir, "server.pem", bad, strlen(bad));
    refused("server.pem: a certificate in it is damaged");
    certs_replace(&dir, "other", "server");
    char *old = certs_text(&dir, "ca.key");
    qd_tempdir_write(&dir, "server.key", old, strlen(old));
    refused("server.key: not the key of the first certificate in");
    qd_tempdir_write(&dir, "server.key", "-----BEGIN PRIVATE KEY-----\n", 28);
    refused("server.key: no private key in it that can be read");
    qd_tempdir_write(&dir, "server.key", "", 0);
    refused("server.key: accepted are PEM files of 1 byte to 1 MiB");
    free(bad);
    free(old);
}

Test(tls, X1_what_openssl_says_of_a_pair_is_told)
{
    certs_authority(&dir, "client-ca");
    certs_make_as(&dir, "short", "ca",
                  &(struct certs_kind){.key = "rsa:1024", .extension = server_names, .days = 9});
    certs_replace(&dir, "short", "server");
    refused("server.pem: OpenSSL refuses it: ee key too small");
    certs_make_as(&dir, "sha1", "ca",
                  &(struct certs_kind){.digest = "sha1", .extension = server_names, .days = 9});
    certs_replace(&dir, "sha1", "server");
    refused("server.pem: OpenSSL refuses it: ca md too weak");
    certs_make_as(&dir, "between", "ca",
                  &(struct certs_kind){
                      .key = "rsa:1024", .extension = "basicConstraints=CA:TRUE", .days = 9});
    certs_make(&dir, "chained", "between", "IP:127.0.0.1", 9);
    certs_chain(&dir, "chained", "between");
    certs_replace(&dir, "chained", "server");
    refused("server.pem: OpenSSL refuses it: ca key too small");
}
