#!/bin/sh
# Mutants: each switch QD_MUTANT(D2...) in the code breaks one rule; a test whose name cites the rule must notice.
#   sh tests/mutants/run.sh [BUILD_DIR [NAME...]]     BUILD_DIR: a built dev tree (default build/dev); NAME: only these
# For each mutant the files that hold its switch are compiled once more with -DQD_MUTANT_<name>_ON by the build's own
# command, linked before the libraries into each unit test program that cites the rule, and the tests that cite it are
# run. Prints "ok D2 killed by ..." or "not ok ...". Fails when a mutant survives, when a mutant has no test, and when
# a D or S rule has no mutant.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build/dev}
[ $# -eq 0 ] || shift
jobs=${QD_JOBS:-$(nproc)}
seconds_max=60
# The model finds a broken rule long before its million operations are over.
export QD_MODEL_OPERATIONS=200000

# Rules without a mutant, each with its reason: "RULE reason".
exempt() {
    cat <<'LIST'
LIST
}

build=$(cd "$build" 2>/dev/null && pwd) || {
    echo "mutants: no build in $build; run: cmake --preset dev && cmake --build build/dev" >&2
    exit 1
}
work=$build/mutants
mkdir -p "$work"

rule_of() { # D2_parent -> D2
    echo "${1%%_*}"
}

# Lines "name file", one for each file that holds a switch.
switches() {
    grep -rnoE 'QD_MUTANT\([A-Z][0-9]+(_[a-z0-9_]+)?\)' --include='*.[ch]' server storage client |
        grep -v '^server/core/mutant.h:' |
        sed 's/^\([^:]*\):[0-9]*:QD_MUTANT(\(.*\))$/\2 \1/' | sort -u
}

# The test programs with a test that cites the rule: lines "program source".
citing() {
    for source in tests/unit/*/test_*.c; do
        [ -f "$source" ] || continue
        grep -qE "(Test|ParameterizedTest|Theory)\(.*[ ,(_]$1_[a-z]" "$source" || continue
        folder=$(basename "$(dirname "$source")")
        stem=$(basename "$source" .c)
        echo "unit_${folder}_${stem#test_} $source"
    done
}

# (sh has no local variables: each function's own are prefixed.)

# The build's compile command of source `$1`.
compile_command() {
    awk -v file="$PWD/$1" '$1 == file { sub(/^[^ ]+ /, ""); print; exit }' "$work/commands"
}

# Compile `$2` with mutant `$1` on, into `$3`, by the command of the build.
compile_mutant() {
    cm_command=$(compile_command "$2")
    if [ -z "$cm_command" ]; then
        echo "no compile command for $2"
        return 1
    fi
    cm_command=$(echo "$cm_command" | sed "s| -o [^ ]* | -DQD_MUTANT_$1_ON -Wno-error -o $3 |")
    (cd "$build" && eval "$cm_command") 2>&1
}

# The library that source `$1` belongs to: server/core/x.c -> libqd_core.a
library_of() {
    compile_command "$1" | sed 's|.* -o [^ ]*CMakeFiles/\([^/ ]*\)\.dir/.*|lib\1.a|'
}

link_command() {
    ninja -C "$build" -t commands "$1" | tail -n 1
}

# Run the tests of program `$1` that cite rule `$2`; leaves their output in `$3`. 0: all pass.
run_citing() {
    timeout "$seconds_max" "$1" --filter "*/*$2_*" --fail-fast --timeout 30 >"$3" 2>&1
}

# Link program `$2` with the objects of mutant `$1` before its libraries, into `$3`; its sources are the rest.
# 0: linked; 1: it does not link; 2: the program uses none of the mutant's libraries; 3: the program is not built.
link_mutant() {
    lm_name=$1
    lm_program=$2
    lm_out=$3
    shift 3
    lm_command=$(link_command "$lm_program")
    case $lm_command in
    *" -o tests/unit/$lm_program "*) ;;
    *) return 3 ;;
    esac
    lm_objects=''
    for lm_file in "$@"; do
        case $lm_command in
        *"/$(library_of "$lm_file") "*)
            lm_objects="$lm_objects $work/$lm_name.$(echo "$lm_file" | tr / _).o"
            ;;
        esac
    done
    [ -n "$lm_objects" ] || return 2
    lm_command=$(echo "$lm_command" | sed "s| -o tests/unit/$lm_program | -o $lm_out$lm_objects |")
    (cd "$build" && eval "$lm_command") >>"$work/$lm_name.log" 2>&1 || return 1
}

# Compile every file of mutant `$1`. Prints why when it cannot.
compile_all() {
    ca_name=$1
    shift
    for ca_file in "$@"; do
        case $ca_file in
        *.h)
            echo "the switch is in $ca_file; only .c files can hold one"
            return 1
            ;;
        esac
        if ! compile_mutant "$ca_name" "$ca_file" "$work/$ca_name.$(echo "$ca_file" | tr / _).o" >>"$work/$ca_name.log"; then
            echo "$ca_file does not compile ($work/$ca_name.log)"
            return 1
        fi
    done
}

