#!/bin/sh
# proto/check-compat.sh catches what breaks a client, lets pass what does not, and says what to do.
# Usage: compat.sh PROTO_FOLDER   (QD_PROTO_TOOL as in check-compat.sh)
set -eu

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# check <expected exit> <expected text> <name>: runs over a fresh copy that <name>'s sed script changed.
check() {
    status=0
    QD_PROTO_DIR=$work/proto sh "$source/check-compat.sh" "${update-}" >"$work/out" 2>&1 || status=$?
    if [ "$status" -eq "$1" ] && grep -qF -- "$2" "$work/out"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $3: exit $status, expected $1 and \"$2\":"
        sed 's/^/    /' "$work/out"
    fi
}

# change <file> <sed script>: in a fresh copy.
change() {
    rm -rf "$work/proto"
    mkdir -p "$work/proto"
    cp -R "$source/quota" "$source/quota.lock" "$work/proto/"
    sed "$2" "$source/quota/v1/$1" >"$work/proto/quota/v1/$1"
    if [ -n "$2" ] && cmp -s "$source/quota/v1/$1" "$work/proto/quota/v1/$1"; then
        failed=$((failed + 1))
        echo "FAILED: the change \"$2\" changes nothing in $1"
    fi
}

change types.proto ''
check 0 'agree with quota.lock' 'as committed'

change types.proto 's/int64 amount = 2;/int64 amount = 9;/'
check 1 'gone field quota.v1.Amount 2 amount int64' 'renumbered'

change types.proto 's/int64 amount = 2;/string amount = 2;/'
check 1 'now  field quota.v1.Amount 2 amount string' 'retyped'

change types.proto 's/int64 amount = 2;/repeated int64 amount = 2;/'
check 1 'now  field quota.v1.Amount 2 amount repeated:int64' 'made repeated'

change types.proto 's/int64 amount = 2;/int64 sum = 2;/'
check 1 'now  field quota.v1.Amount 2 sum int64' 'renamed'

change types.proto 's/int64 amount = 2;/oneof o { int64 amount = 2; }/'
check 1 'now  field quota.v1.Amount 2 amount int64@o' 'moved into a oneof'

change types.proto '/int64 amount = 2;/d'
check 1 'reserved 2; reserved "amount";' 'removed'

change types.proto 's/int64 amount = 2;/reserved 2;/'
check 1 'reserved 2; reserved "amount";' 'removed, only the number reserved'

change types.proto 's/int64 amount = 2;/reserved 2; reserved "amount";/'
check 1 'new  reserved quota.v1.Amount 2' 'removed and reserved, the lock not yet updated'
update=--update
check 0 'lines' 'removed and reserved, updating'
unset update
check 0 'agree with quota.lock' 'removed and reserved, updated'
sed 's/reserved 2; reserved "amount";//' "$work/proto/quota/v1/types.proto" >"$work/again"
cp "$work/again" "$work/proto/quota/v1/types.proto"
check 1 'gone reserved quota.v1.Amount 2' 'a reservation taken back'

change types.proto '/SERVICE_TIER_FLEX = 3;/d'
check 1 'reserved 3; reserved "SERVICE_TIER_FLEX";' 'enum value removed'

change types.proto 's/SERVICE_TIER_FLEX = 3;/reserved 3; reserved "SERVICE_TIER_FLEX";/'
update=--update
check 0 'lines' 'enum value removed and reserved'
unset update

change quota.proto '/rpc CancelReservation/d'
check 1 'gone method quota.v1.QuotaService CancelReservation' 'method removed'

change quota.proto 's/returns (stream StreamQuotaResponse)/returns (StreamQuotaResponse)/'
check 1 'a method keeps its types' 'method made unary'

change quota.proto 's/ItemError/ItemFault/g'
check 1 'gone message quota.v1.ItemError' 'message renamed'

change types.proto 's/int64 amount = 2;/&\n  string note = 3;/'
check 1 'new  field quota.v1.Amount 3 note string' 'field added, the lock not yet updated'
update=--update
check 0 'lines' 'field added, updating'
unset update
check 0 'agree with quota.lock' 'field added, updated'

change types.proto 's/int64 amount = 2;/int64 amount = 9;/'
update=--update
check 1 'compatibility is broken' 'updating does not paper over a break'
unset update

change types.proto ''
rm "$work/proto/quota.lock"
check 1 'missing; it is part of the source' 'no lock'

echo "check-compat: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
