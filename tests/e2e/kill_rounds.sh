# For the tests that kill a node again and again under load: sourced after $QUOTA_TESTLIB_SH.
#
#   rounds_start NAME SEED   a node and a load on it (tool/ledger_load.c); the seed is printed, QD_SEED goes before it
#   rounds_run COUNT         kill -9 at a random instant, `after_kill`, start on the same directory, wait for /readyz;
#                            `verify` after every tenth and the last
#   rounds_end               the load gets its last answers and ends; the ledger is exported to $T/export
#
# A script may redefine after_kill (what becomes of the files) and set preload (what lies beneath the node).
tool=${QUOTAD_BUILD_DIR:?run through ctest}/tests/e2e
compare=${QUOTAD_SOURCE_DIR:?run through ctest}/tests/e2e/tool/compare_ledger.awk
load_threads=6
load_pid=''
preload=''

# Under a sanitizer a node starts and works many times more slowly.
round_count() { # NORMAL LONG SANITIZED
    if [ -n "${QD_ROUNDS:-}" ]; then
        echo "$QD_ROUNDS"
    elif grep -q __asan_init "$QUOTAD_BIN"; then
        echo "$3"
    elif [ -n "${QD_LONG:-}" ]; then
        echo "$2"
    else
        echo "$1"
    fi
}

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

after_kill() {
    :
}

node() {
    LD_PRELOAD=$preload
    export LD_PRELOAD
    node_code=0
    qd_start --policy "$T/policy.yaml" || node_code=$?
    unset LD_PRELOAD
    echo "$QD_PID" >"$T/pid"
    return $node_code
}

# random BOUND: the next number below it, in $drawn.
random() {
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    drawn=$((seed / 65536 % $1))
}

nap() { # MILLISECONDS
    sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
}

# Start the node and wait until it is ready; how long that took is added to $T/ready_ms.
node_again() {
    began=$(date +%s%N)
    node || exit 1
    tries=0
    until [ "$(curl -s "http://$QD_ADMIN/readyz")" = ready ]; do
        tries=$((tries + 1))
        [ $tries -lt 1200 ] || {
            echo "not ok X5_ready_again (not ready after a minute: $(curl -s "http://$QD_ADMIN/readyz?verbose"))"
            exit 1
        }
        sleep 0.05
    done
    echo $((($(date +%s%N) - began) / 1000000)) >>"$T/ready_ms"
    echo "$QD_GRPC" >"$T/address.new"
    mv "$T/address.new" "$T/address"
}

# A start that is killed before it is one.
killed_start() {
    # shellcheck disable=SC2034 # qd_start's
    QD_LOG=$T/quotad.killed.log
    env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA LD_PRELOAD="$preload" \
        QUOTAD_LISTEN=127.0.0.1:0 QUOTAD_ADMIN_LISTEN=127.0.0.1:0 QUOTAD_DATA_DIR="$T/data" \
        "$QUOTAD_BIN" --policy "$T/policy.yaml" >"$QD_LOG" 2>&1 &
    QD_PID=$!
    random 400
    nap "$drawn"
    kill -9 "$QD_PID"
    wait "$QD_PID" 2>/dev/null
}

rounds_policy() {
    cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
prices:
  m: {input_tokens: $1/1M, output_tokens: $2/1M}
plans:
  pro: {requests: 100M/min, cost: $50k/month, input_tokens: 100G/month}
tenants:
  "*": {plan: pro}
END
}

rounds_start() { # NAME SEED
    seed=${QD_SEED:-$2}
    echo "seed $1 $seed"
    seed=$((seed % 2147483648))
    rounds_policy
    # The very first starts end early: nothing is half made.
    round=0
    for _ in 1 2 3; do
        killed_start
        after_kill
    done
    node_again
    "$tool/ledger_load" "$T/address" "$T/load" "$load_threads" "$seed" >"$T/load.out" 2>&1 &
    load_pid=$!
}

verified() {
    ctl verify >"$T/verified" 2>&1 || {
        cat "$T/verified"
        qd_fail "verify, in round $1"
    }
}

rounds_run() { # COUNT
    round=0
    while [ $round -lt "$1" ] && kill -0 "$load_pid" 2>/dev/null; do
        round=$((round + 1))
        random 1200
        nap "$drawn"
        kill -9 "$QD_PID"
        wait "$QD_PID" 2>/dev/null
        QD_PID=''
        after_kill
        random 5
        if [ "$drawn" -eq 0 ]; then
            killed_start
            after_kill
        fi
        node_again
        if [ $((round % 10)) -eq 0 ] || [ $round -eq "$1" ]; then
            (verified $round) || exit 1
        fi
    done
    echo "note: $round kills; ready again after $(sort -n "$T/ready_ms" | awk '
        { a[NR] = $1 } END { printf "%d ms (median), %d ms (longest)", a[int((NR + 1) / 2)], a[NR] }')"
}

rounds_end() {
    kill -TERM "$load_pid" 2>/dev/null
    load_code=0
    wait "$load_pid" || load_code=$?
    load_pid=''
    cat "$T/load.out"
    ctl ledger export >"$T/export" 2>"$T/export.err" || {
        cat "$T/export.err"
        exit 1
    }
    cat "$T"/load.[0-9]* "$T/export" | awk -f "$compare" >"$T/differences"
    echo "note: $(tail -n 1 "$T/differences")"
}

# --- what must be so after it ---

load_had_the_same_answers() {
    [ "$load_code" -eq 0 ] || qd_fail "the load ended with $load_code: $(cat "$T/load.out")"
}

ledger_is_what_was_acknowledged() {
    expect_match "$(cat "$T/differences")" '^[1-9][0-9]* acknowledged, 0 of unknown outcome, [1-9][0-9]* entries, 0 differences$'
}

# used TENANT LIMIT: what it has used, as a bare number.
used() {
    ctl limits "$1" -o json | awk -v name="\"name\":\"$2\"," '
        $1 == name { on = 1 }
        on && /"used":/ { gsub(/[^0-9]/, ""); print; exit }'
}

used_is_what_the_ledger_says() {
    for tenant in acme beta gamma; do
        expect_eq "$(used $tenant pro.input_tokens)" "$(awk -v t=$tenant '
            $0 ~ "\"tenant\":\"" t "[/\"]" && match($0, /"input_tokens","amount":[0-9]+/) {
                sum += substr($0, RSTART + 24, RLENGTH - 24)
            }
            END { printf "%d", sum }' "$T/export")"
    done
}

# The comparison itself: it finds what it is there to find.
comparison_notices() {
    cat "$T"/load.[0-9]* >"$T/logs"
    sed 7d "$T/export" | cat "$T/logs" - | awk -f "$compare" >"$T/out"
    expect_match "$(cat "$T/out")" '^lost: '
    sed 7p "$T/export" | cat "$T/logs" - | awk -f "$compare" >"$T/out"
    expect_match "$(cat "$T/out")" '^twice: '
    sed '7s/"request_id":"/&x/' "$T/export" | cat "$T/logs" - | awk -f "$compare" >"$T/out"
    expect_match "$(cat "$T/out")" '^nobody sent: '
    sed '7s/"input_tokens","amount":/&1/' "$T/export" | cat "$T/logs" - | awk -f "$compare" >"$T/out"
    expect_match "$(cat "$T/out")" '^other content: '
}
