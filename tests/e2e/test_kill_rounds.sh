# kill -9 at random instants under load, again and again, at times while the node starts: by the client's own log every
# acknowledged report is there exactly once, none twice, none that nobody sent (X5, L2, S6). 50 kills; 200 with QD_LONG;
# QD_ROUNDS says otherwise. ctest-timeout: 900
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/kill_rounds.sh"

rounds_start kill_rounds 20261
rounds_run "$(round_count 50 200 8)"
rounds_end

L2_every_acknowledged_report_is_there_exactly_once() {
    ledger_is_what_was_acknowledged
}

S6_every_retry_had_the_first_answer() {
    load_had_the_same_answers
}

L4_rollups_are_the_sums_of_entries_after_kills() {
    verified last
}

D7_used_is_what_the_ledger_says_after_kills() {
    used_is_what_the_ledger_says
}

X5_the_comparison_notices_what_it_looks_for() {
    comparison_notices
}

qd_run L2_every_acknowledged_report_is_there_exactly_once S6_every_retry_had_the_first_answer \
    L4_rollups_are_the_sums_of_entries_after_kills D7_used_is_what_the_ledger_says_after_kills \
    X5_the_comparison_notices_what_it_looks_for
qd_done
