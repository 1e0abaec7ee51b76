# What a disk does wrong, beneath the real store: errors of writing and of syncing under a running node (disk_shim.so), and
# damaged, cut and lost files before a start. Reports are refused clearly, checks go on, /readyz names it, a start that
# would lose what was acknowledged is none, and after the repair all of that is there, once (X4). A full disk:
# test_operator_disk.sh. ctest-timeout: 300
. "${QUOTA_TESTLIB_SH:?run through ctest}"
. "${QUOTAD_SOURCE_DIR:?}/tests/e2e/kill_rounds.sh"

QD_DISK_DIR=$T/data
QD_DISK_JOURNAL=$T/journal
export QD_DISK_DIR QD_DISK_JOURNAL
preload=$tool/libdisk_shim.so
"$tool/disk_tool" new "$QD_DISK_JOURNAL" || exit 1
EIO=5
ENOSPC=28
EROFS=30

rounds_policy

report() { # REQUEST_ID
    ctl --timeout 20s report --tenant acme --request-id "$1" --model m --use input_tokens=10
}

# As many as given are booked, and written down.
book() { # COUNT
    reports=$(wc -l <"$T/acknowledged")
    last=$((reports + $1))
    while [ $reports -lt $last ]; do
        reports=$((reports + 1))
        expect_exit 0 report "r$reports"
        echo "r$reports" >>"$T/acknowledged"
    done
}

all_is_there_once() {
    ctl ledger export 2>/dev/null | sed -n 's/.*"request_id":"\([^"]*\)".*/\1/p' | sort >"$T/booked"
    sort "$T/acknowledged" >"$T/wanted"
    expect_eq "$(comm -23 "$T/wanted" "$T/booked")" ""
    expect_eq "$(uniq -d "$T/booked")" ""
    expect_exit 0 ctl verify
}

kill_node() {
    kill -9 "$QD_PID"
    wait "$QD_PID" 2>/dev/null || :
    QD_PID=''
    rm -f "$T/pid"
}

# Of a case that failed.
end_last_node() {
    [ ! -f "$T/pid" ] || kill -9 "$(cat "$T/pid")" 2>/dev/null || :
    rm -f "$T/pid"
}

empty_directory() {
    end_last_node
    rm -rf "$T/data"
    : >"$T/acknowledged"
    "$tool/disk_tool" new "$QD_DISK_JOURNAL"
}

# --- errors under a running node ---

# The report $1 is refused for the reason $2 (an extended regular expression), and everything else goes on.
refused_and_nothing_else() {
    expect_exit 1 report "$1"
    expect_match "$err" "^quotactl report: not booked: the ledger cannot store: writing: $2; reports are refused until it can, send this one again"
    printf 'tenant: "acme" request_id: "refused" model: "m" usage { meter: "input_tokens" amount: 1 }' |
        protoc --proto_path="$QUOTAD_SOURCE_DIR/proto" --encode=quota.v1.ReportUsageRequest quota/v1/quota.proto >"$T/request"
    code=0
    "$tool/grpc_call" -d 5000 "$QD_GRPC" /quota.v1.QuotaService/ReportUsage <"$T/request" >/dev/null 2>"$T/err" || code=$?
    expect_eq "$code" 14
    expect_match "$(cat "$T/err")" '^status=14 reason=STORE_ERROR message=not booked: '
    expect_exit 0 ctl check acme --model m --use input_tokens=100 --use max_output_tokens=100
    expect_match "$out" '^ALLOW acme m; '
    expect_eq "$(curl -s -o "$T/page" -w '%{http_code}' "http://$QD_ADMIN/readyz?verbose")" 503
    expect_match "$(cat "$T/page")" "^\[-\]ledger failed: writing: $2; reports are refused until $3, checks go on\$"
    expect_eq "$(curl -s -o "$T/page" -w '%{http_code}' "http://$QD_ADMIN/livez")" 200
    expect_match "$(curl -s "http://$QD_ADMIN/metrics")" '^quotad_ledger_failed 1$'
}

# An error that is over, and a restart: all is there, and what was refused is booked once when it is sent again.
well_after_a_restart() { # REQUEST_ID
    "$tool/disk_tool" heal "$QD_DISK_JOURNAL"
    kill_node
    [ -z "${power_goes:-}" ] || "$tool/disk_tool" cut "$QD_DISK_JOURNAL"
    node_again
    all_is_there_once
    expect_exit 0 report "$1"
    expect_exit 0 report "$1"
    expect_in "$out" "(booked before)"
    expect_eq "$(ctl ledger export 2>/dev/null | grep -c "\"request_id\":\"$1\"")" 1
    expect_exit 0 ctl verify
}

error_story() { # write|sync ERRNO REASON UNTIL
    empty_directory
    node_again
    book 20
    "$tool/disk_tool" fail "$QD_DISK_JOURNAL" "$1" "$2"
    refused_and_nothing_else "refused-$1-$2" "$3" "$4"
    well_after_a_restart "refused-$1-$2"
    kill_node
}
again='the disk is well and the node is started again'

