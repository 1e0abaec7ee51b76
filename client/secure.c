#include "client/secure.h"

#include "client/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PEM_BYTES_MAX   ((size_t)1 << 20)
#define TOKEN_BYTES_MAX ((size_t)1024)

/* X7: nothing of a secret stays behind in freed memory. NULL is fine. */
static void forget(char *text, size_t size)
{
    if (text != NULL) {
        explicit_bzero(text, size);
        free(text);
    }
}

static void forget_text(char *text)
{
    forget(text, text != NULL ? strlen(text) : 0);
}

/* The file's text, to be forgotten; NULL with *error. A secret is refused if others can read it. */
static char *read_file(const char *path, size_t max, bool secret, struct quota_error *error)
{
    struct stat st;
    FILE *file = fopen(path, "re");
    char *text = file != NULL ? malloc(max + 2) : NULL;
    size_t size = 0;

    if (text == NULL) {
        lq_error_set(error, QUOTA_INVALID, "%s: cannot open: %s", path, strerror(errno));
    } else if (secret && (fstat(fileno(file), &st) != 0 || (st.st_mode & 007) != 0)) {
        lq_error_set(error, QUOTA_INVALID, "%s: others can read it; run: chmod 600 %s", path, path);
        free(text);
        text = NULL;
    } else {
        (void)setvbuf(file, NULL, _IONBF, 0); /* a buffer of its own would keep a copy */
        size = fread(text, 1, max + 1, file);
        text[size] = '\0';
        if (ferror(file) != 0 || size == 0 || size > max || strlen(text) != size) {
            lq_error_set(error, QUOTA_INVALID, "%s: accepted are texts of 1 to %zu bytes", path,
                         max);
            forget(text, size);
            text = NULL;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return text;
}

/* gRPC cannot say what is wrong with it. */
static char *read_pem(const char *path, bool secret, struct quota_error *error)
{
    const char *what = secret ? "PRIVATE KEY" : "CERTIFICATE";
    char *text = read_file(path, PEM_BYTES_MAX, secret, error);

    if (text != NULL && (strstr(text, "-----BEGIN ") == NULL || strstr(text, what) == NULL)) {
        lq_error_set(error, QUOTA_INVALID, "%s: accepted is PEM: -----BEGIN %s-----", path, what);
        forget_text(text);
        text = NULL;
    }
    return text;
}

/* --- the token --- */

static bool stays_here(const char *address)
{
    static const char *const here[] = {"localhost:", "[::1]:", "unix:"};

    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        if (strncmp(address, here[i], strlen(here[i])) == 0) {
            return true;
        }
    }
    /* 127.0.0.0/8, and no name that begins like it. */
    char host[INET_ADDRSTRLEN];
    struct in_addr four;
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : strlen(address);
    if (len >= sizeof host) {
        return false;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    return inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

static bool read_token(const struct quota_config *config, struct lq_secure *secure,
                       struct quota_error *error)
{
    char bearer[TOKEN_BYTES_MAX + 16];

    if (config->token_file == NULL) {
        return true;
    }
    if (config->tls_ca_file == NULL && !stays_here(config->address)) {
        lq_error_set(error, QUOTA_INVALID,
                     "a token is sent over TLS, or to this machine; name the server's authority "
                     "with tls_ca");
        return false;
    }
    char *token = read_file(config->token_file, TOKEN_BYTES_MAX, true, error);
    if (token == NULL) {
        return false;
    }
    size_t size = strcspn(token, "\r\n");
    bool good = size > 0 && token[size + strspn(token + size, "\r\n")] == '\0';
    for (size_t i = 0; i < size; i++) {
        good = good && token[i] > ' ' && token[i] < 127;
    }
    if (good) {
        int n = snprintf(bearer, sizeof bearer, "Bearer %.*s", (int)size, token);
        secure->authorization.key = grpc_slice_from_static_string("authorization");
        secure->authorization.value = grpc_slice_from_copied_buffer(bearer, (size_t)n);
        secure->has_token = true;
        explicit_bzero(bearer, sizeof bearer);
    } else {
        lq_error_set(error, QUOTA_INVALID, "%s: one line with a token is accepted",
                     config->token_file);
    }
    forget_text(token);
    return good;
}

/* --- TLS --- */

static grpc_channel_credentials *open_tls(const struct quota_config *config,
                                          struct quota_error *error)
{
    grpc_channel_credentials *credentials = NULL;
    char *roots = read_pem(config->tls_ca_file, false, error);
    char *cert = NULL;
    char *key = NULL;
    bool own = config->tls_cert_file != NULL;

    if (roots != NULL && own) {
        cert = read_pem(config->tls_cert_file, false, error);
        key = cert != NULL ? read_pem(config->tls_key_file, true, error) : NULL;
    }
    if (roots != NULL && (!own || key != NULL)) {
        grpc_ssl_pem_key_cert_pair pair = {key, cert};
        credentials = grpc_ssl_credentials_create(roots, own ? &pair : NULL, NULL, NULL);
    }
    free(roots);
    free(cert);
    forget_text(key); /* gRPC has a copy of its own */
    return credentials;
}

grpc_channel_credentials *lq_secure_open(const struct quota_config *config,
                                         struct lq_secure *secure, struct quota_error *error)
{
    bool cert = config->tls_cert_file != NULL;

    if (cert != (config->tls_key_file != NULL) || (cert && config->tls_ca_file == NULL)) {
        lq_error_set(error, QUOTA_INVALID,
                     "tls_cert and tls_key go together, and with tls_ca, the authority that the "
                     "server is known by");
        return NULL;
    }
    if (!read_token(config, secure, error)) {
        return NULL;
    }
    return config->tls_ca_file != NULL ? open_tls(config, error)
                                       : grpc_insecure_credentials_create();
}

void lq_secure_release(struct lq_secure *secure)
{
    if (secure->has_token) {
        grpc_slice_unref(secure->authorization.value);
        secure->has_token = false;
    }
}

grpc_op lq_secure_begin(struct lq_secure *secure)
{
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};

    if (secure->has_token) {
        op.data.send_initial_metadata.metadata = &secure->authorization;
        op.data.send_initial_metadata.count = 1;
    }
    return op;
}
