#!/bin/sh
# X1, X7: quotad and quotactl over TLS, with certificates and tokens, and what an operator does with them.
# shellcheck disable=SC2154 # $out and $err are set by expect_exit
. "${QUOTA_TESTLIB_SH:?run through ctest}"

C=$T/certs
mkdir "$C"

authority() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -days 2 \
        -keyout "$C/$1.key" -out "$C/$1.pem" 2>/dev/null
}

cert() { # NAME AUTHORITY SUBJECT-ALTERNATIVE-NAMES
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test \
        -keyout "$C/$1.key" -out "$C/$1.csr" 2>/dev/null
    echo "subjectAltName=$3" >"$C/$1.ext"
    openssl x509 -req -in "$C/$1.csr" -CA "$C/$2.pem" -CAkey "$C/$2.key" -CAcreateserial -days 2 \
        -extfile "$C/$1.ext" -out "$C/$1.pem" 2>/dev/null
}

ctl() { "$QUOTACTL_BIN" "$@" --address "$QD_GRPC"; }

# What is no server's setting is not passed on to one.
quotad() {
    env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$T/refused" "$@"
}

# --- wrong files end the start

X7_a_key_that_others_can_read_ends_the_start() {
    cp "$C/server.key" "$C/open.key"
    chmod 644 "$C/open.key"
    expect_exit 1 quotad --tls-cert "$C/server.pem" --tls-key "$C/open.key"
    expect_match "$err" "^quotad: $C/open\.key: others can read this key; .*chmod 600"
}

X1_wrong_files_end_the_start() {
    expect_exit 1 quotad --tls-cert "$C/none.pem" --tls-key "$C/server.key"
    expect_match "$err" "^quotad: $C/none\.pem: cannot open: No such file or directory\$"
    expect_exit 1 quotad --tls-cert "$C/server.pem" --tls-key "$C/ops.key"
    expect_match "$err" "^quotad: $C/ops\.key: not the key of the first certificate in $C/server\.pem\$"
    expect_exit 1 quotad --tls-cert "$C/server.pem" --tls-key "$C/server.key" --tls-client-ca "$C/ops.key"
    expect_match "$err" "ops\.key: no certificate in it; accepted is PEM"
    printf -- '- {name: x, role: admn, san: x}\n' >"$T/bad.yaml"
    expect_exit 1 quotad --credentials "$T/bad.yaml"
    expect_match "$err" "bad\.yaml:1:19: .*role.*admin"
    printf -- '- {name: x, role: admin, san: x}\n' >"$T/open.yaml"
    chmod 666 "$T/open.yaml"
    expect_exit 1 quotad --credentials "$T/open.yaml"
    expect_match "$err" "open\.yaml: anybody may write it; run: chmod o-w "
    expect_exit 2 quotad --tls-cert "$C/server.pem"
    expect_match "$err" "^quotad: --tls-cert and --tls-key go together"
}

# --- a node that everybody on this machine may use, by TLS

X1_a_token_stays_here_in_plaintext() {
    (umask 077 && echo secret-of-mine >"$T/some.token")
    expect_exit 1 "$QUOTACTL_BIN" status --address 127.evil.invalid:7070 --token-file "$T/some.token"
    expect_match "$err" 'TLS|this machine'
}

X1_quotactl_speaks_TLS() {
    expect_exit 0 ctl status --tls-ca "$C/ca.pem"
    expect_exit 0 env QUOTACTL_TLS_CA="$C/ca.pem" "$QUOTACTL_BIN" status --address "$QD_GRPC"
    expect_exit 1 ctl status --timeout 2s
    expect_exit 1 ctl status --tls-ca "$C/other.pem" --timeout 2s
    expect_exit 1 ctl status --tls-ca "$C/ops.key"
    expect_match "$err" "ops\.key: accepted is PEM: -----BEGIN CERTIFICATE-----"
}

I6_livez_speaks_TLS() {
    expect_eq "$(curl -s "http://$QD_ADMIN/livez")" ok
}

# --- a node that asks who calls

X1_a_certificate_or_a_token_is_asked_for() {
    expect_exit 1 ctl status --tls-ca "$C/ca.pem"
    expect_match "$err" "bring a client certificate, or a token"
    expect_exit 0 ctl status --tls-ca "$C/ca.pem" --tls-cert "$C/ops.pem" --tls-key "$C/ops.key"
    expect_exit 0 ctl status --tls-ca "$C/ca.pem" --token-file "$T/admin.token"
    expect_exit 1 ctl status --tls-ca "$C/ca.pem" --tls-cert "$C/edge.pem" --tls-key "$C/edge.key"
    expect_match "$err" "GetStatus is not for role gateway, which edge has"
    expect_exit 0 ctl check acme --model m --tls-ca "$C/ca.pem" --tls-cert "$C/edge.pem" --tls-key "$C/edge.key"
    expect_exit 1 ctl status --tls-ca "$C/ca.pem" --tls-cert "$C/nobody.pem" --tls-key "$C/nobody.key"
    expect_match "$err" "certificate is nobody's here"
    expect_exit 1 ctl status --tls-ca "$C/ca.pem" --tls-cert "$C/stranger.pem" --tls-key "$C/stranger.key" --timeout 2s
    expect_exit 1 ctl usage globex --tls-ca "$C/ca.pem" --token-file "$T/acme.token"
    expect_match "$err" 'acme-billing is bound to "acme" and what is below; "globex" is not'
    expect_exit 0 ctl usage acme --tls-ca "$C/ca.pem" --token-file "$T/acme.token"
}

