#!/bin/sh
# Envoy's rate limit service asked about tenants of the policy: one budget with CheckQuota and ReportUsage (I3 and beyond it).
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/rpc.sh"

rls_proto=envoy/service/ratelimit/v3/rls.proto

cat >"$T/policy.yaml" <<'YAML'
version: 1
models:
  gpt: {max_output_tokens: 4096}
  dear: {max_output_tokens: 4096}
plans:
  pro: {requests: 10/month, tokens: 1000/month}
  split: {each: {meter: requests, limit: 2/month, per: [user, "label:team"]}}
  spender: {cost: $1/month}
  none: {}
tenants:
  acme: {plan: pro}
  globex: {plan: pro}
  back: {plan: pro}
  late: {plan: pro}
  peeked: {plan: pro}
  crash: {plan: pro}
  both: {plan: pro}
  shared: {plan: pro}
  split: {plan: split}
  spender: {plan: spender}
  free: {plan: none}
  banned: {plan: pro}
unknown_price: unpriced
prices:
  dear: {output_token: $1}
YAML

# ask TEXT: one ShouldRateLimit of the tenants' domain; $answer on one line, $status.
ask() {
    ask_as "domain: \"quotad\" $1"
}

ask_as() {
    printf '%s' "$1" | protoc -I "$proto_dir" --encode=envoy.service.ratelimit.v3.RateLimitRequest "$rls_proto" >"$T/rpc.in"
    "$grpc_call" "$QD_GRPC" /envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit <"$T/rpc.in" >"$T/rpc.out" 2>"$T/rpc.err" || true
    status=$(rpc_status)
    answer=$(protoc -I "$proto_dir" --decode=envoy.service.ratelimit.v3.RateLimitResponse "$rls_proto" <"$T/rpc.out" | tr -s '\n ' ' ')
}

of() { # TENANT [ENTRIES [MORE]]: a descriptor; ENTRIES are KEY=VALUE words
    printf 'descriptors {entries {key: "tenant" value: "%s"} ' "$1"
    for entry in ${2:-}; do
        printf 'entries {key: "%s" value: "%s"} ' "${entry%%=*}" "${entry#*=}"
    done
    printf '%s} ' "${3:-}"
}

hits() { # N: a descriptor's own
    printf 'hits_addend {value: %s}' "$1"
}

expect_code() {
    expect_eq "$status" 0
    expect_match "$answer" "^overall_code: $1 "
}

verified() {
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" verify
}

entries() { # TENANT: how many lines its ledger has
    "$QUOTACTL_BIN" --address "$QD_GRPC" -o json ledger ls "$1" | grep -c '"request_id"' || true
}

# --- one budget ---

I3_a_request_counts_for_native_checks() {
    ask "hits_addend: 6 $(of acme model=gpt)"
    expect_code OK
    expect_match "$answer" 'current_limit { requests_per_unit: 10 unit: MONTH name: "pro.requests" } limit_remaining: 4 duration_until_reset { seconds: [0-9]+ } } $'
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" check acme --model gpt --use requests=4 --use max_output_tokens=0 --no-reservation
    expect_exit 2 "$QUOTACTL_BIN" --address "$QD_GRPC" check acme --model gpt --use max_output_tokens=0 --use requests=5
    expect_in "$out" 'pro.requests'
}

I3_native_usage_counts_for_requests() {
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" report --tenant globex --request-id g1 --model gpt --use requests=6
    ask "hits_addend: 5 $(of globex model=gpt)"
    expect_code OVER_LIMIT
    ask "hits_addend: 4 $(of globex model=gpt)"
    expect_code OK
    ask "$(of globex)"
    expect_code OVER_LIMIT
    verified
}

