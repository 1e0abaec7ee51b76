#!/bin/sh
# coverage.sh <build dir>: branch coverage of server/core from the runs in a coverage build; exit 1 below 95%, and when
# a branch that was not taken has no explanation in tests/coverage.allowed, or an explanation has no such branch.
# Not counted: the untaken side of an assertion (QD_CHECK), which a correct program cannot reach. A branch of an inline
# function in a header is taken if it is in any of the files that include it.
# Prints each branch not taken with its explanation, a line for each file, and the total last.
set -eu
cd "$(dirname "$0")/.."
build=$1
info=$build/core.info
lcov --rc lcov_branch_coverage=1 -q -c -d "$build/server/core" -b "$PWD" --no-external -o "$info" >"$build/lcov.log" 2>&1 || {
    cat "$build/lcov.log"
    exit 1
}
awk -v core="$PWD/server/core/" -v allowed=tests/coverage.allowed '
function trim(text) {
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    return text
}
# The text of a file by line, and which lines are assertions: from QD_CHECK( to the closing ");".
function read_source(name,   line, number, inside) {
    while ((getline line < (core name)) > 0) {
        source[name, ++number] = trim(line)
        if (line ~ /QD_CHECK\(/) inside = 1
        if (inside) assertion[name, number] = 1
        if (line ~ /\);/) inside = 0
    }
    close(core name)
}
# tests/coverage.allowed: "file | function | text of the line | why"; "#" begins a comment.
function read_explanations(   line, part, number, parts, i, key) {
    while ((getline line < allowed) > 0) {
        number++
        if (line ~ /^#/ || line ~ /^ *$/) continue
        parts = split(line, part, / \| /)
        if (parts < 4 || trim(part[parts]) == "") {
            printf "%s:%d: not \"file | function | text of the line | why\"\n", allowed, number
            bad++
            continue
        }
        key = trim(part[1]) " | " trim(part[2])
        for (i = 3; i < parts; i++) key = key " | " trim(part[i]) # a line of code may have a bar
        if (key in why) {
            printf "%s:%d: explained twice\n", allowed, number
            bad++
        }
        why[key] = trim(part[parts])
        where[key] = number
    }
    close(allowed)
}
# The function that a line lies in: the last one that begins at or before it.
function function_of(name, line,   begin, best) {
    for (begin = line; begin > 0; begin--)
        if ((name, begin) in begins) return begins[name, begin]
    return "?"
}
BEGIN { read_explanations() }
/^SF:/ {
    file = substr($0, 4)
    wanted = index(file, core) == 1 && file !~ /\/check\.h$/
    name = substr(file, length(core) + 1)
    if (wanted && !(name in names)) { names[name] = 1; read_source(name) }
}
wanted && /^FN:/ { split(substr($0, 4), part, ","); begins[name, part[1]] = part[2] }
wanted && /^BRDA:/ {
    split(substr($0, 6), part, ",")
    if ((name, part[1]) in assertion) next
    key = name SUBSEP part[1] SUBSEP part[3]
    if (!(key in branch)) { order[++count] = key; branch[key] = 0 }
    if (part[4] != "-" && part[4] > 0) branch[key] = 1
}
wanted && /^DA:/ { split(substr($0, 4), part, ","); if (part[2] > run[name, part[1]] + 0) run[name, part[1]] = part[2] + 0 }
END {
    for (i = 1; i <= count; i++) {
        split(order[i], part, SUBSEP)
        total[part[1]]++; all++
        if (branch[order[i]]) { taken[part[1]]++; all_taken++; continue }
        key = part[1] " | " function_of(part[1], part[2]) " | " source[part[1], part[2]]
        used[key] = 1
        if (key in why) { explained++; printf "not taken: server/core/%s:%d branch %d: %s\n", part[1], part[2], part[3], why[key] }
        else { bad++; printf "not taken and not explained: server/core/%s:%d branch %d: %s\n", part[1], part[2], part[3], key }
    }
    for (key in why)
        if (!(key in used)) { bad++; printf "%s:%d: explains nothing now: %s\n", allowed, where[key], key }
    for (key in run) { split(key, part, SUBSEP); lines[part[1]]++; if (run[key] > 0) lines_run[part[1]]++ }
    for (name in names)
        printf "%-24s lines %6.2f%%  branches %6.2f%% of %d\n", name, lines[name] ? 100 * lines_run[name] / lines[name] : 100,
            total[name] ? 100 * taken[name] / total[name] : 100, total[name] | "sort"
    close("sort")
    if (!all) { print "no branches seen"; exit 1 }
    if (bad) printf "%d explanations are missing or stale: see tests/coverage.allowed\n", bad
    printf "branch coverage of server/core: %.2f%% (%d of %d), at least 95%% wanted; %d of %d others explained\n",
        100 * all_taken / all, all_taken, all, explained, all - all_taken
    exit bad > 0 || 100 * all_taken < 95 * all
}' "$info"
