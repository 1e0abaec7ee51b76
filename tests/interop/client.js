// Calls a quotad with @grpc/grpc-js, knowing nothing of it but what its reflection service tells: no .proto file.
//   node client.js KIND HOST:PORT PID [CERTS]
// KIND of port: plain, tls, or mtls; CERTS: the folder that certs.sh made. Prints "1..N", then "ok NAME" or "not ok NAME" for
// each of N cases. PID is the server's: the last case ends it while it is watched.
'use strict';
const assert = require('node:assert/strict');
const grpc = require('@grpc/grpc-js');
const { GrpcReflection } = require('grpc-js-reflection-client');
const { LOADER, welcome, load, call, ask, run } = require('./world.js');

const [kind, target, pid, certs] = process.argv.slice(2);
const credentials = welcome(kind, certs);
const BILLION = 1000000000n;
let quota, usage, admin, health, v1alphaFiles;

// ---- helpers ----------------------------------------------------------------------------------------------------------

// The call must fail with this status, this word in `quotad-reason`, and a sentence that matches.
async function fails(client, method, request, code, reason, sentence) {
    let error;
    try {
        await call(client, method, request);
    } catch (caught) {
        error = caught;
    }
    assert.ok(error, `${method} was answered; wanted ${grpc.status[code]} ${reason}`);
    assert.equal(grpc.status[error.code], grpc.status[code], error.details);
    assert.deepEqual(error.metadata.get('quotad-reason'), [reason], error.details);
    assert.match(error.details, sentence);
}

let lastTenant = 0;
function freshTenant(root = '') {
    lastTenant += 1;
    return root === '' ? `t${process.pid}-${lastTenant}` : `${root}/t${process.pid}-${lastTenant}`;
}

function check(tenant, more = {}) {
    return {
        tenant,
        model: 'small-model',
        max_output_tokens: 400,
        estimate: [{ meter: 'input_tokens', amount: 1200 }],
        ...more,
    };
}

async function reserve(tenant, more = {}) {
    const answer = await ask(quota, 'CheckQuota', check(tenant, more));
    assert.equal(answer.verdict, 'VERDICT_ALLOWED', answer.message);
    return answer.reservation;
}

function amountOf(amounts, meter) {
    const found = amounts.find((amount) => amount.meter === meter);
    return found === undefined ? undefined : BigInt(found.amount);
}

function usageOf(input, output) {
    return [
        { meter: 'input_tokens', amount: input },
        { meter: 'output_tokens', amount: output },
    ];
}

// Sends batches over one StreamQuota and gathers all the answers by id.
function stream(batches) {
    return new Promise((resolve, reject) => {
        const answers = new Map();
        const pending = quota.StreamQuota(new grpc.Metadata(), { deadline: Date.now() + 10000 });
        pending.on('data', (message) => {
            for (const item of message.items) {
                assert.ok(!answers.has(item.id), `item ${item.id} was answered twice`);
                answers.set(item.id, item);
            }
        });
        pending.on('error', reject);
        pending.on('end', () => resolve(answers));
        for (const items of batches) pending.write({ items });
        pending.end();
    });
}

// ---- reflection -------------------------------------------------------------------------------------------------------

const SERVICES = [
    'envoy.service.ratelimit.v3.RateLimitService',
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
    'quota.v1.AdminService',
    'quota.v1.QuotaService',
    'quota.v1.UsageService',
];

