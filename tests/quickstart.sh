#!/bin/sh
# What README promises first: `sh deploy/quickstart.sh --once` builds, starts a node, replays real traffic, shows a check
# that is allowed and one that is denied, and exits 0. Builds build/release where that is not done.
set -u
cd "$(dirname "$0")/.." || exit 1
T=$(mktemp -d "${TMPDIR:-/tmp}/quotad-quickstart-XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
bad=0

# expect NAME COMMAND...: a case that passes when the command exits 0.
expect() {
    name=$1
    shift
    if "$@" >"$T/got" 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name"
        sed 's/^/    /' "$T/got" "$T/out"
        bad=1
    fi
}

# one_line EXTENDED-REGEX: exactly one line of the output matches.
one_line() {
    count=$(grep -cE -- "$1" "$T/out")
    [ "$count" -eq 1 ] || {
        echo "$count lines match $1"
        return 1
    }
}

# A replay's table: its head, eight rows, the rest and the sum of all.
tables() {
    awk '
        /^tenant +model +requests +admitted +denied +estimated +held +spent +cached +gpu s +cost +charge +denied by$/ { heads++; rows = 0; next }
        heads && /^all +[0-9,]+ +[0-9,]+ +[0-9,]+ / { if (rows == 9) whole++ }
        { rows++ }
        END { if (heads != 2 || whole != 2) { print heads " heads, " whole " whole tables"; exit 1 } }' "$T/out"
}

# Some requests are admitted and some denied, each limit named, and every replay adds up.
adds_up() {
    awk '
        /^replay: / {
            replays++
            if ($2 != $4 + $6 || $4 == 0 || $6 == 0 || $0 !~ /denied \(free\.[a-z]+ [0-9]+/) { print; bad = 1 }
        }
        END { exit bad || replays != 2 }' "$T/out"
}

code=0
env -u QUOTAD_LISTEN -u QUOTAD_ADMIN_LISTEN -u QUOTAD_TRACE_DATA -u QUOTAD_BUILD_DIR -u QUOTAD_SOURCE_DIR \
    sh deploy/quickstart.sh --once >"$T/out" 2>&1 </dev/null || code=$?
expect I7_quickstart_exits_0 [ "$code" -eq 0 ]
expect I7_quickstart_prints_two_tables tables
expect I7_quickstart_admits_some_and_denies_some adds_up
expect D3_quickstart_allows_one_check \
    one_line '^ALLOW acme/search llama-70b; tightest [^ ]+: [0-9,.]+ s? ?of [0-9,.]+ ?[a-z]*; held 1,600 tokens; id r_'
expect D3_quickstart_denies_one_with_its_binding_limit \
    one_line '^DENY  hobby gpt-4o: free\.tokens: estimate 50,000 > 40,000; never fits, lower max_output_tokens$'
expect L1_quickstart_shows_what_was_used one_line '^[-0-9]+ [:0-9]+Z +llama-70b '
expect X5_quickstart_stops_its_node one_line '^== done: the node stops$'
exit "$bad"
