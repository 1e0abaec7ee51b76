#!/bin/sh
# Envoy's rate limit service, asked by a client that speaks its protocol, with a folder of envoyproxy/ratelimit's files (I3).
# The points are those of the reference server's behaviour, in the order in which its users meet them. ctest-timeout: 600
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/rpc.sh"

rls_proto=envoy/service/ratelimit/v3/rls.proto

mkdir -p "$T/rls/more"
cat >"$T/rls/main.yaml" <<'YAML'
domain: shop
descriptors:
  - key: path
    value: /buy
    rate_limit: {unit: day, requests_per_unit: 3, name: buys}
    descriptors:
      - key: user
        rate_limit: {unit: year, requests_per_unit: 2}
  - key: never
    rate_limit: {unit: hour, requests_per_unit: 0}
  - key: refunded
    rate_limit: {unit: month, requests_per_unit: 5}
  - key: any
    rate_limit: {unlimited: true}
  - key: free
    quota_mode: true
    rate_limit: {unlimited: true, name: free}
  - key: platinum
    rate_limit: {unit: day, requests_per_unit: 100, replaces: [{name: free}]}
  - key: odd
    rate_limit: {unit: year, requests_per_unit: 3}
  - key: seen
    shadow_mode: true
    rate_limit: {unit: week, requests_per_unit: 1}
  - key: quota
    quota_mode: true
    rate_limit: {unit: day, requests_per_unit: 1}
  - key: gold
    rate_limit: {unit: day, requests_per_unit: 100, replaces: [{name: silver}]}
  - key: silver
    rate_limit: {unit: day, requests_per_unit: 1, name: silver}
  - key: file
    value: "*.png"
    share_threshold: true
    rate_limit: {unit: day, requests_per_unit: 2}
  - key: tagged
    value: gold
    rate_limit: {unit: day, requests_per_unit: 100}
    metadata: {queue: fast}
  - key: tagged
    value: silver
    rate_limit: {unit: day, requests_per_unit: 10}
    metadata: {queue: slow, weight: 2}
  - key: loud
    detailed_metric: true
    rate_limit: {unit: day, requests_per_unit: 5}
  - key: huge
    rate_limit: {unit: year, requests_per_unit: 5}
  - key: tagged
    value: free
    rate_limit: {unlimited: true}
    metadata: {queue: none}
  - key: moved
    rate_limit: {unit: month, requests_per_unit: 77}
YAML
cat >"$T/rls/more/other.yml" <<'YAML'
domain: other
descriptors:
  - {key: path, value: /buy, rate_limit: {unit: day, requests_per_unit: 1}}
YAML

# ask TEXT: one ShouldRateLimit of the domain shop; $answer on one line, $status.
ask() {
    ask_as "domain: \"shop\" $1"
}

ask_as() {
    printf '%s' "$1" | protoc -I "$proto_dir" --encode=envoy.service.ratelimit.v3.RateLimitRequest "$rls_proto" >"$T/rpc.in"
    "$grpc_call" "$QD_GRPC" /envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit <"$T/rpc.in" >"$T/rpc.out" 2>"$T/rpc.err" || true
    status=$(rpc_status)
    answer=$(protoc -I "$proto_dir" --decode=envoy.service.ratelimit.v3.RateLimitResponse "$rls_proto" <"$T/rpc.out" | tr -s '\n ' ' ')
}

one() { # KEY VALUE [MORE]: a descriptor
    printf 'descriptors {entries {key: "%s" value: "%s"} %s} ' "$1" "$2" "${3:-}"
}

# expect_code CODE: the answer as a whole.
expect_code() {
    expect_eq "$status" 0
    expect_match "$answer" "^overall_code: $1 "
}

# --- the points ---

I3_point_1_what_cannot_be_decided_is_an_error() {
    ask_as "domain: \"\" $(one path /buy)"
    expect_match "$status" '^3 INVALID_FIELD domain'
    ask ''
    expect_match "$status" '^3 INVALID_FIELD descriptors'
}

I3_point_2_what_nobody_limits_is_ok() {
    ask "$(one unknown x)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK } '
    ask_as "domain: \"nobody\" $(one path /buy)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK } '
}

descriptors_total() { # RESULT
    curl -s "http://$QD_ADMIN/metrics" | sed -n "s/^quotad_rls_descriptors_total{result=\"$1\"} //p"
}

