#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct setting {
    const char *name;
    const char *argument;
    enum qd_setting_kind kind;
    int64_t min;
    int64_t max;
    const char *standard;
};

#define SETTING_ROW(id, name, argument, kind, min, max, standard, help) \
    {name, argument, QD_SETTING_##kind, min, max, standard},
static const struct setting settings[QD_SETTING_COUNT_ALL] = {QD_SETTINGS(SETTING_ROW)};
#undef SETTING_ROW

bool qd_config_init(struct qd_config *config)
{
    char error[QD_CONFIG_ERROR_MAX];
    memset(config, 0, sizeof(*config));
    for (int i = 0; i < QD_SETTING_COUNT_ALL; i++) {
        if (!qd_config_set(config, settings[i].name, settings[i].standard, QD_ORIGIN_DEFAULT,
                           "default", error)) {
            qd_config_release(config);
            return false;
        }
    }
    return true;
}

void qd_config_release(struct qd_config *config)
{
    for (int i = 0; i < QD_SETTING_COUNT_ALL; i++) {
        free(config->value[i].text);
        free(config->value[i].where);
    }
    memset(config, 0, sizeof(*config));
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* The setting that begins most like `name`: for "did you mean". */
static const char *nearest(const char *name)
{
    const char *best = NULL;
    size_t best_length = 2;
    for (int i = 0; i < QD_SETTING_COUNT_ALL; i++) {
        size_t n = common_prefix(name, settings[i].name);
        if (n > best_length) {
            best_length = n;
            best = settings[i].name;
        }
    }
    return best;
}

static int find(const char *name)
{
    for (int i = 0; i < QD_SETTING_COUNT_ALL; i++) {
        if (strcmp(name, settings[i].name) == 0) {
            return i;
        }
    }
    return -1;
}

/* A whole number and where it ends; false: none, or too large. */
static bool parse_digits(const char *text, int64_t *ret_number, const char **ret_end)
{
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || number > INT64_C(1000000000000)) {
        return false;
    }
    *ret_number = number;
    *ret_end = end;
    return true;
}

struct unit {
    const char *name;
    int64_t factor;
};

static bool parse_unit(const char *text, const struct unit *units, int64_t *number)
{
    for (const struct unit *u = units; u->name; u++) {
        if (strcmp(text, u->name) == 0) {
            return !__builtin_mul_overflow(*number, u->factor, number);
        }
    }
    return false;
}

static bool parse_count(const struct setting *s, const char *text, int64_t *ret_number)
{
    static const struct unit units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {NULL, 0}};
    const char *end = NULL;
    return parse_digits(text, ret_number, &end) && parse_unit(end, units, ret_number) &&
           *ret_number >= s->min && *ret_number <= s->max;
}

static bool parse_duration(const struct setting *s, const char *text, int64_t *ret_number)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    const char *end = NULL;
    return parse_digits(text, ret_number, &end) && parse_unit(end, units, ret_number) &&
           *ret_number >= s->min && *ret_number <= s->max;
}

static bool parse_address(const struct setting *s, const char *text)
{
    if (*text == '\0' && *s->standard == '\0') {
        return true;
    }
    const char *colon = strrchr(text, ':');
    int64_t port = 0;
    const char *end = NULL;
    return colon && colon != text && parse_digits(colon + 1, &port, &end) && *end == '\0' &&
           port >= s->min && port <= s->max;
}

static bool parse_choice(const char *text, const char *const *choices, int64_t *ret_number)
{
    for (int64_t i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *ret_number = i;
            return true;
        }
    }
    return false;
}

static const char *const flag_choices[] = {"false", "true", NULL};
static const char *const level_choices[] = {"debug", "info", "warn", "error", NULL};

static bool parse_value(const struct setting *s, const char *text, int64_t *ret_number)
{
    *ret_number = 0;
    switch (s->kind) {
    case QD_SETTING_TEXT:
        return true;
    case QD_SETTING_FLAG:
        return parse_choice(text, flag_choices, ret_number);
    case QD_SETTING_COUNT:
        return parse_count(s, text, ret_number);
    case QD_SETTING_ADDRESS: /* none, where none is the default */
        return (*text == '\0' && *s->standard == '\0') || parse_address(s, text);
    case QD_SETTING_DURATION:
        return parse_duration(s, text, ret_number);
    case QD_SETTING_LEVEL:
        return parse_choice(text, level_choices, ret_number);
    }
    return false;
}

static void accepted(const struct setting *s, char *text, size_t size)
{
    switch (s->kind) {
    case QD_SETTING_TEXT:
        snprintf(text, size, "any text");
        break;
    case QD_SETTING_FLAG:
        snprintf(text, size, "true or false");
        break;
    case QD_SETTING_COUNT:
        snprintf(text, size, "a whole number from %lld to %lld, such as 500, 40k or 1M",
                 (long long)s->min, (long long)s->max);
        break;
    case QD_SETTING_ADDRESS:
        snprintf(text, size, "HOST:PORT with a port from 0 (any free one) to 65535");
        break;
    case QD_SETTING_DURATION:
        snprintf(text, size, "a time such as 500ms, 10s, 5m, 2h or 35d, from %lld ms to %lld ms",
                 (long long)s->min, (long long)s->max);
        break;
    case QD_SETTING_LEVEL:
        snprintf(text, size, "debug, info, warn or error");
        break;
    }
}

static bool refuse_name(const char *name, const char *where, char *error)
{
    const char *best = nearest(name);
    if (best) {
        snprintf(error, QD_CONFIG_ERROR_MAX,
                 "%s: unknown setting \"%s\"; did you mean \"%s\"? quotad --help lists them all",
                 where, name, best);
    } else {
        snprintf(error, QD_CONFIG_ERROR_MAX,
                 "%s: unknown setting \"%s\"; quotad --help lists them all", where, name);
    }
    return false;
}

