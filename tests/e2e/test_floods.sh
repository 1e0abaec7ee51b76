#!/bin/sh
# X3: whatever is thrown at the port, the process lives, its memory stays within a bound, and within 10 s of the flood's
# end it serves as before. Loopback only. QD_LONG=1: longer, and 100,000 connects.
# ctest-timeout: 1200
. "${QUOTA_TESTLIB_SH:?run through ctest}"
flood=${QUOTAD_BUILD_DIR:?run through ctest}/tests/e2e/flood

SECONDS_OF_FLOOD=3
PEERS=10
STREAMERS=4
CONNECTS=3000
AT_ONCE=600
# X3 says 10 s, and --long asks for that; a machine that runs other tests beside this one may need more.
AFTER_S=30
OTHERS_PER_S=2 # calls of 20 a second that a long flood leaves others, at least
if [ -n "${QD_LONG:-}" ]; then
    SECONDS_OF_FLOOD=20
    PEERS=50
    STREAMERS=20
    CONNECTS=100000
    AFTER_S=10
    AT_ONCE=6000 # more than one address may have: what is over is turned away, and comes again
fi
# What a flood may cost: what the guard lets the heap grow by (server/rpc/guard.h), and what is read until it looks again.
MEMORY_MB=1024
GIVEN_BACK_MB=150
sanitized=
if nm "$QUOTAD_BIN" 2>/dev/null | grep -q __asan_init; then
    sanitized=yes
    MEMORY_MB=3000
    GIVEN_BACK_MB=3000 # it keeps what is freed for a while, and gives nothing back
    AFTER_S=60
fi

# Set for a node that speaks TLS; unquoted: no words, or several.
flood_tls=
ctl_tls=

rss_mb() {
    awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$QD_PID/status"
}

metric() { # NAME{LABELS}
    curl -s -m 5 "http://$QD_ADMIN/metrics" | awk -v name="$1" '$1 == name { print $2 }'
}

# How many MB the server grew, at most, while the flood ran: it prints what it did at its end.
rise() {
    before=$(rss_mb)
    most=$before
    while [ ! -s "$T/flood.out" ]; do
        now=$(rss_mb)
        [ "$now" -le "$most" ] || most=$now
        sleep 0.1
    done
    echo $((most - before))
}

# serves_again: every call of a client where the flood came from, and of another one's, succeeds.
serves_again() {
    "$flood" until "$QD_GRPC" -t "$AFTER_S" $flood_tls || qd_fail "does not serve $AFTER_S s after the flood's end"
    "$flood" until "$QD_GRPC" -t "$AFTER_S" -f 127.0.0.2 $flood_tls >/dev/null || qd_fail "does not serve others"
    # Where the flood came from it may take until the ban is over.
    deadline=$(($(date +%s) + AFTER_S))
    until "$QUOTACTL_BIN" --address "$QD_GRPC" check acme --model m $ctl_tls >"$T/check.out" 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || qd_fail "$(cat "$T/check.out")"
        sleep 0.2
    done
    expect_match "$(curl -s -m 5 "http://$QD_ADMIN/livez")" '^ok'
}

# flood_by KIND [OPTION...]: a flood from one address, and a client at another. $served: calls of its that succeeded.
flood_by() {
    kind=$1
    shift
    : >"$T/flood.out"
    "$flood" "$kind" "$QD_GRPC" -c "$PEERS" -t "$SECONDS_OF_FLOOD" $flood_tls "$@" >"$T/flood.out" &
    flooding=$!
    "$flood" call "$QD_GRPC" -t "$SECONDS_OF_FLOOD" -f 127.0.0.2 $flood_tls >"$T/call.out" &
    calling=$!
    rise=$(rise)
    wait "$flooding" || qd_fail "flood: $(cat "$T/flood.out")"
    wait "$calling"
    kill -0 "$QD_PID" 2>/dev/null || qd_fail "quotad is dead: $(tail -n 20 "$QD_LOG")"
    echo "$kind: $(cat "$T/flood.out"); meanwhile $(cat "$T/call.out"); $rise MB"
    [ "$rise" -le "$MEMORY_MB" ] || qd_fail "grew by $rise MB, more than $MEMORY_MB"
    served=$(sed 's/calls=\([0-9]*\) failed=\([0-9]*\).*/\1 \2/' "$T/call.out" | awk '{ print $1 - $2 }')
}

