# Envoy's ShouldRateLimit, TLS, and what a Redis-backed limiter's Redis does: sourced by run.sh.

# Rules r000000 ... each with a limit for every user, and one, `spent`, that is used up at once.
write_rules() { # FOLDER COUNT
    mkdir -p "$1"
    awk -v count="$2" 'BEGIN {
        rule = "  - {key: rule, value: %s, descriptors: [{key: user, rate_limit: {unit: %s, requests_per_unit: %s}}]}\n"
        print "domain: bench\ndescriptors:"
        printf rule, "spent", "day", 1
        for (i = 0; i < count; i++) {
            printf rule, sprintf("r%06d", i), "hour", "4000000000"
        }
    }' >"$1/bench.yaml"
}

# Whether the numbers of another process' load are worth anything: `denied` is what the bodies ask for, a tenth.
rls_load() { # LABEL RULES ARGUMENT...
    label=$1 rules=$2
    shift 2
    # shellcheck disable=SC2086
    load "$label" 1 "$grpc" "$server" --rules "$rules" "$@"
    [ "$(get denied "$T/load")" -gt 0 ] || die "$label: nobody was over a limit"
}

bench_rls() {
    echo "== ShouldRateLimit against CheckQuota"
    holds=4M
    write_rules "$T/rules100" 100
    rm -rf "$T/data"
    start_on 0 1 "$T/data" "$holds" --rls-config "$T/rules100"
    # shellcheck disable=SC2086
    warm_up $unary
    : >"$T/ratios"
    : >"$T/rates"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        load "checks $round" 1 "$grpc" "$server" $unary --warmup "$steady_s" --seconds "$seconds"
        checks=$(get rate "$T/load")
        # shellcheck disable=SC2086
        rls_load "limits $round" 100 $unary --warmup 0.5 --seconds "$seconds"
        limits=$(get rate "$T/load")
        echo "$limits" >>"$T/rates"
        divide "$limits" "$checks" 4 >>"$T/ratios"
        note "round $round: $limits ShouldRateLimit/s, $checks CheckQuota/s; server core $(get server_cpu_percent "$T/load")%"
    done
    row "ShouldRateLimit / CheckQuota" "$(median <"$T/ratios")" ratio '>=' 0.90
    rls_top=$(median <"$T/rates")
    stop_server
}

# The same 100,000 counters under 100 rules and under 100,000: only the finding of the rule differs.
bench_rules() {
    echo "== 100,000 rules against 100"
    write_rules "$T/rules100" 100
    write_rules "$T/rules100k" 100000
    holds=1M
    : >"$T/ratios"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        for count in 100 100000; do
            folder=$T/rules100
            [ "$count" -eq 100 ] || folder=$T/rules100k
            rm -rf "$T/data"
            start_on 0 1 "$T/data" "$holds" --rls-config "$folder"
            # shellcheck disable=SC2086
            rls_load "$count rules $round" "$count" $unary --tenants 100000 --warmup 4 --seconds "$seconds"
            eval "rate_$count=\$(get rate \"\$T/load\")"
            stop_server
        done
        # shellcheck disable=SC2154 # by eval
        divide "$rate_100" "$rate_100000" 4 >>"$T/ratios"
        note "round $round: $rate_100 calls/s under 100 rules, $rate_100000 under 100,000"
    done
    row "a call under 100,000 rules / under 100" "$(median <"$T/ratios")" ratio '<=' 1.3
}

start_redis() {
    binary=$(command -v redis-check-rdb) || die "needs redis (Debian package redis-tools)"
    # Debian has one binary for all of Redis' programs: its name says what it is.
    ln -sf "$binary" "$T/redis-server"
    redis_port=$((20000 + $$ % 20000))
    taskset -c 0 "$T/redis-server" --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no \
        --dir "$T" >"$T/redis.log" 2>&1 &
    redis=$!
    tries=0
    : >>"$T/redis.log"
    until grep -q 'Ready to accept connections' "$T/redis.log"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 500 ] || ! kill -0 "$redis" 2>/dev/null; then
            cat "$T/redis.log" >&2
            die "redis-server did not come up"
        fi
        sleep 0.02
    done
}

