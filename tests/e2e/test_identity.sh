# What a node is to its own ledger stays: its name and the identities of its counters outlive a lost key, another host
# name, and another --node-name. What does not outlive a start is told.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  pro: {input_tokens: 10000/month}
tenants:
  "*": {plan: pro}
END

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

start() {
    qd_start --policy "$T/policy.yaml" "$@" || exit 1
}

used() { # the budget's
    ctl limits acme -o json | sed -n 's/^ *"used": *"\{0,1\}\([0-9][0-9]*\).*/\1/p' | head -n 1
}

hold() { # $T/token: of a reservation that stays open
    ctl check acme --model m --use input_tokens=100 --use max_output_tokens=100 -o json |
        sed -n 's/^ *"token": *"\([^"]*\)".*/\1/p' >"$T/token"
}

start --node-name first
ctl report --tenant acme --request-id r1 --model m --use input_tokens=1234 >/dev/null || exit 1
hold
qd_stop TERM

L1_entries_keep_the_name_of_the_first_start() {
    expect_match "$(cat "$QD_LOG")" '^.*level=warn msg="the ledger keeps the name of its first start".* name=first given=second'
    expect_exit 0 ctl status -o json
    expect_match "$out" '"node": *"first"'
    expect_exit 0 ctl report --tenant acme --request-id r2 --model m --use input_tokens=1
    expect_exit 0 ctl ledger ls acme -o json
    expect_eq "$(printf '%s\n' "$out" | grep '"node":' | sed 's/.*: *"\([^"]*\)".*/\1/' | sort -u)" first
}

S1_tokens_settle_under_another_name_given() {
    expect_exit 0 ctl report "$(cat "$T/token")" --request-id r3 --use input_tokens=10
    expect_match "$out" '^BOOKED entry '
}

D7_budgets_count_on_after_the_key_is_lost() {
    expect_eq "$(used)" 1245
    expect_exit 2 ctl check acme --model m --use input_tokens=8756 --no-reservation
    expect_exit 0 ctl check acme --model m --use input_tokens=8755 --no-reservation
    expect_exit 0 ctl verify
    expect_match "$out" ': clean$'
}

S1_a_lost_key_is_told() {
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="the node.s key was not there, a new one was made: tokens of reservations made before are not accepted".* file=.*/data/reservation.key'
}

S1_a_lost_keys_tokens_are_not_accepted() {
    expect_exit 1 ctl report "$(cat "$T/token")" --request-id r4 --use input_tokens=10
    expect_in "$err" "is no reservation of this cluster"
}

S1_holds_that_a_change_of_shards_ended_are_told_and_settle() {
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="reservations have no place: they settle by their tokens; --shards was changed, or --max-reservations is too small" holds=1$'
    expect_exit 0 ctl report "$(cat "$T/token")" --request-id r5 --use input_tokens=5
    expect_match "$out" '^BOOKED entry '
    expect_eq "$(used)" 1250
}

L1_the_first_start_says_nothing() {
    expect_eq "$(grep -c 'level=warn' "$QD_LOG" || :)" 0
}

start --node-name second
qd_run L1_entries_keep_the_name_of_the_first_start S1_tokens_settle_under_another_name_given
qd_stop TERM
rm "$T/data/reservation.key"
start --node-name first
qd_run D7_budgets_count_on_after_the_key_is_lost S1_a_lost_key_is_told S1_a_lost_keys_tokens_are_not_accepted
hold
qd_stop TERM
start --node-name first --shards 4
qd_run S1_holds_that_a_change_of_shards_ended_are_told_and_settle
qd_stop TERM
start --data-dir "$T/new"
qd_run L1_the_first_start_says_nothing
qd_done