# A second or two may go by until a flood is cut off: that is most of a short one, and little of a long one.
others_are_served() {
    least=1
    [ -z "${QD_LONG:-}" ] || [ -n "$sanitized" ] || least=$((SECONDS_OF_FLOOD * OTHERS_PER_S))
    [ "$served" -ge "$least" ] || qd_fail "others are hardly served: $(cat "$T/call.out")"
}

# floods_of KIND...: each in turn; others are served meanwhile, everybody after it.
floods_of() {
    for kind in "$@"; do
        flood_by "$kind"
        others_are_served
        serves_again
    done
}

# others_are_served_by KIND [OPTION...]: after such a flood, whose first wave may hold everybody up for a second or more. Others
# are served as soon as it is cut off: a short flood may be over by then, and is not as short the second time. A sanitizer's
# allocator does not tell what is in use, so that such a node cuts off late, or not at all.
others_are_served_by() {
    [ -z "$sanitized" ] || return 0
    if [ "$served" -eq 0 ] && [ -z "${QD_LONG:-}" ]; then
        short=$SECONDS_OF_FLOOD
        SECONDS_OF_FLOOD=20
        serves_again
        flood_by "$@"
        SECONDS_OF_FLOOD=$short
    fi
    others_are_served
}

waves_of() { # KIND...
    for kind in "$@"; do
        flood_by "$kind"
        others_are_served_by "$kind"
        serves_again
    done
}

X3_connections_that_say_nothing() {
    flood_by silent -c "$AT_ONCE" -n "$CONNECTS"
    others_are_served
    serves_again
}

X3_stalls_in_the_preface() {
    floods_of half-preface
}

X3_stalls_before_the_settings() {
    floods_of no-settings
}

X3_a_tls_hello_on_a_plain_port() {
    floods_of client-hello
}

X3_idle_connections() {
    flood_by idle -c 200
    others_are_served
    serves_again
}

X3_garbage_bytes() {
    floods_of garbage
}

X3_rapid_resets() {
    waves_of reset reset-call
}

X3_hpack_bombs() {
    waves_of hpack-number hpack-string hpack-headers
    [ "$(metric 'quotad_connections_cut_total{reason="unanswered"}')" -gt 0 ] || qd_fail "nobody was cut off"
}

X3_a_megabyte_of_metadata() {
    floods_of metadata
}

X3_slow_readers() {
    waves_of slow
}

X3_reports_that_are_reset_or_not_read() {
    waves_of reset-report slow-report
}

X3_ping_floods() {
    waves_of ping ping-unread
}

X3_settings_floods() {
    waves_of settings settings-unread
}

X3_ten_thousand_streams_on_a_connection() {
    PEERS=$STREAMERS
    waves_of streams watch
}

# Whoever floods may share its address with others: a NAT's, a sidecar's.
X3_others_at_its_address_get_in() {
    (
        for _ in 1 2 3 4; do
            "$flood" hpack-headers "$QD_GRPC" -c 1 -t 1 >/dev/null
            sleep 1
        done
    ) &
    flooding=$!
    "$flood" call "$QD_GRPC" -t 8 >"$T/call.out"
    wait "$flooding"
    served=$(sed 's/calls=\([0-9]*\) failed=\([0-9]*\).*/\1 \2/' "$T/call.out" | awk '{ print $1 - $2 }')
    [ "$served" -ge 3 ] || qd_fail "$(cat "$T/call.out")"
    serves_again
}

# A silent connection is closed after 5 s, wherever it stalls.
X3_stalled_handshakes_end() {
    for kind in silent half-preface no-settings; do
        "$flood" "$kind" "$QD_GRPC" -c 5 -n 5 -t $((AFTER_S * 3)) >"$T/stall.out"
        expect_match "$(cat "$T/stall.out")" '^connects=5 closed=5 '
    done
}

# Probes ask the admin port: it must not hang on connections that have gone.
X3_half_requests_at_the_admin_port() {
    for round in 1 2 3; do
        "$flood" half-preface "$QD_ADMIN" -c 300 -n 300 -t 1 >"$T/admin.out"
        expect_match "$(curl -s -m 7 "http://$QD_ADMIN/livez")" '^ok' "round $round"
    done
}

