#!/bin/sh
# What the ledger says is corrected by new entries: usage, budgets and invoices follow, a restart keeps it, and what had no
# price gets one (L3, P8).
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" --timeout 20s "$@"
}

policy() { # PRICES...
    printf '%s\n' 'version: 1' 'models: {m: {max_output_tokens: 9}, m2: {max_output_tokens: 9}, new: {max_output_tokens: 9}, late: {max_output_tokens: 9999}}' \
        'unknown_price: unpriced' 'prices:' "$@" 'plans:' '  p:' \
        '    day: {meter: input_tokens, limit: 100M/day}' \
        '    mine: {meter: input_tokens, limit: 100M/day, per: user}' \
        '    cost: $500/month' \
        'tenants:' '  "*": {plan: p}' >"$T/policy.yaml"
}

report() { # ID MODEL TOKENS
    ctl report --tenant acme --request-id "$1" --model "$2" --user ann --use "input_tokens=$3" -o json >/dev/null
}

used() { # LIMIT
    ctl limits acme --user ann --model m -o json | tr -d '\n' | sed "s/\"name\"/\n\"name\"/g" |
        sed -n "s/^\"name\": *\"p\.$1\".*\"used\": *\"\{0,1\}\(-\{0,1\}[0-9]*\).*/\1/p" | head -n 1
}

# What usage sums up, by the price that was applied: lines "version tokens cost entries".
sums() {
    ctl usage acme --by price -o json | tr -d ' \n' | sed 's/"start_unix_ns"/\n&/g' |
        sed -n 's/.*"value":"\([^"]*\)".*"meter":"input_tokens","amount":\(-\{0,1\}[0-9]*\).*"cost_pico_usd":"\([-0-9]*\)".*"entries":\([0-9]*\),"unpriced_entries":\([0-9]*\).*/\1 \2 \3 \4 \5/p' |
        sort
}

restart() {
    qd_stop KILL || :
    qd_start --policy "$T/policy.yaml" || exit 1
}

L3_a_report_is_corrected_and_sums_follow_by_price_version() {
    report r1 m 1000
    report r2 m2 500
    expect_exit 0 ctl correct --entry 1 --usage input_tokens=400 --reason 'ticket 7' --dry-run
    expect_match "$out" '^WOULD CORRECT entry .*#1$'
    expect_exit 0 ctl correct --entry 1 --usage input_tokens=400 --reason 'ticket 7'
    expect_match "$out" '^CORRECTED entry .*#1$'
    expect_match "$out" '^taken back +.*#3 +acme +m +-1,000 input_tokens, -1 requests '
    expect_match "$out" '^instead +.*#4 +acme +m +400 input_tokens, 1 requests '
    expect_eq "$(sums)" 'm 400 400000000 1 0
m2 500 1000000000 1 0'
    expect_exit 0 ctl correct --report r2 --of acme --model m --reason 'wrong model'
    expect_eq "$(sums)" 'm 900 900000000 2 0'
    expect_eq "$(used day) $(used mine) $(used cost)" '900 900 900000'
    expect_exit 0 ctl verify
    expect_match "$out" 'clean'
}

S6_the_same_correction_books_nothing_more() {
    expect_exit 0 ctl correct --entry 1 --usage input_tokens=400 --reason 'ticket 7'
    expect_match "$out" 'this was booked before$'
    expect_exit 1 ctl correct --entry 1 --take-back --reason 'ticket 8'
    expect_match "$err" 'entry: 1 was corrected before, by entry 3; entry 4 stands instead: correct that one\.'
    expect_exit 1 ctl correct --entry 999 --take-back --reason 'ticket 8'
    expect_match "$err" 'entry: 999 is not in the ledger, whose last one is 6'
    expect_exit 1 ctl correct --entry 3 --take-back --reason 'ticket 8'
    expect_match "$err" 'entry: 3 takes entry 1 back'
}

L3_a_restart_keeps_it() {
    expect_eq "$(used day) $(used mine) $(used cost)" '900 900 900000'
    expect_eq "$(sums)" 'm 900 900000000 2 0'
    expect_exit 0 ctl correct --entry 1 --usage input_tokens=400 --reason 'ticket 7'
    expect_match "$out" 'this was booked before$'
}

