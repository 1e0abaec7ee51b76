#!/bin/sh
# A policy that takes long to load: the node goes on meanwhile.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT
TENANTS=100000

big_policy() { # REQUESTS
    awk -v tenants=$TENANTS -v requests="$1" 'BEGIN {
        print "version: 1\nplans:\n  p:\n    requests: " requests "/min\ntenants:"
        for (i = 0; i < tenants; i++) {
            print "  t" i ": {plan: p}"
        }
    }' >"$T/new.yaml"
    mv "$T/new.yaml" "$T/policy.yaml"
}

has_logged() { # TEXT
    grep -qF -- "$1" "$QD_LOG"
}

wait_log() { # TEXT
    for _ in $(seq 1200); do
        has_logged "$1" && return 0
        sleep 0.05
    done
    qd_fail "the log never said \"$1\": $(cat "$QD_LOG")"
}

# A page asked for after the reload has begun is here before it ends. A busy machine may miss one reload, not nine.
P6_a_reload_keeps_no_page_waiting() {
    for revision in 2 3 4 5 6 7 8 9 10; do
        big_policy "$revision"
        kill -HUP "$QD_PID"
        expect_eq "$(curl -s -m 60 "http://$QD_ADMIN/livez")" ok
        if ! has_logged "msg=\"policy reloaded\" revision=r$revision"; then
            kill -HUP "$QD_PID" # it may have come too late for the one under way
            seen=yes
        fi
        wait_log "msg=\"policy reloaded\" revision=r$revision"
        if [ "${seen:-}" = yes ]; then
            wait_log "msg=\"policy unchanged\" revision=r$revision"
            return 0
        fi
    done
    qd_fail "/livez was never answered before a reload had ended: $(cat "$QD_LOG")"
}

X5_a_reload_under_way_ends_before_the_node() {
    big_policy 50
    kill -HUP "$QD_PID"
    kill -TERM "$QD_PID"
    wait_log 'msg=stopped'
}

big_policy 1
qd_start --policy "$T/policy.yaml" || exit 1
qd_run P6_a_reload_keeps_no_page_waiting X5_a_reload_under_way_ends_before_the_node
stop_code=0
wait "$QD_PID" || stop_code=$?
QD_PID=''
[ "$stop_code" -eq 0 ] || { echo "not ok quotad_exits_0 (exit $stop_code)"; qd_bad=$((qd_bad + 1)); }
qd_done
