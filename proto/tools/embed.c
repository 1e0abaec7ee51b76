/* Writes a descriptor set as the C tables of proto/reflect_data.h. */
#include "embed.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_MAX 8192 /* of one descriptor set */

struct entry {
    char name[QD_SET_NAME_MAX];
    size_t file;
    bool service;
};

struct table {
    struct entry *entries;
    size_t count;
};

static void collect(void *context, const struct qd_symbol *symbol)
{
    struct table *table = context;
    struct entry *entry = NULL;

    if (table->count == SYMBOLS_MAX) {
        fprintf(stderr, "more than %d symbols: raise SYMBOLS_MAX in proto/tools/embed.c\n",
                SYMBOLS_MAX);
        exit(1);
    }
    entry = &table->entries[table->count++];
    snprintf(entry->name, sizeof(entry->name), "%s", symbol->name);
    entry->file = symbol->file;
    entry->service = symbol->kind == QD_SYMBOL_SERVICE;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;

    return strcmp(left->name, right->name);
}

static void write_bytes(FILE *out, size_t index, const struct qd_set_file *file)
{
    fprintf(out, "/* %s */\nstatic const uint8_t bytes_%zu[] = {", file->file->name, index);
    for (size_t i = 0; i < file->size; i++) {
        fprintf(out, "%s%u,", i % 24 == 0 ? "\n    " : "", file->bytes[i]);
    }
    fputs("\n};\n", out);
}

/* Puts `index` and all that it imports into `member`, in the order in which they are found. */
static int close_over(const struct qd_set *set, size_t index, size_t *members, size_t *count)
{
    const Qd__Descriptor__File *file = set->files[index].file;

    for (size_t i = 0; i < *count; i++) {
        if (members[i] == index) {
            return 0;
        }
    }
    members[(*count)++] = index;
    for (size_t i = 0; i < file->n_dependency; i++) {
        size_t dependency = qd_set_find(set, file->dependency[i]);

        if (dependency == set->file_count) {
            fprintf(stderr, "%s imports %s, which is not in the set: pass --include_imports\n",
                    file->name, file->dependency[i]);
            return -1;
        }
        if (close_over(set, dependency, members, count) != 0) {
            return -1;
        }
    }
    return 0;
}

static int write_files(FILE *out, const struct qd_set *set)
{
    size_t counts[QD_SET_FILES_MAX];

    for (size_t i = 0; i < set->file_count; i++) {
        size_t members[QD_SET_FILES_MAX];

        counts[i] = 0;
        write_bytes(out, i, &set->files[i]);
        if (close_over(set, i, members, &counts[i]) != 0) {
            return -1;
        }
        fprintf(out, "static const struct qd_reflect_file *const closure_%zu[] = {", i);
        for (size_t k = 0; k < counts[i]; k++) {
            fprintf(out, "\n    &qd_reflect_data_files[%zu],", members[k]);
        }
        fputs("\n};\n\n", out);
    }
    fputs("const struct qd_reflect_file qd_reflect_data_files[] = {\n", out);
    for (size_t i = 0; i < set->file_count; i++) {
        fprintf(out, "    {\"%s\", bytes_%zu, sizeof(bytes_%zu), closure_%zu, %zu},\n",
                set->files[i].file->name, i, i, i, counts[i]);
    }
    fprintf(out, "};\nconst size_t qd_reflect_data_file_count = %zu;\n\n", set->file_count);
    return 0;
}

static void write_symbols(FILE *out, const struct table *table)
{
    size_t services = 0;

    fputs("const struct qd_reflect_symbol qd_reflect_data_symbols[] = {\n", out);
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *entry = &table->entries[i];

        fprintf(out, "    {\"%s\", &qd_reflect_data_files[%zu]},\n", entry->name, entry->file);
    }
    fprintf(out, "};\nconst size_t qd_reflect_data_symbol_count = %zu;\n\n", table->count);
    fputs("const char *const qd_reflect_data_services[] = {\n", out);
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].service) {
            fprintf(out, "    \"%s\",\n", table->entries[i].name);
            services++;
        }
    }
    fprintf(out, "};\nconst size_t qd_reflect_data_service_count = %zu;\n", services);
}

int qd_embed_write(const struct qd_set *set, FILE *out)
{
    struct table table = {calloc(SYMBOLS_MAX, sizeof(struct entry)), 0};
    int result = -1;

    if (table.entries == NULL) {
        fputs("out of memory\n", stderr);
        return -1;
    }
    qd_set_walk(set, collect, &table);
    qsort(table.entries, table.count, sizeof(table.entries[0]), compare_entries);
    fputs("/* Written by proto/tools from the .proto files. Do not edit. */\n"
          "#include \"proto/reflect_data.h\"\n\n",
          out);
    if (write_files(out, set) == 0) {
        write_symbols(out, &table);
        result = 0;
    }
    free(table.entries);
    return result;
}
