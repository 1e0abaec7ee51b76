#!/bin/sh
# Envoy's rate limits over HTTP, as Lua filters and the like ask for them (I3, point 16); and the health that the reference
# server's own probes look at.
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/rpc.sh"

health_proto=grpc/health/v1/health.proto

mkdir -p "$T/rls"
cat >"$T/rls/main.yaml" <<'YAML'
domain: shop
descriptors:
  - {key: path, value: /buy, rate_limit: {unit: year, requests_per_unit: 2, name: buys}, metadata: {queue: fast}}
  - {key: any, rate_limit: {unlimited: true}}
YAML

# http CURL-ARGUMENT...: $code and $page.
http() {
    : >"$T/page"
    code=$(curl -s -m 20 -o "$T/page" -w '%{http_code}' "$@") || true
    page=$(cat "$T/page")
}

post() { # JSON
    http -d "$1" "http://$http_at/json"
}

buy='{"domain": "shop", "descriptors": [{"entries": [{"key": "path", "value": "/buy"}]}]}'

I3_point_16_json_decides_as_grpc_does() {
    post "$buy"
    expect_eq "$code" 200
    expect_match "$page" '^\{"overallCode":"OK","statuses":\[\{"code":"OK","currentLimit":\{"requestsPerUnit":2,"unit":"YEAR","name":"buys"\},"limitRemaining":1,"durationUntilReset":"[0-9]+s"\}\],"responseHeadersToAdd":\[\{"key":"RateLimit-Limit","value":"2"\},\{"key":"RateLimit-Remaining","value":"1"\},\{"key":"RateLimit-Reset","value":"[0-9]+"\}\],"dynamicMetadata":\{"domain":"shop","descriptors":\[\{"entries":\["path=/buy"\]\}\],"metadata":\{"queue":"fast"\}\}\}$'
    expect_eq "$(curl -s -o /dev/null -w '%{content_type}' -d "$buy" "http://$http_at/json")" application/json
    post "$buy"
    expect_eq "$code" 429
    expect_match "$page" '^\{"overallCode":"OVER_LIMIT","statuses":\[\{"code":"OVER_LIMIT",'
    # The same counter.
    printf 'domain: "shop" descriptors {entries {key: "path" value: "/buy"} hits_addend {value: 0}}' |
        protoc -I "$proto_dir" --encode=envoy.service.ratelimit.v3.RateLimitRequest envoy/service/ratelimit/v3/rls.proto >"$T/rpc.in"
    "$grpc_call" "$QD_GRPC" /envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit <"$T/rpc.in" 2>/dev/null |
        protoc -I "$proto_dir" --decode=envoy.service.ratelimit.v3.RateLimitResponse envoy/service/ratelimit/v3/rls.proto >"$T/answer"
    expect_match "$(cat "$T/answer")" '^overall_code: OVER_LIMIT'
    post '{"domain": "shop", "descriptors": [{"entries": [{"key": "any"}]}]}'
    expect_eq "$code" 200
    expect_match "$page" '"statuses":\[\{"code":"OK","limitRemaining":4294967295\}\]'
}

X8_a_domain_that_no_file_has_is_told() {
    post '{"domain": "shop\" level=error", "descriptors": [{"entries": [{"key": "path", "value": "/buy"}]}]}'
    expect_match "$code $page" '^200 \{"overallCode":"OK","statuses":\[\{"code":"OK"\}\]'
    curl -s "http://$QD_ADMIN/metrics" >"$T/metrics"
    expect_eq "$(sed -n 's/^quotad_rls_descriptors_total{result="unknown_domain"} //p' "$T/metrics")" 1
    expect_in "$(cat "$QD_LOG")" ' domain="shop\" level=error" domains=1 left_out=0'
}

json_metric() { # NAME
    curl -s "http://$QD_ADMIN/metrics" | sed -n "s/^$1{method=\"json\"} //p"
}

