#include "client/ctl/commands.h"

const struct ctl_command *const ctl_command_groups[] = {
    ctl_check_commands,  ctl_settle_commands,  ctl_usage_commands,       ctl_limit_commands,
    ctl_tenant_commands, ctl_counter_commands, ctl_reservation_commands, ctl_event_commands,
    ctl_ledger_commands, ctl_correct_commands, ctl_policy_commands,      ctl_rls_commands,
    ctl_price_commands,  ctl_status_commands,  ctl_backup_commands,      ctl_audit_commands,
    ctl_token_commands,  ctl_replay_commands,  ctl_completion_commands,  NULL,
};
