# deploy/observability against promtool, and against what a real node exposes (I6).
. "${QUOTA_TESTLIB_SH:?run through ctest}"

files=${QUOTAD_SOURCE_DIR:?}/deploy/observability
json_strings=${QUOTAD_BUILD_DIR:?}/tests/e2e/json_strings

needs_promtool() {
    command -v promtool >/dev/null || qd_skip "promtool is missing: sh deploy/packages.sh --test"
}

I6_alert_rules_are_valid() {
    needs_promtool
    promtool check rules "$files/alerts.yaml"
    promtool check config "$files/prometheus.yaml"
}

I6_alerts_fire_when_they_should_and_not_else() {
    needs_promtool
    promtool test rules "$files/alerts.test.yaml" "$files/alerts.week.test.yaml"
}

I6_each_alert_is_seen_to_fire() {
    sed -n 's/^ *- alert: *//p' "$files/alerts.yaml" | sort >"$T/alerts"
    [ "$(wc -l <"$T/alerts")" -gt 20 ] || qd_fail "alerts: $(cat "$T/alerts")"
    cat "$files"/*.test.yaml | grep -v 'exp_samples: \[\]' | grep -oE 'alertname="?Quotad[A-Za-z]+",' | grep -oE 'Quotad[A-Za-z]+' |
        sort -u >"$T/tested"
    expect_eq "$(comm -23 "$T/alerts" "$T/tested")" ""
}

# A summary for each, and the commands it sends people to exist.
I6_each_alert_says_what_to_do() {
    expect_eq "$(grep -c 'summary: ' "$files/alerts.yaml")" "$(grep -c -- '- alert: ' "$files/alerts.yaml")"
    tr '\n' ' ' <"$files/alerts.yaml" | tr -s ' ' | grep -oE 'quotactl [a-z]+( [a-z-]+)?' | sort -u >"$T/commands"
    [ -s "$T/commands" ] || qd_fail "no command is named"
    while read -r _ command sub; do
        # shellcheck disable=SC2086 # one word or none
        "$QUOTACTL_BIN" "$command" --help >"$T/help" </dev/null || qd_fail "quotactl $command"
        case $command in
        policy | tenants | reservations | ledger)
            grep -qE "^ *$command $sub " "$T/help" || qd_fail "quotactl $command $sub is no command"
            ;;
        esac
    done <"$T/commands"
    tr '\n' ' ' <"$files/alerts.yaml" | grep -oE ' --[a-z][a-z-]+' | sort -u >"$T/flags"
    "$QUOTAD_BIN" --help >"$T/help"
    while read -r flag; do
        [ "$flag" = --cancel ] || grep -qE -- "^ *$flag( |\$|=)" "$T/help" || qd_fail "quotad has no $flag"
    done <"$T/flags"
}

I6_the_dashboard_is_JSON_and_its_queries_are_valid() {
    "$json_strings" "$files/dashboard.json" expr >"$T/exprs"
    [ "$(wc -l <"$T/exprs")" -gt 40 ] || qd_fail "queries: $(cat "$T/exprs")"
    needs_promtool
    # Each query as a rule: promtool parses it.
    echo 'groups: [{name: dashboard, rules: [' >"$T/rules.yaml"
    sed "s/'/''/g; s/\$__rate_interval/5m/g; s/\$instance/.*/g; s/\$job/.*/g" "$T/exprs" |
        awk "{ printf \"  {record: 'q:%d', expr: '%s'},\\n\", NR, \$0 }" >>"$T/rules.yaml"
    echo ']}]' >>"$T/rules.yaml"
    promtool check rules "$T/rules.yaml"
}

