#!/bin/sh
# coverage.sh <build dir>: branch coverage of server/core from the runs in a coverage build; exit 1 below 95%.
# Not counted: the untaken side of an assertion (QD_CHECK), which a correct program cannot reach.
# Prints each branch not taken, a line for each file, and the total last.
set -eu
cd "$(dirname "$0")/.."
build=$1
info=$build/core.info
lcov --rc lcov_branch_coverage=1 -q -c -d "$build/server/core" -b "$PWD" --no-external -o "$info" >"$build/lcov.log" 2>&1 || {
    cat "$build/lcov.log"
    exit 1
}
awk -v core="$PWD/server/core/" '
# The lines of the assertions of a file: from QD_CHECK( to the closing ");".
function read_assertions(file,   line, number, inside) {
    while ((getline line < file) > 0) {
        number++
        if (line ~ /QD_CHECK\(/) inside = 1
        if (inside) assertion[file, number] = 1
        if (line ~ /\);/) inside = 0
    }
    close(file)
}
/^SF:/ {
    file = substr($0, 4)
    wanted = index(file, core) == 1 && file !~ /\/check\.h$/
    if (wanted) { name = substr(file, length(core) + 1); names[name] = 1; read_assertions(file) }
}
wanted && /^BRDA:/ {
    split(substr($0, 6), part, ",")
    if ((file, part[1]) in assertion) next
    total[name]++; all++
    if (part[4] == "-" || part[4] == 0) printf "not taken: %s%s:%d branch %d\n", "server/core/", name, part[1], part[3]
    else { taken[name]++; all_taken++ }
}
wanted && /^DA:/ { split(substr($0, 4), part, ","); lines[name]++; if (part[2] > 0) run[name]++ }
END {
    for (name in names)
        printf "%-24s lines %6.2f%%  branches %6.2f%% of %d\n", name, lines[name] ? 100 * run[name] / lines[name] : 100,
            total[name] ? 100 * taken[name] / total[name] : 100, total[name] | "sort"
    close("sort")
    if (!all) { print "no branches seen"; exit 1 }
    printf "branch coverage of server/core: %.2f%% (%d of %d), at least 95%% wanted\n", 100 * all_taken / all, all_taken, all
    exit !(100 * all_taken >= 95 * all)
}' "$info"
