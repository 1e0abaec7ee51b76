/* quotactl's reader of exported entries: any bytes are read within their bounds, what protobuf-c
 * takes for an entry comes out as json-c prints it, and the labels of a CSV line are read back as
 * they were. */
#include "client/ctl/csv.h"
#include "client/ctl/rpc.h"
#include "client/ctl/wire.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What `print` puts; freed by the caller. */
static char *printed(const struct ctl_plan *plan, const uint8_t *bytes, size_t size, bool csv,
                     bool *ret_well)
{
    static struct ctl_sink sink;
    char *text = NULL;
    size_t length = 0;
    sink.out = open_memstream(&text, &length);
    assert(sink.out != NULL);
    *ret_well = csv ? ctl_csv_entry(plan, (const char *)bytes, size, &sink)
                    : ctl_wire_json(plan, (const char *)bytes, size, &sink);
    ctl_sink_flush(&sink);
    fclose(sink.out);
    return text;
}

/* protobuf-c keeps unknown fields as they came, with numbers that no field can have, too. */
static bool has_unknown(const Quota__V1__LedgerEntry *entry)
{
    bool unknown = entry->base.n_unknown_fields > 0;
    for (size_t i = 0; i < entry->n_labels; i++) {
        unknown |= entry->labels[i]->base.n_unknown_fields > 0;
    }
    for (size_t i = 0; i < entry->n_quantities; i++) {
        unknown |= entry->quantities[i]->base.n_unknown_fields > 0;
    }
    return unknown;
}

/* The columns of csv.c. */
#define LABELS_COLUMN 17
#define COLUMNS       31

/* Column `index` of a CSV line without its quotes, as a spreadsheet reads it; freed by the caller.
 * *ret_columns: how many there are. */
static char *column_of(const char *line, size_t index, size_t *ret_columns)
{
    char *text = calloc(1, strlen(line) + 1);
    size_t used = 0;
    bool quoted = false;
    assert(text != NULL);
    *ret_columns = 1;
    for (const char *at = line; *at != '\0' && (quoted || *at != '\n'); at++) {
        bool inside = *ret_columns == index + 1;
        if (*at == '"' && quoted && at[1] == '"') {
            at++;
        } else if (*at == '"') {
            quoted = !quoted;
            continue;
        } else if (*at == ',' && !quoted) {
            *ret_columns += 1;
            continue;
        }
        if (inside) {
            text[used++] = *at;
        }
    }
    return text;
}

/* The next part of a list matches `part`, and `end` follows; returns what comes after. */
static const char *skip_part(const char *at, const char *part, char end)
{
    for (; *at != '\0' && *at != ';' && *at != '='; at++) {
        at += *at == '\\';
        assert(*at == *part);
        part++;
    }
    assert(*part == '\0' && *at == end);
    return at + (end != '\0');
}

static void L6_csv_labels_are_read_back(const char *line, const Quota__V1__LedgerEntry *entry)
{
    size_t columns;
    char *list = column_of(line, LABELS_COLUMN, &columns);
    const char *at = list;
    assert(columns == COLUMNS);
    for (size_t i = 0; i < entry->n_labels; i++) {
        at = skip_part(at, entry->labels[i]->key, '=');
        at = skip_part(at, entry->labels[i]->value, i + 1 < entry->n_labels ? ';' : '\0');
    }
    assert(*at == '\0');
    free(list);
}

static void compare(const struct ctl_plan *plan, const Quota__V1__LedgerEntry *entry)
{
    size_t size = quota__v1__ledger_entry__get_packed_size(entry);
    uint8_t *bytes = malloc(size + 1);
    assert(bytes != NULL);
    (void)quota__v1__ledger_entry__pack(entry, bytes);
    bool well;
    char *line = printed(plan, bytes, size, false, &well);
    struct json_object *object = ctl_json_message(&entry->base);
    assert(well);
    assert(strcmp(line, json_object_to_json_string_ext(
                            object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) == 0);
    free(line);
    json_object_put(object);
    line = printed(plan, bytes, size, true, &well);
    assert(well);
    L6_csv_labels_are_read_back(line, entry);
    free(line);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ctl_plan *plan;
    if (plan == NULL) {
        plan = ctl_plan_new(&quota__v1__ledger_entry__descriptor);
        assert(plan != NULL);
    }
    bool well;
    free(printed(plan, data, size, false, &well));
    free(printed(plan, data, size, true, &well));
    Quota__V1__LedgerEntry *entry = quota__v1__ledger_entry__unpack(NULL, size, data);
    if (entry != NULL) {
        if (!has_unknown(entry)) {
            compare(plan, entry);
        }
        quota__v1__ledger_entry__free_unpacked(entry, NULL);
    }
    return 0;
}
