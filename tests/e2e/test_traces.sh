#!/bin/sh
# Real traces through a node: the tokens booked are the file's sums, and the dollars are price x quantity, both computed
# here from the files and the prices, independently of the project's own parsers and arithmetic.
# The excerpts in deploy/examples/traces; with QUOTAD_TRACE_DATA=FOLDER also the full traces there.
# ctest-timeout: 1800
. "${QUOTA_TESTLIB_SH:?run through ctest}"
traces=${QUOTAD_SOURCE_DIR:?}/deploy/examples/traces

# Whole pico-USD a token (or ms), so that awk's numbers are exact below 2^53.
cat >"$T/policy.yaml" <<'END'
version: 1
models:
  llama-70b: {pool: h100, max_output_tokens: 4096}
prices:
  llama-70b: {input_tokens: $0.60/1M, cached_input_tokens: $0.15/1M, output_tokens: $2.345678/1M}
  h100: {gpu_second: $0.0011}
unknown_price: deny
plans:
  roomy:
    tokens: 1000G/min
    cost: $1000000/month
tenants:
  "*": {plan: roomy}
END
prices='input_tokens=600000 cached_input_tokens=150000 output_tokens=2345678 gpu_ms=1100000'

ctl() {
    "$QUOTACTL_BIN" "$@" --address "$QD_GRPC"
}

# rows FORMAT FILE: "input cached output" of each request, as the trace has it.
rows() {
    if [ "$1" = azure ]; then
        awk -F , 'NR > 1 && NF >= 3 { print $2 + 0, 0, $3 + 0 }' "$2"
    else
        # A prompt block of 512 tokens that came before, behind nothing but such blocks, is cached input.
        awk '
            function number(key,   text) {
                match($0, "\"" key "\": *[0-9]+"); text = substr($0, RSTART, RLENGTH); sub(/.*: */, "", text)
                return text + 0
            }
            {
                input = number("input_length"); output = number("output_length")
                match($0, /\[[^]]*\]/); count = split(substr($0, RSTART + 1, RLENGTH - 2), ids, / *, */)
                hits = 0
                while (hits < count && (ids[hits + 1] in seen)) hits++
                for (i = 1; i <= count; i++) seen[ids[i]] = 1
                cached = 512 * hits; if (cached > input) cached = input
                print input - cached, cached, output
            }' "$2"
    fi
}

# expected FORMAT FILE: requests, tokens by meter, GPU time and pico-USD of the whole trace.
expected() {
    rows "$1" "$2" | awk -v prices="$prices" '
        BEGIN { n = split(prices, p, " "); for (i = 1; i <= n; i++) { split(p[i], kv, "="); price[kv[1]] = kv[2] } }
        {
            input += $1; cached += $2; output += $3
            gpu += int((100 * $1 + 5 * $2 + 2000 * $3 + 999) / 1000) # the formula that replay prints
        }
        END {
            cost = input * price["input_tokens"] + cached * price["cached_input_tokens"]
            cost += output * price["output_tokens"] + gpu * price["gpu_ms"]
            if (cost >= 9007199254740992) { print "too much for exact sums"; exit 1 }
            printf "requests=%d input_tokens=%d cached_input_tokens=%d output_tokens=%d gpu_ms=%d cost=%.0f\n",
                NR, input, cached, output, gpu, cost
        }'
}

# entries FILE: the whole ledger as JSON, page by page, to the file.
entries() {
    : >"$1"
    cursor=''
    while :; do
        ctl ledger ls -n 1000 ${cursor:+--cursor "$cursor"} -o json >"$T/page"
        cat "$T/page" >>"$1"
        cursor=$(sed -n 's/.*"next_cursor": *"\([^"]*\)".*/\1/p' "$T/page")
        ! grep -q '"end": *true' "$T/page" || break
    done
}

