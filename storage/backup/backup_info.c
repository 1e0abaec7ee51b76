#include "storage/backup/backup_info.h"

#include "server/core/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUM_LINE_BYTES (4 + 16 + 1)
#define KEY_PATH       "reservation.key"
#define DB_PREFIX      "db/"

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* A plain name: no way out of its folder. */
static bool plain_name(const char *name, size_t len)
{
    if (len == 0 || len >= QD_BACKUP_WORD_MAX || name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!word_char(name[i])) {
            return false;
        }
    }
    return true;
}

static bool path_valid(const char *path, size_t len)
{
    size_t prefix = sizeof(DB_PREFIX) - 1;

    return (len == sizeof(KEY_PATH) - 1 && memcmp(path, KEY_PATH, len) == 0) ||
           (len > prefix && memcmp(path, DB_PREFIX, prefix) == 0 &&
            plain_name(path + prefix, len - prefix));
}

void qd_backup_info_release(struct qd_backup_info *info)
{
    free(info->files);
    *info = (struct qd_backup_info){0};
}

static bool add_file(struct qd_backup_info *info, const char *path, size_t len, uint64_t bytes)
{
    if (info->file_count == info->file_room) {
        size_t room = info->file_room * 2 + 64;
        struct qd_backup_file *files = realloc(info->files, room * sizeof(*files));
        if (files == NULL) {
            return false;
        }
        info->files = files;
        info->file_room = room;
    }
    struct qd_backup_file *file = &info->files[info->file_count++];
    memset(file, 0, sizeof(*file));
    memcpy(file->path, path, len);
    file->bytes = bytes;
    return true;
}

bool qd_backup_info_add(struct qd_backup_info *info, const char *path, uint64_t bytes)
{
    size_t len = strlen(path);

    return info->file_count < QD_BACKUP_FILES_MAX && path_valid(path, len) &&
           add_file(info, path, len, bytes);
}

uint64_t qd_backup_info_bytes(const struct qd_backup_info *info)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < info->file_count; i++) {
        bytes += info->files[i].bytes;
    }
    return bytes;
}

char *qd_backup_info_encode(const struct qd_backup_info *info, size_t *ret_size)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL) {
        return NULL;
    }
    (void)fprintf(out, "quotad backup %d\nmade %" PRId64 "\nnode %s\nversion %s\n",
                  QD_BACKUP_FORMAT, info->made_unix_ns, info->node, info->version);
    (void)fprintf(out,
                  "incarnation %" PRIu64 "\nsequence %" PRIu64 "\ncomplete_through %" PRId64 "\n",
                  info->incarnation, info->sequence, info->complete_through_ns);
    for (size_t i = 0; i < info->file_count; i++) {
        (void)fprintf(out, "file %" PRIu64 " %s\n", info->files[i].bytes, info->files[i].path);
    }
    if (fflush(out) == 0) {
        (void)fprintf(out, "sum %016" PRIx64 "\n", qd_hash64_bytes(text, size, QD_BACKUP_SUM_SEED));
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    *ret_size = size;
    return text;
}

/* --- reading --- */

struct lines {
    const char *at;
    const char *end;
    bool failed;
};

/* What follows "KEY " on the next line; the line is consumed. */
static struct qd_str take(struct lines *lines, const char *key)
{
    size_t key_len = strlen(key);
    size_t left = (size_t)(lines->end - lines->at);
    const char *newline = left > 0 ? memchr(lines->at, '\n', left) : NULL;

    if (lines->failed || newline == NULL || (size_t)(newline - lines->at) <= key_len ||
        memcmp(lines->at, key, key_len) != 0 || lines->at[key_len] != ' ') {
        lines->failed = true;
        return (struct qd_str){NULL, 0};
    }
    const char *value = lines->at + key_len + 1;
    lines->at = newline + 1;
    return (struct qd_str){value, (size_t)(newline - value)};
}

