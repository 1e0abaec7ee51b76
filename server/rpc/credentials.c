#include "server/rpc/credentials.h"

#include "server/core/hash.h"
#include "server/core/policy.h"
#include "server/policy/compile.h"
#include "server/policy/file.h"

#include <assert.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SLOTS   (2U * QD_CREDENTIALS_MAX) /* a power of two, half full at most */
#define URI_MAX 2048U                     /* as SPIFFE has it */
#define DNS_MAX 253U

_Static_assert(QD_TOKEN_HASH_BYTES == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert((SLOTS & (SLOTS - 1)) == 0, "a mask");

enum proof {
    PROOF_NONE,
    PROOF_SPIFFE,
    PROOF_SAN,
    PROOF_TOKEN
};

struct entry {
    struct qd_credential public;
    enum proof proof;
    const char *text; /* SPIFFE, SAN */
    uint8_t hash[QD_TOKEN_HASH_BYTES];
    uint64_t mark; /* of the hash, keyed: whoever measures times learns nothing of the hash */
    uint32_t line;
};

struct qd_credentials {
    struct qd_arena arena;
    struct qd_hash128 content;
    struct entry *entries;
    size_t count;
    const struct entry **spiffe; /* by text */
    size_t spiffe_count;
    const struct entry **san;
    size_t san_count;
    uint8_t key[crypto_shorthash_KEYBYTES];
    const struct entry *slots[SLOTS]; /* by mark */
};

static const struct qd_word roles[] = {{"gateway", QD_ROLE_GATEWAY},
                                       {"pool", QD_ROLE_POOL},
                                       {"billing", QD_ROLE_BILLING},
                                       {"admin", QD_ROLE_ADMIN},
                                       {"peer", QD_ROLE_PEER}};
#define ROLE_COUNT (sizeof(roles) / sizeof(roles[0]))

const char *qd_role_name(enum qd_role role)
{
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (roles[i].value == (int)role) {
            return roles[i].name;
        }
    }
    return "none";
}

/* --- one of the list --- */

struct draft {
    struct qd_arena *keep; /* of the set */
    struct entry *entry;
    int proofs;
};

static const char *keep_text(const struct draft *d, const struct qd_node *node)
{
    return qd_arena_text(d->keep, node->text, node->len);
}

/* NULL and reported: not a text of 1 to max bytes. */
static const char *read_text(struct qd_compiler *c, const struct qd_at *at,
                             const struct qd_node *node, const struct draft *d, size_t max,
                             const char *what)
{
    if (node->kind != QD_NODE_SCALAR || node->len == 0 || node->len > max) {
        qd_fail(c, at, node, "%s of 1 to %zu bytes is accepted here", what, max);
        return NULL;
    }
    return keep_text(d, node);
}

static void read_name(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                      void *object)
{
    struct draft *d = object;
    const char *name = qd_read_ident(c, at, value, "a credential's name");

    d->entry->public.name = name != NULL ? keep_text(d, value) : NULL;
}

static void read_role(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                      void *object)
{
    struct draft *d = object;
    int role = 0;

    if (qd_read_word(c, at, value, "role", roles, ROLE_COUNT, &role)) {
        d->entry->public.role = (enum qd_role)role;
    }
}

static void read_tenant(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                        void *object)
{
    struct draft *d = object;

    if (value->kind != QD_NODE_SCALAR ||
        !qd_tenant_path_valid((struct qd_str){value->text, value->len})) {
        qd_fail(c, at, value,
                "a tenant's path is accepted here, without patterns; leave it out to see all "
                "tenants");
        return;
    }
    d->entry->public.tenant = (struct qd_str){keep_text(d, value), value->len};
}

static void read_pool(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                      void *object)
{
    struct draft *d = object;

    if (qd_read_name(c, at, value) != NULL) {
        d->entry->public.pool = (struct qd_str){keep_text(d, value), value->len};
    }
}

static void prove(struct draft *d, enum proof proof, const char *text)
{
    d->proofs++;
    d->entry->proof = proof;
    d->entry->text = text;
}

static void read_spiffe(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                        void *object)
{
    struct draft *d = object;
    const char *text = read_text(c, at, value, d, URI_MAX, "a URI");
    const char *star = text != NULL ? strchr(text, '*') : NULL;

    prove(d, PROOF_SPIFFE, text);
    if (text != NULL &&
        (strncmp(text, "spiffe://", 9) != 0 || text[9] == '\0' ||
         (star != NULL && (star[1] != '\0' || star[-1] != '/' || star < text + 11)))) {
        qd_fail(c, at, value,
                "a URI such as spiffe://domain/path is accepted here, whose last segment may be *");
    }
}

