#!/bin/sh
# count.sh <junit.xml>: prints "PASSED FAILED" of a ctest run by its individual cases.
# A Criterion program counts by its synthesis line and a script by its "ok NAME" / "not ok NAME" lines. A test without
# any counts as one. One that ctest calls failed though none of its cases is (a sanitizer's report, a crash, a timeout,
# a wrong exit code) counts as one failure more.
set -eu
awk '
function value(key,   text) {
    if (!match($0, " " key "=\"[^\"]*\"")) return ""
    text = substr($0, RSTART, RLENGTH)
    sub(/^[^"]*"/, "", text); sub(/"$/, "", text)
    return text
}
function close_test() {
    if (status == "") return
    if (tested + good + bad == 0) { if (status == "run") good = 1; else bad = 1 }
    else { good += passing; bad += tested - passing }
    if (status != "run" && bad == 0) bad = 1
    passed += good; failed += bad
    status = ""
}
/<testcase / { close_test(); status = value("status"); tested = passing = good = bad = 0 }
{ line = $0; sub(/^.*<system-out>/, "", line) }
line ~ /Synthesis: Tested: [0-9]+ / {
    match(line, /Tested: [0-9]+/); tested += substr(line, RSTART + 8, RLENGTH - 8)
    match(line, /Passing: [0-9]+/); passing += substr(line, RSTART + 9, RLENGTH - 9)
}
line ~ /^ok [A-Za-z0-9]/ && status != "" { good++ }
line ~ /^not ok [A-Za-z0-9]/ && status != "" { bad++ }
/<\/testsuite>/ { close_test() }
END { close_test(); print passed + 0, failed + 0 }
' "$1"
