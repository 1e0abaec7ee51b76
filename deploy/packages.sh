#!/bin/sh
# Installs the Debian 12 packages that quotad is built from; the only list of them.
#   sh deploy/packages.sh          what a build and a run need
#   sh deploy/packages.sh --test   and what tests/run.sh needs beside that
#   sh deploy/packages.sh --bench    what the reference lines of tests/bench need
#   sh deploy/packages.sh --interop  what tests/interop needs where node, Python's venv or curl is missing
#   sh deploy/packages.sh --list [--test|--bench|--interop]   prints the names and installs nothing
# No service is started or enabled: of prometheus only promtool is wanted.
# Installs only what is missing, as root or through sudo, and is silent when there is nothing to do.
set -eu

build='gcc libc6-dev cmake ninja-build
    libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler librocksdb-dev libev-dev libmicrohttpd-dev
    libyaml-dev libjson-c-dev libxxhash-dev libsodium-dev libssl-dev tzdata'
test='libcriterion-dev clang libclang-rt-14-dev clang-format clang-tidy llvm lcov binutils ccache curl
    nghttp2-client libnghttp2-dev openssl valgrind prometheus' # for its promtool
bench='redis-tools libhiredis-dev'
interop='nodejs npm python3-venv curl openssl'

names=$build
list=0
for argument in "$@"; do
    case $argument in
    --test) names="$build $test" ;;
    --interop) names=$interop ;;
    --bench) names=$bench ;;
    --list) list=1 ;;
    *)
        echo "packages.sh: unknown argument $argument; accepted: --test, --bench, --interop, --list" >&2
        exit 1
        ;;
    esac
done

missing=''
for name in $names; do
    if [ "$list" -eq 1 ]; then
        echo "$name"
        continue
    fi
    state=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "packages.sh: needs root or sudo to install:$missing" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
case $missing in
*prometheus*) # its service would listen on port 9090, now and after each boot
    if [ ! -e /etc/systemd/system/prometheus.service ]; then
        $as_root mkdir -p /etc/systemd/system
        $as_root ln -s /dev/null /etc/systemd/system/prometheus.service
    fi
    ;;
esac
install_missing() {
    # shellcheck disable=SC2086 # a list of names, and as_root may be empty
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing </dev/null
}
if ! { $as_root apt-get update -q && install_missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "packages.sh: installing failed; on Debian 12, check the network and run: apt-get update" >&2
    exit 1
fi
