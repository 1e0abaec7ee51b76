# A node of the interop suite, on a port of each kind, and how cases are told. run.sh sources it.
# Needs $T (a temporary folder), $quotad. Sets $kind, $grpc, $admin, $server (its pid) while a node is up, and $certs.
# shellcheck shell=sh disable=SC2154,SC2034 # run.sh sets and uses them

cases=$T/cases
certs=$T/certs
server=''
: >"$cases"

# say LINE: a case.
say() {
    echo "$*" | tee -a "$cases"
}

# fails NAME FILE: a case that failed, and what a program printed.
fails() {
    say "not ok $1"
    sed 's/^/    /' "$2"
}

# skip REASON NAME...: cases that are left out.
skip() {
    reason=$1
    shift
    for name in "$@"; do
        say "skip $name: $reason"
    done
}

finish() {
    good=$(grep -c '^ok ' "$cases")
    bad=$(grep -c '^not ok ' "$cases")
    echo "$good passed, $bad failed, $(grep -c '^skip ' "$cases") skipped"
    [ "$bad" -eq 0 ] && [ "$good" -gt 0 ]
    exit
}

make_certs() {
    mkdir "$certs"
    sh tests/lib/certs.sh "$certs" >"$T/openssl" 2>&1 || {
        fails certificates_are_made "$T/openssl"
        finish
    }
}

make_rls_folder() {
    mkdir "$T/rls"
    cat >"$T/rls/interop.yaml" <<'YAML'
domain: interop
descriptors:
  - {key: path, value: /buy, rate_limit: {unit: year, requests_per_unit: 500}}
YAML
}

# start_node KIND: with an empty ledger. plain; tls: the node has a certificate; mtls: and its clients must.
start_node() {
    kind=$1
    set --
    [ "$kind" = plain ] || set -- --tls-cert "$certs/served.pem" --tls-key "$certs/served.key"
    [ "$kind" != mtls ] || set -- "$@" --tls-client-ca "$certs/ca.pem" --tls-client-auth require
    rm -f "$T/ports"
    env -i PATH="$PATH" "$quotad" --policy tests/interop/policy.yaml --rls-config "$T/rls" --data-dir "$T/data_$kind" \
        --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --port-file "$T/ports" "$@" >"$T/log" 2>&1 &
    server=$!
    tries=0
    until [ -s "$T/ports" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 1500 ] || ! kill -0 "$server" 2>/dev/null; then
            fails "quotad_${kind}_comes_up" "$T/log"
            finish
        fi
        sleep 0.02
    done
    grpc=127.0.0.1:$(sed -n 's/^grpc=//p' "$T/ports")
    admin=127.0.0.1:$(sed -n 's/^admin=//p' "$T/ports")
}

# A second signal would end it at once: nothing is sent when a client has ended it already.
stop_node() {
    code=0
    grep -qE "^(not )?ok js_${kind}_health_watch_follows" "$cases" || kill -TERM "$server" 2>/dev/null
    wait "$server" || code=$?
    server=''
    if [ "$code" -eq 0 ]; then
        say "ok quotad_${kind}_exits_0_on_SIGTERM"
    else
        tail -n 30 "$T/log" >"$T/tail"
        fails "quotad_${kind}_exits_0_on_SIGTERM (exit $code)" "$T/tail"
    fi
}

# as_client PROGRAM NO_TLS ARGUMENT...: runs grpcurl or ghz with the flags of a client that is welcome at this port. NO_TLS: the
# program's own word for plaintext.
as_client() {
    program=$1 no_tls=$2
    shift 2
    case $kind in
    plain) "$program" "$no_tls" "$@" ;;
    tls) "$program" --cacert "$certs/ca.pem" "$@" ;;
    mtls) "$program" --cacert "$certs/ca.pem" --cert "$certs/client.pem" --key "$certs/client.key" "$@" ;;
    esac
}

# go_tool NAME PACKAGE@VERSION: installs it unless it is there; otherwise $reason says why not.
go_tool() {
    [ ! -x "$place/bin/$1" ] || return 0
    if ! command -v go >/dev/null 2>&1; then
        reason="neither $1 nor go is installed"
        return 1
    fi
    GOBIN=$place/bin go install "$2" >"$T/go" 2>&1 || {
        reason="it cannot be installed: $(tail -n 1 "$T/go")"
        return 1
    }
}

# keep_metrics NAME: /metrics of now, under that name.
keep_metrics() {
    curl -s --max-time 10 "http://$admin/metrics" >"$T/metrics_$1"
}

# metric NAME SERIES: its value in what was kept under that name; a sum when SERIES is a name with several label sets.
metric() {
    awk -v series="$2" '
        { name = $1; if (index(series, "{") == 0) sub(/{.*/, "", name) }
        name == series { sum += $2 }
        END { printf "%d\n", sum }' "$T/metrics_$1"
}

# Whoever came before has left; what is kept of a connection that failed would show here.
nobody_is_connected() {
    tries=0
    until keep_metrics now && [ "$(metric now quotad_connections)" -eq 0 ]; do
        tries=$((tries + 1))
        if [ "$tries" -ge 600 ]; then
            say "not ok quotad_${kind}_keeps_no_connection_of_who_left ($(metric now quotad_connections) are open)"
            return
        fi
        sleep 0.1
    done
    say "ok quotad_${kind}_keeps_no_connection_of_who_left"
}