const cases = {
    async reflection_v1_lists_the_services() {
        const reflection = new GrpcReflection(target, credentials, {}, 'v1');
        assert.deepEqual((await reflection.listServices()).sort(), SERVICES);
    },

    async reflection_v1alpha_lists_the_services() {
        const reflection = new GrpcReflection(target, credentials, {}, 'v1alpha');
        assert.deepEqual((await reflection.listServices()).sort(), SERVICES);
    },

    async reflection_v1_gives_the_methods() {
        const reflection = new GrpcReflection(target, credentials, {}, 'v1');
        const methods = await reflection.listMethods('quota.v1.QuotaService');
        assert.deepEqual(methods.map((method) => method.name).sort(),
            ['CancelReservation', 'CheckQuota', 'ExtendReservation', 'ReportUsage', 'StreamQuota']);
        const streaming = methods.find((method) => method.name === 'StreamQuota').definition;
        assert.ok(streaming.requestStream && streaming.responseStream);
    },

    async reflection_gives_envoys_service_with_what_it_imports() {
        for (const version of ['v1', 'v1alpha']) {
            const reflection = new GrpcReflection(target, credentials, {}, version);
            const methods = await reflection.listMethods('envoy.service.ratelimit.v3.RateLimitService');
            assert.deepEqual(methods.map((method) => method.definition.path),
                ['/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit'], version);
        }
    },

    async reflection_gives_a_file_by_name() {
        for (const version of ['v1', 'v1alpha']) {
            const reflection = new GrpcReflection(target, credentials, {}, version);
            const descriptor = await reflection.getDescriptorByFileName('quota/v1/usage.proto');
            const types = descriptor.getPackageObject(LOADER).quota.v1;
            assert.ok(types.UsageService && types.LedgerEntry && types.LimitState, version);
        }
    },

    async reflection_knows_no_stranger() {
        for (const version of ['v1', 'v1alpha']) {
            const reflection = new GrpcReflection(target, credentials, {}, version);
            await assert.rejects(reflection.getDescriptorBySymbol('quota.v1.NoSuchThing'), /NoSuchThing/, version);
        }
    },

    async reflection_v1alpha_is_enough_to_call() {
        const old = new v1alphaFiles.quota.v1.QuotaService(target, credentials);
        const answer = await ask(old, 'CheckQuota', check(freshTenant()));
        assert.equal(answer.verdict, 'VERDICT_ALLOWED');
        old.close();
    },

    // ---- checks ----------------------------------------------------------------------------------------------------

    async check_allows_and_reserves() {
        const tenant = freshTenant();
        const before = BigInt(Date.now()) * 1000000n;
        const answer = await ask(quota, 'CheckQuota', check(tenant, { ttl_ms: 60000 }));
        assert.equal(answer.verdict, 'VERDICT_ALLOWED');
        assert.equal(answer.reason, 'REASON_UNSPECIFIED');
        assert.match(answer.reservation.token, /^qr1\.[A-Za-z0-9_-]+$/);
        assert.match(answer.reservation.id, /^r_[0-9A-HJKMNP-TV-Z]+$/);
        const life = BigInt(answer.reservation.expires_at_unix_ns) - before;
        assert.ok(life >= 59n * BILLION && life <= 62n * BILLION, `expires after ${life} ns`);
        assert.equal(amountOf(answer.held, 'tokens'), 1600n);
        assert.equal(amountOf(answer.held, 'requests'), 1n);
        assert.equal(amountOf(answer.held, 'cost'), 1200000n); // 1200 x $0.50/M + 400 x $1.50/M in nano-USD
        assert.equal(answer.limit.tenant, tenant); // the tightest
        assert.equal(answer.policy_revision, '1');
    },

    async check_brief_answers_less() {
        const answer = await ask(quota, 'CheckQuota', check(freshTenant(), { brief: true }));
        assert.equal(answer.verdict, 'VERDICT_ALLOWED');
        assert.ok(answer.reservation.token);
        assert.equal(answer.limit, null);
        assert.equal(answer.message, '');
    },

    async check_denies_with_the_binding_limit() {
        const tenant = freshTenant();
        const big = { estimate: [{ meter: 'input_tokens', amount: 20000 }] };
        await reserve(tenant, big);
        const answer = await ask(quota, 'CheckQuota', check(tenant, big));
        assert.equal(answer.verdict, 'VERDICT_DENIED');
        assert.equal(answer.reason, 'REASON_LIMIT');
        assert.equal(answer.limit.name, 'free.tokens');
        assert.equal(answer.limit.tenant, tenant);
        assert.equal(answer.limit.algorithm, 'ALGORITHM_SLIDING_WINDOW');
        assert.equal(answer.limit.used, '20400');
        assert.equal(answer.limit.estimate, '20400');
        assert.equal(answer.limit.limit, '40000');
        assert.equal(answer.limit.window_ns, '60000000000');
        assert.equal(answer.retry_useful, true);
        assert.equal(answer.retry_is_hint, true, 'the first one is open, and may give its tokens back');
        const retry = BigInt(answer.retry_after_ns);
        assert.ok(retry > 50n * BILLION && retry <= 62n * BILLION, `retry after ${retry} ns`);
        assert.match(answer.message, /^free\.tokens 20,400 used \+ 20,400 estimated > 40,000\/min; retry in about /);
        assert.equal(answer.reservation, null);
    },

    async check_gives_headers_to_copy() {
        const tenant = freshTenant();
        const big = { estimate: [{ meter: 'input_tokens', amount: 30000 }] };
        await reserve(tenant, big);
        const answer = await ask(quota, 'CheckQuota', check(tenant, big));
        const names = answer.headers.map((header) => header.name);
        assert.ok(names.includes('retry-after'), names.join());
        assert.match(answer.headers.find((header) => header.name === 'retry-after').value, /^[1-9][0-9]*$/);
    },

    async check_that_never_fits_is_not_to_be_retried() {
        const answer = await ask(quota, 'CheckQuota', check(freshTenant(),
            { estimate: [{ meter: 'input_tokens', amount: 50000 }] }));
        assert.equal(answer.verdict, 'VERDICT_DENIED');
        assert.equal(answer.reason, 'REASON_NEVER_FITS');
        assert.equal(answer.retry_useful, false);
    },

    async check_of_a_blocked_tenant_is_denied() {
        const answer = await ask(quota, 'CheckQuota', check('blocked'));
        assert.equal(answer.verdict, 'VERDICT_DENIED');
        assert.equal(answer.reason, 'REASON_BLOCKED');
    },

    async check_without_a_price_is_denied() {
        const answer = await ask(quota, 'CheckQuota', check(freshTenant(), { model: 'never-heard-of' }));
        assert.equal(answer.verdict, 'VERDICT_DENIED');
        assert.equal(answer.reason, 'REASON_UNKNOWN_PRICE');
    },

    async check_dry_run_changes_nothing() {
        const tenant = freshTenant();
        for (let i = 0; i < 30; i++) {
            const answer = await ask(quota, 'CheckQuota', check(tenant, { dry_run: true }));
            assert.equal(answer.verdict, 'VERDICT_ALLOWED');
            assert.equal(answer.reservation, null);
        }
    },

    async check_takes_the_first_candidate_that_fits() {
        const tenant = freshTenant();
        const answer = await ask(quota, 'CheckQuota', check(tenant, {
            candidates: [{ model: 'never-heard-of' }, { model: 'dear-model' }, { model: 'small-model' }],
        }));
        assert.equal(answer.verdict, 'VERDICT_ALLOWED');
        assert.equal(answer.candidate, 1);
        assert.equal(amountOf(answer.held, 'cost'), 24000000n);
    },

    async check_repeated_gives_the_same_reservation() {
        const tenant = freshTenant();
        const once = await ask(quota, 'CheckQuota', check(tenant, { request_id: 'same' }));
        const again = await ask(quota, 'CheckQuota', check(tenant, { request_id: 'same' }));
        assert.equal(once.repeated_check, false);
        assert.equal(again.repeated_check, true);
        assert.equal(again.reservation.id, once.reservation.id);
        const other = await ask(quota, 'CheckQuota', check(tenant, { request_id: 'same', attempt: 1 }));
        assert.notEqual(other.reservation.id, once.reservation.id);
    },

    async check_repeated_with_other_content_conflicts() {
        const tenant = freshTenant();
        await reserve(tenant, { request_id: 'same' });
        await fails(quota, 'CheckQuota', check(tenant, { request_id: 'same', max_output_tokens: 401 }),
            grpc.status.ALREADY_EXISTS, 'REQUEST_CONFLICT', /same/);
    },

    // ---- reports ---------------------------------------------------------------------------------------------------

    async report_books_settles_and_is_idempotent() {
        const tenant = freshTenant();
        const { token } = await reserve(tenant);
        const report = { reservation: token, usage: usageOf(1200, 233) };
        const first = await ask(quota, 'ReportUsage', report);
        assert.equal(first.duplicate, false);
        assert.equal(first.settlement, 'SETTLEMENT_CLOSED');
        assert.equal(first.cost_nano_usd, '949500'); // 1200 x 500 + 233 x 1500 nano-USD
        assert.equal(first.cost_pico_usd, '949500000');
        assert.equal(first.charge_pico_usd, '949500000');
        assert.equal(first.unpriced, false);
        assert.equal(amountOf(first.released, 'output_tokens'), 167n);
        const second = await ask(quota, 'ReportUsage', report);
        assert.equal(second.duplicate, true);
        assert.equal(second.entry_sequence, first.entry_sequence);
        assert.equal(second.cost_pico_usd, first.cost_pico_usd);
    },

    async report_with_other_content_conflicts() {
        const { token } = await reserve(freshTenant());
        await ask(quota, 'ReportUsage', { reservation: token, usage: usageOf(1200, 233) });
        await fails(quota, 'ReportUsage', { reservation: token, usage: usageOf(1200, 234) },
            grpc.status.ALREADY_EXISTS, 'REPORT_CONFLICT', /output_tokens/);
    },

    async report_settles_by_the_short_id() {
        const { id } = await reserve(freshTenant());
        const answer = await ask(quota, 'ReportUsage', { reservation: id, usage: usageOf(1, 1) });
        assert.equal(answer.settlement, 'SETTLEMENT_CLOSED');
    },

    async report_in_parts_closes_with_the_last() {
        const tenant = freshTenant();
        const { token } = await reserve(tenant);
        const part = await ask(quota, 'ReportUsage', {
            reservation: token, sequence: 0, partial: true, usage: [{ meter: 'input_tokens', amount: 1200 }] });
        assert.equal(part.settlement, 'SETTLEMENT_PARTIAL');
        const pool = await ask(quota, 'ReportUsage', {
            reservation: token, source: 'pool', partial: true, usage: [{ meter: 'gpu_ms', amount: 1500 }] });
        assert.equal(pool.settlement, 'SETTLEMENT_PARTIAL');
        const last = await ask(quota, 'ReportUsage', {
            reservation: token, sequence: 1, usage: [{ meter: 'output_tokens', amount: 233 }] });
        assert.equal(last.settlement, 'SETTLEMENT_CLOSED');
        assert.equal(BigInt(last.entry_sequence) - BigInt(part.entry_sequence), 2n);
    },

    async report_without_a_check_is_post_paid() {
        const tenant = freshTenant();
        const answer = await ask(quota, 'ReportUsage', {
            tenant, model: 'small-model', request_id: 'post-paid', usage: usageOf(39000, 900) });
        assert.equal(answer.settlement, 'SETTLEMENT_NONE');
        const denied = await ask(quota, 'CheckQuota', check(tenant));
        assert.equal(denied.verdict, 'VERDICT_DENIED');
        assert.equal(denied.limit.used, '39900');
    },

    async report_of_the_overrun_is_booked() {
        const { token } = await reserve(freshTenant());
        const answer = await ask(quota, 'ReportUsage', { reservation: token, usage: usageOf(1200, 50000) });
        assert.equal(amountOf(answer.overrun, 'output_tokens'), 49600n);
        assert.ok(answer.limits_over >= 1);
    },

    async report_not_dispatched_gives_all_back() {
        const tenant = freshTenant();
        const big = { estimate: [{ meter: 'input_tokens', amount: 30000 }] };
        const { token } = await reserve(tenant, big);
        const answer = await ask(quota, 'ReportUsage', { reservation: token, outcome: 'OUTCOME_NOT_DISPATCHED' });
        assert.equal(answer.settlement, 'SETTLEMENT_CLOSED');
        await reserve(tenant, big);
    },

    // ---- extending and cancelling ----------------------------------------------------------------------------------

    async extend_renews_and_says_when_to_stop() {
        const tenant = freshTenant();
        const { token, expires_at_unix_ns: expires } = await reserve(tenant, { ttl_ms: 10000 });
        const on = await ask(quota, 'ExtendReservation', {
            reservation: token, ttl_ms: 60000, used_so_far: usageOf(1200, 100) });
        assert.equal(on.continuation, 'CONTINUATION_CONTINUE');
        assert.ok(BigInt(on.expires_at_unix_ns) > BigInt(expires) + 40n * BILLION);
        const off = await ask(quota, 'ExtendReservation', {
            reservation: token, used_so_far: usageOf(1200, 60000) });
        assert.equal(off.continuation, 'CONTINUATION_STOP');
        assert.equal(off.reason, 'REASON_LIMIT');
        assert.equal(off.limit.name, 'free.tokens');
    },

    async cancel_gives_back_once() {
        const tenant = freshTenant();
        const big = { estimate: [{ meter: 'input_tokens', amount: 30000 }] };
        const { token } = await reserve(tenant, big);
        assert.equal((await ask(quota, 'CancelReservation', { reservation: token })).cancelled, true);
        assert.equal((await ask(quota, 'CancelReservation', { reservation: token })).cancelled, false);
        await fails(quota, 'ExtendReservation', { reservation: token },
            grpc.status.NOT_FOUND, 'UNKNOWN_RESERVATION', /./);
        await reserve(tenant, big);
    },

    // ---- batches ---------------------------------------------------------------------------------------------------

    async stream_answers_every_item_by_its_id() {
        const tenant = freshTenant('roomy');
        const checks = Array.from({ length: 200 }, (_, i) => ({ id: i + 1, check: check(tenant, { brief: true }) }));
        const answers = await stream([checks.slice(0, 64), checks.slice(64, 128), checks.slice(128)]);
        assert.equal(answers.size, 200);
        const reports = checks.map(({ id }) => {
            const { check: answer } = answers.get(String(id));
            assert.equal(answer.verdict, 'VERDICT_ALLOWED');
            return { id: id + 1000, report: { reservation: answer.reservation.token, usage: usageOf(1000, id) } };
        });
        const booked = await stream([reports.slice(0, 100), reports.slice(100)]);
        const sequences = new Set();
        for (const { id } of reports) {
            const { report } = booked.get(String(id));
            assert.equal(report.settlement, 'SETTLEMENT_CLOSED');
            assert.equal(report.cost_nano_usd, String(1000 * 500 + (id - 1000) * 1500));
            sequences.add(report.entry_sequence);
        }
        assert.equal(sequences.size, 200);
    },

    async stream_item_that_fails_fails_alone() {
        const tenant = freshTenant();
        const answers = await stream([[
            { id: 1, check: check(tenant) },
            { id: 2, check: check(tenant, { estimate: [{ meter: 'tokns', amount: 1 }] }) },
            { id: 3, report: { reservation: 'qr1.nonsense', usage: usageOf(1, 1) } },
            { id: 4, check: check(tenant) },
        ]]);
        assert.equal(answers.get('1').result, 'check');
        assert.equal(answers.get('2').error.code, grpc.status.INVALID_ARGUMENT);
        assert.equal(answers.get('2').error.reason, 'UNKNOWN_METER');
        assert.match(answers.get('2').error.message, /tokns/);
        assert.equal(answers.get('3').error.code, grpc.status.INVALID_ARGUMENT);
        assert.equal(answers.get('4').check.verdict, 'VERDICT_ALLOWED');
    },

    async stream_extends_and_cancels() {
        const { token } = await reserve(freshTenant());
        const answers = await stream([[
            { id: 7, extend: { reservation: token, ttl_ms: 30000 } },
            { id: 8, cancel: { reservation: token } },
        ]]);
        assert.equal(answers.get('7').extend.continuation, 'CONTINUATION_CONTINUE');
        assert.equal(answers.get('8').cancel.cancelled, true);
    },

    // ---- what was used ---------------------------------------------------------------------------------------------

    async usage_sums_what_was_reported() {
        const tenant = freshTenant('roomy');
        for (const [model, input, output] of [['small-model', 1000, 10], ['small-model', 2000, 20], ['dear-model', 300, 3]]) {
            const { token } = await reserve(tenant, { model });
            await ask(quota, 'ReportUsage', { reservation: token, usage: usageOf(input, output) });
        }
        const answer = await ask(usage, 'QueryUsage', { tenant, group_by: [{ dimension: 'DIMENSION_MODEL' }] });
        const rows = new Map(answer.rows.map((row) => [row.groups[0].value, row]));
        assert.deepEqual([...rows.keys()].sort(), ['dear-model', 'small-model']);
        const small = rows.get('small-model');
        assert.equal(amountOf(small.quantities, 'input_tokens'), 3000n);
        assert.equal(amountOf(small.quantities, 'output_tokens'), 30n);
        assert.equal(amountOf(small.quantities, 'requests'), 2n);
        assert.equal(small.entries, '2');
        assert.equal(small.cost_pico_usd, '1545000000'); // 3000 x 500000 + 30 x 1500000 pico-USD
        assert.equal(rows.get('dear-model').cost_pico_usd, '3090000000');
        assert.ok(answer.as_of.length >= 1);
    },

    async ledger_pages_list_each_entry_once() {
        const tenant = freshTenant('roomy');
        const booked = [];
        for (let i = 1; i <= 7; i++) {
            const { token } = await reserve(tenant);
            booked.push((await ask(quota, 'ReportUsage', { reservation: token, usage: usageOf(100, i) })).entry_sequence);
        }
        const seen = [];
        let cursor = '';
        for (let page = 0; page < 20; page++) {
            const answer = await ask(usage, 'ListLedgerEntries', { tenant, cursor, page_size: 3 });
            assert.ok(answer.entries.length <= 3);
            for (const entry of answer.entries) {
                assert.equal(entry.tenant, tenant);
                assert.equal(entry.kind, 'ENTRY_KIND_USAGE');
                seen.push(entry.sequence);
            }
            cursor = answer.next_cursor;
            if (answer.end) break;
        }
        assert.deepEqual(seen, booked);
        const later = await ask(usage, 'ListLedgerEntries', { tenant, cursor });
        assert.equal(later.entries.length, 0);
    },

    async admin_tells_the_effective_limits() {
        const answer = await ask(admin, 'GetEffectiveLimits', { tenant: 'someone/else', model: 'small-model' });
        assert.ok(JSON.stringify(answer).includes('free.tokens'));
    },

    // ---- events ----------------------------------------------------------------------------------------------------

    async events_come_after_the_headers_and_end_when_cancelled() {
        const tenant = freshTenant('eventful');
        const watch = usage.WatchEvents({ tenant: 'eventful', kinds: ['EVENT_KIND_RESERVATION_EXPIRED'] });
        watch.on('error', () => {});
        await new Promise((resolve) => watch.once('metadata', resolve));
        const { id } = await reserve(tenant, { ttl_ms: 1000 });
        const event = await new Promise((resolve) => watch.once('data', resolve));
        watch.cancel();
        assert.equal(event.kind, 'EVENT_KIND_RESERVATION_EXPIRED');
        assert.equal(event.tenant, tenant);
        assert.equal(event.reservation_id, id);
        assert.ok(BigInt(event.time_unix_ns) > 0n);
    },

    async events_of_no_kind_are_refused() {
        const watch = usage.WatchEvents({ kinds: [99] });
        const error = await new Promise((resolve) => watch.once('error', resolve));
        assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
        assert.equal(error.metadata.get('quotad-reason')[0], 'INVALID_FIELD');
    },

    // ---- health ----------------------------------------------------------------------------------------------------

    async health_check_answers_for_each_service() {
        for (const service of ['', 'quota.v1.QuotaService', 'quota.v1.UsageService', 'quota.v1.AdminService']) {
            assert.equal((await ask(health, 'Check', { service })).status, 'SERVING', service);
        }
    },

    async health_check_knows_no_stranger() {
        await assert.rejects(ask(health, 'Check', { service: 'no.such.Service' }), { code: grpc.status.NOT_FOUND });
    },

    async health_watch_of_a_stranger_waits_for_it() {
        const watch = health.Watch({ service: 'no.such.Service' });
        watch.on('error', () => {});
        const status = await new Promise((resolve) => watch.once('data', (answer) => resolve(answer.status)));
        watch.cancel();
        assert.equal(status, 'SERVICE_UNKNOWN');
    },

    // ---- errors ----------------------------------------------------------------------------------------------------

    async error_without_a_tenant() {
        await fails(quota, 'CheckQuota', check(''), grpc.status.INVALID_ARGUMENT, 'INVALID_TENANT', /tenant/);
    },

    async error_for_a_tenant_that_is_no_path() {
        await fails(quota, 'CheckQuota', check('a//b'), grpc.status.INVALID_ARGUMENT, 'INVALID_TENANT', /a\/\/b/);
    },

    async error_for_an_unknown_meter_suggests() {
        await fails(quota, 'CheckQuota', check('x', { estimate: [{ meter: 'imput_tokens', amount: 1 }] }),
            grpc.status.INVALID_ARGUMENT, 'UNKNOWN_METER', /imput_tokens.*input_tokens/);
    },

    async error_for_a_negative_amount() {
        await fails(quota, 'CheckQuota', check('x', { estimate: [{ meter: 'input_tokens', amount: -5 }] }),
            grpc.status.INVALID_ARGUMENT, 'INVALID_AMOUNT', /-5/);
    },

    async error_for_a_token_that_was_changed() {
        const { token } = await reserve(freshTenant());
        const middle = token.length >> 1;
        const other = token[middle] === 'A' ? 'B' : 'A';
        const changed = token.slice(0, middle) + other + token.slice(middle + 1);
        await fails(quota, 'ReportUsage', { reservation: changed, usage: usageOf(1, 1) },
            grpc.status.INVALID_ARGUMENT, 'INVALID_TOKEN', /./);
    },

    async error_for_a_short_id_that_is_not_open() {
        await fails(quota, 'ReportUsage', { reservation: 'r_ZZZZ', usage: usageOf(1, 1) },
            grpc.status.NOT_FOUND, 'UNKNOWN_RESERVATION', /r_ZZZZ/);
    },

    async error_for_the_reservation_of_another_tenant() {
        const { token } = await reserve(freshTenant());
        await fails(quota, 'ReportUsage', { reservation: token, tenant: 'somebody-else', usage: usageOf(1, 1) },
            grpc.status.INVALID_ARGUMENT, 'TENANT_MISMATCH', /somebody-else/);
    },

    async error_for_a_report_that_comes_two_years_late() {
        const then = (BigInt(Date.now()) - 2n * 365n * 86400000n) * 1000000n;
        await fails(quota, 'ReportUsage', {
            tenant: freshTenant(), model: 'small-model', request_id: 'late', usage: usageOf(1, 1),
            event_time_unix_ns: String(then),
        }, grpc.status.FAILED_PRECONDITION, 'REPORT_TOO_OLD', /35/);
    },

    async error_for_an_unknown_zone() {
        await fails(usage, 'QueryUsage', { zone: 'Europe/Berlim', bucket: 'BUCKET_DAY' },
            grpc.status.INVALID_ARGUMENT, 'INVALID_FIELD', /Europe\/Berlim/);
    },

    async error_for_a_message_that_is_too_large() {
        await fails(quota, 'CheckQuota', check('x', { user: 'u'.repeat(300 * 1024) }),
            grpc.status.INVALID_ARGUMENT, 'MESSAGE_TOO_LARGE', /at most 262144/);
    },

    async error_for_a_method_that_does_not_exist() {
        const error = await new Promise((resolve) => quota.makeUnaryRequest('/quota.v1.QuotaService/Guess',
            (value) => value, (value) => value, Buffer.alloc(0), resolve));
        assert.equal(error.code, grpc.status.UNIMPLEMENTED);
    },

    // ---- the end: keep it last -------------------------------------------------------------------------------------

    async health_watch_follows_the_server_to_its_end() {
        const seen = [];
        const watch = health.Watch({ service: 'quota.v1.QuotaService' });
        const ended = new Promise((resolve) => {
            watch.on('error', resolve);
            watch.on('end', resolve);
        });
        const first = new Promise((resolve) => watch.once('data', resolve));
        watch.on('data', (answer) => seen.push(answer.status));
        await Promise.race([first, ended]);
        process.kill(Number(pid), 'SIGTERM');
        await ended;
        assert.deepEqual(seen, ['SERVING', 'NOT_SERVING']);
    },
};

// ---- what runs --------------------------------------------------------------------------------------------------------

async function prepare() {
    const files = (symbol) => load(target, credentials, 'v1', symbol);
    v1alphaFiles = await load(target, credentials, 'v1alpha', 'quota.v1.QuotaService');
    const { QuotaService } = (await files('quota.v1.QuotaService')).quota.v1;
    const { UsageService } = (await files('quota.v1.UsageService')).quota.v1;
    const { AdminService } = (await files('quota.v1.AdminService')).quota.v1;
    const { Health } = (await files('grpc.health.v1.Health')).grpc.health.v1;
    quota = new QuotaService(target, credentials);
    usage = new UsageService(target, credentials);
    admin = new AdminService(target, credentials);
    health = new Health(target, credentials);
}

run(`js_${kind}`, prepare, cases);