D2_a_denied_request_charges_nothing() {
    ask "$(of both model=gpt "$(hits 3)") $(of both user=ann "$(hits 8)")"
    expect_match "$answer" '^overall_code: OVER_LIMIT statuses { code: OK .*limit_remaining: 10 .*} statuses { code: OVER_LIMIT '
    expect_eq "$(entries both)" 0
    ask "$(of both '' "$(hits 0)")"
    expect_match "$answer" 'limit_remaining: 10 '
}

L2_what_is_allowed_is_an_entry() {
    ask "hits_addend: 2 $(of both 'model=gpt user=ann team=blue')"
    expect_code OK
    expect_eq "$(entries both)" 1
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" -o json ledger ls both
    expect_in "$out" '"source":"rls"'
    expect_in "$out" 'blue'
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" reservations ls
    expect_eq "$(printf '%s' "$out" | grep -c both)" 0
    verified
}

D8_a_peek_charges_nothing() {
    ask "$(of peeked model=gpt "$(hits 0)")"
    expect_match "$answer" '^overall_code: OK .*limit_remaining: 10 '
    ask "$(of peeked 'model=gpt meter=output_tokens' "$(hits 0)")"
    expect_code OK
    expect_eq "$(entries peeked)" 0
    ask "hits_addend: 10 $(of peeked)"
    expect_match "$answer" '^overall_code: OK .*name: "pro.requests" } duration_until_reset' # none is left
    ask "$(of peeked '' "$(hits 0)")" # exactly at the limit
    expect_code OK
}

P3_facts_choose_the_counters() {
    ask "hits_addend: 2 $(of split 'user=ann team=blue')"
    expect_code OK
    ask "$(of split 'user=ann team=blue')"
    expect_code OVER_LIMIT
    ask "$(of split 'user=ann team=red')"
    expect_code OK
    ask "$(of split 'user=bob team=blue')"
    expect_code OK
    ask "$(of split/below 'user=ann team=blue')"
    expect_code OVER_LIMIT
}

I3_who_has_no_limit_is_unlimited() {
    ask "$(of free)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK limit_remaining: 4294967295 } '
}

# --- usage that has happened ---

S7_usage_is_booked_afterwards_and_denies_what_comes() {
    ask "$(of late 'model=gpt meter=input_tokens' "$(hits 600)") $(of late 'model=gpt meter=output_tokens' "$(hits 400)")"
    expect_code OK
    expect_match "$answer" 'requests_per_unit: 1000 unit: MONTH name: "pro.tokens" } duration_until_reset' # none is left
    ask "$(of late model=gpt)"
    expect_code OK # at the limit, not over it
    ask "$(of late 'model=gpt meter=output_tokens' "$(hits 1)")"
    expect_code OVER_LIMIT
    ask "$(of late model=gpt "$(hits 0)")"
    expect_code OVER_LIMIT
    ask "$(of late model=gpt)"
    expect_code OVER_LIMIT
    expect_eq "$(entries late)" 4
    say AdminService/ListCounters 'tenant: "late"'
    expect_eq "$(field used)" 1 # request in all: usage counts none
    verified
}

S6_each_call_counts() {
    before=$(entries back)
    ask "$(of back 'model=gpt meter=input_tokens' "$(hits 7)")"
    ask "$(of back 'model=gpt meter=input_tokens' "$(hits 7)")"
    expect_eq "$(entries back)" $((before + 2))
}

I3_usage_is_booked_even_where_a_check_is_denied() {
    ask "$(of back '' "$(hits 11)") $(of back 'model=gpt meter=output_tokens' "$(hits 5)")"
    expect_match "$answer" '^overall_code: OVER_LIMIT statuses { code: OVER_LIMIT .* statuses { code: OK '
    expect_eq "$(entries back)" 3 # two by the case before
}

