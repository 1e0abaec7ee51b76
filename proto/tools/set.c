#include "set.h"

#include <stdlib.h>
#include <string.h>

struct walk {
    qd_symbol_visit *visit;
    void *context;
    size_t file;
};

static uint8_t *read_whole(const char *path, size_t *ret_size)
{
    uint8_t *bytes = malloc(QD_SET_BYTES_MAX);
    FILE *in = bytes ? fopen(path, "rb") : NULL;
    size_t size = 0;

    if (in == NULL) {
        perror(path);
        free(bytes);
        return NULL;
    }
    size = fread(bytes, 1, QD_SET_BYTES_MAX, in);
    if (ferror(in) || size == QD_SET_BYTES_MAX) {
        fprintf(stderr, "%s: cannot be read whole (at most %u bytes)\n", path, QD_SET_BYTES_MAX);
        fclose(in);
        free(bytes);
        return NULL;
    }
    fclose(in);
    *ret_size = size;
    return bytes;
}

static int compare_files(const void *a, const void *b)
{
    const struct qd_set_file *left = a;
    const struct qd_set_file *right = b;

    return strcmp(left->file->name, right->file->name);
}

int qd_set_read(struct qd_set *set, const char *path)
{
    size_t size = 0;
    uint8_t *bytes = NULL;

    memset(set, 0, sizeof(*set));
    bytes = read_whole(path, &size);
    if (bytes == NULL) {
        return -1;
    }
    set->raw = qd__descriptor__file_set__unpack(NULL, size, bytes);
    free(bytes);
    if (set->raw == NULL || set->raw->n_file == 0 || set->raw->n_file > QD_SET_FILES_MAX) {
        fprintf(stderr, "%s: not a descriptor set of 1 to %d files\n", path, QD_SET_FILES_MAX);
        return -1;
    }
    for (size_t i = 0; i < set->raw->n_file; i++) {
        const ProtobufCBinaryData *raw = &set->raw->file[i];
        Qd__Descriptor__File *file = qd__descriptor__file__unpack(NULL, raw->len, raw->data);

        if (file == NULL) {
            fprintf(stderr, "%s: file %zu of the set cannot be decoded\n", path, i);
            return -1;
        }
        set->files[set->file_count++] = (struct qd_set_file){file, raw->data, raw->len};
    }
    qsort(set->files, set->file_count, sizeof(set->files[0]), compare_files);
    return 0;
}

void qd_set_release(struct qd_set *set)
{
    for (size_t i = 0; i < set->file_count; i++) {
        qd__descriptor__file__free_unpacked(set->files[i].file, NULL);
    }
    if (set->raw != NULL) {
        qd__descriptor__file_set__free_unpacked(set->raw, NULL);
    }
    memset(set, 0, sizeof(*set));
}

size_t qd_set_find(const struct qd_set *set, const char *name)
{
    size_t i = 0;

    while (i < set->file_count && strcmp(set->files[i].file->name, name) != 0) {
        i++;
    }
    return i;
}

/* `name` as a member of `owner`; ends the program where it does not fit, which a build must not
 * pass over. */
static void join(char ret_full[QD_SET_NAME_MAX], const char *owner, const char *name)
{
    int length = snprintf(ret_full, QD_SET_NAME_MAX, "%s%s%s", owner, *owner ? "." : "", name);

    if (length < 0 || length >= QD_SET_NAME_MAX) {
        fprintf(stderr, "%s.%s: full names are at most %d bytes\n", owner, name,
                QD_SET_NAME_MAX - 1);
        exit(1);
    }
}

static void walk_enum(const struct walk *walk, const char *scope, const Qd__Descriptor__Enum *e)
{
    char full[QD_SET_NAME_MAX];
    struct qd_symbol symbol = {
        .kind = QD_SYMBOL_ENUM, .name = full, .owner = "", .file = walk->file};

    join(full, scope, e->name);
    symbol.enumeration = e;
    walk->visit(walk->context, &symbol);
    for (size_t i = 0; i < e->n_value; i++) {
        char value[QD_SET_NAME_MAX];

        join(value, scope, e->value[i]->name);
        symbol.kind = QD_SYMBOL_ENUM_VALUE;
        symbol.name = value;
        symbol.owner = full;
        symbol.value = e->value[i];
        walk->visit(walk->context, &symbol);
    }
}

static void walk_fields(const struct walk *walk, const char *full, const Qd__Descriptor__Message *m)
{
    char member[QD_SET_NAME_MAX];
    struct qd_symbol symbol = {.name = member, .owner = full, .file = walk->file, .message = m};

    for (size_t i = 0; i < m->n_field; i++) {
        join(member, full, m->field[i]->name);
        symbol.kind = QD_SYMBOL_FIELD;
        symbol.field = m->field[i];
        walk->visit(walk->context, &symbol);
    }
    symbol.field = NULL;
    for (size_t i = 0; i < m->n_oneof_decl; i++) {
        join(member, full, m->oneof_decl[i]->name);
        symbol.kind = QD_SYMBOL_ONEOF;
        walk->visit(walk->context, &symbol);
    }
}

static void walk_message(const struct walk *walk, const char *scope,
                         const Qd__Descriptor__Message *m)
{
    char full[QD_SET_NAME_MAX];
    struct qd_symbol symbol = {
        .kind = QD_SYMBOL_MESSAGE, .name = full, .owner = "", .file = walk->file, .message = m};

    join(full, scope, m->name);
    walk->visit(walk->context, &symbol);
    walk_fields(walk, full, m);
    for (size_t i = 0; i < m->n_nested_type; i++) {
        walk_message(walk, full, m->nested_type[i]);
    }
    for (size_t i = 0; i < m->n_enum_type; i++) {
        walk_enum(walk, full, m->enum_type[i]);
    }
}

static void walk_service(const struct walk *walk, const char *scope,
                         const Qd__Descriptor__Service *s)
{
    char full[QD_SET_NAME_MAX];
    struct qd_symbol symbol = {
        .kind = QD_SYMBOL_SERVICE, .name = full, .owner = "", .file = walk->file};

    join(full, scope, s->name);
    walk->visit(walk->context, &symbol);
    for (size_t i = 0; i < s->n_method; i++) {
        char method[QD_SET_NAME_MAX];

        join(method, full, s->method[i]->name);
        symbol.kind = QD_SYMBOL_METHOD;
        symbol.name = method;
        symbol.owner = full;
        symbol.method = s->method[i];
        walk->visit(walk->context, &symbol);
    }
}

void qd_set_walk(const struct qd_set *set, qd_symbol_visit *visit, void *context)
{
    for (size_t i = 0; i < set->file_count; i++) {
        const Qd__Descriptor__File *file = set->files[i].file;
        struct walk walk = {visit, context, i};

        for (size_t k = 0; k < file->n_message_type; k++) {
            walk_message(&walk, file->package, file->message_type[k]);
        }
        for (size_t k = 0; k < file->n_enum_type; k++) {
            walk_enum(&walk, file->package, file->enum_type[k]);
        }
        for (size_t k = 0; k < file->n_service; k++) {
            walk_service(&walk, file->package, file->service[k]);
        }
    }
}