X8_requests_are_measured_and_those_that_fail_are_told() {
    took=$(json_metric quotad_request_duration_seconds_count)
    failed=$(json_metric quotad_requests_failed_total)
    post "$buy"
    post '{"domain": "", "descriptors": [{}]}'
    expect_eq "$code" 400
    expect_eq "$(json_metric quotad_request_duration_seconds_count)" $((took + 2))
    expect_eq "$(json_metric quotad_requests_failed_total)" $((failed + 1))
    expect_match "$(cat "$QD_LOG")" 'level=info msg="call failed" method=/json reason=INVALID_FIELD duration_us=[0-9]+ peer=127\.0\.0\.1 left_out=0'
}

I3_point_16_errors_are_400() {
    post '{"domain": "", "descriptors": [{}]}'
    expect_eq "$code $page" '400 INVALID_FIELD domain: must not be empty'
    post '{"domain": "shop"}'
    expect_eq "$code" 400
    post 'domain: shop'
    expect_match "$code $page" '^400 MALFORMED not one JSON map: '
    post '{"domain": "shop", "descriptorz": []}'
    expect_eq "$code $page" '400 INVALID_FIELD "descriptorz" is no field of it'
    post ''
    expect_match "$code $page" '^400 MALFORMED '
}

I3_point_16_other_methods_and_pages() {
    http "http://$http_at/json"
    expect_eq "$code" 405
    http -X PUT -d '{}' "http://$http_at/json"
    expect_eq "$code" 405
    expect_match "$(curl -s -i -X DELETE "http://$http_at/json" | tr -d '\r')" '^Allow: POST$'
    http -d '{}' "http://$http_at/healthcheck"
    expect_eq "$code" 405
    http "http://$http_at/metrics"
    expect_eq "$code" 404
    http -I "http://$http_at/healthcheck"
    expect_eq "$code" 200
}

X2_a_body_is_bounded() {
    head -c 262145 /dev/zero | tr '\0' ' ' >"$T/large"
    http -d "@$T/large" -H 'Expect:' "http://$http_at/json"
    expect_eq "$code" 413
    http -d "@$T/large" "http://$http_at/json" # asks before it sends
    expect_eq "$code" 413
    http -H 'Transfer-Encoding: chunked' --data-binary "@$T/large" "http://$http_at/json"
    expect_eq "$code $page" '413 a request has at most 262144 bytes'
    head -c 262000 /dev/zero | tr '\0' ' ' >"$T/fits"
    printf '%s' "$buy" >>"$T/fits"
    http -H 'Transfer-Encoding: chunked' --data-binary "@$T/fits" "http://$http_at/json"
    expect_eq "$code" 429
    http --data-binary "@$T/fits" "http://$http_at/json"
    expect_eq "$code" 429
    post "$buy"
    expect_eq "$code" 429
}

# drip NUMBER FROM KIND: so many requests without an end, in the background.
drip() {
    : >"$T/drip.$3"
    "$QUOTAD_BUILD_DIR/tests/e2e/drip" "${http_at##*:}" "$@" >"$T/drip.$3" 2>&1 &
    dripping=$!
    drips="${drips:-} $dripping"
    trap 'kill $drips 2>/dev/null || true' EXIT # of this case
    tries=0
    until grep -q open "$T/drip.$3"; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "no connections: $(cat "$T/drip.$3")"
        sleep 0.1
    done
    # More than an address may have: once no more are open, all have been let in, and the rest has been cut.
    [ "$1" -lt 200 ] || qd_soon at_most_192 "$3"
    sleep 0.3 # a request that is not whole by then is one that gives way (gate.h)
}

open_of() { # KIND
    sed -n 's/^open //p' "$T/drip.$1" | tail -n 1
}

at_most_192() { # KIND
    [ "$(open_of "$1")" -le 192 ] || qd_fail "one address has $(open_of "$1") connections"
}

drip_ends() {
    kill "$dripping" 2>/dev/null || true
    wait "$dripping" 2>/dev/null || true
}

