# ghz (Go) loads the node that is up, by reflection: every call answers OK, and /metrics tells of exactly those calls. run.sh
# sources it.
# shellcheck shell=sh disable=SC2154 # node.sh and run.sh set these

ghz_version=v0.121.0
ghz_calls=2000

# load NAME METHOD DATA: all calls answer OK.
load() {
    keep_metrics before
    if as_client "$place/bin/ghz" --insecure --call "$2" --data "$3" --total "$ghz_calls" --concurrency 50 --connections 4 \
        "$grpc" >"$T/ghz" 2>&1 && ! grep -q '^Error distribution' "$T/ghz" &&
        grep -qE "^ *\[OK\] +$ghz_calls responses" "$T/ghz"; then
        say "ok ghz_${kind}_$1"
    else
        fails "ghz_${kind}_$1" "$T/ghz"
    fi
}

all_grew() { # [SERIES BY]...
    wrong=0
    while [ $# -gt 0 ]; do
        by=$(($(metric after "$1") - $(metric before "$1")))
        if [ "$by" -ne "$2" ]; then
            echo "$1 grew by $by, not by $2"
            wrong=1
        fi
        shift 2
    done
    return "$wrong"
}

# grew NAME [SERIES BY]...: since the load began each series grew by exactly so much. A thread counts a call after its answer.
grew() {
    name=ghz_${kind}_$1
    shift
    tries=0
    until keep_metrics after && all_grew "$@" >"$T/grew"; do
        tries=$((tries + 1))
        if [ "$tries" -ge 600 ]; then
            fails "$name" "$T/grew"
            return
        fi
        sleep 0.1
    done
    say "ok $name"
}

run_ghz() {
    if ! go_tool ghz "github.com/bojand/ghz/cmd/ghz@$ghz_version"; then
        skip "$reason" "ghz_$kind"
        return
    fi
    # 500 of them fit the tenant's limit, and the path's.
    load checks_answer_OK quota.v1.QuotaService.CheckQuota \
        '{"tenant": "capped", "model": "small-model", "request_id": "{{.UUID}}"}'
    grew checks_are_counted_exactly \
        'quotad_request_duration_seconds_count{method="CheckQuota"}' "$ghz_calls" \
        'quotad_checks_total{verdict="allowed"}' 500 \
        'quotad_checks_total{verdict="denied"}' $((ghz_calls - 500)) \
        'quotad_checks_total{verdict="error"}' 0 \
        'quotad_tenant_checks_total{tenant="capped",verdict="allowed"}' 500 \
        quotad_reservations_open 500 quotad_requests_failed_total 0 quotad_errors_total 0
    load rate_limits_answer_OK envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit \
        '{"domain": "interop", "descriptors": [{"entries": [{"key": "path", "value": "/buy"}]}]}'
    grew rate_limits_are_counted_exactly \
        'quotad_request_duration_seconds_count{method="ShouldRateLimit"}' "$ghz_calls" \
        'quotad_rls_descriptors_total{result="ok"}' 500 \
        'quotad_rls_descriptors_total{result="over_limit"}' $((ghz_calls - 500)) \
        'quotad_rls_descriptors_total{result="no_limit"}' 0 \
        quotad_requests_failed_total 0 quotad_errors_total 0
}
