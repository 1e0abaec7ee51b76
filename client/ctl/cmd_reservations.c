/* quotactl reservations ls, release (S9). */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"

#include <stdlib.h>
#include <string.h>

static bool read_age(struct ctl *ctl, const struct ctl_args *args, int64_t *ret_ms)
{
    const char *text = ctl_arg(args, "older-than");
    int64_t ns = 0;
    if (text != NULL && !ctl_read_span(ctl, "--older-than", text, &ns)) {
        return false;
    }
    *ret_ms = ns / 1000000;
    return true;
}

static void row(struct ctl_table *table, const Quota__V1__ReservationInfo *info)
{
    char held[256];
    int64_t now = ctl_now_unix_ns();
    ctl_held_text(info->n_held, info->held, held, sizeof held);
    ctl_table_cell(table, info->id);
    ctl_table_cell(table, info->tenant);
    ctl_table_cell(table, ctl_span_text(now - info->created_at_unix_ns).text);
    ctl_table_cell(table,
                   info->kept ? "expired, kept" : ctl_in_text(info->expires_at_unix_ns).text);
    ctl_table_cell(table, held);
}

static void print_list(struct ctl *ctl, const void *message, const void *context)
{
    static const char *const heads[] = {"id", "tenant", ">age", "expires", "held"};
    (void)context;
    const Quota__V1__ListReservationsResponse *answer = message;
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < answer->n_reservations; i++) {
        row(table, answer->reservations[i]);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    ctl_print_more(ctl, answer->next_page_token);
}

static int run_list(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ListReservationsRequest request;
    quota__v1__list_reservations_request__init(&request);
    if (!read_age(ctl, args, &request.older_than_ms) ||
        !ctl_read_rows(ctl, args, &request.page_size)) {
        return CTL_ERROR;
    }
    request.tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    request.page_token = ctl_wire(ctl_arg(args, "page"));
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ListReservations", &request.base,
                             &quota__v1__list_reservations_response__descriptor, true),
                    print_list, NULL);
}

static void print_released(struct ctl *ctl, const void *message, const void *context)
{
    const Quota__V1__ReleaseReservationResponse *answer = message;
    const bool *dry_run = context;
    char held[256];
    ctl_held_text(answer->n_amounts, answer->amounts, held, sizeof held);
    (void)fprintf(ctl->out, "%s %u reservation%s%s%s\n", *dry_run ? "would release" : "released",
                  answer->released, answer->released == 1 ? "" : "s", held[0] != '\0' ? ": " : "",
                  held);
}

static int run_release(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ReleaseReservationRequest request;
    quota__v1__release_reservation_request__init(&request);
    if (!read_age(ctl, args, &request.older_than_ms)) {
        return CTL_ERROR;
    }
    bool dry_run = ctl_flag(args, "dry-run");
    request.reservation = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    request.tenant = ctl_wire(ctl_arg(args, "tenant"));
    request.dry_run = dry_run;
    if (request.reservation[0] == '\0' && request.tenant[0] == '\0') {
        return ctl_fail(ctl, "needs a RESERVATION, or --tenant TENANT (with --older-than TIME)");
    }
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ReleaseReservation", &request.base,
                             &quota__v1__release_reservation_response__descriptor, false),
                    print_released, &dry_run);
}

static const struct ctl_option list_options[] = {
    {"older-than", 0, "TIME", "only those made so long ago"},
    {"count", 'n', "N", "how many (100)"},
    {"page", 0, "TOKEN", "go on where a page ended"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option release_options[] = {
    {"tenant", 't', "TENANT", "all of this tenant and below it"},
    {"older-than", 0, "TIME", "of them, those made so long ago"},
    {"dry-run", 0, NULL, "count them, release nothing"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_reservation_commands[] = {
    {"reservations ls", "[TENANT]", "open holds on this node", NULL,
     "  quotactl reservations ls acme --older-than 10min\n", list_options, 0, 1, run_list},
    {"reservations release", "[RESERVATION]", "end holds; a report that comes later still books",
     NULL,
     "  quotactl reservations release r_7Q\n"
     "  quotactl reservations release --tenant acme --older-than 1h --dry-run\n",
     release_options, 0, 1, run_release},
    {.name = NULL},
};
