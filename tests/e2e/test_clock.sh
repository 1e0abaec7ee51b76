#!/bin/sh
# C7: the system's clock steps back an hour and forward a year under a running node: verdicts do not notice, the alarm does.
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/rpc.sh"

cat >"$T/policy.yaml" <<'YAML'
version: 1
plans:
  basic:
    requests: 2/hour
tenants:
  acme: {plan: basic}
YAML

shim=$QUOTAD_BUILD_DIR/tests/e2e/libclock_shim.so
# moved SECONDS: at once, so that nobody reads a file without a number.
moved() {
    echo "$1" >"$T/clock.new"
    mv "$T/clock.new" "$T/clock"
}

alarm() {
    say AdminService/GetStatus ''
    expect_in "$answer" 'code: "CLOCK_STEP"'
    expect_match "$answer" "clock is $1[0-9]* ms off: not followed; set it right, or restart quotad to $2"
    expect_eq "$(field state)" NODE_STATE_DEGRADED
}

C7_forward_a_year() {
    say CheckQuota 'tenant: "acme"'
    say CheckQuota 'tenant: "acme"'
    expect_eq "$(field verdict)" VERDICT_ALLOWED
    moved 31536000
    qd_soon alarm 3153 "take it over"
    say CheckQuota 'tenant: "acme"'
    expect_eq "$(field verdict)" VERDICT_DENIED
    expect_match "$(field message)" '^basic.requests 2 used [+] 1 estimated > 2/hour; retry in about (5[0-9] min [0-9]+ s|1 h [01] min)$'
}

C7_back_an_hour() {
    moved -3600
    qd_soon alarm -3 "come near it at half speed"
    say CheckQuota 'tenant: "acme"'
    expect_eq "$(field verdict)" VERDICT_DENIED
    expect_match "$(field message)" 'retry in about (5[0-9] min [0-9]+ s|1 h [01] min)$'
    expect_match "$(curl -s "http://$QD_ADMIN/readyz?verbose")" 'clock'
}

C7_near_again_ends_the_alarm() {
    moved 0
    qd_soon serving
}

serving() {
    say AdminService/GetStatus ''
    expect_eq "$(field state)" NODE_STATE_SERVING
}

echo 0 >"$T/clock"
QD_CLOCK_FILE=$T/clock
LD_PRELOAD=$shim
export QD_CLOCK_FILE LD_PRELOAD
qd_start --policy "$T/policy.yaml" || exit 1
unset LD_PRELOAD
qd_run C7_forward_a_year C7_back_an_hour C7_near_again_ends_the_alarm
qd_done
