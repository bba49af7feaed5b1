// An image server that takes only what http-signature, which the real servers use, verifies: it hands all else on to another server.
// Arguments: URL of that, file of the public key in ssh's form, name of the user. Prints its port, then a line for each request.
'use strict';
const fs = require('fs');
const http = require('http');
const signature = require('http-signature');

const [target, key, user] = process.argv.slice(2);
const pem = signature.sshKeyToPEM(fs.readFileSync(key, 'utf8'));
const say = (line) => fs.writeSync(1, line + '\n');

http.createServer((request, response) => {
    const changes = !['GET', 'HEAD'].includes(request.method);
    let verdict = 'unsigned';
    if (request.headers.authorization) {
        try {
            const parsed = signature.parseRequest(request, { clockSkew: 300 });
            verdict = parsed.keyId === user && signature.verifySignature(parsed, pem) ? 'verified ' + parsed.algorithm : 'wrong';
        } catch (error) {
            verdict = 'bad: ' + error.message;
        }
    }
    say(request.method + ' ' + verdict);
    if (changes && !verdict.startsWith('verified')) {
        response.writeHead(401, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ code: 'UnauthorizedError', message: verdict }));
        return;
    }
    const headers = Object.assign({}, request.headers, { host: new URL(target).host });
    delete headers.authorization;
    delete headers.expect;
    const onward = http.request(target + request.url, { method: request.method, headers, agent: false }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
}).listen(0, '127.0.0.1', function () { say(String(this.address().port)); });
