/* Problems that the server's own loaders found, for people and as JSON. Layer: client/ctl. */
#ifndef QD_CLIENT_CTL_PROBLEMS_H
#define QD_CLIENT_CTL_PROBLEMS_H

#include "client/ctl/ctl.h"
#include "server/policy/problem.h"

struct json_object;

/* [{"severity", "file", "line", "column", "message"}] */
struct json_object *ctl_json_problems(const struct qd_problems *problems);

/* One a line on `err`; nothing if there are none. */
void ctl_print_problems(struct ctl *ctl, const struct qd_problems *problems);

#endif /* QD_CLIENT_CTL_PROBLEMS_H */
