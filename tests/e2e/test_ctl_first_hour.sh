# The first hour, as a newcomer has it: policy, check, report, usage; and what an operator does next.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

SOURCE=${QUOTAD_SOURCE_DIR:?run through ctest}
POLICY=$SOURCE/deploy/examples/first-hour.yaml
unset QUOTACTL_OUTPUT QUOTACTL_TIMEOUT

ctl() {
    "$QUOTACTL_BIN" --address "$QD_GRPC" "$@"
}

# The short id in what check printed.
id_of() {
    printf '%s\n' "$1" | sed -n 's/.*; id \(r_[0-9A-Z]*\).*/\1/p'
}

# The value of a string or number field in JSON with one field a line.
field() { # JSON NAME
    printf '%s\n' "$1" | sed -n "s/^ *\"$2\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" | head -n 1
}

I7_policy_is_validated_without_a_node() {
    expect_exit 0 "$QUOTACTL_BIN" policy validate "$POLICY"
    expect_match "$out" '^.*first-hour\.yaml OK: 2 plans, 3 tenant rules, 2 priced models$'
    sed 's/tokens: 40k/tokns: 40k/' "$POLICY" >"$T/bad.yaml"
    expect_exit 1 "$QUOTACTL_BIN" policy validate "$T/bad.yaml"
    expect_match "$err" 'bad\.yaml:13:[0-9]+: .*"tokns".*did you mean "tokens"'
    expect_in "$err" "nothing of it would take effect"
}

I7_README_shows_what_is_printed() {
    mkdir "$T/readme"
    awk '/^```yaml$/ { on = 1; next } /^```/ { on = 0 } on' "$SOURCE/README.md" | sed 's/tokens: 40k/tokns: 40k/' >"$T/readme/policy.yaml"
    cp "$SOURCE/deploy/examples/prices.json" "$T/readme/"
    expect_exit 1 "$QUOTACTL_BIN" policy validate "$T/readme/policy.yaml"
    shown=$(sed -n 's/.*`\(policy\.yaml:.*"tokns".*accepted: requests, \)\.\.\.\(; did you mean "tokens"?\)`.*/\1 \2/p' "$SOURCE/README.md")
    expect_in "$err" "${shown% *; did*}"
    expect_in "$err" '; did you mean "tokens"?'
    expect_exit 0 ctl usage acme --by model
    expect_match "$out" '^complete through 20'
    grep -qE '^complete through 20' "$SOURCE/README.md"
}

I7_check_reserves_and_report_books_once() {
    expect_exit 0 ctl check acme/search --model llama-70b --use input_tokens=1200 --use max_output_tokens=400
    expect_match "$out" '^ALLOW acme/search llama-70b; tightest [a-z/.]+: .* of .*; held 1,600 tokens; id r_[0-9A-Z]+$'
    id=$(id_of "$out")
    expect_match "$out" "^next: quotactl report $id --use input_tokens=1200 --use output_tokens=400\$"
    expect_exit 0 ctl report "$id" --use input_tokens=1200 --use output_tokens=233 --request-id first-1
    expect_match "$out" '^BOOKED entry .*#[0-9]+; .*reservation closed; released: .*$'
}

S6_same_report_again_is_booked_once() {
    set -- report --tenant acme --request-id again-1 --model llama-70b --use gpu_seconds=2 --use input_tokens=10
    expect_exit 0 ctl "$@" -o json
    entry=$(field "$out" entry_sequence)
    expect_eq "$(field "$out" duplicate)" false
    expect_exit 0 ctl "$@" -o json
    expect_eq "$(field "$out" duplicate)" true
    expect_eq "$(field "$out" entry_sequence)" "$entry"
    expect_exit 1 ctl report --tenant acme --request-id again-1 --model llama-70b --use gpu_seconds=3
    expect_match "$err" '^quotactl report: .+'
}

