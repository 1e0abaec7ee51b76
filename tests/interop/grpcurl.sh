# grpcurl (Go) at the port of the node that is up: reflection, health, a check; and who is refused. run.sh sources it.
# shellcheck shell=sh disable=SC2154 # node.sh and run.sh set these

grpcurl_version=v1.9.3
grpcurl=$place/bin/grpcurl

# curl_case NAME PATTERN ARGUMENT...: grpcurl's output must have a line that matches.
curl_case() {
    name=grpcurl_${kind}_$1 pattern=$2
    shift 2
    if as_client "$grpcurl" -plaintext "$@" >"$T/grpcurl" 2>&1 && grep -qE -- "$pattern" "$T/grpcurl"; then
        say "ok $name"
    else
        fails "$name" "$T/grpcurl"
    fi
}

# curl_refused NAME PATTERN FLAG...: grpcurl with these flags is told what matches, and fails; a welcome client is served after
# it.
curl_refused() {
    name=grpcurl_${kind}_$1 pattern=$2
    shift 2
    if "$grpcurl" "$@" "$grpc" grpc.health.v1.Health/Check >"$T/grpcurl" 2>&1; then
        fails "$name (it was answered)" "$T/grpcurl"
    elif ! grep -qE -- "$pattern" "$T/grpcurl"; then
        fails "$name (it must be told: $pattern)" "$T/grpcurl"
    elif ! as_client "$grpcurl" -plaintext "$grpc" grpc.health.v1.Health/Check >"$T/grpcurl" 2>&1; then
        fails "$name (the next one must be answered)" "$T/grpcurl"
    else
        say "ok $name"
    fi
}

# curl_closed NAME FLAG...: the same when the node closes the connection and says nothing (see refused.js): grpcurl tries on.
curl_closed() {
    name=$1
    shift
    curl_refused "$name" 'context deadline exceeded' -connect-timeout 1 "$@"
}

run_grpcurl() {
    if ! go_tool grpcurl "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version"; then
        skip "$reason" "grpcurl_${kind}"
        return
    fi
    curl_case lists_services '^quota\.v1\.QuotaService$' "$grpc" list
    curl_case lists_methods '^quota\.v1\.QuotaService\.StreamQuota$' "$grpc" list quota.v1.QuotaService
    curl_case describes_a_message 'int64 ttl_ms = 11;' "$grpc" describe quota.v1.CheckQuotaRequest
    curl_case describes_envoys_answer 'google\.protobuf\.Struct dynamic_metadata = 6;' "$grpc" \
        describe envoy.service.ratelimit.v3.RateLimitResponse
    curl_case checks '"verdict": "VERDICT_ALLOWED"' -d '{"tenant": "curl/er", "model": "small-model", "max_output_tokens": "400",
        "estimate": [{"meter": "input_tokens", "amount": "1200"}]}' "$grpc" quota.v1.QuotaService/CheckQuota
    curl_case is_told_of_health '"status": "SERVING"' "$grpc" grpc.health.v1.Health/Check
    case $kind in
    plain)
        curl_refused refuses_TLS 'first record does not look like a TLS handshake' -cacert "$certs/ca.pem"
        ;;
    tls)
        curl_closed refuses_plaintext -plaintext
        curl_refused is_not_trusted_by_who_trusts_another_authority 'certificate signed by unknown authority' \
            -cacert "$certs/other.pem"
        ;;
    mtls)
        curl_closed refuses_plaintext -plaintext
        set -- -cacert "$certs/ca.pem"
        curl_closed refuses_a_client_without_a_certificate "$@"
        # Go does not even show a certificate that none of the node's authorities signed.
        curl_closed refuses_a_certificate_of_another_authority "$@" -cert "$certs/stranger.pem" -key "$certs/stranger.key"
        curl_closed refuses_an_expired_certificate "$@" -cert "$certs/expired.pem" -key "$certs/expired.key"
        ;;
    esac
}
