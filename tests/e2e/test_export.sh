# The ledger exported piece by piece with a cursor, while reports are being booked, across a
# restart and a kill -9, is the ledger: nothing twice, nothing missed (L6). ctest-timeout: 300
. "${QUOTA_TESTLIB_SH:?run through ctest}"
trace=${QUOTAD_SOURCE_DIR:?}/deploy/examples/traces/azure_conv.csv

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" --timeout 20s "$@"
}

cat >"$T/policy.yaml" <<'END_OF_POLICY'
version: 1
models:
  m: {max_output_tokens: 4096}
prices:
  m: {input_tokens: $1/1M, output_tokens: $2/1M}
plans:
  pro: {tokens: 1000G/min, cost: $100000/month}
tenants:
  "*": {plan: pro}
END_OF_POLICY

: >"$T/pieces"
: >"$T/acknowledged"
: >"$T/acknowledged.1"
echo 0 >"$T/cursor"
pieces=0
broken=0

# One piece, from where the last one ended; $piece_ended is how its end was called.
export_piece() {
    ctl ledger export --cursor "$(cat "$T/cursor")" >>"$T/pieces" 2>"$T/export.err"
    next=$(sed -n 's/.*: --cursor \([0-9][0-9]*\)$/\1/p' "$T/export.err")
    [ -n "$next" ] || {
        echo "an export said no cursor: $(cat "$T/export.err")"
        exit 1
    }
    echo "$next" >"$T/cursor"
    pieces=$((pieces + 1))
    if grep -q '^broken off' "$T/export.err"; then
        broken=$((broken + 1))
        return 1
    fi
}

# writers ROUND: two that report one by one and write down what was acknowledged, and a trace as fast as it goes. They
# end with the server.
writers() {
    for writer in 1 2; do
        (
            trap - EXIT
            i=0
            while ctl report --tenant acme --request-id "w$writer-$1-$i" --model m --use input_tokens=$((i % 7 + 1)) \
                >/dev/null 2>&1; do
                echo "w$writer-$1-$i" >>"$T/acknowledged.$writer"
                i=$((i + 1))
            done
        ) &
    done
    (
        trap - EXIT
        i=0
        while ctl replay --format azure --trace "$trace" --model m --tenants 20 --no-loss --run "t$1-$i" \
            >/dev/null 2>&1; do
            i=$((i + 1))
        done
    ) &
}

# so_much_in ROUND: the load is one, on the slowest machine.
so_much_in() {
    [ "$(cat "$T"/acknowledged.? | wc -l)" -gt $((3 * $1)) ] && [ "$(wc -l <"$T/pieces")" -gt $((400 * $1)) ]
}

# round NUMBER SECONDS SIGNAL: exports under load; the server ends in the midst of it, and the export with it.
round() {
    qd_start --policy "$T/policy.yaml" || exit 1
    writers "$1"
    (
        trap - EXIT
        sleep "$2"
        tries=0
        until so_much_in "$1" || [ $tries -ge 300 ]; do
            tries=$((tries + 1))
            sleep 0.2
        done
        kill "-$3" "$QD_PID"
    ) &
    while export_piece; do
        sleep 0.05
    done
    wait
    QD_PID=''
}

round 1 3 TERM
round 2 3 KILL
round 3 3 KILL
qd_start --policy "$T/policy.yaml" || exit 1
export_piece || exit 1
cat "$T"/acknowledged.? >"$T/acknowledged"
ctl ledger export >"$T/whole" 2>"$T/export.err" || exit 1
echo "note: $(wc -l <"$T/whole") entries, exported in $pieces pieces, of which $broken were broken off;" \
    "$(wc -l <"$T/acknowledged") single reports acknowledged"

L6_pieces_by_cursor_are_the_whole_ledger() {
    cmp "$T/pieces" "$T/whole" || qd_fail "the pieces differ from the whole"
    entries=$(wc -l <"$T/whole")
    [ "$entries" -gt 1000 ] || qd_fail "only $entries entries: no load"
    [ "$broken" -ge 3 ] || qd_fail "no export was broken off"
}

L6_sequences_have_no_gap_and_come_once() {
    gap=$(sed 's/.*"sequence":\([0-9]*\),.*/\1/' "$T/pieces" | awk '$1 != NR { print NR " is " $1; exit }')
    expect_eq "$gap" ''
}

X5_every_acknowledged_report_is_exported_once() {
    keys='s/.*\("tenant":"[^"]*"\).*\("source":.*"part_sequence":[0-9]*\),.*/\1 \2/p' # S6
    expect_eq "$(sed -n "$keys" "$T/pieces" | sort | uniq -d | head -n 3)" ''
    sed 's/.*"request_id":"\([^"]*\)".*/\1/' "$T/pieces" | sort -u >"$T/exported"
    sort "$T/acknowledged" >"$T/sorted"
    expect_eq "$(comm -23 "$T/sorted" "$T/exported" | head -n 3)" ''
    [ "$(wc -l <"$T/sorted")" -gt 5 ] || qd_fail "too few were acknowledged"
}

qd_run L6_pieces_by_cursor_are_the_whole_ledger L6_sequences_have_no_gap_and_come_once \
    X5_every_acknowledged_report_is_exported_once
qd_done