# What a flood made the heap take is the system's again: gRPC clears away for a while, and 30 s after the last cut the heap
# is given back for the last time.
X3_memory_is_given_back() {
    deadline=$(($(date +%s) + 60))
    while [ "$(rss_mb)" -gt $((rss_at_start + GIVEN_BACK_MB)) ]; do
        [ "$(date +%s)" -lt "$deadline" ] || qd_fail "$(rss_mb) MB, $rss_at_start MB at the start"
        sleep 0.5
    done
}

at_most_192() { # PORT
    [ "$(sed -n 's/^open //p' "$T/drip.$1" | tail -n 1)" -le 192 ]
}

# drip PORT COUNT KIND: requests without an end from 127.0.0.3, a byte a second on each, until the case ends.
drip() {
    : >"$T/drip.$1"
    "$QUOTAD_BUILD_DIR/tests/e2e/drip" "$1" "$2" 127.0.0.3 "$3" >"$T/drip.$1" &
    drips="${drips:-} $!"
    trap 'kill $drips 2>/dev/null || true' EXIT
    tries=0
    until grep -q open "$T/drip.$1"; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "no connections"
        sleep 0.1
    done
    # More than an address may have: once no more are open, all have been let in, and the rest has been cut.
    [ "$2" -lt 200 ] || qd_soon at_most_192 "$1"
    sleep 0.3 # a request that is not whole by then is one that gives way (gate.h)
}

# Nor on those that are busy: at the address where they come from, too.
X2_a_drip_at_the_admin_port_leaves_room() {
    drip "${QD_ADMIN##*:}" 300 head
    for address in 127.0.0.2 127.0.0.3 127.0.0.2 127.0.0.3; do
        expect_match "$(curl -s -m 5 --interface "$address" "http://$QD_ADMIN/livez")" '^ok'
        sleep 0.3
    done
    [ "$(metric 'quotad_http_connections_cut_total{port="admin",reason="crowded"}')" -gt 0 ] || qd_fail "nobody was cut"
}

qd_start --dev
rss_at_start=$(rss_mb)
qd_run X3_stalled_handshakes_end \
    X3_half_requests_at_the_admin_port \
    X2_a_drip_at_the_admin_port_leaves_room \
    X3_connections_that_say_nothing \
    X3_stalls_in_the_preface \
    X3_stalls_before_the_settings \
    X3_a_tls_hello_on_a_plain_port \
    X3_idle_connections \
    X3_garbage_bytes \
    X3_rapid_resets \
    X3_hpack_bombs \
    X3_others_at_its_address_get_in \
    X3_a_megabyte_of_metadata \
    X3_slow_readers \
    X3_ping_floods \
    X3_settings_floods \
    X3_ten_thousand_streams_on_a_connection \
    X3_memory_is_given_back
qd_stop TERM || qd_bad=$((qd_bad + 1))

# --- reports: what is booked of them fills the store's buffers and cache, which stay (64 MB each, storage/) ---

qd_start --dev
rss_at_start=$(rss_mb)
qd_run X3_reports_that_are_reset_or_not_read X3_memory_is_given_back
qd_stop TERM || qd_bad=$((qd_bad + 1))

# --- many small ones: together they have all the calls that there may be (server/rpc/suspects.h) ---

# Each of them has fewer calls than either gateway, and one gateway shares their address.
X3_busy_gateways_stay_among_small_floods() {
    for address in 127.0.0.2 127.0.0.3; do
        "$flood" busy "$QD_GRPC" -c 1 -t $((SECONDS_OF_FLOOD * 2)) -f "$address" >"$T/busy.$address" &
        gateways="${gateways:-} $!"
    done
    sleep 1
    SECONDS_OF_FLOOD=$((SECONDS_OF_FLOOD + 1))
    PEERS=40
    flood_by modest -f 127.0.0.3
    wait $gateways
    for address in 127.0.0.2 127.0.0.3; do
        expect_match "$(cat "$T/busy.$address")" '^connects=1 closed=0 ' "$address"
    done
    [ "$(metric 'quotad_connections_cut_total{reason="calls"}')" -gt 0 ] || qd_fail "nobody was cut off"
    expect_eq "$(metric 'quotad_connections_cut_total{reason="most"}')" 0
    others_are_served_by modest -f 127.0.0.3
    serves_again
}

