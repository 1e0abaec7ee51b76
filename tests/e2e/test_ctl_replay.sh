# Real traces through a node: tokens equal the file's sums, dollars equal price times quantity, computed apart by awk.
# With QUOTAD_TRACE_DATA (a folder of whole traces: *.csv azure, *.jsonl mooncake) those are replayed, too.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

TRACES=${QUOTAD_SOURCE_DIR:?run through ctest}/deploy/examples/traces
unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT

cat >"$T/policy.yaml" <<'POLICY'
version: 1
models:
  priced: {max_output_tokens: 4096}
  hosted: {pool: h100, max_output_tokens: 4096}
prices:
  priced: {input_token: $3/1M, cached_input_token: $0.30/1M, output_token: $15/1M}
  h100: {gpu_second: $0.0011}
plans:
  open: {}
  small: {requests: 50/min}
tenants:
  limited: {plan: small}
  "*": {plan: open}
POLICY

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

# "input output" of an azure trace.
azure_sums() {
    awk -F, 'NR > 1 {i += $2; o += $3} END {printf "%d %d\n", i, o}' "$1"
}

# "input cached output" of a mooncake trace: a prompt block that came before, behind only such blocks, is cached.
mooncake_sums() {
    awk '{
        match($0, /"input_length": *[0-9]+/); s = substr($0, RSTART, RLENGTH); sub(/.*: */, "", s); input = s + 0
        match($0, /"output_length": *[0-9]+/); s = substr($0, RSTART, RLENGTH); sub(/.*: */, "", s); o += s
        match($0, /\[.*\]/); n = split(substr($0, RSTART + 1, RLENGTH - 2), id, /, */)
        hit = 1; blocks = 0
        for (k = 1; k <= n; k++) {
            if (!(id[k] in seen)) hit = 0
            if (hit) blocks++
        }
        for (k = 1; k <= n; k++) seen[id[k]] = 1
        c = blocks * 512; if (c > input) c = input
        i += input - c; cached += c
    } END {printf "%d %d %d\n", i, cached, o}' "$1"
}

# A value in the "totals" line of this kind.
total() { # KIND NAME
    printf '%s\n' "$out" | sed -n "s/^totals $1 .* $2=\([0-9]*\).*/\1/p"
}

check_azure() { # FILE
    set -- "$1" "$(azure_sums "$1")"
    expect_exit 0 ctl replay --format azure --trace "$1" --model priced --no-loss --no-gpu
    expect_eq "$(total offered input_tokens) $(total offered output_tokens)" "$2"
    expect_eq "$(total booked input_tokens) $(total booked output_tokens)" "$2"
}

check_mooncake() { # FILE
    set -- "$1" "$(mooncake_sums "$1")"
    expect_exit 0 ctl replay --format mooncake --trace "$1" --model priced --no-loss --no-gpu
    expect_eq "$(total booked input_tokens) $(total booked cached_input_tokens) $(total booked output_tokens)" "$2"
}

# The sum of a money column of all rows of a JSON answer, as a whole number of pico-USD.
pico_sum() { # NAME
    printf '%s\n' "$out" | sed -n "s/^ *\"$1\": *\"\([0-9]*\)\".*/\1/p" | awk '{s += $1} END {printf "%.0f\n", s}'
}

I7_azure_tokens_and_dollars_equal_the_file() {
    check_azure "$TRACES/azure_conv.csv"
    # pico-USD a token: 3,000,000 in and 15,000,000 out.
    want=$(azure_sums "$TRACES/azure_conv.csv" | awk '{printf "%.0f\n", $1 * 3000000 + $2 * 15000000}')
    expect_exit 0 ctl usage --by model --where model=priced -o json
    expect_eq "$(pico_sum cost_pico_usd)" "$want"
    expect_eq "$(pico_sum charge_pico_usd)" "$want"
}

