// Clients that must not get in, with @grpc/grpc-js: each is told why, and the node serves the next one.
//   node refused.js KIND HOST:PORT CERTS LOG
// KIND of port: plain, tls, or mtls; CERTS: the folder that certs.sh made; LOG: the node's. Prints what client.js prints.
//
// gRPC 1.51 ends a handshake that failed without an alert, so who brings a wrong certificate learns only that the connection was
// closed: the node's log tells what was wrong with it.
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const { OWN_CONNECTION, tls, welcome, load, ask, run } = require('./world.js');

const [kind, target, certs, log] = process.argv.slice(2);
let Health;

async function health(credentials) {
    const client = new Health(target, credentials, OWN_CONNECTION);
    try {
        return (await ask(client, 'Check', { service: '' })).status;
    } finally {
        client.close();
    }
}

async function refused(credentials, sentence) {
    await assert.rejects(health(credentials), (error) => {
        assert.equal(grpc.status[error.code], 'UNAVAILABLE', error.details);
        assert.match(error.details, sentence);
        return true;
    });
    assert.equal(await health(welcome(kind, certs)), 'SERVING');
}

// And the node's log has a new line that matches: it may leave some out, a few a second.
async function refusedAndLogged(credentials, line) {
    const before = fs.statSync(log).size;
    do {
        await refused(credentials, /^No connection established/);
        await pause(300);
    } while (!line.test(fs.readFileSync(log).subarray(before).toString()));
}

const WITHOUT_TLS = grpc.credentials.createInsecure();

const ports = {
    plain: {
        refuses_TLS: () => refused(tls(certs, 'ca'), /wrong version number/),
    },
    tls: {
        refuses_plaintext: () => refusedAndLogged(WITHOUT_TLS, /wrong version number/),
        is_not_trusted_by_who_trusts_another_authority: () => refused(tls(certs, 'other'), /unable to verify/),
    },
    mtls: {
        refuses_plaintext: () => refusedAndLogged(WITHOUT_TLS, /wrong version number/),
        refuses_a_client_without_a_certificate: () =>
            refusedAndLogged(tls(certs, 'ca'), /peer did not return a certificate/),
        refuses_a_certificate_of_another_authority: () =>
            refusedAndLogged(tls(certs, 'ca', 'stranger'), /certificate verify failed/),
        refuses_an_expired_certificate: () =>
            refusedAndLogged(tls(certs, 'ca', 'expired'), /certificate verify failed/),
    },
};

async function prepare() {
    ({ Health } = (await load(target, welcome(kind, certs), 'v1', 'grpc.health.v1.Health')).grpc.health.v1);
}

run(`js_${kind}`, prepare, ports[kind]);
