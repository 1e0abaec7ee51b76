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
LIST
# Integer helpers of libgcc and compiler-rt: 128-bit division, checked multiplication, population count and the like.
helpers='__(u?divmod|u?div|u?mod|mul|mulo|mulv|addv|subv|neg|negv|ashl|ashr|lshr|clz|ctz|ffs|parity|popcount|bswap|u?cmp|udivmod)(s|d|t)i[234]*'

# Linked to itself alone, every public function a root, so that what a header defines and nobody calls does not count.
ld -shared --gc-sections -o "$library.so" --whole-archive "$library"
symbols=$(nm -D --defined-only "$library.so" | wc -l)
[ "$symbols" -gt 0 ] || say "$library defines nothing"
sort "$library.allowed" >"$library.known"
nm -D --undefined-only -f posix "$library.so" | awk '{ print $1 }' | sort -u >"$library.undefined"
outside=$(comm -23 "$library.undefined" "$library.known" | grep -vxE "$helpers" || true)
for symbol in $outside; do
    users=$(nm -A -u "$library" | awk -v s="$symbol" '$NF == s { split($1, part, ":"); print part[2] }' | sort -u | tr '\n' ' ')
    say "calls outside of core: $symbol (from $users)"
done

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

[ "$failed" -eq 0 ] && echo "core_purity: $symbols functions, all pure"
exit "$failed"
