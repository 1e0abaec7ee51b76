/* quotactl's reader of exported entries: any bytes are read within their bounds, and what
 * protobuf-c takes for an entry comes out as json-c prints it. */
#include "client/ctl/csv.h"
#include "client/ctl/rpc.h"
#include "client/ctl/wire.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>

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
    free(printed(plan, bytes, size, true, &well));
    assert(well);
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
