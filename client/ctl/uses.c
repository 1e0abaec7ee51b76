#include "client/ctl/uses.h"

#include <string.h>

bool ctl_read_uses(struct ctl *ctl, const struct ctl_args *args, bool estimate,
                   struct ctl_uses *ret)
{
    const char *text;
    *ret = (struct ctl_uses){.count = 0};
    for (size_t i = 0; (text = ctl_arg_at(args, "use", i)) != NULL; i++) {
        if (ret->count == CTL_USES_MAX - 1) {
            (void)ctl_fail(ctl, "more than %d --use options", CTL_USES_MAX - 1);
            return false;
        }
        int64_t amount = 0;
        char *name = ret->names[ret->count];
        if (!ctl_read_use(ctl, "--use", text, name, &amount)) {
            return false;
        }
        if (strcmp(name, "max_output_tokens") == 0 && estimate) {
            ret->max_output_given = true;
            ret->max_output = amount;
            continue;
        }
        if (strcmp(name, "max_output_tokens") == 0) {
            (void)ctl_fail(ctl, "max_output_tokens is an estimate, not usage; report what was "
                                "produced as output_tokens=N");
            return false;
        }
        for (size_t k = 0; k < ret->count; k++) {
            if (strcmp(ret->names[k], name) == 0) {
                (void)ctl_fail(ctl, "--use %s is given twice", name);
                return false;
            }
        }
        ret->amounts[ret->count] = (struct quota_amount){name, amount};
        ret->count += 1;
    }
    return true;
}

bool ctl_read_labels(struct ctl *ctl, const struct ctl_args *args, const char *option,
                     struct ctl_labels *ret)
{
    const char *text;
    char shown[64];
    (void)snprintf(shown, sizeof shown, "--%s", option);
    ret->count = 0;
    for (size_t i = 0; (text = ctl_arg_at(args, option, i)) != NULL; i++) {
        if (ret->count == CTL_LABELS_MAX - 1) {
            (void)ctl_fail(ctl, "more than %d %s options", CTL_LABELS_MAX - 1, shown);
            return false;
        }
        struct ctl_pair *pair = &ret->pairs[ret->count];
        if (!ctl_read_pair(ctl, shown, text, pair)) {
            return false;
        }
        ret->entries[ret->count] = (struct quota_entry){pair->key, pair->value};
        ret->count += 1;
    }
    return true;
}

bool ctl_read_tier(struct ctl *ctl, const char *text, enum quota_tier *ret)
{
    static const char *const words[] = {"standard", "batch", "priority", "flex", NULL};
    int index = text != NULL ? ctl_read_word(ctl, "--tier", text, words) : 0;
    *ret = (enum quota_tier)(index > 0 ? index : 0);
    return index >= 0;
}

bool ctl_read_cache_write(struct ctl *ctl, const char *text, enum quota_cache_write *ret)
{
    static const char *const words[] = {"5m", "1h", NULL};
    int index = text != NULL ? ctl_read_word(ctl, "--cache-write", text, words) : -2;
    *ret = index == 0   ? QUOTA_CACHE_WRITE_5M
           : index == 1 ? QUOTA_CACHE_WRITE_1H
                        : QUOTA_CACHE_WRITE_DEFAULT;
    return index != -1;
}
