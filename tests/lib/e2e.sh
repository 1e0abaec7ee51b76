# Shell helpers of the end-to-end tests (tests/e2e/test_*.sh). Source it first:
#
#   . "${QUOTA_TESTLIB_SH:?run through ctest}"
#   I7_denied_exits_2() {                       # a case is a function named by the rule it shows
#       expect_exit 2 "$QUOTACTL_BIN" check ...
#       expect_in "$err" "never fits"
#   }
#   qd_start --dev                              # a server of its own, on ports that the system chose
#   qd_run I7_denied_exits_2
#   qd_done
#
# What cannot run says so, and is counted apart: qd_skip "reason" ends a case, qd_skip "reason" CASE... names cases left out.
#
# Sets: $T (a temporary folder, removed at the end), and after qd_start $QD_PID, $QD_GRPC, $QD_ADMIN (host:port) and
# $QD_LOG. After expect_exit: $out and $err, what the command printed. POSIX sh, no Python.

T=$(mktemp -d "${TMPDIR:-/tmp}/quotad-e2e-XXXXXX") || exit 1
QD_PID=''
QD_GRPC=''
QD_ADMIN=''
QD_LOG=''
qd_ok=0
qd_bad=0
qd_skipped=0

qd_cleanup() {
    [ -z "$QD_PID" ] || kill -9 "$QD_PID" 2>/dev/null
    if [ -n "${QD_KEEP_TMP:-}" ]; then
        echo "kept $T" >&2
    else
        rm -rf "$T"
    fi
}
trap qd_cleanup EXIT
trap 'exit 130' INT TERM

# Ends the running case.
qd_fail() {
    echo "failed: $*" >&2
    exit 1
}

# qd_skip REASON [CASE...]: these cases do not run; without any, the running case ends.
qd_skip() {
    qd_reason=$1
    shift
    if [ $# -eq 0 ]; then
        echo "$qd_reason"
        exit 77
    fi
    for qd_case in "$@"; do
        qd_skipped=$((qd_skipped + 1))
        echo "skip $qd_case: $qd_reason"
    done
}

# qd_same_day SECONDS: waits until the day (UTC) has so many left, for cases that count in windows of a day.
qd_same_day() {
    qd_left=$((86400 - $(date +%s) % 86400))
    [ "$qd_left" -gt "$1" ] || sleep "$((qd_left + 1))"
}

# qd_soon COMMAND...: runs it, in a subshell of its own, until it succeeds: what the server does by itself takes its time, and on
# a busy machine more. A minute at most; then the case fails with what the command said last.
qd_soon() {
    qd_tries=0
    until (trap - EXIT && "$@") >"$T/soon" 2>&1; do
        qd_tries=$((qd_tries + 1))
        [ "$qd_tries" -lt 600 ] || qd_fail "not within a minute: $*
$(cat "$T/soon")"
        sleep 0.1
    done
}

# qd_port TEXT: the number after TEXT in the server's log.
qd_port() {
    sed -n "s|.*$1\([0-9][0-9]*\).*|\1|p" "$QD_LOG" | head -n 1
}

# qd_start ARGUMENT...: starts $QUOTAD_BIN on free ports with these arguments and waits until it serves.
# Data goes to $T/data unless an argument says otherwise. Returns 1, with the log printed, when it does not come up.
qd_start() {
    QD_LOG=$T/quotad.$(date +%s%N).log
    : >"$QD_LOG"
    # What ctest sets for the tests are no settings of the server's.
    env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA \
        QUOTAD_LISTEN=127.0.0.1:0 QUOTAD_ADMIN_LISTEN=127.0.0.1:0 QUOTAD_DATA_DIR="$T/data" "$QUOTAD_BIN" "$@" \
        >"$QD_LOG" 2>&1 &
    QD_PID=$!
    qd_tries=0
    while [ "$qd_tries" -lt 3000 ]; do
        QD_GRPC=$(qd_port 'gRPC [0127.]*:') # 0.0.0.0: from here, too
        QD_ADMIN=$(qd_port 'admin http://[0127.]*:')
        if [ -n "$QD_GRPC" ] && [ -n "$QD_ADMIN" ]; then
            QD_GRPC=127.0.0.1:$QD_GRPC
            QD_ADMIN=127.0.0.1:$QD_ADMIN
            QUOTA_SERVER=$QD_GRPC
            export QUOTA_SERVER
            return 0
        fi
        kill -0 "$QD_PID" 2>/dev/null || break
        sleep 0.02
        qd_tries=$((qd_tries + 1))
    done
    echo "quotad did not come up:" >&2
    cat "$QD_LOG" >&2
    return 1
}

# qd_stop [SIGNAL]: ends the server and returns its exit code (128 + the signal that ended it).
qd_stop() {
    kill "-${1:-TERM}" "$QD_PID" 2>/dev/null
    qd_code=0
    wait "$QD_PID" 2>/dev/null || qd_code=$?
    QD_PID=''
    return "$qd_code"
}

# expect_exit CODE COMMAND...: runs it; $out and $err hold what it printed.
expect_exit() {
    qd_want=$1
    shift
    qd_code=0
    "$@" >"$T/out" 2>"$T/err" </dev/null || qd_code=$?
    out=$(cat "$T/out")
    err=$(cat "$T/err")
    [ "$qd_code" -eq "$qd_want" ] || qd_fail "exit $qd_code, not $qd_want: $*
stdout: $out
stderr: $err"
}

expect_eq() { # GOT WANTED
    [ "$1" = "$2" ] || qd_fail "got:    $1
wanted: $2"
}

expect_in() { # TEXT PART
    case $1 in
    *"$2"*) ;;
    *) qd_fail "\"$2\" is not in: $1" ;;
    esac
}

expect_match() { # TEXT EXTENDED-REGEX (some line of it)
    printf '%s\n' "$1" | grep -qE -- "$2" || qd_fail "no line matches $2: $1"
}

# qd_run CASE...: runs each as a function in a subshell that ends at its first failure.
qd_run() {
    for qd_case in "$@"; do
        (
            trap - EXIT
            set -e
            "$qd_case"
        ) >"$T/case.log" 2>&1
        qd_code=$? # `if (...)` would switch off its set -e
        if [ "$qd_code" -eq 0 ]; then
            qd_ok=$((qd_ok + 1))
            echo "ok $qd_case"
        elif [ "$qd_code" -eq 77 ]; then
            qd_skip "$(tail -n 1 "$T/case.log")" "$qd_case"
        else
            qd_bad=$((qd_bad + 1))
            echo "not ok $qd_case"
            sed 's/^/    /' "$T/case.log"
        fi
    done
}

# Ends the script: 0 when none failed, and at least one case ran or was skipped.
qd_done() {
    if [ -n "$QD_PID" ]; then
        qd_stop TERM || {
            echo "not ok quotad_exits_0_on_SIGTERM (exit $?)"
            sed 's/^/    /' "$QD_LOG" | tail -n 50
            qd_bad=$((qd_bad + 1))
        }
    fi
    # A sanitizer's report in a server's log is a failure, whatever the cases saw.
    if grep -hE -A 30 'ERROR: [A-Za-z]*Sanitizer|runtime error: ' "$T"/quotad.*.log 2>/dev/null; then
        echo "not ok quotad_is_clean"
        qd_bad=$((qd_bad + 1))
    fi
    [ "$qd_bad" -eq 0 ] && [ $((qd_ok + qd_skipped)) -gt 0 ]
    exit
}
