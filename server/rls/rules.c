#include "server/rls/rules.h"

#include "server/core/hash.h"
#include "server/policy/file.h"
#include "server/rls/domain.h"
#include "server/rls/folder.h"
#include "server/rls/merge.h"

#include <assert.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_SIZE ((size_t)2048) /* a power of two, at least twice QD_RLS_FILES_MAX */
#define SEED       UINT64_C(0x0dd5c1a97be3406f) /* any: only the files' own domains are in the table */

struct loaded_file {
    struct qd_rls_file info;
    char *path;            /* info.path, to be freed */
    struct qd_arena arena; /* of the domain; empty if the file is wrong */
};

struct qd_rls_rules {
    struct loaded_file *files;
    size_t count;
    size_t failed;
    struct qd_hash128 content;
    struct qd_arena arena;                           /* of merged domains */
    const struct qd_rls_domain *domains[TABLE_SIZE]; /* by name; at least half of them are NULL */
};

/* What is open while a file is compiled. */
struct load {
    struct qd_rls_rules *rules;
    struct qd_problems *problems;
    struct qd_arena scratch; /* what is only needed while one file is compiled */
    struct qd_rls_budget budget;
    size_t bytes; /* of all files so far */
    bool merging;
};

static void out_of_memory(struct qd_problems *problems, const char *name)
{
    qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
}

static struct qd_rls_rules *new_rules(size_t file_count)
{
    struct qd_rls_rules *rules = calloc(1, sizeof *rules);
    struct loaded_file *files = calloc(file_count + 1, sizeof *files);
    if (rules == NULL || files == NULL) {
        free(rules);
        free(files);
        return NULL;
    }
    rules->files = files;
    return rules;
}

void qd_rls_rules_free(struct qd_rls_rules *rules)
{
    if (rules == NULL) {
        return;
    }
    for (size_t i = 0; i < rules->count; i++) {
        qd_arena_release(&rules->files[i].arena);
        free(rules->files[i].path);
    }
    qd_arena_release(&rules->arena);
    free(rules->files);
    free(rules);
}

/* The place of a domain, or the free one where it would be. */
static size_t domain_slot(const struct qd_rls_rules *rules, struct qd_str name)
{
    size_t i = qd_hash64_bytes(name.ptr, name.len, SEED) & (TABLE_SIZE - 1);
    while (rules->domains[i] != NULL &&
           (rules->domains[i]->name.len != name.len ||
            memcmp(rules->domains[i]->name.ptr, name.ptr, name.len) != 0)) {
        i = (i + 1) & (TABLE_SIZE - 1);
    }
    return i;
}

const struct qd_rls_domain *qd_rls_rules_domain(const struct qd_rls_rules *rules,
                                                struct qd_str name)
{
    return name.len == 0 ? NULL : rules->domains[domain_slot(rules, name)];
}

/* One domain a file, unless they are merged: an error that names both. */
static bool add_domain(struct load *l, struct qd_compiler *c, const struct qd_node *root,
                       const struct qd_rls_domain *domain)
{
    struct qd_at at = {0};
    size_t slot = domain_slot(l->rules, domain->name);
    const struct qd_rls_domain *first = l->rules->domains[slot];
    if (first != NULL && l->merging) {
        return true;
    }
    if (first != NULL) {
        const struct qd_node *place = qd_node_get(root, "domain");
        qd_fail(c, &at, place != NULL ? place : root, "domain \"%s\" is in %s already",
                domain->name.ptr, first->file);
        return false;
    }
    l->rules->domains[slot] = domain;
    return true;
}

/* True if the file is good. */
static bool compile(struct load *l, struct loaded_file *file, struct qd_compiler *c,
                    const void *bytes, size_t size)
{
    size_t errors = qd_problems_errors(c->problems);
    const struct qd_node *root = qd_node_parse(c->arena, c->file, bytes, size, c->problems);
    if (root == NULL) {
        return false;
    }
    const struct qd_rls_domain *domain =
        qd_rls_domain_compile(c, root, &file->arena, &l->budget, l->merging);
    if (domain == NULL || qd_problems_errors(c->problems) > errors ||
        !add_domain(l, c, root, domain)) {
        return false;
    }
    file->info.domain = domain;
    return true;
}

/* Compile one file into the set; what is wrong with it is reported. False: out of memory. */
static bool load_bytes(struct load *l, struct loaded_file *file, const void *bytes, size_t size)
{
    struct qd_compiler c = {.arena = &l->scratch, .file = file->info.path, .problems = l->problems};
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_arena_release(&l->scratch);
        out_of_memory(l->problems, file->info.path);
        return false;
    }
    qd_arena_init(&l->scratch, &oom);
    qd_arena_init(&file->arena, &oom);
    bool good = compile(l, file, &c, bytes, size);
    qd_arena_release(&l->scratch);
    file->arena.oom = NULL;
    if (!good) {
        qd_arena_release(&file->arena);
        l->rules->failed++;
    }
    return true;
}

/* The next file of the set; NULL: out of memory. */
static struct loaded_file *begin_file(struct load *l, const char *path)
{
    struct loaded_file *file = &l->rules->files[l->rules->count];
    file->path = strdup(path);
    if (file->path == NULL) {
        out_of_memory(l->problems, path);
        return NULL;
    }
    file->info.path = file->path;
    l->rules->count++;
    return file;
}

