#include "server/rpc/tls_trial.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>

/* gRPC's own list, unless the environment has another. */
#define CIPHERS_VARIABLE "GRPC_SSL_CIPHER_SUITES"
#define CIPHERS                                                                                \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-RSA-AES256-GCM-SHA384"

/* Of a handshake; a bound in case that neither side gets on. */
#define TURNS_MAX 64

static bool refuse(const char *path, struct qd_error *ret_error)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());

    (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                       "%s: OpenSSL refuses it: %s; accepted are RSA keys of 2048 bits or more, "
                       "EC and Ed25519 keys, and signatures with SHA-256 or better, at every step "
                       "of the chain",
                       path, why != NULL ? why : "it does not say why");
    return false;
}

static BIO *bio_of(const struct qd_pem *pem)
{
    return BIO_new_mem_buf(pem->text, (int)pem->size);
}

/* --- the server's context --- */

static bool set_up(SSL_CTX *context)
{
    int groups[] = {NID_X9_62_prime256v1}; /* OpenSSL 3.0 wants it so; it only reads */
    const char *ciphers = getenv(CIPHERS_VARIABLE);

    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set1_groups(context, groups, 1) == 1 &&
           SSL_CTX_set_cipher_list(context, ciphers != NULL ? ciphers : CIPHERS) == 1;
}

static bool use_chain(SSL_CTX *context, const struct qd_pem *pem)
{
    BIO *bio = bio_of(pem);
    X509 *leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, "");
    X509 *next;
    bool good = leaf != NULL && SSL_CTX_use_certificate(context, leaf) == 1;

    X509_free(leaf);
    while (good && (next = PEM_read_bio_X509(bio, NULL, NULL, "")) != NULL) {
        good = SSL_CTX_add_extra_chain_cert(context, next) == 1;
        if (!good) {
            X509_free(next);
        }
    }
    if (good) {
        ERR_clear_error(); /* the end of the file */
    }
    BIO_free(bio);
    return good;
}

static bool use_key(SSL_CTX *context, const struct qd_pem *pem)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, "");
    bool good = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1 &&
                SSL_CTX_check_private_key(context) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

/* Where the certificate comes without its chain, OpenSSL looks for that among the authorities. */
static bool use_authorities(SSL_CTX *context, const struct qd_pem *pem, bool ask)
{
    BIO *bio = bio_of(pem);
    X509 *one;
    bool good = true;

    while (good && (one = PEM_read_bio_X509_AUX(bio, NULL, NULL, "")) != NULL) {
        good = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), one) == 1 &&
               SSL_CTX_add_client_CA(context, one) == 1;
        X509_free(one);
    }
    if (good) {
        ERR_clear_error();
    }
    BIO_free(bio);
    SSL_CTX_set_verify(context, ask ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return good;
}

static SSL_CTX *server_new(const struct qd_tls_trial *trial, const char **ret_path)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    bool ask = trial->authorities_path != NULL;

    *ret_path = trial->cert_path;
    if (context == NULL || !set_up(context) || !use_chain(context, trial->cert) ||
        !use_key(context, trial->key)) {
        SSL_CTX_free(context);
        return NULL;
    }
    *ret_path = ask ? trial->authorities_path : trial->cert_path;
    if (!use_authorities(context, ask ? trial->authorities : trial->cert, ask)) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

/* --- a handshake with it --- */

/* One that takes anything: it is the server's side that is tried. */
static SSL_CTX *client_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (context != NULL) {
        SSL_CTX_set_security_level(context, 0);
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    }
    return context;
}

/* 1: done; 0: it waits for the other side; -1: failed, and the reason is in OpenSSL's queue. */
static int step(SSL *ssl)
{
    int got = SSL_do_handshake(ssl);

    return got == 1 ? 1 : SSL_get_error(ssl, got) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static bool shake_hands(SSL *server, SSL *client)
{
    int server_is = 0;
    int client_is = 0;

    for (int i = 0; i < TURNS_MAX && (server_is == 0 || client_is == 0); i++) {
        client_is = step(client);
        if (client_is < 0) {
            return false;
        }
        server_is = step(server);
        if (server_is < 0) {
            return false;
        }
    }
    return server_is == 1 && client_is == 1;
}

static bool serves(SSL_CTX *server_context)
{
    SSL_CTX *client_context = client_new();
    SSL *client = client_context != NULL ? SSL_new(client_context) : NULL;
    SSL *server = SSL_new(server_context);
    BIO *one = NULL;
    BIO *other = NULL;
    bool good = false;

    /* Unbounded: a chain may be longer than a pair's buffer. */
    if (client != NULL && server != NULL && (one = BIO_new(BIO_s_mem())) != NULL &&
        (other = BIO_new(BIO_s_mem())) != NULL) {
        (void)BIO_set_mem_eof_return(one, -1);
        (void)BIO_set_mem_eof_return(other, -1);
        (void)BIO_up_ref(one);
        (void)BIO_up_ref(other);
        SSL_set_bio(server, one, other);
        SSL_set_bio(client, other, one);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        good = shake_hands(server, client);
    } else {
        BIO_free(one);
    }
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(client_context);
    return good;
}

bool qd_tls_trial_run(const struct qd_tls_trial *trial, struct qd_error *ret_error)
{
    const char *path;

    ERR_clear_error();
    SSL_CTX *context = server_new(trial, &path);
    bool good = context != NULL;
    if (good) {
        path = trial->cert_path;
        good = serves(context);
    }
    SSL_CTX_free(context);
    if (!good) {
        (void)refuse(path, ret_error);
    }
    ERR_clear_error();
    return good;
}