H1_gpu_time_is_held_as_money() { # its price is by the second, and the check gives tokens
    expect_exit 0 ctl explain acme/search --model llama-70b --use input_tokens=1000 --use max_output_tokens=100
    expect_match "$out" 'estimate = \$0\.00033 cost, GPU-time assumed: 100us an input token, 2000us an output token$'
    expect_exit 0 ctl explain acme/search --model llama-70b --use input_tokens=1000 --use gpu_seconds=0.3
    expect_match "$out" 'estimate = \$0\.00033 cost$'
    expect_exit 0 ctl explain acme/search --model gpt-4o --use input_tokens=1000
    case $out in *GPU-time*) qd_fail "no GPU-time costs anything here: $out" ;; esac
}

I7_denied_exits_2_and_says_why() {
    expect_exit 2 ctl check hobby --model gpt-4o --use input_tokens=50000
    expect_match "$out" '^DENY  hobby gpt-4o: free\.tokens.*never fits, lower max_output_tokens$'
    expect_exit 0 ctl check hobby --model gpt-4o --use input_tokens=30k --use max_output_tokens=4096
    expect_exit 2 ctl check hobby --model gpt-4o --use input_tokens=30k --use max_output_tokens=4096
    expect_match "$out" '^DENY  hobby gpt-4o: free\.tokens 34,096 used \+ 34,096 estimated > 40,000/min; retry in about [0-9].* s$'
}

D8_dry_run_changes_nothing() {
    expect_exit 0 ctl check peek --model gpt-4o --use input_tokens=5 --dry-run
    expect_exit 0 ctl explain peek --model gpt-4o --use input_tokens=5
    expect_match "$out" '^fits   free\.tokens  40,000/min  \(plan free, .*policy\.yaml:13:[0-9]+\)$'
    expect_eq "$(ctl reservations ls peek | wc -l)" 1
    expect_exit 0 ctl counters ls peek -o json
    expect_eq "$(printf '%s\n' "$out" | grep -cE '"(used|held)": *[1-9]')" 0
}

I7_limits_name_their_line() {
    expect_exit 0 ctl limits acme/search --model llama-70b
    expect_match "$out" '^acme/search: plan pro from acme; policy r1$'
    expect_match "$out" '^pro\.requests +600/min +acme .*policy\.yaml:16:[0-9]+'
    # shellcheck disable=SC2016 # a dollar sign is meant
    expect_match "$out" '^acme/search\.cost +\$500/month +acme/search .*hard'
}

I8_unknown_meter_gets_a_suggestion() {
    expect_exit 1 ctl check acme --model gpt-4o --use inputtokens=5
    expect_in "$err" 'did you mean "input_tokens"?'
    expect_exit 1 ctl tenants set-plan acme/new prp
    expect_match "$err" '^quotactl tenants set-plan: .*prp'
}

P2_tenants_come_and_go_at_run_time() {
    expect_exit 0 ctl tenants put initech --plan pro --limit requests=3/min --label region=eu
    expect_match "$out" '^created initech, plan pro$'
    for _ in 1 2 3; do
        expect_exit 0 ctl check initech --model llama-70b --use input_tokens=5
    done
    expect_exit 2 ctl check initech --model llama-70b --use input_tokens=5
    expect_match "$out" '^DENY  initech llama-70b: initech\.requests 3 used \+ 1 estimated > 3/min; retry in about [0-9].* s$'
    expect_exit 0 ctl counters reset initech requests
    expect_exit 0 ctl check initech --model llama-70b --use input_tokens=5
    expect_exit 0 ctl tenants block initech --reason 'invoice 4711 is open'
    expect_exit 2 ctl check initech --model llama-70b --use input_tokens=5
    expect_in "$out" 'invoice 4711 is open'
    expect_exit 0 ctl tenants unblock initech
    expect_exit 0 ctl tenants ls initech
    expect_match "$out" '^initech +pro +run time +requests: 3/min +region=eu'
    expect_exit 0 ctl tenants delete initech
    expect_exit 1 ctl tenants delete initech
}

