/* What is in a backup: the file `backup` of its folder, as text that people can read.
 *
 *   quotad backup 1
 *   made 1796000000000000000
 *   node gateway-1
 *   version 0.1.0
 *   incarnation 3
 *   sequence 1200
 *   complete_through 1795999999000000000
 *   file 16 reservation.key
 *   file 16 db/CURRENT
 *   sum 0f1e2d3c4b5a6978
 *
 * Layer:    storage/backup
 * Units:    wall ns, bytes.
 * Threads:  none.
 * Memory:   an info owns its list of files; release it.
 */
#ifndef QD_STORAGE_BACKUP_BACKUP_INFO_H
#define QD_STORAGE_BACKUP_BACKUP_INFO_H

#include "server/core/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_BACKUP_FORMAT     1
#define QD_BACKUP_WORD_MAX   64         /* node, version, a file's name within its folder */
#define QD_BACKUP_FILES_MAX  1000000    /* more is no list of ours */
#define QD_BACKUP_INFO_BYTES (96 << 20) /* nor is more than this */

/* Of the hash of all lines before the last: damage shows, forgery does not. */
#define QD_BACKUP_SUM_SEED UINT64_C(0x71756f7461646231)

struct qd_backup_file {
    char path[QD_BACKUP_WORD_MAX + 4]; /* "reservation.key", or "db/" and a plain name */
    uint64_t bytes;
};

struct qd_backup_info {
    int64_t made_unix_ns;
    char node[QD_BACKUP_WORD_MAX];
    char version[QD_BACKUP_WORD_MAX];
    uint64_t incarnation; /* of the node when it was made */
    uint64_t sequence;    /* ledger entries up to this one are in it, and no later ones */
    int64_t complete_through_ns;
    struct qd_backup_file *files;
    size_t file_count;
    size_t file_room;
};

void qd_backup_info_release(struct qd_backup_info *info);

/* Add a file to the list. False: out of memory, or a name that the list cannot hold. */
bool qd_backup_info_add(struct qd_backup_info *info, const char *path, uint64_t bytes);

/* Bytes of all files. */
uint64_t qd_backup_info_bytes(const struct qd_backup_info *info);

/* The text, to be freed, and its size. NULL: out of memory. */
char *qd_backup_info_encode(const struct qd_backup_info *info, size_t *ret_size);

enum qd_backup_decoded {
    QD_BACKUP_DECODED,
    QD_BACKUP_DECODED_BAD,
    QD_BACKUP_DECODED_NEWER, /* a higher format */
    QD_BACKUP_DECODED_NO_MEMORY,
};

/* The info of a text; it encodes to the same bytes. *ret_info is untouched unless DECODED. */
enum qd_backup_decoded qd_backup_info_decode(struct qd_str text, struct qd_backup_info *ret_info);

#endif /* QD_STORAGE_BACKUP_BACKUP_INFO_H */
