/* json_strings FILE KEY: prints every string under KEY in a JSON file, wherever it lies, one a
 * line. Exits with 1, and says where, if the file is not JSON to the letter. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(struct json_object *value, const char *key)
{
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            print(json_object_array_get_idx(value, i), key);
        }
    } else if (json_object_is_type(value, json_type_object)) {
        struct json_object_iterator at = json_object_iter_begin(value);
        struct json_object_iterator end = json_object_iter_end(value);
        for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
            const char *name = json_object_iter_peek_name(&at);
            struct json_object *member = json_object_iter_peek_value(&at);
            if (strcmp(name, key) == 0 && json_object_is_type(member, json_type_string)) {
                puts(json_object_get_string(member));
            } else {
                print(member, key);
            }
        }
    }
}

static char *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    long size = -1;
    char *text = NULL;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0) {
        rewind(file);
        text = malloc((size_t)size + 1);
        if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
            free(text);
            text = NULL;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    *ret_size = size >= 0 ? (size_t)size : 0;
    return text;
}

int main(int argc, char **argv)
{
    size_t size = 0;
    char *text = argc == 3 ? read_file(argv[1], &size) : NULL;

    if (text == NULL) {
        (void)fprintf(stderr, "usage: json_strings FILE KEY; the file must be readable\n");
        return EXIT_FAILURE;
    }
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    text[size] = '\0';
    struct json_object *root = json_tokener_parse_ex(tokener, text, (int)size + 1);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error != json_tokener_success) {
        (void)fprintf(stderr, "%s: at byte %zu: %s\n", argv[1], json_tokener_get_parse_end(tokener),
                      json_tokener_error_desc(error));
    } else {
        print(root, argv[2]);
    }
    json_object_put(root);
    json_tokener_free(tokener);
    free(text);
    return error == json_tokener_success ? EXIT_SUCCESS : EXIT_FAILURE;
}
