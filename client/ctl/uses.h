/* Repeated options as the arrays that libquota takes. Layer: client/ctl. */
#ifndef QD_CLIENT_CTL_USES_H
#define QD_CLIENT_CTL_USES_H

#include "client/ctl/ctl.h"

enum {
    CTL_USES_MAX = 33,
    CTL_LABELS_MAX = 17
};

struct ctl_uses {
    char names[CTL_USES_MAX][CTL_METER_MAX];
    struct quota_amount amounts[CTL_USES_MAX]; /* point into `names` */
    size_t count;
    bool max_output_given;
    int64_t max_output;
};

/* All --use options. `max_output_tokens` goes to its own field if `estimate`, and is refused with a
 * hint if not. False after a message. */
bool ctl_read_uses(struct ctl *ctl, const struct ctl_args *args, bool estimate,
                   struct ctl_uses *ret);

struct ctl_labels {
    struct ctl_pair pairs[CTL_LABELS_MAX];
    struct quota_entry entries[CTL_LABELS_MAX]; /* point into `pairs` */
    size_t count;
};

/* All options of this name, KEY=VALUE each. */
bool ctl_read_labels(struct ctl *ctl, const struct ctl_args *args, const char *option,
                     struct ctl_labels *ret);

/* A price variant: "standard", "batch", "priority", "flex". NULL: standard. */
bool ctl_read_tier(struct ctl *ctl, const char *text, enum quota_tier *ret);
/* "5m", "1h". NULL: the default. */
bool ctl_read_cache_write(struct ctl *ctl, const char *text, enum quota_cache_write *ret);

#endif /* QD_CLIENT_CTL_USES_H */