/* False: out of memory. A file that cannot be read is as wrong as any. */
static bool load_file(struct load *l, const char *path)
{
    struct qd_file content;
    struct loaded_file *file = begin_file(l, path);
    if (file == NULL) {
        return false;
    }
    if (!qd_file_read(path, QD_RLS_FILE_BYTES_MAX, &content, l->problems)) {
        l->rules->failed++;
        return true;
    }
    bool good = true;
    if (content.size > QD_RLS_BYTES_MAX - l->bytes) { /* X2 */
        qd_problems_add(l->problems, QD_SEVERITY_ERROR, path, 0, 0,
                        "too large; all files together may have 64 MiB");
        l->rules->failed++;
    } else {
        l->bytes += content.size;
        l->rules->content = qd_hash_bytes(
            content.bytes, content.size, qd_hash64_bytes(path, strlen(path), l->rules->content.lo));
        good = load_bytes(l, file, content.bytes, content.size);
    }
    qd_file_release(&content);
    return good;
}

/* The domain that begins with a file, of this file and all later ones of its name. */
static void merge_from(struct load *l, size_t first)
{
    struct qd_rls_merge m = {&l->rules->arena, &l->scratch, l->problems, &l->budget};
    struct loaded_file *files = l->rules->files;
    size_t slot = domain_slot(l->rules, files[first].info.domain->name);
    const struct qd_rls_domain *parts[QD_RLS_FILES_MAX];
    struct loaded_file *owners[QD_RLS_FILES_MAX];
    size_t count = 0;

    for (size_t i = first; i < l->rules->count; i++) {
        const struct qd_rls_domain *domain = files[i].info.domain;
        if (domain != NULL && domain_slot(l->rules, domain->name) == slot) {
            owners[count] = &files[i];
            parts[count++] = domain;
        }
    }
    l->rules->domains[slot] = qd_rls_merge(&m, parts, count);
    for (size_t i = 0; i < count; i++) {
        owners[i]->info.domain = parts[i];
        l->rules->failed += parts[i] == NULL;
    }
}

/* False: out of memory. */
static bool merge_domains(struct load *l)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_arena_release(&l->scratch);
        out_of_memory(l->problems, "");
        return false;
    }
    qd_arena_init(&l->scratch, &oom);
    qd_arena_init(&l->rules->arena, &oom);
    for (size_t i = 0; i < l->rules->count; i++) {
        const struct qd_rls_domain *domain = l->rules->files[i].info.domain;
        if (domain != NULL && qd_rls_rules_domain(l->rules, domain->name) == domain) {
            merge_from(l, i);
        }
    }
    qd_arena_release(&l->scratch);
    l->rules->arena.oom = NULL;
    return true;
}

struct qd_rls_rules *qd_rls_rules_load_dir(const char *dir, bool merge,
                                           struct qd_problems *problems)
{
    struct qd_rls_folder folder;
    if (!qd_rls_folder_list(dir, &folder, problems)) {
        return NULL;
    }
    struct load l = {.rules = new_rules(folder.count),
                     .problems = problems,
                     .budget = {QD_RLS_NODES_MAX, QD_RLS_WILDCARD_BYTES_MAX},
                     .merging = merge};
    bool good = l.rules != NULL;
    if (!good) {
        out_of_memory(problems, dir);
    }
    for (size_t i = 0; good && i < folder.count; i++) {
        good = load_file(&l, folder.paths[i]);
    }
    good = good && (!merge || merge_domains(&l));
    if (good && folder.count == 0) {
        qd_problems_add(problems, QD_SEVERITY_WARNING, dir, 0, 0,
                        "no file that ends in .yaml or .yml; every domain is unknown");
    }
    qd_rls_folder_release(&folder);
    qd_problems_sort(problems);
    if (!good) {
        qd_rls_rules_free(l.rules);
        return NULL;
    }
    return l.rules;
}

struct qd_rls_rules *qd_rls_rules_load_bytes(const char *name, const void *bytes, size_t size,
                                             struct qd_problems *problems)
{
    struct load l = {.rules = new_rules(1),
                     .problems = problems,
                     .budget = {QD_RLS_NODES_MAX, QD_RLS_WILDCARD_BYTES_MAX}};
    if (l.rules == NULL) {
        out_of_memory(problems, name);
        return NULL;
    }
    struct loaded_file *file = begin_file(&l, name);
    bool good = file != NULL && load_bytes(&l, file, bytes, size);
    qd_problems_sort(problems);
    if (!good) {
        qd_rls_rules_free(l.rules);
        return NULL;
    }
    return l.rules;
}

size_t qd_rls_rules_file_count(const struct qd_rls_rules *rules)
{
    return rules->count;
}

const struct qd_rls_file *qd_rls_rules_file(const struct qd_rls_rules *rules, size_t index)
{
    assert(index < rules->count);
    return &rules->files[index].info;
}

struct qd_hash128 qd_rls_rules_content(const struct qd_rls_rules *rules)
{
    return rules->content;
}

size_t qd_rls_rules_failed_count(const struct qd_rls_rules *rules)
{
    return rules->failed;
}

bool qd_rls_rule_replaces(const struct qd_rls_rule *by, const struct qd_rls_rule *other)
{
    for (size_t i = 0; other->name != NULL && i < by->replace_count; i++) {
        if (strcmp(by->replaces[i], other->name) == 0) {
            return true;
        }
    }
    return false;
}
