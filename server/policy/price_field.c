#include "server/policy/price_field.h"

#include <string.h>

static const struct {
    const char *name;
    enum qd_meter meter;
    enum qd_cache_write_ttl ttl;
    int64_t per;
    bool is_alias;
    bool is_input_image;
} bases[] = {
    {"input_cost_per_token_cache_hit", QD_METER_CACHED_INPUT_TOKENS, 0, 1, true, false},
    {"input_cost_per_token", QD_METER_INPUT_TOKENS, 0, 1, false, false},
    {"output_cost_per_token", QD_METER_OUTPUT_TOKENS, 0, 1, false, false},
    {"output_cost_per_reasoning_token", QD_METER_REASONING_TOKENS, 0, 1, false, false},
    {"cache_read_input_token_cost", QD_METER_CACHED_INPUT_TOKENS, 0, 1, false, false},
    {"cache_creation_input_token_cost_above_1hr", QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_1H, 1,
     false, false},
    {"cache_creation_input_token_cost", QD_METER_CACHE_WRITE_TOKENS, QD_CACHE_WRITE_5M, 1, false,
     false},
    {"output_cost_per_image", QD_METER_IMAGES, 0, 1, false, false},
    {"input_cost_per_image", QD_METER_IMAGES, 0, 1, true, true},
    {"input_cost_per_second", QD_METER_PROCESSING_MS, 0, 1000, true, false},
    {"output_cost_per_second", QD_METER_PROCESSING_MS, 0, 1000, false, false},
    {"input_cost_per_request", QD_METER_REQUESTS, 0, 1, false, false},
    {"input_cost_per_query", QD_METER_REQUESTS, 0, 1, true, false},
};

static const struct {
    const char *part;
    const char *reason;
} reasons[] = {
    {"search_context", "searches are not a meter"},
    {"uplift", "a factor on other prices, by region"},
    {"dbu", "in the provider's own units, not dollars"},
    {"audio", "audio is not a meter of its own"},
    {"video", "video is not a meter of its own"},
    {"image_token", "image tokens are not a meter of their own"},
    {"image", "images given as input are not a meter"},
    {"pixel", "pixels are not a meter"},
    {"character", "characters are not a meter"},
    {"page", "pages are not a meter"},
    {"session", "sessions are not a meter"},
    {"citation", "citations are not a meter"},
    {"credit", "in the provider's own units, not dollars"},
    {"file_search", "file searches are not a meter"},
    {"vector_store", "storage is not a meter"},
    {"computer_use", "computer use is not a meter of its own"},
    {"1080p", "resolutions are not a variant"},
};

/* "_above_200k_tokens": the number of tokens, and what is left of `text`. 0 if it is not of this
 * form. */
static int64_t read_above(const char **text)
{
    static const char prefix[] = "_above_";
    static const char suffix[] = "k_tokens";
    const char *p = *text;
    int64_t thousands = 0;
    if (strncmp(p, prefix, sizeof prefix - 1) != 0) {
        return 0;
    }
    for (p += sizeof prefix - 1; *p >= '0' && *p <= '9' && thousands < 1000000; p++) {
        thousands = thousands * 10 + (*p - '0');
    }
    if (strncmp(p, suffix, sizeof suffix - 1) != 0) {
        return 0;
    }
    *text = p + sizeof suffix - 1;
    return thousands * 1000;
}

static bool read_tier(const char *text, uint8_t *ret_tier)
{
    static const struct {
        const char *name;
        enum qd_price_tier tier;
    } tiers[] = {{"", QD_TIER_STANDARD},
                 {"_batches", QD_TIER_BATCH},
                 {"_batch", QD_TIER_BATCH},
                 {"_priority", QD_TIER_PRIORITY},
                 {"_flex", QD_TIER_FLEX}};
    for (size_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++) {
        if (strcmp(text, tiers[i].name) == 0) {
            *ret_tier = (uint8_t)tiers[i].tier;
            return true;
        }
    }
    return false;
}

static struct qd_price_field unknown_field(const char *name)
{
    struct qd_price_field f = {.kind = QD_FIELD_OTHER};
    if (strstr(name, "cost") == NULL && strstr(name, "pric") == NULL &&
        strstr(name, "uplift") == NULL) {
        return f;
    }
    f.kind = QD_FIELD_UNKNOWN;
    f.reason = "no meter or variant of a price is known for it";
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (strstr(name, reasons[i].part) != NULL) {
            f.reason = reasons[i].reason;
            break;
        }
    }
    return f;
}

struct qd_price_field qd_price_field_parse(const char *name)
{
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        size_t len = strlen(bases[i].name);
        if (strncmp(name, bases[i].name, len) != 0) {
            continue;
        }
        const char *rest = name + len;
        struct qd_price_field f = {
            .kind = QD_FIELD_PRICE,
            .meter = (uint8_t)bases[i].meter,
            .cache_write_ttl = (uint8_t)bases[i].ttl,
            .is_alias = bases[i].is_alias,
            .is_input_image = bases[i].is_input_image,
            .per = bases[i].per,
        };
        f.above_input = read_above(&rest);
        if (read_tier(rest, &f.tier)) {
            return f;
        }
    }
    return unknown_field(name);
}
