#include "server/policy/tzif.h"

#include "server/policy/posix_tz.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES  63
#define FILE_BYTES_MAX  65536U
#define HEADER_BYTES    44U
#define TRANSITIONS_MAX 4096U
#define OFFSET_MAX_S    93600 /* 26 h */

/* A zone's block: the struct, its transitions and its name behind it. */
struct block {
    struct qd_zone zone;
    char name[NAME_MAX_BYTES + 1];
    struct qd_zone_transition transitions[];
};

struct header {
    size_t ut_count, std_count, leap_count, time_count, type_count, char_count;
};

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t read_i64(const uint8_t *p)
{
    return (int64_t)((uint64_t)read_u32(p) << 32 | read_u32(p + 4));
}

static bool read_header(const uint8_t *p, size_t left, struct header *ret_header)
{
    if (left < HEADER_BYTES || memcmp(p, "TZif", 4) != 0 || p[4] < '2') {
        return false;
    }
    *ret_header = (struct header){read_u32(p + 20), read_u32(p + 24), read_u32(p + 28),
                                  read_u32(p + 32), read_u32(p + 36), read_u32(p + 40)};
    const struct header *h = ret_header;
    return h->ut_count <= 256 && h->std_count <= 256 && h->leap_count <= 256 &&
           h->time_count <= TRANSITIONS_MAX / 2 && h->type_count <= 256 && h->char_count <= 4096;
}

static size_t data_bytes(const struct header *h, size_t time_bytes)
{
    return h->time_count * time_bytes + h->time_count + h->type_count * 6 + h->char_count +
           h->leap_count * (time_bytes + 4) + h->std_count + h->ut_count;
}

/* Adds a transition unless it changes nothing; one before 1970 becomes the offset "since ever". */
static void add(struct block *b, int64_t from_s, int32_t offset_s)
{
    size_t n = b->zone.count;
    if (from_s < 0 || n == 0) {
        b->transitions[0] = (struct qd_zone_transition){INT64_MIN, offset_s};
        b->zone.count = 1;
        return;
    }
    if (b->transitions[n - 1].offset_s == offset_s || from_s <= b->transitions[n - 1].from_s ||
        n == TRANSITIONS_MAX) {
        return;
    }
    b->transitions[n] = (struct qd_zone_transition){from_s, offset_s};
    b->zone.count = n + 1;
}

/* The UTC offset of local time type `i`; false: out of RFC 8536's bounds (and so of the core's). */
static bool read_offset(const uint8_t *types, size_t i, int32_t *ret_s)
{
    *ret_s = (int32_t)read_u32(types + 6 * i);
    return *ret_s >= -OFFSET_MAX_S && *ret_s <= OFFSET_MAX_S;
}

static bool add_explicit(struct block *b, const struct header *h, const uint8_t *data,
                         int64_t *ret_last_s)
{
    const uint8_t *indices = data + h->time_count * 8;
    const uint8_t *types = indices + h->time_count;
    int64_t last_s = INT64_MIN;
    int32_t offset_s;
    if (h->type_count == 0 || h->leap_count > 0 || !read_offset(types, 0, &offset_s)) {
        return false;
    }
    add(b, INT64_MIN, offset_s);
    for (size_t i = 0; i < h->time_count; i++) {
        int64_t at_s = read_i64(data + 8 * i);
        if (indices[i] >= h->type_count || (i > 0 && at_s <= last_s) ||
            !read_offset(types, indices[i], &offset_s)) {
            return false;
        }
        last_s = at_s;
        add(b, at_s, offset_s);
    }
    *ret_last_s = last_s;
    return true;
}

static void add_footer(struct block *b, const struct qd_posix_tz *rule, int64_t last_s)
{
    if (!rule->has_dst) {
        if (last_s < 0) {
            add(b, INT64_MIN, rule->std_offset_s);
        }
        return;
    }
    for (int year = 1970; year <= QD_ZONE_LAST_YEAR; year++) {
        int64_t start_s = qd_posix_tz_start_s(rule, year);
        int64_t end_s = qd_posix_tz_end_s(rule, year);
        bool start_first = start_s < end_s;
        int64_t first_s = start_first ? start_s : end_s;
        int64_t second_s = start_first ? end_s : start_s;
        if (first_s > last_s) {
            add(b, first_s, start_first ? rule->dst_offset_s : rule->std_offset_s);
        }
        if (second_s > last_s) {
            add(b, second_s, start_first ? rule->std_offset_s : rule->dst_offset_s);
        }
    }
}