/* Letters, digits, hyphens and dots; in the last label not digits alone, as in an address. */
static bool is_dns_name(const char *text)
{
    const char *last = strrchr(text, '.');
    const char *label = last != NULL ? last + 1 : text;

    return text[strspn(text,
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")] ==
               '\0' &&
           label[strspn(label, "0123456789")] != '\0';
}

/* DNS names know no case. */
static void read_san(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                     void *object)
{
    struct draft *d = object;
    const char *text = read_text(c, at, value, d, DNS_MAX, "a DNS name");

    if (text != NULL && !is_dns_name(text)) {
        qd_fail(c, at, value,
                "a whole DNS name such as gw.example.org is accepted here, no pattern, address or "
                "URI (`spiffe` is for those of SPIFFE)");
    }
    if (text != NULL) {
        char *lower = qd_arena_text(d->keep, text, value->len);
        for (char *p = lower; *p != '\0'; p++) {
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        }
        text = lower;
    }
    prove(d, PROOF_SAN, text);
}

static void read_hash(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                      void *object)
{
    struct draft *d = object;
    size_t size = 0;
    const char *end = NULL;

    prove(d, PROOF_TOKEN, NULL);
    if (value->kind != QD_NODE_SCALAR || value->len != (size_t)2 * QD_TOKEN_HASH_BYTES ||
        sodium_hex2bin(d->entry->hash, QD_TOKEN_HASH_BYTES, value->text, value->len, NULL, &size,
                       &end) != 0 ||
        size != QD_TOKEN_HASH_BYTES) {
        qd_fail(c, at, value,
                "the SHA-256 of a token is accepted here, 64 hexadecimal digits; make both with: "
                "quotactl token new");
    }
}

static const struct qd_field fields[] = {
    {"name", read_name},     {"role", read_role}, {"tenant", read_tenant},     {"pool", read_pool},
    {"spiffe", read_spiffe}, {"san", read_san},   {"token_sha256", read_hash},
};

static void check_whole(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        const struct draft *d)
{
    const struct qd_credential *p = &d->entry->public;

    if (qd_node_get(node, "name") == NULL) {
        qd_fail(c, at, node, "`name` is missing: audit records and logs tell by it who called");
    }
    if (qd_node_get(node, "role") == NULL) {
        qd_fail(c, at, node, "`role` is missing; accepted: gateway, pool, billing, admin, peer");
    }
    if (d->proofs != 1) {
        qd_fail(c, at, node, "one of `spiffe`, `san`, `token_sha256` is required, not %d",
                d->proofs);
    }
    if ((p->role == QD_ROLE_POOL) != (qd_node_get(node, "pool") != NULL) && p->role != 0) {
        qd_fail(c, at, node, "`pool` is required with role pool, and accepted with no other");
    }
    if (p->role == QD_ROLE_PEER && p->tenant.len > 0) {
        qd_fail(c, at, node, "`tenant` is not accepted with role peer: peers share all tenants");
    }
}

static void read_one(struct qd_compiler *c, struct qd_credentials *set, const struct qd_node *node,
                     size_t index)
{
    struct draft d = {.keep = &set->arena, .entry = &set->entries[set->count++]};
    const struct qd_at top = {NULL, NULL};
    const struct qd_at at = {&top, qd_arena_printf(c->arena, "credentials[%zu]", index)};

    d.entry->line = node->line;
    if (node->kind != QD_NODE_MAP) {
        qd_fail(c, &at, node, "a map such as {name: ..., role: gateway, spiffe: ...} is accepted");
        return;
    }
    if (qd_read_fields(c, &at, node, fields, sizeof(fields) / sizeof(fields[0]), &d)) {
        check_whole(c, &at, node, &d);
    }
}

/* --- finding them --- */

static int by_text(const void *a, const void *b)
{
    const struct entry *const *x = a;
    const struct entry *const *y = b;

    return strcmp((*x)->text, (*y)->text);
}

static uint64_t mark_of(const struct qd_credentials *set, const uint8_t hash[QD_TOKEN_HASH_BYTES])
{
    uint64_t mark;

    _Static_assert(sizeof(mark) == crypto_shorthash_BYTES, "64 bits");
    (void)crypto_shorthash((unsigned char *)&mark, hash, QD_TOKEN_HASH_BYTES, set->key);
    return mark;
}

static const struct entry *find_hash(const struct qd_credentials *set,
                                     const uint8_t hash[QD_TOKEN_HASH_BYTES], uint64_t mark,
                                     size_t *ret_slot)
{
    size_t i = mark & (SLOTS - 1);
    const struct entry *found = NULL;

    while (set->slots[i] != NULL && found == NULL) {
        if (set->slots[i]->mark == mark &&
            sodium_memcmp(set->slots[i]->hash, hash, QD_TOKEN_HASH_BYTES) == 0) {
            found = set->slots[i];
        } else {
            i = (i + 1) & (SLOTS - 1);
        }
    }
    *ret_slot = i;
    return found;
}

static void twice(struct qd_compiler *c, const struct entry *e, const char *what,
                  const struct entry *first)
{
    const struct qd_node place = {.kind = QD_NODE_SCALAR, .line = e->line, .column = 1};
    const struct qd_at top = {NULL, NULL};

    qd_fail(c, &top, &place, "%s: its %s is that of %s (line %u) already", e->public.name, what,
            first->public.name, first->line);
}

static const struct entry **sorted(struct qd_compiler *c, struct qd_credentials *set,
                                   enum proof proof, const char *what, size_t *ret_count)
{
    const struct entry **list =
        qd_arena_array(&set->arena, set->count + 1, sizeof(const struct entry *));
    size_t count = 0;

    for (size_t i = 0; i < set->count; i++) {
        if (set->entries[i].proof == proof) {
            list[count++] = &set->entries[i];
        }
    }
    qsort(list, count, sizeof(*list), by_text);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(list[i - 1]->text, list[i]->text) == 0) {
            twice(c, list[i], what, list[i - 1]);
        }
    }
    *ret_count = count;
    return list;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *const *x = a;
    const struct entry *const *y = b;

    return strcmp((*x)->public.name, (*y)->public.name);
}

