# What one tenant can take from the others.
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "$(dirname "$QUOTA_TESTLIB_SH")/../e2e/rpc.sh"

# checks TENANT: 128 checks in one batch of a stream; each makes a hold.
checks() {
    for i in $(seq 128); do
        echo "items { id: $i check { tenant: \"$1\" model: \"m\" } }"
    done | protoc -I "$proto_dir" --encode=quota.v1.StreamQuotaRequest quota/v1/quota.proto >"$T/batch"
    size=$(wc -c <"$T/batch")
    # shellcheck disable=SC2059 # octal digits
    { printf "$(printf '\\%03o' 0 $((size / 65536)) $((size / 256 % 256)) $((size % 256)))" && cat "$T/batch"; } |
        "$grpc_call" -s "$QD_GRPC" /quota.v1.QuotaService/StreamQuota >"$T/answers" 2>"$T/rpc.err"
}

D12_one_tenant_cannot_fill_the_table_of_holds() {
    for _ in $(seq 12); do
        checks greedy
    done
    say CheckQuota 'tenant: "greedy" model: "m"'
    expect_eq "$(field verdict) $(field reason)" "VERDICT_DENIED REASON_CAPACITY"
    for tenant in a b c d e f g h; do
        say CheckQuota "tenant: \"$tenant\" model: \"m\""
        expect_eq "$(field verdict)" "VERDICT_ALLOWED"
    done
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  pro: {requests: 1M/min}
tenants:
  "*": {plan: pro}
END
qd_start --policy "$T/policy.yaml" --shards 1 --max-reservations 1024 || exit 1
qd_run D12_one_tenant_cannot_fill_the_table_of_holds
qd_done