static bool fill(struct block *b, const uint8_t *bytes, size_t size)
{
    struct header v1;
    struct header v2;
    if (!read_header(bytes, size, &v1)) {
        return false;
    }
    size_t at = HEADER_BYTES + data_bytes(&v1, 4);
    if (at > size || !read_header(bytes + at, size - at, &v2)) {
        return false;
    }
    at += HEADER_BYTES;
    size_t length = data_bytes(&v2, 8);
    if (length > size - at) {
        return false;
    }
    int64_t last_s;
    if (!add_explicit(b, &v2, bytes + at, &last_s)) {
        return false;
    }
    at += length;
    if (size - at < 2 || bytes[at] != '\n' || bytes[size - 1] != '\n') {
        return false;
    }
    if (size - at == 2) {
        return true; /* no rule: the last offset stays */
    }
    struct qd_posix_tz rule;
    if (!qd_posix_tz_parse((const char *)bytes + at + 1, size - at - 2, &rule)) {
        return false;
    }
    add_footer(b, &rule, last_s);
    return true;
}

struct qd_zone *qd_tzif_parse(const char *name, const void *bytes, size_t size)
{
    struct block *b = calloc(1, sizeof *b + TRANSITIONS_MAX * sizeof(struct qd_zone_transition));
    if (b == NULL) {
        return NULL;
    }
    if (strlen(name) > NAME_MAX_BYTES || !fill(b, bytes, size)) {
        free(b);
        return NULL;
    }
    struct block *small = realloc(b, sizeof *b + b->zone.count * sizeof(struct qd_zone_transition));
    b = small != NULL ? small : b;
    memcpy(b->name, name, strlen(name) + 1);
    b->zone.name = b->name;
    b->zone.transitions = b->transitions;
    return &b->zone;
}

/* "Area/Place": no way out of the folder, no "right/" zones with leap seconds. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_BYTES || !isupper((unsigned char)name[0])) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!isalnum(c) && strchr("_+-/", c) == NULL) {
            return false;
        }
    }
    return true;
}

static const char *folder(void)
{
    const char *dir = secure_getenv("TZDIR");
    return dir != NULL && dir[0] == '/' ? dir : "/usr/share/zoneinfo";
}

struct qd_zone *qd_tzif_load(const char *name)
{
    char path[4096];
    if (!is_name(name) ||
        snprintf(path, sizeof path, "%s/%s", folder(), name) >= (int)sizeof path) {
        return NULL;
    }
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return NULL;
    }
    uint8_t *bytes = malloc(FILE_BYTES_MAX);
    struct qd_zone *zone = NULL;
    if (bytes != NULL) {
        size_t size = fread(bytes, 1, FILE_BYTES_MAX, file);
        if (size < FILE_BYTES_MAX) {
            zone = qd_tzif_parse(name, bytes, size);
        }
    }
    free(bytes);
    (void)fclose(file);
    return zone;
}

void qd_tzif_names(void (*each)(void *context, const char *name), void *context)
{
    char path[4096];
    each(context, "UTC");
    if (snprintf(path, sizeof path, "%s/zone.tab", folder()) >= (int)sizeof path) {
        return;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    char line[1024];
    while (fgets(line, sizeof line, file) != NULL) {
        char *save = NULL;
        const char *code = strtok_r(line, "\t\n", &save);
        const char *place = code != NULL && code[0] != '#' ? strtok_r(NULL, "\t\n", &save) : NULL;
        const char *name = place != NULL ? strtok_r(NULL, "\t\n", &save) : NULL;
        if (name != NULL) {
            each(context, name);
        }
    }
    (void)fclose(file);
}