static void check_names(struct qd_compiler *c, const struct qd_credentials *set)
{
    const struct entry **list =
        qd_arena_array(c->arena, set->count + 1, sizeof(const struct entry *));

    for (size_t i = 0; i < set->count; i++) {
        list[i] = &set->entries[i];
    }
    qsort(list, set->count, sizeof(*list), by_name);
    for (size_t i = 1; i < set->count; i++) {
        if (strcmp(list[i - 1]->public.name, list[i]->public.name) == 0) {
            twice(c, list[i], "name", list[i - 1]);
        }
    }
}

/* With every entry whole. */
static void index_all(struct qd_compiler *c, struct qd_credentials *set)
{
    size_t slot = 0;

    check_names(c, set);
    set->spiffe = sorted(c, set, PROOF_SPIFFE, "spiffe", &set->spiffe_count);
    set->san = sorted(c, set, PROOF_SAN, "san", &set->san_count);
    randombytes_buf(set->key, sizeof(set->key));
    for (size_t i = 0; i < set->count; i++) {
        struct entry *e = &set->entries[i];
        if (e->proof == PROOF_TOKEN) {
            e->mark = mark_of(set, e->hash);
            const struct entry *first = find_hash(set, e->hash, e->mark, &slot);
            if (first != NULL) {
                twice(c, e, "token_sha256", first);
            } else {
                set->slots[slot] = e;
            }
        }
    }
}

/* --- loading --- */

static bool compile(struct qd_compiler *c, struct qd_credentials *set, const void *bytes,
                    size_t size)
{
    const struct qd_at top = {NULL, NULL};
    const struct qd_node *root = qd_node_parse(c->arena, c->file, bytes, size, c->problems);

    if (root == NULL) {
        return false;
    }
    if (root->kind != QD_NODE_LIST) {
        qd_fail(c, &top, root,
                "a list of credentials is accepted: - {name: ..., role: gateway, spiffe: ...}");
        return false;
    }
    if (root->count > QD_CREDENTIALS_MAX) {
        qd_fail(c, &top, root, "%zu credentials; at most %u are accepted", root->count,
                QD_CREDENTIALS_MAX);
        return false;
    }
    set->entries = qd_arena_array(&set->arena, root->count + 1, sizeof(*set->entries));
    for (size_t i = 0; i < root->count; i++) {
        read_one(c, set, root->items[i], i);
    }
    if (qd_problems_errors(c->problems) == 0) {
        index_all(c, set);
    }
    return qd_problems_errors(c->problems) == 0;
}