X7_a_token_file_that_others_can_read_is_refused() {
    cp "$T/admin.token" "$T/open.token"
    chmod 644 "$T/open.token"
    expect_exit 1 ctl status --tls-ca "$C/ca.pem" --token-file "$T/open.token"
    expect_match "$err" "open\.token: others can read it; run: chmod 600"
    expect_exit 1 "$QUOTACTL_BIN" status --address 192.0.2.1:7070 --token-file "$T/admin.token"
    expect_match "$err" "a token is sent over TLS, or to this machine"
}

X7_no_token_is_in_the_log() {
    if grep -qF "$(cat "$T/admin.token")" "$QD_LOG"; then
        qd_fail "the log has the token"
    fi
    if curl -s "http://$QD_ADMIN/debug/config" | grep -qF "$(cat "$T/admin.token")"; then
        qd_fail "/debug/config has the token"
    fi
}

X6_the_audit_tells_who_acted() {
    expect_exit 0 ctl tenants block acme --tls-ca "$C/ca.pem" --tls-cert "$C/ops.pem" --tls-key "$C/ops.key"
    expect_exit 0 ctl drain --cancel --tls-ca "$C/ca.pem" --token-file "$T/admin.token"
    expect_exit 0 ctl audit --tls-ca "$C/ca.pem" --token-file "$T/admin.token"
    expect_match "$out" '^ *1 .* ops/admin +Block +acme'
    expect_match "$out" '^ *2 .* root/admin +Drain +\(node\) +serves again'
    expect_exit 1 ctl audit --tls-ca "$C/ca.pem" --token-file "$T/acme.token"
    expect_match "$err" "ListAuditRecords is not for role billing"
    expect_exit 0 ctl tenants unblock acme --tls-ca "$C/ca.pem" --token-file "$T/admin.token"
}

X1_health_is_open_and_livez_lives() {
    expect_eq "$(curl -s "http://$QD_ADMIN/livez")" ok
}

# await PATTERN FILE: until a line of it matches.
await() {
    qd_tries=0
    until grep -q "$1" "$2"; do
        qd_tries=$((qd_tries + 1))
        [ "$qd_tries" -lt 600 ] || qd_fail "no \"$1\" in $2"
        sleep 0.05
    done
}

await_log() {
    await "$1" "$QD_LOG"
}

X1_credentials_are_read_again() {
    sed '/acme-billing/d' "$T/credentials.yaml" >"$T/fewer.yaml"
    cp "$T/credentials.yaml" "$T/kept.yaml"
    ctl events --tls-ca "$C/ca.pem" --token-file "$T/acme.token" >"$T/events" 2>"$T/events.err" &
    watcher=$!
    await "watching" "$T/events.err"
    mv "$T/fewer.yaml" "$T/credentials.yaml"
    await_log 'msg="credentials reloaded" .*count=3'
    await_log 'msg="a watch ends: its credentials are not good any more" reason=UNKNOWN_CREDENTIALS'
    wait "$watcher" && qd_fail "quotactl events went on without a credential"
    expect_match "$(cat "$T/events.err")" "nobody has this token"
    expect_exit 1 ctl usage acme --tls-ca "$C/ca.pem" --token-file "$T/acme.token"
    expect_match "$err" "nobody has this token"
    echo 'rubbish: [' >"$T/credentials.yaml"
    await_log 'msg="credentials refused; those in force stay"'
    expect_exit 0 ctl status --tls-ca "$C/ca.pem" --token-file "$T/admin.token"
    mv "$T/kept.yaml" "$T/credentials.yaml"
    await_log 'msg="credentials reloaded" .*count=4'
    expect_exit 0 ctl usage acme --tls-ca "$C/ca.pem" --token-file "$T/acme.token"
}

X1_a_renewed_certificate_is_served() {
    cert server2 other "IP:127.0.0.1"
    mv "$C/server2.key" "$C/server.key"
    mv "$C/server2.pem" "$C/server.pem"
    qd_soon expect_exit 0 ctl status --tls-ca "$C/other.pem" --token-file "$T/admin.token"
    await_log 'msg="TLS certificate reloaded"'
}

audited() { # EXTENDED-REGEX
    expect_exit 0 ctl audit --tls-ca "$C/other.pem" --token-file "$T/admin.token"
    expect_match "$out" "$1"
}

