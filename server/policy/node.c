#include "server/policy/node.h"

#include "server/policy/policy_file.h"
#include "server/policy/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct anchor {
    const char *name;
    struct qd_node *node;
};

struct frame {
    struct qd_node *node;
    size_t capacity;
    size_t used; /* items so far: keys and values apart */
    bool is_open;
};

struct parse {
    struct qd_arena *arena;
    const char *file;
    struct qd_problems *problems;
    struct frame stack[QD_POLICY_DEPTH_MAX];
    size_t depth;
    struct anchor *anchors;
    size_t anchor_count;
    size_t anchor_capacity;
    size_t alias_count;
    struct qd_node *root;
};

#define MARK(mark) (uint32_t)(mark).line + 1, (uint32_t)(mark).column + 1

bool qd_node_is_null(const struct qd_node *node)
{
    return node->kind == QD_NODE_SCALAR && node->plain &&
           (node->len == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

struct qd_node *qd_node_get(const struct qd_node *map, const char *key)
{
    for (size_t i = 0; map->kind == QD_NODE_MAP && i < map->count; i++) {
        if (strcmp(qd_node_key(map, i)->text, key) == 0) {
            return qd_node_value(map, i);
        }
    }
    return NULL;
}

const char *qd_node_kind_text(const struct qd_node *node)
{
    switch (node->kind) {
    case QD_NODE_SCALAR:
        return qd_node_is_null(node) ? "nothing" : "a single value";
    case QD_NODE_MAP:
        return "a map";
    case QD_NODE_LIST:
        return "a list";
    }
    return "?";
}

static bool refuse(struct parse *p, yaml_mark_t mark, const char *what)
{
    qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, MARK(mark), "%s", what);
    return false;
}

/* Hang `node` below the open node, or make it the root. */
static bool attach(struct parse *p, struct qd_node *node, yaml_mark_t mark)
{
    if (p->depth == 0) {
        p->root = node;
        return true;
    }
    struct frame *top = &p->stack[p->depth - 1];
    bool is_key = top->node->kind == QD_NODE_MAP && top->used % 2 == 0;
    if (is_key && node->kind != QD_NODE_SCALAR) {
        return refuse(p, mark, "a key must be a single word; put it in quotes if it has brackets");
    }
    top->node->items = qd_arena_grow(p->arena, top->node->items, top->used, &top->capacity,
                                     sizeof(struct qd_node *));
    top->node->items[top->used++] = node;
    return true;
}

static bool remember_anchor(struct parse *p, const yaml_char_t *name, struct qd_node *node,
                            yaml_mark_t mark)
{
    if (name == NULL) {
        return true;
    }
    if (p->anchor_count == QD_POLICY_ALIASES_MAX) {
        return refuse(p, mark, "too many anchors; at most 1000 are accepted");
    }
    p->anchors = qd_arena_grow(p->arena, p->anchors, p->anchor_count, &p->anchor_capacity,
                               sizeof *p->anchors);
    const char *text = (const char *)name;
    p->anchors[p->anchor_count++] =
        (struct anchor){qd_arena_text(p->arena, text, strlen(text)), node};
    return true;
}

static struct qd_node *new_node(struct parse *p, enum qd_node_kind kind, yaml_mark_t mark)
{
    struct qd_node *node = qd_arena_alloc(p->arena, sizeof *node);
    node->kind = kind;
    node->line = (uint32_t)mark.line + 1;
    node->column = (uint32_t)mark.column + 1;
    node->height = 1;
    node->weight = 1;
    return node;
}

static bool on_scalar(struct parse *p, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    if (e->data.scalar.tag != NULL) {
        return refuse(p, e->start_mark, "YAML tags are not accepted; write the value without one");
    }
    if (memchr(text, '\0', len) != NULL) {
        return refuse(p, e->start_mark, "a value with a NUL character is not accepted");
    }
    struct qd_node *node = new_node(p, QD_NODE_SCALAR, e->start_mark);
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = qd_arena_text(p->arena, text, len);
    node->len = len;
    return remember_anchor(p, e->data.scalar.anchor, node, e->start_mark) &&
           attach(p, node, e->start_mark);
}

static bool on_open(struct parse *p, const yaml_event_t *e)
{
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag = is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    const yaml_char_t *anchor =
        is_map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    if (tag != NULL) {
        return refuse(p, e->start_mark, "YAML tags are not accepted; write the value without one");
    }
    if (p->depth == QD_POLICY_DEPTH_MAX - 1) {
        return refuse(p, e->start_mark, "nested too deeply; at most 32 levels are accepted");
    }
    struct qd_node *node = new_node(p, is_map ? QD_NODE_MAP : QD_NODE_LIST, e->start_mark);
    if (!attach(p, node, e->start_mark) || !remember_anchor(p, anchor, node, e->start_mark)) {
        return false;
    }
    p->stack[p->depth++] = (struct frame){.node = node};
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct qd_node *a = *(struct qd_node *const *)left;
    const struct qd_node *b = *(struct qd_node *const *)right;
    int by_text = strcmp(a->text, b->text);
    if (by_text != 0) {
        return by_text;
    }
    return a->line != b->line ? (a->line < b->line ? -1 : 1)
                              : (a->column > b->column) - (a->column < b->column);
}

/* Reports every key of `map` that was given before; the tree stays usable for further checks. */
static void check_duplicates(struct parse *p, const struct qd_node *map)
{
    if (map->count < 2) {
        return;
    }
    struct qd_node **keys = qd_arena_array(p->arena, map->count, sizeof *keys);
    for (size_t i = 0; i < map->count; i++) {
        keys[i] = qd_node_key(map, i);
    }
    qsort(keys, map->count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < map->count; i++) {
        if (strcmp(keys[i - 1]->text, keys[i]->text) == 0) {
            qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, keys[i]->line, keys[i]->column,
                            "\"%s\": given twice; the first is on line %u", keys[i]->text,
                            keys[i - 1]->line);
        }
    }
}

