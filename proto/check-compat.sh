#!/bin/sh
# Holds quota.v1 to its promise (proto/README.md): what proto/quota.lock lists is never renumbered, retyped, renamed or
# reused, and goes only when its number and its name are reserved.
#
#   sh proto/check-compat.sh            compare the .proto files with proto/quota.lock; exit 1 when they break it
#   sh proto/check-compat.sh --update   the same, then add what is new to proto/quota.lock
#
# Needs protoc; builds its tool with protoc-c and cc, unless QD_PROTO_TOOL names a built qd_proto_tool.
# QD_PROTO_DIR: another folder of .proto files and a quota.lock (the tests use it).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
proto=${QD_PROTO_DIR:-$here}
lock=$proto/quota.lock
update=no
case ${1-} in
'') ;;
--update) update=yes ;;
*)
    echo "usage: sh proto/check-compat.sh [--update]" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

tool=${QD_PROTO_TOOL-}
if [ -z "$tool" ]; then
    tool=$work/tool
    protoc-c --proto_path="$here" --c_out="$work" "$here/tools/descriptor.proto"
    ${CC:-cc} -std=c11 -O1 -I"$work" -I"$here/tools" -o "$tool" "$here"/tools/*.c "$work/tools/descriptor.pb-c.c" \
        -lprotobuf-c
fi

(cd "$proto" && protoc --proto_path=. --include_imports --descriptor_set_out="$work/set" quota/v1/*.proto)
"$tool" lock "$work/set" "$work/now" quota.
LC_ALL=C sort "$work/now" >"$work/current"
if [ ! -e "$lock" ] && [ $update = yes ]; then
    : >"$lock"
fi
if [ ! -r "$lock" ]; then
    echo "$lock: missing; it is part of the source: restore it from the history" >&2
    exit 1
fi
grep -v '^#' "$lock" >"$work/locked" || :

# What the lock has and the files no longer have. A field or value may go when its number and name are reserved.
status=0
awk '
    function ident() { return $1 == "field" || $1 == "value" ? $1 " " $2 " " $3 : "" }
    FNR == NR {
        have[$0] = 1
        if (ident() != "") now[ident()] = $0
        if ($1 == "method") now[$1 " " $2 " " $3] = $0
        next
    }
    $0 in have { next }
    $1 == "field" || $1 == "value" {
        if (ident() in now) {
            print "was  " $0 "\nnow  " now[ident()] "\n     the number " $3 " is taken for ever: give the new one another number"
        } else if (!(("reserved " $2 " " $3) in have) || !(("reserved " $2 " " $4) in have)) {
            print "gone " $0 "\n     keep it, or write in " $2 ": reserved " $3 "; reserved \"" $4 "\";"
        } else next
        bad = 1
        next
    }
    $1 == "method" && ($1 " " $2 " " $3) in now {
        print "was  " $0 "\nnow  " now[$1 " " $2 " " $3] "\n     a method keeps its types: add another method"
        bad = 1
        next
    }
    { print "gone " $0 "\n     keep it: clients of this version may use it"; bad = 1 }
    END { exit bad }
' "$work/current" "$work/locked" >&2 || status=1
if [ $status -ne 0 ]; then
    echo "$lock: compatibility is broken, see above" >&2
    exit 1
fi

if [ $update = yes ]; then
    {
        echo '# What quota.v1 has promised; one line each, see tools/lock.h. Written by: sh proto/check-compat.sh --update'
        cat "$work/current"
    } >"$work/new"
    cp "$work/new" "$lock"
    echo "$lock: $(wc -l <"$work/current") lines"
    exit 0
fi
LC_ALL=C comm -23 "$work/current" "$work/locked" >"$work/added"
if [ -s "$work/added" ]; then
    sed 's/^/new  /' "$work/added" >&2
    echo "$lock: lacks what is new, see above; run: sh proto/check-compat.sh --update, and commit it" >&2
    exit 1
fi
echo "quota.v1 keeps its promise: $(wc -l <"$work/current") lines agree with quota.lock"
