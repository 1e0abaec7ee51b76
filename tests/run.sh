#!/bin/sh
# All the tests: installs what they need, builds, runs, and ends with "N passed, N failed, N skipped" alone on a line.
#   sh tests/run.sh            everything that guards a commit
#   sh tests/run.sh --quick    the dev build and its tests only
#   sh tests/run.sh --long     and what takes long: fuzzers, branch coverage, the model 5 million operations long, more
#                              kills, and another seed each time, which is printed
#   sh tests/run.sh --interop  only the release build: the quickstart, clients that others wrote, the gateways of
#                              client/examples, and Envoy (tests/interop)
# QUOTAD_TRACE_DATA names a folder with the full traces; without it their replays are skipped, and the excerpts remain.
# QD_SEED replays a seed. QD_JOBS limits the parallelism. QD_COUNTS=FILE: the counts go to that file instead of the
# closing line.
set -u
cd "$(dirname "$0")/.." || exit 1

mode=default
for argument in "$@"; do
    case $argument in
    --quick | --long | --interop) mode=${argument#--} ;;
    --help | -h)
        sed -n '2,11s/^# //p' "$0"
        exit 0
        ;;
    *)
        echo "tests/run.sh: unknown argument $argument; accepted: --quick, --long, --interop" >&2
        exit 1
        ;;
    esac
done

jobs=${QD_JOBS:-$(nproc)}
logs=build/logs
mkdir -p "$logs"
passed=0
failed=0
skipped=0
started=$(date +%s)
step_started=$started

step() { # "NAME": names what comes and starts its clock
    step_started=$(date +%s)
    printf '== %s\n' "$1"
}

took() {
    echo "$(($(date +%s) - step_started)) s"
}

# pass NAME / fail NAME [LOG]: one case.
pass() {
    passed=$((passed + 1))
    echo "ok $1 ($(took))"
}

fail() {
    failed=$((failed + 1))
    echo "not ok $1 ($(took))"
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        tail -n "${3:-60}" "$2" | sed 's/^/    /'
        echo "    (all of it: $2)"
    fi
}

# try NAME COMMAND...: one case that passes when the command exits 0; its output goes to a log.
try() {
    try_name=$1
    try_log=$logs/$(echo "$1" | tr -c 'a-zA-Z0-9\n' _).log
    shift
    if "$@" >"$try_log" 2>&1 </dev/null; then
        pass "$try_name"
    else
        fail "$try_name" "$try_log"
        return 1
    fi
}

# count_lines LOG: adds a script's "ok ...", "not ok ..." and "skip ..." lines, and shows the latter two.
count_lines() {
    good=$(grep -c '^ok ' "$1")
    bad=$(grep -c '^not ok ' "$1")
    left_out=$(grep -c '^skip ' "$1")
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + left_out))
    grep -E '^(not ok|note:|skip) ' "$1"
    echo "   $good ok, $bad not ok, $left_out skipped ($(took))"
}

# script NAME COMMAND...: a script whose lines are cases.
script() {
    script_name=$1
    script_log=$logs/$(echo "$1" | tr -c 'a-zA-Z0-9\n' _).log
    shift
    step "$script_name"
    "$@" >"$script_log" 2>&1 </dev/null
    script_rc=$?
    count_lines "$script_log"
    if [ "$script_rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
        fail "$script_name exits $script_rc" "$script_log"
    elif [ "$good" -eq 0 ] && [ "$bad" -eq 0 ] && [ "$left_out" -eq 0 ]; then
        fail "$script_name ran no case" "$script_log"
    fi
}

# build PRESET [TARGET]
build() {
    step "build $1"
    try "configure $1" cmake --preset "$1" &&
        try "build $1" cmake --build "build/$1" -j "$jobs" ${2:+--target "$2"}
}

# run_ctest PRESET [CTEST ARGUMENT...]: adds every case of its tests.
run_ctest() {
    preset=$1
    shift
    step "ctest $preset"
    xml=$PWD/$logs/ctest_$preset.xml
    log=$logs/ctest_$preset.log
    rm -f "$xml"
    ctest --test-dir "build/$preset" -j "$jobs" --no-tests=error --output-on-failure \
        --test-output-size-passed 16777216 --test-output-size-failed 16777216 --output-junit "$xml" "$@" \
        >"$log" 2>&1 </dev/null
    ctest_rc=$?
    if [ ! -f "$xml" ]; then
        fail "ctest $preset" "$log"
        return
    fi
    counts=$logs/ctest_$preset.counts
    sh tests/count.sh "$xml" >"$counts"
    read -r good bad left_out <"$counts" || bad=0
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + left_out))
    if [ "$ctest_rc" -ne 0 ]; then
        # Each failed test's own output, then ctest's list of them.
        grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed )' "$log" | tail -n 400 | sed 's/^/    /'
        [ "$bad" -ne 0 ] || fail "ctest $preset exits $ctest_rc"
    fi
    sed -n '2,$p' "$counts"
    echo "   $good ok, $bad not ok, $left_out skipped ($(took))"
}