bool qd_config_set(struct qd_config *config, const char *name, const char *text,
                   enum qd_origin origin, const char *where, char error[QD_CONFIG_ERROR_MAX])
{
    int index = find(name);
    if (index < 0) {
        return refuse_name(name, where, error);
    }
    const struct setting *s = &settings[index];
    int64_t number = 0;
    if (!parse_value(s, text, &number)) {
        char accept[160];
        accepted(s, accept, sizeof(accept));
        snprintf(error, QD_CONFIG_ERROR_MAX, "%s: \"%s\" is not a value for %s; accepted: %s",
                 where, text, name, accept);
        return false;
    }
    struct qd_setting_value *value = &config->value[index];
    if (value->text && origin < value->origin) {
        return true;
    }
    char *text_copy = strdup(text);
    char *where_copy = strdup(where);
    if (!text_copy || !where_copy) {
        free(text_copy);
        free(where_copy);
        snprintf(error, QD_CONFIG_ERROR_MAX, "out of memory");
        return false;
    }
    free(value->text);
    free(value->where);
    *value = (struct qd_setting_value){text_copy, number, origin, where_copy};
    return true;
}

/* "QUOTAD_DATA_DIR" to "data-dir". */
static bool name_from_environment(const char *variable, size_t length, char *name, size_t size)
{
    if (length >= size) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        char c = variable[i];
        name[i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
    }
    name[length] = '\0';
    return true;
}

/* What Kubernetes puts into every container beside a Service that is named quotad: no settings. */
static bool is_service_link(const char *rest)
{
    return strncmp(rest, "SERVICE_", 8) == 0 || strncmp(rest, "PORT=", 5) == 0 ||
           (strncmp(rest, "PORT_", 5) == 0 && isdigit((unsigned char)rest[5]));
}

bool qd_config_environment(struct qd_config *config, char *const *environment,
                           char error[QD_CONFIG_ERROR_MAX])
{
    static const char prefix[] = "QUOTAD_";
    for (char *const *e = environment; *e; e++) {
        const char *equals = strchr(*e, '=');
        if (strncmp(*e, prefix, sizeof(prefix) - 1) != 0 || !equals) {
            continue;
        }
        const char *rest = *e + sizeof(prefix) - 1;
        char name[64];
        char where[80];
        snprintf(where, sizeof(where), "%.*s", (int)(equals - *e), *e);
        if (strcmp(where, "QUOTAD_CONFIG") == 0 || strcmp(where, "QUOTAD_ADDRESS") == 0 ||
            is_service_link(rest)) {
            continue;
        }
        if (!name_from_environment(rest, (size_t)(equals - rest), name, sizeof(name))) {
            return refuse_name("", where, error);
        }
        if (!qd_config_set(config, name, equals + 1, QD_ORIGIN_ENVIRONMENT, where, error)) {
            return false;
        }
    }
    return true;
}

/* NULL, or what contradicts itself. */
static const char *check_tls(const struct qd_config *config)
{
    bool cert = *qd_config_get(config, QD_SET_TLS_CERT) != '\0';
    bool key = *qd_config_get(config, QD_SET_TLS_KEY) != '\0';
    bool client_ca = *qd_config_get(config, QD_SET_TLS_CLIENT_CA) != '\0';
    const char *how = qd_config_get(config, QD_SET_TLS_CLIENT_AUTH);

    if (cert != key) {
        return "--tls-cert and --tls-key go together; pass both, or neither for plaintext";
    }
    if (client_ca && !cert) {
        return "--tls-client-ca needs TLS: pass --tls-cert FILE and --tls-key FILE";
    }
    if (strcmp(how, "require") != 0 && strcmp(how, "optional") != 0) {
        return "--tls-client-auth: accepted are require and optional";
    }
    if (strcmp(how, "optional") == 0 && !client_ca) {
        return "--tls-client-auth optional needs --tls-client-ca FILE";
    }
    return NULL;
}

bool qd_config_check(const struct qd_config *config, char error[QD_CONFIG_ERROR_MAX])
{
    bool policy = *qd_config_get(config, QD_SET_POLICY) != '\0';
    bool dev = qd_config_number(config, QD_SET_DEV) != 0;
    int64_t shards = qd_config_number(config, QD_SET_SHARDS);
    const char *when_full = qd_config_get(config, QD_SET_RLS_WHEN_FULL);
    const char *wrong = NULL;
    if (policy && dev) {
        wrong = "--policy and --dev contradict each other; pass one of them";
    } else if (!policy && !dev) {
        wrong = "no policy: pass --policy FILE or --dev";
    } else if ((shards & (shards - 1)) != 0) {
        wrong = "--shards must be a power of two: 1, 2, 4, ... 256";
    } else if (*qd_config_get(config, QD_SET_DATA_DIR) == '\0') {
        wrong = "no data directory: pass --data-dir DIR";
    } else if (strcmp(when_full, "error") != 0 && strcmp(when_full, "deny") != 0) {
        wrong = "--rls-when-full: accepted are error and deny";
    } else {
        wrong = check_tls(config);
    }
    if (wrong) {
        snprintf(error, QD_CONFIG_ERROR_MAX, "%s", wrong);
    }
    return !wrong;
}

char *qd_config_text(const struct qd_config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        return NULL;
    }
    for (int i = 0; i < QD_SETTING_COUNT_ALL; i++) {
        const struct qd_setting_value *value = &config->value[i];
        fprintf(out, "%-18s %-24s # %s\n", settings[i].name, *value->text ? value->text : "\"\"",
                value->where);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
