# What an operator sees of a counter that had to make room in memory (D12).
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "$(dirname "$QUOTA_TESTLIB_SH")/../e2e/rpc.sh"

# checks FIRST: t<FIRST> and the next 127 tenants, one check each, in one batch of a stream.
checks() {
    for i in $(seq 128); do
        echo "items { id: $i check { tenant: \"t$(($1 + i - 1))\" model: \"m\" no_reservation: true } }"
    done | protoc -I "$proto_dir" --encode=quota.v1.StreamQuotaRequest quota/v1/quota.proto >"$T/batch"
    size=$(wc -c <"$T/batch")
    # shellcheck disable=SC2059 # octal digits
    { printf "$(printf '\\%03o' 0 $((size / 65536)) $((size / 256 % 256)) $((size % 256)))" && cat "$T/batch"; } |
        "$grpc_call" -s "$QD_GRPC" /quota.v1.QuotaService/StreamQuota >"$T/answers" 2>"$T/rpc.err"
}

evictions() {
    curl -s "http://$QD_ADMIN/metrics" | sed -n 's/^quotad_evictions_total //p'
}

D12_limits_show_what_an_evicted_counter_has_used() {
    first=0
    while [ "$first" -lt 1792 ]; do # more than 1,024, a quarter and 64
        checks "$first"
        first=$((first + 128))
        [ "$first" -ne 1280 ] || sleep 2 # counters that were just used stay
    done
    [ "$(evictions)" -gt 0 ] || qd_fail "nothing was evicted"
    for i in $(seq 0 20); do
        say AdminService/GetEffectiveLimits "tenant: \"t$i\" model: \"m\""
        expect_eq "t$i $(field used)" "t$i 1"
    done
    out_before=$(evictions)
    say AdminService/GetEffectiveLimits 'tenant: "t0" model: "m"'
    expect_eq "$(evictions)" "$out_before"
    say CheckQuota 'tenant: "t0" model: "m" no_reservation: true'
    say AdminService/GetEffectiveLimits 'tenant: "t0" model: "m"'
    expect_eq "$(field used)" 2
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  pro: {requests: 100/hour}
tenants:
  "*": {plan: pro}
END
qd_start --policy "$T/policy.yaml" --shards 1 --max-counters 1024 || exit 1
qd_run D12_limits_show_what_an_evicted_counter_has_used
qd_done
