/* The list of a backup: what decodes encodes to the same bytes, and names no file outside of the
 * backup. Read as it is, and with a right sum appended, so that what lies behind it is reached. */
#include "server/core/hash.h"
#include "storage/backup/backup_info.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536

static void check(const char *text, size_t size)
{
    struct qd_backup_info info;
    size_t again_size = 0;

    if (qd_backup_info_decode((struct qd_str){text, size}, &info) != QD_BACKUP_DECODED) {
        return;
    }
    for (size_t i = 0; i < info.file_count; i++) {
        const char *path = info.files[i].path;
        assert(path[0] != '/' && path[0] != '.' && strstr(path, "/.") == NULL);
        assert(strncmp(path, "db/", 3) == 0 || strcmp(path, "reservation.key") == 0);
    }
    char *again = qd_backup_info_encode(&info, &again_size);
    assert(again != NULL && again_size == size && memcmp(again, text, size) == 0);
    free(again);
    qd_backup_info_release(&info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_BYTES_MAX) {
        return 0;
    }
    char *text = malloc(size + 32);
    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    check(text, size);
    int sum = snprintf(text + size, 32, "sum %016" PRIx64 "\n",
                       qd_hash64_bytes(text, size, QD_BACKUP_SUM_SEED));
    check(text, size + (size_t)sum);
    free(text);
    return 0;
}