answered_from() { # ADDRESS
    http --interface "$1" -m 10 "http://$http_at/healthcheck"
    expect_eq "$code" 200
    http --interface "$1" -m 10 -d "$buy" "http://$http_at/json"
    expect_eq "$code" 429
}

# More connections than are taken, of an address that sends a byte a second on each: others are answered meanwhile, and so is
# the sidecar at this very address. And afterwards all are.
# Who asks and is answered keeps its connection: one too many is turned away itself.
X2_a_pool_that_is_too_large_stays() {
    drip 220 127.0.0.1 whole
    sleep 3
    at_most_192 whole
    [ "$(open_of whole)" -ge 180 ] || qd_fail "of 220 connections there are $(open_of whole)"
    answered_from 127.0.0.2
    drip_ends
}

X2_a_drip_of_requests_leaves_room() {
    for kind in body head none; do
        drip 300 127.0.0.1 "$kind"
        for _ in 1 2 3 4; do
            answered_from 127.0.0.2
            answered_from 127.0.0.1
            sleep 0.5
        done
        at_most_192 "$kind"
        drip_ends
        answered_from 127.0.0.1
    done
    [ "$(cuts crowded)" -gt 0 ] || qd_fail "nobody was cut"
}

# Whoever shares the node's connections among many addresses keeps nobody out either.
X2_a_drip_of_many_addresses_leaves_room() {
    for i in 3 4 5 6; do
        drip 100 "127.0.0.$i" body
    done
    answered_from 127.0.0.2
    answered_from 127.0.0.3
}

# A byte a second keeps a connection from being idle, but not for ever.
X2_a_request_without_an_end_is_cut() {
    drip 5 127.0.0.1 head
    drip 5 127.0.0.1 body
    for kind in head body; do
        tries=0
        until grep -q '^open 0$' "$T/drip.$kind"; do
            tries=$((tries + 1))
            [ $tries -lt 300 ] || qd_fail "$kind: $(tail -n 1 "$T/drip.$kind") after so many seconds: $(wc -l <"$T/drip.$kind")"
            sleep 0.2
        done
    done
    [ "$(cuts slow)" -ge 10 ] || qd_fail "$(cuts slow) were cut"
}

cuts() { # REASON: connections of this port
    curl -s -m 5 "http://$QD_ADMIN/metrics" |
        sed -n "s/^quotad_http_connections_cut_total{port=\"http\",reason=\"$1\"} //p"
}

grpc_health() { # SERVICE
    printf 'service: "%s"' "$1" | protoc -I "$proto_dir" --encode=grpc.health.v1.HealthCheckRequest "$health_proto" >"$T/rpc.in"
    "$grpc_call" "$QD_GRPC" /grpc.health.v1.Health/Check <"$T/rpc.in" >"$T/rpc.out" 2>"$T/rpc.err" || true
    status=$(rpc_status)
    answer=$(protoc -I "$proto_dir" --decode=grpc.health.v1.HealthCheckResponse "$health_proto" <"$T/rpc.out")
}

I4_the_service_ratelimit_is_healthy() {
    grpc_health ratelimit
    expect_eq "$status $answer" '0 status: SERVING'
    http "http://$http_at/healthcheck"
    expect_eq "$code $page" '200 OK'
}

I10_ports_are_written_down() {
    expect_match "$(cat "$T/ports")" "^http=${http_at##*:}\$"
}

I3_draining_is_not_healthy() {
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" drain
    http "http://$http_at/healthcheck"
    expect_eq "$code" 500
    grpc_health ratelimit
    expect_eq "$answer" 'status: NOT_SERVING'
    post "$buy" # who comes all the same is answered
    expect_eq "$code" 429
}

I4_without_rate_limits_there_is_no_such_service() {
    grpc_health ratelimit
    expect_match "$status" '^5 UNKNOWN_SERVICE '
    http "http://$http_at/healthcheck"
    expect_eq "$code" 500
    post "$buy"
    expect_match "$code $page" '^400 NO_RLS_CONFIG '
}

I10_a_port_that_is_taken_is_said() {
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --http-listen "$http_at" --data-dir "$T/none" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
    expect_match "$err" "^quotad: $http_at: cannot listen: .*--http-listen\$"
}