D8_a_peek_sees_a_budget_of_money() {
    ask "$(of spender 'model=dear meter=output_tokens' "$(hits 1)")"
    expect_match "$answer" '^overall_code: OK statuses { code: OK (duration_until_reset { seconds: [0-9]+ } )?} $' # no amount is shown
    ask "$(of spender 'model=dear meter=output_tokens' "$(hits 1)")"
    expect_code OVER_LIMIT
    ask "$(of spender model=dear "$(hits 0)")"
    expect_code OVER_LIMIT
    ask "$(of spender model=dear)"
    expect_code OVER_LIMIT
    expect_in "$answer" 'spender.cost is used up'
    expect_eq "$(printf '%s' "$answer" | grep -c '[$]')" 0
}

# --- denials ---

I5_a_denial_carries_ready_headers() {
    ask "hits_addend: 11 $(of shared model=gpt)"
    expect_code OVER_LIMIT
    ask "hits_addend: 10 $(of shared model=gpt)"
    ask "$(of shared model=gpt)"
    expect_code OVER_LIMIT
    for header in 'key: "retry-after" value: "[0-9]+"' 'key: "ratelimit-policy" value: "\\"pro.requests\\";q=10;w=[0-9]+"' \
        'key: "ratelimit" value: "\\"pro.requests\\";r=0;t=[0-9]+"' 'key: "x-ratelimit-limit-requests" value: "10"' \
        'key: "x-ratelimit-remaining-requests" value: "0"' 'key: "x-ratelimit-reset-requests" value: "[0-9hms]+"' \
        'key: "content-type" value: "application/json"'; do
        expect_match "$answer" "response_headers_to_add { $header }"
    done
    expect_match "$answer" 'raw_body: "\{\\"error\\":\{\\"message\\":\\"pro.requests 10 used [+] 1 estimated > 10/month; .*\\"type\\":\\"rate_limit_exceeded\\",\\"param\\":null,\\"code\\":\\"rate_limit_exceeded\\"\}\}"'
}

P2_an_unknown_tenant_is_over_its_limit() {
    ask "$(of nobody)"
    expect_code OVER_LIMIT
    expect_in "$answer" 'unknown_tenant'
    ask "$(of nobody '' "$(hits 0)")"
    expect_code OVER_LIMIT
    ask "$(of nobody meter=input_tokens "$(hits 3)")" # it has happened
    expect_code OVER_LIMIT
    expect_eq "$(entries nobody)" 1
}

P2_a_blocked_tenant_is_over_its_limit() {
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" tenants block banned --reason 'unpaid invoice'
    ask "$(of banned)"
    expect_code OVER_LIMIT
    expect_in "$answer" 'unpaid invoice'
    expect_in "$answer" 'tenant_blocked'
    expect_eq "$(entries banned)" 0
}

X2_bad_facts_say_what_is_wrong() {
    ask ''
    expect_match "$status" '^3 INVALID_FIELD descriptors'
    ask 'descriptors {entries {key: "user" value: "ann"}}'
    expect_match "$status" '^3 INVALID_TENANT descriptors\[0\]: tenant: required'
    ask "$(of acme) $(of 'a b/c' meter=input_tokens)"
    expect_match "$status" '^3 INVALID_TENANT descriptors\[1\]: tenant: '
    ask "$(of acme "user=$(printf '%0128d' 7) meter=input_tokens")"
    expect_match "$status" '^3 INVALID_NAME descriptors\[0\]: user: 128 bytes long'
    ask "$(of acme tenant=globex)"
    expect_match "$status" '^3 INVALID_FIELD descriptors\[0\]: entries: "tenant" is given twice'
    ask "$(of acme meter=)"
    expect_match "$status" '^3 UNKNOWN_METER descriptors\[0\]: meter: empty'
    ask "$(of acme meter=output_tokens) $(of acme meter=output_tokns)"
    expect_match "$status" '^3 UNKNOWN_METER descriptors\[1\]: meter: "output_tokns".*did you mean "output_tokens"'
    ask "$(of acme meter=cost)"
    expect_match "$status" '^3 DERIVED_METER descriptors\[0\]: '
    ask "$(of acme 'a/b=c')"
    expect_match "$status" '^3 INVALID_NAME descriptors\[0\]: labels: '
    ask "$(of acme 'team=a team=b')"
    expect_match "$status" '^3 DUPLICATE_LABEL descriptors\[0\]: '
    ask "$(of acme "$(seq -f 'l%g=x' 17 | tr '\n' ' ')")"
    expect_match "$status" '^3 TOO_MANY_LABELS descriptors\[0\]: labels: 17 given'
    ask "$(of acme '' 'is_negative_hits: true')"
    expect_match "$status" '^3 INVALID_FIELD descriptors\[0\]: is_negative_hits: .*quotactl correct'
    ask "$(of acme '' 'limit {requests_per_unit: 1 unit: HOUR}')"
    expect_match "$status" '^3 INVALID_FIELD descriptors\[0\]: limit: '
    ask "$(of acme '' "$(hits 18446744073709551615)")"
    expect_match "$status" '^3 INVALID_AMOUNT descriptors\[0\]: hits_addend: '
    expect_eq "$(entries acme)" 1 # nothing of all that was booked
}