X4_an_error_of_writing() {
    error_story write $EIO 'input/output error \(.*Input/output error\)' "$again"
}

X4_an_error_of_syncing() {
    error_story sync $EIO 'input/output error \(.*While fdatasync.*Input/output error\)' "$again"
}

# What a failed sync leaves behind is gone with the power, whatever later syncs said.
X4_an_error_of_syncing_and_then_the_power() {
    power_goes=yes
    error_story sync $EIO 'input/output error \(.*While fdatasync.*Input/output error\)' "$again"
}

X4_a_directory_that_becomes_read_only() {
    error_story write $EROFS 'data directory not accessible \(.*Read-only file system\)' "$again"
}

# A full disk that shows itself at the sync: the store goes on by itself when there is room, and what it had written of
# the refused report does not come back under another one's number.
X4_a_full_disk_at_the_sync_heals_by_itself() {
    empty_directory
    node_again
    book 5
    "$tool/disk_tool" fail "$QD_DISK_JOURNAL" sync $ENOSPC
    refused_and_nothing_else full 'disk full \(.*While fdatasync.*No space left on device\)' 'it can write'
    "$tool/disk_tool" heal "$QD_DISK_JOURNAL"
    tries=0
    until [ "$(curl -s "http://$QD_ADMIN/readyz")" = ready ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || qd_fail "not ready a minute after there was room"
        sleep 0.1
    done
    book 5
    kill_node
    node_again
    all_is_there_once
    expect_exit 0 report full
    expect_eq "$(ctl ledger export 2>/dev/null | grep -c '"request_id":"full"')" 1
    expect_exit 0 ctl verify
    kill_node
}

# --- files that are damaged before a start ---

# A directory to damage: the ledger's first half in tables, the second in the log.
make_good() {
    empty_directory
    node_again
    book 20
    kill_node
    node_again
    book 20
    qd_soon mark_says 40
    kill_node
    cp -a "$T/data" "$T/good"
    cp "$T/acknowledged" "$T/acknowledged.good"
}

# The number of the last entry that is surely there, before that of the start (tidemark.h).
mark_says() { # SEQUENCE
    expect_match "$(cat "$T/data/ledger.mark")" "^0*$1 "
}

restore_good() {
    end_last_node
    rm -rf "$T/data"
    cp -a "$T/good" "$T/data"
    cp "$T/acknowledged.good" "$T/acknowledged"
}

flip() { # FILE OFFSET
    printf '\377\000\377\000' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

the_log() {
    # shellcheck disable=SC2012 # names without blanks
    ls -S "$T"/data/db/*.log | head -n 1
}

# It does not start, and says this; with the files back all is there.
no_start() { # REASON
    code=0
    QUOTAD_LISTEN=127.0.0.1:0 QUOTAD_ADMIN_LISTEN=127.0.0.1:0 QUOTAD_DATA_DIR="$T/data" \
        timeout 60 env -u QUOTAD_BIN -u QUOTAD_SOURCE_DIR -u QUOTAD_BUILD_DIR -u QUOTAD_TRACE_DATA \
        "$QUOTAD_BIN" --policy "$T/policy.yaml" >"$T/out" 2>&1 || code=$?
    expect_eq "$code" 1
    expect_match "$(cat "$T/out")" "^quotad: $1"
    ! grep -q 'msg=serving' "$T/out" || qd_fail "it served"
}

# The log of this name is there as it was before the start, damage and all that comes after it.
kept_is() { # NAME
    cmp "$T/data/db.lost/$1" "$T/flipped"
}

damaged() { # REASON [CHECK]
    no_start "$1"
    no_start "$1" # nor at the second try
    ${2:-}
    restore_good
    node_again
    all_is_there_once
    kill_node
}

lost='.*/db: entries up to #[0-9]+, of [0-9]+ starts, were acknowledged, but the ledger ends at #[0-9]+, of [0-9]+: its log is damaged or lost, or it is an older copy. Restore a backup that has them \(the logs as they were are in .*/db.lost\); to go on without them, and give their numbers anew, remove .*/ledger.mark$'
corrupt='.*/db: corrupt data \(Corruption: .*[)]?'

X4_a_flipped_byte_in_the_log() {
    restore_good
    log=$(the_log)
    flip "$log" 3000
    cp "$log" "$T/flipped"
    damaged "$lost" "kept_is ${log##*/}"
    expect_eq "$(ls -d "$T/data/db.before" 2>/dev/null)" "" # a good start keeps none
}

X4_a_cut_log() {
    restore_good
    truncate -s 3000 "$(the_log)"
    damaged "$lost"
}

X4_a_lost_log() {
    restore_good
    rm "$(the_log)"
    damaged "$lost"
}

X4_a_lost_store() {
    restore_good
    rm -r "$T/data/db"
    damaged "$lost"
}

X4_an_operator_may_go_on_without_what_is_lost() {
    restore_good
    rm "$(the_log)"
    no_start "$lost"
    rm "$T/data/ledger.mark"
    node_again
    expect_exit 0 ctl verify
    book 1
    kill_node
}

# It is served: but nobody can know what it should have, and the operator is told. Once: the next mark is a good one.
X4_a_mark_that_cannot_be_read_or_is_missing_is_told() {
    for state in 'cannot be read' 'is missing'; do
        restore_good
        case $state in
        *missing) rm "$T/data/ledger.mark" ;;
        *) echo "something else, and longer than a mark is ever" >"$T/data/ledger.mark" ;;
        esac
        node_again
        expect_match "$(cat "$QD_LOG")" "level=warn msg=\"the ledger's mark $state: whether acknowledged entries are missing is not known\" file=.*/data/ledger.mark\$"
        all_is_there_once
        kill_node
        node_again
        expect_eq "$(grep "the ledger's mark" "$QD_LOG")" ''
        kill_node
    done
}

X4_a_cut_manifest() {
    restore_good
    truncate -s 300 "$T"/data/db/MANIFEST-*
    damaged "$corrupt"
}

X4_a_lost_manifest() {
    restore_good
    rm "$T"/data/db/MANIFEST-*
    damaged '.*/db: input/output error \(IO error: No such file or directory: .*MANIFEST'
}

X4_a_damaged_CURRENT() {
    restore_good
    echo rubbish >"$T/data/db/CURRENT"
    damaged "$corrupt"
}

X4_damaged_tables() {
    restore_good
    for table in "$T"/data/db/*.sst; do
        flip "$table" 100
    done
    damaged "$corrupt"
}

X4_a_cut_table() {
    restore_good
    for table in "$T"/data/db/*.sst; do
        truncate -s 700 "$table"
    done
    damaged "$corrupt"
}

X4_a_lost_table() {
    restore_good
    rm "$(grep -l ledger "$T"/data/db/*.sst | head -n 1)"
    damaged "$corrupt"
}

X4_a_cut_key() {
    restore_good
    truncate -s 5 "$T/data/reservation.key"
    damaged '.*/reservation.key: not a key of 16 bytes$'
}

# A damaged table that no start reads: a retry that needs it is refused, not booked anew; others are booked, checks go on.
X4_a_damaged_table_that_a_running_node_meets() {
    restore_good
    flip "$(grep -l idempotency "$T"/data/db/*.sst | head -n 1)" 60
    node_again
    expect_exit 1 report r1
    expect_match "$err" 'not booked: the ledger cannot store: reading: corrupt data \(Corruption: block checksum mismatch.*; reports are refused until it can'
    expect_exit 0 report new
    expect_exit 0 ctl check acme --model m --use input_tokens=100 --use max_output_tokens=100
    expect_match "$(curl -s "http://$QD_ADMIN/readyz?verbose")" '^\[!\]ledger damaged: reading: corrupt data \(.*\); reports that need it are refused, restore a backup$'
    expect_eq "$(curl -s "http://$QD_ADMIN/readyz" | tail -n 1)" ready
    kill_node
    restore_good
    node_again
    all_is_there_once
    kill_node
}

X4_a_read_only_directory() {
    restore_good
    mkdir -p "$T/mount"
    mount --bind "$T/data" "$T/mount" 2>/dev/null || qd_skip "a bind mount cannot be made here: it takes root"
    mount -o remount,ro,bind "$T/mount" || {
        umount -l "$T/mount"
        qd_skip "a mount cannot be made read-only here"
    }
    mv "$T/data" "$T/data.real"
    ln -s "$T/mount" "$T/data"
    code=0
    (no_start 'cannot open .*/quotad.pid: Read-only file system$') || code=$?
    rm "$T/data"
    mv "$T/data.real" "$T/data"
    umount -l "$T/mount"
    expect_eq "$code" 0
    node_again
    all_is_there_once
    kill_node
}

X4_a_second_process_on_the_directory() {
    restore_good
    node_again
    no_start "data directory in use by pid $QD_PID\$"
    book 3
    all_is_there_once
    kill_node
}

qd_run X4_an_error_of_writing X4_an_error_of_syncing X4_an_error_of_syncing_and_then_the_power \
    X4_a_directory_that_becomes_read_only X4_a_full_disk_at_the_sync_heals_by_itself
preload=''
(trap - EXIT && set -e && make_good) || exit 1
qd_run X4_a_flipped_byte_in_the_log X4_a_cut_log X4_a_lost_log X4_a_lost_store \
    X4_an_operator_may_go_on_without_what_is_lost X4_a_mark_that_cannot_be_read_or_is_missing_is_told X4_a_cut_manifest X4_a_lost_manifest X4_a_damaged_CURRENT \
    X4_damaged_tables X4_a_cut_table X4_a_lost_table X4_a_cut_key X4_a_damaged_table_that_a_running_node_meets \
    X4_a_read_only_directory X4_a_second_process_on_the_directory
end_last_node
qd_done