# In a fresh node. It is OK as point 2 says, and would look like any descriptor that nobody limits.
X8_a_domain_that_no_file_has_is_told() {
    ask "$(one unknown x)"
    expect_eq "$(descriptors_total no_limit) $(descriptors_total unknown_domain)" '1 0'
    for _ in 1 2 3; do
        ask_as "domain: \"shopp\" $(one path /buy) $(one any x)"
        expect_eq "$answer" 'overall_code: OK statuses { code: OK } statuses { code: OK } '
    done
    expect_eq "$(descriptors_total no_limit) $(descriptors_total unknown_domain)" '1 6'
    grep 'this domain' "$QD_LOG" >"$T/told" || qd_fail "the log does not tell"
    expect_match "$(head -n 1 "$T/told")" 'level=warn msg="no file of --rls-config has this domain: .*" domain=shopp domains=2 left_out=0$'
    ask_as "domain: \"quotad\" $(one tenant acme)" # that of tenants needs no file
    expect_eq "$(descriptors_total unknown_domain)" 6
}

I3_point_3_own_hits_count_before_the_requests() {
    ask "$(one path /buy 'hits_addend {value: 0}')"
    expect_match "$answer" 'limit_remaining: 3 '
    ask "hits_addend: 9 $(one path /buy 'hits_addend {value: 2}')"
    expect_match "$answer" '^overall_code: OK .*name: "buys" .*limit_remaining: 1 '
    ask "hits_addend: 1 $(one path /buy)"
    expect_code OK
}

# Hits are 64 bits without a sign: read as a number with one, the most of them would give one back.
I3_point_3_the_most_hits_are_no_refund() {
    for hits in 18446744073709551615 18446744073709551615 0; do
        ask "$(one huge x "hits_addend {value: $hits}")"
        expect_code OVER_LIMIT
    done
}

I3_point_4_hits_that_do_not_fit_count_all_the_same() {
    ask "$(one path /buy)"
    expect_code OVER_LIMIT
    ask "$(one path /buy 'hits_addend {value: 0}')"
    expect_code OVER_LIMIT
    ask "$(one never x)"
    expect_code OVER_LIMIT
    ask "$(one never x 'hits_addend {value: 0}')"
    expect_match "$answer" '^overall_code: OVER_LIMIT' # one hit is counted above none
}

I3_point_5_quota_mode_denies_only_all_together() {
    ask "$(one quota a) $(one quota b)"
    expect_code OK
    ask "$(one quota a) $(one quota c)"
    expect_match "$answer" '^overall_code: OK statuses { code: OVER_LIMIT '
    ask "$(one quota a) $(one quota b)"
    expect_code OVER_LIMIT
}

I3_point_6_shadow_mode_tells_nobody() {
    ask "hits_addend: 7 $(one seen x)"
    expect_match "$answer" '^overall_code: OK statuses { code: OK .*requests_per_unit: 1 unit: WEEK '
}

I3_point_7_windows_end_on_multiples_of_their_length() {
    before=$((86400 - $(date +%s) % 86400))
    ask "$(one path /buy 'hits_addend {value: 0}')"
    after=$((86400 - $(date +%s) % 86400))
    reset=$(printf '%s' "$answer" | sed 's/.*seconds: \([0-9]*\).*/\1/')
    [ "$reset" -ge "$after" ] && [ "$reset" -le "$before" ] || qd_fail "reset in $reset s, not in $after to $before"
}

I3_point_8_unlimited_counts_nothing() {
    ask "$(one any x)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK limit_remaining: 4294967295 } '
    ask "$(one quota a) $(one free x)"
    expect_match "$answer" '^overall_code: OVER_LIMIT .*limit_remaining: 4294967295 } $' # it is no quota
    ask "$(one platinum x) $(one free x)"
    expect_match "$answer" 'limit_remaining: 4294967295 } $' # nor replaced
}

I3_point_9_a_request_may_bring_its_own_limit() {
    ask "$(one mine x 'limit {requests_per_unit: 1 unit: HOUR}')"
    expect_match "$answer" '^overall_code: OK .*requests_per_unit: 1 unit: HOUR '
    ask "$(one mine x 'limit {requests_per_unit: 1 unit: HOUR}')"
    expect_code OVER_LIMIT
    ask "$(one mine x 'limit {requests_per_unit: 1}')"
    expect_match "$status" '^3 INVALID_FIELD descriptors\[0\].limit.unit: 0 '
}

