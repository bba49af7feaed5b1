// What imgmanifest says of manifests, by each of the rules that importers hold them against. Argument: file of a JSON list.
'use strict';
const fs = require('fs');
const path = require('path');
const given = process.env.MIBE_IMGMANIFEST;
let rules;
try { rules = require(require.resolve('imgmanifest', { paths: [given] })); } catch (_) { rules = require(given); }
const list = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const kinds = ['validateMinimalManifest', 'validatePublicManifest', 'validateDcManifest'];
// Importers set `activated` themselves; no server tells it.
const full = (kind, manifest) => kind === 'validateMinimalManifest' ? manifest : Object.assign({ activated: true }, manifest);
const said = list.map((manifest) => kinds.map((kind) => rules[kind](full(kind, JSON.parse(JSON.stringify(manifest)))) || null));
fs.writeSync(1, JSON.stringify(said));