/* Sums up a node whose items are complete: bounds hold with aliases counted each time they are
 * used. */
static bool on_close(struct parse *p, const yaml_event_t *e)
{
    assert(p->depth > 0);
    struct frame *top = &p->stack[--p->depth];
    struct qd_node *node = top->node;
    uint64_t weight = 1;
    uint8_t height = 0;
    for (size_t i = 0; i < top->used; i++) {
        weight += node->items[i]->weight;
        height = node->items[i]->height > height ? node->items[i]->height : height;
    }
    if (weight > QD_POLICY_NODES_MAX) {
        return refuse(p, e->start_mark, "too many values once aliases are written out");
    }
    if (height + p->depth + 1 > QD_POLICY_DEPTH_MAX) {
        return refuse(p, e->start_mark, "nested too deeply; at most 32 levels are accepted");
    }
    node->weight = (uint32_t)weight;
    node->height = (uint8_t)(height + 1);
    node->count = node->kind == QD_NODE_MAP ? top->used / 2 : top->used;
    if (node->kind == QD_NODE_MAP) {
        check_duplicates(p, node);
    }
    return true;
}

static bool is_open(const struct parse *p, const struct qd_node *node)
{
    for (size_t i = 0; i < p->depth; i++) {
        if (p->stack[i].node == node) {
            return true;
        }
    }
    return false;
}

static bool on_alias(struct parse *p, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.alias.anchor;
    if (++p->alias_count > QD_POLICY_ALIASES_MAX) {
        return refuse(p, e->start_mark, "too many aliases; at most 1000 are accepted");
    }
    for (size_t i = p->anchor_count; i-- > 0;) {
        if (strcmp(p->anchors[i].name, name) != 0) {
            continue;
        }
        if (is_open(p, p->anchors[i].node)) {
            return refuse(p, e->start_mark, "an alias inside of what it stands for");
        }
        return attach(p, p->anchors[i].node, e->start_mark);
    }
    qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, MARK(e->start_mark),
                    "\"*%s\": no anchor \"&%s\" comes before it", name, name);
    return false;
}