I3_point_10_depth_and_wildcards() {
    both='entries {key: "path" value: "/buy"} entries {key: "user" value: "ann"}'
    ask "descriptors {$both}"
    expect_match "$answer" 'requests_per_unit: 2 unit: YEAR } limit_remaining: 1 '
    ask "$(one file a.png) $(one file b.png)"
    expect_match "$answer" '^overall_code: OK .*limit_remaining: 1 .*' # b.png shares the counter of a.png
    ask "$(one file c.png)"
    expect_code OVER_LIMIT
    ask "$(one file c.gif)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK } '
}

I3_point_11_a_rule_that_is_replaced_is_not_charged() {
    ask "hits_addend: 5 $(one silver x) $(one gold x)"
    expect_match "$answer" '^overall_code: OK statuses { code: OK } statuses { code: OK current_limit { requests_per_unit: 100 '
    ask "$(one silver x)"
    expect_code OK
    ask "$(one silver x)"
    expect_code OVER_LIMIT
}

I3_point_14_refunds() {
    ask "hits_addend: 5 $(one refunded x)"
    expect_code OK
    ask "hits_addend: 3 $(one refunded x 'is_negative_hits: true')"
    expect_match "$answer" '^overall_code: OK .*limit_remaining: 3 '
    ask "hits_addend: 4000000000 $(one refunded x 'is_negative_hits: true')"
    expect_match "$answer" 'limit_remaining: 5 '
}

# A refund that leaves the counter above its limit is OK as well; the next hit is not.
I3_point_14_a_refund_is_ok_above_the_limit_too() {
    ask "hits_addend: 9 $(one refunded above)"
    expect_code OVER_LIMIT
    ask "$(one refunded above 'is_negative_hits: true')"
    expect_code OK
    ask "$(one refunded above 'hits_addend {value: 0}')"
    expect_code OVER_LIMIT
}

P6_another_unit_counts_apart() {
    ask "$(one unit x 'limit {requests_per_unit: 5 unit: MONTH}')"
    expect_match "$answer" 'unit: MONTH } limit_remaining: 4 '
    ask "$(one unit x 'limit {requests_per_unit: 5 unit: YEAR}')"
    expect_match "$answer" 'unit: YEAR } limit_remaining: 4 '
    ask "$(one unit x 'limit {requests_per_unit: 5 unit: MONTH}')"
    expect_match "$answer" 'unit: MONTH } limit_remaining: 3 '
}

P6_a_reload_with_another_unit_counts_apart() {
    ask "$(one moved x)"
    expect_match "$answer" 'unit: MONTH } limit_remaining: 76 '
    reloads=$(grep -c 'rate limits reloaded' "$QD_LOG") || true
    sed -i 's/unit: month, requests_per_unit: 77/unit: year, requests_per_unit: 77/' "$T/rls/main.yaml"
    reloaded 'rate limits reloaded' "$reloads"
    ask "$(one moved x)"
    expect_match "$answer" 'unit: YEAR } limit_remaining: 76 '
}

I3_metrics_tell_what_descriptors_met() {
    page=$(curl -s "http://$QD_ADMIN/metrics")
    for result in ok over_limit no_limit unknown_domain; do
        expect_match "$(printf '%s\n' "$page" | grep "^quotad_rls_descriptors_total{result=\"$result\"}")" ' [1-9][0-9]*$'
    done
}

hits_of() { # RULE OUTCOME VALUE
    expect_in "$page" "quotad_rls_rule_hits_total{domain=\"shop\",rule=\"$1\",outcome=\"$2\"} $3
"
}

# The first node has counted by now: 3 hits of 3, and one more; 7 of 1 in the shadow; 2 and 1 of one day's 2 files.
I3_metrics_by_rule() {
    ask "hits_addend: 4 $(one loud 'a\"b\\c')"
    ask "hits_addend: 2 $(one loud 'a\"b\\c')"
    page=$(curl -s "http://$QD_ADMIN/metrics")
    hits_of path_/buy total_hits 4
    hits_of path_/buy within_limit 3
    hits_of path_/buy near_limit 1
    hits_of path_/buy over_limit 1
    hits_of seen over_limit 6
    hits_of seen shadow_mode 6
    hits_of 'file_*.png' total_hits 3
    hits_of any within_limit 1
    hits_of 'mine_x' over_limit 1
    hits_of 'loud_a\"b\\c' total_hits 6
    hits_of 'loud_a\"b\\c' near_limit 1
    hits_of 'loud_a\"b\\c' over_limit 1
    expect_in "$page" 'quotad_rls_rule_hits_total{domain="",rule="other",outcome="total_hits"} 0
'
    expect_eq "$(printf '%s' "$page" | grep -c 'unknown_x')" 0
}

