#include "server/policy/import.h"

#include <string.h>

#define IMPORTS_MAX 16

/* Reads path into a new entry; the entry stays, broken or not, so that problems are reported once.
 */
static struct qd_import *add_import(struct qd_compiler *c, const char *path)
{
    c->imports = qd_arena_grow(c->arena, c->imports, c->import_count, &c->import_capacity,
                               sizeof *c->imports);
    struct qd_import *import = &c->imports[c->import_count];
    *import = (struct qd_import){.path = path};
    c->import_count++; /* from here on qd_imports_release frees it */
    if (qd_file_read(path, QD_IMPORT_BYTES_MAX, &import->file, c->problems)) {
        import->table =
            qd_price_table_parse(path, import->file.bytes, import->file.size, c->problems);
    }
    return import;
}

static struct qd_import *import_of(struct qd_compiler *c, const struct qd_at *at,
                                   const struct qd_node *node)
{
    if (node->kind != QD_NODE_SCALAR || node->len == 0 || node->len > 4000) {
        qd_fail(c, at, node, "the path of a price table is accepted here, as prices.json");
        return NULL;
    }
    if (c->folder == NULL) {
        qd_fail(c, at, node, "imports are not accepted here: this policy is not in a folder");
        return NULL;
    }
    const char *path = node->text[0] == '/' ? node->text
                       : strcmp(c->folder, ".") == 0
                           ? node->text
                           : qd_arena_printf(c->arena, "%s/%s", c->folder, node->text);
    for (size_t i = 0; i < c->import_count; i++) {
        if (strcmp(c->imports[i].path, path) == 0) {
            return &c->imports[i];
        }
    }
    if (c->import_count == IMPORTS_MAX) {
        qd_fail(c, at, node, "too many imported files; at most %d are accepted", IMPORTS_MAX);
        return NULL;
    }
    struct qd_import *import = add_import(c, path);
    if (import->table == NULL) {
        qd_fail(c, at, node, "\"%.200s\": cannot be imported", node->text);
    }
    return import;
}

/* One warning for all that the entry has and prices cannot say. */
static void warn_of_skips(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                          const struct qd_price_table *table, const char *name)
{
    const char *list = "";
    size_t count = 0;
    for (size_t i = 0; i < table->skip_count; i++) {
        if (strcmp(table->skips[i].model, name) == 0 && count++ < 4) {
            list = qd_arena_printf(c->arena, "%s%s%s (%s)", list, list[0] != '\0' ? ", " : "",
                                   table->skips[i].field, table->skips[i].reason);
        }
    }
    if (count > 0) {
        qd_warn(c, at, node, "of \"%s\" not imported: %s%s", name, list, count > 4 ? ", ..." : "");
    }
}

const struct qd_table_model *qd_import_model(struct qd_compiler *c, const struct qd_at *at,
                                             const struct qd_node *node, const char *name)
{
    struct qd_import *import = import_of(c, at, node);
    if (import == NULL || import->table == NULL) {
        return NULL;
    }
    const struct qd_table_model *m = qd_price_table_find(import->table, name);
    if (m != NULL && m->line_count > 0) {
        warn_of_skips(c, at, node, import->table, name);
        return m;
    }
    if (m != NULL) {
        qd_fail(c, at, node, "\"%s\": \"%.127s\" has no price there that a meter counts",
                node->text, name);
        return NULL;
    }
    struct qd_suggest s;
    qd_suggest_init(&s, name);
    for (size_t i = 0; i < import->table->model_count && i < 20000; i++) {
        qd_suggest_offer(&s, import->table->models[i].name);
    }
    qd_fail(c, at, node, "\"%s\": no entry \"%.127s\"; name another with \"entry\"%s", node->text,
            name, qd_did_you_mean(c, &s));
    return NULL;
}

bool qd_import_has(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                   const char *name)
{
    struct qd_import *import = import_of(c, at, node);
    if (import == NULL || import->table == NULL) {
        return false;
    }
    const struct qd_table_model *m = qd_price_table_find(import->table, name);
    return m != NULL && m->line_count > 0;
}

void qd_imports_release(struct qd_compiler *c)
{
    for (size_t i = 0; i < c->import_count; i++) {
        qd_file_release(&c->imports[i].file);
        qd_price_table_free(c->imports[i].table);
    }
    c->import_count = 0;
}