L6_export_has_every_entry_once_and_goes_on_by_cursor() {
    expect_exit 0 ctl ledger export --format csv
    printf '%s\n' "$out" >"$T/all.csv"
    cursor=$(sed -n 's/^end; later: --cursor //p' "$T/err")
    booked=$(awk 'NR > 1 && FNR > 1' "$TRACES/azure_conv.csv" | wc -l)
    expect_eq "$(awk 'END {print NR - 1}' "$T/all.csv")" "$booked"
    # The sequence is gap-free, the money that of the reports (column 20 is cost_pico_usd; no field here has a comma).
    expect_eq "$(awk -F, 'NR > 1 && $2 != ++n {print "gap at " $2; exit} END {print n}' "$T/all.csv")" "$booked"
    want=$(azure_sums "$TRACES/azure_conv.csv" | awk '{printf "%.0f\n", $1 * 3000000 + $2 * 15000000}')
    expect_eq "$(awk -F, 'NR > 1 {s += $20} END {printf "%.0f\n", s}' "$T/all.csv")" "$want"
    expect_exit 0 ctl report --tenant late --request-id one --model priced --use input_tokens=7
    expect_exit 0 ctl ledger export --cursor "$cursor"
    expect_eq "$(printf '%s\n' "$out" | wc -l)" 1
    expect_match "$out" '^{"node":".*"request_id":"one".*"cost_pico_usd":"21000000".*}$'
    expect_exit 1 ctl ledger export --format xml
    expect_match "$err" '^quotactl ledger export: --format xml: accepted: jsonl, csv$'
}

L6_a_cursor_that_was_never_given_is_refused() {
    expect_exit 0 ctl ledger export --format csv
    last=$(sed -n 's/^end; later: --cursor //p' "$T/err")
    expect_exit 0 ctl ledger export --cursor "$last"
    expect_eq "$out" ''
    for cursor in $((last + 1)) 99999999 -1 +1 ' 1' '1 ' 0x1 18446744073709551615 99999999999999999999 \
        000000000000000000001; do
        for command in export ls; do
            expect_exit 1 ctl ledger $command --cursor="$cursor"
            expect_in "$err" "cursor: \"$cursor\" is not one that this server gave: its last entry is $last;"
        done
    done
}

L4_verify_finds_entries_and_rollups_alike() {
    expect_exit 0 ctl verify
    expect_match "$out" '^[0-9,]+ entries up to #[0-9,]+, [0-9,]+ rollup rows, [0-9,]+ groups, [0-9,]+ budgets compared, [0-9]+ skipped: clean$'
    expect_exit 0 ctl verify -o json
    expect_match "$out" '"clean": *true'
}

I7_mooncake_prefixes_are_cached_input() {
    check_mooncake "$TRACES/mooncake.jsonl"
    in_out=$(azure_sums "$TRACES/azure_conv.csv") # and the 7 tokens of the export's case
    want=$(mooncake_sums "$TRACES/mooncake.jsonl" |
        awk -v azure="$in_out" '{split(azure, a, " ")
            printf "%.0f\n", ($1 + a[1] + 7) * 3000000 + $2 * 300000 + ($3 + a[2]) * 15000000}')
    expect_exit 0 ctl usage --by model --where model=priced -o json
    expect_eq "$(pico_sum cost_pico_usd)" "$want"
}