# None of them lasts until it is seen that it takes no answers (server/rpc/leavers.h).
X3_who_hangs_up_and_dials_again() {
    PEERS=40
    SECONDS_OF_FLOOD=$((SECONDS_OF_FLOOD + 3))
    for lasts_ms in 900 200; do
        for _ in 1 2 3; do # beside other tests the node may have no time to see it
            flood_by modest -l "$lasts_ms" -f 127.0.0.3
            serves_again
            [ "$served" -lt $((SECONDS_OF_FLOOD * 3)) ] || break
        done
        [ -n "$sanitized" ] || [ "$served" -ge $((SECONDS_OF_FLOOD * 3)) ] || qd_fail "others are hardly served: $(cat "$T/call.out")"
    done
    [ -n "$sanitized" ] || expect_in "$(cat "$QD_LOG")" 'its clients dial, call and hang up'
}

# busy_through PAUSE: a gateway with short deadlines is not cut off by a pause of the node. It is tried again: a machine that
# does not answer 3,000 calls a second in time cuts it off as if it reset them for nothing.
busy_through() {
    for _ in 1 2 3 4 5; do
        "$flood" hasty "$QD_GRPC" -t 3 >"$T/hasty" &
        hasty=$!
        sleep 1
        kill -STOP "$QD_PID"
        sleep "$1"
        kill -CONT "$QD_PID"
        wait "$hasty"
        ! grep -q ' closed=0 ' "$T/hasty" || return 0
        sleep 2.5 # its ban
    done
    qd_fail "after $1 s: $(cat "$T/hasty") $(grep 'cut off' "$QD_LOG")"
}

# What came while it stood still is no flood, though much of it is unanswered, and cancelled by now (server/rpc/standstill.h).
X3_a_node_that_stood_still_cuts_nobody_off() {
    [ -z "$sanitized" ] || qd_skip "a sanitized node does not answer 3,000 calls a second in time"
    for pause in 0.2 0.3 0.45 1.5; do
        busy_through "$pause"
    done
}

qd_start --dev
qd_run X3_a_node_that_stood_still_cuts_nobody_off
qd_stop TERM || qd_bad=$((qd_bad + 1))

qd_start --dev --threads 1
qd_run X3_busy_gateways_stay_among_small_floods X3_who_hangs_up_and_dials_again
qd_stop TERM || qd_bad=$((qd_bad + 1))

# --- over TLS: what costs nothing to send costs a handshake, and more to read ---

C=$T/certs
mkdir "$C"
sh "$QUOTAD_SOURCE_DIR/tests/lib/certs.sh" "$C" 2>"$T/certs.err" || qd_fail "$(cat "$T/certs.err")"

X3_floods_over_tls() {
    waves_of reset reset-call hpack-headers slow ping settings
}

# Whoever shakes no hands: nothing, half a ClientHello, HTTP/2 in clear. Each is closed.
X3_tls_handshakes_that_stall_end() {
    for kind in silent client-hello half-preface; do
        "$flood" "$kind" "$QD_GRPC" -c 5 -n 5 -t $((AFTER_S * 3)) >"$T/stall.out"
        expect_match "$(cat "$T/stall.out")" '^connects=5 closed=5 '
    done
    flood_tls=
    for kind in silent client-hello garbage; do
        : >"$T/flood.out"
        "$flood" "$kind" "$QD_GRPC" -c 200 -t "$SECONDS_OF_FLOOD" >"$T/flood.out" &
        flooding=$!
        "$flood" call "$QD_GRPC" -t "$SECONDS_OF_FLOOD" -f 127.0.0.2 -s >"$T/call.out"
        wait "$flooding"
        served=$(sed 's/calls=\([0-9]*\) failed=\([0-9]*\).*/\1 \2/' "$T/call.out" | awk '{ print $1 - $2 }')
        others_are_served
    done
    flood_tls=-s
    serves_again
}

qd_start --dev --tls-cert "$C/node.pem" --tls-key "$C/node.key"
rss_at_start=$(rss_mb)
flood_tls=-s
ctl_tls="--tls-ca $C/ca.pem"
qd_run X3_tls_handshakes_that_stall_end X3_floods_over_tls X3_memory_is_given_back
qd_stop TERM || qd_bad=$((qd_bad + 1))
flood_tls=
ctl_tls=

