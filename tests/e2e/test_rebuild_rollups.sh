#!/bin/sh
# Rollup rows that are lost or damaged on the disk: verify says so, and a rebuild brings back what usage said (L4).
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" --timeout 20s "$@"
}

sums() {
    ctl usage --by tenant,model -o json | grep -v -e unix_ns -e sequence
}

L4_rows_that_are_right_are_not_touched() {
    expect_exit 0 ctl ledger rebuild-rollups
    expect_eq "$out" '6 entries up to #6, 3 rollup rows: nothing differs, nothing was changed'
}

L4_rows_that_are_wrong_come_back() {
    expect_exit 1 ctl verify
    expect_match "$out" 'DIFFERS: rollup row 2 is damaged$'
    expect_match "$out" '^next: quotactl ledger rebuild-rollups$'
    expect_exit 0 ctl ledger rebuild-rollups
    expect_eq "$out" '6 entries up to #6; rollup rows: 2 before, 3 after
1 rows added, 1 changed, 0 dropped in 2 groups
next: quotactl verify'
    expect_exit 0 ctl verify
    expect_match "$out" 'clean$'
    sums >"$T/after"
    cmp "$T/before" "$T/after" || qd_fail "usage differs: $(cat "$T/before" "$T/after")"
}

L4_a_rebuild_is_there_after_a_crash() {
    expect_exit 0 ctl ledger rebuild-rollups -o json
    expect_match "$out" '"groups": *0'
    expect_match "$out" '"rows": *3'
}

printf '%s\n' 'version: 1' 'models: {m: {max_output_tokens: 9}}' 'unknown_price: unpriced' \
    'plans: {p: {requests: 100/min}}' 'tenants:' '  "*": {plan: p}' >"$T/policy.yaml"
qd_start --policy "$T/policy.yaml" || exit 1
hour=$(date -u -d '2 hours ago' +%Y-%m-%dT%H:00:00Z)
for tenant in acme beta gamma; do
    for i in 1 2; do # all in one quarter hour
        ctl report --tenant $tenant --request-id "$tenant$i" --model m --use input_tokens=1"$i" \
            --event-time "$hour" >"$T/reported" || cat "$T/reported"
    done
done
qd_run L4_rows_that_are_right_are_not_touched
sums >"$T/before"
qd_stop TERM || exit 1
"$QUOTAD_BUILD_DIR/tests/e2e/rollup_tool" "$T/data" damage || exit 1
qd_start --policy "$T/policy.yaml" || exit 1
qd_run L4_rows_that_are_wrong_come_back
qd_stop KILL || :
qd_start --policy "$T/policy.yaml" || exit 1
qd_run L4_a_rebuild_is_there_after_a_crash
qd_done