# Neither has the other's work: Redis writes nothing to disk and decides nothing, and no limiter is in front of it.
bench_redis() {
    echo "== 64 in flight: a Redis with INCRBY and EXPIRE for each descriptor, and ShouldRateLimit"
    write_rules "$T/rules100" 100
    rm -rf "$T/data"
    holds=1M
    start_on 0 1 "$T/data" "$holds" --rls-config "$T/rules100"
    start_redis
    : >"$T/rates"
    : >"$T/ours"
    : >"$T/ratios"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        # shellcheck disable=SC2086
        $prefer taskset -c 1 "$build/tests/bench/bench_redis_load" --port "$redis_port" --in-flight 64 --keys 10000 \
            --warmup 0.5 --seconds "$seconds" >"$T/redis_load" 2>&1 || die "redis: $(cat "$T/redis_load")"
        theirs=$(get rate "$T/redis_load")
        rls_load "64 in flight $round" 100 --connections 1 --in-flight 64 --warmup 1 --seconds "$seconds"
        ours=$(get rate "$T/load")
        echo "$theirs" >>"$T/rates"
        echo "$ours" >>"$T/ours"
        divide "$ours" "$theirs" 3 >>"$T/ratios"
        note "round $round: Redis $theirs descriptors/s, quotad $ours calls/s"
    done
    kill -TERM "$redis"
    wait "$redis"
    stop_server
    printf 'reference: Redis alone, INCRBY + EXPIRE, 64 in flight|%s|descriptors/s|none|true\n' "$(median <"$T/rates")" >>"$list"
    printf 'ShouldRateLimit, one connection, 64 in flight|%s|calls/s|none|true\n' "$(median <"$T/ours")" >>"$list"
    printf 'ShouldRateLimit / Redis alone|%s|ratio|none|true\n' "$(median <"$T/ratios")" >>"$list"
}

make_certificate() { # FOLDER: an authority of its own, and a certificate of 127.0.0.1
    mkdir -p "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench-ca \
        -keyout "$1/ca.key" -out "$1/ca.pem" >"$T/openssl.log" 2>&1 &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 \
            -keyout "$1/node.key" -out "$1/node.csr" >>"$T/openssl.log" 2>&1 &&
        echo "subjectAltName=IP:127.0.0.1" >"$1/san" &&
        openssl x509 -req -in "$1/node.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 2 \
            -extfile "$1/san" -out "$1/node.pem" >>"$T/openssl.log" 2>&1 || die "openssl: $(cat "$T/openssl.log")"
    chmod 600 "$1/node.key"
}

bench_tls() {
    echo "== CheckQuota over TLS against plaintext, 64 streams a connection"
    make_certificate "$T/tls"
    holds=4M
    streams='--connections 8 --in-flight 64'
    : >"$T/ratios"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        start_server 0 1
        # shellcheck disable=SC2086
        load "plain $round" 1 "$grpc" "$server" $streams --warmup 4 --seconds "$seconds"
        plain=$(get rate "$T/load")
        stop_server
        rm -rf "$T/data"
        start_on 0 1 "$T/data" "$holds" --tls-cert "$T/tls/node.pem" --tls-key "$T/tls/node.key"
        # shellcheck disable=SC2086
        load "tls $round" 1 "$grpc" "$server" $streams --tls-ca "$T/tls/ca.pem" --warmup 4 --seconds "$seconds"
        secured=$(get rate "$T/load")
        stop_server
        divide "$secured" "$plain" 4 >>"$T/ratios"
        note "round $round: $secured calls/s over TLS, $plain plain; server core $(get server_cpu_percent "$T/load")%," \
            "load core $(get client_cpu_percent "$T/load")%"
    done
    row "CheckQuota over TLS / plaintext, 64 streams a connection" "$(median <"$T/ratios")" ratio '>=' 0.60
}