L1_the_ledger_says_what_corrects_what_and_why() {
    expect_exit 0 ctl ledger ls acme
    expect_match "$out" '#3 .* correction +acme +m +correction +-1,000 input_tokens, .* takes back #1$'
    expect_match "$out" '#4 .* correction +acme +m +correction +400 input_tokens, .* instead of #1$'
    expect_exit 0 ctl ledger export acme
    expect_match "$out" '"sequence":3,"kind":"CORRECTION".*"corrects_sequence":1,.*"note":"ticket 7","reversal":true'
    expect_match "$out" '"sequence":4,"kind":"CORRECTION".*"corrects_sequence":1,.*"note":"ticket 7","reversal":false'
}

P8_what_had_no_price_gets_one() {
    report r3 new 70
    report r4 other 5
    expect_eq "$(sums)" ' 75 0 2 2
m 900 900000000 2 0'
    expect_exit 0 ctl price-unpriced
    expect_match "$out" '^priced 0 entries'
    expect_match "$out" '^2 still without a price'
    policy '  m: {input_token: $1/1M}' '  m2: {input_token: $2/1M}' \
        '  new: [{effective: 2020-01-01, input_token: $3/1M}]'
    expect_exit 0 ctl policy reload
    expect_exit 0 ctl price-unpriced --dry-run
    expect_match "$out" '^would price 1 entry: '
    expect_exit 0 ctl price-unpriced
    expect_match "$out" '^priced 1 entry: '
    expect_match "$out" '^1 still without a price'
    expect_match "$out" '^other +1$'
    expect_exit 0 ctl price-unpriced
    expect_match "$out" '^priced 0 entries'
    expect_eq "$(sums)" ' 5 0 1 1
m 900 900000000 2 0
new@2020-01-01 70 210000000 1 0'
    expect_eq "$(used day) $(used cost)" '975 1110000'
}

P8_the_price_is_kept_by_a_restart() {
    expect_eq "$(used day) $(used cost)" '975 1110000'
    expect_exit 0 ctl price-unpriced
    expect_match "$out" '^priced 0 entries'
    expect_exit 0 ctl verify
    expect_match "$out" 'clean'
}

# Killed at any instant, and run again: all of it is priced, and nothing twice.
price_until_killed() { # DELAY
    ctl price-unpriced >/dev/null 2>&1 &
    pricing=$!
    sleep "$1"
    restart
    wait "$pricing" || :
}

P8_kill_9_while_pricing_prices_nothing_twice() {
    expect_exit 0 ctl price-unpriced
    expect_match "$out" '^priced [0-9,]+ (entry|entries)' # none, if the machine had priced all of them before it was killed
    expect_exit 0 ctl usage --by model --by price -o json
    # The excerpt's sums: 2,209,565 in, 529,807 out.
    expect_match "$(printf '%s\n' "$out" | tr -d ' \n')" '"value":"late".*"value":"late@2020-01-01".*"amount":"?2209565.*"cost_pico_usd":"3269179000000".*"entries":"?2000,'
    expect_exit 0 ctl verify
    expect_match "$out" 'clean'
}

policy '  m: {input_token: $1/1M}' '  m2: {input_token: $2/1M}'
qd_same_day 120
qd_start --policy "$T/policy.yaml" || exit 1
qd_run L3_a_report_is_corrected_and_sums_follow_by_price_version S6_the_same_correction_books_nothing_more
# Outside of a case's subshell: the server's pid changes.
restart
qd_run L3_a_restart_keeps_it L1_the_ledger_says_what_corrects_what_and_why P8_what_had_no_price_gets_one
restart
qd_run P8_the_price_is_kept_by_a_restart
ctl replay --format azure --trace "$QUOTAD_SOURCE_DIR/deploy/examples/traces/azure_conv.csv" --model late --no-loss \
    --no-gpu --speed 0 >/dev/null || exit 1
policy '  m: {input_token: $1/1M}' '  m2: {input_token: $2/1M}' \
    '  new: [{effective: 2020-01-01, input_token: $3/1M}]' \
    '  late: [{effective: 2020-01-01, input_token: $1/1M, output_token: $2/1M}]'
ctl policy reload >/dev/null || exit 1
for delay in 0.02 0.05 0.08; do
    price_until_killed "$delay"
done
qd_run P8_kill_9_while_pricing_prices_nothing_twice
qd_done