# --- descriptors ---

report() { # REQUEST
    "$QUOTACTL_BIN" --address "$QD_GRPC" report --tenant acme --model m --request-id "$1" --use input_tokens=1
}

X3_sixty_four_descriptors_and_five_hundred_connections() {
    expect_in "$(cat "$QD_LOG")" "few open files are allowed"
    : >"$T/flood.out"
    "$flood" silent "$QD_GRPC" -c 500 -t "$SECONDS_OF_FLOOD" -f 127.0.0.3 >"$T/flood.out" &
    flooding=$!
    booked=0
    while [ ! -s "$T/flood.out" ]; do # the store is not short of descriptors
        booked=$((booked + 1))
        expect_exit 0 report "during-$booked"
    done
    wait "$flooding"
    [ "$booked" -gt 0 ] || qd_fail "the flood was over at once"
    [ "$(metric quotad_connections)" -le 8 ] || qd_fail "$(metric quotad_connections) connections"
    serves_again
    expect_exit 0 report after
    expect_eq "$(metric quotad_ledger_errors_total)" 0
}

# All three ports at once: the store is not short of descriptors, and each port serves.
X3_sixty_four_descriptors_and_floods_of_every_port() {
    drip "$http_port" 100 body
    drip "${QD_ADMIN##*:}" 100 body
    : >"$T/flood.out"
    "$flood" silent "$QD_GRPC" -c 100 -t "$SECONDS_OF_FLOOD" -f 127.0.0.3 >"$T/flood.out" &
    flooding=$!
    booked=0
    while [ ! -s "$T/flood.out" ]; do
        booked=$((booked + 1))
        expect_exit 0 report "every-$booked"
        expect_match "$(curl -s -m 5 --interface 127.0.0.2 "http://$QD_ADMIN/livez")" '^ok'
        curl -s -m 5 -o "$T/page" --interface 127.0.0.2 "http://127.0.0.1:$http_port/healthcheck" || qd_fail "no answer"
    done
    wait "$flooding"
    [ "$booked" -gt 0 ] || qd_fail "the flood was over at once"
    expect_eq "$(metric quotad_ledger_errors_total)" 0
    open=$(find "/proc/$QD_PID/fd" | wc -l)
    [ "$open" -lt 64 ] || qd_fail "$open descriptors are in use"
}

# Two addresses may take all that there is. Who asks whether the node lives is turned away by it, so it does.
X3_a_full_node_is_alive() {
    : >"$T/flood.out"
    "$flood" idle "$QD_GRPC" -c 6 -t 10 -f 127.0.0.3 >"$T/flood.out" &
    first=$!
    "$flood" idle "$QD_GRPC" -c 6 -t 10 -f 127.0.0.4 >"$T/flood.4" &
    second=$!
    seen=''
    while [ ! -s "$T/flood.out" ]; do
        seen=$seen$(curl -s -m 5 -w '%{http_code}' "http://$QD_ADMIN/livez")
        sleep 0.2
    done
    wait "$first" "$second"
    expect_in "$seen" "ok, but connections are refused"
    case $seen in
    *503*) qd_fail "$seen" ;;
    esac
    serves_again
}

X3_fewer_descriptors_than_a_node_needs() {
    expect_exit 1 sh -c "ulimit -n 40; exec env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA \
        \"$QUOTAD_BIN\" --dev --data-dir $T/few --listen 127.0.0.1:0"
    expect_match "$err" '^quotad: 40 open files are allowed \(ulimit -n\); at least 64 are needed'
}

cat >"$T/quotad64" <<SH
#!/bin/sh
ulimit -n 64
exec "$QUOTAD_BIN" "\$@"
SH
chmod +x "$T/quotad64"
QUOTAD_REAL=$QUOTAD_BIN
QUOTAD_BIN=$T/quotad64
qd_start --dev --data-dir "$T/data64" --http-listen 127.0.0.1:0
http_port=$(qd_port 'rate limits over HTTP at port ')
QUOTAD_BIN=$QUOTAD_REAL
qd_run X3_sixty_four_descriptors_and_five_hundred_connections X3_sixty_four_descriptors_and_floods_of_every_port X3_a_full_node_is_alive X3_fewer_descriptors_than_a_node_needs
qd_done