S2_gpu_time_comes_from_the_pool_as_a_second_part() {
    expect_exit 0 ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 200 --model hosted --no-loss
    # The formula that replay prints, rounded up for each request; 1.1e9 pico-USD a second, 1.1e6 a ms.
    want=$(awk -F, 'NR > 1 && NR <= 201 {us = 100 * $2 + 2000 * $3; ms += int((us + 999) / 1000)}
        END {printf "%.0f\n", ms * 1100000}' "$TRACES/azure_conv.csv")
    expect_exit 0 ctl usage --by model --where model=hosted -o json
    expect_eq "$(pico_sum cost_pico_usd)" "$want"
    expect_match "$out" '"gpu_ms"'
}

S6_reports_sent_twice_are_booked_once() {
    expect_exit 0 ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 300 --model priced --no-gpu \
        --disconnect-rate 0 --lost-rate 0 --twice-rate 100 --tenant twice --tenants 1
    expect_match "$out" '^0 disconnected, 0 lost \(never reported\), 300 reported twice, of which 300 were recognised$'
    booked=$(total booked tokens)
    expect_exit 0 ctl usage twice -o json
    got=$(printf '%s\n' "$out" | awk '/"meter": *"(input|output)_tokens"/ {t = 1; next}
        t && /"amount"/ {gsub(/[^0-9]/, ""); s += $0; t = 0} END {printf "%d\n", s}')
    expect_eq "$got" "$booked"
}

# Two reports a request: the gateway's tokens and the pool's GPU time.
run_twice() { # TENANT OPTION...
    tenant=$1
    shift
    set -- ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 50 --model hosted --no-loss \
        --tenant "$tenant" --tenants 1 --run "nightly-$tenant" "$@"
    expect_exit 0 "$@"
    expect_eq "$(printf '%s\n' "$out" | grep -c 'were booked before')" 0
    first=$(printf '%s\n' "$out" | grep -E "^(totals|$tenant) ")
    expect_eq "$(printf '%s\n' "$first" | wc -l)" 4
    expect_exit 0 ctl ledger ls "$tenant" -n 1000 -o json
    entries=$(printf '%s\n' "$out" | grep -oE '"request_id": *"[^"]*"' | wc -l)
    expect_eq "$entries" 100
    before=$out
    expect_exit 0 "$@"
    expect_match "$out" "^100 reports were booked before, by run \"nightly-$tenant\": they are shown, not booked twice$"
    expect_eq "$(printf '%s\n' "$out" | grep -E "^(totals|$tenant) ")" "$first"
    expect_exit 0 ctl ledger ls "$tenant" -n 1000 -o json
    expect_eq "$(printf '%s\n' "$out" | grep -v complete_through)" "$(printf '%s\n' "$before" | grep -v complete_through)"
    expect_eq "$(ctl reservations ls "$tenant" | grep -c '^r_')" 0
}

S6_the_same_run_again_books_nothing() { run_twice rerun; }

# The trace's pace counts from now: the second run's event times are others.
S6_the_same_run_again_at_the_traces_pace_books_nothing() { run_twice paced --speed 200; }

S6_a_run_of_other_content_is_refused() {
    set -- ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 5 --model priced --no-gpu --tenants 1 \
        --tenant other --run other
    expect_exit 0 "$@" --no-loss
    expect_exit 1 "$@" --disconnect-rate 100 --lost-rate 0 --twice-rate 0
    expect_match "$err" '^quotactl replay: 0 checks and 5 reports failed; the first: request_id "other-[1-5]" \(source "gateway", attempt 0, sequence 0\) was booked as entry [0-9]+ with other content: .*outcome "OK", now "DISCONNECTED"; nothing is booked: '
    expect_exit 0 ctl ledger ls other -n 1000 -o json
    expect_eq "$(printf '%s\n' "$out" | grep -oE '"request_id": *"[^"]*"' | wc -l)" 5
}

D3_denials_are_counted_by_limit() {
    expect_exit 0 ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 80 --model priced --no-gpu --no-loss \
        --tenant limited --tenants 1
    expect_match "$out" '^replay: 80 requests, 50 allowed, 30 denied \(small\.requests 30\); took '
}

S5_lost_requests_leave_holds_that_expire() {
    expect_exit 0 ctl replay --format azure --trace "$TRACES/azure_conv.csv" --limit 40 --model priced --no-gpu \
        --disconnect-rate 0 --lost-rate 100 --twice-rate 0 --tenant lost --tenants 1
    expect_match "$out" '^0 disconnected, 40 lost'
    expect_eq "$(total booked requests)" 0
    expect_eq "$(ctl reservations ls lost | grep -c '^r_')" 40
    expect_exit 0 ctl reservations release --tenant lost
}

whole_traces_equal_their_files() {
    for file in "${QUOTAD_TRACE_DATA:?}"/*.csv; do
        check_azure "$file"
    done
    for file in "$QUOTAD_TRACE_DATA"/*.jsonl; do
        check_mooncake "$file"
    done
}

qd_start --policy "$T/policy.yaml" || exit 1
qd_run I7_azure_tokens_and_dollars_equal_the_file L6_export_has_every_entry_once_and_goes_on_by_cursor \
    L6_a_cursor_that_was_never_given_is_refused L4_verify_finds_entries_and_rollups_alike \
    I7_mooncake_prefixes_are_cached_input \
    S2_gpu_time_comes_from_the_pool_as_a_second_part S6_reports_sent_twice_are_booked_once \
    S6_the_same_run_again_books_nothing S6_the_same_run_again_at_the_traces_pace_books_nothing \
    S6_a_run_of_other_content_is_refused D3_denials_are_counted_by_limit S5_lost_requests_leave_holds_that_expire
if [ -n "${QUOTAD_TRACE_DATA:-}" ]; then
    qd_run whole_traces_equal_their_files
else
    qd_skip "QUOTAD_TRACE_DATA names no folder of whole traces" whole_traces_equal_their_files
fi
qd_done
