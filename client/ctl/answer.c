#include "client/ctl/answer.h"

#include "client/ctl/rpc.h"
#include "client/ctl/text.h"
#include "quota/v1/types.pb-c.h"

#include <json-c/json.h>

const char *ctl_green(const struct ctl *ctl)
{
    return ctl->colour ? "\033[32m" : "";
}

const char *ctl_red(const struct ctl *ctl)
{
    return ctl->colour ? "\033[31m" : "";
}

const char *ctl_plain(const struct ctl *ctl)
{
    return ctl->colour ? "\033[0m" : "";
}

void ctl_limit_state_text(const struct quota_limit *limit, char *ret, size_t size)
{
    int64_t used = limit->used + limit->held + limit->estimate;
    (void)snprintf(ret, size, "%s of %s", ctl_amount_text(used, limit->unit).text,
                   ctl_amount_text(limit->limit, limit->unit).text);
}

struct json_object *ctl_json_amounts(const struct quota_amount *amounts, size_t count)
{
    struct json_object *object = json_object_new_object();
    for (size_t i = 0; i < count; i++) {
        json_object_object_add(object, amounts[i].meter, json_object_new_int64(amounts[i].amount));
    }
    return object;
}

struct json_object *ctl_json_limit(const struct quota_limit *limit)
{
    if (limit == NULL) {
        return NULL;
    }
    struct json_object *object = json_object_new_object();
    struct json_object *keys = json_object_new_object();
    for (size_t i = 0; i < limit->key_count; i++) {
        json_object_object_add(keys, limit->keys[i].key,
                               json_object_new_string(limit->keys[i].value));
    }
    json_object_object_add(object, "name", json_object_new_string(limit->name));
    json_object_object_add(object, "tenant", json_object_new_string(limit->tenant));
    json_object_object_add(object, "keys", keys);
    json_object_object_add(object, "algorithm",
                           json_object_new_string(ctl_enum_word(&quota__v1__algorithm__descriptor,
                                                                (int)limit->algorithm)));
    json_object_object_add(object, "meter", json_object_new_string(limit->meter));
    json_object_object_add(object, "unit", json_object_new_string(limit->unit));
    json_object_object_add(object, "used", json_object_new_int64(limit->used));
    json_object_object_add(object, "held", json_object_new_int64(limit->held));
    json_object_object_add(object, "estimate", json_object_new_int64(limit->estimate));
    json_object_object_add(object, "limit", json_object_new_int64(limit->limit));
    json_object_object_add(object, "resets_at_unix_ns",
                           json_object_new_int64(limit->resets_at_unix_ns));
    json_object_object_add(object, "window_ns", json_object_new_int64(limit->window_ns));
    json_object_object_add(object, "shadow", json_object_new_boolean(limit->shadow));
    json_object_object_add(object, "hard", json_object_new_boolean(limit->hard));
    return object;
}
