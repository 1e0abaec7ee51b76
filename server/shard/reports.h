/* Reports that go to the disk together: a caller with several at hand begins all of them, then
 * books and waits once (L2).
 *
 * Layer:    shard
 * Threads:  the worker's own, entered from the first begin to the end of finish.
 * Memory:   `capacity` reports of about 9 KiB. A report's arguments, and what they point to, stay
 *           until finish.
 */
#ifndef QD_SHARD_REPORTS_H
#define QD_SHARD_REPORTS_H

#include "server/shard/node.h"

struct qd_reports;

/* What became of one: the answer counts if the code is QD_ERROR_NONE. */
struct qd_report_result {
    enum qd_error_code code;
    struct qd_error error;
    struct qd_report_answer answer;
};

struct qd_reports *qd_reports_new(struct qd_worker *worker, uint32_t capacity);
/* NULL is fine. None may be under way. */
void qd_reports_free(struct qd_reports *reports);

/* Begin one: it is validated and priced. False, and it is not begun:
 * finish those that are, first. They are `capacity`, or another report of the same reservation is
 * under way. The first one after a finish is never turned away; it may wait for such another. */
bool qd_reports_begin(struct qd_reports *reports, const struct qd_report_args *args);

/* Book all that were begun, wait until they are on disk, and apply them in their order. Results are
 * there until the next begin. Returns how many: 0 if none was begun since the last finish. */
uint32_t qd_reports_finish(struct qd_reports *reports);
struct qd_report_result *qd_reports_result(struct qd_reports *reports, uint32_t i);

/* One by itself. Blocks for a synced write. */
enum qd_error_code qd_node_report(struct qd_worker *worker, const struct qd_report_args *args,
                                  struct qd_report_answer *ret_answer, struct qd_error *ret_error);

#endif /* QD_SHARD_REPORTS_H */