# Envoy copies clients' headers into values, and lets a request pass whose call is an error.
X2_values_that_fit_no_native_call_are_over_their_limit() {
    for tenant in 'a b/c' '' 'a//b' "$(printf '%0600d' 7)" 't\377'; do
        ask "$(of "$tenant")"
        expect_code OVER_LIMIT
        expect_in "$answer" 'unknown_tenant'
    done
    ask "$(of acme "user=$(printf '%0128d' 7)")"
    expect_code OVER_LIMIT
    expect_match "$answer" '^[^{]*statuses { code: OVER_LIMIT } .*user: 128 bytes long.*invalid_request'
    ask "$(of acme 'model=\377')"
    expect_code OVER_LIMIT
    ask "$(of acme 'team=a\001')"
    expect_code OVER_LIMIT
    long=$(printf '%0127d' 7)
    ask "$(of acme "user=$long model=$long a=$long b=$long c=$long d=$long e=$long f=$long")"
    expect_code OVER_LIMIT # more than a reservation's token holds
    ask "$(of acme '' "$(hits 0)") $(of acme 'user=\377' "$(hits 0)")"
    expect_match "$answer" '^overall_code: OVER_LIMIT statuses { code: OK .*} statuses { code: OVER_LIMIT } '
    ask "$(of acme) $(of acme 'user=\377')"
    expect_match "$answer" '^overall_code: OVER_LIMIT statuses { code: OK .*limit_remaining: 4 .*} statuses { code: OVER_LIMIT } '
    expect_eq "$(entries acme)" 1 # nothing of all that was booked
}

I3_metrics_tell_what_tenants_met() {
    page=$(curl -s "http://$QD_ADMIN/metrics")
    for result in ok over_limit; do
        expect_match "$(printf '%s\n' "$page" | grep "^quotad_rls_descriptors_total{result=\"$result\"}")" ' [1-9][0-9]*$'
    done
}

# --- its life ---

X5_a_kill_forgets_nothing() {
    ask "hits_addend: 7 $(of crash model=gpt)"
    expect_code OK
    ask "$(of crash 'model=gpt meter=output_tokens' "$(hits 900)")"
    expect_code OK
}

X5_after_the_kill() {
    ask "hits_addend: 4 $(of crash model=gpt)"
    expect_code OVER_LIMIT
    ask "hits_addend: 3 $(of crash model=gpt)"
    expect_code OK
    ask "$(of crash 'model=gpt meter=output_tokens' "$(hits 101)")"
    expect_code OVER_LIMIT
    verified
}

mkdir -p "$T/rls" "$T/taken"
printf 'domain: shop\ndescriptors:\n  - {key: tenant, rate_limit: {unit: year, requests_per_unit: 1}}\n' >"$T/rls/shop.yaml"
printf 'domain: quotad\ndescriptors: []\n' >"$T/taken/quotad.yaml"

