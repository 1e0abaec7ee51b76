/* The commands, by group; each list ends with a name of NULL. Layer: client/ctl. */
#ifndef QD_CLIENT_CTL_COMMANDS_H
#define QD_CLIENT_CTL_COMMANDS_H

#include "client/ctl/ctl.h"

extern const struct ctl_command ctl_check_commands[];
extern const struct ctl_command ctl_settle_commands[];
extern const struct ctl_command ctl_usage_commands[];
extern const struct ctl_command ctl_limit_commands[];
extern const struct ctl_command ctl_tenant_commands[];
extern const struct ctl_command ctl_counter_commands[];
extern const struct ctl_command ctl_reservation_commands[];
extern const struct ctl_command ctl_event_commands[];
extern const struct ctl_command ctl_ledger_commands[];
extern const struct ctl_command ctl_correct_commands[];
extern const struct ctl_command ctl_policy_commands[];
extern const struct ctl_command ctl_rls_commands[];
extern const struct ctl_command ctl_price_commands[];
extern const struct ctl_command ctl_status_commands[];
extern const struct ctl_command ctl_backup_commands[];
extern const struct ctl_command ctl_audit_commands[];
extern const struct ctl_command ctl_token_commands[];
extern const struct ctl_command ctl_replay_commands[];
extern const struct ctl_command ctl_completion_commands[];

#endif /* QD_CLIENT_CTL_COMMANDS_H */
