#!/usr/bin/env node
// A hub that meets a bridge: bridge.mjs pair|again PORT PIN STATE SOCKET. Says what it sees, a line each.
import fs from 'node:fs';
import http from 'node:http';
import { HapConn, pairSetup, session, newIdentity } from './proto.mjs';
import { short } from './db.mjs';

const [what, port, pin, file, socket] = process.argv.slice(2);
const host = '127.0.0.1';
const sleep = ms => new Promise(r => setTimeout(r, ms));
const post = path => new Promise((res, rej) => http.request({ socketPath: socket, path: '/api/' + path, method: 'POST' }, r => { r.resume(); r.on('end', () => res(r.statusCode)); }).on('error', rej).end());
const fail = why => { console.log('FAILED', why); process.exit(1); };
setTimeout(() => fail('late'), 55000).unref();

let state = {};
if (what === 'pair') {
  const controller = newIdentity();
  const plain = await new HapConn(host, +port).connect();
  state = { controller, pairing: await pairSetup(plain, pin, controller, {}) };
  plain.close();
  fs.writeFileSync(file, JSON.stringify(state));
  console.log('paired');
} else state = JSON.parse(fs.readFileSync(file));

const open = () => session(host, +port, state.pairing, state.controller, 20000);
const c = await open();
const { json } = await c.json('GET', '/accessories');
const all = json.accessories;
const find = (a, st, ct) => a.services.find(s => short(s.type) === st)?.characteristics.find(x => short(x.type) === ct);
const named = name => all.find(a => find(a, '3E', '23').value === name);
const [porch, yard] = ['porch', 'yard'].map(named);
const volume = a => ({ aid: a.aid, iid: find(a, '112', '119')?.iid });

if (what === 'again') {
  console.log(`accessories ${all.length}`);
  const kept = find(porch, '112', '119').value === 11 && find(yard, '112', '119').value === 22;
  console.log(kept ? 'volumes kept' : 'volumes lost');
  process.exit(0);
}
console.log(`accessories ${all.length}: ${all.map(a => a.services.length + ' services').join(', ')}`);
if (all[0].aid !== 1 || new Set(all.map(a => a.aid)).size !== all.length) fail('aids ' + all.map(a => a.aid));

const bell = { aid: porch.aid, iid: find(porch, '121', '73').iid };
const moves = [porch, yard].map(a => ({ aid: a.aid, iid: find(a, '85', '22').iid }));
await c.put([bell, ...moves].map(x => ({ ...x, ev: true })));
const hear = async (path, test) => { const w = c.waitChar(test, 20000); await post(path); if (!await w) fail(path); };
const inPorch = e => e.aid === porch.aid && e.iid === moves[0].iid && e.value;
const rings = c.waitChar(inPorch, 20000);
await hear('homekit/doorbell?id=porch', e => e.aid === bell.aid && e.iid === bell.iid && e.value === 0);
// who rings is motion too
if (!await rings) fail('no motion where somebody rings');
if (await post('homekit/doorbell?id=yard') !== 400) fail('the yard has no bell');
console.log('the doorbell rang, the others did not');
const before = c.events.length;
await hear('events?type=motion&src=yard&on=true', e => e.aid === yard.aid && e.iid === moves[1].iid && e.value);
await sleep(500);
console.log(c.events.slice(before).some(inPorch) ? 'motion in the porch too' : 'motion in the yard alone');

const pictures = [];
for (const a of [porch, yard]) pictures.push((await c.request('POST', '/resource', { 'image-width': 320, 'image-height': 180, 'resource-type': 'image', reason: 0, aid: a.aid }, 'application/hap+json', 20000)).body.subarray(0, 2).toString('hex'));
console.log('picture', ...pictures);
const set = await c.put([{ ...volume(porch), value: 11 }, { ...volume(yard), value: 22 }]);
if (set.status !== 204) fail(`volumes ${set.status} ${set.body}`);
const free = [porch, yard].map(a => find(a, '110', '120').value);
console.log(free.every(v => v === 'AQEA') ? 'busy nowhere' : 'busy ' + free);
process.exit(0);
