#!/bin/sh
# Every rule of server/core/RULES.md is cited by at least one test's name: D2 by `D2_denied_charges_nothing`.
#   sh tests/rules/check.sh           prints each rule as "ok D2 (3 tests)" or "not ok P5 ..."; exits 1 if one is missing
# A name counts where it names something (a Criterion test, a function, a case of a script), not in a comment.
set -eu
cd "$(dirname "$0")/../.."
rules=server/core/RULES.md
names=$(mktemp)
trap 'rm -f "$names"' EXIT

c_names() {
    # A test that is only spoken of in a comment does not exist.
    find tests -name '*.c' -exec cat {} + | awk -f tests/lib/strip_comments.awk
}

script_names() {
    find tests -name '*.sh' ! -path 'tests/rules/*' ! -path 'tests/mutants/*' -exec sed 's/^[[:space:]]*#.*//' {} +
}

{ c_names; script_names; } | grep -oE '[A-Za-z0-9_]+' | grep -E '(^|_)[A-Z][0-9]+_[a-z]' | sort -u >"$names"

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
[ "$missing" -eq 0 ]