/* Digits without leading zeros; they end with the text, or at `stop`. The rest stays in *text. */
static uint64_t take_number(struct lines *lines, struct qd_str *text, char stop)
{
    uint64_t number = 0;
    size_t i = 0;

    for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(text->ptr[i] - '0'), &number)) {
            lines->failed = true;
        }
    }
    bool ended = stop == '\0' ? i == text->len : i < text->len && text->ptr[i] == stop;
    lines->failed |= i == 0 || !ended || (i > 1 && text->ptr[0] == '0');
    if (!lines->failed) {
        i += stop != '\0';
        *text = (struct qd_str){text->ptr + i, text->len - i};
    }
    return number;
}

static uint64_t number_of(struct lines *lines, const char *key, uint64_t max)
{
    struct qd_str text = take(lines, key);
    uint64_t number = take_number(lines, &text, '\0');

    lines->failed |= number > max;
    return number;
}

/* A line's rest of printable characters. */
static void word_of(struct lines *lines, const char *key, char ret_word[QD_BACKUP_WORD_MAX])
{
    struct qd_str text = take(lines, key);

    lines->failed |= text.len >= QD_BACKUP_WORD_MAX;
    for (size_t i = 0; i < text.len && !lines->failed; i++) {
        lines->failed = (unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f;
        ret_word[i] = text.ptr[i];
    }
}

static bool read_file(struct lines *lines, struct qd_backup_info *info)
{
    struct qd_str text = take(lines, "file");
    uint64_t bytes = take_number(lines, &text, ' ');

    lines->failed |= info->file_count >= QD_BACKUP_FILES_MAX || bytes > INT64_MAX / 2 ||
                     (!lines->failed && !path_valid(text.ptr, text.len));
    return lines->failed || add_file(info, text.ptr, text.len, bytes);
}

static bool sum_fits(struct qd_str text)
{
    char line[SUM_LINE_BYTES + 1];

    if (text.len < SUM_LINE_BYTES) {
        return false;
    }
    size_t body = text.len - SUM_LINE_BYTES;
    (void)snprintf(line, sizeof(line), "sum %016" PRIx64 "\n",
                   qd_hash64_bytes(text.ptr, body, QD_BACKUP_SUM_SEED));
    return memcmp(text.ptr + body, line, SUM_LINE_BYTES) == 0;
}

enum qd_backup_decoded qd_backup_info_decode(struct qd_str text, struct qd_backup_info *ret_info)
{
    struct qd_backup_info info = {0};
    struct lines lines = {text.ptr, text.len > 0 ? text.ptr + text.len : text.ptr, false};
    bool memory = true;

    uint64_t format = number_of(&lines, "quotad backup", UINT32_MAX);
    if (!lines.failed && format > QD_BACKUP_FORMAT) {
        return QD_BACKUP_DECODED_NEWER;
    }
    if (lines.failed || format == 0 || text.len > QD_BACKUP_INFO_BYTES || !sum_fits(text)) {
        return QD_BACKUP_DECODED_BAD;
    }
    lines.end -= SUM_LINE_BYTES;
    info.made_unix_ns = (int64_t)number_of(&lines, "made", INT64_MAX);
    word_of(&lines, "node", info.node);
    word_of(&lines, "version", info.version);
    info.incarnation = number_of(&lines, "incarnation", UINT64_MAX);
    info.sequence = number_of(&lines, "sequence", UINT64_MAX);
    info.complete_through_ns = (int64_t)number_of(&lines, "complete_through", INT64_MAX);
    while (memory && !lines.failed && lines.at < lines.end) {
        memory = read_file(&lines, &info);
    }
    if (!memory || lines.failed) {
        qd_backup_info_release(&info);
        return memory ? QD_BACKUP_DECODED_BAD : QD_BACKUP_DECODED_NO_MEMORY;
    }
    *ret_info = info;
    return QD_BACKUP_DECODED;
}
