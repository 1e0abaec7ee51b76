#!/bin/sh
# 100,000 rules match as fast as 100: what all of a ShouldRateLimit call takes, in instructions, from the message's bytes to the
# answer's. No time is measured.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

tool=${QUOTAD_BUILD_DIR:?run through ctest}/tests/e2e/rls_rules
calls=320

instructions() { # COUNT: of one call by so many rules
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --instr-atstart=no "$tool" "$1" "$calls" >"$T/out" 2>"$T/err" ||
        qd_fail "$(cat "$T/err")"
    expect_eq "$(cat "$T/out")" $((3 * (calls + 32))) # each descriptor met a rule
    echo $(($(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$T/err") / calls))
}

I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred() {
    few=$(instructions 100)
    many=$(instructions 100000)
    echo "by 100 rules: $few instructions; by 100,000: $many"
    [ "$few" -gt 1000 ] || qd_fail "only $few instructions: what is counted is not the call"
    [ $((many * 100)) -le $((few * 110)) ] || qd_fail "$many instructions by 100,000 rules, $few by 100"
}

if [ ! -x "$tool" ]; then
    qd_skip 'valgrind runs no program that is sanitized' \
        I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred
elif ! command -v valgrind >/dev/null; then
    qd_skip 'valgrind is not installed: sh deploy/packages.sh --test' \
        I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred
else
    qd_run I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred
fi
qd_done
