# X6: files that were read again and say something else leave an audit record: the policy, the prices that it imports, the
# rate limits. (Credentials and certificates: test_secure.sh.)
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT
export NO_COLOR=1

# records N: until the audit has so many; $all has one a line, the first in line 2.
records() {
    for _ in $(seq 1200); do
        all=$("$QUOTACTL_BIN" --address "$QD_GRPC" audit -o json | tr -d '\n' | sed 's/"sequence"/\n&/g')
        [ "$(echo "$all" | grep -c '"sequence"')" -lt "$1" ] || break
        sleep 0.05
    done
    expect_eq "$(echo "$all" | grep -c '"sequence"')" "$1"
}

# record N FIELD: of the Nth, from 1.
record() {
    echo "$all" | sed -n "$(($1 + 1))s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p"
}

await_log() { # PATTERN [COUNT]
    for _ in $(seq 1200); do
        [ "$(grep -c "$1" "$QD_LOG")" -lt "${2:-1}" ] || return 0
        sleep 0.05
    done
    qd_fail "no \"$1\" in the log"
}

# put FILE: standard input becomes the file at once, as editors and ConfigMaps do it.
put() {
    cat >"$T/new"
    mv "$T/new" "$1"
}

policy() { # REQUESTS
    put "$T/policy.yaml" <<EOF
version: 1
models: {gpt-4o: {}}
prices: {gpt-4o: {import: prices.json}}
plans: {free: {requests: $1/min}}
tenants: {'*': {plan: free}}
EOF
}

limits() { # REQUESTS
    put "$T/rls/a.yaml" <<EOF
domain: a
descriptors:
  - key: k
    rate_limit: {unit: minute, requests_per_unit: $1}
EOF
}

X6_a_policy_that_was_read_again_leaves_a_record() {
    policy 20
    records 1
    expect_eq "$(record 1 actor)/$(record 1 action)/$(record 1 subject)" "file/ReloadPolicy/(policy)"
    expect_eq "$(record 1 detail)" "r1 to r2, $T/policy.yaml"
    [ "$(record 1 before_hash)" != "$(record 1 after_hash)" ] || qd_fail "one hash for two policies"
}

X6_new_prices_leave_a_record() {
    sed 's/2\.5e-06/2.6e-06/' "$QUOTAD_SOURCE_DIR/deploy/examples/prices.json" | put "$T/prices.json"
    records 2
    expect_eq "$(record 2 actor)/$(record 2 action)" "file/ReloadPolicy"
    expect_eq "$(record 2 before_hash)" "$(record 1 after_hash)"
}

X6_rate_limits_that_were_read_again_leave_a_record() {
    limits 20
    records 3
    expect_eq "$(record 3 actor)/$(record 3 action)/$(record 3 subject)" "file/ReloadRateLimits/(rate limits)"
    expect_eq "$(record 3 detail)" "$T/rls"
    after=$(record 3 after_hash)
    limits 10
    records 4
    expect_eq "$(record 4 before_hash)" "$after"
    expect_eq "$(record 4 after_hash)" "$(record 3 before_hash)" # as it was first
}

X6_what_is_refused_or_says_the_same_leaves_none() {
    echo 'rubbish: [' | put "$T/rls/a.yaml"
    await_log 'msg="rate limits refused'
    limits 10
    await_log 'msg="rate limits reloaded"' 3
    echo 'rubbish: [' | put "$T/policy.yaml"
    await_log 'msg="policy refused'
    kill -HUP "$QD_PID"
    policy 20
    await_log 'msg="policy unchanged"'
    records 4
}

X6_a_reload_that_was_asked_for_is_by_who_asked() {
    policy 30
    "$QUOTACTL_BIN" --address "$QD_GRPC" policy reload >/dev/null || qd_fail "policy reload"
    records 5
    expect_match "$(record 5 actor)" "^(local|file)\$" # whoever was first; never both
    sleep 1.5
    records 5
}

mkdir "$T/rls"
cp "$QUOTAD_SOURCE_DIR/deploy/examples/prices.json" "$T/prices.json"
policy 10
limits 10
qd_start --policy "$T/policy.yaml" --rls-config "$T/rls"
qd_run X6_a_policy_that_was_read_again_leaves_a_record X6_new_prices_leave_a_record \
    X6_rate_limits_that_were_read_again_leave_a_record X6_what_is_refused_or_says_the_same_leaves_none \
    X6_a_reload_that_was_asked_for_is_by_who_asked
qd_stop
qd_done
