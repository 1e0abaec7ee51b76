#!/bin/sh
# The server as operators meet it: start, ports, reload, drain, kill -9, health, reflection, streams, admin calls.
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/rpc.sh"

policy() {
    cat >"$T/policy.yaml" <<YAML
version: 1
models:
  m: {max_output_tokens: 100}
prices:
  m: {input_tokens: \$2/1M, output_tokens: \$4/1M}
plans:
  basic:
    requests: ${1:-100}/min
    cost: \$1/month
tenants:
  acme: {plan: basic}
YAML
}

I10_no_policy_says_what_to_do() {
    expect_exit 2 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN"
    expect_in "$err" 'no policy: pass --policy FILE or --dev'
}

X4_a_data_directory_has_one_owner() {
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$T/data"
    expect_match "$err" "data directory in use by pid $QD_PID"
}

P1_a_bad_policy_is_refused_with_its_place() {
    printf 'version: 1\nplans:\n  a:\n    tokns: 5/min\n' >"$T/bad.yaml"
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --policy "$T/bad.yaml" \
        --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$T/data2"
    expect_match "$err" 'bad.yaml:4:5: .*tokns.*did you mean "tokens"'
}

P6_reload_by_call_and_by_signal_keeps_usage() {
    say CheckQuota 'tenant: "acme" model: "m"'
    # The node looks at the file itself, once a second: on a machine that pauses for so long it may be first. Not thrice.
    revision=1
    until [ "$(field changed)" = true ]; do
        revision=$((revision + 1))
        [ $revision -le 4 ] || qd_fail "no reload by call found anything new: $status $answer"
        policy "20$revision"
        say AdminService/ReloadPolicy ''
        expect_eq "$(field revision)" $revision
    done
    expect_in "$answer" 'path: "plans.basic.requests"'
    say CheckQuota 'tenant: "acme" model: "m"'
    expect_in "$answer" "policy_revision: $revision"
    say AdminService/GetEffectiveLimits 'tenant: "acme"'
    expect_match "$answer" '^ +used: 2$'
    policy 300
    kill -HUP "$QD_PID"
    revision=$((revision + 1))
    qd_soon runs_revision $revision
    printf 'nonsense: [' >"$T/policy.yaml"
    say AdminService/ReloadPolicy ''
    expect_match "$status" '^9 POLICY_INVALID .*policy.yaml:.*r'$revision' stays in force; run: quotactl policy validate [^ ]*/policy\.yaml$'
    printf 'version: 1\nplans:\n  a:\n    tokns: 5/min\nmeters:\n' >"$T/policy.yaml"
    for letter in a b c d; do # a list of accepted meters that doesn't fit
        printf '  %s_%060d: {}\n' $letter 0 >>"$T/policy.yaml"
    done
    say AdminService/ReloadPolicy ''
    expect_match "$status" '^9 POLICY_INVALID [^ ]*/policy\.yaml:4:5: plans\.a: "tokns": .*\.\.\.; did you mean "tokens"\?; 1 error in all; r'$revision' stays in force; run: quotactl policy validate [^ ]*/policy\.yaml$'
    printf 'nonsense: [' >"$T/policy.yaml"
    say AdminService/ReloadPolicy 'expected_revision: 1'
    expect_eq "$status" "9 REVISION_MISMATCH expected_revision: r1 is not running, r$revision is; run: quotactl policy show"
    policy 300
    qd_soon serving # it has looked at the good file again
}

runs_revision() { # NUMBER
    say AdminService/GetPolicy ''
    expect_eq "$(field revision)" "$1"
}

serving() {
    say AdminService/GetStatus ''
    expect_eq "$(field state)" NODE_STATE_SERVING
}

I4_health_and_reflection() {
    printf '' >"$T/in"
    "$grpc_call" "$QD_GRPC" /grpc.health.v1.Health/Check <"$T/in" >"$T/out" 2>/dev/null
    expect_eq "$(od -An -tx1 "$T/out" | tr -d ' ')" 0801
    printf '\012\007no.such' >"$T/in"
    "$grpc_call" "$QD_GRPC" /grpc.health.v1.Health/Check <"$T/in" >"$T/out" 2>"$T/err" && exit 1
    expect_in "$(cat "$T/err")" 'status=5 reason=UNKNOWN_SERVICE'
    for version in v1 v1alpha; do
        printf '\0\0\0\002\072\000' >"$T/in" # list_services
        "$grpc_call" -s "$QD_GRPC" "/grpc.reflection.$version.ServerReflection/ServerReflectionInfo" <"$T/in" >"$T/out" 2>/dev/null
        expect_in "$(tr -c '[:print:]' ' ' <"$T/out")" quota.v1.QuotaService
    done
}