# One mutant: `$1` its name, the rest its files. Prints its line.
try_mutant() {
    name=$1
    shift
    rule=$(rule_of "$name")
    : >"$work/$name.log"
    if ! why=$(compile_all "$name" "$@"); then
        echo "not ok $name: $why"
        return
    fi
    citing "$rule" >"$work/$name.programs"
    killers=''
    linked=0
    while read -r program _; do
        mutant=$work/$name.$program
        got=0
        link_mutant "$name" "$program" "$mutant" "$@" || got=$?
        case $got in
        0) linked=$((linked + 1)) ;;
        2) continue ;;
        3)
            echo "not ok $name: $program is not in the build; run: cmake --build $build"
            return
            ;;
        *)
            echo "not ok $name: $program does not link ($work/$name.log)"
            return
            ;;
        esac
        if ! run_citing "$mutant" "$rule" "$work/$name.$program.out"; then
            killer=$(sed -n 's/^\[FAIL\] \([^ ]*\):.*/\1/p' "$work/$name.$program.out" | head -n 1)
            killers="$killers ${killer:-$program}"
        fi
        rm -f "$mutant"
    done <"$work/$name.programs"
    rm -f "$work/$name".*.o
    if [ "$linked" -eq 0 ]; then
        echo "not ok $name: no test named ${rule}_... links $*"
    elif [ -n "$killers" ]; then
        echo "ok $name killed by$killers"
    else
        echo "not ok $name survives: no test named ${rule}_... fails with it"
    fi
}

# The header itself, then that the tests pass without mutants: else a failure would prove nothing.
check_header() {
    cat >"$work/self.c" <<'C'
#include "server/core/mutant.h"
int main(void) { return QD_MUTANT(D2) + 2 * QD_MUTANT(D2_other); }
C
    for expected in 0 1 2; do
        case $expected in
        0) flag='' ;;
        1) flag=-DQD_MUTANT_D2_ON ;;
        2) flag=-DQD_MUTANT_D2_other_ON ;;
        esac
        # shellcheck disable=SC2086 # one flag or none
        ${CC:-cc} -Wall -Wextra -Wpedantic -Wundef -Werror -I. $flag "$work/self.c" -o "$work/self"
        got=0
        "$work/self" || got=$?
        if [ "$got" -ne "$expected" ]; then
            echo "not ok mutant.h: $got with \"$flag\", not $expected"
            return 1
        fi
    done
    echo "ok mutant.h"
}

check_unmutated() {
    rule=$1
    ran=0
    citing "$rule" >"$work/$rule.programs"
    while read -r program _; do
        out=$work/$rule.$program.base
        if ! run_citing "$build/tests/unit/$program" "$rule" "$out"; then
            echo "not ok $rule: $program fails without a mutant ($out)"
            return 1
        fi
        tested=$(sed -n 's/.*Synthesis: Tested: \([0-9]*\).*/\1/p' "$out")
        ran=$((ran + ${tested:-0}))
    done <"$work/$rule.programs"
    if [ -s "$work/$rule.programs" ] && [ "$ran" -eq 0 ]; then
        echo "not ok $rule: the filter */*${rule}_* finds none of its tests"
        return 1
    fi
}

rm -f "$work"/*.line "$work"/*.out "$work"/*.base
failed=0
check_header || failed=1

awk '/"command":/ { sub(/^ *"command": "/, ""); sub(/",$/, ""); gsub(/\\"/, "\""); gsub(/\\\\/, "\\"); command = $0 }
     /"file":/ { sub(/^ *"file": "/, ""); sub(/",?$/, ""); print $0 " " command }' \
    "$build/compile_commands.json" | grep -v qd_core_bare >"$work/commands"

switches >"$work/switches"
if [ $# -gt 0 ]; then
    for wanted in "$@"; do grep "^$wanted " "$work/switches" || true; done >"$work/wanted"
else
    cp "$work/switches" "$work/wanted"
fi
names=$(cut -d' ' -f1 "$work/wanted" | sort -u)

# in_parallel FUNCTION NAME...: FUNCTION NAME >$work/NAME.line for each, $jobs at a time.
in_parallel() {
    function=$1
    shift
    running=0
    for item in "$@"; do
        "$function" "$item" >"$work/$item.line" &
        running=$((running + 1))
        if [ "$running" -ge "$jobs" ]; then
            wait
            running=0
        fi
    done
    wait
}

try_mutant_by_name() {
    # shellcheck disable=SC2046 # file names of ours have no spaces
    try_mutant "$1" $(awk -v n="$1" '$1 == n { print $2 }' "$work/wanted")
}

# shellcheck disable=SC2046 # a list of rules
in_parallel check_unmutated $(for name in $names; do rule_of "$name"; done | sort -u)
if cat "$work"/*.line 2>/dev/null | grep '^not ok'; then
    failed=1
fi
rm -f "$work"/*.line

# shellcheck disable=SC2086 # a list of names
in_parallel try_mutant_by_name $names

for name in $names; do
    cat "$work/$name.line"
    grep -q '^ok' "$work/$name.line" || failed=1
done

if [ $# -eq 0 ]; then
    for rule in $(sed -n 's/^- \*\*\([DS][0-9]*\)\*\*.*/\1/p' server/core/RULES.md); do
        if grep -qE "^$rule(_| )" "$work/switches"; then
            ! exempt | grep -q "^$rule " || {
                echo "not ok $rule has a mutant and is exempt too"
                failed=1
            }
        elif exempt | grep -q "^$rule "; then
            echo "note: no mutant of $rule: $(exempt | sed -n "s/^$rule //p")"
        else
            echo "not ok $rule has no mutant"
            failed=1
        fi
    done
fi
exit "$failed"