# The project's C files, as git knows them (or as they lie there, outside of a repository).
c_files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@"
    else
        find "$@" -type f
    fi | grep -E '\.[ch]$' | grep -v '/build/' | while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

check_format() {
    c_files server storage client tests proto | xargs clang-format --dry-run -Werror
}

# tidy FOLDER...: clang-tidy on the .c files that the clang build compiles (their headers with them).
check_tidy() {
    c_files "$@" | grep '\.c$' | while read -r file; do
        ! grep -qF "\"file\": \"$PWD/$file\"" build/clang/compile_commands.json || echo "$file"
    done >"$logs/tidy_files"
    [ -s "$logs/tidy_files" ] || {
        echo "no files to check"
        return 1
    }
    xargs -P "$jobs" -n 1 clang-tidy -p build/clang --quiet <"$logs/tidy_files" 2>"$logs/tidy_notes"
}

# run_fuzzer PROGRAM: its exit code goes to a file beside its log.
run_fuzzer() {
    fuzzer_name=$(basename "$1")
    mkdir -p "build/fuzz/found/$fuzzer_name" "build/fuzz/corpus/$fuzzer_name"
    fuzzer_rc=0
    "$1" -max_total_time="${QD_FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$PWD/build/fuzz/found/$fuzzer_name/" \
        "build/fuzz/corpus/$fuzzer_name" "tests/fuzz/corpus/${fuzzer_name#fuzz_}" \
        >"$logs/$fuzzer_name.log" 2>&1 </dev/null || fuzzer_rc=$?
    echo "$fuzzer_rc" >"$logs/$fuzzer_name.rc"
}

run_fuzzers() {
    step "fuzzers, ${QD_FUZZ_SECONDS:-60} s each"
    find build/fuzz/tests/fuzz -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x | sort >"$logs/fuzzers"
    [ -s "$logs/fuzzers" ] || fail "no fuzzer was built"
    running=0
    while read -r fuzzer; do
        run_fuzzer "$fuzzer" &
        running=$((running + 1))
        if [ "$running" -ge "$jobs" ]; then
            wait
            running=0
        fi
    done <"$logs/fuzzers"
    wait
    while read -r fuzzer; do
        name=$(basename "$fuzzer")
        units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$name.log")
        if [ "$(cat "$logs/$name.rc")" -eq 0 ]; then
            pass "$name, ${units:-no} inputs"
        else
            fail "$name: a finding in build/fuzz/found/$name" "$logs/$name.log"
        fi
    done <"$logs/fuzzers"
}

# ---- What runs -------------------------------------------------------------------------------------------------------

step packages
try packages sh deploy/packages.sh --test

if [ "$mode" = interop ]; then
    if [ -f tests/interop/run.sh ]; then
        build release
        QUOTAD_BUILD_DIR=$PWD/build/release QUOTAD_SOURCE_DIR=$PWD
        export QUOTAD_BUILD_DIR QUOTAD_SOURCE_DIR
        script quickstart sh tests/quickstart.sh
        script interop sh tests/interop/run.sh
        script examples sh tests/interop/examples.sh
        script envoy sh tests/interop/envoy.sh
    else
        fail "interop: tests/interop/run.sh does not exist"
    fi
else
    if [ "$mode" = long ]; then
        QD_LONG=1 QD_SEED=${QD_SEED:-$(date +%s)}
        export QD_LONG QD_SEED
        echo "   seed $QD_SEED; QD_SEED=$QD_SEED replays it"
    fi

    step format
    try format check_format
    if build dev; then
        run_ctest dev
        script rules sh tests/rules/check.sh
        # Whether a mutant dies is no matter of luck: the tests' own seeds.
        [ "$mode" = quick ] || script mutants env -u QD_SEED -u QD_LONG "QD_JOBS=$jobs" sh tests/mutants/run.sh build/dev
        if [ "$mode" = long ]; then
            step "the model, 5 million operations"
            try model_long env QD_MODEL_OPERATIONS=5000000 build/dev/tests/unit/unit_core_model
        fi
    fi
    if [ "$mode" != quick ]; then
        if build clang; then
            step clang-tidy
            # The tests' own files take as long again: --long looks at them too.
            tidied='server storage client proto'
            [ "$mode" != long ] || tidied="$tidied tests"
            # shellcheck disable=SC2086 # a list of folders
            try clang-tidy check_tidy $tidied
        fi
        build asan && run_ctest asan
        build tsan race && run_ctest tsan
    fi
    if [ "$mode" = long ]; then
        build fuzz fuzzers && run_fuzzers
        if build coverage; then
            find build/coverage -name '*.gcda' -delete
            unset QD_SEED
            run_ctest coverage -R '^(unit_core_|fuzz_)'
            step coverage
            if try coverage sh tests/coverage.sh build/coverage; then
                tail -n 1 "$logs/coverage.log"
            fi
        fi
    fi
fi

echo "took $(($(date +%s) - started)) s"
if [ -n "${QD_COUNTS:-}" ]; then
    echo "$passed $failed $skipped" >>"$QD_COUNTS"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
