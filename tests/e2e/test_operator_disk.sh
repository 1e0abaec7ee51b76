# A disk that fills up under a node, and is made room on again (X4). ctest-timeout: 200
. "${QUOTA_TESTLIB_SH:?run through ctest}"

MOUNT=$T/disk
mkdir -p "$MOUNT"
cases='X4_reports_are_refused_and_told_what_to_do X4_checks_go_on X4_readyz_and_metrics_say_so
    X4_the_log_says_when_it_began X4_room_again_and_reports_are_taken_without_a_restart
    X4_what_was_acknowledged_is_there_once'
if ! mount -t tmpfs -o size=300m tmpfs "$MOUNT" 2>/dev/null; then
    # shellcheck disable=SC2086 # a list of names
    qd_skip "a tmpfs cannot be mounted here: it takes root" $cases
    qd_done
fi
trap 'qd_cleanup_disk' EXIT
qd_cleanup_disk() {
    [ -z "$QD_PID" ] || kill -9 "$QD_PID" 2>/dev/null
    QD_PID=''
    sleep 0.2
    umount -l "$MOUNT" 2>/dev/null
    qd_cleanup
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
prices:
  m: {input_tokens: $1/1M, output_tokens: $2/1M}
plans:
  pro: {requests: 100k/min, cost: $500/month}
tenants:
  "*": {plan: pro}
END

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" --timeout 20s "$@"
}

report() { # REQUEST_ID
    ctl report --tenant acme --request-id "$1" --model m --use input_tokens=1000
}

# Leave so little room that the store cannot set space aside for later, start, then take the rest.
dd if=/dev/zero of="$MOUNT/most" bs=1M count=298 2>/dev/null
qd_start --policy "$T/policy.yaml" --data-dir "$MOUNT/data" || exit 1
dd if=/dev/zero of="$MOUNT/rest" bs=1k 2>/dev/null
booked=0
while [ $booked -lt 200 ] && report "r$booked" >"$T/last" 2>&1; do
    booked=$((booked + 1))
done

X4_reports_are_refused_and_told_what_to_do() {
    expect_exit 1 report "r$booked"
    expect_in "$err" "quotactl report: not booked: the ledger cannot store: writing: disk full ("
    expect_in "$err" "No space left on device); reports are refused until it can, send this one again"
    expect_in "$err" "not booked, or not known to be: the same command again books it once"
    printf 'tenant: "acme" request_id: "refused" model: "m" usage { meter: "input_tokens" amount: 1 }' |
        protoc --proto_path="$QUOTAD_SOURCE_DIR/proto" --encode=quota.v1.ReportUsageRequest quota/v1/quota.proto >"$T/request"
    code=0
    "$QUOTAD_BUILD_DIR/tests/e2e/grpc_call" -d 5000 "$QD_GRPC" /quota.v1.QuotaService/ReportUsage <"$T/request" \
        >/dev/null 2>"$T/err" || code=$?
    expect_eq "$code" 14
    expect_match "$(cat "$T/err")" '^status=14 reason=STORE_ERROR message=not booked: the ledger cannot store: '
}

X4_checks_go_on() {
    expect_exit 0 ctl check acme --model m --use input_tokens=100 --use max_output_tokens=100
    expect_match "$out" '^ALLOW acme m; tightest '
}

X4_readyz_and_metrics_say_so() {
    code=$(curl -s -o "$T/page" -w '%{http_code}' "http://$QD_ADMIN/readyz")
    expect_eq "$code" 503
    expect_match "$(cat "$T/page")" '^\[-\]ledger failed: writing: disk full \(.*No space left on device\); reports are refused until it can write, checks go on$'
    expect_eq "$(tail -n 1 "$T/page")" "not ready"
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_ledger_failed 1$'
    expect_eq "$(curl -s -o "$T/page" -w '%{http_code}' "http://$QD_ADMIN/livez")" 200
}

X4_the_log_says_when_it_began() {
    for _ in $(seq 600); do
        grep -q 'the store takes no writes' "$QD_LOG" && break
        sleep 0.1
    done
    expect_match "$(cat "$QD_LOG")" \
        'level=error msg="the store takes no writes: reports are refused, checks go on" why="writing: disk full \('
}

X4_room_again_and_reports_are_taken_without_a_restart() {
    rm "$MOUNT/rest" "$MOUNT/most"
    for _ in $(seq 600); do
        grep -q 'the store takes writes again' "$QD_LOG" && break
        sleep 0.1
    done
    expect_match "$(cat "$QD_LOG")" 'level=info msg="the store takes writes again"'
    expect_eq "$(curl -s "http://$QD_ADMIN/readyz")" ready
    expect_exit 0 report "r$booked"
    expect_match "$out" '^BOOKED entry .*#[0-9]+; cost \$0\.001, charge \$0\.001; reservation post-paid$'
}

X4_what_was_acknowledged_is_there_once() {
    ctl ledger ls -o json | grep -c '"request_id":"r[0-9]' >"$T/count" || :
    expect_eq "$(cat "$T/count")" "$((booked + 1))"
    expect_exit 0 report r0
    expect_in "$out" "(booked before)"
}

# shellcheck disable=SC2086 # a list of names
qd_run $cases
qd_stop TERM || echo "not ok quotad_exits_0_on_SIGTERM (exit $?)"
qd_start --policy "$T/policy.yaml" --data-dir "$MOUNT/data" || exit 1
qd_run X4_what_was_acknowledged_is_there_once
qd_done
