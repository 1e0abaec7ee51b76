#!/bin/sh
# Clients that others wrote, against a real quotad on a plain port, a TLS port and an mTLS port: @grpc/grpc-js by reflection
# alone, grpcurl, and load by ghz.
#   sh tests/interop/run.sh [BUILD_FOLDER]     default: build/release, or $QUOTAD_BUILD_DIR
# Prints "ok NAME" or "not ok NAME" a case, "skip NAME: why" for what was left out, and ends with "N passed, N failed,
# N skipped". QD_PORTS="plain tls mtls" chooses.
# What it installs goes to build/interop; nothing is written here. `tests/run.sh --interop` builds first and calls this.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-${QUOTAD_BUILD_DIR:-build/release}}
quotad=${QUOTAD_BIN:-$build/server/quotad}
place=$PWD/build/interop
T=$(mktemp -d "${TMPDIR:-/tmp}/quotad-interop-XXXXXX") || exit 1

. tests/interop/node.sh
. tests/interop/grpcurl.sh
. tests/interop/js.sh
. tests/interop/ghz.sh

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null
    rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir -p "$place"
if [ ! -x "$quotad" ]; then
    say "not ok quotad_is_built ($quotad does not exist; run: cmake --preset release && cmake --build build/release)"
    finish
fi
if ! command -v curl >/dev/null 2>&1 || ! command -v openssl >/dev/null 2>&1; then
    sh deploy/packages.sh --interop || {
        say "not ok curl_and_openssl_are_installed"
        finish
    }
fi
make_certs
make_rls_folder
js=no
! prepare_js || js=yes
for port in ${QD_PORTS:-plain tls mtls}; do
    start_node "$port"
    run_grpcurl
    run_ghz
    if [ "$js" = yes ]; then
        run_js refused "$certs" "$T/log"
        [ "$port" != tls ] || run_js reload "$certs"
        nobody_is_connected
        run_js client "$server" "$certs" # it ends the node
    fi
    stop_node
done
finish
