#include "client/ctl/csv.h"

#include "client/ctl/rpc.h"

#include <stdlib.h>
#include <string.h>

/* A field of RFC 4180: in quotes where it must be. */
static void csv_text(FILE *out, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        (void)fputs(text, out);
        return;
    }
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            (void)fputc('"', out);
        }
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

/* "name=value;name=value": quantities and labels have no columns of their own, as they differ. */
static void csv_pairs(FILE *out, const Quota__V1__LedgerEntry *entry, bool labels)
{
    char *text = NULL;
    size_t size = 0;
    FILE *pairs = open_memstream(&text, &size);
    if (pairs == NULL) {
        return;
    }
    size_t count = labels ? entry->n_labels : entry->n_quantities;
    for (size_t i = 0; i < count; i++) {
        const char *separator = i > 0 ? ";" : "";
        if (labels) {
            (void)fprintf(pairs, "%s%s=%s", separator, entry->labels[i]->key,
                          entry->labels[i]->value);
        } else {
            (void)fprintf(pairs, "%s%s=%lld", separator, entry->quantities[i]->meter,
                          (long long)entry->quantities[i]->amount);
        }
    }
    (void)fclose(pairs);
    csv_text(out, text);
    free(text);
}

const char ctl_csv_head[] =
    "node,sequence,kind,event_time_unix_ns,recorded_time_unix_ns,tenant,model,pool,user,source,"
    "request_id,attempt,part_sequence,final,outcome,tier,quantities,labels,price_versions,"
    "cost_pico_usd,charge_pico_usd,unpriced,corrects_node,corrects_sequence,reservation_id,"
    "limit,note\n";

void ctl_csv_entry(FILE *out, const Quota__V1__LedgerEntry *entry)
{
    const char *names[] = {entry->tenant, entry->model,  entry->pool,
                           entry->user,   entry->source, entry->request_id};
    csv_text(out, entry->node);
    (void)fprintf(out, ",%llu,%s,%lld,%lld", (unsigned long long)entry->sequence,
                  ctl_enum_word(&quota__v1__entry_kind__descriptor, (int)entry->kind),
                  (long long)entry->event_time_unix_ns, (long long)entry->recorded_time_unix_ns);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)fputc(',', out);
        csv_text(out, names[i]);
    }
    (void)fprintf(out, ",%u,%u,%s,%s,", entry->attempt, entry->part_sequence,
                  entry->final ? "true" : "false",
                  ctl_enum_word(&quota__v1__outcome__descriptor, (int)entry->outcome));
    (void)fprintf(out, "%s,",
                  ctl_enum_word(&quota__v1__service_tier__descriptor, (int)entry->tier));
    csv_pairs(out, entry, false);
    (void)fputc(',', out);
    csv_pairs(out, entry, true);
    (void)fputc(',', out);
    for (size_t i = 0; i < entry->n_price_versions; i++) {
        (void)fputs(i > 0 ? ";" : "", out);
        csv_text(out, entry->price_versions[i]);
    }
    (void)fprintf(out, ",%s,%s,%s,", entry->cost_pico_usd, entry->charge_pico_usd,
                  entry->unpriced ? "true" : "false");
    csv_text(out, entry->corrects_node);
    (void)fprintf(out, ",%llu,%s,", (unsigned long long)entry->corrects_sequence,
                  entry->reservation_id);
    csv_text(out, entry->limit);
    (void)fputc(',', out);
    csv_text(out, entry->note);
    (void)fputc('\n', out);
}
