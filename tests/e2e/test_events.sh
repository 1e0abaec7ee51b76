# Events as operators see them: quotactl events, the log, the metrics.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT
export NO_COLOR=1

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

# follow NAME OPTION...: quotactl events in the background, into $T/NAME; returns when it hears everything.
follow() {
    name=$1
    shift
    : >"$T/$name.err"
    "$QUOTACTL_BIN" --address "$QD_GRPC" events "$@" >"$T/$name" 2>"$T/$name.err" &
    follower=$!
    wait_for "watching" "$T/$name.err"
}

# wait_for PATTERN FILE [COUNT]: until so many of its lines match.
wait_for() {
    for _ in $(seq 1200); do
        [ "$(grep -cE -- "$1" "$2")" -lt "${3:-1}" ] || return 0
        sleep 0.05
    done
    qd_fail "no line matches $1 in $2: $(cat "$2")"
}

report() { # TENANT ID TOKENS
    expect_exit 0 ctl report --tenant "$1" --model m --request-id "$2" --use "input_tokens=$3"
}

metric() {
    curl -s "http://$QD_ADMIN/metrics" | sed -n "s/^$1 //p"
}

P3_a_budget_tells_each_threshold_once() {
    follow all -o json --count 3 --tenant acme
    report other o1 900
    report acme a1 500
    report acme/search a2 100
    report acme a3 250
    report acme a4 200
    expect_exit 0 wait "$follower"
    lines=$(cat "$T/all")
    expect_eq "$(printf '%s\n' "$lines" | sed -n 's/.*"permille":\([0-9]*\),"used":\([0-9]*\),.*/\1:\2/p' | tr '\n' ' ')" "500:500 800:850 1000:1050 "
    expect_match "$lines" '^\{"kind":"THRESHOLD_REACHED","time_unix_ns":[0-9]+,"tenant":"acme","limit":"free.input_tokens","keys":\[\],"permille":500,"used":500,"amount":1000,"unit":"tokens","period_start_unix_ns":[0-9]+,"resets_at_unix_ns":[0-9]+,'
    expect_eq "$(metric 'quotad_events_total{kind="threshold"}')" 5
    expect_eq "$(metric quotad_event_watchers_lost_total)" 0
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="threshold passed" counter=acme limit=input_tokens percent=80.0 used=850 amount=1000'
}

P3_no_threshold_is_told_again_after_a_restart() {
    qd_stop KILL || true
    qd_start --policy "$T/policy.yaml" || exit 1
    follow again --count 1 --kind threshold
    report acme b1 1
    report other b2 99
    report other b3 1
    expect_exit 0 wait "$follower"
    expect_match "$(cat "$T/again")" '^20.*Z  other  free\.input_tokens reached 100%: 1,000 of 1,000; resets 20'
    expect_eq "$(grep -c 'threshold passed' "$QD_LOG")" 1
    qd_stop TERM
}

P3_what_was_reached_right_before_a_stop_is_told() {
    qd_start --policy "$T/policy.yaml" --data-dir "$T/data3" || exit 1
    report late l1 600
    qd_stop TERM
    expect_eq "$(grep -c 'threshold passed" counter=late' "$QD_LOG")" 1
}

S5_an_expiry_is_told_logged_and_counted() {
    follow expired --count 1 --kind expired
    expect_exit 0 ctl check fresh/x --model m --use input_tokens=1 --ttl 1s
    id=$(printf '%s\n' "$out" | sed -n 's/.*; id \(r_[0-9A-Z]*\).*/\1/p')
    expect_exit 0 wait "$follower"
    expect_match "$(cat "$T/expired")" "^20.*Z  fresh/x  reservation $id expired unreported\$"
    expect_match "$(cat "$QD_LOG")" "level=info msg=\"reservation expired unreported\" tenant=fresh/x reservation=$id left_out=0"
    expect_eq "$(metric 'quotad_events_total{kind="expired"}')" 1
}

I2_a_follower_ends_when_asked_or_when_the_node_does() {
    expect_exit 0 ctl events --for 1500ms
    expect_match "$err" "^watching $QD_GRPC\$"
    expect_eq "$out" ""
    follow interrupted
    kill -TERM "$follower"
    expect_exit 0 wait "$follower"
    for _ in $(seq 1200); do
        [ "$(metric quotad_event_watchers)" != 0 ] || break
        sleep 0.05
    done
    expect_eq "$(metric quotad_event_watchers)" 0
    expect_exit 1 ctl events --tenant a//b
    expect_in "$err" 'a//b'
    qd_start --policy "$T/policy.yaml" --data-dir "$T/data2" || exit 1
    follow stopped
    qd_stop TERM || qd_fail "exit $?"
    expect_exit 1 wait "$follower"
    expect_in "$(cat "$T/stopped.err")" "shutting down"
}

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  free: {input_tokens: 1000/month}
tenants:
  "*": {plan: free}
END
qd_start --policy "$T/policy.yaml" || exit 1
qd_run P3_a_budget_tells_each_threshold_once S5_an_expiry_is_told_logged_and_counted \
    I2_a_follower_ends_when_asked_or_when_the_node_does P3_no_threshold_is_told_again_after_a_restart \
    P3_what_was_reached_right_before_a_stop_is_told
QD_PID='' # the last case ended it
qd_done
