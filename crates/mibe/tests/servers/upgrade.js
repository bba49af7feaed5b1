// What imgmanifest makes of a manifest of version 1, and what it says of that. Argument: its file.
'use strict';
const fs = require('fs');
const given = process.env.MIBE_IMGMANIFEST;
let rules;
try { rules = require(require.resolve('imgmanifest', { paths: [given] })); } catch (_) { rules = require(given); }
const manifest = rules.upgradeManifest(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));
fs.writeSync(1, JSON.stringify({ manifest, errors: rules.validateMinimalManifest(manifest) || null }));
