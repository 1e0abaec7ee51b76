#!/bin/sh
# Every rule of server/core/RULES.md is cited by at least one test's name: D2 by `D2_denied_charges_nothing`.
#   sh tests/rules/check.sh           prints each rule as "ok D2 (3 tests)" or "not ok P5 ..."; exits 1 if one is missing, or
#                                   a script has a case that it never runs
# A name counts where a case has it that runs: a Criterion test, a function that a race program or a fuzzer calls, a case
# that a script hands to its runner (script_cases.awk). One in a comment, a text or a function nobody calls does not.
set -eu
cd "$(dirname "$0")/../.."
rules=server/core/RULES.md
names=$(mktemp)
cases=$(mktemp) # of scripts
trap 'rm -f "$names" "$cases"' EXIT

# Test(suite, NAME...), unless it is disabled.
criterion_names() {
    find tests/unit tests/e2e -name 'test_*.c' -exec cat {} + 2>/dev/null | awk -f tests/lib/strip_comments.awk | tr '\n' ' ' |
        grep -oE '(^|[^A-Za-z0-9_])(Test|ParameterizedTest) *\([^)]*\)' | grep -v '\.disabled *= *true' |
        sed 's/^[^(]*( *[A-Za-z0-9_]* *, *\([A-Za-z0-9_]*\).*/\1/'
}

# A function with the rule in its name that is defined and called in the same program.
called_names() {
    find tests/race tests/fuzz -name '*.c' 2>/dev/null | while read -r file; do
        awk -f tests/lib/strip_comments.awk "$file" | sed 's/"[^"]*"/""/g' | grep -oE '[A-Za-z0-9_]+ *[(]' | tr -d ' (' |
            sort | uniq -c | awk '$1 > 1 { print $2 }'
    done
}

script_names() {
    find tests/e2e tests/quickstart.sh -name '*.sh' -exec awk -f tests/rules/script_cases.awk {} + 2>/dev/null
}

script_names | sort -u >"$cases"
{
    criterion_names
    called_names
    cat "$cases"
} | grep -E '(^|_)[A-Z][0-9]+_[a-z]' | sort -u >"$names"

# A case of a script that is written and never handed to its runner.
forgotten=$(find tests/e2e tests/quickstart.sh -name '*.sh' | sort | while read -r file; do
    grep -oE '^[A-Z][0-9]+_[A-Za-z0-9_]+\(\)' "$file" | tr -d '()' | while read -r name; do
        grep -qx "$name" "$cases" || echo "not ok $file: $name is never run"
    done
done)
[ -z "$forgotten" ] || echo "$forgotten"

missing=0
total=0
for rule in $(sed -n 's/^- \*\*\([A-Z][0-9]*\)\*\*.*/\1/p' "$rules"); do
    total=$((total + 1))
    count=$(grep -cE "(^|_)${rule}_" "$names" || true)
    if [ "$count" -eq 0 ]; then
        echo "not ok $rule is cited by no test"
        missing=$((missing + 1))
    else
        echo "ok $rule ($count tests)"
    fi
done
unknown=$(grep -oE '(^|_)[PDSLCHIX][0-9]+_' "$names" | tr -d _ | sort -u | while read -r rule; do
    grep -q "^- \*\*$rule\*\*" "$rules" || echo "$rule"
done)
[ -z "$unknown" ] || echo "note: cited but not in $rules: $(echo "$unknown" | tr '\n' ' ')"
if [ "$total" -eq 0 ]; then
    echo "not ok $rules has no rules"
    exit 1
fi
[ "$missing" -eq 0 ] && [ -z "$forgotten" ]
