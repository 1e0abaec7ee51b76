#!/bin/sh
# layers.sh <source dir>: a folder includes only its own headers and those of the libraries on its link line, and what
# these show (PUBLIC). The linker alone would not see a header that only declares types.
set -eu
cd "$1"
# shellcheck disable=SC2046 # our file names have no spaces
awk '
# Link lines: "qd_add_library(qd_x ... PUBLIC qd_a PRIVATE qd_b)" and "qd_add_program(name qd_x ...)", comments dropped.
FILENAME ~ /CMakeLists\.txt$/ {
    sub(/#.*/, "")
    if (!open && match($0, /qd_add_(library|program)\(/)) { open = 1; text = ""; program = /qd_add_program/; $0 = substr($0, RSTART + RLENGTH) }
    if (!open) next
    text = text " " $0
    if (text !~ /\)/) next
    open = 0
    sub(/\).*/, "", text)
    count = split(text, word, " ")
    library = program ? word[2] : word[1]
    folder = FILENAME; sub(/\/CMakeLists\.txt$/, "", folder)
    library_of[folder] = library; folder_of[library] = folder
    kind = ""
    for (i = program ? 3 : 2; i <= count; i++) {
        if (word[i] == "PUBLIC" || word[i] == "PRIVATE") kind = word[i]
        else if (word[i] ~ /^qd_/) { links[library] = links[library] " " word[i]; if (kind == "PUBLIC") shows[library] = shows[library] " " word[i] }
    }
    next
}
function reach(library,   i, n, part) {
    if (library in seen) return
    seen[library] = 1
    n = split(shows[library], part, " ")
    for (i = 1; i <= n; i++) reach(part[i])
}
function allowed(from, to,   i, n, part) {
    if (from == to) return 1
    delete seen
    n = split(links[from], part, " ")
    for (i = 1; i <= n; i++) reach(part[i])
    return to in seen
}
/^#[ \t]*include[ \t]*"(server|storage|client|tests)\// {
    split($0, part, "\"")
    to_folder = part[2]; sub(/\/[^\/]*$/, "", to_folder)
    from_folder = FILENAME; sub(/\/[^\/]*$/, "", from_folder)
    checked++
    if (!(from_folder in library_of) || !(to_folder in library_of) || !allowed(library_of[from_folder], library_of[to_folder])) {
        print "layers: " FILENAME ":" FNR ": includes " part[2] ", but " from_folder "/CMakeLists.txt does not link it"
        bad = 1
    }
}
END { if (!bad) print "layers: " checked " includes, all along the link lines"; exit bad }
' $(find server storage client -name CMakeLists.txt) $(find server storage client -name '*.[ch]')
