#!/bin/sh
# The programs of client/examples, against a real quotad and a vendor that streams slowly (tests/interop/examples): the
# proxies in Python and Go, the callback in LiteLLM's own proxy, and what they make of the vendors' usage objects.
#   sh tests/interop/examples.sh [BUILD_FOLDER]     default: build/release, or $QUOTAD_BUILD_DIR
# Prints "ok NAME" or "not ok NAME" a case, "skip NAME: why" for what was left out. What it installs goes to
# build/interop/examples; nothing is written here. QD_EXAMPLES="python go litellm" chooses.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-${QUOTAD_BUILD_DIR:-build/release}}
QUOTAD_BIN=${QUOTAD_BIN:-$build/server/quotad} QUOTACTL_BIN=${QUOTACTL_BIN:-$build/client/ctl/quotactl}
PYTHONDONTWRITEBYTECODE=1
export QUOTAD_BIN QUOTACTL_BIN PYTHONDONTWRITEBYTECODE
place=$PWD/build/interop/examples
examples=client/examples
tests=tests/interop/examples
bad=0
mkdir -p "$place"

wanted() {
    case " ${QD_EXAMPLES:-python go litellm} " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# built KIND: what build.sh makes of it, or a case that says why not.
built() {
    if sh "$examples/build.sh" "$1" build/interop/examples >"$place/build_$1.log" 2>&1 </dev/null; then
        echo "ok $1_is_built_as_its_README_says"
        return 0
    fi
    echo "not ok $1_is_built_as_its_README_says"
    tail -n 20 "$place/build_$1.log" | sed 's/^/    /'
    bad=1
    return 1
}

run() {
    "$@" </dev/null || bad=1
}

go_usage() {
    (cd "$place/go" && TESTDATA=$OLDPWD/$examples/testdata go test -count=1 -v .) >"$place/go_test.log" 2>&1
    go_code=$?
    sed -n -e 's/^ *--- PASS: TestUsage\/\([^ ]*\) .*/ok go_usage_\1/p' \
        -e 's/^ *--- FAIL: TestUsage\/\([^ ]*\) .*/not ok go_usage_\1/p' "$place/go_test.log"
    [ "$go_code" -eq 0 ] || sed 's/^/    /' "$place/go_test.log"
    return "$go_code"
}

if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    sh deploy/packages.sh --interop || {
        echo "not ok python3_is_installed"
        exit 1
    }
fi
if wanted python || wanted litellm; then
    built python || exit 1
fi
# The longest to install and to start: meanwhile the others run.
if wanted litellm; then
    { built litellm && python3 "$tests/callback.py" "$place/litellm/bin/litellm" "$place/generated"; } \
        >"$place/litellm.log" 2>&1 </dev/null &
    litellm=$!
fi
if wanted python; then
    run python3 "$examples/python/test_usage.py"
    run python3 "$tests/proxy.py" python env PYTHONPATH="$place/generated" \
        "$place/venv/bin/python" "$examples/python/proxy.py"
fi
if wanted go; then
    if ! command -v go >/dev/null 2>&1; then
        echo "skip go_proxy: go is not installed"
    elif built go; then
        run go_usage
        run python3 "$tests/proxy.py" go "$place/proxy"
    fi
fi
if wanted litellm; then
    wait "$litellm" || bad=1
    cat "$place/litellm.log"
fi
exit "$bad"
