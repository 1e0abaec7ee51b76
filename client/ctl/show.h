/* Wire messages as rows of tables, shared by commands. Layer: client/ctl. */
#ifndef QD_CLIENT_CTL_SHOW_H
#define QD_CLIENT_CTL_SHOW_H

#include "client/ctl/ctl.h"
#include "client/ctl/text.h"
#include "quota/v1/admin.pb-c.h"

/* "model=gpt-4o user=u1"; "" without keys. */
void ctl_keys_text(size_t count, Quota__V1__Entry *const *keys, char *ret, size_t size);
/* "1,200 tokens, $0.41 cost" */
void ctl_held_text(size_t count, Quota__V1__Amount *const *amounts, char *ret, size_t size);
/* By the meter's name: money, GPU time, or a count. */
struct ctl_text ctl_meter_text(const char *meter, int64_t amount);
/* How full: used + held of the limit, in percent. */
struct ctl_text ctl_fullness_text(const Quota__V1__LimitState *state);
/* "in 3 min 20 s", "-" for no time. */
struct ctl_text ctl_in_text(int64_t unix_ns);
/* A limit's counters as a table. */
void ctl_print_states(struct ctl *ctl, size_t count, Quota__V1__LimitState *const *states);
/* "more: --page TOKEN", if there is more. */
void ctl_print_more(struct ctl *ctl, const char *next_page_token);
/* "policy.yaml:14:5", "run time". */
void ctl_place_text(const Quota__V1__EffectiveLimit *limit, char *ret, size_t size);
/* Pairs as repeated Entry of a request; `entries` and `pointers` have CTL_LABELS_MAX places. */
struct ctl_labels;
void ctl_wire_entries(const struct ctl_labels *labels, Quota__V1__Entry *entries,
                      Quota__V1__Entry **pointers);
int64_t ctl_now_unix_ns(void);
/* "; blocked: reason (until ...)" or "". */
void ctl_block_text(const Quota__V1__BlockState *block, char *ret, size_t size);

#endif /* QD_CLIENT_CTL_SHOW_H */
