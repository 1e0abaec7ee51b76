#!/bin/sh
# count.sh <junit.xml>: prints "PASSED FAILED SKIPPED" of a ctest run by its individual cases, then a line "skip NAME: why"
# for each that was skipped.
# A Criterion program counts by its synthesis line, which leaves out what it skips ("[SKIP] SUITE::NAME: why"), and a
# script by its "ok NAME", "not ok NAME" and "skip NAME: why" lines. A test without any counts as one. One that
# ctest calls failed though none of its cases is (a sanitizer's report, a crash, a timeout, a wrong exit code) counts as
# one failure more.
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
    if (tested + good + bad + skips == 0) { if (status == "run") good = 1; else bad = 1 }
    else { good += passing; bad += tested - passing }
    if (status != "run" && bad == 0) bad = 1
    passed += good; failed += bad; skipped += skips
    status = ""
}
/<testcase / { close_test(); status = value("status"); tested = passing = good = bad = skips = 0 }
{ line = $0; sub(/^.*<system-out>/, "", line) }
line ~ /Synthesis: Tested: [0-9]+ / {
    match(line, /Tested: [0-9]+/); tested += substr(line, RSTART + 8, RLENGTH - 8)
    match(line, /Passing: [0-9]+/); passing += substr(line, RSTART + 9, RLENGTH - 9)
}
line ~ /^ok [A-Za-z0-9]/ && status != "" { good++ }
line ~ /^not ok [A-Za-z0-9]/ && status != "" { bad++ }
(line ~ /^skip [A-Za-z0-9]/ || line ~ /^\[SKIP\] /) && status != "" {
    skips++
    sub(/^\[SKIP\] /, "", line); sub(/^skip /, "", line)
    gsub(/&quot;/, "\"", line); gsub(/&lt;/, "<", line); gsub(/&gt;/, ">", line); gsub(/&amp;/, "\\&", line)
    list = list "skip " line "\n"
}
/<\/testsuite>/ { close_test() }
END { close_test(); print passed + 0, failed + 0, skipped + 0; printf "%s", list }
' "$1"
