/* The configuration file: a flat YAML map of settings, read with libyaml. */
#include "server/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* A text, as our strings hold it: whole, so without a NUL in it. */
static bool is_text(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE &&
           strlen((const char *)node->data.scalar.value) == node->data.scalar.length;
}

static bool read_pair(struct qd_config *config, const char *path, yaml_document_t *document,
                      const yaml_node_pair_t *pair, char *error)
{
    const yaml_node_t *key = yaml_document_get_node(document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(document, pair->value);
    char where[300];
    snprintf(where, sizeof(where), "%s:%zu", path, key->start_mark.line + 1);
    if (!is_text(key) || !is_text(value)) {
        snprintf(error, QD_CONFIG_ERROR_MAX,
                 "%s: a line of the form \"setting: value\" is expected here", where);
        return false;
    }
    return qd_config_set(config, (const char *)key->data.scalar.value,
                         (const char *)value->data.scalar.value, QD_ORIGIN_FILE, where, error);
}

static bool read_document(struct qd_config *config, const char *path, yaml_document_t *document,
                          char *error)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root) {
        return true; /* an empty file sets nothing */
    }
    if (root->type != YAML_MAPPING_NODE) {
        snprintf(error, QD_CONFIG_ERROR_MAX, "%s:%zu: a map of settings is expected", path,
                 root->start_mark.line + 1);
        return false;
    }
    const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
    for (; pair < root->data.mapping.pairs.top; pair++) {
        if (!read_pair(config, path, document, pair, error)) {
            return false;
        }
    }
    return true;
}

/* Reads what the parser was given. */
static bool read_parser(struct qd_config *config, const char *path, yaml_parser_t *parser,
                        char *error)
{
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        snprintf(error, QD_CONFIG_ERROR_MAX, "%s:%zu:%zu: %s", path, parser->problem_mark.line + 1,
                 parser->problem_mark.column + 1, parser->problem ? parser->problem : "not YAML");
        return false;
    }
    bool good = read_document(config, path, &document, error);
    yaml_document_delete(&document);
    return good;
}

bool qd_config_file(struct qd_config *config, const char *path, char error[QD_CONFIG_ERROR_MAX])
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        snprintf(error, QD_CONFIG_ERROR_MAX, "cannot read configuration file %s: %s", path,
                 strerror(errno));
        return false;
    }
    bool good = false;
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_file(&parser, file);
        good = read_parser(config, path, &parser, error);
        yaml_parser_delete(&parser);
    } else {
        snprintf(error, QD_CONFIG_ERROR_MAX, "out of memory");
    }
    fclose(file);
    return good;
}

bool qd_config_bytes(struct qd_config *config, const char *name, const void *bytes, size_t size,
                     char error[QD_CONFIG_ERROR_MAX])
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        snprintf(error, QD_CONFIG_ERROR_MAX, "out of memory");
        return false;
    }
    yaml_parser_set_input_string(&parser, bytes, size);
    bool good = read_parser(config, name, &parser, error);
    yaml_parser_delete(&parser);
    return good;
}
