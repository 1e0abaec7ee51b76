# The cases that a shell script runs: the words after `qd_run` (lib/e2e.sh) and the first one after `expect`
# (quickstart.sh), one a line. A word "$name" stands for the words of an assignment name='...' further up.
# Comments and here-documents run nothing, and neither does a function that is only defined.
FNR == 1 { ending = ""; line = ""; quoted = "" }
ending != "" { # inside a here-document
    text = $0
    if (tabs) sub(/^\t+/, "", text)
    if (text == ending) ending = ""
    next
}
quoted != "" { # inside name='...
    text = $0
    if (sub(/'.*$/, "", text)) { words[quoted] = words[quoted] " " text; quoted = "" }
    else words[quoted] = words[quoted] " " text
    next
}
{ sub(/^[ \t]*#.*$/, ""); sub(/[ \t]#.*$/, "") }
/\\$/ { line = line substr($0, 1, length($0) - 1) " "; next }
{ line = line $0; command(line); line = "" }

function command(text,   parts, count, i, name) {
    if (match(text, /(^|[^<])<<-?[ \t]*["'\\]?[A-Za-z_]+/)) {
        ending = substr(text, RSTART, RLENGTH)
        tabs = ending ~ /<<-/
        sub(/^.*<<-?[ \t]*["'\\]?/, "", ending)
    }
    if (match(text, /^[a-z_]+='/)) {
        name = substr(text, 1, RLENGTH - 2)
        text = substr(text, RLENGTH + 1)
        if (!sub(/'.*$/, "", text)) quoted = name
        words[name] = text
        return
    }
    sub(/^[ \t]+/, "", text)
    sub(/[;&|>].*$/, "", text)
    count = split(text, parts, /[ \t]+/)
    if (parts[1] == "qd_run") for (i = 2; i <= count; i++) show(parts[i])
    else if (parts[1] == "expect") show(parts[2])
}

function show(word,   parts, count, i) {
    gsub(/"/, "", word)
    if (word ~ /^\$[a-z_]+$/) {
        count = split(words[substr(word, 2)], parts, /[ \t]+/)
        for (i = 1; i <= count; i++) if (parts[i] != "") print parts[i]
    } else if (word != "") print word
}