I1_streams_answer_each_item() {
    items='items {id: 7 check {tenant: "acme" model: "m" brief: true}} items {id: 8 check {tenant: "no/such//x"}}
        items {id: 9 report {tenant: "acme" model: "m" request_id: "s1" usage {meter: "input_tokens" amount: 10}}} items {id: 10}'
    printf '%s' "$items" | protoc -I "$proto_dir" --encode=quota.v1.StreamQuotaRequest quota/v1/quota.proto >"$T/item"
    size=$(wc -c <"$T/item")
    {
        printf "\\0\\0\\$(printf %o $((size / 256)))\\$(printf %o $((size % 256)))"
        cat "$T/item"
    } >"$T/in"
    cat "$T/in" "$T/in" >"$T/twice"
    "$grpc_call" -s "$QD_GRPC" /quota.v1.QuotaService/StreamQuota <"$T/twice" >"$T/out" 2>"$T/rpc.err"
    expect_in "$(cat "$T/rpc.err")" status=0
    length=$(od -An -tu1 -N4 "$T/out" | awk '{ print $3 * 256 + $4 }')
    answer=$(tail -c +5 "$T/out" | head -c "$length" |
        protoc -I "$proto_dir" --decode=quota.v1.StreamQuotaResponse quota/v1/quota.proto)
    expect_match "$answer" 'verdict: VERDICT_ALLOWED'
    expect_in "$answer" 'reason: "INVALID_TENANT"'
    expect_match "$answer" 'entry_sequence: [0-9]+'
    expect_in "$answer" 'item 10: no call; set one of check, report, extend, cancel'
    expect_eq "$(printf '%s\n' "$answer" | grep -c '^  id: ')" 4
}

S1_a_malformed_batch_holds_nothing() {
    say AdminService/ListReservations 'page_size: 1000'
    before=$(printf '%s\n' "$answer" | grep -c '^reservations')
    check='items {id: 1 check {tenant: "acme" model: "m"}}'
    printf '%s' "$check $check $check" |
        protoc -I "$proto_dir" --encode=quota.v1.StreamQuotaRequest quota/v1/quota.proto >"$T/item"
    printf '\010\001' >>"$T/item" # a fourth item, which is a number
    size=$(wc -c <"$T/item")
    {
        printf "\\0\\0\\$(printf %o $((size / 256)))\\$(printf %o $((size % 256)))"
        cat "$T/item"
    } >"$T/in"
    "$grpc_call" -s "$QD_GRPC" /quota.v1.QuotaService/StreamQuota <"$T/in" >"$T/out" 2>"$T/rpc.err" || true
    expect_in "$(cat "$T/rpc.err")" 'status=3 reason=MALFORMED message=not a quota.v1.StreamQuotaRequest message'
    say AdminService/ListReservations 'page_size: 1000'
    expect_eq "$(printf '%s\n' "$answer" | grep -c '^reservations')" "$before"
}

P2_tenants_at_run_time_are_effective_at_once() {
    say CheckQuota 'tenant: "newco" model: "m"'
    expect_eq "$(field reason)" REASON_UNKNOWN_TENANT
    say AdminService/PutTenant 'tenant: "newco" plan: "basic" limits {key: "requests" value: "1/min"}'
    expect_eq "$(field created)" true
    say CheckQuota 'tenant: "newco" model: "m"'
    expect_eq "$(field verdict)" VERDICT_ALLOWED
    say CheckQuota 'tenant: "newco" model: "m"'
    expect_match "$(field message)" '^newco.requests 1 used'
    say AdminService/ResetCounter 'tenant: "newco" limit: "requests"'
    expect_eq "$(field reset)" 1
    until=$(($(date +%s) + 3600))
    say AdminService/Boost "tenant: \"newco\" limit: \"requests\" amount: 5 until_unix_ns: ${until}000000000"
    expect_match "$answer" '^ +limit: 5$'
    say CheckQuota 'tenant: "newco" model: "m"'
    expect_eq "$(field verdict)" VERDICT_ALLOWED
    say AdminService/Block 'tenant: "newco" reason: "unpaid"'
    say CheckQuota 'tenant: "newco/team" model: "m"'
    expect_eq "$(field message)" 'newco is blocked: unpaid'
    say AdminService/Block 'tenant: "newco" unblock: true'
    expect_eq "$(field was_blocked)" true
    say AdminService/ListTenants ''
    expect_eq "$(printf '%s\n' "$answer" | grep -c '^tenants ')" 2
    say AdminService/DeleteTenant 'tenant: "newco"'
    expect_eq "$(field deleted)" 1
    say CheckQuota 'tenant: "newco" model: "m"'
    expect_eq "$(field reason)" REASON_UNKNOWN_TENANT
}

S9_holds_are_listed_and_released() {
    say CheckQuota 'tenant: "acme" model: "m" estimate {meter: "input_tokens" amount: 1000}'
    id=$(field id)
    say AdminService/ListReservations 'tenant: "acme"'
    expect_in "$answer" "id: \"$id\""
    say AdminService/ReleaseReservation "reservation: \"$id\""
    expect_eq "$(field released)" 1
    say AdminService/ReleaseReservation "reservation: \"$id\""
    expect_match "$status" '^5 UNKNOWN_RESERVATION'
    say AdminService/ReleaseReservation 'tenant: "acme" older_than_ms: 0'
    say AdminService/ListReservations 'tenant: "acme"'
    expect_eq "$answer" ''
}

