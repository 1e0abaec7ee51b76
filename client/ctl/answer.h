/* Answers of checks, reports and extensions: lines for people, and JSON. Layer: client/ctl. */
#ifndef QD_CLIENT_CTL_ANSWER_H
#define QD_CLIENT_CTL_ANSWER_H

#include "client/ctl/ctl.h"

struct json_object;

/* "$0.41 of $500": used and held, this request included. */
void ctl_limit_state_text(const struct quota_limit *limit, char *ret, size_t size);

/* Colour of a word, or "" without colours. */
const char *ctl_green(const struct ctl *ctl);
const char *ctl_red(const struct ctl *ctl);
const char *ctl_plain(const struct ctl *ctl);

struct json_object *ctl_json_limit(const struct quota_limit *limit);
struct json_object *ctl_json_amounts(const struct quota_amount *amounts, size_t count);

#endif /* QD_CLIENT_CTL_ANSWER_H */
