# For tests of the server as such: sourced after $QUOTA_TESTLIB_SH.
#
#   say CheckQuota 'tenant: "acme"'            one call in protobuf's text form; $answer and $status
#   say AdminService/PutTenant '...'           a service other than QuotaService
#   raw CheckQuota <bytes                      as it is
proto_dir=${QUOTAD_SOURCE_DIR:?run through ctest}/proto
grpc_call=${QUOTAD_BUILD_DIR:?run through ctest}/tests/e2e/grpc_call

rpc_service() {
    case $1 in
    */*) echo "${1%%/*}" ;;
    *) echo QuotaService ;;
    esac
}

rpc_file() {
    case $(rpc_service "$1") in
    AdminService) echo quota/v1/admin.proto ;;
    UsageService) echo quota/v1/usage.proto ;;
    *) echo quota/v1/quota.proto ;;
    esac
}

# $status: "3 UNKNOWN_METER the sentence", or "0".
rpc_status() {
    sed -e 's/^status=\([0-9]*\) reason=\([A-Z_0-9]*\) message=/\1 \2 /' -e 's/^status=\([0-9]*\) message=/\1 /' -e 's/ $//' "$T/rpc.err"
}

raw() {
    "$grpc_call" "$QD_GRPC" "/quota.v1.$(rpc_service "$1")/${1##*/}" >"$T/rpc.out" 2>"$T/rpc.err" || true
    status=$(rpc_status)
}

say() {
    printf '%s' "$2" | protoc -I "$proto_dir" --encode="quota.v1.${1##*/}Request" "$(rpc_file "$1")" >"$T/rpc.in"
    raw "$1" <"$T/rpc.in"
    answer=$(protoc -I "$proto_dir" --decode="quota.v1.${1##*/}Response" "$(rpc_file "$1")" <"$T/rpc.out")
}

# field NAME: the first value of a field in $answer.
field() {
    printf '%s\n' "$answer" | sed -n "s/^ *$1: \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" | head -n 1
}
