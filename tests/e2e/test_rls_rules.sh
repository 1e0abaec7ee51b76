#!/bin/sh
# 100,000 rules match as fast as 100, and a long value that almost meets thousands of wildcards costs so much a byte: what
# all of a ShouldRateLimit call takes, in instructions, from the message's bytes to the answer's. No time is measured.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

tool=${QUOTAD_BUILD_DIR:?run through ctest}/tests/e2e/rls_rules

instructions() { # COUNT CALLS DESCRIPTORS [KEY]: of one call by so many rules; each descriptor of each call must meet one
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --instr-atstart=no "$tool" "$1" "$2" ${4:+"$4"} >"$T/out" 2>"$T/err" ||
        qd_fail "$(cat "$T/err")"
    expect_eq "$(cat "$T/out")" $(($3 * ($2 + 32)))
    echo $(($(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$T/err") / $2))
}

I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred() {
    few=$(instructions 100 320 3)
    many=$(instructions 100000 320 3)
    echo "by 100 rules: $few instructions; by 100,000: $many"
    [ "$few" -gt 1000 ] || qd_fail "only $few instructions: what is counted is not the call"
    [ $((many * 100)) -le $((few * 110)) ] || qd_fail "$many instructions by 100,000 rules, $few by 100"
}

# At every fourth byte of the value a piece of one wildcard ends, and nothing matches.
X2_a_long_value_costs_the_same_by_a_hundred_and_by_five_thousand_wildcards() {
    plain=$(instructions 100 8 1 path)
    few=$(instructions 100 8 1 route)
    many=$(instructions 5000 8 1 route)
    echo "60,000 bytes: $plain instructions without wildcards; by 100 of them $few, by 5,000 $many"
    [ "$plain" -gt 10000 ] || qd_fail "only $plain instructions: what is counted is not the call"
    [ $((many * 100)) -le $((few * 150)) ] || qd_fail "$many instructions by 5,000 wildcards, $few by 100"
    [ "$many" -le $((plain + 60000 * 100)) ] || qd_fail "more than 100 instructions a byte: $many, $plain without wildcards"
}

X2_wildcards_that_share_their_first_piece_cost_what_can_match() {
    few=$(instructions 100 320 1 users)
    many=$(instructions 10000 320 1 users)
    echo "by 100 wildcards: $few instructions; by 10,000: $many"
    [ "$few" -gt 1000 ] || qd_fail "only $few instructions: what is counted is not the call"
    [ $((many * 100)) -le $((few * 110)) ] || qd_fail "$many instructions by 10,000 wildcards, $few by 100"
}

if [ ! -x "$tool" ]; then
    qd_skip 'valgrind runs no program that is sanitized' \
        I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred \
        X2_a_long_value_costs_the_same_by_a_hundred_and_by_five_thousand_wildcards \
        X2_wildcards_that_share_their_first_piece_cost_what_can_match
elif ! command -v valgrind >/dev/null; then
    qd_skip 'valgrind is not installed: sh deploy/packages.sh --test' \
        I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred \
        X2_a_long_value_costs_the_same_by_a_hundred_and_by_five_thousand_wildcards \
        X2_wildcards_that_share_their_first_piece_cost_what_can_match
else
    qd_run I3_point_10_a_call_by_a_hundred_thousand_rules_takes_the_instructions_of_one_by_a_hundred \
        X2_a_long_value_costs_the_same_by_a_hundred_and_by_five_thousand_wildcards \
        X2_wildcards_that_share_their_first_piece_cost_what_can_match
fi
qd_done
