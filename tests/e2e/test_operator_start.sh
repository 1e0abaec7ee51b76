# What an operator gets wrong when starting a node: each is one sentence that says what, and what is accepted.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

# A shell variable only: in the environment it would be taken for a setting.
bin=$QUOTAD_BIN
source=${QUOTAD_SOURCE_DIR:?}/server
unset QUOTAD_BIN QUOTAD_SOURCE_DIR QUOTAD_BUILD_DIR QUOTAD_TRACE_DATA
QUOTAD_BIN=$bin

# Never serves: a start that should fail ends within a minute.
quotad() {
    QUOTAD_LISTEN=127.0.0.1:0 QUOTAD_ADMIN_LISTEN=127.0.0.1:0 QUOTAD_DATA_DIR=${DATA:-$T/other} timeout 60 "$QUOTAD_BIN" "$@"
}

I10_no_policy() {
    expect_exit 2 quotad
    expect_eq "$err" "quotad: no policy: pass --policy FILE or --dev"
    expect_exit 2 quotad --dev --policy "$T/policy.yaml"
    expect_eq "$err" "quotad: --policy and --dev contradict each other; pass one of them"
}

I10_unknown_flag_names_the_near_one() {
    expect_exit 2 quotad --polcy x
    expect_eq "$err" 'quotad: --polcy: unknown setting "polcy"; did you mean "policy"? quotad --help lists them all'
    expect_exit 2 quotad --frob=1
    expect_eq "$err" 'quotad: --frob: unknown setting "frob"; quotad --help lists them all'
    expect_exit 2 quotad --dev serve
    expect_eq "$err" 'quotad: unexpected argument "serve"; quotad takes flags only, see quotad --help'
    expect_exit 2 quotad --threads
    expect_match "$err" "^quotad: option '--threads' requires an argument\$"
    expect_exit 2 env QUOTAD_TREADS=2 "$QUOTAD_BIN" --dev
    expect_eq "$err" 'quotad: QUOTAD_TREADS: unknown setting "treads"; quotad --help lists them all'
}

# Every --flag that a text of the server names is one that quotad --help lists. (A command of quotactl has its own.)
I8_hints_name_flags_that_exist() {
    quotad --help >"$T/help" </dev/null
    find "$source" -name '*.c' -exec awk -f "${QUOTA_TESTLIB_SH%/*}/strip_comments.awk" {} + | grep -oE '"([^"\\]|\\.)*"' |
        sed 's/quotactl .*//' | grep -oE -- '(^|[^-a-z])--[a-z][a-z-]*' | sed 's/^[^-]*//' | sort -u >"$T/named"
    expect_in "$(cat "$T/named")" "--max-counters"
    while read -r flag; do
        grep -qE -- "^ .* $flag([=[ ]|\$)" "$T/help" || qd_fail "a text of the server names $flag, which is no flag"
    done <"$T/named"
}

I10_wrong_value_says_what_is_accepted() {
    expect_exit 2 quotad --dev --threads many
    expect_eq "$err" 'quotad: --threads: "many" is not a value for threads; accepted: a whole number from 0 to 128, such as 500, 40k or 1M'
    expect_exit 2 quotad --dev --listen nowhere
    expect_eq "$err" 'quotad: --listen: "nowhere" is not a value for listen; accepted: HOST:PORT with a port from 0 (any free one) to 65535'
    expect_exit 2 quotad --dev --drain-grace 10
    expect_eq "$err" 'quotad: --drain-grace: "10" is not a value for drain-grace; accepted: a time such as 500ms, 10s, 5m, 2h or 35d, from 0 ms to 3600000 ms'
    expect_exit 2 quotad --dev --shards 3
    expect_eq "$err" "quotad: --shards must be a power of two: 1, 2, 4, ... 256"
}

I10_kubernetes_links_are_no_settings() {
    expect_exit 0 env QUOTAD_SERVICE_HOST=10.0.0.1 QUOTAD_PORT=tcp://10.0.0.1:7070 QUOTAD_PORT_7070_TCP_PROTO=tcp \
        "$QUOTAD_BIN" --dev --print-config
}

