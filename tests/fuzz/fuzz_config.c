/* The configuration file: no input crashes it; what it refuses has a message, what it accepts can
 * be checked and printed, and holds only what the table of settings allows. */
#include "server/config.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_config config;
    char error[QD_CONFIG_ERROR_MAX] = "";

    if (size > FUZZ_BYTES_MAX || !qd_config_init(&config)) {
        return 0;
    }
    bool good = qd_config_bytes(&config, "fuzz.yaml", data, size, error);
    assert(good || strncmp(error, "fuzz.yaml:", 10) == 0);
    assert(qd_config_number(&config, QD_SET_SHARDS) >= 1 &&
           qd_config_number(&config, QD_SET_SHARDS) <= 256);
    assert(qd_config_number(&config, QD_SET_THREADS) >= 0 &&
           qd_config_number(&config, QD_SET_THREADS) <= 128);
    error[0] = '\0';
    assert(qd_config_check(&config, error) == (error[0] == '\0'));
    char *text = qd_config_text(&config);
    assert(text != NULL);
    free(text);
    qd_config_release(&config);
    return 0;
}
