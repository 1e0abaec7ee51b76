# kill -9 under load, with holds open: what was acknowledged is there exactly once, budgets equal the ledger, and a token
# of the dead process settles (X5, S1, D7). QD_LONG asks for eight such ends instead of one. ctest-timeout: 300
. "${QUOTA_TESTLIB_SH:?run through ctest}"

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
prices:
  m: {input_tokens: $1/1M, output_tokens: $2/1M}
plans:
  pro: {requests: 100k/min, cost: $500/month, input_tokens: 1G/month}
tenants:
  "*": {plan: pro}
END

# used LIMIT: what acme's limit has used, as a bare number.
used() {
    ctl limits acme -o json | awk -v name="\"name\":\"$1\"," '
        $1 == name { on = 1 }
        on && /"used":/ { gsub(/[^0-9]/, ""); print; exit }'
}

# The ledger's own sums, added up here entry by entry.
ledger() {
    cursor=''
    : >"$T/entries"
    while :; do
        ctl ledger ls --count 1000 ${cursor:+--cursor "$cursor"} -o json >"$T/page"
        cat "$T/page" >>"$T/entries"
        next=$(sed -n 's/.*"next_cursor":"\([^"]*\)".*/\1/p' "$T/page")
        grep -q '"sequence":' "$T/page" && [ -n "$next" ] && [ "$next" != "$cursor" ] || break
        cursor=$next
    done
    sums=$(awk '
        { gsub(/[",]/, "") }
        /^ *request_id:/ { sub(/^ *request_id:/, ""); if (ids[$0]++) twice++ }
        /^ *meter:/ { split($1, a, ":"); meter = a[2] }
        /^ *amount:/ { split($1, a, ":"); sum[meter] += a[2] }
        /^ *cost_nano_usd:/ { split($1, a, ":"); cost += a[2] }
        END { printf "%d %d %d", twice, sum["input_tokens"], cost }' "$T/entries")
    # shellcheck disable=SC2086 # three numbers
    set -- $sums
    ledger_twice=$1
    ledger_input=$2
    ledger_cost=$3
}

qd_start --policy "$T/policy.yaml" || exit 1
token=$(ctl check acme --model m --use input_tokens=1000 -o json | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
ctl check acme --model m --use input_tokens=1000 >/dev/null
open_before=$(curl -s "http://$QD_ADMIN/metrics" | sed -n 's/^quotad_reservations_open //p')

# Four writers, each with its own ids; what was acknowledged is written down after the fact.
crash() { # ROUND SECONDS
    for writer in 1 2 3 4; do
        (
            trap - EXIT
            i=0
            while ctl report --tenant acme --request-id "w$writer-$1-$i" --model m --use input_tokens=$((i % 7 + 1)) \
                >/dev/null 2>&1; do
                echo "w$writer-$1-$i $((i % 7 + 1))" >>"$T/acknowledged.$writer"
                i=$((i + 1))
            done
        ) &
    done
    sleep "$2"
    kill -9 "$QD_PID"
    wait
    QD_PID=''
    cat "$T"/acknowledged.* >"$T/acknowledged"
    began=$(date +%s%N)
    qd_start --policy "$T/policy.yaml" || exit 1
    took_ms=$((($(date +%s%N) - began) / 1000000))
    [ "$took_ms" -le "$slowest_ms" ] || slowest_ms=$took_ms
    echo "note: $(wc -l <"$T/acknowledged") reports acknowledged before kill -9; serving again after $took_ms ms"
}

crashes=1
[ -z "${QD_LONG:-}" ] || crashes=8
slowest_ms=0
for round in $(seq "$crashes"); do
    crash "$round" "$((1 + (round + 1) % 3))" # 3 s, 1, 2, 3, ...
done

X5_it_serves_again_in_seconds() {
    expect_eq "$open_before" 2
    [ "$slowest_ms" -lt 10000 ] || qd_fail "it took $slowest_ms ms"
    expect_match "$(cat "$QD_LOG")" '^resumed: [0-9]+ counters, [0-9]+ reservations, [0-9]+ entries after the snapshot$'
    expect_eq "$(curl -s "http://$QD_ADMIN/readyz")" ready
}

X5_every_acknowledged_report_is_there_once() {
    ledger
    expect_eq "$ledger_twice" 0
    sed -n 's/^ *"request_id":"\(w[^"]*\)".*/\1/p' "$T/entries" | sort >"$T/booked"
    awk '{ print $1 }' "$T/acknowledged" | sort >"$T/wanted"
    expect_eq "$(comm -23 "$T/wanted" "$T/booked")" ""
    # At most one report of each writer was on disk, each time, when its answer could not be sent any more.
    extra=$(comm -13 "$T/wanted" "$T/booked" | wc -l)
    [ "$extra" -le $((4 * crashes)) ] || qd_fail "$extra entries that nobody was told of"
}

D7_used_is_what_the_ledger_says() {
    ledger
    expect_eq "$(used pro.input_tokens)" "$ledger_input"
    expect_eq "$(used pro.cost)" "$ledger_cost"
}

S6_a_retry_over_the_crash_books_nothing_new() {
    before=$(used pro.input_tokens)
    while read -r id amount; do
        expect_exit 0 ctl report --tenant acme --request-id "$id" --model m --use "input_tokens=$amount"
        expect_in "$out" "(booked before)"
    done <<END
$(tail -n 5 "$T/acknowledged")
END
    expect_eq "$(used pro.input_tokens)" "$before"
}

S1_a_token_of_the_dead_process_settles_once() {
    before=$(used pro.input_tokens)
    expect_exit 0 ctl report "$token" --use input_tokens=900 --use output_tokens=10
    expect_match "$out" '^BOOKED entry .*#[0-9]+; cost \$0\.00092, charge \$0\.00092; '
    expect_eq "$(used pro.input_tokens)" "$((before + 900))"
    expect_exit 0 ctl report "$token" --use input_tokens=900 --use output_tokens=10
    expect_in "$out" "(booked before)"
    expect_eq "$(used pro.input_tokens)" "$((before + 900))"
    ledger
    expect_eq "$(used pro.cost)" "$ledger_cost"
}

qd_run X5_it_serves_again_in_seconds X5_every_acknowledged_report_is_there_once D7_used_is_what_the_ledger_says \
    S6_a_retry_over_the_crash_books_nothing_new S1_a_token_of_the_dead_process_settles_once
qd_done
