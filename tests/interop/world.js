// What the programs of @grpc/grpc-js share: who comes to which port, calls as promises, and how cases are run and told.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const { GrpcReflection } = require('grpc-js-reflection-client');

// Channels share connections unless told otherwise.
const OWN_CONNECTION = { 'grpc.use_local_subchannel_pool': 1 };
const LOADER = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };

// Credentials from the PEM files that certs.sh made: whom the client trusts, who it is, and createSsl's options.
function tls(certs, authority, own, options) {
    const read = (name) => fs.readFileSync(path.join(certs, name));
    const pair = own === undefined ? [null, null] : [read(`${own}.key`), read(`${own}.pem`)];
    return grpc.credentials.createSsl(read(`${authority}.pem`), ...pair, options);
}

// The credentials of a client that is welcome at a port of this kind.
function welcome(kind, certs) {
    switch (kind) {
    case 'plain': return grpc.credentials.createInsecure();
    case 'tls': return tls(certs, 'ca');
    case 'mtls': return tls(certs, 'ca', 'client');
    default: throw new Error(`kind of port ${kind}; accepted: plain, tls, mtls`);
    }
}

// The package that holds a symbol, by reflection of this version.
async function load(target, credentials, version, symbol) {
    const reflection = new GrpcReflection(target, credentials, {}, version);
    const descriptor = await reflection.getDescriptorBySymbol(symbol);
    return descriptor.getPackageObject(LOADER);
}

// A unary call as a promise of {answer, trailers}; rejects with the ServiceError.
function call(client, method, request, options = {}) {
    return new Promise((resolve, reject) => {
        let answer, failure;
        const deadline = Date.now() + 10000;
        const pending = client[method](request, new grpc.Metadata(), { deadline, ...options }, (error, value) => {
            failure = error;
            answer = value;
            if (error) reject(error);
        });
        pending.on('status', (status) => {
            if (!failure) resolve({ answer, trailers: status.metadata });
        });
    });
}

async function ask(client, method, request) {
    return (await call(client, method, request)).answer;
}

// What went wrong and where in these files, without the libraries' own lines.
function describe(error) {
    const lines = String(error.stack || error).split('\n');
    const kept = lines.filter((line) => !line.includes('node_modules') && !line.includes('node:internal'));
    return kept.join('\n').replace(/^/gm, '    ');
}

function within(ms, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Prints "1..N", then "ok NAME" or "not ok NAME" for each of N cases, and ends the program.
async function run(prefix, prepare, cases) {
    try {
        await within(20000, prepare());
    } catch (error) {
        console.log(`not ok ${prefix}_begins`);
        console.log(describe(error));
        process.exit(1);
    }
    let failed = 0;
    console.log(`1..${Object.keys(cases).length}`);
    for (const [name, body] of Object.entries(cases)) {
        try {
            await within(20000, body());
            console.log(`ok ${prefix}_${name}`);
        } catch (error) {
            failed += 1;
            console.log(`not ok ${prefix}_${name}`);
            console.log(describe(error));
        }
    }
    process.exit(failed === 0 ? 0 : 1);
}

module.exports = { LOADER, OWN_CONNECTION, tls, welcome, load, call, ask, run };
