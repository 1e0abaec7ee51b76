/* The import of price tables: no input crashes it, and no accepted price is negative or without a
 * quantity. */
#include "tests/fuzz/fuzz.h"

#include "server/policy/price_table.h"

#include <assert.h>
#include <stdlib.h>

#define FUZZ_BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_BYTES_MAX) {
        return 0;
    }
    struct qd_problems *problems = qd_problems_new(5);
    if (problems == NULL) {
        return 0;
    }
    struct qd_price_table *t = qd_price_table_parse("fuzz.json", data, size, problems);
    assert((t == NULL) == (qd_problems_errors(problems) > 0));
    for (size_t i = 0; t != NULL && i < t->model_count; i++) {
        const struct qd_table_model *m = &t->models[i];
        for (size_t k = 0; k < m->line_count; k++) {
            assert(m->lines[k].amount_pico >= 0 && m->lines[k].quantity >= 1);
            assert(m->lines[k].meter < QD_METERS_MAX && m->lines[k].tier < QD_TIER_COUNT);
        }
        assert(qd_price_table_find(t, m->name) != NULL);
    }
    free(qd_problems_text(problems));
    qd_price_table_free(t);
    qd_problems_free(problems);
    return 0;
}
