/* What libquota reads from the files of secrets leaves nothing behind in memory (X7). */
#include "client/secure.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(secure, .timeout = 60);

/* A secret that is nowhere in this program's memory as it is in the file: each byte is one more
 * here. */
static const char shifted[] = "t4dsfu.uibu.opcpez.fmtf.ibt.sfbe.R{";
#define SECRET_LEN (sizeof(shifted) - 1)

static char folder[] = "/tmp/quota-secure-XXXXXX";
static char path[64];

/* What comes before it in the file: whoever frees memory writes over its first bytes. */
#define PADDING "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* The file: `before`, the secret, `after`. Written byte by byte, so that no buffer has it. */
static void write_secret(const char *before, const char *after)
{
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20); /* what is freed stays in sight */
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/secret", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, before, strlen(before)), (ssize_t)strlen(before));
    for (size_t i = 0; i < SECRET_LEN; i++) {
        char byte = (char)(shifted[i] - 1);
        cr_assert_eq(write(fd, &byte, 1), 1);
    }
    cr_assert_eq(write(fd, after, strlen(after)), (ssize_t)strlen(after));
    (void)close(fd);
}

static void remove_secret(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static bool is_secret(const unsigned char *at)
{
    size_t i = 0;

    while (i < SECRET_LEN && at[i] == (unsigned char)(shifted[i] - 1)) {
        i++;
    }
    return i == SECRET_LEN;
}

#define PIECE ((size_t)1 << 20)

/* How often it is in [from, to). */
static unsigned count_in(int memory, uint64_t from, uint64_t to)
{
    static unsigned char piece[PIECE];
    unsigned count = 0;

    while (from < to) {
        ssize_t got = pread(memory, piece, to - from < PIECE ? to - from : PIECE, (off_t)from);
        if (got < (ssize_t)SECRET_LEN) {
            break;
        }
        for (size_t i = 0; i + SECRET_LEN <= (size_t)got; i++) {
            count += piece[i] == (unsigned char)(shifted[0] - 1) && is_secret(piece + i);
        }
        from += (uint64_t)got;
    }
    memset(piece, 0, sizeof(piece));
    return count;
}

#define REGION_MAX ((uint64_t)1 << 30) /* a sanitizer's shadow is larger */

/* In all memory that the process may write. */
static unsigned count_secrets(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY);
    char line[512];
    unsigned count = 0;

    cr_assert(maps != NULL && memory >= 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        char *rest;
        uint64_t from = strtoull(line, &rest, 16);
        uint64_t to = strtoull(rest + 1, &rest, 16);
        if (strncmp(rest, " rw-p", 5) == 0 && to - from <= REGION_MAX) {
            count += count_in(memory, from, to);
        }
    }
    (void)fclose(maps);
    (void)close(memory);
    return count;
}

static void open_secure(struct quota_config config, bool good)
{
    struct lq_secure secure = {0};
    struct quota_error error;

    config.address = "127.0.0.1:7070";
    grpc_channel_credentials *credentials = lq_secure_open(&config, &secure, &error);
    cr_expect_eq(credentials != NULL, good, "%s", error.message);
    if (credentials != NULL) {
        grpc_channel_credentials_release(credentials);
    }
    lq_secure_release(&secure);
}

Test(secure, X7_a_token_that_is_refused_is_nowhere_in_memory)
{
    write_secret(PADDING " ", " words\n");
    open_secure((struct quota_config){.token_file = path}, false);
    cr_expect_eq(count_secrets(), 0);
    remove_secret();
}

Test(secure, X7_a_key_that_is_refused_is_nowhere_in_memory)
{
    char cert[80];

    write_secret(PADDING, "");
    (void)snprintf(cert, sizeof(cert), "%s/cert", folder);
    FILE *file = fopen(cert, "w");
    cr_assert_not_null(file);
    (void)fputs("-----BEGIN CERTIFICATE-----\n", file);
    (void)fclose(file);
    open_secure(
        (struct quota_config){.tls_ca_file = cert, .tls_cert_file = cert, .tls_key_file = path},
        false);
    cr_expect_eq(count_secrets(), 0);
    (void)unlink(cert);
    remove_secret();
}

/* gRPC has it while the client lives, and frees it without a word: nobody else has it. */
Test(secure, X7_a_token_in_use_is_in_memory_once)
{
    struct lq_secure secure = {0};
    struct quota_error error;
    struct quota_config config = {.address = "127.0.0.1:7070"};

    write_secret(PADDING, "\n");
    config.token_file = path;
    grpc_init();
    grpc_channel_credentials *credentials = lq_secure_open(&config, &secure, &error);
    cr_assert_not_null(credentials);
    cr_expect_eq(count_secrets(), 1);
    grpc_channel_credentials_release(credentials);
    lq_secure_release(&secure);
    grpc_shutdown_blocking();
    remove_secret();
}
