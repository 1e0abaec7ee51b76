/* quotactl backup, restore. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "storage/backup/backup.h"

#include <string.h>
#include <time.h>

#define BACKUP_TIMEOUT_MS 600000 /* it copies what the file system cannot share */

static void print_backup(struct ctl *ctl, const void *message, const void *context)
{
    const Quota__V1__CheckpointResponse *answer = message;
    (void)context;
    (void)fprintf(ctl->out, "%s: %s bytes in %s files, ledger through #%s\n", answer->path,
                  ctl_count_text((int64_t)answer->bytes).text,
                  ctl_count_text((int64_t)answer->files).text,
                  ctl_count_text((int64_t)answer->through_sequence).text);
    (void)fprintf(ctl->out,
                  "next: copy it to another machine; quotactl restore --from %s --to DATA_DIR\n",
                  answer->path);
}

static int run_backup(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__CheckpointRequest request;
    quota__v1__checkpoint_request__init(&request);
    request.name = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    if (ctl->timeout_from == CTL_DEFAULT) {
        ctl->timeout_ms = BACKUP_TIMEOUT_MS;
    }
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/Checkpoint", &request.base,
                             &quota__v1__checkpoint_response__descriptor, false),
                    print_backup, NULL);
}

/* --- restore --- */

static struct json_object *restored_json(const char *to, const struct qd_backup_info *info)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "data_dir", json_object_new_string(to));
    json_object_object_add(object, "node", json_object_new_string(info->node));
    json_object_object_add(object, "made_unix_ns", json_object_new_int64(info->made_unix_ns));
    json_object_object_add(object, "bytes",
                           json_object_new_int64((int64_t)qd_backup_info_bytes(info)));
    json_object_object_add(object, "files", json_object_new_int64((int64_t)info->file_count));
    json_object_object_add(object, "through_sequence",
                           json_object_new_int64((int64_t)info->sequence));
    return object;
}

static void print_restored(struct ctl *ctl, const char *to, const struct qd_backup_info *info)
{
    (void)fprintf(ctl->out, "%s: %s bytes in %s files, ledger through #%s, as of %s on node %s\n",
                  to, ctl_count_text((int64_t)qd_backup_info_bytes(info)).text,
                  ctl_count_text((int64_t)info->file_count).text,
                  ctl_count_text((int64_t)info->sequence).text,
                  ctl_time_text(info->made_unix_ns, NULL).text, info->node);
    (void)fprintf(ctl->out,
                  "next: quotad --data-dir %s; what was booked later is not in it: "
                  "reports sent again are booked, exports go on from --cursor %llu\n",
                  to, (unsigned long long)info->sequence);
}

static int run_restore(struct ctl *ctl, const struct ctl_args *args)
{
    const char *from = ctl_arg(args, "from");
    const char *to = ctl_arg(args, "to");
    struct qd_backup_info info;
    struct qd_backup_error error;
    if (from == NULL || to == NULL) {
        return ctl_fail(ctl, "needs --from BACKUP and --to DATA_DIR");
    }
    if (qd_backup_restore(from, to, (int64_t)time(NULL), &info, &error) != QD_BACKUP_OK) {
        return ctl_fail(ctl, "nothing was restored: %s", error.text);
    }
    if (ctl->json) {
        (void)ctl_json_print(ctl, restored_json(to, &info));
    } else {
        print_restored(ctl, to, &info);
    }
    qd_backup_info_release(&info);
    return CTL_OK;
}

static const struct ctl_option restore_options[] = {
    {"from", 0, "BACKUP", "the folder that quotactl backup made, or a copy of it"},
    {"to", 0, "DATA_DIR", "a new or empty folder, for quotad --data-dir"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_backup_commands[] = {
    {"backup", "[NAME]", "copy all that is durable, while the node serves",
     "The node makes a folder NAME (default: the time and the last entry's number) in its\n"
     "--backup-dir, on its own machine: ledger, idempotency keys, rollups, tenants, and the key "
     "that\n"
     "signs reservations: keep it as safe as the node itself. The policy is not in it.\n",
     "  quotactl backup\n  quotactl backup before-upgrade --timeout 1h\n", NULL, 0, 1, run_backup},
    {"restore", "", "make a data directory of a backup; needs no node",
     "What happened after the backup is not in it: budgets and hard limits forget what was used\n"
     "since and admit it again, and reports that are sent again are booked. A node that goes on "
     "with\n"
     "the old data directory must not run beside the restored one.\n",
     "  quotactl restore --from quotad-data/backups/20261129T134800Z-1200 --to restored\n",
     restore_options, 0, 0, run_restore},
    {.name = NULL},
};
