#include "tests/unit/rpc/certs.h"

#include "tests/lib/process.h"

#include <criterion/criterion.h>
#include <grpc/grpc.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EC_KEY_OPTIONS "ec -pkeyopt ec_paramgen_curve:prime256v1"
#define NEW_KEY        "-newkey %s -nodes -subj /CN=test"

__attribute__((format(printf, 2, 3))) static void run(const struct qd_tempdir *dir,
                                                      const char *format, ...)
{
    char command[4096];
    char line[sizeof(command) + PATH_MAX + 100];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    (void)snprintf(line, sizeof(line),
                   "cd %s && { %s; } >openssl.log 2>&1 || { cat openssl.log; false; }", dir->path,
                   command);
    cr_assert_eq(system(line), 0, "%s", command);
}

void certs_authority(const struct qd_tempdir *dir, const char *name)
{
    run(dir, "openssl req -x509 " NEW_KEY " -days 2 -keyout %s.key -out %s.pem", EC_KEY_OPTIONS,
        name, name);
}

void certs_make_as(const struct qd_tempdir *dir, const char *name, const char *authority,
                   const struct certs_kind *kind)
{
    run(dir,
        "echo '%s' >%s.ext && openssl req " NEW_KEY " -keyout %s.key -out %s.csr && "
        "openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial -days %d "
        "-extfile %s.ext -%s -out %s.pem",
        kind->extension, name, kind->key != NULL ? kind->key : EC_KEY_OPTIONS, name, name, name,
        authority, authority, kind->days, name, kind->digest != NULL ? kind->digest : "sha256",
        name);
}

void certs_make(const struct qd_tempdir *dir, const char *name, const char *authority,
                const char *names, int days)
{
    char extension[512];
    struct certs_kind kind = {.extension = extension, .days = days};

    if (authority == NULL) {
        run(dir,
            "openssl req -x509 " NEW_KEY
            " -days %d -addext subjectAltName=%s -keyout %s.key -out %s.pem",
            EC_KEY_OPTIONS, days, names, name, name);
        return;
    }
    (void)snprintf(extension, sizeof(extension), "subjectAltName=%s", names);
    certs_make_as(dir, name, authority, &kind);
}

void certs_date(const struct qd_tempdir *dir, const char *name, const char *authority,
                int64_t begins_s, int64_t ends_s)
{
    char file_name[64];
    char path[PATH_MAX];
    FILE *file;

    (void)snprintf(file_name, sizeof(file_name), "%s.key", authority);
    cr_assert_not_null(file = fopen(qd_tempdir_path(dir, file_name, path), "r"), "%s", path);
    EVP_PKEY *signer = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    (void)fclose(file);
    (void)snprintf(file_name, sizeof(file_name), "%s.pem", name);
    cr_assert_not_null(file = fopen(qd_tempdir_path(dir, file_name, path), "r"), "%s", path);
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    cr_assert(signer != NULL && cert != NULL);
    (void)ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)begins_s);
    (void)ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)ends_s);
    cr_assert_gt(X509_sign(cert, signer, EVP_sha256()), 0);
    cr_assert_not_null(file = freopen(path, "w", file));
    cr_assert_eq(PEM_write_X509(file, cert), 1);
    (void)fclose(file);
    X509_free(cert);
    EVP_PKEY_free(signer);
}

void certs_chain(const struct qd_tempdir *dir, const char *name, const char *between)
{
    run(dir, "cat %s.pem >>%s.pem", between, name);
}

void certs_replace(const struct qd_tempdir *dir, const char *from, const char *to)
{
    run(dir, "cp -p %s.pem %s.new && mv %s.new %s.pem && cp -p %s.key %s.new && mv %s.new %s.key",
        from, to, to, to, from, to, to, to);
}

char *certs_text(const struct qd_tempdir *dir, const char *file)
{
    char path[PATH_MAX];
    char *text = qd_process_read_file(qd_tempdir_path(dir, file, path));

    cr_assert_not_null(text, "%s", path);
    return text;
}

grpc_channel_credentials *certs_channel(const struct qd_tempdir *dir, const char *authority,
                                        const char *own)
{
    char name[64];
    grpc_ssl_pem_key_cert_pair pair = {NULL, NULL};

    (void)snprintf(name, sizeof(name), "%s.pem", authority);
    char *roots = certs_text(dir, name);
    char *cert = NULL;
    char *key = NULL;
    if (own != NULL) {
        (void)snprintf(name, sizeof(name), "%s.pem", own);
        pair.cert_chain = cert = certs_text(dir, name);
        (void)snprintf(name, sizeof(name), "%s.key", own);
        pair.private_key = key = certs_text(dir, name);
    }
    grpc_channel_credentials *credentials =
        grpc_ssl_credentials_create(roots, own != NULL ? &pair : NULL, NULL, NULL);
    free(roots);
    free(cert);
    free(key);
    return credentials;
}