# What alerts, their tests and the dashboard ask for is there, with those labels.
I6_alerts_and_dashboard_ask_for_what_a_node_has() {
    curl -s "http://$QD_ADMIN/metrics" >"$T/page"
    cat "$T/page.tls" >>"$T/page" # only a node with TLS and --rls-config has what is about its certificate, and its domains
    sed -n 's/^\([a-z_]*\).*/\1/p' "$T/page" | sort -u >"$T/there"
    [ "$(wc -l <"$T/there")" -gt 70 ] || qd_fail "series: $(cat "$T/there")"
    {
        "$json_strings" "$files/dashboard.json" expr
        "$json_strings" "$files/dashboard.json" query
        grep -v '^ *#' "$files/alerts.yaml"
        cat "$files"/*.test.yaml
    } >"$T/queries"
    grep -oE '(quotad|process)_[a-z_]*[a-z]' "$T/queries" | sort -u >"$T/asked.all"
    # quotad_*_max stands for several.
    expect_eq "$(comm -23 "$T/asked.all" "$T/there")" ""
    for label in 'reason="[A-Z_]+"' 'reason="[a-z_]+"' 'verdict="[a-z]+"' 'method="[A-Za-z]+"' 'result="[a-z_]+"' 'kind="[a-z_]+"' 'outcome="[a-z_]+"'; do
        grep -oE "$label" "$T/queries" | sort -u >"$T/labels"
        while read -r pair; do
            grep -qF "$pair" "$T/page" || qd_fail "no series has $pair"
        done <"$T/labels"
    done
    for reason in $(grep -oE 'reason=~"[A-Z_|]+"' "$T/queries" | tr '"|' '\n\n' | grep -E '^[A-Z_]+$'); do
        grep -qF "reason=\"$reason\"" "$T/page" || qd_fail "no error has the reason $reason"
    done
}

# Labels whose values users choose would be one series each: of native calls only `tenant` has them, and no more than asked for (I6).
# `rule` may have those of Envoy's requests, and is bounded, too: test_rls.sh.
I6_no_label_but_tenant_has_values_of_users() {
    for i in $(seq 30); do
        "$QUOTACTL_BIN" check "tenant-$i/team-$i" --model "model-$i" --user "user-$i" --use input_tokens=1 >"$T/check" 2>&1 || true
    done
    curl -s "http://$QD_ADMIN/metrics" >"$T/page"
    expect_eq "$(grep -cE 'model-[0-9]|user-[0-9]|team-[0-9]' "$T/page")" 0
    expect_eq "$(grep -oE 'tenant="[^"]*"' "$T/page" | sort -u | wc -l | tr -d ' ')" 4
    sed -n 's/^[a-z_]*{\(.*\)} .*/\1/p' "$T/page" | tr ',' '\n' | sed 's/=.*//' | sort -u | tr '\n' ' ' >"$T/names"
    expect_eq "$(cat "$T/names")" "domain kind le method outcome port reason result rule tenant verdict version "
}

# With TLS, before the node that all else is about.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -keyout "$T/server.key" -out "$T/server.pem" 2>"$T/openssl" || { cat "$T/openssl"; exit 1; }
credentials() {
    echo "- {name: root, role: $1, token_sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b}" >"$T/new"
    mv "$T/new" "$T/credentials.yaml"
}
credentials admin
mkdir "$T/rls"
echo 'domain: shop' >"$T/rls/shop.yaml"
qd_start --dev --tls-cert "$T/server.pem" --tls-key "$T/server.key" --credentials "$T/credentials.yaml" --rls-config "$T/rls" || exit 1
curl -s "http://$QD_ADMIN/metrics" >"$T/page.tls"
I6_the_end_of_the_certificate_is_known() {
    ends=$(sed -n 's/^quotad_tls_certificate_expiry_timestamp_seconds //p' "$T/page.tls")
    expect_eq "$(openssl x509 -in "$T/server.pem" -noout -enddate)" \
        "notAfter=$(LC_ALL=C date -u -d "@$ends" '+%b %e %T %Y GMT')"
    expect_match "$(cat "$T/page.tls")" '^quotad_tls_last_reload_successful 1$'
    needs_promtool
    promtool check metrics <"$T/page.tls"
}
# wait_metric LINE: until /metrics has the line; a minute at most.
wait_metric() {
    for _ in $(seq 600); do
        curl -s "http://$QD_ADMIN/metrics" >"$T/page"
        grep -qxF "$1" "$T/page" && return 0
        sleep 0.1
    done
    qd_fail "/metrics never said: $1"
}
I6_credentials_that_are_refused_are_seen() {
    wait_metric 'quotad_credentials_last_reload_successful 1'
    credentials nobody
    wait_metric 'quotad_credentials_last_reload_successful 0'
    credentials billing
    wait_metric 'quotad_credentials_last_reload_successful 1'
}
qd_run I6_the_end_of_the_certificate_is_known I6_credentials_that_are_refused_are_seen
qd_stop TERM

qd_start --dev --metrics-tenants 3 || exit 1
export QUOTAD_ADDRESS="$QD_GRPC"
qd_run I6_alert_rules_are_valid I6_alerts_fire_when_they_should_and_not_else I6_each_alert_is_seen_to_fire \
    I6_each_alert_says_what_to_do I6_the_dashboard_is_JSON_and_its_queries_are_valid \
    I6_alerts_and_dashboard_ask_for_what_a_node_has I6_no_label_but_tenant_has_values_of_users
qd_done
