#!/bin/sh
# The checks notice what they are for: each is shown something bad and must fail, and something good and must pass.
#   selftest.sh <source dir> <cc>
set -u
source=$1
cc=${2:-cc}
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
bad=0

expect() { # WANTED-EXIT NAME COMMAND...
    wanted=$1
    name=$2
    shift 2
    got=0
    "$@" >"$T/out" 2>&1 || got=$?
    if [ "$got" -eq "$wanted" ]; then
        echo "ok $name"
    else
        echo "not ok $name: exit $got"
        sed 's/^/    /' "$T/out"
        bad=1
    fi
}

# core CODE: a core of one file, as library.
core() {
    rm -rf "$T/core"
    mkdir "$T/core"
    printf '%s\n' "$1" >"$T/core/x.c"
    "$cc" -O0 -fPIC -fno-stack-protector -c "$T/core/x.c" -o "$T/core/x.o" && rm -f "$T/libcore.a" && ar rc "$T/libcore.a" "$T/core/x.o"
}
purity() {
    sh "$source/tests/purity/check.sh" "$T/libcore.a" "$T/core"
}

core '#include <string.h>
static const char *const names[] = {"a"}; /* no float here */
unsigned long f(__int128 x, __int128 y); unsigned long f(__int128 x, __int128 y) { return strlen(names[0]) + (unsigned long)(x / y); }'
expect 0 purity_passes_pure_code purity
core '#include <stdlib.h>
void *f(void); void *f(void) { return malloc(1); }'
expect 1 purity_sees_malloc purity
core '#include <time.h>
long f(void); long f(void) { return time(NULL); }'
expect 1 purity_sees_a_clock purity
core 'int f(void); int f(void) { static int n; return n++; }'
expect 1 purity_sees_static_state purity
core 'int f(int x); int f(int x) { return (int)(x * (double)2); }'
expect 1 purity_sees_floating_point purity

mkdir -p "$T/tree/server/core" "$T/tree/server/shard" "$T/tree/storage" "$T/tree/client"
echo 'qd_add_library(qd_core)' >"$T/tree/server/core/CMakeLists.txt"
echo 'qd_add_library(qd_shard PUBLIC qd_core)' >"$T/tree/server/shard/CMakeLists.txt"
echo '#include "server/core/x.h"' >"$T/tree/server/shard/y.c"
expect 0 layers_passes_a_linked_include sh "$source/tests/purity/layers.sh" "$T/tree"
echo '#include "server/shard/y.h"' >"$T/tree/server/core/x.c"
expect 1 layers_sees_an_include_upwards sh "$source/tests/purity/layers.sh" "$T/tree"

# rules FILE TEXT: a project with one rule and these tests; then its check.
rules() {
    rm -rf "$T/rules"
    mkdir -p "$T/rules/tests/rules" "$T/rules/tests/lib" "$T/rules/server/core" "$T/rules/$(dirname "$1")"
    cp "$source"/tests/rules/* "$T/rules/tests/rules/"
    cp "$source/tests/lib/strip_comments.awk" "$T/rules/tests/lib/"
    echo '- **D1** one rule' >"$T/rules/server/core/RULES.md"
    printf '%s\n' "$2" >"$T/rules/$1"
    sh "$T/rules/tests/rules/check.sh"
}
unit=tests/unit/core/test_x.c
shell=tests/e2e/test_x.sh
expect 0 rules_passes_a_criterion_test rules $unit 'Test(x, D1_is_cited)'
expect 0 rules_passes_a_test_with_a_time rules $unit 'Test(x, limits_D1_is_cited,
     .timeout = 5)'
expect 1 rules_sees_an_uncited_rule rules $unit 'Test(x, D10_is_another)'
expect 1 rules_sees_a_c_comment rules $unit '/* Test(x, D1_only_spoken_of) */ // Test(x, D1_too)'
expect 1 rules_sees_a_disabled_test rules $unit 'Test(x, D1_is_off, .disabled = true)'
expect 1 rules_sees_a_name_that_is_no_test rules $unit 'static void D1_helps(void) {} Test(x, y) { D1_helps(); }'
expect 1 rules_sees_a_test_outside_of_its_place rules tests/bench/x.c 'Test(x, D1_is_not_run)'
expect 0 rules_passes_a_called_function rules tests/race/race_x.c 'void D1_holds(void) {} int main(void) { D1_holds(); }'
expect 1 rules_sees_an_uncalled_function rules tests/race/race_x.c 'void D1_holds(void) {} int main(void) { puts("D1_holds()"); }'
expect 0 rules_passes_a_case_that_runs rules $shell 'qd_run other \
    D1_holds # and this'
expect 0 rules_passes_a_list_of_cases rules $shell "cases='other
    D1_holds'
qd_run \$cases"
expect 1 rules_sees_an_uncalled_case rules $shell 'D1_holds() { true; }
qd_run other'
expect 1 rules_sees_a_shell_comment rules $shell '# qd_run D1_holds
qd_run other # D1_holds'
expect 1 rules_sees_a_here_document rules $shell 'cat <<-"END"
	qd_run D1_holds
	END
qd_run other'
expect 1 rules_sees_a_case_left_out rules $shell 'qd_skip "why" D1_holds'

cat >"$T/junit.xml" <<'XML'
<testsuite name="x">
	<testcase name="criterion" status="fail">
		<system-out>[====] Synthesis: Tested: 5 | Passing: 3 | Failing: 2 | Crashing: 1
</system-out>
	</testcase>
	<testcase name="leaks" status="fail">
		<system-out>[====] Synthesis: Tested: 2 | Passing: 2 | Failing: 0 | Crashing: 0
</system-out>
	</testcase>
	<testcase name="script" status="fail">
		<system-out>ok one
not ok two
skip three: &quot;no mount&quot; here
</system-out>
	</testcase>
	<testcase name="skips" status="run">
		<system-out>[SKIP] suite::four: no file
[====] Synthesis: Tested: 0 | Passing: 0 | Failing: 0 | Crashing: 0
</system-out>
	</testcase>
	<testcase name="plain" status="run">
	</testcase>
	<testcase name="absent" status="notrun">
	</testcase>
</testsuite>
XML
sh "$source/tests/count.sh" "$T/junit.xml" >"$T/counts"
# 3 + 2 + 1 + 1 passed; 2, a report besides, 1 and 1 failed; two skipped, which are no passes.
expect 0 count_adds_cases grep -qx '7 5 2' "$T/counts"
expect 0 count_names_what_a_script_skips grep -qx 'skip three: "no mount" here' "$T/counts"
expect 0 count_names_what_criterion_skips grep -qx 'skip suite::four: no file' "$T/counts"
exit "$bad"
