// Does to an image server what Triton's operators do, with their own client. Arguments: a JSON object.
'use strict';
const fs = require('fs');
const IMGAPI = require('sdc-clients').IMGAPI;
const bunyan = require('bunyan');
const crypto = require('crypto');
const { promisify } = require('util');

const given = JSON.parse(process.argv[2]);
const log = bunyan.createLogger({ name: 'test', streams: [] });
const options = { url: given.url, log, agent: false, version: '~2', user: given.user, retry: false };
if (given.password) options.password = given.password;
if (given.key) {
    options.sign = (text, callback) => callback(null, {
        algorithm: given.algorithm || 'rsa-sha256',
        signature: crypto.createSign((given.algorithm || 'rsa-sha256').toUpperCase().replace('RSA-', 'RSA-'))
            .update(text).sign(fs.readFileSync(given.key), 'base64'),
    });
}
const client = new IMGAPI(options);

// Streams and responses are of no interest here.
const plain = (value) => { try { return JSON.parse(JSON.stringify(value)); } catch (_) { return undefined; } };

// Callbacks of the client have (error, result, response).
function call(name, ...args) {
    return new Promise((resolve) => client[name](...args, (error, result, response) => resolve({
        error: error ? { code: error.body && error.body.code || error.restCode || error.name, status: error.statusCode, message: error.message } : null,
        result: error ? undefined : plain(result),
        status: response && response.statusCode,
    })));
}

(async () => {
    const out = [];
    for (const step of given.steps) {
        out.push(await call(step[0], ...step.slice(1)));
    }
    client.close();
    fs.writeSync(1, JSON.stringify(out));
    process.exit(0);
})();