/* The set's arena outlives the jump's frame: nobody may leave by it later. */
static bool compile_in_arenas(struct qd_credentials *set, const char *name, const void *bytes,
                              size_t size, struct qd_problems *problems)
{
    struct qd_arena scratch;
    struct qd_compiler c = {.arena = &scratch, .file = name, .problems = problems};
    jmp_buf oom;

    if (setjmp(oom) != 0) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        qd_arena_release(&scratch);
        return false;
    }
    qd_arena_init(&scratch, &oom);
    qd_arena_init(&set->arena, &oom);
    bool good = compile(&c, set, bytes, size);
    qd_arena_release(&scratch);
    set->arena.oom = NULL;
    return good;
}

struct qd_credentials *qd_credentials_load_bytes(const char *name, const void *bytes, size_t size,
                                                 struct qd_problems *problems)
{
    struct qd_credentials *set = sodium_init() >= 0 ? calloc(1, sizeof(*set)) : NULL;

    if (set == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, name, 0, 0, "out of memory");
        return NULL;
    }
    bool good = compile_in_arenas(set, name, bytes, size, problems);
    qd_problems_sort(problems);
    if (!good) {
        qd_credentials_free(set);
        return NULL;
    }
    set->content = qd_hash_bytes(bytes, size, 0);
    return set;
}

struct qd_credentials *qd_credentials_load(const char *path, struct qd_problems *problems)
{
    struct qd_file file;
    struct stat info;

    if (!qd_file_read(path, QD_CREDENTIALS_FILE_BYTES_MAX, &file, problems)) {
        return NULL;
    }
    if (stat(path, &info) == 0 && (info.st_mode & S_IWOTH) != 0) { /* X7: whoever may is admin */
        qd_problems_add(problems, QD_SEVERITY_ERROR, path, 0, 0,
                        "anybody may write it; run: chmod o-w %s", path);
        qd_file_release(&file);
        return NULL;
    }
    struct qd_credentials *set = qd_credentials_load_bytes(path, file.bytes, file.size, problems);
    qd_file_release(&file);
    return set;
}

void qd_credentials_free(void *credentials)
{
    struct qd_credentials *set = credentials;

    if (set != NULL) {
        qd_arena_release(&set->arena);
        free(set);
    }
}

struct qd_hash128 qd_credentials_content(const struct qd_credentials *set)
{
    return set->content;
}

size_t qd_credentials_count(const struct qd_credentials *set)
{
    return set->count;
}

/* --- looking up --- */

const struct qd_credential *qd_credentials_by_token(const struct qd_credentials *set,
                                                    struct qd_str token)
{
    uint8_t hash[QD_TOKEN_HASH_BYTES];
    size_t slot;

    if (token.len == 0 || token.len > QD_CREDENTIAL_TOKEN_MAX) {
        return NULL;
    }
    (void)crypto_hash_sha256(hash, (const unsigned char *)token.ptr, token.len);
    const struct entry *found = find_hash(set, hash, mark_of(set, hash), &slot);
    return found != NULL ? &found->public : NULL;
}

static const struct qd_credential *find_text(const struct entry *const *list, size_t count,
                                             const char *text)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(text, list[middle]->text);
        if (order == 0) {
            return &list[middle]->public;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* Itself, or with `*` for its last segment. */
const struct qd_credential *qd_credentials_by_spiffe(const struct qd_credentials *set,
                                                     struct qd_str uri)
{
    char text[URI_MAX + 2];

    if (uri.len == 0 || uri.len > URI_MAX || memchr(uri.ptr, '\0', uri.len) != NULL ||
        memchr(uri.ptr, '*', uri.len) != NULL) {
        return NULL;
    }
    memcpy(text, uri.ptr, uri.len);
    text[uri.len] = '\0';
    const struct qd_credential *found = find_text(set->spiffe, set->spiffe_count, text);
    char *slash = strrchr(text, '/');
    if (found == NULL && slash != NULL && slash[1] != '\0') {
        slash[1] = '*';
        slash[2] = '\0';
        found = find_text(set->spiffe, set->spiffe_count, text);
    }
    return found;
}

const struct qd_credential *qd_credentials_by_san(const struct qd_credentials *set,
                                                  struct qd_str dns)
{
    char text[DNS_MAX + 1];

    if (dns.len == 0 || dns.len > DNS_MAX || memchr(dns.ptr, '\0', dns.len) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < dns.len; i++) {
        char ch = dns.ptr[i];
        text[i] = ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
    }
    text[dns.len] = '\0';
    return find_text(set->san, set->san_count, text);
}
