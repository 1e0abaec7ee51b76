#!/bin/sh
# The benchmarks: builds the release preset in a folder of its own, measures, prints a table, and writes
# build/bench/results.json, a list of {name, value, unit, target, met}. build/bench/details.txt has every single run.
#   sh tests/bench/run.sh           about 15 minutes
#   sh tests/bench/run.sh --quick   about 5 minutes: fewer and shorter rounds, smaller ledgers
#   sh tests/bench/run.sh ROW...    only these: core, commit, disk, query, export, start, unary, stream, latency, hot,
#                                   report, rls, rules, redis, tls (unary is measured for stream and latency, commit for report)
# `disk` replays the traces of deploy/examples, or the whole ones of the folder that QUOTAD_TRACE_DATA names.
# Ratios compare two things measured in turns in the same run; a figure is the median of its rounds. The server has
# core 0 and the load has core 1 (`hot`: two RPC threads on both, the load among them). Answers are `brief`.
# Exits 1 when something could not be measured, 0 otherwise, targets met or not. Run it on an idle machine: with others
# on its cores it measures them too.
set -u
cd "$(dirname "$0")/../.." || exit 1

quick=0
rows=''
for argument in "$@"; do
    case $argument in
    --quick) quick=1 ;;
    --help | -h)
        sed -n '2,13s/^# //p' "$0"
        exit 0
        ;;
    core | commit | disk | query | export | start | unary | stream | latency | hot | report | rls | rules | redis | tls) rows="$rows $argument" ;;
    *)
        echo "tests/bench/run.sh: unknown argument $argument; accepted: --quick, core, commit, disk, query, export, start, unary, stream, latency, hot, report, rls, rules, redis, tls" >&2
        exit 1
        ;;
    esac
done
[ -n "$rows" ] || rows='core commit disk query export start unary stream latency hot report rls rules redis tls'

rounds=5
seconds=3
if [ "$quick" -eq 1 ]; then
    rounds=3
    seconds=1.5
fi
ttl_ms=2000   # of every reservation; holds end on whole seconds, so on average 2.5 s after they are made
steady_s=3.2  # after this long as many holds end as are made
out=$PWD/build/bench
build=$out/build
details=$out/details.txt
list=$out/rows
T=$(mktemp -d "${TMPDIR:-/tmp}/quotad-bench-XXXXXX") || exit 1
server=''
yardstick=''
redis=''