X6_what_was_read_again_from_files_is_in_the_audit() {
    qd_soon audited "file +ReloadCredentials +\\(credentials\\) +$T/credentials\\.yaml"
    qd_soon audited "file +ReloadCertificate +\\(certificate\\) +$C/server\\.pem" # once it looks the same twice
    sleep 1.2 # a look more
    expect_exit 0 ctl audit --tls-ca "$C/other.pem" --token-file "$T/admin.token"
    expect_eq "$(echo "$out" | grep -c ReloadCredentials)" 2 # and none of what was refused
    expect_eq "$(echo "$out" | grep -c ReloadCertificate)" 1
}

# --- listening beyond this machine

X1_a_port_that_everybody_may_use_is_warned_of() {
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="everybody who reaches the gRPC port may check, report and limit for any tenant, and only this machine may do the rest; pass --credentials FILE"'
    expect_match "$(cat "$QD_LOG")" "level=warn msg=\"the admin port knows no credentials: everybody who reaches it sees metrics and /debug, tenants' names among them; let only probes and scrapers reach it\" listen=0.0.0.0:0"
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="everybody who reaches the HTTP port may count against any rate limit" listen=0.0.0.0:0'
}

# From an address that is not loopback: as from another machine.
X1_from_elsewhere_nobody_administers_without_credentials() {
    far=$(hostname -I | awk '{ print $1 }'):${QD_GRPC##*:}
    expect_exit 0 "$QUOTACTL_BIN" check acme --model m --address "$far"
    expect_exit 0 "$QUOTACTL_BIN" report --tenant acme --request-id far --model m --use input_tokens=1 --address "$far"
    for line in status 'usage acme' 'tenants ls' 'drain' 'ledger ls acme' 'audit' 'events --for 1500ms'; do
        # shellcheck disable=SC2086 # several words
        expect_exit 1 "$QUOTACTL_BIN" $line --address "$far"
        expect_match "$err" 'as this node asks nobody who calls, it is served to this machine only; name those who may call it with --credentials FILE'
    done
    expect_exit 0 ctl status # which is not draining
    expect_in "$out" ': serving'
}

X1_administration_has_its_own_port() {
    admin=$(sed -n 's/^admin_grpc=//p' "$T/ports")
    expect_exit 0 "$QUOTACTL_BIN" status --address "127.0.0.1:$admin"
    expect_exit 1 ctl status
    expect_match "$err" "AdminService is at --admin-rpc-listen"
    expect_exit 0 ctl check acme --model m
    expect_exit 1 "$QUOTACTL_BIN" check acme --model m --address "127.0.0.1:$admin" --timeout 2s
}

authority ca
authority other
cert server ca "IP:127.0.0.1"
cert ops ca "DNS:ops.example"
cert edge ca "URI:spiffe://prod/ns/edge/gw"
cert nobody ca "DNS:nobody.example"
cert stranger other "DNS:ops.example"
(umask 077 && "$QUOTACTL_BIN" token new root >"$T/admin.token" 2>"$T/admin.line")
(umask 077 && "$QUOTACTL_BIN" token new acme-billing >"$T/acme.token" 2>"$T/acme.line")
{
    sed -n 's/role: ROLE/role: admin/p' "$T/admin.line"
    sed -n 's/role: ROLE/role: billing, tenant: acme/p' "$T/acme.line"
    echo "- {name: edge, role: gateway, spiffe: 'spiffe://prod/ns/edge/*'}"
} >"$T/credentials.yaml"

qd_run X7_a_key_that_others_can_read_ends_the_start X1_wrong_files_end_the_start

qd_start --dev --tls-cert "$C/server.pem" --tls-key "$C/server.key"
qd_run X1_a_token_stays_here_in_plaintext X1_quotactl_speaks_TLS I6_livez_speaks_TLS
qd_stop

echo "- {name: ops, role: admin, san: ops.example}" >>"$T/credentials.yaml"
sed -i '/name: root/d' "$T/credentials.yaml"
sed -n 's/role: ROLE/role: admin/p' "$T/admin.line" >>"$T/credentials.yaml"
qd_start --dev --tls-cert "$C/server.pem" --tls-key "$C/server.key" --tls-client-ca "$C/ca.pem" \
    --tls-client-auth optional --credentials "$T/credentials.yaml"
qd_run X1_a_certificate_or_a_token_is_asked_for X7_a_token_file_that_others_can_read_is_refused \
    X7_no_token_is_in_the_log X6_the_audit_tells_who_acted X1_health_is_open_and_livez_lives X1_credentials_are_read_again \
    X1_a_renewed_certificate_is_served X6_what_was_read_again_from_files_is_in_the_audit
qd_stop

qd_start --dev --listen 127.0.0.1:0 --admin-rpc-listen 0.0.0.0:0 --admin-listen 0.0.0.0:0 --http-listen 0.0.0.0:0 --port-file "$T/ports"
qd_run X1_a_port_that_everybody_may_use_is_warned_of X1_administration_has_its_own_port
qd_stop

if [ -n "$(hostname -I)" ]; then
    qd_start --dev --listen 0.0.0.0:0 --port-file "$T/ports"
    qd_run X1_from_elsewhere_nobody_administers_without_credentials
    qd_stop
else
    qd_skip "this machine has no address but loopback's" X1_from_elsewhere_nobody_administers_without_credentials
fi
qd_done
