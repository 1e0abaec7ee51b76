#include "tests/unit/rpc/certs.h"

#include "tests/lib/process.h"

#include <criterion/criterion.h>
#include <grpc/grpc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test"

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
    run(dir, "openssl req -x509 " NEW_KEY " -days 2 -keyout %s.key -out %s.pem", name, name);
}

void certs_make(const struct qd_tempdir *dir, const char *name, const char *authority,
                const char *names, int days)
{
    if (authority == NULL) {
        run(dir,
            "openssl req -x509 " NEW_KEY
            " -days %d -addext subjectAltName=%s -keyout %s.key -out %s.pem",
            days, names, name, name);
        return;
    }
    run(dir,
        "echo subjectAltName=%s >%s.ext && openssl req " NEW_KEY " -keyout %s.key -out %s.csr && "
        "openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial -days %d "
        "-extfile %s.ext -out %s.pem",
        names, name, name, name, name, authority, authority, days, name, name);
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
