# The power goes, again and again, under load: a node beneath which disk_shim.so notes what was synced is killed with -9,
# and each file is cut back to what was: in turn to nothing more, and to a random part of the rest with a torn end. Then
# the same as in test_kill_rounds.sh (X5, L2). 50 times; 200 with QD_LONG. ctest-timeout: 900
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/kill_rounds.sh"

QD_DISK_DIR=$T/data
QD_DISK_JOURNAL=$T/journal
export QD_DISK_DIR QD_DISK_JOURNAL
preload=$tool/libdisk_shim.so
"$tool/disk_tool" new "$QD_DISK_JOURNAL" || exit 1

after_kill() {
    if [ $((round % 2)) -eq 0 ]; then
        "$tool/disk_tool" cut "$QD_DISK_JOURNAL" "$seed" >>"$T/cuts" || exit 1
    else
        "$tool/disk_tool" cut "$QD_DISK_JOURNAL" >>"$T/cuts" || exit 1
    fi
}

has_said() { # synced|unsynced
    [ "$(tail -n 1 "$T/said.$1")" -gt 10 ]
}

# A program that acknowledges what it wrote: how much of that is lost with the power?
lost_by() { # synced|unsynced
    store=$T/store.$1
    "$tool/disk_tool" new "$T/control"
    QD_DISK_DIR=$store QD_DISK_JOURNAL=$T/control LD_PRELOAD=$tool/libdisk_shim.so \
        "$tool/store_writer" "$store" "$1" >"$T/said.$1" &
    writer=$!
    sleep 0.7
    qd_soon has_said "$1" # a slow disk takes longer
    kill -9 $writer
    wait $writer || :
    "$tool/disk_tool" cut "$T/control"
    said=$(tail -n 1 "$T/said.$1")
    there=$("$tool/store_writer" "$store" count)
    [ "${said:-0}" -gt 10 ] || qd_fail "it wrote next to nothing"
    lost=$((said - there))
    [ $lost -gt 0 ] || lost=0
}

L2_the_shim_takes_what_was_not_synced() {
    lost_by unsynced
    echo "lost $lost of $said"
    [ "$lost" -gt 0 ] || qd_fail "nothing is lost without a sync: the shim does not bite"
}

L2_the_shim_leaves_what_was_synced() {
    lost_by synced
    expect_eq "$lost" 0
}

# The power goes in a node's first moments: the key of the tokens that it gave out is there.
S1_a_token_of_the_first_moments_settles_after_the_power() {
    rounds_policy
    node_again
    token=$(ctl check acme --model m --use input_tokens=100 -o json | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
    kill -9 "$QD_PID"
    wait "$QD_PID" 2>/dev/null || :
    "$tool/disk_tool" cut "$QD_DISK_JOURNAL"
    node_again
    code=0
    ctl report "$token" --use input_tokens=90 >"$T/out" 2>&1 || code=$?
    kill -9 "$QD_PID"
    expect_eq "$code" 0
    expect_match "$(cat "$T/out")" '^BOOKED entry '
}

qd_run S1_a_token_of_the_first_moments_settles_after_the_power
rm -rf "$T/data" "$T/ready_ms"
"$tool/disk_tool" new "$QD_DISK_JOURNAL"

rounds_start power_rounds 20262
rounds_run "$(round_count 50 200 4)"
rounds_end
echo "note: $(awk '{ files += $3; bytes += $7; gone += $9 } END {
    printf "the power went %d times: %d files cut by %d bytes, %d gone", NR, files, bytes, gone }' "$T/cuts")"

L2_every_acknowledged_report_survives_the_power() {
    ledger_is_what_was_acknowledged
}

S6_every_retry_had_the_first_answer_after_the_power() {
    load_had_the_same_answers
}

L4_rollups_are_the_sums_of_entries_after_the_power() {
    verified last
}

D7_used_is_what_the_ledger_says_after_the_power() {
    used_is_what_the_ledger_says
}

qd_run L2_the_shim_takes_what_was_not_synced L2_the_shim_leaves_what_was_synced \
    L2_every_acknowledged_report_survives_the_power S6_every_retry_had_the_first_answer_after_the_power \
    L4_rollups_are_the_sums_of_entries_after_the_power D7_used_is_what_the_ledger_says_after_the_power
qd_done