P1_missing_and_broken_policies() {
    expect_exit 1 quotad --policy "$T/none.yaml"
    expect_match "$err" 'none\.yaml: .*No such file or directory'
    printf 'version: 1\nplans:\n  free: {tokns: 1/min}\n' >"$T/bad.yaml"
    expect_exit 1 quotad --policy "$T/bad.yaml"
    expect_match "$err" '^quotad: policy refused$'
    expect_match "$err" 'bad\.yaml:3:10: .*"tokns".*did you mean "tokens"'
    [ ! -e "$T/other" ] || qd_fail "a refused start made a data directory"
}

X4_port_in_use() {
    expect_exit 1 quotad --dev --listen "$QD_GRPC"
    expect_eq "$err" "quotad: $QD_GRPC: cannot listen; is another quotad running? choose another address with --listen"
    expect_exit 1 quotad --dev --admin-listen "$QD_ADMIN"
    expect_match "$err" "^quotad: cannot listen on $QD_ADMIN: Address already in use; pass another --admin-listen\$"
}

X4_data_directory_in_use() {
    DATA=$T/data
    expect_exit 1 quotad --dev
    expect_eq "$err" "quotad: data directory in use by pid $QD_PID"
    expect_eq "$(curl -s "http://$QD_ADMIN/readyz")" ready
}

X4_data_directory_cannot_be_made() {
    : >"$T/file"
    DATA=$T/file/data
    expect_exit 1 quotad --dev
    expect_eq "$err" "quotad: cannot make data directory $T/file/data: Not a directory"
    DATA=/proc/quotad-data
    expect_exit 1 quotad --dev
    expect_eq "$err" "quotad: cannot make data directory /proc/quotad-data: No such file or directory"
}

# root may write anywhere but on a mount that is read-only.
X4_read_only_data_directory() {
    mkdir -p "$T/ro"
    DATA=$T/ro
    if [ "$(id -u)" -ne 0 ]; then
        chmod 500 "$T/ro"
        expect_exit 1 quotad --dev
        expect_eq "$err" "quotad: cannot open $T/ro/quotad.pid: Permission denied"
    elif mount -t tmpfs -o ro,size=1m tmpfs "$T/ro" 2>/dev/null; then
        code=0
        quotad --dev >"$T/out" 2>"$T/err" || code=$?
        umount "$T/ro"
        expect_eq "$code" 1
        expect_eq "$(cat "$T/err")" "quotad: cannot open $T/ro/quotad.pid: Read-only file system"
    else
        qd_skip "as root, and a read-only tmpfs cannot be mounted here"
    fi
}

X4_a_damaged_key_is_refused() {
    mkdir -p "$T/key"
    echo short >"$T/key/reservation.key"
    chmod 600 "$T/key/reservation.key"
    DATA=$T/key
    expect_exit 1 quotad --dev
    expect_in "$err" "$T/key/reservation.key"
}

X7_the_key_is_private() {
    expect_eq "$(stat -c %a "$T/data/reservation.key")" 600
}

I10_print_config_names_origins() {
    expect_exit 0 env QUOTAD_LOG_LEVEL=warn "$QUOTAD_BIN" --dev --threads 2 --print-config
    expect_match "$out" '^threads +2 +# --threads$'
    expect_match "$out" '^log-level +warn +# QUOTAD_LOG_LEVEL$'
    expect_match "$out" '^shards +16 +# default$'
}

qd_start --dev || exit 1
qd_run I10_no_policy I10_unknown_flag_names_the_near_one I8_hints_name_flags_that_exist I10_wrong_value_says_what_is_accepted \
    P1_missing_and_broken_policies X4_port_in_use X4_data_directory_in_use X4_data_directory_cannot_be_made \
    X4_read_only_data_directory X4_a_damaged_key_is_refused X7_the_key_is_private I10_print_config_names_origins \
    I10_kubernetes_links_are_no_settings
qd_done