P2_no_plan_of_its_own_says_what_applies() {
    expect_exit 0 ctl tenants put umbrella --label region=eu
    expect_match "$out" '^created umbrella, no plan of its own: plan free from [*] applies$'
    expect_exit 0 ctl tenants set-plan umbrella pro
    expect_eq "$out" 'umbrella: plan pro (was free from *)'
    expect_exit 0 ctl tenants set-plan umbrella --none
    expect_eq "$out" 'umbrella: no plan of its own: plan free from * applies (was pro)'
    expect_exit 0 ctl tenants set-plan acme free # the policy gives it pro
    expect_eq "$out" 'acme: plan free (was pro)'
    expect_exit 0 ctl tenants delete acme
    expect_exit 0 ctl tenants put acme/new
    expect_match "$out" '^created acme/new, no plan of its own: plan pro from acme applies$'
    expect_exit 0 ctl tenants delete acme/new
    expect_exit 0 ctl tenants delete umbrella
}

S9_operator_lists_and_releases_holds() {
    expect_exit 0 ctl check acme/holds --model llama-70b --use input_tokens=7
    expect_exit 0 ctl reservations ls acme/holds
    id=$(printf '%s\n' "$out" | sed -n 's/^\(r_[0-9A-Z]*\) .*/\1/p')
    expect_exit 0 ctl reservations release --tenant acme/holds --dry-run
    expect_match "$out" '^would release 1 reservation'
    expect_exit 0 ctl reservations release "$id"
    expect_match "$out" '^released 1 reservation'
    expect_exit 0 ctl check acme/holds --model llama-70b --use input_tokens=7
    expect_exit 0 ctl cancel "$(id_of "$out")"
    expect_match "$out" '^CANCELLED r_'
}

I7_cancel_says_what_is_known() {
    expect_exit 0 ctl check acme --model gpt-4o --use input_tokens=5
    id=$(id_of "$out")
    expect_exit 0 ctl cancel "$id"
    expect_eq "$out" "CANCELLED $id"
    for id in "$id" r_zz; do # closed, and never there: the node knows no difference
        expect_exit 0 ctl cancel "$id"
        expect_eq "$out" "nothing to cancel: $id is not open on this node: it was settled, cancelled or has expired, or it never was"
        expect_exit 1 ctl extend "$id"
    done
}

I7_a_limit_above_its_amount_is_found_by_the_next_command() {
    expect_exit 0 ctl report --tenant over --request-id over-1 --model gpt-4o --use input_tokens=100k
    next=$(printf '%s\n' "$out" | sed -n 's/^1 limit is above the amount now; next: quotactl //p')
    expect_eq "$next" 'limits over'
    expect_exit 0 ctl check over2 --model gpt-4o --use input_tokens=5
    expect_exit 0 ctl report "$(id_of "$out")" --use input_tokens=100k --use output_tokens=1
    next=$(printf '%s\n' "$out" | sed -n 's/^1 limit is above the amount now; next: quotactl //p')
    # shellcheck disable=SC2086 # words are meant
    expect_exit 0 ctl $next
    expect_match "$out" '^free\.tokens +over2 '
}

S3_extend_goes_on() {
    expect_exit 0 ctl check acme/stream --model llama-70b --use input_tokens=7 --ttl 10s
    id=$(id_of "$out")
    expect_exit 0 ctl extend "$id" --use output_tokens=5 --ttl 60s
    expect_match "$out" "^GO ON $id; held until 20"
    expect_exit 0 ctl cancel "$id"
}