static bool on_event(struct parse *p, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(p, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_open(p, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(p, e);
    case YAML_ALIAS_EVENT:
        return on_alias(p, e);
    case YAML_DOCUMENT_START_EVENT:
        return p->root == NULL ||
               refuse(p, e->start_mark, "a second document; only one is accepted");
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

static void report_syntax(struct parse *p, const yaml_parser_t *parser)
{
    yaml_mark_t mark = parser->problem_mark;
    const char *what = parser->problem != NULL ? parser->problem : "cannot be read";
    if (parser->error == YAML_READER_ERROR) {
        mark = parser->mark;
    }
    qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, MARK(mark), "not YAML: %s%s%s", what,
                    parser->context != NULL ? ", " : "",
                    parser->context != NULL ? parser->context : "");
}

/* libyaml's parser and event are on the heap of libyaml: an arena that leaves by longjmp must not
 * lose them. */
struct guarded {
    struct parse *parse;
    yaml_parser_t *parser;
    yaml_event_t event; /* the one that is looked at; of no kind in between */
    bool is_good;
};

/* Runs the events; true if the document is complete and within bounds. */
static bool run(struct guarded *g)
{
    struct parse *p = g->parse;
    yaml_parser_t *parser = g->parser;
    for (;;) {
        if (!yaml_parser_parse(parser, &g->event)) {
            if (parser->error == YAML_MEMORY_ERROR) {
                qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, 0, 0, "out of memory");
            } else {
                report_syntax(p, parser);
            }
            return false;
        }
        bool is_end = g->event.type == YAML_STREAM_END_EVENT;
        bool is_good = on_event(p, &g->event);
        yaml_event_delete(&g->event);
        if (!is_good || is_end) {
            return is_good;
        }
    }
}

/* Line and column of the byte at `at`, counted in characters as libyaml does. */
static void report_encoding(struct parse *p, const unsigned char *bytes, size_t at)
{
    uint32_t line = 1;
    uint32_t column = 1;
    for (size_t i = 0; i < at; i++) {
        if (bytes[i] == '\n') {
            line++;
            column = 1;
        } else if ((bytes[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    qd_problems_add(p->problems, QD_SEVERITY_ERROR, p->file, line, column,
                    "byte 0x%02x is not UTF-8; save the file as UTF-8", bytes[at]);
}

static bool run_guarded(struct guarded *g)
{
    jmp_buf *outer = g->parse->arena->oom;
    jmp_buf here;
    if (setjmp(here) != 0) {
        yaml_event_delete(&g->event);
        g->parse->arena->oom = outer;
        return false;
    }
    g->parse->arena->oom = &here;
    g->is_good = run(g);
    g->parse->arena->oom = outer;
    return true;
}

struct qd_node *qd_node_parse(struct qd_arena *arena, const char *file, const void *bytes,
                              size_t size, struct qd_problems *problems)
{
    struct parse *p = qd_arena_alloc(arena, sizeof *p);
    p->arena = arena;
    p->file = file;
    p->problems = problems;
    static const char mark[] =
        "\xEF\xBB\xBF"; /* some editors begin UTF-8 with it; it says nothing */
    if (size >= sizeof mark - 1 && memcmp(bytes, mark, sizeof mark - 1) == 0) {
        bytes = (const char *)bytes + (sizeof mark - 1);
        size -= sizeof mark - 1;
    }
    size_t valid = qd_utf8_valid_prefix(bytes, size);
    if (valid < size) {
        report_encoding(p, bytes, valid);
        return NULL;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, file, 0, 0, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, bytes, size);
    struct guarded g = {.parse = p, .parser = &parser};
    bool has_memory = run_guarded(&g);
    yaml_parser_delete(&parser);
    if (!has_memory) {
        longjmp(*arena->oom, 1);
    }
    if (!g.is_good) {
        return NULL;
    }
    if (p->root == NULL) {
        p->root = new_node(p, QD_NODE_SCALAR, (yaml_mark_t){0});
        p->root->plain = true;
        p->root->text = "";
    }
    return p->root;
}
