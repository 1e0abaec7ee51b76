#include "server/rpc/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- reading --- */

static bool refuse(struct qd_error *ret_error, const char *path, const char *why)
{
    (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s: %s", path, why);
    return false;
}

/* X7 */
static bool others_can_read(const struct stat *st)
{
    return (st->st_mode & 007) != 0 ||
           ((st->st_mode & 070) != 0 && (st->st_uid != 0 || (st->st_mode & 030) != 0));
}

static bool check_file(int fd, const char *path, bool secret, size_t *ret_size,
                       struct qd_error *ret_error)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return refuse(ret_error, path, "not a regular file");
    }
    if (secret && others_can_read(&st)) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                           "%s: others can read this key; accepted are mode 0600, and 0640 where "
                           "root owns it; run: chmod 600 %s",
                           path, path);
        return false;
    }
    if (st.st_size <= 0 || (size_t)st.st_size > QD_PEM_BYTES_MAX) {
        return refuse(ret_error, path, "accepted are PEM files of 1 byte to 1 MiB");
    }
    *ret_size = (size_t)st.st_size;
    return true;
}

bool qd_pem_read(const char *path, bool secret, struct qd_pem *ret_pem, struct qd_error *ret_error)
{
    size_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hang us */

    if (fd < 0) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s: cannot open: %s", path,
                           strerror(errno));
        return false;
    }
    if (!check_file(fd, path, secret, &size, ret_error)) {
        (void)close(fd);
        return false;
    }
    struct qd_pem pem = {malloc(size + 1), size};
    ssize_t got = pem.text != NULL ? read(fd, pem.text, size) : -1;
    (void)close(fd);
    if (got != (ssize_t)size || memchr(pem.text, '\0', size) != NULL) {
        qd_pem_release(&pem);
        return refuse(ret_error, path, "cannot be read as a PEM file");
    }
    pem.text[size] = '\0';
    *ret_pem = pem;
    return true;
}

void qd_pem_release(struct qd_pem *pem)
{
    if (pem->text != NULL) {
        OPENSSL_cleanse(pem->text, pem->size);
    }
    free(pem->text);
    *pem = (struct qd_pem){NULL, 0};
}

/* --- looking at it --- */

/* An encrypted key asks for its password: there is none. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is OpenSSL's */
static int no_password(char *buffer, int size, int writing, void *context)
{
    if (size > 0) {
        buffer[0] = '\0';
    }
    (void)writing;
    (void)context;
    return -1;
}

static BIO *bio_of(const struct qd_pem *pem)
{
    return BIO_new_mem_buf(pem->text, (int)pem->size);
}

static X509 *next_certificate(BIO *bio)
{
    return bio != NULL ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
}

/* How many certificates there are; -1: something else begins like PEM, and cannot be read. */
static int count_certificates(const struct qd_pem *pem)
{
    BIO *bio = bio_of(pem);
    X509 *one;
    int count = 0;

    ERR_clear_error();
    while ((one = next_certificate(bio)) != NULL) {
        X509_free(one);
        count++;
    }
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    return ended ? count : -1;
}

static bool check_certificates(const char *path, const struct qd_pem *pem,
                               struct qd_error *ret_error)
{
    int count = count_certificates(pem);

    if (count < 0) {
        return refuse(ret_error, path, "a certificate in it is damaged");
    }
    return count > 0 ||
           refuse(ret_error, path,
                  "no certificate in it; accepted is PEM (-----BEGIN CERTIFICATE-----)");
}

bool qd_pem_check_authorities(const char *path, const struct qd_pem *pem,
                              struct qd_error *ret_error)
{
    return check_certificates(path, pem, ret_error);
}

/* A time that OpenSSL cannot read has passed. */
static int64_t time_of(const ASN1_TIME *time)
{
    struct tm tm;

    return ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : 1;
}

bool qd_pem_check_pair(const char *cert_path, const struct qd_pem *cert, const char *key_path,
                       const struct qd_pem *key, struct qd_pem_span *ret_span,
                       struct qd_error *ret_error)
{
    if (!check_certificates(cert_path, cert, ret_error)) {
        return false;
    }
    BIO *cert_bio = bio_of(cert);
    BIO *key_bio = bio_of(key);
    X509 *leaf = next_certificate(cert_bio);
    EVP_PKEY *private =
        key_bio != NULL ? PEM_read_bio_PrivateKey(key_bio, NULL, no_password, NULL) : NULL;
    bool good = leaf != NULL && private != NULL && X509_check_private_key(leaf, private) == 1;
    if (private == NULL) {
        (void)refuse(ret_error, key_path,
                     "no private key in it that can be read; accepted is PEM without a password "
                     "(-----BEGIN PRIVATE KEY-----)");
    } else if (!good) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                           "%s: not the key of the first certificate in %s", key_path, cert_path);
    } else {
        *ret_span = (struct qd_pem_span){time_of(X509_get0_notBefore(leaf)),
                                         time_of(X509_get0_notAfter(leaf))};
    }
    EVP_PKEY_free(private);
    X509_free(leaf);
    BIO_free(key_bio);
    BIO_free(cert_bio);
    ERR_clear_error();
    return good;
}