I2_explain_counters_usage_and_status() {
    say AdminService/ExplainCheck 'check {tenant: "acme" model: "m" estimate {meter: "input_tokens" amount: 1000}}'
    expect_in "$answer" 'estimate_text: "$0.0024 cost"'
    expect_in "$answer" 'file: "'"$T"'/policy.yaml"'
    expect_match "$answer" '^ +line: 8$'
    expect_match "$answer" '^price_version: "m'
    say AdminService/ListCounters 'tenant: "acme"'
    expect_in "$answer" 'name: "basic.cost"'
    say UsageService/QueryUsage 'tenant: "acme" group_by {dimension: DIMENSION_MODEL}'
    expect_match "$answer" 'cost_pico_usd: "[1-9][0-9]*"'
    say UsageService/ListLedgerEntries 'page_size: 1'
    expect_eq "$(field source)" gateway
    say UsageService/QueryUsage 'zone: "Mars/Olympus"'
    expect_eq "$status" '3 INVALID_FIELD zone: "Mars/Olympus" is no time zone; accepted are IANA names such as "Europe/Berlin"'
    say AdminService/GetStatus ''
    expect_eq "$(field state)" NODE_STATE_SERVING
    say AdminService/ValidatePolicy 'yaml: "version: 1\nplans:\n  a:\n    tokns: 5/min\n"'
    expect_in "$answer" 'line: 4'
}

I6_admin_port() {
    expect_eq "$(curl -s -o /dev/null -w '%{http_code}' "http://$QD_ADMIN/livez")" 200
    expect_in "$(curl -s "http://$QD_ADMIN/readyz?verbose")" ready
    expect_in "$(curl -s "http://$QD_ADMIN/metrics")" quotad_checks_total
}

X5_drain_answers_without_holding() {
    say AdminService/Drain ''
    expect_eq "$(field state)" NODE_STATE_DRAINING
    say CheckQuota 'tenant: "acme" model: "m"'
    expect_eq "$(field reason)" REASON_DRAINING
    printf '' >"$T/in"
    "$grpc_call" "$QD_GRPC" /grpc.health.v1.Health/Check <"$T/in" >"$T/out" 2>/dev/null
    expect_eq "$(od -An -tx1 "$T/out" | tr -d ' ')" 0802
    say AdminService/Drain 'cancel: true'
    say CheckQuota 'tenant: "acme" model: "m"'
    expect_eq "$(field verdict)" VERDICT_ALLOWED
}

# kill -9 at any instant: what was acknowledged is there once, tokens of the dead process settle.
X5_kill_9_loses_nothing_that_was_acknowledged() {
    say CheckQuota 'tenant: "acme" model: "m" estimate {meter: "input_tokens" amount: 1000}'
    token=$(field token)
    say ReportUsage 'tenant: "acme" model: "m" request_id: "k1" usage {meter: "input_tokens" amount: 5000}'
    sequence=$(field entry_sequence)
    say AdminService/GetEffectiveLimits 'tenant: "acme"'
    used=$(printf '%s\n' "$answer" | awk '/name: "basic.cost"/ { on = 1 } on && /used:/ { print $2; exit }')
    kill -9 "$QD_PID"
    wait "$QD_PID" 2>/dev/null || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do # its memory goes first, its lock last
        kill -0 "$QD_PID" 2>/dev/null || break
        sleep 0.5
    done
    qd_start --policy "$T/policy.yaml"
    say AdminService/GetEffectiveLimits 'tenant: "acme"'
    expect_eq "$(printf '%s\n' "$answer" | awk '/name: "basic.cost"/ { on = 1 } on && /used:/ { print $2; exit }')" "$used"
    say ReportUsage 'tenant: "acme" model: "m" request_id: "k1" usage {meter: "input_tokens" amount: 5000}'
    expect_eq "$(field duplicate)" true
    expect_eq "$(field entry_sequence)" "$sequence"
    say ReportUsage "reservation: \"$token\" usage {meter: \"input_tokens\" amount: 900}"
    case $(field settlement) in
    SETTLEMENT_LATE | SETTLEMENT_CLOSED) ;; # the hold was lost, or a snapshot came just before the kill
    *) qd_fail "settlement: $(field settlement)" ;;
    esac
    code=0
    qd_stop TERM || code=$?
    expect_eq "$code" 0
}

policy
qd_start --policy "$T/policy.yaml" || exit 1
qd_run I10_no_policy_says_what_to_do X4_a_data_directory_has_one_owner P1_a_bad_policy_is_refused_with_its_place \
    P6_reload_by_call_and_by_signal_keeps_usage I4_health_and_reflection I1_streams_answer_each_item \
    S1_a_malformed_batch_holds_nothing \
    P2_tenants_at_run_time_are_effective_at_once S9_holds_are_listed_and_released I2_explain_counters_usage_and_status \
    I6_admin_port X5_drain_answers_without_holding X5_kill_9_loses_nothing_that_was_acknowledged
QD_PID=''
qd_done