I3_other_domains_are_as_they_were() {
    ask_as "domain: \"shop\" $(of acme)"
    expect_match "$answer" '^overall_code: OK .*requests_per_unit: 1 unit: YEAR '
    ask_as "domain: \"shop\" $(of acme)"
    expect_code OVER_LIMIT
    ask "$(of acme '' "$(hits 0)")" # the default name is another one's now
    expect_eq "$answer" 'overall_code: OK statuses { code: OK } '
    ask_as "domain: \"ours\" $(of acme '' "$(hits 0)")"
    expect_match "$answer" 'pro.requests'
}

I3_a_file_may_not_have_the_tenants_domain() {
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --rls-config "$T/taken" --data-dir "$T/none" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
    expect_match "$err" 'quotad.yaml: .*domain: "quotad" .*--rls-tenant-domain NAME'
    cp "$T/rls/shop.yaml" "$T/good.yaml"
    sed 's/shop/ours/' "$T/good.yaml" >"$T/rls/shop.yaml"
    tries=0
    until grep -q 'rate limits refused; those in force stay' "$QD_LOG"; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "nothing is refused: $(cat "$QD_LOG")"
        sleep 0.1
    done
    expect_match "$(grep refused "$QD_LOG")" '--rls-tenant-domain NAME'
    ask_as "domain: \"ours\" $(of acme '' "$(hits 0)")"
    expect_match "$answer" 'pro.requests'
}

# What is this node's own trouble is an error: Envoy does what its user wants then.
I8_a_node_that_drains_is_no_reason_for_a_429() {
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" drain
    ask_as "domain: \"ours\" $(of free)"
    expect_match "$status" '^14 SHUTTING_DOWN this node drains'
    ask_as "domain: \"ours\" $(of free '' "$(hits 0)")"
    expect_code OK
    before=$(entries free)
    ask_as "domain: \"ours\" $(of free meter=input_tokens "$(hits 5)")" # a report is booked, too
    expect_code OK
    expect_eq "$(entries free)" $((before + 1))
}

I3_an_empty_name_switches_it_off() {
    ask "$(of acme)"
    expect_match "$status" '^9 NO_RLS_CONFIG '
}

qd_start --policy "$T/policy.yaml" || exit 1
qd_run I3_a_request_counts_for_native_checks I3_native_usage_counts_for_requests D2_a_denied_request_charges_nothing \
    L2_what_is_allowed_is_an_entry D8_a_peek_charges_nothing P3_facts_choose_the_counters I3_who_has_no_limit_is_unlimited \
    S7_usage_is_booked_afterwards_and_denies_what_comes S6_each_call_counts I3_usage_is_booked_even_where_a_check_is_denied \
    D8_a_peek_sees_a_budget_of_money I5_a_denial_carries_ready_headers P2_an_unknown_tenant_is_over_its_limit \
    P2_a_blocked_tenant_is_over_its_limit X2_bad_facts_say_what_is_wrong X2_values_that_fit_no_native_call_are_over_their_limit I3_metrics_tell_what_tenants_met X5_a_kill_forgets_nothing
qd_stop KILL || true
qd_start --policy "$T/policy.yaml" --rls-config "$T/rls" || exit 1
qd_run X5_after_the_kill
qd_stop || qd_fail "it ended with $qd_code"
qd_start --policy "$T/policy.yaml" --rls-config "$T/rls" --rls-tenant-domain ours || exit 1
qd_run I3_other_domains_are_as_they_were I3_a_file_may_not_have_the_tenants_domain I8_a_node_that_drains_is_no_reason_for_a_429
qd_stop || qd_fail "it ended with $qd_code"
qd_start --policy "$T/policy.yaml" --rls-tenant-domain '' || exit 1
qd_run I3_an_empty_name_switches_it_off
qd_done
