# Old ledger entries and idempotency keys go (L7, S6), by a clock that the test moves. ctest-timeout: 120
. "${QUOTA_TESTLIB_SH:?run through ctest}"

shim=$QUOTAD_BUILD_DIR/tests/e2e/libclock_shim.so
export QD_CLOCK_FILE="$T/clock"
DAY=86400

policy() { # LINES OF ITS TOP LEVEL
    cat >"$T/new.yaml" <<END
version: 1
models:
  m: {max_output_tokens: 1000}
prices:
  m: {input_tokens: \$1/1M, output_tokens: \$2/1M}
plans:
  pro: {requests: 100k/min, cost: \$500/month}
tenants:
  "*": {plan: pro}
$1
END
    mv "$T/new.yaml" "$T/policy.yaml"
}

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" --timeout 5s "$@"
}

report() { # REQUEST_ID OPTION...
    id=$1
    shift
    ctl report --tenant acme --request-id "$id" --model m --use input_tokens=1000 "$@"
}

# at DAYS: a node whose clock is so many days off.
at() {
    echo "$(($1 * DAY))" >"$T/clock"
    LD_PRELOAD=$shim qd_start --policy "$T/policy.yaml" || exit 1
}

# date_at DAYS: that long from now.
date_at() {
    date -u -d "$1 days" +%Y-%m-%dT%H:%M:%SZ
}

metric() {
    curl -s "http://$QD_ADMIN/metrics" | sed -n "s/^$1 //p"
}

# await METRIC VALUE: the heart beats every 5 s.
await() {
    for _ in $(seq 600); do
        [ "$(metric "$1")" != "$2" ] || return 0
        sleep 0.1
    done
    qd_fail "$1 is $(metric "$1"), not $2"
}

L7_by_default_entries_stay_and_old_keys_go() {
    await quotad_ledger_expired_keys_through 5
    expect_eq "$(metric quotad_ledger_expired_entries)" 0
    expect_exit 0 ctl ledger export
    expect_eq "$(printf '%s\n' "$out" | wc -l)" 8
    expect_eq "$err" 'end; later: --cursor 8'
    expect_exit 0 report new1 # recent keys are still there
    expect_in "$out" '(booked before)'
}

S6_a_longer_horizon_books_nothing_twice() {
    policy 'report_horizon: 90d'
    expect_exit 0 ctl policy reload
    expect_exit 1 report old1 --event-time "$(date_at -60)"
    expect_match "$err" 'is older than the ledger accepts \([0-9]+ days\): [-0-9T:]*Z or later is accepted; nothing is booked'
    expect_exit 0 report other --event-time "$(date_at -30)"
    expect_exit 0 ctl verify
    expect_match "$out" '^9 entries up to #9, .*: clean$'
    policy ''
}

P1_a_retention_that_is_too_short_is_refused() {
    policy 'ledger_retention: 36d'
    expect_exit 1 ctl policy reload
    expect_in "$err" 'policy.yaml:10:19: ledger_retention: "36d" is less than "report_horizon" (35d) and 2 days for what is late; at least 37d is accepted'
    policy 'ledger_retention: 37d'
    expect_exit 0 ctl policy reload
}

L7_entries_expire_and_their_sums_stay() {
    expect_exit 0 ctl usage acme -o json
    printf '%s\n' "$out" | grep -v -e unix_ns -e sequence -e start >"$T/usage.before"
    await quotad_ledger_expired_entries 5
    expect_exit 0 ctl verify
    expect_match "$out" '^4 entries up to #9 and 5 that have expired, .*: clean$'
    expect_exit 0 ctl usage acme -o json
    printf '%s\n' "$out" | grep -v -e unix_ns -e sequence -e start >"$T/usage.after"
    expect_in "$(cat "$T/usage.after")" '"amount":9000'
    cmp "$T/usage.before" "$T/usage.after" || qd_fail "the sums differ: $(cat "$T/usage.before" "$T/usage.after")"
}

L6_a_cursor_before_what_expired_is_refused() {
    for command in ls export; do
        expect_exit 1 ctl ledger $command --cursor 2
        expect_in "$err" 'cursor: entries 3 to 5 have expired (ledger_retention) before they were read; go on at cursor 5'
    done
    expect_exit 0 ctl ledger export --cursor 5
    expect_eq "$(printf '%s\n' "$out" | wc -l)" 4
    expect_exit 0 ctl ledger export
    expect_eq "$(printf '%s\n' "$out" | wc -l)" 4
    expect_match "$err" '^note: entries up to #5 have expired \(ledger_retention in the policy\) and are not listed; quotactl usage still has their sums$'
}

L7_questions_that_need_entries_say_that_they_are_gone() {
    expect_exit 1 ctl usage acme --by label:team
    expect_in "$err" 'have expired (ledger_retention), and this question reads entries: begin later, or ask for whole quarter hours'
    expect_exit 0 ctl usage acme --by label:team --since 35day
    expect_in "$out" '4,000'
}

L7_a_restart_begins_where_the_entries_begin() {
    expect_exit 0 ctl verify
    expect_match "$out" '^4 entries up to #9 and 5 that have expired, .*: clean$'
    expect_exit 0 report last
    expect_match "$out" '#10;'
    expect_exit 0 report old1 # nobody knows of it any more: its time is now
    expect_match "$out" '^BOOKED entry .*#11;'
}

L7_a_budget_made_at_run_time_keeps_what_it_counts() {
    expect_exit 1 ctl tenants put acme/big --plan pro --limit tokens=1M/year
    expect_in "$err" 'tokens: it counts entries of up to 367d, and "ledger_retention" keeps them for 37d; at least 369d is accepted there'
    policy ''
    expect_exit 0 ctl policy reload
    expect_exit 0 ctl tenants put acme/big --plan pro --limit tokens=1M/year
    policy 'ledger_retention: 37d'
    expect_exit 0 ctl policy reload
    for _ in $(seq 600); do
        ! grep -q 'entries are kept longer' "$QD_LOG" || break
        sleep 0.1
    done
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="entries are kept longer than ledger_retention says: a budget counts them" kept_days=369 prepaid=0'
    expect_eq "$(metric quotad_ledger_expired_entries)" 5
}

policy ''
at -60
for i in 1 2 3 4 5; do report "old$i" >"$T/reported" 2>&1 || cat "$T/reported"; done
qd_stop TERM || exit 1
at 0
for i in 1 2 3; do report "new$i" >"$T/reported" 2>&1 || cat "$T/reported"; done
qd_run L7_by_default_entries_stay_and_old_keys_go S6_a_longer_horizon_books_nothing_twice \
    P1_a_retention_that_is_too_short_is_refused L7_entries_expire_and_their_sums_stay \
    L6_a_cursor_before_what_expired_is_refused L7_questions_that_need_entries_say_that_they_are_gone
qd_stop TERM || exit 1
at 0
qd_run L7_a_restart_begins_where_the_entries_begin L7_a_budget_made_at_run_time_keeps_what_it_counts
qd_done
