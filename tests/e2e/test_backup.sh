# A backup taken while reports go on, restored to a fresh data directory, and served from there. ctest-timeout: 200
. "${QUOTA_TESTLIB_SH:?run through ctest}"
traces=${QUOTAD_SOURCE_DIR:?}/deploy/examples/traces

cat >"$T/policy.yaml" <<'END'
version: 1
models:
  m: {max_output_tokens: 4096}
prices:
  m: {input_tokens: $3/1M, output_tokens: $15/1M}
plans:
  pro: {tokens: 1000G/min, cost: $1000000/month}
tenants:
  "*": {plan: pro}
END

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

report() { # REQUEST_ID [TOKENS]
    ctl report --tenant single --request-id "$1" --model m --use input_tokens="${2:-1000}"
}

load() { # RUN: 2,000 requests, each with two reports
    ctl replay --format azure --trace "$traces/azure_conv.csv" --tenants 20 --no-loss --model m --run "$1"
}

# Entries as JSON lines, without the last sequence that they may have.
entries() { # LAST
    ctl ledger export 2>/dev/null | sed "$1q"
}

number() { # KEY: of the JSON in $out
    printf '%s\n' "$out" | sed -n "s/^ *\"$1\": *\"\{0,1\}\([0-9][0-9]*\).*/\1/p" | head -n 1
}

# Fields: restored through entry, and the incarnation then; later cases, in shells of their own, read them.
value() {
    cat "$T/value.$1"
}

has_booked() { # ENTRIES
    expect_exit 0 ctl status -o json
    [ "$(number ledger_sequence)" -gt "$1" ]
}

L2_backups_while_reports_go_on() {
    for i in 1 2 3 4 5; do
        expect_exit 0 report "r$i"
    done
    expect_exit 0 ctl check single --model m --use input_tokens=500 --use max_output_tokens=100 -o json
    printf '%s\n' "$out" | sed -n 's/^ *"token": *"\([^"]*\)".*/\1/p' >"$T/value.token"
    # One run after the other, two at least, until the backups are made.
    (
        for run in run1 run2 run3 run4 run5 run6 run7 run8 run9; do
            load $run || exit 1
            echo $run >>"$T/runs"
            [ ! -e "$T/backups.made" ] || [ $run = run1 ] || break
        done
    ) >"$T/replay.out" 2>&1 &
    load=$!
    qd_soon has_booked 100
    for i in 1 2 3; do
        expect_exit 0 ctl status -o json
        before=$(number ledger_sequence)
        expect_exit 0 ctl backup "during-$i" -o json
        through=$(number through_sequence)
        [ "$through" -ge "$before" ] || qd_fail "backup $i ends at $through, $before was booked before it"
        echo "$through" >"$T/value.through-$i"
        sleep 0.1
    done
    kill -0 "$load" || qd_fail "the load ended before the last backup"
    : >"$T/backups.made"
    wait "$load" || qd_fail "$(cat "$T/replay.out")"
    expect_exit 0 ctl backup
    expect_match "$out" '^/.*/data/backups/[0-9]{8}T[0-9]{6}Z-[0-9]+: [0-9,]+ bytes in [0-9]+ files, ledger through #[0-9,]+$'
    last=$(value through-3)
    [ "$last" -gt "$(value through-1)" ] || qd_fail "nothing was booked during the backups"
    entries "$last" >"$T/entries.before"
    expect_eq "$(wc -l <"$T/entries.before")" "$last"
}