few_rules() { # KEY...: a file with a rule for each, and one with values of requests in its name
    {
        echo 'domain: shop'
        echo 'descriptors:'
        echo '  - {key: loud, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 5}}'
        for key in "$@"; do
            echo "  - {key: $key, rate_limit: {unit: day, requests_per_unit: 5}}"
        done
    } >"$T/few.yaml"
    mkdir -p "$T/few"
    mv "$T/few.yaml" "$T/few/a.yaml"
}

# There are three series. Values that a client invents take what the rules of the files leave, and no more, whatever is loaded
# afterwards; what a rule has counted goes on.
X2_no_flood_of_values_takes_the_series_of_a_rule() {
    ask "$(one first x)"
    for i in 1 2 3 4 5; do
        ask "$(one loud "v$i")"
    done
    page=$(curl -s "http://$QD_ADMIN/metrics")
    hits_of first total_hits 1
    hits_of loud_v1 total_hits 1
    hits_of loud_v2 total_hits 1
    expect_eq "$(printf '%s' "$page" | grep -c 'loud_v3')" 0
    expect_in "$page" 'quotad_rls_rule_hits_total{domain="",rule="other",outcome="total_hits"} 3
'
    few_rules first second third
    reloaded 'rate limits reloaded' 0
    for i in 1 2 3 4 5; do
        ask "$(one loud "v$i") $(one first x)"
    done
    ask "$(one third x)"
    page=$(curl -s "http://$QD_ADMIN/metrics")
    hits_of first total_hits 6
    hits_of second total_hits 0
    hits_of third total_hits 1
    expect_eq "$(printf '%s' "$page" | grep -c 'loud_')" 0
    few_rules second
    reloaded 'rate limits reloaded' 1
    for i in 6 7 8; do
        ask "$(one loud "v$i")"
    done
    page=$(curl -s "http://$QD_ADMIN/metrics")
    hits_of loud_v6 total_hits 1
    hits_of loud_v7 total_hits 1
    expect_eq "$(printf '%s' "$page" | grep -c -e 'rule="first"' -e 'rule="third"' -e loud_v8)" 0
}

I3_any_bytes_make_a_counter_that_no_listing_shows() {
    ask "$(one odd 'a /b\001 é')"
    expect_match "$answer" 'limit_remaining: 2 '
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" counters ls
    expect_eq "$(printf '%s' "$out" | grep -c 'odd')" 0
}

# A client chooses a header's bytes, and Envoy lets pass whose call is refused.
X2_values_that_are_no_text_are_counted() {
    request='\012\004shop\022\020\012\016\012\010refunded\022\002\377\376'
    for code in 1 1 1 1 1 2; do
        printf "$request" | "$grpc_call" "$QD_GRPC" /envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit \
            >"$T/rpc.out" 2>"$T/rpc.err" || true
        expect_eq "$(rpc_status)" 0
        expect_eq "$(od -An -tu1 -N2 "$T/rpc.out" | tr -s ' ')" " 8 $code"
    done
}

I3_domains_lie_apart() {
    ask_as "domain: \"other\" $(one path /buy)"
    expect_code OK
}

# --- the reference server's switches: headers, metadata, and what counts ---

# In a fresh node, with all of them on but shadow.
I3_point_12_headers_tell_the_least_remaining() {
    ask "$(one path /buy) $(one odd x)"
    expect_match "$answer" 'response_headers_to_add { key: "RateLimit-Limit" value: "3" } response_headers_to_add { key: "X-Left" value: "2" } response_headers_to_add { key: "RateLimit-Reset" value: "[0-9]+" }'
    ask "hits_addend: 5 $(one refunded x) $(one odd x 'hits_addend {value: 3}')"
    expect_match "$answer" '^overall_code: OVER_LIMIT .* key: "RateLimit-Limit" value: "3" .* key: "X-Left" value: "0" '
    ask "$(one nobody x)"
    expect_eq "$(printf '%s' "$answer" | grep -c response_headers)" 0
}