# booked FILE: what the ledger's entries add up to. Says which entry's money is not price x quantity.
booked() {
    awk -v prices="$prices" '
        BEGIN { n = split(prices, p, " "); for (i = 1; i <= n; i++) { split(p[i], kv, "="); price[kv[1]] = kv[2] } }
        function value(   text) { text = $0; sub(/^[^:]*: */, "", text); gsub(/[",]/, "", text); return text }
        /"sequence":/ && !/"part_sequence":/ { sequence = value() }
        /"meter":/ { meter = value() }
        /"amount":/ { quantity[meter] += value(); sum[meter] += value() }
        /"cost_pico_usd":/ {
            want = 0; for (m in price) want += quantity[m] * price[m]
            if (sprintf("%.0f", want) != value()) { print "entry " sequence ": " value() " pico-USD, not " want; bad = 1 }
            total += want; count++; split("", quantity)
        }
        /"charge_pico_usd":/ { if (sprintf("%.0f", want) != value()) { print "entry " sequence ": charge " value(); bad = 1 } }
        END {
            if (bad || total >= 9007199254740992) { print "the money is wrong"; exit 1 }
            printf "requests=%d input_tokens=%d cached_input_tokens=%d output_tokens=%d gpu_ms=%d cost=%.0f entries=%d\n",
                sum["requests"], sum["input_tokens"], sum["cached_input_tokens"], sum["output_tokens"], sum["gpu_ms"],
                total, count
        }' "$1"
}

# usage ARGUMENT...: what the rows of QueryUsage add up to, over everything. Says which row's money is not price x quantity.
usage() {
    ctl usage "$@" -o json | awk -v prices="$prices" '
        BEGIN { n = split(prices, p, " "); for (i = 1; i <= n; i++) { split(p[i], kv, "="); price[kv[1]] = kv[2] } }
        function value(   text) { text = $0; sub(/^[^:]*: */, "", text); gsub(/[",]/, "", text); return text }
        /"meter":/ { meter = value() }
        /"amount":/ { quantity[meter] += value(); sum[meter] += value() }
        /"cost_pico_usd":/ {
            want = 0; for (m in price) want += quantity[m] * price[m]
            if (sprintf("%.0f", want) != value()) { print "a row has " value() " pico-USD, not " want; bad = 1 }
            cost += value(); split("", quantity)
        }
        /"charge_pico_usd":/ { if (sprintf("%.0f", want) != value()) { print "a row has the charge " value(); bad = 1 } }
        /"scanned_entries": *true/ { print "entries were scanned"; bad = 1 }
        END {
            if (bad || cost >= 9007199254740992) { print "the money is wrong"; exit 1 }
            printf "requests=%d input_tokens=%d cached_input_tokens=%d output_tokens=%d gpu_ms=%d cost=%.0f\n",
                sum["requests"], sum["input_tokens"], sum["cached_input_tokens"], sum["output_tokens"], sum["gpu_ms"], cost
        }'
}

# exported: what `ledger export` adds up to. No field here has a comma; 17 are the quantities, 20 and 21 the money.
exported() {
    ctl ledger export --format csv 2>/dev/null | awk -F , '
        NR > 1 {
            n = split($17, pairs, ";")
            for (i = 1; i <= n; i++) { split(pairs[i], kv, "="); sum[kv[1]] += kv[2] }
            cost += $20; charge += $21
        }
        END {
            if (cost != charge || cost >= 9007199254740992) { print "the money is wrong"; exit 1 }
            printf "requests=%d input_tokens=%d cached_input_tokens=%d output_tokens=%d gpu_ms=%d cost=%.0f\n",
                sum["requests"], sum["input_tokens"], sum["cached_input_tokens"], sum["output_tokens"], sum["gpu_ms"], cost
        }'
}

# total WHICH FILE: "requests=... output_tokens=..." of a "totals" line that replay printed.
total() {
    sed -n "s/^totals $1 *\(requests=.* output_tokens=[0-9]*\) .*/\1/p" "$2"
}

fresh_server() {
    rm -rf "$T/data"
    qd_start --policy "$T/policy.yaml" --max-reservations 200k
    trap 'kill -9 "$QD_PID" 2>/dev/null || :' EXIT # a case is a subshell: nobody else knows of its server
}

# Nothing lost: every number is the file's.
replays_whole() {
    fresh_server
    ctl replay --format "$1" --trace "$2" --tenants 50 --seed 11 --disconnect-rate 0 --lost-rate 0 --twice-rate 0 \
        >"$T/replay" 2>&1 || qd_fail "$(cat "$T/replay")"
    want=$(expected "$1" "$2") || qd_fail "$want"
    tokens=${want% gpu_ms=*}
    expect_eq "$(total offered "$T/replay")" "$tokens"
    expect_eq "$(total admitted "$T/replay")" "$tokens"
    expect_eq "$(total booked "$T/replay")" "$tokens"
    entries "$T/entries"
    got=$(booked "$T/entries") || qd_fail "$got"
    expect_eq "${got% entries=*}" "$want"
    expect_eq "${got##* entries=}" "$((2 * $(rows "$1" "$2" | wc -l)))" # the gateway's and the pool's
    expect_eq "$(usage)" "$want"
    expect_eq "$(usage --by model)" "$want"
    expect_eq "$(usage --by price)" "$want"
    expect_eq "$(usage --every 1h)" "$want"
    expect_eq "$(usage --by tenant,model,pool,price --every 15min)" "$want"
    expect_eq "$(usage --by tenant:1 --every day --zone Asia/Kathmandu)" "$want"
    expect_eq "$(exported)" "$want"
    qd_stop TERM || qd_fail "quotad ended with exit code $?"
}

# With clients that go away, lost requests and repeats: all is admitted, each report books once, and every entry's
# money is still price x quantity.
replays_with_losses() {
    fresh_server
    ctl replay --format "$1" --trace "$2" --tenants 50 --seed 12 >"$T/replay" 2>&1 || qd_fail "$(cat "$T/replay")"
    want=$(expected "$1" "$2") || qd_fail "$want"
    expect_eq "$(total offered "$T/replay")" "${want% gpu_ms=*}"
    expect_eq "$(total admitted "$T/replay")" "${want% gpu_ms=*}"
    expect_match "$(cat "$T/replay")" 'twice'
    entries "$T/entries"
    got=$(booked "$T/entries") || qd_fail "$got"
    expect_eq "${got% gpu_ms=*}" "$(total booked "$T/replay")"
    qd_stop TERM || qd_fail "quotad ended with exit code $?"
}

traces_azure_excerpt_books_the_files_sums() { replays_whole azure "$traces/azure_conv.csv"; }
traces_azure_excerpt_survives_losses() { replays_with_losses azure "$traces/azure_conv.csv"; }
traces_mooncake_excerpt_books_the_files_sums() { replays_whole mooncake "$traces/mooncake.jsonl"; }
traces_mooncake_excerpt_survives_losses() { replays_with_losses mooncake "$traces/mooncake.jsonl"; }
traces_full_azure_conv() { replays_whole azure "$QUOTAD_TRACE_DATA/azure_llm_2023_conv.csv"; }
traces_full_azure_conv_survives_losses() { replays_with_losses azure "$QUOTAD_TRACE_DATA/azure_llm_2023_conv.csv"; }
traces_full_azure_code() { replays_whole azure "$QUOTAD_TRACE_DATA/azure_llm_2023_code.csv"; }
traces_full_mooncake() { replays_whole mooncake "$QUOTAD_TRACE_DATA/mooncake_conversation.jsonl"; }

qd_run traces_azure_excerpt_books_the_files_sums traces_azure_excerpt_survives_losses \
    traces_mooncake_excerpt_books_the_files_sums traces_mooncake_excerpt_survives_losses
full='traces_full_azure_conv traces_full_azure_conv_survives_losses traces_full_azure_code traces_full_mooncake'
# shellcheck disable=SC2086 # a list of names
if [ -n "${QUOTAD_TRACE_DATA:-}" ]; then
    qd_run $full
else
    qd_skip "QUOTAD_TRACE_DATA names no folder of whole traces" $full
fi
qd_done
