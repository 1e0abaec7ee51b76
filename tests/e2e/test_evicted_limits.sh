# What an operator sees of a counter that had to make room in memory, and resets (D12).
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "$(dirname "$QUOTA_TESTLIB_SH")/../e2e/rpc.sh"

# checks FIELDS FIRST: 128 checks in one batch of a stream, with # in the fields for FIRST and so on.
checks() {
    for i in $(seq "$2" $(($2 + 127))); do
        echo "items { id: $i check { ${1%%#*}$i${1#*#} model: \"m\" no_reservation: true } }"
    done | protoc -I "$proto_dir" --encode=quota.v1.StreamQuotaRequest quota/v1/quota.proto >"$T/batch"
    size=$(wc -c <"$T/batch")
    # shellcheck disable=SC2059 # octal digits
    { printf "$(printf '\\%03o' 0 $((size / 65536)) $((size / 256 % 256)) $((size % 256)))" && cat "$T/batch"; } |
        "$grpc_call" -s "$QD_GRPC" /quota.v1.QuotaService/StreamQuota >"$T/answers" 2>"$T/rpc.err"
}

evictions() {
    curl -s "http://$QD_ADMIN/metrics" | sed -n 's/^quotad_evictions_total //p'
}

# Until counters may go: those that were just used stay, and what is not stored would have to wait for the disk. All are
# stored in a second that begins after they were used.
rest() {
    qd_soon stored_since $(($(date +%s) + 2))
}

stored_since() { # SECOND
    [ "$(curl -s "http://$QD_ADMIN/metrics" | sed -n 's/^quotad_snapshot_oldest_slice_timestamp_seconds \([0-9]*\).*/\1/p')" -ge "$1" ]
}

# FIELDS: for 1,792 of them, more than 1,024, a quarter and 64.
check_more_than_fit() {
    out_before=$(evictions)
    first=0
    while [ "$first" -lt 1792 ]; do
        checks "$1" "$first"
        first=$((first + 128))
        [ "$first" -ne 1280 ] || rest
    done
    [ "$(evictions)" -gt "$out_before" ] || qd_fail "nothing was evicted"
}

D12_limits_show_what_an_evicted_counter_has_used() {
    check_more_than_fit 'tenant: "t#"'
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

# What the user's counter has counted, after one check more.
used_after_a_check() {
    say CheckQuota "tenant: \"one\" user: \"u$1\" model: \"m\" no_reservation: true"
    say AdminService/GetEffectiveLimits "tenant: \"one\" user: \"u$1\" model: \"m\""
    field used
}

D12_a_reset_of_a_split_limit_finds_what_was_evicted() {
    rest # the other case's counters may go
    check_more_than_fit 'tenant: "one" user: "u#"'
    say AdminService/ResetCounter 'tenant: "one" limit: "requests" keys { key: "user" value: "u0" }'
    expect_eq "$(field reset) $(field used)" "1 1"
    say AdminService/ResetCounter 'tenant: "one" limit: "requests"'
    case $(field reset) in # u0's own was reset: it is there again only if it lay in memory
    1791 | 1792) ;;
    *) expect_eq "$(field reset)" 1791 ;;
    esac
    for i in $(seq 0 20) 1791; do
        expect_eq "u$i $(used_after_a_check "$i")" "u$i 1"
    done
}

D12_the_reset_stays_after_a_kill() {
    for i in $(seq 30 40); do
        expect_eq "u$i $(used_after_a_check "$i")" "u$i 1"
    done
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  pro: {requests: 100/hour}
  split: {requests: {limit: 100/hour, per: user}}
tenants:
  one: {plan: split}
  "*": {plan: pro}
END
qd_start --policy "$T/policy.yaml" --shards 1 --max-counters 1024 || exit 1
qd_run D12_limits_show_what_an_evicted_counter_has_used D12_a_reset_of_a_split_limit_finds_what_was_evicted
qd_stop KILL || :
qd_start --policy "$T/policy.yaml" --shards 1 --max-counters 1024 || exit 1
qd_run D12_the_reset_stays_after_a_kill
qd_done
