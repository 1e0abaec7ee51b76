/* How far the ledger had come, in a file of its own beside the store. A store that comes back with
 * less (its log was damaged, cut or lost, or it is an older copy) goes on as if nothing were
 * missing; by this file the next start notices that what was acknowledged is not there (X4).
 *
 * Layer:    server/ledger
 * Threads:  one at a time.
 * Memory:   opaque.
 *
 * It is raised about once a second, so what is lost of the last second goes unnoticed. Two numbers
 * as text, written in place: readable, and of one sector. A file that cannot be read as such counts
 * as none: it must not keep a whole ledger from being served. But somebody has to be told.
 */
#ifndef QD_LEDGER_TIDEMARK_H
#define QD_LEDGER_TIDEMARK_H

#include "server/ledger/ledger.h"

struct qd_tidemark; /* opaque */

struct qd_tide {
    uint64_t sequence;    /* of the last entry that is surely durable */
    uint64_t incarnation; /* boots: their numbers must not come again (S1) */
};

#define QD_TIDE_TEXT_SIZE 42U

enum qd_tidemark_found {
    QD_TIDEMARK_NONE, /* no file, or an empty one: it was made */
    QD_TIDEMARK_READ,
    QD_TIDEMARK_UNREADABLE,
};

/* "<sequence> <incarnation>\n", each of 20 digits; with a 0 behind it. */
void qd_tide_encode(struct qd_tide tide, char ret_text[QD_TIDE_TEXT_SIZE + 1]);
/* False: it is something else. */
bool qd_tide_decode(const char *text, size_t size, struct qd_tide *ret_tide);

/* Open the file, or make it: OK, ACCESS, FULL, NO_MEMORY. */
__attribute__((warn_unused_result)) enum qd_store_err qd_tidemark_open(
    const char *path, struct qd_tidemark **ret_mark, struct qd_store_error *error);
void qd_tidemark_close(struct qd_tidemark *mark); /* NULL is fine */

/* Zeros: nothing is known. */
struct qd_tide qd_tidemark_get(const struct qd_tidemark *mark);
/* What there was when it was opened. */
enum qd_tidemark_found qd_tidemark_found(const struct qd_tidemark *mark);

/* Raise it durably to what is higher than it; nothing is written if nothing is. False: it could not
 * be written, and stays as it was. Nothing depends on it but the notice. */
bool qd_tidemark_raise(struct qd_tidemark *mark, struct qd_tide tide);

#endif /* QD_LEDGER_TIDEMARK_H */
