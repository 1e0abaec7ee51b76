// A TLS port's certificate changes while @grpc/grpc-js is connected: the connection lives on, new ones meet the new certificate.
//   node reload.js KIND HOST:PORT CERTS
// KIND of port: tls; CERTS: the folder that certs.sh made, whose served.pem and served.key the node was given. Prints what
// client.js prints. Each case builds on the one before.
'use strict';
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const { setTimeout: pause } = require('node:timers/promises');
const { OWN_CONNECTION, tls, welcome, load, ask, run } = require('./world.js');

const [kind, target, certs] = process.argv.slice(2);
const execute = promisify(execFile);
let Health, living, watch;
const watched = { answers: [], ended: false };

async function fingerprint(script, argument) {
    const { stdout } = await execute('sh', ['-c', `${script} | openssl x509 -noout -fingerprint -sha256`, argument]);
    return stdout.trim().replace(/.*=/, '');
}

const servedNow = () => fingerprint('openssl s_client -connect "$0" -alpn h2 </dev/null 2>/dev/null', target);
const fingerprintOf = (name) => fingerprint('cat "$0"', path.join(certs, `${name}.pem`));

// Puts NAME.pem and NAME.key in the place of those the node was given.
function place(name) {
    for (const kind of ['pem', 'key']) {
        const fresh = path.join(certs, `fresh.${kind}`);
        fs.copyFileSync(path.join(certs, `${name}.${kind}`), fresh);
        fs.renameSync(fresh, path.join(certs, `served.${kind}`));
    }
}

// And waits until a handshake meets them.
async function serve(name) {
    place(name);
    const wanted = await fingerprintOf(name);
    while (await servedNow() !== wanted) await pause(200);
}

// A call on a new connection: the certificate that grpc-js met there. A refusal rejects.
async function met() {
    let seen;
    const note = (_, certificate) => { seen = certificate.fingerprint256; };
    const client = new Health(target, tls(certs, 'ca', undefined, { checkServerIdentity: note }), OWN_CONNECTION);
    try {
        assert.equal((await ask(client, 'Check', { service: '' })).status, 'SERVING');
    } finally {
        client.close();
    }
    return seen;
}

async function refusedByNewClients(sentence) {
    const client = new Health(target, welcome(kind, certs), OWN_CONNECTION);
    try {
        await assert.rejects(ask(client, 'Check', { service: '' }), { details: sentence });
    } finally {
        client.close();
    }
}

// A stream cannot move to another connection: while it has not ended, its connection lives.
async function theConnectionLives() {
    assert.equal((await ask(living, 'Check', { service: '' })).status, 'SERVING');
    assert.deepEqual(watched, { answers: ['SERVING'], ended: false });
}

const cases = {
    async first_certificate_is_met() {
        assert.equal(await servedNow(), await fingerprintOf('node'));
        assert.equal(await met(), await fingerprintOf('node'));
        await theConnectionLives();
    },

    async renewed_certificate_is_met_and_the_connection_lives() {
        await serve('renewed');
        assert.equal(await met(), await fingerprintOf('renewed'));
        await theConnectionLives();
    },

    async expired_certificate_leaves_the_one_in_force() {
        place('old');
        await pause(2500); // files are looked at once a second, at a handshake
        assert.equal(await met(), await fingerprintOf('renewed'));
        assert.equal(await met(), await fingerprintOf('renewed'));
        await theConnectionLives();
    },

    async certificate_of_another_name_is_refused_by_new_clients() {
        await serve('elsewhere');
        await refusedByNewClients(/IP: 127\.0\.0\.1 is not in the cert's list/);
        await theConnectionLives();
    },

    async good_certificate_is_met_again_and_the_connection_lives() {
        await serve('node');
        assert.equal(await met(), await fingerprintOf('node'));
        await theConnectionLives();
        watch.cancel();
    },
};

async function prepare() {
    ({ Health } = (await load(target, welcome(kind, certs), 'v1', 'grpc.health.v1.Health')).grpc.health.v1);
    living = new Health(target, welcome(kind, certs), OWN_CONNECTION);
    watch = living.Watch({ service: '' });
    watch.on('error', () => { watched.ended = true; });
    watch.on('end', () => { watched.ended = true; });
    watch.on('data', (answer) => watched.answers.push(answer.status));
    await new Promise((resolve) => watch.once('data', resolve));
}

run(`js_${kind}`, prepare, cases);
