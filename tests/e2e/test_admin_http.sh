# The admin port, reload and the end of a node, as an operator and a scraper see them.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

policy() { # REQUESTS
    cat >"$T/new.yaml" <<END
version: 1
models:
  m: {max_output_tokens: 1000}
prices:
  m: {input_tokens: \$1/1M, output_tokens: \$2/1M}
plans:
  pro: {requests: $1/min, cost: \$500/month}
tenants:
  "*": {plan: pro}
END
    mv "$T/new.yaml" "$T/policy.yaml"
}

get() { # PATH: the page to $page, its status to $code
    code=$(curl -s -o "$T/page" -w '%{http_code}' "http://$QD_ADMIN$1")
    page=$(cat "$T/page")
}

# wait_log TEXT [TIMES]: until the log has the text so often; a minute at most.
wait_log() {
    for _ in $(seq 1200); do
        [ "$(grep -cF -- "$1" "$QD_LOG")" -ge "${2:-1}" ] && return 0
        sleep 0.05
    done
    qd_fail "the log never said \"$1\" ${2:-1} times: $(cat "$QD_LOG")"
}

I6_pages_say_how_the_node_is() {
    get /livez
    expect_eq "$code $page" "200 ok"
    get /readyz
    expect_eq "$code $page" "200 ready"
    get '/readyz?verbose'
    expect_eq "$code $page" "200 [+]serving ok
[+]policy ok: r1
[+]ledger ok
[+]clock ok
ready"
    get /nope
    expect_eq "$code $page" "404 no such page; there are: /livez /readyz /metrics /debug/config /rlconfig"
    expect_eq "$(curl -s -X POST -d x "http://$QD_ADMIN/livez")" "this port answers GET and HEAD only"
    expect_eq "$(curl -s -o /dev/null -w '%{content_type}' "http://$QD_ADMIN/metrics")" \
        "text/plain; version=0.0.4; charset=utf-8"
}