# With --credentials whoever asks brings a gateway's token.
X1_json_asks_who_calls() {
    post "$buy"
    expect_match "$code $page" '^401 NO_CREDENTIALS '
    post '{bad'
    expect_match "$code $page" '^401 NO_CREDENTIALS ' # before anything of it is read
    http -H 'Authorization: Bearer nobody' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^401 UNKNOWN_CREDENTIALS '
    http -H 'Authorization: Bearer gate' -H 'Authorization: Bearer bill' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^401 UNKNOWN_CREDENTIALS Authorization: given 2 times'
    http -H 'Authorization: Basic gate' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^401 UNKNOWN_CREDENTIALS '
    http -H 'Authorization: Bearer bill' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^403 ROLE_FORBIDS '
    http -H 'Authorization: Bearer bound' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^403 TENANT_FORBIDDEN '
    http -H 'Authorization: Bearer gate' -d "$buy" "http://$http_at/json"
    expect_match "$code $page" '^200 .*"limitRemaining":1,' # the others counted nothing
    http "http://$http_at/healthcheck"
    expect_eq "$code" 200
}

# As at the other ports: IPv4 is served as well, and loopback is loopback.
I10_any_host_of_IPv6_is_any_host() {
    for host in 127.0.0.1 '[::1]'; do
        http -H 'Authorization: Bearer gate' -d "$buy" "http://$host:${http_at##*:}/json"
        expect_match "$code $page" '^(200|429) '
    done
}

# new_values: 40 requests of 64 values each that nobody has asked with. $statuses, each with how often; $page: all of them. There are fewer
# places for counters than that, and none makes room: a counter goes only once it is stored (X4), and the disk stores nothing.
new_values() {
    "$QUOTAD_BUILD_DIR/tests/e2e/disk_tool" fail "$QD_DISK_JOURNAL" sync 28 # ENOSPC
    awk -v at="http://$http_at/json" -v page="$T/page" 'BEGIN {
        for (r = 0; r < 40; r++) {
            if (r > 0) print "next"
            printf "url = %s\noutput = %s.%d\nwrite-out = \"%%{http_code}\\n\"\n", at, page, r
            printf "data = \"{\\\"domain\\\": \\\"few\\\", \\\"descriptors\\\": ["
            for (i = 0; i < 64; i++)
                printf "%s{\\\"entries\\\": [{\\\"key\\\": \\\"user\\\", \\\"value\\\": \\\"%d-%d\\\"}]}", i ? ", " : "", r, i
            print "]}\""
        }
    }' >"$T/curl.cfg"
    statuses=$(curl -s -m 60 -K "$T/curl.cfg" | sort | uniq -c | awk '{ printf "%s:%d ", $2, $1 }')
    page=$(cat "$T"/page.*)
}

one_of_few() { # VALUE [MORE]
    post "{\"domain\": \"few\", \"descriptors\": [{\"entries\": [{\"key\": \"user\", \"value\": \"$1\"}]${2:-}}]}"
}

