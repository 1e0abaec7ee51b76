#!/bin/sh
# Clients that others wrote, against a real quotad: @grpc/grpc-js by reflection alone (client.js), and grpcurl.
#   sh tests/interop/run.sh [BUILD_FOLDER]     default: build/release, or $QUOTAD_BUILD_DIR
# Prints "ok NAME" or "not ok NAME" a case, "skip NAME: why" for what was left out, and ends with "N passed, N failed,
# N skipped".
# npm packages go to build/interop; nothing is written here. `tests/run.sh --interop` builds first and calls this.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-${QUOTAD_BUILD_DIR:-build/release}}
quotad=${QUOTAD_BIN:-$build/server/quotad}
place=$PWD/build/interop
grpcurl_version=v1.9.3
T=$(mktemp -d "${TMPDIR:-/tmp}/quotad-interop-XXXXXX") || exit 1
server=''
grpc=''
cases=$T/cases
: >"$cases"

cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null
    rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# say LINE: a case.
say() {
    echo "$*" | tee -a "$cases"
}

finish() {
    good=$(grep -c '^ok ' "$cases")
    bad=$(grep -c '^not ok ' "$cases")
    echo "$good passed, $bad failed, $(grep -c '^skip ' "$cases") skipped"
    [ "$bad" -eq 0 ] && [ "$good" -gt 0 ]
    exit
}

start_server() {
    rm -f "$T/ports"
    env -i PATH="$PATH" "$quotad" --policy tests/interop/policy.yaml --data-dir "$T/data" --listen 127.0.0.1:0 \
        --admin-listen 127.0.0.1:0 --port-file "$T/ports" >"$T/log" 2>&1 &
    server=$!
    tries=0
    until [ -s "$T/ports" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 500 ] || ! kill -0 "$server" 2>/dev/null; then
            say "not ok quotad_comes_up"
            sed 's/^/    /' "$T/log"
            finish
        fi
        sleep 0.02
    done
    grpc=127.0.0.1:$(sed -n 's/^grpc=//p' "$T/ports")
}

# ---- grpcurl -----------------------------------------------------------------------------------------------------------

# curl_case NAME PATTERN ARGUMENT...: grpcurl's output must have a line that matches.
curl_case() {
    name=grpcurl_$1 pattern=$2
    shift 2
    if "$place/bin/grpcurl" -plaintext "$@" >"$T/grpcurl" 2>&1 && grep -qE -- "$pattern" "$T/grpcurl"; then
        say "ok $name"
    else
        say "not ok $name"
        sed 's/^/    /' "$T/grpcurl"
    fi
}

skip_grpcurl() { # REASON
    for name in lists_services lists_methods describes_a_message describes_envoys_answer checks is_told_of_health; do
        say "skip grpcurl_$name: $1"
    done
}

run_grpcurl() {
    if [ ! -x "$place/bin/grpcurl" ]; then
        if ! command -v go >/dev/null 2>&1; then
            skip_grpcurl "neither grpcurl nor go is installed"
            return
        fi
        if ! GOBIN=$place/bin go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version" >"$T/go" 2>&1; then
            skip_grpcurl "it cannot be installed: $(tail -n 1 "$T/go")"
            return
        fi
    fi
    curl_case lists_services '^quota\.v1\.QuotaService$' "$grpc" list
    curl_case lists_methods '^quota\.v1\.QuotaService\.StreamQuota$' "$grpc" list quota.v1.QuotaService
    curl_case describes_a_message 'int64 ttl_ms = 11;' "$grpc" describe quota.v1.CheckQuotaRequest
    curl_case describes_envoys_answer 'google\.protobuf\.Struct dynamic_metadata = 6;' "$grpc" \
        describe envoy.service.ratelimit.v3.RateLimitResponse
    curl_case checks '"verdict": "VERDICT_ALLOWED"' -d '{"tenant": "curl/er", "model": "small-model", "max_output_tokens": "400",
        "estimate": [{"meter": "input_tokens", "amount": "1200"}]}' "$grpc" quota.v1.QuotaService/CheckQuota
    curl_case is_told_of_health '"status": "SERVING"' "$grpc" grpc.health.v1.Health/Check
}

# ---- @grpc/grpc-js -----------------------------------------------------------------------------------------------------

run_js() {
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
        sh deploy/packages.sh --interop || {
            say "not ok js_node_is_installed"
            return
        }
    fi
    if ! cmp -s tests/interop/package.json "$place/package.json" || [ ! -d "$place/node_modules" ]; then
        cp tests/interop/package.json "$place/package.json"
        if ! (cd "$place" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$T/npm" 2>&1; then
            rm -f "$place/package.json"
            say "not ok js_npm_install"
            sed 's/^/    /' "$T/npm"
            return
        fi
    fi
    js_code=0
    NODE_PATH=$place/node_modules node tests/interop/client.js "$grpc" "$server" >"$T/js" 2>&1 || js_code=$?
    tee -a "$cases" <"$T/js"
    # A client that dies midway has a short list, and none of it need be bad.
    planned=$(sed -n 's/^1\.\.\([0-9][0-9]*\)$/\1/p' "$T/js")
    ran=$(grep -cE '^(not )?ok js_' "$T/js")
    if [ "${planned:-0}" -lt 1 ] || [ "$ran" -ne "$planned" ]; then
        say "not ok js_client_runs_all_its_cases ($ran of ${planned:-none planned}; exit $js_code)"
    elif [ "$js_code" -ne 0 ] && ! grep -q '^not ok js_' "$T/js"; then
        say "not ok js_client_exits_0 (exit $js_code)"
    fi
}

# ---- What runs ---------------------------------------------------------------------------------------------------------

mkdir -p "$place"
if [ ! -x "$quotad" ]; then
    say "not ok quotad_is_built ($quotad does not exist; run: cmake --preset release && cmake --build build/release)"
    finish
fi
start_server
run_grpcurl
run_js
code=0
# A second signal would end it at once: the last case of client.js has sent the first, also when it failed.
grep -qE "^(not )?ok js_health_watch_follows" "$cases" || kill -TERM "$server" 2>/dev/null
wait "$server" || code=$?
server=''
if [ "$code" -eq 0 ]; then
    say "ok quotad_exits_0_on_SIGTERM"
else
    say "not ok quotad_exits_0_on_SIGTERM (exit $code)"
    tail -n 30 "$T/log" | sed 's/^/    /'
fi
finish
