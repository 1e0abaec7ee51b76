# After kill -9, and after a loss of power, limits are not looser than the second that may be forgotten allows: a budget
# counts what the ledger says, to the token; a rate forgets at most what was admitted in the last second (X5, D7, C1).
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/kill_rounds.sh"

limit=1000
slack_ns=1500000000 # the second between snapshots, and what the shell's own clock readings may be off
# A node that gets no time to make one says so: then it is what came after the oldest slice that may be forgotten.
oldest_slice_ns() {
    curl -s "http://$QD_ADMIN/metrics" | awk '/^quotad_snapshot_oldest_slice_timestamp_seconds / { printf "%.0f", $2 * 1000000000 }'
}

cat >"$T/policy.yaml" <<END
version: 1
models:
  m: {max_output_tokens: 1000}
plans:
  rated: {input_tokens: {limit: $limit/hour, algorithm: sliding_window}}
  budgeted: {input_tokens: $limit/month}
tenants:
  rated: {plan: rated}
  budgeted: {plan: budgeted}
END

# Admit for some seconds, die, come back: $before were admitted, $recent of them since $since_ns, in the last second.
admit_and_die() {
    node_again
    for id in 1 2 3 4 5; do
        ctl report --tenant budgeted --request-id "b$id" --model m --use input_tokens=100 >/dev/null || exit 1
    done
    rm -f "$T"/admitted.*
    # Each writes down when its check was admitted, once it knows.
    for writer in 1 2 3; do
        (
            trap - EXIT
            while ctl check rated --model m --use input_tokens=1 --no-reservation >/dev/null 2>&1; do
                date +%s%N >>"$T/admitted.$writer"
            done
        ) &
    done
    sleep 4
    since_ns=$(oldest_slice_ns)
    killed=$(date +%s%N)
    [ "$since_ns" -lt $((killed - slack_ns)) ] || since_ns=$((killed - slack_ns))
    kill -9 "$QD_PID"
    wait
    QD_PID=''
    after_kill
    node_again
    before=$(cat "$T"/admitted.* | wc -l)
    recent=$(cat "$T"/admitted.* | awk -v since="$since_ns" '$1 >= since { n++ } END { printf "%d", n }')
}

rate_forgets_the_last_second_only() {
    [ "$before" -gt "$((3 * recent / 2))" ] || qd_skip "the machine was too slow to admit anything before the last second"
    after=0
    while ctl check rated --model m --use input_tokens=10 --no-reservation >/dev/null 2>&1; do
        after=$((after + 10))
    done
    echo "admitted $before before ($recent of them in the last $(((killed - since_ns) / 1000000)) ms), $after after; the limit is $limit"
    [ $((before + after)) -le $((limit + recent)) ] || qd_fail "the limit is looser after the restart"
    # Nor is it much tighter: what nobody was told of are three checks at most.
    [ $((before + after)) -ge $((limit - 10 - 3)) ] || qd_fail "the limit is tighter after the restart"
}

budget_is_exact() {
    expect_exit 2 ctl check budgeted --model m --use input_tokens=501 --no-reservation
    expect_exit 0 ctl check budgeted --model m --use input_tokens=500 --no-reservation
}

X5_a_rate_forgets_at_most_the_last_second() {
    rate_forgets_the_last_second_only
}

D7_a_budget_is_exact_after_a_restart() {
    budget_is_exact
}

X5_a_rate_forgets_at_most_the_last_second_with_the_power() {
    rate_forgets_the_last_second_only
}

D7_a_budget_is_exact_after_a_loss_of_power() {
    budget_is_exact
}

admit_and_die
qd_run X5_a_rate_forgets_at_most_the_last_second D7_a_budget_is_exact_after_a_restart

qd_stop KILL || :
rm -rf "$T/data"
QD_DISK_DIR=$T/data
QD_DISK_JOURNAL=$T/journal
export QD_DISK_DIR QD_DISK_JOURNAL
preload=$tool/libdisk_shim.so
"$tool/disk_tool" new "$QD_DISK_JOURNAL" || exit 1
after_kill() {
    "$tool/disk_tool" cut "$QD_DISK_JOURNAL" || exit 1
}
admit_and_die
qd_run X5_a_rate_forgets_at_most_the_last_second_with_the_power D7_a_budget_is_exact_after_a_loss_of_power
qd_done