allowed_within_a_minute() { # VALUE REMAINING
    tries=0
    until one_of_few "$1" && [ "$code" = 200 ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "$1: $code $page"
        sleep 0.1
    done
    expect_in "$page" "\"limitRemaining\":$2,"
}

D12_without_room_for_counters_a_call_is_an_error() {
    new_values
    expect_match "$statuses" '^200:[0-9]+ 400:[0-9]+ $'
    expect_in "$page" 'OVERLOADED no room for another counter'
}

# A look is denied as well: it is what Envoy asks before a request whose usage it tells afterwards. What was denied has counted
# nothing, and what had been counted is there once there is room.
D12_without_room_for_counters_new_values_are_denied_if_told_so() {
    one_of_few known
    expect_match "$code $page" '^200 .*"limitRemaining":4,'
    new_values
    expect_match "$statuses" '^200:[0-9]+ 429:[0-9]+ $'
    expect_in "$page" '{"code":"OVER_LIMIT","currentLimit":{"requestsPerUnit":5,"unit":"YEAR"},"durationUntilReset":"1s"}'
    one_of_few look ', "hitsAddend": 0'
    expect_eq "$code" 429
    # Point 14: a refund is OK; it is lost.
    one_of_few look ', "isNegativeHits": true'
    expect_match "$code $page" '^200 .*"code":"OK","currentLimit":[{]"requestsPerUnit":5,"unit":"YEAR"[}],"durationUntilReset":"1s"'
    "$QUOTAD_BUILD_DIR/tests/e2e/disk_tool" heal "$QD_DISK_JOURNAL"
    allowed_within_a_minute known 3
    allowed_within_a_minute look 4
    full=$(curl -s -m 5 "http://$QD_ADMIN/metrics" | sed -n 's/^quotad_rls_full_total //p')
    [ "$full" -gt 64 ] || qd_fail "$full were denied"
}

credential() { # NAME ROLE [MORE]
    echo "- {name: $1, role: $2, token_sha256: $(printf %s "$1" | sha256sum | cut -d ' ' -f 1)${3:-}}"
}

http_host=127.0.0.1

start() { # ARGUMENT...
    qd_start --dev --http-listen "$http_host:0" "$@" || exit 1
    http_at=127.0.0.1:$(qd_port 'rate limits over HTTP at port ')
}

start --rls-config "$T/rls" --rls-headers --rls-metadata --port-file "$T/ports"
qd_run I3_point_16_json_decides_as_grpc_does X8_a_domain_that_no_file_has_is_told X8_requests_are_measured_and_those_that_fail_are_told I3_point_16_errors_are_400 I3_point_16_other_methods_and_pages X2_a_body_is_bounded \
    X2_a_pool_that_is_too_large_stays X2_a_drip_of_requests_leaves_room X2_a_drip_of_many_addresses_leaves_room X2_a_request_without_an_end_is_cut I4_the_service_ratelimit_is_healthy I10_ports_are_written_down I10_a_port_that_is_taken_is_said I3_draining_is_not_healthy
qd_stop || qd_fail "it ended with $qd_code"
start --data-dir "$T/bare"
qd_run I4_without_rate_limits_there_is_no_such_service
qd_stop || qd_fail "it ended with $qd_code"
mkdir -p "$T/few"
cat >"$T/few/few.yaml" <<'YAML'
domain: few
descriptors:
  - {key: user, rate_limit: {unit: year, requests_per_unit: 5}}
YAML
for how in error deny; do
    QD_DISK_DIR=$T/$how
    QD_DISK_JOURNAL=$T/$how.journal
    export QD_DISK_DIR QD_DISK_JOURNAL
    "$QUOTAD_BUILD_DIR/tests/e2e/disk_tool" new "$QD_DISK_JOURNAL" || exit 1
    export LD_PRELOAD="$QUOTAD_BUILD_DIR/tests/e2e/libdisk_shim.so"
    start --rls-config "$T/few" --shards 1 --max-counters 1024 --rls-when-full "$how" --data-dir "$T/$how"
    unset LD_PRELOAD
    if [ "$how" = error ]; then
        qd_run D12_without_room_for_counters_a_call_is_an_error
    else
        qd_run D12_without_room_for_counters_new_values_are_denied_if_told_so
    fi
    qd_stop || qd_fail "it ended with $qd_code"
done
{
    credential gate gateway
    credential bill billing
    credential bound gateway ', tenant: acme'
} >"$T/credentials.yaml"
start --rls-config "$T/rls" --credentials "$T/credentials.yaml" --data-dir "$T/known"
qd_run X1_json_asks_who_calls
qd_stop || qd_fail "it ended with $qd_code"
if [ -e /proc/net/if_inet6 ]; then
    http_host='[::]'
    start --rls-config "$T/rls" --credentials "$T/credentials.yaml" --data-dir "$T/six"
    qd_run I10_any_host_of_IPv6_is_any_host
fi
qd_done
