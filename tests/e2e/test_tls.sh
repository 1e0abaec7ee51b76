#!/bin/sh
# quotactl, and so libquota, at ports that speak TLS: every way to call, and what it says when client and node do not fit (X1, I10).
# shellcheck disable=SC1090,SC2154 # of tests/lib/e2e.sh
. "${QUOTA_TESTLIB_SH:?run through ctest}"

certs=$T/certs
mkdir "$certs"
sh "${QUOTAD_SOURCE_DIR:?}/tests/lib/certs.sh" "$certs" >"$T/openssl.log" 2>&1 || {
    cat "$T/openssl.log"
    exit 1
}

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

trusting() { # COMMAND...
    ctl --tls-ca "$certs/ca.pem" "$@"
}

known() { # COMMAND...
    trusting --tls-cert "$certs/client.pem" --tls-key "$certs/client.key" "$@"
}

# told CAUSE NEXT COMMAND...: it fails, and says why and what to do.
told() {
    cause=$1 next=$2
    shift 2
    expect_exit 1 "$@"
    expect_in "$err" "$cause"
    expect_in "$err" "next: $next"
}

# all_of CTL: calls, streams and a load, each over a channel of its own.
all_of() {
    expect_exit 0 "$1" check acme --model m --use input_tokens=10
    id=$(printf '%s' "$out" | sed -n 's/.*quotactl report \([^ ]*\) .*/\1/p')
    expect_exit 0 "$1" report "$id" --use input_tokens=10
    expect_exit 0 "$1" ledger export acme
    expect_match "$out" '"input_tokens"'
    expect_exit 0 "$1" replay --format azure --trace "$QUOTAD_SOURCE_DIR/deploy/examples/traces/azure_conv.csv" --limit 20 \
        --speed 0 --model m
}

X1_every_way_to_call_goes_by_TLS() {
    all_of trusting
    # By its name; but c-ares leaks a name when a process ends early, which is no matter of ours.
    expect_exit 0 env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" \
        "$QUOTACTL_BIN" --address "localhost:${QD_GRPC##*:}" --tls-ca "$certs/ca.pem" status
}

X1_the_node_is_known_by_its_authority_and_name() {
    told 'certificate verify failed' 'is it that node?' ctl --tls-ca "$certs/other.pem" status
    serve elsewhere
    qd_soon told 'Peer name 127.0.0.1 is not in peer certificate' 'name the node as' trusting status
}

# A start has nothing better.
X1_a_node_that_starts_with_an_expired_certificate_is_not_trusted_and_says_why() {
    told 'certificate verify failed' 'is it that node?' trusting status
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="the TLS certificate has expired: clients refuse it" file='
}

X1_an_expired_certificate_takes_no_valid_ones_place() {
    serve node
    qd_soon expect_exit 0 trusting status
    serve old
    qd_soon expect_match_log 'level=warn msg="TLS files refused; those in force stay" why=".*: it has expired at '
    expect_exit 0 trusting status
}

# serve NAME: files are looked at once a second. Each comes whole: a half of one is another reason to refuse it.
serve() {
    for kind in pem key; do
        cp -p "$certs/$1.$kind" "$certs/next.$kind"
        mv "$certs/next.$kind" "$certs/served.$kind"
    done
}

expect_match_log() { # EXTENDED-REGEX
    expect_match "$(cat "$QD_LOG")" "$1"
}

X1_plaintext_at_a_TLS_port_names_the_flag() {
    told "cannot reach quotad at $QD_GRPC" 'if the node speaks TLS, name who vouches for it with --tls-ca FILE' ctl status
}

X1_TLS_at_a_plain_port_names_the_flag() {
    told 'wrong version number' 'the node speaks no TLS: leave out --tls-ca' trusting status
    expect_exit 0 ctl status
}

X1_quotactl_brings_a_certificate() {
    all_of known
    for kind in none stranger expired; do
        set -- status
        [ $kind = none ] || set -- --tls-cert "$certs/$kind.pem" --tls-key "$certs/$kind.key" status
        told "cannot reach quotad at $QD_GRPC" 'if the node asks for certificates, bring one' trusting "$@"
    done
    expect_exit 0 known status
}

X1_files_that_do_not_belong_together_are_told() {
    told 'the TLS files cannot be used' 'look at what --tls-ca, --tls-cert and --tls-key name' \
        trusting --tls-cert "$certs/client.pem" --tls-key "$certs/stranger.key" status
}

qd_start --dev || exit 1
qd_run X1_TLS_at_a_plain_port_names_the_flag
qd_stop || qd_fail "it ended with $qd_code"
set -- --tls-cert "$certs/served.pem" --tls-key "$certs/served.key" --dev
qd_start "$@" --tls-client-ca "$certs/ca.pem" --tls-client-auth require || exit 1
qd_run X1_quotactl_brings_a_certificate X1_files_that_do_not_belong_together_are_told
qd_stop || qd_fail "it ended with $qd_code"
qd_start "$@" || exit 1
qd_run X1_every_way_to_call_goes_by_TLS X1_plaintext_at_a_TLS_port_names_the_flag X1_the_node_is_known_by_its_authority_and_name
qd_stop || qd_fail "it ended with $qd_code"
serve old
qd_start "$@" || exit 1
qd_run X1_a_node_that_starts_with_an_expired_certificate_is_not_trusted_and_says_why X1_an_expired_certificate_takes_no_valid_ones_place
qd_done