# Prometheus's text format: HELP, then TYPE, once a family; then its samples, each label set once; counters end in
# _total, times are in seconds; nothing is exposed that has no family. A histogram's buckets only grow, up to its count.
I6_metrics_follow_the_text_format() {
    ctl check acme --model m --use input_tokens=10 >/dev/null
    ctl report --tenant acme --request-id one --model m --use input_tokens=10 >/dev/null
    get /metrics
    expect_eq "$code" 200
    awk '
        function bad(why) { print NR ": " why ": " $0; failed = 1 }
        /^# HELP / { if (seen[$3]++) bad("HELP twice"); family = $3; type = ""; if (NF < 4) bad("no help"); next }
        /^# TYPE / {
            if ($3 != family || type != "") bad("TYPE without its HELP")
            type = $4
            if (type != "counter" && type != "gauge" && type != "histogram") bad("type")
            if ((type == "counter") != ($3 ~ /_total$/)) bad("_total is for counters")
            if ($3 ~ /_(ms|ns|us|milliseconds|nanoseconds)$/) bad("base units are seconds")
            if ($3 !~ /^(quotad|process)_[a-z_]+$/) bad("name")
            last = 0
            next
        }
        {
            name = $1
            sub(/\{.*/, "", name)
            if (type == "histogram" && name !~ /_(bucket|sum|count)$/) bad("not of a histogram")
            if (type == "histogram") sub(/_(bucket|sum|count)$/, "", name)
            if (type == "" || name != family) bad("sample outside its family")
            if ($0 !~ /^[a-z_]+(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? -?[0-9]+(\.[0-9]+)?$/) bad("form")
            if (samples[$1]++) bad("sample twice")
            if ($1 ~ /_bucket/) { if ($2 < last) bad("buckets fall"); last = $2 }
            if (type == "histogram" && $1 ~ /_count/) { if ($2 != last) bad("count is not the last bucket"); last = 0 }
        }
        END { exit failed }
    ' "$T/page" || qd_fail "see above"
    expect_match "$page" '^quotad_checks_total\{verdict="allowed"\} 1$'
    expect_match "$page" '^quotad_reports_total\{result="booked"\} 1$'
    expect_match "$page" '^quotad_tenant_checks_total\{tenant="acme",verdict="allowed"\} 1$'
    expect_match "$page" '^quotad_ledger_sequence 1$'
    expect_match "$page" '^quotad_reservations_open 1$'
    expect_match "$page" '^quotad_ledger_failed 0$'
    expect_match "$page" '^quotad_request_duration_seconds_count\{method="CheckQuota"\} 1$'
    expect_match "$page" '^quotad_request_duration_seconds_count\{method="ReportUsage"\} 1$'
    expect_match "$page" '^quotad_ledger_commit_duration_seconds_count 1$'
    expect_match "$page" '^quotad_ledger_group_bookings_sum 1$'
    expect_match "$page" '^process_resident_memory_bytes [1-9][0-9]+$'
    expect_match "$page" '^process_open_fds [1-9][0-9]*$'
    expect_match "$page" '^process_cpu_seconds_total [0-9.]*[1-9][0-9.]*$'
    expect_match "$page" '^quotad_reservations_kept_forgotten_total 0$'
    expect_match "$page" '^quotad_evicted_states_lost_total 0$'
    expect_exit 0 ctl status
    expect_match "$out" '^reservations_kept_forgotten +0$'
    expect_match "$out" '^counter_states_lost +0$'
}

# An error is counted by its reason and by its method, and is in the latency as well.
I6_errors_are_counted_by_reason_and_method() {
    expect_exit 1 ctl check 'no tenant' --model m --use input_tokens=10
    expect_exit 1 ctl report r_zzzz --use input_tokens=10
    get /metrics
    expect_match "$page" '^quotad_requests_failed_total\{method="CheckQuota"\} 1$'
    expect_match "$page" '^quotad_requests_failed_total\{method="ReportUsage"\} 1$'
    expect_match "$page" '^quotad_request_duration_seconds_count\{method="CheckQuota"\} 2$'
    expect_match "$page" '^quotad_errors_total\{reason="INVALID_TENANT"\} 1$'
    expect_eq "$(printf '%s\n' "$page" | awk '/^quotad_errors_total/ { n += $2 } END { print n }')" 2
}

# The slices are stored again and again: what a crash would forget is of the last seconds.
X5_metrics_tell_how_old_the_snapshot_is() {
    for _ in $(seq 600); do
        get /metrics
        at=$(printf '%s\n' "$page" | sed -n 's/^quotad_snapshot_oldest_slice_timestamp_seconds \([0-9]*\).*/\1/p')
        round=$(printf '%s\n' "$page" | sed -n 's/^quotad_snapshot_last_success_timestamp_seconds \([0-9]*\).*/\1/p')
        if [ "$at" -gt "${first:=$at}" ] && [ "$round" -gt "${first_round:=$round}" ]; then
            return 0
        fi
        sleep 0.1
    done
    qd_fail "the oldest slice stood at $first for a minute"
}

# Once there is a backup its time is known, and a restart does not forget it.
X4_metrics_tell_when_the_last_backup_was_made() {
    get /metrics
    expect_match "$page" '^quotad_backup_last_success_timestamp_seconds 0$'
    expect_exit 0 ctl backup
    get /metrics
    expect_match "$page" '^quotad_backup_last_success_timestamp_seconds [1-9][0-9.]+$'
    printf '%s\n' "$page" | grep '^quotad_backup_last' >"$T/backup.made"
}

X4_the_time_of_the_last_backup_outlives_the_process() {
    get /metrics
    expect_eq "$(printf '%s\n' "$page" | grep '^quotad_backup_last')" "$(cat "$T/backup.made")"
}

# What Prometheus's own linter says of a node with traffic: nothing.
I6_promtool_has_nothing_to_say() {
    command -v promtool >/dev/null || qd_skip "promtool is missing: sh deploy/packages.sh --test"
    get /metrics
    promtool check metrics <"$T/page" >"$T/lint" 2>&1 || qd_fail "$(cat "$T/lint")"
    [ ! -s "$T/lint" ] || qd_fail "$(cat "$T/lint")"
}

I6_late_reports_are_one_number_everywhere() {
    expect_exit 0 ctl check late --model m --use input_tokens=10 -o json
    token=$(printf '%s\n' "$out" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
    expect_exit 0 ctl report "$token" --use input_tokens=10 --use output_tokens=1
    expect_exit 0 ctl report "$token" --source pool --use gpu_ms=7
    expect_in "$out" 'settled late'
    get /metrics
    expect_match "$page" '^quotad_reports_late_total 1$'
    expect_exit 0 ctl status
    expect_match "$out" '^reports_late +1$'
}

L5_the_watermark_of_an_idle_node_goes_on() {
    for _ in $(seq 600); do
        get /metrics
        mark=$(printf '%s\n' "$page" | sed -n 's/^quotad_ledger_complete_through_timestamp_seconds \([0-9]*\).*/\1/p')
        [ "$mark" -gt "${first:=$mark}" ] && return 0
        sleep 0.1
    done
    qd_fail "complete_through stood at $first for a minute"
}

X7_secrets_are_nowhere() {
    get /debug/config
    expect_eq "$code" 200
    expect_match "$page" "^policy +$T/policy.yaml +# --policy\$"
    expect_match "$page" '^listen +127\.0\.0\.1:0 +# QUOTAD_LISTEN$'
    expect_exit 0 ctl check acme --model m --use input_tokens=10 -o json
    token=$(printf '%s\n' "$out" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
    [ -n "$token" ] || qd_fail "no token in $out"
    ctl report "$token" --use input_tokens=10 --use output_tokens=1 >/dev/null
    key=$(od -An -tx1 "$T/data/reservation.key" | tr -d ' \n')
    [ ${#key} -eq 32 ] || qd_fail "the key has ${#key} digits"
    get /metrics
    for text in "$(cat "$QD_LOG")" "$page" "$(cat "$T/page")" "$(curl -s "http://$QD_ADMIN/debug/config")"; do
        hex=$(printf '%s' "$text" | od -An -tx1 -v | tr -d ' \n')
        case $hex$text in
        *"$key"* | *"$token"*) qd_fail "a secret is shown" ;;
        esac
    done
}

P6_a_changed_file_is_taken_and_usage_kept() {
    used=$(ctl limits acme -o json | awk '/"name":"pro.cost"/ { on = 1 } on && /"used":/ { print $1; exit }')
    policy 60k
    wait_log 'level=info msg="policy reloaded" revision=r2'
    get '/readyz?verbose'
    expect_in "$page" "[+]policy ok: r2"
    expect_eq "$(ctl limits acme -o json | awk '/"name":"pro.cost"/ { on = 1 } on && /"used":/ { print $1; exit }')" "$used"
    expect_match "$(ctl limits acme)" '^pro\.requests +60,000/min '
}

P6_SIGHUP_reloads() {
    kill -HUP "$QD_PID"
    wait_log 'level=info msg="policy unchanged" revision=r2'
}

P1_a_broken_policy_leaves_the_old_one() {
    sed 's/requests/reqests/' "$T/policy.yaml" >"$T/broken"
    cp "$T/policy.yaml" "$T/good"
    mv "$T/broken" "$T/policy.yaml"
    wait_log 'level=error msg="policy refused; the one in force stays" revision=r2 errors=1'
    expect_match "$(cat "$QD_LOG")" \
        'level=error msg="policy problem" problem=".*policy\.yaml:7:9: .*reqests.*did you mean .*requests'
    get '/readyz?verbose'
    expect_eq "$code" 200
    expect_in "$page" "[+]policy ok: r2; its newer file was refused, the log says why"
    get /metrics
    expect_match "$page" '^quotad_policy_reload_failures_total 1$'
    expect_match "$page" '^quotad_policy_last_reload_successful 0$'
    expect_exit 0 ctl status
    expect_match "$out" '^[^ ]+: degraded; '
    expect_match "$out" '^policy r2 .*; its newer file was refused$'
    expect_match "$out" "^ALARM POLICY_INVALID: the policy's newer file was refused, an older policy goes on; run: quotactl policy reload, it says why\$"
    expect_exit 0 ctl check acme --model m --use input_tokens=10
    mv "$T/good" "$T/policy.yaml"
    wait_log 'msg="policy unchanged" revision=r2' 2
    get /metrics
    expect_match "$page" '^quotad_policy_last_reload_successful 1$'
    expect_exit 0 ctl status -o json
    expect_match "$out" '"state": *"SERVING"'
    expect_match "$out" '"policy_reload_refused": *false'
    expect_match "$out" '"policy_reload_failures": *"?1"?'
}

P7_a_used_price_that_changes_without_a_date_is_refused() {
    expect_exit 0 ctl report --tenant acme --model m --request-id used-1 --use input_tokens=10
    cp "$T/policy.yaml" "$T/good"
    sed 's|input_tokens: \$1/1M|input_tokens: $3/1M|' "$T/policy.yaml" >"$T/priced"
    mv "$T/priced" "$T/policy.yaml"
    wait_log 'level=error msg="policy refused; the one in force stays" revision=r2 errors=1' 2
    expect_match "$(cat "$QD_LOG")" 'level=error msg="policy problem" problem=".*prices\.m: the cost .*m.* has priced ledger entries with other amounts'
    expect_in "$(cat "$QD_LOG")" 'give the changed price an `effective` date'
    expect_exit 1 ctl policy reload
    expect_match "$err" 'give the changed price an `effective` date; 1 error in all; r2 stays in force$'
    mv "$T/good" "$T/policy.yaml"
    wait_log 'msg="policy unchanged" revision=r2' 3
}

X5_draining_is_not_ready() {
    expect_exit 0 ctl drain
    get /readyz
    expect_eq "$code $page" "503 [-]serving failed: draining
not ready"
    get /livez
    expect_eq "$code $page" "200 ok"
    get /metrics
    expect_match "$page" '^quotad_ready 0$'
    expect_match "$page" '^quotad_draining 1$'
    expect_exit 0 ctl drain --cancel
    get /readyz
    expect_eq "$code $page" "200 ready"
    get /metrics
    expect_match "$page" '^quotad_ready 1$'
}

policy 100k
qd_start --policy "$T/policy.yaml" || exit 1
qd_run I6_pages_say_how_the_node_is I6_metrics_follow_the_text_format \
    I6_errors_are_counted_by_reason_and_method I6_late_reports_are_one_number_everywhere \
    X5_metrics_tell_how_old_the_snapshot_is X4_metrics_tell_when_the_last_backup_was_made \
    I6_promtool_has_nothing_to_say L5_the_watermark_of_an_idle_node_goes_on \
    X7_secrets_are_nowhere P6_a_changed_file_is_taken_and_usage_kept P6_SIGHUP_reloads \
    P1_a_broken_policy_leaves_the_old_one P7_a_used_price_that_changes_without_a_date_is_refused X5_draining_is_not_ready

qd_stop TERM

# A ConfigMap: policy.yaml -> ..data/policy.yaml, ..data -> ..v1; a new version turns ..data.
turn() { # VERSION
    mkdir "$T/map/..$1"
    cp "$T/policy.yaml" "$T/map/..$1/policy.yaml"
    ln -s "..$1" "$T/map/..new"
    mv -T "$T/map/..new" "$T/map/..data"
}
mkdir "$T/map"
policy 50
turn v1
ln -s ..data/policy.yaml "$T/map/policy.yaml"
qd_start --policy "$T/map/policy.yaml" || exit 1

P1_a_ConfigMap_that_turns_is_seen() {
    policy 60
    turn v2
    wait_log 'msg="policy reloaded" revision=r2'
    expect_match "$(ctl limits acme)" '^pro\.requests +60/min '
    sed 's|60/min|70/min|' "$T/policy.yaml" >"$T/map/..v2/policy.yaml" # and the file that it leads to now
    wait_log 'msg="policy reloaded" revision=r3'
}

X8_ReloadPolicy_is_logged_and_its_imports_are_watched() {
    expect_exit 0 ctl policy reload
    wait_log 'level=info msg="policy unchanged" revision=r3 by=ReloadPolicy'
    echo '{"n": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}' >"$T/map/prices.json"
    # n: nothing is booked of it, so that its price may change. The node looks at the file itself, too: on a machine that
    # pauses for a second it may be first. Not thrice.
    revision=3
    until grep -qF "level=info msg=\"policy reloaded\" revision=r$revision by=ReloadPolicy" "$QD_LOG"; do
        revision=$((revision + 1))
        [ $revision -le 6 ] || qd_fail "no reload by call found anything new: $(cat "$QD_LOG")"
        sed "s|^  m: {max.*|&\\n  n: {max_output_tokens: $revision}|; s|^  m: {input.*|&\\n  n: {import: prices.json}|" \
            "$T/policy.yaml" >"$T/map/..v2/policy.yaml"
        expect_exit 0 ctl policy reload
        wait_log "level=info msg=\"policy reloaded\" revision=r$revision"
    done
    sleep 2
    echo '{"n": {"input_cost_per_token": 1e-6, "output_cost_per_token": 3e-6}}' >"$T/map/prices.json"
    wait_log 'level=info msg="policy reloaded" revision=r'$((revision + 1))
    echo 'plans: 1' >"$T/map/..v2/policy.yaml"
    expect_exit 1 ctl policy reload
    expect_match "$(cat "$QD_LOG")" \
        'level=error msg="policy refused; the one in force stays" revision=r'$((revision + 1))' errors=[0-9]+ by=ReloadPolicy$'
}

qd_run P1_a_ConfigMap_that_turns_is_seen X8_ReloadPolicy_is_logged_and_its_imports_are_watched
qd_stop TERM
qd_start --policy "$T/policy.yaml" || exit 1
qd_run X4_the_time_of_the_last_backup_outlives_the_process

# SIGTERM lets what is in flight finish, and loses nothing that was acknowledged.
i=0
while "$QUOTACTL_BIN" --address "$QD_GRPC" report --tenant acme --request-id "flight-$i" --model m --use input_tokens=1 \
    >"$T/flight.out" 2>&1; do
    i=$((i + 1))
    echo "$i" >"$T/flight"
done &
flight=$!
qd_soon [ -s "$T/flight" ]
term_code=0
qd_stop TERM || term_code=$?
term_log=$(cat "$QD_LOG")
wait "$flight"
qd_start --policy "$T/policy.yaml" || exit 1

X5_SIGTERM_finishes_what_is_in_flight_and_exits_0() {
    expect_eq "$term_code" 0
    expect_match "$term_log" 'level=info msg=draining why=signal$'
    expect_match "$term_log" 'level=info msg=stopped$'
    acknowledged=$(cat "$T/flight")
    [ "$acknowledged" -gt 0 ] || qd_fail "nothing was in flight"
    last=$((acknowledged - 1))
    expect_exit 0 ctl report --tenant acme --request-id "flight-$last" --model m --use input_tokens=1
    expect_in "$out" "(booked before)"
}

qd_run X5_SIGTERM_finishes_what_is_in_flight_and_exits_0

# Two signals at once: the second finds the node draining. It sleeps until both are there: a drain takes no time.
for signal in STOP TERM INT; do
    kill "-$signal" "$QD_PID"
done
second_code=0
qd_stop CONT || second_code=$?

X5_a_second_signal_ends_it_at_once() {
    expect_eq "$second_code" 1
    expect_match "$(cat "$QD_LOG")" 'level=warn msg="second signal: stopping at once"$'
}
qd_run X5_a_second_signal_ends_it_at_once

# A load balancer sees the node go, and what it still sends is answered.
QUOTAD_DRAIN_DELAY=30s qd_start --policy "$T/policy.yaml" || exit 1

X5_drain_delay_is_seen_before_the_node_stops() {
    get /debug/config
    expect_match "$page" '^drain-delay +30s +# QUOTAD_DRAIN_DELAY$'
    kill -TERM "$QD_PID"
    wait_log 'level=info msg=draining why=signal'
    get /readyz
    expect_eq "$code $page" "503 [-]serving failed: draining
not ready"
    expect_exit 0 ctl check leaving --model m --use input_tokens=1
    expect_in "$out" "ALLOW"
    expect_exit 0 ctl report --tenant acme --request-id late-1 --model m --use input_tokens=1
    expect_match "$out" '^BOOKED '
}
qd_run X5_drain_delay_is_seen_before_the_node_stops
second_code=0
qd_stop TERM || second_code=$?
qd_run X5_a_second_signal_ends_it_at_once

QUOTAD_DRAIN_DELAY=500ms qd_start --policy "$T/policy.yaml" || exit 1
delay_code=0
qd_stop TERM || delay_code=$?
X5_drain_delay_ends_by_itself() {
    expect_eq "$delay_code" 0
    expect_match "$(cat "$QD_LOG")" 'level=info msg=stopping$'
    expect_match "$(cat "$QD_LOG")" 'level=info msg=stopped$'
}
qd_run X5_drain_delay_ends_by_itself
qd_done
