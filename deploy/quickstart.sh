#!/bin/sh
# quotad in two minutes: installs the packages, builds, starts a node with the example policy, replays an
# excerpt of real LLM traffic through it, and shows one check that is allowed and one that is denied.
#
#   sh deploy/quickstart.sh          then the node stays up until Ctrl-C
#   sh deploy/quickstart.sh --once   stops the node after the demonstration and exits 0
#
# Everything lands in build/ of this checkout; nothing else on the machine is touched but the Debian
# packages that deploy/packages.sh names. Environment: QUOTAD_LISTEN, QUOTAD_ADMIN_LISTEN (default
# 127.0.0.1:7070 and :7071; with --once any free ports).
set -eu

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0"
}

once=0
for argument in "$@"; do
    case $argument in
    --once) once=1 ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        echo "quickstart.sh: unknown argument $argument; accepted: --once, --help" >&2
        exit 1
        ;;
    esac
done

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
build=build/release
run=build/quickstart
policy=deploy/examples/policy.yaml
traces=deploy/examples/traces

say() {
    printf '\n== %s\n' "$*"
}

say "packages"
sh deploy/packages.sh

say "build (the first one takes a few minutes)"
mkdir -p "$run"
if ! { cmake --preset release && cmake --build "$build" --target quotad quotactl; } >"$run/build.log" 2>&1; then
    tail -n 40 "$run/build.log" >&2
    echo "quickstart.sh: the build failed; the whole log: $run/build.log" >&2
    exit 1
fi
PATH="$root/$build/server:$root/$build/client/ctl:$PATH"
export PATH

node=''
data=''
cleanup() {
    if [ -n "$node" ]; then
        kill -TERM "$node" 2>/dev/null || true
        wait "$node" 2>/dev/null || true
        node=''
    fi
    [ -z "$data" ] || rm -rf "$data"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "a node"
if [ "$once" -eq 1 ]; then
    listen=${QUOTAD_LISTEN:-127.0.0.1:0}
    admin=${QUOTAD_ADMIN_LISTEN:-127.0.0.1:0}
else
    listen=${QUOTAD_LISTEN:-127.0.0.1:7070}
    admin=${QUOTAD_ADMIN_LISTEN:-127.0.0.1:7071}
fi
# A fresh ledger for each demonstration: the requests are the same every time (--seed). How many are admitted differs by
# a few, since minutes turn and concurrent requests end by the clock.
data=$(mktemp -d "$run/data.XXXXXX")
rm -f "$run/ports"
quotad --policy "$policy" --data-dir "$data" --listen "$listen" --admin-listen "$admin" \
    --port-file "$run/ports" >"$run/quotad.log" 2>&1 &
node=$!
waited=0
while [ ! -s "$run/ports" ]; do
    if ! kill -0 "$node" 2>/dev/null; then
        cat "$run/quotad.log" >&2
        node=''
        exit 1
    fi
    waited=$((waited + 1))
    if [ "$waited" -gt 300 ]; then
        echo "quickstart.sh: the node did not come up in 30 s; see $run/quotad.log" >&2
        exit 1
    fi
    sleep 0.1
done
QUOTAD_ADDRESS=127.0.0.1:$(sed -n 's/^grpc=//p' "$run/ports")
export QUOTAD_ADDRESS
sed -n '1,6p' "$run/quotad.log"

# Shows a command as a user would type it, and runs it; a denial (2) is an answer, not a failure.
show() {
    expected=$1
    shift
    printf '\n$'
    for word in "$@"; do
        case $word in
        *' '*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    code=0
    "$@" || code=$?
    if [ "$code" -ne "$expected" ]; then
        echo "quickstart.sh: this exited with $code, $expected was expected; the node's log: $run/quotad.log" >&2
        exit 1
    fi
}

say "real traffic: 2,000 requests of a conversation service, and 500 with repeated prompts"
show 0 quotactl replay --format azure --trace "$traces/azure_conv.csv" --tenants 400 --zipf 0.5 --seed 7 \
    --model llama-70b --model gpt-4o-mini --tenant acme/search --tenant globex --tenant hobby --top 8
show 0 quotactl replay --format mooncake --trace "$traces/mooncake.jsonl" --tenants 100 --zipf 0.5 --seed 7 \
    --model qwen3-32b --model gemini-2.5-pro --tenant acme/research --tenant globex --top 8

say "one check that is allowed, one that is denied"
show 0 quotactl check acme/search --model llama-70b --use input_tokens=1200 --use max_output_tokens=400
show 2 quotactl check hobby --model gpt-4o --use input_tokens=48000 --use max_output_tokens=2000

say "what was used"
show 0 quotactl usage acme --by model

if [ "$once" -eq 1 ]; then
    say "done: the node stops"
    kill -TERM "$node"
    code=0
    wait "$node" || code=$?
    node=''
    if [ "$code" -ne 0 ]; then
        tail -n 5 "$run/quotad.log" >&2
        echo "quickstart.sh: the node exited with $code" >&2
        exit 1
    fi
    exit 0
fi

admin=$(sed -n 's/^admin=//p' "$run/ports")
cat <<END

== the node stays up: gRPC $QUOTAD_ADDRESS, admin http://127.0.0.1:$admin, log $run/quotad.log
In another terminal:
  cd $root
  export PATH=\$PWD/$build/client/ctl:\$PATH QUOTAD_ADDRESS=$QUOTAD_ADDRESS
  quotactl explain globex/app --model gpt-4o --use input_tokens=1200
  quotactl limits hobby
  quotactl top
  curl 127.0.0.1:$admin/metrics
Edit $policy: the node takes the change at once. Ctrl-C here stops it.
END
wait "$node" || true
node=''
