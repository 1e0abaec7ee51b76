#!/bin/sh
# Limits that are split into many counters: what is shown of them, and which are reset.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

uses() { # USER
    ctl check acme --model m --user "$1" --use input_tokens=5 >/dev/null
}

I7_limits_show_no_counter_of_a_split_limit() {
    uses ann
    expect_exit 0 ctl limits acme
    expect_match "$out" '^p\.tokens +50/min +per model: see quotactl counters ls acme +.*policy\.yaml:'
    expect_match "$out" '^p\.requests +9/min +per user, label:team: see quotactl counters ls acme +'
    expect_match "$out" '^p\.all +9/min +acme +1 +'
    case $out in *model=*) qd_fail "a counter without a model: $out" ;; esac
    expect_exit 0 ctl limits acme --model m
    expect_match "$out" '^p\.tokens +50/min +acme model=m +5 +0 +10'
    expect_exit 0 ctl limits acme --user ann --label team=a
    expect_match "$out" '^p\.requests +9/min +acme user=ann team=a +'
    expect_exit 0 ctl limits acme -o json
    expect_eq "$(printf '%s\n' "$out" | grep -c '"no_counter": *true')" 2
    ctl counters reset acme tokens
}

I7_reset_by_key_is_for_that_value_alone() {
    for user in bob 'ann user=bob' 'bob user=x' 'bob team=a'; do
        uses "$user"
    done
    ctl check acme --model m --user bob --label team=b --use input_tokens=5 >/dev/null
    expect_exit 0 ctl counters reset acme requests --key user=bob -o json
    expect_match "$out" '"reset": *2,?$'
    expect_exit 0 ctl counters ls acme
    expect_match "$out" '^p\.requests +acme +user=ann user=bob +1 '
    expect_match "$out" '^p\.requests +acme +user=bob user=x +1 '
    expect_match "$out" '^p\.requests +acme +user=bob team=a +1 '
    expect_exit 0 ctl counters reset acme requests --key team=a -o json
    expect_match "$out" '"reset": *0,?$'
    expect_exit 0 ctl counters reset acme requests --key 'user=ann user=bob' -o json
    expect_match "$out" '"reset": *1,?$'
    expect_exit 1 ctl counters reset acme requests --key model=m
    expect_match "$err" 'keys: "model" is not in the `per` of "p\.requests"; leave it out, nothing was reset'
    expect_exit 1 ctl counters reset acme tokens --shared
    expect_exit 0 ctl counters reset --shared model:m.all
    expect_match "$out" '^1 counter reset'
}

# L1: what was reset, and of whom, is told by the entry alone.
L1_the_ledger_says_what_was_reset() {
    ctl counters reset acme requests --key user=bob >/dev/null
    ctl counters reset acme all >/dev/null
    expect_exit 0 ctl ledger ls acme -n 1000 # those of the cases before, too
    expect_match "$out" ' adjustment +acme +admin +reset p\.requests user=bob '
    expect_match "$out" ' adjustment +acme +admin +reset p\.all '
    expect_exit 0 ctl ledger export acme
    expect_match "$out" '"kind":"ADJUSTMENT".*"key":"user","value":"bob".*"limit":"p\.requests","note":"counters reset"'
    expect_exit 0 ctl ledger export acme --format csv
    expect_match "$out" '^[^,]+,[0-9]+,ADJUSTMENT,.*,user=bob,.*,p\.requests,counters reset,false,UNSPECIFIED,0,0$'
}

printf '%s\n' 'version: 1' 'models: {m: {max_output_tokens: 9, limits: {all: {limit: 99/min, meter: requests}}}}' 'plans:' '  p:' \
    '    tokens: {meter: input_tokens, limit: 50/min, per: model}' \
    '    requests: {limit: 9/min, per: [user, label:team]}' \
    '    all: {meter: requests, limit: 9/min}' \
    'tenants:' '  acme: {plan: p}' >"$T/policy.yaml"
qd_start --policy "$T/policy.yaml" || exit 1
qd_run I7_limits_show_no_counter_of_a_split_limit I7_reset_by_key_is_for_that_value_alone \
    L1_the_ledger_says_what_was_reset
qd_done
