# C without its comments, line by line. (A comment mark inside a string would be taken for one: ours have none.)
{
    line = $0
    out = ""
    while (line != "") {
        if (inside) {
            at = index(line, "*/")
            line = at ? substr(line, at + 2) : ""
            if (at) inside = 0
        } else {
            at = index(line, "/*")
            out = out (at ? substr(line, 1, at - 1) " " : line)
            line = at ? substr(line, at + 2) : ""
            if (at) inside = 1
        }
    }
    sub(/\/\/.*/, "", out)
    print out
}