I8_what_is_refused_says_why() {
    expect_exit 1 ctl backup during-1
    expect_match "$err" '^quotactl backup: no backup was made: .*/data/backups/during-1 exists: a backup is never overwritten; give another name$'
    expect_exit 1 ctl backup ../out
    expect_match "$err" "^quotactl backup: no backup was made: a backup's name has 1 to 64 of a-z A-Z 0-9 . _ - "
    for name in during-1=6=BACKUP_EXISTS ../out=3=INVALID_NAME /tmp/x=3=INVALID_NAME; do
        code=0
        printf 'name: "%s"' "${name%%=*}" | protoc --proto_path="$QUOTAD_SOURCE_DIR/proto" \
            --encode=quota.v1.CheckpointRequest quota/v1/admin.proto >"$T/request"
        "$QUOTAD_BUILD_DIR/tests/e2e/grpc_call" -d 5000 "$QD_GRPC" /quota.v1.AdminService/Checkpoint <"$T/request" \
            >/dev/null 2>"$T/err" || code=$?
        want=${name#*=}
        expect_eq "$code" "${want%=*}"
        expect_match "$(cat "$T/err")" "^status=$code reason=${want#*=} message=no backup was made: "
    done
    expect_eq "$(cd "$T/data/backups" && echo *)" "$(cd "$T/data/backups" && echo 2* during-1 during-2 during-3)"
    expect_exit 1 ctl restore --from "$T/data/backups" --to "$T/nothing"
    expect_in "$err" "data/backups is no backup: it has no file \"backup\""
    expect_exit 1 ctl restore --from "$T/data/backups/during-1" --to "$T/data"
    expect_match "$err" "^quotactl restore: nothing was restored: .*/data is not empty: "
    [ ! -e "$T/nothing" ] || qd_fail "something was made"
}

X5_a_restore_that_did_not_end_starts_no_node() {
    mkdir -p "$T/half/restoring/db"
    code=0
    env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev --data-dir "$T/half" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$T/half.log" 2>&1 || code=$?
    expect_eq "$code" 1
    expect_in "$(cat "$T/half.log")" "half: a restore has not ended there; run the same quotactl restore again"
    expect_exit 0 ctl restore --from "$T/data/backups/during-1" --to "$T/half"
}

# Serving it would change it: its files would not be those of its list any more.
L2_no_node_serves_a_backup() {
    backup=$T/data/backups/during-1
    find "$backup" -type f -exec ls -l --full-time {} + >"$T/backup.before"
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA timeout 20 "$QUOTAD_BIN" \
        --dev --data-dir "$backup" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
    expect_eq "$err" "quotad: $backup is a backup: restore it with: quotactl restore --from $backup --to DATA_DIR"
    find "$backup" -type f -exec ls -l --full-time {} + | cmp - "$T/backup.before" || qd_fail "the backup was touched"
}

# The rest is of the restored node.

L2_every_entry_up_to_the_backups_last_is_there_once() {
    expect_exit 0 ctl verify
    expect_match "$out" ': clean$'
    last=$(value through-3)
    entries 999999999 >"$T/entries.after"
    cmp "$T/entries.before" "$T/entries.after" || qd_fail "the entries differ"
    expect_eq "$(wc -l <"$T/entries.after")" "$last"
    expect_eq "$(sed 's/.*"sequence":"\{0,1\}\([0-9]*\).*/\1/' "$T/entries.after" | sort -n | uniq | wc -l)" "$last"
}

C3_a_restored_node_is_a_new_incarnation() {
    expect_exit 0 ctl status -o json
    [ "$(number incarnation)" -gt 1000000000 ] || qd_fail "incarnation $(number incarnation)"
    expect_eq "$(cd "$T/restored" && echo restored*)" 'restored*'
}

S6_retries_of_what_was_booked_before_are_duplicates() {
    for i in 1 2 3 4 5; do
        expect_exit 0 report "r$i"
        expect_in "$out" "(booked before)"
    done
    expect_exit 1 report r1 999
    expect_in "$err" "was booked as entry 1 with other content"
    ctl ledger ls single -o json >"$T/single"
    expect_eq "$(grep -c '"request_id": *"r' "$T/single")" 5
    # All of the load again: what the backup holds is recognised, the rest is booked.
    runs=0
    while read -r run; do
        runs=$((runs + 1))
        held=$(grep -c "\"request_id\":\"$run-" "$T/entries.before" || :)
        expect_exit 0 load "$run"
        [ "$held" -eq 0 ] || expect_match "$out" "^$held reports were booked before, by run \"$run\""
    done <"$T/runs"
    expect_exit 0 ctl verify
    all=$((runs * 4)),005
    expect_match "$out" "^$all entries up to #$all, .*: clean\$"
}

S1_a_token_from_before_settles() {
    expect_exit 0 ctl report "$(value token)" --request-id by-token --use input_tokens=400
    expect_match "$out" '^BOOKED entry '
    expect_exit 0 ctl verify
    expect_match "$out" ': clean$'
}

qd_start --policy "$T/policy.yaml" || exit 1
qd_run L2_backups_while_reports_go_on I8_what_is_refused_says_why X5_a_restore_that_did_not_end_starts_no_node \
    L2_no_node_serves_a_backup
qd_stop KILL
"$QUOTACTL_BIN" restore --from "$T/data/backups/during-3" --to "$T/restored" || exit 1
qd_start --policy "$T/policy.yaml" --data-dir "$T/restored" --backup-dir "$T/elsewhere" || exit 1
qd_run L2_every_entry_up_to_the_backups_last_is_there_once C3_a_restored_node_is_a_new_incarnation \
    S6_retries_of_what_was_booked_before_are_duplicates S1_a_token_from_before_settles

I10_backups_go_where_the_setting_says() {
    expect_exit 0 ctl backup again
    expect_match "$out" "^$T/elsewhere/again: "
    [ -f "$T/elsewhere/again/backup" ] || qd_fail "it is not there"
}
qd_run I10_backups_go_where_the_setting_says
qd_stop TERM || exit 1

X4_a_full_disk_makes_no_backup_and_reports_go_on() {
    for room in 8 60 300; do
        mount -o remount,size=${room}k "$T/small"
        expect_exit 1 ctl backup full
        expect_match "$err" '^quotactl backup: no backup was made: .*No space left on device'
        expect_eq "$(ls "$T/small/backups")" ''
        expect_exit 0 report "full-$room"
    done
    mount -o remount,size=8m "$T/small"
    expect_exit 0 ctl backup full
    expect_exit 0 ctl restore --from "$T/small/backups/full" --to "$T/from-small"
    mount -o remount,size="$(($(du -sk "$T/small" | cut -f 1) + 200))k" "$T/small"
    expect_exit 1 ctl restore --from "$T/small/backups/full" --to "$T/small/data"
    expect_match "$err" '^quotactl restore: nothing was restored: cannot .*No space left on device$'
    expect_exit 1 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA "$QUOTAD_BIN" --dev \
        --data-dir "$T/small/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
    expect_in "$err" 'a restore has not ended there'
    mount -o remount,size=8m "$T/small"
    expect_exit 0 ctl restore --from "$T/small/backups/full" --to "$T/small/data"
}
mkdir "$T/small"
if mount -t tmpfs -o size=1m tmpfs "$T/small" 2>/dev/null; then
    trap 'umount -l "$T/small" 2>/dev/null; qd_cleanup' EXIT
    qd_start --policy "$T/policy.yaml" --data-dir "$T/restored" --backup-dir "$T/small/backups" || exit 1
    qd_run X4_a_full_disk_makes_no_backup_and_reports_go_on
else
    qd_skip "a tmpfs cannot be mounted here: it takes root" X4_a_full_disk_makes_no_backup_and_reports_go_on
fi
qd_done