I3_point_12_the_headers_reset_is_the_statuss() {
    ask "$(one path /buy 'hits_addend {value: 0}')"
    expect_match "$answer" 'duration_until_reset { seconds: ([0-9]+) } } .*"RateLimit-Reset" value: "'
    seconds=$(printf '%s' "$answer" | sed 's/.*seconds: \([0-9]*\) .*/\1/')
    expect_in "$answer" "key: \"RateLimit-Reset\" value: \"$seconds\""
}

I3_point_13_dynamic_metadata() {
    ask "hits_addend: 2 $(one tagged gold) $(one tagged silver 'hits_addend {value: 0}') $(one mine x 'limit {requests_per_unit: 9 unit: HOUR}')"
    expect_in "$answer" 'fields { key: "domain" value { string_value: "shop" } }'
    expect_in "$answer" 'key: "entries" value { list_value { values { string_value: "tagged=gold" } } }'
    expect_in "$answer" 'key: "limit" value { string_value: "requests_per_unit:9 unit:HOUR" }'
    expect_in "$answer" 'fields { key: "hitsAddend" value { number_value: 0 } }'
    expect_in "$answer" 'fields { key: "hitsAddend" value { number_value: 2 } }'
    expect_in "$answer" 'key: "metadata" value { struct_value { fields { key: "queue" value { string_value: "fast" } } fields { key: "weight" value { number_value: 2 } } } }'
    ask "hits_addend: 99 $(one tagged gold) $(one tagged silver 'hits_addend {value: 0}')"
    expect_in "$answer" 'struct_value { fields { key: "queue" value { string_value: "slow" } } fields { key: "weight" value { number_value: 2 } } }' # gold is over
}

I3_point_13_an_unlimited_rule_gives_no_metadata() {
    ask "$(one tagged free) $(one tagged silver)"
    expect_in "$answer" 'struct_value { fields { key: "queue" value { string_value: "slow" } } fields { key: "weight" value { number_value: 2 } } }'
}

# Point 14: a refund is never over. It counts beside what is over, and makes nobody else only look.
I3_stop_when_over_lets_refunds_count() {
    ask "hits_addend: 5 $(one refunded stop)"
    expect_code OK
    ask "$(one never x) $(one refunded stop 'hits_addend {value: 3} is_negative_hits: true')"
    expect_match "$answer" '^overall_code: OVER_LIMIT .*requests_per_unit: 5 unit: MONTH } limit_remaining: 3 '
    ask "hits_addend: 9 $(one refunded stop)"
    expect_code OVER_LIMIT
    ask "$(one refunded stop 'is_negative_hits: true') $(one odd stop)"
    expect_match "$answer" '^overall_code: OK .*requests_per_unit: 3 unit: YEAR } limit_remaining: 2 '
}

I3_stop_when_over_counts_only_what_is_over() {
    ask "$(one never x) $(one later x)"
    expect_match "$answer" '^overall_code: OVER_LIMIT .*requests_per_unit: 8 unit: DAY } limit_remaining: 8 '
    ask "$(one later x)"
    expect_match "$answer" 'limit_remaining: 7 '
}

I3_sliding_windows_by_domain() {
    ask_as "domain: \"other\" $(one path /buy)"
    expect_match "$answer" '^overall_code: OK statuses { code: OK current_limit { requests_per_unit: 1 unit: DAY } duration_until_reset '
    ask_as "domain: \"other\" $(one path /buy)"
    expect_match "$answer" '^overall_code: OVER_LIMIT '
    reset=$(printf '%s' "$answer" | sed 's/.*seconds: \([0-9]*\).*/\1/')
    [ "$reset" -gt 86000 ] || qd_fail "all is free in $reset s: the window has not slid" # a day of 60 slots, and the newest
    ask_as "domain: \"other\" $(one path /buy 'is_negative_hits: true')"
    ask_as "domain: \"other\" $(one path /buy)"
    expect_match "$answer" '^overall_code: OK ' # what did not fit was not counted: one given back is one free
    expect_eq "$(grep -c 'a domain of --rls-sliding is in no file' "$QD_LOG")" 1
    expect_match "$(cat "$QD_LOG")" 'domain=nobody$'
}