P6_reload_shows_what_changed() {
    expect_exit 0 ctl policy show
    expect_match "$out" '^# r1 '
    sed 's/600\/min/700\/min/' "$T/policy.yaml" >"$T/next.yaml"
    expect_exit 0 "$QUOTACTL_BIN" policy diff "$T/policy.yaml" "$T/next.yaml"
    expect_match "$out" '^~ plans\.pro\.requests: 600/min -> 700/min'
    expect_exit 0 ctl policy diff "$T/next.yaml"
    expect_match "$out" '^~ plans\.pro\.requests: 600/min -> 700/min'
    mv "$T/next.yaml" "$T/policy.yaml"
    expect_exit 0 ctl policy reload
    expect_match "$out" 'policy r2'
    expect_exit 0 ctl limits acme
    expect_match "$out" '^pro\.requests +700/min'
}

I7_colours_only_on_a_terminal() {
    escape=$(printf '\033')
    expect_exit 0 ctl check acme --model llama-70b --use input_tokens=5 --dry-run
    expect_eq "$(printf '%s' "$out$err" | grep -c "$escape")" 0
    expect_exit 0 ctl check acme --model llama-70b --use input_tokens=5 --dry-run --color always
    expect_in "$out" "${escape}[32mALLOW"
    expect_exit 0 ctl replay --format azure --trace "$SOURCE/deploy/examples/traces/azure_conv.csv" --limit 5 --model gpt-4o
    expect_eq "$err" ""
    if command -v script >/dev/null; then
        script -qec "$QUOTACTL_BIN --address $QD_GRPC check acme --model gpt-4o --dry-run" /dev/null </dev/null >"$T/tty"
        expect_in "$(cat "$T/tty")" "${escape}[32mALLOW"
        script -qec "$QUOTACTL_BIN --address $QD_GRPC replay --format azure --limit 5 --model gpt-4o --trace \
            $SOURCE/deploy/examples/traces/azure_conv.csv" /dev/null </dev/null >"$T/tty"
        expect_in "$(cat "$T/tty")" '[====='
    fi
}

I7_status_and_top() {
    expect_exit 0 ctl status
    expect_match "$out" '^.*: serving; quotad [0-9.]+, incarnation 1, up '
    expect_match "$out" '^roots +[1-9][0-9]* +[1-9][0-9,]* +[0-9.]+%$' # D12: each table that can be full
    expect_match "$out" '^name_bytes +[1-9][0-9,]* +[1-9][0-9,]* +[0-9.]+%$'
    expect_exit 0 ctl top --looks 2 --every 50ms -n 3
    expect_in "$out" 'the fullest counters:'
    expect_exit 0 ctl status -o json
    expect_eq "$(field "$out" state)" SERVING
}

I2_drain_stops_reserving_and_is_taken_back() {
    expect_exit 0 ctl drain
    expect_match "$out" '^draining; [0-9]+ open reservations'
    expect_exit 2 ctl check acme --model llama-70b --use input_tokens=5
    expect_exit 0 ctl drain --cancel
    expect_exit 0 ctl check acme --model llama-70b --use input_tokens=5
}

cp "$POLICY" "$T/policy.yaml"
cp "$SOURCE/deploy/examples/prices.json" "$T/prices.json"
qd_run I7_policy_is_validated_without_a_node
qd_start --policy "$T/policy.yaml" || exit 1
qd_run I7_check_reserves_and_report_books_once I7_README_shows_what_is_printed S6_same_report_again_is_booked_once \
    H1_gpu_time_is_held_as_money I7_denied_exits_2_and_says_why \
    D8_dry_run_changes_nothing I7_limits_name_their_line I8_unknown_meter_gets_a_suggestion \
    P2_tenants_come_and_go_at_run_time P2_no_plan_of_its_own_says_what_applies S9_operator_lists_and_releases_holds S3_extend_goes_on I7_cancel_says_what_is_known \
    I7_a_limit_above_its_amount_is_found_by_the_next_command \
    P6_reload_shows_what_changed I7_colours_only_on_a_terminal I7_status_and_top I2_drain_stops_reserving_and_is_taken_back
qd_done
