/* quotactl audit (X6). */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"

static void print_records(struct ctl *ctl, const void *message, const void *context)
{
    static const char *const heads[] = {">#", "when", "who", "what", "to", "detail"};
    const Quota__V1__ListAuditRecordsResponse *answer = message;
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    (void)context;
    for (size_t i = 0; i < answer->n_records; i++) {
        const Quota__V1__AuditRecord *r = answer->records[i];
        ctl_table_cell(table, ctl_count_text((int64_t)r->sequence).text);
        ctl_table_cell(table, ctl_time_text(r->at_unix_ns, NULL).text);
        ctl_table_cell(table, r->actor);
        ctl_table_cell(table, r->action);
        ctl_table_cell(table, r->subject);
        ctl_table_cell(table, r->detail);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    ctl_print_more(ctl, answer->end ? "" : answer->next_cursor);
}

static int run_audit(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ListAuditRecordsRequest request;
    quota__v1__list_audit_records_request__init(&request);
    if (!ctl_read_rows(ctl, args, &request.page_size)) {
        return CTL_ERROR;
    }
    request.cursor = ctl_wire(ctl_arg(args, "page"));
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ListAuditRecords", &request.base,
                             &quota__v1__list_audit_records_response__descriptor, true),
                    print_records, NULL);
}

static const struct ctl_option audit_options[] = {
    {"count", 'n', "N", "so many records; default 100"},
    {"page", 0, "CURSOR", "from where the page before ended"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_audit_commands[] = {
    {"audit", "", "who changed what: tenants, grants, corrections, files, the node",
     "Oldest first. \"who\" is the credential's name and role in the node's --credentials file,\n"
     "\"local\" where nobody is asked for credentials, \"file\" where a file of the node has "
     "changed:\n"
     "its policy, rate limits, credentials, certificate. With -o json each has the hashes of what\n"
     "was changed, before and after.\n",
     "  quotactl audit\n  quotactl audit --count 1000 -o json\n", audit_options, 0, 0, run_audit},
    {.name = NULL},
};