X5_a_sliding_window_outlives_a_restart_and_a_reload() {
    ask_as "domain: \"other\" $(one path /buy)"
    expect_match "$answer" '^overall_code: OVER_LIMIT '
    printf '  - {key: more, rate_limit: {unit: day, requests_per_unit: 8}}\n' >>"$T/rls/more/other.yml"
    reloaded 'rate limits reloaded' 0
    ask_as "domain: \"other\" $(one path /buy) $(one more x)"
    expect_match "$answer" '^overall_code: OVER_LIMIT .*requests_per_unit: 8 unit: DAY } limit_remaining: 8 duration_until_reset { }'
}

I3_point_6_global_shadow_flips_the_whole_only() {
    ask "$(one never x)"
    expect_match "$answer" '^overall_code: OK statuses { code: OVER_LIMIT '
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_rls_shadowed_total 1$'
}

refused_flag() { # FLAG
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        "$1" --data-dir "$T/none" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
}

I10_wrong_switches_are_refused() {
    refused_flag --rls-header-names=a,b
    expect_match "$err" '^quotad: --rls-header-names: not three names'
    refused_flag --rls-sliding=shop,
    expect_match "$err" '^quotad: --rls-sliding: not names of domains'
}

# --- its life ---

# Waits until the log has said it once more than COUNT times.
reloaded() { # TEXT COUNT
    tries=0
    until [ "$(grep -c "$1" "$QD_LOG")" -gt "$2" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "the log does not say $1: $(cat "$QD_LOG")"
        sleep 0.1
    done
}

I3_files_are_reloaded_when_they_change() {
    ask "$(one mine y 'limit {requests_per_unit: 1 unit: HOUR}') $(one path /buy 'hits_addend {value: 0}')"
    ask "$(one later x)"
    expect_eq "$answer" 'overall_code: OK statuses { code: OK } '
    printf '  - {key: later, rate_limit: {unit: day, requests_per_unit: 8}}\n' >>"$T/rls/main.yaml"
    reloaded 'rate limits reloaded' 0
    ask "$(one later x)"
    expect_match "$answer" 'requests_per_unit: 8 '
    # Nothing is left to look at of the rules before: that is only seen with ASan.
    ask "$(one mine x 'limit {requests_per_unit: 1}') $(one path /buy)"
    expect_match "$status" '^3 INVALID_FIELD '
    ask "$(one path /buy)"
    expect_code OVER_LIMIT # what was counted stays
}

P1_a_wrong_file_changes_nothing() {
    cp "$T/rls/main.yaml" "$T/good.yaml"
    printf '  - {key: later2, rate_limit: {unit: fortnight, requests_per_unit: 8}}\n' >>"$T/rls/main.yaml"
    reloaded 'rate limits refused; those in force stay' 0
    expect_match "$(grep refused "$QD_LOG")" 'main.yaml:[0-9]+:[0-9]+.*fortnight'
    ask "$(one later x)"
    expect_match "$answer" 'requests_per_unit: 8 '
    cp "$T/good.yaml" "$T/rls/main.yaml"
    reloaded 'rate limits reloaded' 1
}

X5_a_restart_remembers() {
    ask "$(one path /buy)"
    expect_code OVER_LIMIT
    ask "$(one silver x 'hits_addend {value: 0}')"
    expect_code OVER_LIMIT
    ask "$(one odd 'a /b\001 é' 'hits_addend {value: 0}')"
    expect_match "$answer" 'limit_remaining: 2 '
}

refused() { # DIR
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --rls-config "$1" --data-dir "$T/none" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
}

# A ConfigMap that has gone is not the end of all limits.
I3_a_folder_that_was_emptied_changes_nothing() {
    mkdir -p "$T/empty"
    mv "$T"/rls/*.yaml "$T/rls/more" "$T/empty"
    refusals=$(grep -c 'rate limits refused' "$QD_LOG") || true
    reloaded 'rate limits refused' "$refusals"
    expect_in "$(grep 'rate limits refused' "$QD_LOG" | tail -n 1)" "nothing would be limited any more"
    ask "$(one path /buy)"
    expect_code OVER_LIMIT
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_rls_last_reload_successful 0'
    mv "$T"/empty/* "$T/rls"
    reloaded 'rate limits reloaded' 0
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_rls_last_reload_successful 1'
    ask "$(one path /buy)"
    expect_code OVER_LIMIT
}

P1_a_wrong_folder_does_not_start() {
    mkdir -p "$T/bad"
    printf 'domain: a\ndescriptors:\n  - {keey: x}\n' >"$T/bad/a.yaml"
    refused "$T/bad"
    expect_match "$err" 'a.yaml:3:[0-9]+.*keey'
    refused "$T/nowhere"
    expect_in "$err" "$T/nowhere"
}

# The page and the gauges follow what is in force.
I6_what_is_in_force_is_shown() {
    page=$(curl -s "http://$QD_ADMIN/rlconfig")
    expect_eq "$(printf '%s\n' "$page" | grep -c '^# domain ')" 2
    expect_in "$page" "# domain other: 1 rule of $T/rls/more/other.yml
other.path_/buy: unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false, line: 3"
    expect_match "$page" '^shop\.path_/buy\.user: unit=YEAR requests_per_unit=2, '
    expect_match "$page" '^shop\.seen: unit=WEEK requests_per_unit=1, shadow_mode: true, quota_mode: false, line: '
    rules=$(printf '%s\n' "$page" | grep -vc '^#')
    page=$(curl -s "http://$QD_ADMIN/metrics")
    expect_match "$page" '^quotad_rls_domains 2$'
    expect_match "$page" "^quotad_rls_rules $rules\$"
    # Here, without a node, they are as many.
    expect_exit 0 "$QUOTACTL_BIN" rls check "$T/rls"
    expect_in "$out" "$T/rls OK: 2 domains, $rules rules in 2 files"
}

# Once they are, a reload merges them as the start did.
I5_a_denial_carries_ready_headers() {
    qd_same_day 20
    ask "$(one two headers) $(one one headers)"
    expect_eq "$(echo "$answer" | grep -c response_headers_to_add)" 0
    ask "$(one two headers)"
    ask "$(one two headers) $(one one headers)"
    expect_code OVER_LIMIT
    expect_match "$answer" ' response_headers_to_add \{ key: "retry-after" value: "[0-9]+" \} response_headers_to_add \{ key: "ratelimit-policy" value: "\\"limit\\";q=2;w=86400" \} response_headers_to_add \{ key: "ratelimit" value: "\\"limit\\";r=0;t=[0-9]+" \} $'
}

I3_files_of_one_domain_are_merged_if_told_so() {
    for key in one two; do
        ask "$(one $key x)"
        expect_in "$answer" 'limit_remaining: 1'
    done
    page=$(curl -s "http://$QD_ADMIN/metrics")
    expect_match "$page" '^quotad_rls_domains 1$'
    expect_match "$page" '^quotad_rls_rule_hits_total[{]domain="shop",rule="two",outcome="near_limit"[}] 1$' # above 0 of 2
    echo 'domain: shop
descriptors: [{key: two, rate_limit: {unit: day, requests_per_unit: 9}}]' >"$T/merged/zone.yaml"
    reloaded 'rate limits refused; those in force stay' 0
    expect_match "$(grep refused "$QD_LOG")" 'zone.yaml:2:15: descriptors.0.: .*shop.two.*: there is one already, in .*two.yaml on line 2'
    sed -i 's/key: two/key: three/' "$T/merged/zone.yaml"
    reloaded 'rate limits reloaded' 0
    ask "$(one three x)"
    expect_in "$answer" 'limit_remaining: 8'
    ask "$(one two x)"
    expect_code OK
    ask "$(one two x)"
    expect_code OVER_LIMIT # what was counted stays
}

# It starts, and nobody is limited: that is an alarm, if a late one.
I6_a_start_with_an_empty_folder_is_seen() {
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_rls_domains 0$'
    expect_eq "$(curl -s "http://$QD_ADMIN/rlconfig")" ''
}

I6_without_a_folder_there_is_nothing_to_show() {
    expect_eq "$(curl -s "http://$QD_ADMIN/rlconfig")" '# there is no --rls-config DIR'
    expect_eq "$(curl -s "http://$QD_ADMIN/metrics" | grep -cE '^quotad_rls_(domains|rules) ')" 0 # 0 would be an alarm
}

I3_without_a_folder_a_call_says_what_is_missing() {
    ask "$(one path /buy)"
    expect_match "$status" '^9 NO_RLS_CONFIG .*--rls-config DIR$'
}

qd_same_day 300 # of a sanitized build on a busy machine
qd_start --dev --rls-config "$T/rls" || exit 1
qd_run I3_point_1_what_cannot_be_decided_is_an_error I3_point_2_what_nobody_limits_is_ok \
    I3_point_3_own_hits_count_before_the_requests I3_point_3_the_most_hits_are_no_refund I3_point_4_hits_that_do_not_fit_count_all_the_same \
    I3_point_5_quota_mode_denies_only_all_together I3_point_6_shadow_mode_tells_nobody \
    I3_point_7_windows_end_on_multiples_of_their_length I3_point_8_unlimited_counts_nothing \
    I3_point_9_a_request_may_bring_its_own_limit I3_point_10_depth_and_wildcards \
    I3_point_11_a_rule_that_is_replaced_is_not_charged I3_point_14_refunds I3_point_14_a_refund_is_ok_above_the_limit_too \
    P6_another_unit_counts_apart I3_metrics_by_rule I3_any_bytes_make_a_counter_that_no_listing_shows \
    X2_values_that_are_no_text_are_counted I3_domains_lie_apart I3_metrics_tell_what_descriptors_met \
    I3_files_are_reloaded_when_they_change P1_a_wrong_file_changes_nothing P6_a_reload_with_another_unit_counts_apart
qd_stop || qd_fail "it ended with $qd_code"
qd_start --dev --rls-config "$T/rls" || exit 1
qd_run X8_a_domain_that_no_file_has_is_told X5_a_restart_remembers I3_a_folder_that_was_emptied_changes_nothing I6_what_is_in_force_is_shown P1_a_wrong_folder_does_not_start
qd_stop || qd_fail "it ended with $qd_code"
switches="--rls-headers --rls-header-names RateLimit-Limit,X-Left,RateLimit-Reset --rls-metadata --rls-stop-when-over --rls-sliding other,nobody"
# shellcheck disable=SC2086 # several words
qd_start --dev --rls-config "$T/rls" --data-dir "$T/switches" $switches || exit 1
qd_run I3_point_12_headers_tell_the_least_remaining I3_point_12_the_headers_reset_is_the_statuss I3_point_13_dynamic_metadata \
    I3_point_13_an_unlimited_rule_gives_no_metadata I3_stop_when_over_lets_refunds_count I3_stop_when_over_counts_only_what_is_over I3_sliding_windows_by_domain I10_wrong_switches_are_refused
qd_stop || qd_fail "it ended with $qd_code"
# shellcheck disable=SC2086
qd_start --dev --rls-config "$T/rls" --data-dir "$T/switches" $switches || exit 1
qd_run X5_a_sliding_window_outlives_a_restart_and_a_reload
qd_stop || qd_fail "it ended with $qd_code"
qd_start --dev --rls-config "$T/rls" --data-dir "$T/shadow" --rls-shadow || exit 1
qd_run I3_point_6_global_shadow_flips_the_whole_only
qd_stop || qd_fail "it ended with $qd_code"
mkdir "$T/merged"
for key in one two; do
    printf 'domain: shop\ndescriptors: [{key: %s, rate_limit: {unit: day, requests_per_unit: 2}}]\n' $key >"$T/merged/$key.yaml"
done
qd_start --dev --rls-config "$T/merged" --data-dir "$T/merge" --rls-merge-domains --rls-near-limit 40 --rls-denial-headers || exit 1
qd_run I3_files_of_one_domain_are_merged_if_told_so I5_a_denial_carries_ready_headers
qd_stop || qd_fail "it ended with $qd_code"
few_rules first
qd_start --dev --rls-config "$T/few" --data-dir "$T/series" --metrics-rules 3 || exit 1
qd_run X2_no_flood_of_values_takes_the_series_of_a_rule
qd_stop || qd_fail "it ended with $qd_code"
mkdir "$T/without"
qd_start --dev --rls-config "$T/without" --data-dir "$T/series" || exit 1
qd_run I6_a_start_with_an_empty_folder_is_seen
qd_stop || qd_fail "it ended with $qd_code"
qd_start --dev --data-dir "$T/fresh" || exit 1
qd_run I3_without_a_folder_a_call_says_what_is_missing I6_without_a_folder_there_is_nothing_to_show
qd_done