cleanup() {
    # shellcheck disable=SC2086 # some pids
    [ -z "$server$yardstick$redis" ] || kill -TERM $server $yardstick $redis 2>/dev/null
    wait
    rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

die() {
    echo "tests/bench/run.sh: $*" >&2
    exit 1
}

wanted() {
    case " $rows " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# ---- Figures -----------------------------------------------------------------------------------------------------------

# row NAME VALUE UNIT COMPARISON TARGET: one row of the table; COMPARISON is <= or >=.
row() {
    met=$(awk -v v="$2" -v c="$4" -v t="$5" 'BEGIN { print ((c == "<=" ? v <= t : v >= t) ? "true" : "false") }')
    printf '%s|%s|%s|%s %s|%s\n' "$1" "$2" "$3" "$4" "$5" "$met" >>"$list"
    printf '   %s: %s %s (target %s %s)\n' "$1" "$2" "$3" "$4" "$5"
}

# note TEXT: how a figure came about.
note() {
    echo "   $*" | tee -a "$details"
}

# get KEY FILE: the value of a key=value line.
get() {
    sed -n "s/^$1=//p" "$2"
}

# median of the numbers in stdin
median() {
    sort -g | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'
}

# divide A B DIGITS
divide() {
    awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f\n", d, (b == 0 ? 0 : a / b) }'
}

print_table() {
    echo
    awk -F '|' '
        function pad(text, width) { return sprintf("%-" width "s", text) }
        { for (i = 1; i <= 4; i++) { cell[NR, i] = $i; if (length($i) > wide[i]) wide[i] = length($i) }
          met[NR] = ($5 == "true" ? "yes" : "NO") }
        END {
            split("name|value|unit|target", head, "|")
            for (i = 1; i <= 4; i++) if (length(head[i]) > wide[i]) wide[i] = length(head[i])
            line = ""; for (i = 1; i <= 4; i++) line = line pad(head[i], wide[i]) "  "
            print line "met"
            for (r = 1; r <= NR; r++) {
                line = ""; for (i = 1; i <= 4; i++) line = line pad(cell[r, i], wide[i]) "  "
                print line met[r]
            }
        }' "$list"
}

write_json() {
    awk -F '|' '
        BEGIN { printf "[" }
        { printf "%s\n  {\"name\": \"%s\", \"value\": %s, \"unit\": \"%s\", \"target\": \"%s\", \"met\": %s}",
                 (NR > 1 ? "," : ""), $1, $2, $3, $4, $5 }
        END { print "\n]" }' "$list" >"$out/results.json"
}

# ---- Servers and load --------------------------------------------------------------------------------------------------

# A little precedence over whatever else runs, where we may; QD_BENCH_PREFER='chrt -r 1' takes all of it.
prefer=${QD_BENCH_PREFER:-}
if [ -z "$prefer" ] && nice -n -10 true 2>/dev/null && [ "$(id -u)" -eq 0 ]; then
    prefer='nice -n -10'
fi

# start_server CORES THREADS: quotad with the benchmark's policy; sets $server, $grpc, $admin.
start_server() {
    rm -rf "$T/data"
    start_on "$1" "$2" "$T/data" "$holds"
}

# start_on CORES THREADS FOLDER HOLDS [OPTION...]: the same on a data directory that is there. The file of ports is
# written once the node is ready: at most 5 minutes after.
start_on() {
    cores=$1 threads=$2 folder=$3 table=$4
    shift 4
    rm -f "$T/ports"
    # shellcheck disable=SC2086 # $prefer may be empty
    $prefer taskset -c "$cores" "$build/server/quotad" --policy tests/bench/policy.yaml --data-dir "$folder" \
        --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --port-file "$T/ports" --threads "$threads" \
        --max-reservations "$table" --log-level warn "$@" >"$T/quotad.log" 2>&1 &
    server=$!
    tries=0
    until [ -s "$T/ports" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 30000 ] || ! kill -0 "$server" 2>/dev/null; then
            cat "$T/quotad.log" >&2
            die "quotad did not come up"
        fi
        sleep 0.01
    done
    grpc=127.0.0.1:$(get grpc "$T/ports")
    admin=127.0.0.1:$(get admin "$T/ports")
}

stop_server() {
    kill -TERM "$server"
    wait "$server" || die "quotad ended with exit code $?: $(tail -n 5 "$T/quotad.log")"
    server=''
}

# start_yardstick ALLOW_BYTES DENY_BYTES: the server that decides nothing; sets $yardstick and $nothing.
start_yardstick() {
    # shellcheck disable=SC2086
    $prefer taskset -c 0 "$build/tests/bench/bench_nothing_server" --allow-bytes "$1" --deny-bytes "$2" \
        --deny-percent 10 >"$T/yardstick.log" 2>&1 &
    yardstick=$!
    tries=0
    until [ -s "$T/yardstick.log" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || die "bench_nothing_server did not come up"
        sleep 0.02
    done
    nothing=$(sed -n 's/^gRPC //p' "$T/yardstick.log")
}

# load LABEL CORES TARGET PID ARGUMENT...: runs bench_load; its figures go to $T/load and to the details.
load() {
    label=$1 cores=$2 target=$3 pid=$4
    shift 4
    # shellcheck disable=SC2086
    $prefer taskset -c "$cores" "$build/tests/bench/bench_load" --target "$target" --server-pid "$pid" \
        --ttl-ms "$ttl_ms" "$@" >"$T/load" 2>"$T/load.err" || die "$label: $(cat "$T/load.err")"
    printf '%s: %s\n' "$label" "$(tr '\n' ' ' <"$T/load")" >>"$details"
}

metric() { # NAME: the sum of a metric's series
    curl -s "http://$admin/metrics" | awk -v n="$1" '$1 == n || index($1, n "{") == 1 { sum += $2 } END { printf "%.0f\n", sum }'
}

# ---- The core alone ----------------------------------------------------------------------------------------------------

bench_core() {
    echo "== the core alone"
    decisions=2000000
    [ "$quick" -eq 0 ] || decisions=500000
    # shellcheck disable=SC2086
    $prefer taskset -c 1 "$build/tests/bench/bench_core_decide" 1000000 "$decisions" >"$T/core" 2>&1 ||
        die "bench_core_decide: $(tail -n 5 "$T/core")"
    tee -a "$details" <"$T/core" | sed 's/^/   /'
    # Lines: mode, tenants, median ns, p99, mean, MiB of the whole slice, share of the table of holds in use.
    many=$(awk '$1 == "charge" && $2 == 1000000 && NF == 7 { print $3 }' "$T/core")
    few=$(awk '$1 == "charge" && $2 == 10000 && NF == 7 { print $3 }' "$T/core")
    mib=$(awk '$1 == "reserve" && $2 == 1000000 && NF == 7 { print $6 }' "$T/core")
    bytes=$(sed -n 's/.*narrow window \([0-9]*\),.* bucket \([0-9]*\),.*/\1 \2/p' "$T/core")
    row "core decision, 1M tenants, median" "$many" ns '<=' 400
    note "with a hold each (table full and steady): $(awk '$1 == "reserve" && $2 == 1000000 && NF == 7 { print $3 }' "$T/core") ns;" \
        "$(sed -n 's/^charge *1000000 \(in batches.*\)/\1/p' "$T/core")"
    row "core decision, 1M tenants / 10k tenants" "$(divide "$many" "$few" 2)" ratio '<=' 4
    count_misses
    row "live counter, sliding window of 60 slots" "${bytes% *}" bytes '<=' 400
    row "live counter, bucket" "${bytes#* }" bytes '<=' 128
    row "1M tenants x 4 limits and 1M holds" "$(divide "$mib" 1024 2)" GiB '<=' 2
}

# Cache lines that a decision misses, counted by valgrind with a last cache of 2 MiB, which the tenants exceed 30 times;
# and where: the functions that miss, for the details.
count_misses() {
    decisions=20000 # and as many before, to warm up, and in batches of 64 again
    all=$((2 * decisions + decisions / 64 * 64))
    valgrind --tool=callgrind --cache-sim=yes --LL=2097152,16,64 --toggle-collect=qd_core_check \
        --callgrind-out-file="$T/callgrind" "$build/tests/bench/bench_core_decide" 50000 "$decisions" charge alone \
        >"$T/misses" 2>&1 || die "valgrind: $(tail -n 5 "$T/misses")"
    misses=$(awk -v n="$all" '/LLd misses:/ { gsub(",", "", $4); printf "%.1f\n", $4 / n }' "$T/misses")
    instructions=$(awk -v n="$all" '/ I +refs:/ { gsub(",", "", $4); printf "%.0f\n", $4 / n }' "$T/misses")
    printf 'core decision, cache lines missed|%s|lines|counted and explained|true\n' "$misses" >>"$list"
    note "a decision takes $instructions instructions and misses $misses cache lines (last cache of 2 MiB):"
    callgrind_annotate --show=DLmr,DLmw --sort=DLmr "$T/callgrind" 2>/dev/null |
        awk -v n="$all" '/server\/core\// && !/x\)/ && shown < 10 {
            misses = $1; gsub(",", "", misses); where = $0; sub(/.*server\/core\//, "", where); sub(/ \[.*/, "", where)
            if (misses / n >= 0.05) { printf "     %.1f in %s\n", misses / n, where; shown++ }
        }' | tee -a "$details"
}

# ---- The server ----------------------------------------------------------------------------------------------------------

# The load of the unary rows: 16 connections with 32 calls in flight on each.
unary='--connections 16 --in-flight 32'

# How fast is this machine, and how long are the answers? Sizes the table of holds for the load: 90% of the checks make
# one, for 2.5 s on average. Its slices have more and fewer tenants, so the fullest are full at four fifths of the whole.
calibrate() {
    holds=4M
    start_server 0 1
    # shellcheck disable=SC2086
    load calibrate 1 "$grpc" "$server" $unary --warmup 8 --seconds 1.5
    allow_bytes=$(get allow_bytes "$T/load")
    deny_bytes=$(get deny_bytes "$T/load")
    [ "$allow_bytes" -gt 0 ] && [ "$deny_bytes" -gt 0 ] || die "calibrate: $(tr '\n' ' ' <"$T/load")"
    holds=$(awk -v r="$(get rate "$T/load")" -v t="$ttl_ms" 'BEGIN { printf "%d\n", r * 0.9 * (t / 1000 + 0.5) * 1.25 }')
    stop_server
    start_yardstick "$allow_bytes" "$deny_bytes"
}

# Fresh memory is slow the first time: touch the tables, and fill them with holds, before anything is measured.
warm_up() {
    # shellcheck disable=SC2086
    load "warm up" 1 "$grpc" "$server" "$@" --warmup 8 --seconds 0.5
}

bench_unary() {
    echo "== unary CheckQuota against a server that does nothing"
    calibrate
    start_server 0 1
    # shellcheck disable=SC2086
    warm_up $unary
    : >"$T/ratios"
    : >"$T/rates"
    : >"$T/nothings"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        load "nothing $round" 1 "$nothing" "$yardstick" $unary --warmup 0.5 --seconds "$seconds"
        base=$(get rate "$T/load")
        base_cpu=$(get server_cpu_percent "$T/load")
        # shellcheck disable=SC2086
        load "quotad $round" 1 "$grpc" "$server" $unary --warmup "$steady_s" --seconds "$seconds"
        rate=$(get rate "$T/load")
        echo "$rate" >>"$T/rates"
        echo "$base" >>"$T/nothings"
        divide "$rate" "$base" 4 >>"$T/ratios"
        note "round $round: $rate of $base calls/s; server core $(get server_cpu_percent "$T/load")% and $base_cpu%," \
            "load core $(get client_cpu_percent "$T/load")%; $(get denied "$T/load") denied," \
            "$(get allowed "$T/load") allowed"
    done
    top=$(median <"$T/rates")
    steady
    row "unary CheckQuota / do-nothing server" "$(median <"$T/ratios")" ratio '>=' 0.85
    note "medians: $top calls/s, do-nothing $(median <"$T/nothings") calls/s;" \
        "answers of $allow_bytes bytes (allowed) and $deny_bytes (denied)"
}

# Shows that the table is full and steady: holds made and ended over some seconds of the same load.
steady() {
    # shellcheck disable=SC2086
    (load steady 1 "$grpc" "$server" $unary --warmup "$steady_s" --seconds 3) &
    loading=$!
    sleep "$steady_s"
    sleep 0.5
    open1=$(metric quotad_reservations_open)
    ended1=$(metric quotad_reservations_expired_total)
    made1=$(curl -s "http://$admin/metrics" | awk '/^quotad_checks_total\{.*allow/ { sum += $2 } END { printf "%.0f\n", sum }')
    sleep 2
    open2=$(metric quotad_reservations_open)
    ended2=$(metric quotad_reservations_expired_total)
    made2=$(curl -s "http://$admin/metrics" | awk '/^quotad_checks_total\{.*allow/ { sum += $2 } END { printf "%.0f\n", sum }')
    wait "$loading" || die "the load failed"
    note "table of $holds holds: $open1 open, 2 s later $open2; meanwhile $((made2 - made1)) made and" \
        "$((ended2 - ended1)) expired"
    full=$(metric quotad_capacity_denials_total)
    [ "$full" -eq 0 ] || note "$full checks met a full table: the machine was not idle, run again"
}

bench_stream() {
    echo "== StreamQuota, batches of 64"
    : >"$T/streams"
    : >"$T/pairs"
    stop_server
    holds=2M # more decisions a second, more holds
    start_server 0 1
    warm_up --stream --batch 64 --connections 4 --in-flight 4
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        load "unary for stream $round" 1 "$grpc" "$server" $unary --warmup 0.5 --seconds 1
        one=$(get rate "$T/load")
        load "stream $round" 1 "$grpc" "$server" --stream --batch 64 --connections 4 --in-flight 4 \
            --warmup "$steady_s" --seconds "$seconds"
        rate=$(get rate "$T/load")
        echo "$rate" >>"$T/streams"
        divide "$rate" "$one" 2 >>"$T/pairs"
        note "round $round: $rate decisions/s, unary $one/s; server core $(get server_cpu_percent "$T/load")%," \
            "load core $(get client_cpu_percent "$T/load")%"
    done
    row "StreamQuota, batches of 64" "$(median <"$T/streams")" decisions/s '>=' 600000
    row "StreamQuota / unary" "$(median <"$T/pairs")" ratio '>=' 5
}

bench_latency() {
    echo "== latency at half of the top rate"
    half=$(divide "$top" 2 0)
    : >"$T/tails"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        load "latency $round" 1 "$grpc" "$server" --connections 4 --rate "$half" --warmup "$steady_s" \
            --seconds "$seconds"
        p50=$(get p50_ns "$T/load")
        p99=$(get p99_ns "$T/load")
        divide "$p99" "$p50" 2 >>"$T/tails"
        note "round $round: $(get rate "$T/load") calls/s at random: p50 $((p50 / 1000)) us, p99 $((p99 / 1000)) us," \
            "p99.9 $(($(get p999_ns "$T/load") / 1000)) us; server core $(get server_cpu_percent "$T/load")%"
    done
    load "latency of nothing" 1 "$nothing" "$yardstick" --connections 4 --rate "$half" --warmup 0.5 --seconds "$seconds"
    note "the do-nothing server at this rate: p50 $(($(get p50_ns "$T/load") / 1000)) us," \
        "p99 $(($(get p99_ns "$T/load") / 1000)) us"
    row "CheckQuota p99 / p50 at half the top rate" "$(median <"$T/tails")" ratio '<=' 10
}

bench_hot() {
    echo "== one hot tenant under a pool-wide limit, two RPC threads"
    stop_server
    start_server 0,1 2
    # shellcheck disable=SC2086
    warm_up $unary
    : >"$T/ratios"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        load "many $round" 0,1 "$grpc" "$server" $unary --warmup "$steady_s" --seconds "$seconds"
        many=$(get rate "$T/load")
        # shellcheck disable=SC2086
        load "hot $round" 0,1 "$grpc" "$server" $unary --tenants 1 --model bench-pooled --warmup "$steady_s" \
            --seconds "$seconds"
        hot=$(get rate "$T/load")
        divide "$hot" "$many" 4 >>"$T/ratios"
        note "round $round: one tenant $hot calls/s, 10,000 tenants $many calls/s; server $(get server_cpu_percent "$T/load")%," \
            "load $(get client_cpu_percent "$T/load")% of a core"
    done
    row "one hot tenant under a pool-wide limit / 10,000 tenants" "$(median <"$T/ratios")" ratio '>=' 0.80
}

# ---- The ledger --------------------------------------------------------------------------------------------------------

bench_commit() {
    echo "== groups of bookings, against RocksDB alone"
    groups=100
    [ "$quick" -eq 0 ] || groups=30
    mkdir "$T/commit"
    # shellcheck disable=SC2086
    $prefer "$build/tests/bench/bench_commit" "$T/commit" "$groups" >"$T/committed" 2>&1 ||
        die "bench_commit: $(tail -n 5 "$T/committed")"
    rm -rf "$T/commit"
    for size in 64 512; do
        ours=$(get "quotad_${size}_per_s" "$T/committed")
        theirs=$(get "bare_${size}_per_s" "$T/committed")
        note "groups of $size: $ours entries/s, RocksDB alone $theirs"
        row "commit of $size entries / RocksDB alone" "$(divide "$ours" "$theirs" 2)" ratio '>=' 0.70
    done
}

# A usage query over a day: the work must follow the rows that it reads, not the entries behind them.
bench_query() {
    echo "== QueryUsage over a day, by how many entries it holds"
    many=1000000
    [ "$quick" -eq 0 ] || many=300000
    mkdir "$T/query"
    # shellcheck disable=SC2086
    $prefer "$build/tests/bench/bench_query" "$T/query" "$many" 10000 >"$T/queried" 2>&1 ||
        die "bench_query: $(tail -n 5 "$T/queried")"
    rm -rf "$T/query"
    for when in booked reopened; do
        note "$when: $(get "${when}_many_us" "$T/queried") us over $many entries, $(get "${when}_few_us" "$T/queried") us" \
            "over 10000 of the same tenants, models and quarter hours"
    done
    row "QueryUsage over $many entries / over 10000" \
        "$(divide "$(get booked_many_us "$T/queried")" "$(get booked_few_us "$T/queried")" 2)" ratio '<=' 1.5
    row "QueryUsage over $many entries / over 10000, after a restart" \
        "$(divide "$(get reopened_many_us "$T/queried")" "$(get reopened_few_us "$T/queried")" 2)" ratio '<=' 1.5
}

# fill FOLDER ENTRIES TENANTS DAYS: a data directory with a ledger.
fill() {
    mkdir "$1"
    "$build/tests/bench/bench_fill" "$@" >"$T/filled" 2>&1 || die "bench_fill: $(tail -n 5 "$T/filled")"
    note "a ledger of $2 entries of $3 tenants over $4 days, $(get entries_per_s "$T/filled") entries/s"
}

now_s() {
    date +%s.%N
}

# minus A B: seconds
minus() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a - b }'
}

# CPU seconds of a process so far
cpu_s() {
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.2f\n", ($12 + $13) / hz }' "/proc/$1/stat"
}

# All of `quotactl ledger export`, from its start to its end, against a node that does nothing else.
bench_export() {
    echo "== quotactl ledger export: quotad on core 0, quotactl on core 1"
    entries=1000000
    [ "$quick" -eq 0 ] || entries=300000
    fill "$T/export" "$entries" 10000 10
    start_on 0 1 "$T/export" 100k
    : >"$T/jsonl"
    : >"$T/csv"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        for format in jsonl csv; do
            used=$(cpu_s "$server")
            from=$(now_s)
            # shellcheck disable=SC2086
            $prefer taskset -c 1 "$build/client/ctl/quotactl" ledger export --format "$format" --address "$grpc" \
                >/dev/null 2>"$T/exported" || die "export: $(cat "$T/exported")"
            took=$(minus "$(now_s)" "$from")
            grep -q "^end; later: --cursor $entries\$" "$T/exported" || die "export: $(cat "$T/exported")"
            divide "$entries" "$took" 0 >>"$T/$format"
            note "round $round, $format: $took s, of which quotad computed $(minus "$(cpu_s "$server")" "$used") s"
        done
    done
    stop_server
    rm -rf "$T/export"
    row "ledger export, JSON lines" "$(median <"$T/jsonl")" entries/s '>=' 500000
    row "ledger export, CSV" "$(median <"$T/csv")" entries/s '>=' 500000
}

# From the start of the process until /readyz says ok, after kill -9, on both cores. Each tenant has a budget to take in (its
# rates have let everything pass by then): a million counters, once with an entry each, once with ten.
bench_start() {
    echo "== from start to ready, after kill -9"
    big=10000000
    tenants=1000000
    if [ "$quick" -eq 1 ]; then
        big=1000000
        tenants=100000
    fi
    for entries in "$tenants" "$big"; do
        fill "$T/start" "$entries" "$tenants" 30
        : >"$T/starts"
        for round in first 1 2 3; do
            from=$(now_s)
            start_on 0,1 0 "$T/start" 100k --max-counters 5M --root-counters 0
            until curl -sf "http://$admin/readyz" >/dev/null; do sleep 0.005; done
            took=$(minus "$(now_s)" "$from")
            note "$entries entries, start $round: $took s; $(metric quotad_counters) live counters"
            # The first start finds a ledger and nothing else: what later ones find, it leaves within this time.
            if [ "$round" = first ]; then sleep 5; else echo "$took" >>"$T/starts"; fi
            kill -KILL "$server"
            wait "$server" 2>/dev/null
            server=''
        done
        median <"$T/starts" >"$T/start.$entries"
        rm -rf "$T/start"
    done
    row "start to ready, $big entries of $tenants tenants" "$(cat "$T/start.$big")" s '<=' 10
    printf 'start to ready, %s entries / %s|%s|ratio|stated|true\n' "$big" "$tenants" \
        "$(divide "$(cat "$T/start.$big")" "$(cat "$T/start.$tenants")" 1)" >>"$list"
    note "with $tenants entries: $(cat "$T/start.$tenants") s"
}

# Real traces, two entries a request (the gateway's tokens, the pool's GPU time), each with its idempotency key, its rollup
# and its closed reservation; then all of the store's files after a compaction.
bench_disk() {
    echo "== bytes of an entry on the disk"
    traces=${QUOTAD_TRACE_DATA:-deploy/examples/traces}
    runs=1
    [ -n "${QUOTAD_TRACE_DATA:-}" ] || runs='1 2 3 4 5' # the excerpts are short: 66 kB of options would be a tenth
    rm -rf "$T/ports" "$T/data"
    sed -n '/^cat >"$T\/policy.yaml"/,/^END$/p' tests/e2e/test_traces.sh | sed '1d;$d' >"$T/traces.yaml"
    env -u QUOTAD_TRACE_DATA "$build/server/quotad" --policy "$T/traces.yaml" --data-dir "$T/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
        --port-file "$T/ports" --log-level warn >"$T/quotad.log" 2>&1 &
    server=$!
    tries=0
    until [ -s "$T/ports" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || die "quotad did not come up: $(cat "$T/quotad.log")"
        sleep 0.02
    done
    for trace in "$traces"/*.csv "$traces"/*.jsonl; do
        format=azure
        [ "${trace%.jsonl}" = "$trace" ] || format=mooncake
        for run in $runs; do
            "$build/client/ctl/quotactl" --address "127.0.0.1:$(get grpc "$T/ports")" replay --format "$format" \
                --trace "$trace" --tenants 50 --run "$(basename "$trace")-$run" >"$T/replay" 2>&1 ||
                die "replay: $(tail -n 3 "$T/replay")"
        done
    done
    stop_server
    "$build/tests/bench/bench_disk" "$T/data" >"$T/disk" 2>&1 || die "$(cat "$T/disk")"
    rm -rf "$T/data"
    note "$(get entries "$T/disk") entries of $(cd "$traces" && echo *.csv *.jsonl), $(echo $runs | wc -w) times: $(get bytes "$T/disk") bytes in all"
    row "disk, all files after a compaction" "$(get bytes_per_entry "$T/disk")" "bytes/entry" '<=' 120
}

# 256 reports without a reservation in flight, each booked with one sync.
bench_report() {
    echo "== durable ReportUsage, 256 in flight"
    in_flight='--connections 16 --in-flight 16'
    [ -z "$server" ] || stop_server
    holds=2M
    start_server 0 1
    # shellcheck disable=SC2086
    warm_up $in_flight
    : >"$T/ratios"
    : >"$T/tails"
    group_us=$(get bare_256_group_us "$T/committed")
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        load "checks $round" 1 "$grpc" "$server" $in_flight --warmup 1 --seconds "$seconds"
        checks=$(get rate "$T/load")
        # shellcheck disable=SC2086
        load "reports $round" 1 "$grpc" "$server" $in_flight --report --warmup 1 --seconds "$seconds"
        reports=$(get rate "$T/load")
        p99_us=$(($(get p99_ns "$T/load") / 1000))
        divide "$reports" "$checks" 4 >>"$T/ratios"
        divide "$p99_us" "$group_us" 2 >>"$T/tails"
        note "round $round: $reports reports/s of $checks checks/s; p50 $(($(get p50_ns "$T/load") / 1000)) us," \
            "p99 $p99_us us, a bare batch of 256 takes $group_us us; server core $(get server_cpu_percent "$T/load")%"
    done
    row "ReportUsage, durable / CheckQuota" "$(median <"$T/ratios")" ratio '>=' 0.30
    row "ReportUsage p99 / one synced batch of 256" "$(median <"$T/tails")" ratio '<=' 3
}

# ---- Envoy's calls, and others' ways ---------------------------------------------------------------------------------

. tests/bench/network.sh

# ---- What runs -----------------------------------------------------------------------------------------------------------

started=$(date +%s)
[ "$(nproc)" -ge 2 ] || die "needs two cores: one for the server, one for the load"
command -v taskset >/dev/null || die "needs taskset (Debian package util-linux)"
sh deploy/packages.sh --test || exit 1
if wanted redis; then sh deploy/packages.sh --bench || exit 1; fi
mkdir -p "$out"
: >"$list"
: >"$details"
echo "== build"
if ! { cmake --preset release -B "$build" && cmake --build "$build" --target quotad bench_nothing_server bench_load \
    bench_core_decide bench_commit bench_disk bench_fill bench_query quotactl \
    $(if wanted redis; then echo bench_redis_load; fi); } >"$out/build.log" 2>&1; then
    tail -n 30 "$out/build.log" >&2
    die "the build failed; all of it: $out/build.log"
fi
printf 'machine: %s, %s cores; load average before: %s\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(cut -d ' ' -f 1-3 /proc/loadavg)" |
    tee -a "$details"

if wanted core; then bench_core; fi
if wanted commit || wanted report; then bench_commit; fi
if wanted query; then bench_query; fi
if wanted export; then bench_export; fi
if wanted start; then bench_start; fi
if wanted disk; then bench_disk; fi
if wanted unary || wanted stream || wanted latency; then bench_unary; fi
if wanted latency; then bench_latency; fi
if wanted stream; then bench_stream; fi
if [ -n "$yardstick" ]; then
    kill -TERM "$yardstick"
    wait "$yardstick"
    yardstick=''
fi
if wanted hot; then
    if [ -z "$server" ]; then
        holds=4M
        start_server 0 1
    fi
    bench_hot
fi
if wanted report; then bench_report; fi
[ -z "$server" ] || stop_server
if wanted rls; then bench_rls; fi
if wanted rules; then bench_rules; fi
if wanted redis; then bench_redis; fi
if wanted tls; then bench_tls; fi

print_table
write_json
echo
echo "wrote build/bench/results.json; every run: build/bench/details.txt; took $(($(date +%s) - started)) s"
