#!/bin/sh
# check.sh <libqd_core built at -O0> <server/core>: proves that the core is pure.
#   - it calls nothing but itself, the memory functions the compiler emits anyway, and compiler-rt's integer helpers
#   - it has no writable static state
#   - neither `double` nor `float` is in its sources, comments aside
set -eu
library=$1
sources=$2
failed=0

say() {
    echo "core_purity: $*" >&2
    failed=1
}

# What the core may leave undefined.
cat >"$library.allowed" <<'LIST'
memcpy
memmove
memset
memcmp
strlen
_GLOBAL_OFFSET_TABLE_
LIST
# Integer helpers of libgcc and compiler-rt: 128-bit division, checked multiplication, population count and the like.
helpers='__(u?divmod|u?div|u?mod|mul|mulo|mulv|addv|subv|neg|negv|ashl|ashr|lshr|clz|ctz|ffs|parity|popcount|bswap|u?cmp|udivmod)(s|d|t)i[234]*'

nm --defined-only --extern-only -f posix "$library" | awk 'NF >= 2 { print $1 }' | sort -u >"$library.defined"
nm --undefined-only -f posix "$library" | awk 'NF >= 2 { print $1 }' | sort -u >"$library.undefined"
[ -s "$library.defined" ] || say "$library defines nothing"
sort -u "$library.allowed" "$library.defined" >"$library.known"
outside=$(comm -23 "$library.undefined" "$library.known" | grep -vxE "$helpers" || true)
if [ -n "$outside" ]; then
    for symbol in $outside; do
        users=$(nm -A -u "$library" | awk -v s="$symbol" '$NF == s { split($1, part, ":"); print part[2] }' | sort -u |
            tr '\n' ' ')
        say "calls outside of core: $symbol (from $users)"
    done
fi

# Constants with addresses in them are in .data.rel.ro: read-only once loaded.
state=$(objdump -h "$library" | awk '
    /file format/ { object = $1 }
    $2 ~ /^\.(data|bss|tdata|tbss)(\.|$)/ && $2 !~ /^\.data\.rel\.ro/ && $3 !~ /^0+$/ { print object " " $2 }')
[ -z "$state" ] || say "writable static state: $state"

for file in "$sources"/*.c "$sources"/*.h; do
    [ -f "$file" ] || continue
    hits=$(awk -f "$(dirname "$0")/../lib/strip_comments.awk" "$file" | grep -nwE 'double|float' || true)
    [ -z "$hits" ] || say "$file: floating point: $hits"
done

[ "$failed" -eq 0 ] && echo "core_purity: $(wc -l <"$library.defined") symbols, all pure"
exit "$failed"
