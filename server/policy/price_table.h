/* The public table of model prices (LiteLLM's model_prices_and_context_window.json) as exact price
 * lines (P7).
 *
 * Layer:    policy (reads files)
 * Units:    pico-USD per `quantity` units, see server/core/price.h; never through floating point.
 * Threads:  a table is immutable once loaded.
 * Memory:   the table owns everything that it points to.
 *
 * Every token price is taken exactly as the decimal text says. What no meter counts (audio,
 * characters, pages, ...) is listed with the reason; `sample_spec` is not a model. A negative
 * price, a price that is no number, or one with an absurd exponent refuses the whole table.
 *
 * Added lines, so that a vector never lacks a price that the provider has: a table that prices
 * input but no cache reads (writes) charges those as input; one that prices a model by the second,
 * request or image only charges its tokens nothing.
 */
#ifndef QD_POLICY_PRICE_TABLE_H
#define QD_POLICY_PRICE_TABLE_H

#include "server/core/price.h"
#include "server/policy/problem.h"

struct qd_table_model {
    const char *name;
    const char *provider;              /* "" if the table names none */
    const char *mode;                  /* "chat", "embedding", ...; "" */
    int64_t max_input_tokens;          /* 0: unknown */
    int64_t max_output_tokens;         /* 0: unknown */
    const struct qd_price_line *lines; /* count 0: nothing that a meter counts is priced */
    size_t line_count;
    size_t
        stated_count; /* the first so many are stated by the table, the rest are added as above */
};

/* A price that cannot be represented. */
struct qd_table_skip {
    const char *model;
    const char *field;
    const char *value; /* as in the table */
    const char *reason;
};

struct qd_price_table {
    const struct qd_table_model *models; /* sorted by name */
    size_t model_count;
    size_t priced_count; /* models with at least one line */
    const struct qd_table_skip *skips;
    size_t skip_count;
};

/* Load a file (at most QD_IMPORT_BYTES_MAX). NULL with problems if it is refused. */
struct qd_price_table *qd_price_table_load(const char *path, struct qd_problems *problems)
    __attribute__((warn_unused_result));
struct qd_price_table *qd_price_table_parse(const char *name, const void *bytes, size_t size,
                                            struct qd_problems *problems)
    __attribute__((warn_unused_result));
void qd_price_table_free(struct qd_price_table *table);

/* By exact name, or NULL. */
const struct qd_table_model *qd_price_table_find(const struct qd_price_table *table,
                                                 const char *name);

#endif /* QD_POLICY_PRICE_TABLE_H */
