#!/usr/bin/env node
// hubsim: acts as an Apple Home Hub toward a HAP camera and reports what it finds. See README.md.
import fs from 'node:fs';
import dgram from 'node:dgram';
import crypto from 'node:crypto';
import os from 'node:os';
import net from 'node:net';
import path from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import * as P from './proto.mjs';
import { T, tlv, tlvMap, tlvErr, tlvState, u8, u16, u32, u64, f32, HapConn, pairSetup, pairVerify, session, newIdentity } from './proto.mjs';
import { HdsConn, Recording } from './hds.mjs';
import * as M from './media.mjs';
import { Db, validateDb, decoders, short, cname } from './db.mjs';

const sleep = ms => new Promise(r => setTimeout(r, ms));
const CMDS = ['discover', 'pair', 'verify', 'db', 'chars', 'snapshot', 'live', 'record', 'hds', 'modes', 'pairings', 'negative-unpaired', 'negative', 'maxtries', 'unpair', 'persist', 'bell', 'switch', 'cut', 'all', 'hold'];

// ------------------------------------------------------------------ options
const argv = process.argv.slice(2); const cmds = []; const o = {};
for (let i = 0; i < argv.length; i++) { const a = argv[i]; if (a.startsWith('--')) { const [k, v] = a.slice(2).split(/=(.*)/s); o[k] = v !== undefined ? v : (argv[i + 1] !== undefined && !argv[i + 1].startsWith('--') && !CMDS.includes(argv[i + 1])) ? argv[++i] : true; } else cmds.push(a); }
if (!cmds.length || cmds.some(c => !CMDS.includes(c)) || o.help) { console.error(`usage: hubsim.mjs <command...> [options]\ncommands: ${CMDS.join(' ')}\nsee README.md for options`); process.exit(2); }
const opt = { host: o.host || '127.0.0.1', port: +o.port || 0, pin: o.pin || '', state: o.state || './hubsim-state.json', trigger: o.trigger, triggerOff: o['trigger-off'], seconds: +(o.seconds || 14), out: o.out || './hubsim-rec.mp4',
  warmup: +(o.warmup ?? 9), motionTimeout: +(o['motion-timeout'] || 60), audio: !o['no-audio'], talkback: !!o.talkback, liveSeconds: +(o['live-seconds'] || 8), slow: !!o.slow, verbose: !!o.verbose, keep: !!o.keep, width: +(o.width || 0), height: +(o.height || 0), iface: o.iface, id: o.id, maxtries: +(o.tries || 102) };

P.patience.times = +(o.patience || 1);
// what a machine that does much else may miss through no fault of the accessory's
const punctual = P.patience.times > 1 ? 'should' : 'must';
// whether it comes to be so
const until = async (so, ms) => { for (const t = Date.now(); !so() && Date.now() - t < ms * P.patience.times;) await sleep(20); return so(); };

// ------------------------------------------------------------------ report
const report = { tool: 'hubsim', version: '1.0', commands: cmds, target: null, started: new Date().toISOString(), ok: true, summary: { pass: 0, fail: 0, warn: 0, skip: 0 }, checks: [], info: {} };
const info = report.info;
let area = '';
function chk(id, ok, detail = '', level = 'must') {
  const status = ok ? 'pass' : level === 'must' ? 'fail' : 'warn';
  report.summary[status]++; if (status === 'fail') report.ok = false;
  report.checks.push({ area, id, status, level, detail: String(detail).slice(0, 600) });
  if (opt.verbose || status !== 'pass') console.error(`${status.toUpperCase().padEnd(4)} ${id}  ${String(detail).slice(0, 300)}`);
  return !!ok;
}
const skip = (id, why) => { report.summary.skip++; report.checks.push({ area, id, status: 'skip', level: 'info', detail: why }); if (opt.verbose) console.error('SKIP', id, why); };
const must = async (id, fn) => { try { return await fn(); } catch (e) { chk(id, false, `${e.message}`); if (opt.verbose) console.error(e.stack); return undefined; } };

// ------------------------------------------------------------------ state
let state = { controller: null, pairing: null };
try { state = JSON.parse(fs.readFileSync(opt.state)); } catch {}
if (!state.controller) state.controller = newIdentity();
const save = () => fs.writeFileSync(opt.state, JSON.stringify(state, null, 1), { mode: 0o600 });
const conns = [];
const watch = c => { conns.push(c); c.on('violation', v => chk('http.session', false, v)); return c; };
const plain = async () => new HapConn(opt.host, opt.port).connect();
const verified = async (ident = state.controller) => watch(await session(opt.host, opt.port, state.pairing, ident, 5000));
let main = null, db = null;
const S = async () => (main && !main.closed) ? main : (main = await verified());
const getDb = async () => { if (db) return db; const r = await (await S()).json('GET', '/accessories'); db = new Db(r.json || {}); return db; };
const val = (c, v) => c.format === 'bool' ? !!v : v ? 1 : 0;
const statusOf = (r, i = 0) => r.json?.characteristics?.[i]?.status;
const okWrite = r => r.status === 204 || ((r.status === 207 || r.status === 200) && (r.json?.characteristics || []).every(c => (c.status ?? 0) === 0));
async function writeChars(c, list) { // list: [[st, ct, value, n]] ; honours tw
  const d = await getDb(); const reg = [], tw = [];
  for (const [st, ct, v, n = 0] of list) { const ch = d.char(st, ct, n); if (!ch) continue; (ch.perms.includes('tw') ? tw : reg).push({ aid: d.aid, iid: ch.iid, value: typeof v === 'string' ? v : val(ch, v) }); }
  const rs = []; if (reg.length) rs.push(await c.put(reg)); if (tw.length) rs.push(await c.timedPut(tw)); return { ok: rs.every(okWrite), rs, why: rs.map(r => `${r.status} ${r.body}`).join(' | ') };
}
const readChar = async (c, st, ct, n = 0) => { const d = await getDb(); const id = d.id(st, ct, n); if (!id) return undefined; const r = await c.get([id]); return r.json?.characteristics?.[0]?.value; };
// run one request on its own session so that an accessory which hangs up does not end the whole section
const iso = async fn => { let x; try { x = await verified(); x.removeAllListeners('violation'); return await fn(x); } catch (e) { return { status: 'closed', body: Buffer.from(e.message), json: null, ms: 0 }; } finally { x?.close(); } };
function sh(cmd) { return new Promise(res => { const p = spawn('sh', ['-c', cmd], { stdio: ['ignore', 'ignore', 'inherit'] }); p.on('exit', res); p.on('error', () => res(-1)); }); }

// ================================================================== discover
function mdnsQuery(ms = 3000) {
  return new Promise(res => {
    const found = new Map(); const s = dgram.createSocket({ type: 'udp4', reuseAddr: true }); const recs = [];
    const q = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...'_hap._tcp.local'.split('.').map(l => Buffer.concat([u8(l.length), Buffer.from(l)])), Buffer.from([0, 0, 12, 0, 1])]);
    const name = (b, p) => { const out = []; let jumped = 0, next = p; for (let i = 0; i < 128; i++) { const l = b[p]; if (l === 0) { if (!jumped) next = p + 1; break; } if ((l & 0xc0) === 0xc0) { if (!jumped) next = p + 2; p = b.readUInt16BE(p) & 0x3fff; jumped = 1; continue; } out.push(b.toString('utf8', p + 1, p + 1 + l)); p += 1 + l; } return [out, next]; };
    s.on('message', b => { try { let p = 12; const n = b.readUInt16BE(6) + b.readUInt16BE(8) + b.readUInt16BE(10); for (let i = 0; i < b.readUInt16BE(4); i++) { [, p] = name(b, p); p += 4; } for (let i = 0; i < n; i++) { let nm; [nm, p] = name(b, p); const type = b.readUInt16BE(p), cls = b.readUInt16BE(p + 2), ttl = b.readUInt32BE(p + 4), l = b.readUInt16BE(p + 8); p += 10; recs.push({ nm: nm.join('.'), labels: nm, type, ttl, cls, data: b.subarray(p, p + l), b, p }); p += l; } } catch {} });
    s.on('error', () => {});
    s.bind(5353, () => {
      const ifs = opt.iface ? [opt.iface] : ['127.0.0.1', ...Object.values(os.networkInterfaces()).flat().filter(x => x.family === 'IPv4' && !x.internal).map(x => x.address)];
      for (const a of ifs) { try { s.addMembership('224.0.0.251', a); } catch {} } s.setMulticastLoopback(true);
      const send = () => { for (const a of ifs) { try { s.setMulticastInterface(a); s.send(q, 5353, '224.0.0.251'); } catch {} } }; send(); setTimeout(send, 800);
    });
    setTimeout(() => {
      s.close();
      for (const r of recs) if (r.type === 16 && /_hap\._tcp\.local$/i.test(r.nm)) { const txt = {}; const order = []; for (let i = 0; i < r.data.length;) { const l = r.data[i]; const kv = r.data.toString('utf8', i + 1, i + 1 + l); const e = kv.indexOf('='); if (e > 0) { txt[kv.slice(0, e)] = kv.slice(e + 1); order.push(kv.slice(0, e)); } i += 1 + l; } found.set(r.nm, { instance: r.labels[0], txt, ttl: r.ttl }); }
      for (const r of recs) if (r.type === 33 && found.has(r.nm)) { const f = found.get(r.nm); f.port = r.data.readUInt16BE(4); f.target = name(r.b, r.p + 6)[0].join('.'); }
      for (const f of found.values()) f.addresses = [...new Set(recs.filter(r => r.type === 1 && r.nm.toLowerCase() === (f.target || '').toLowerCase()).map(r => [...r.data].join('.')))];
      res([...found.values()]);
    }, ms);
  });
}
async function cmdDiscover() {
  const list = await mdnsQuery(); info.discovered = list;
  const mine = opt.id ? list.filter(x => x.txt.id?.toUpperCase() === opt.id.toUpperCase()) : opt.port ? list.filter(x => x.port === opt.port) : list;
  if (!chk('mdns.found', mine.length > 0, `${list.length} _hap._tcp instances, ${mine.length} matching`)) return;
  const a = mine[0], t = a.txt; if (!opt.port) { opt.port = a.port; if (!o.host && a.addresses.length) opt.host = a.addresses.includes('127.0.0.1') ? '127.0.0.1' : a.addresses[0]; }
  chk('mdns.keys', ['c#', 'id', 'md', 's#', 'sf', 'ci'].every(k => k in t), Object.keys(t).join(' '));
  chk('mdns.c#', +t['c#'] >= 1 && +t['c#'] <= 65535, `c#=${t['c#']}`); chk('mdns.s#', t['s#'] === '1', `s#=${t['s#']}`); chk('mdns.id', /^([0-9A-F]{2}:){5}[0-9A-F]{2}$/.test(t.id || ''), `id=${t.id}`); chk('mdns.pv', t.pv === '1.1' || t.pv === undefined, `pv=${t.pv}`);
  chk('mdns.ff', t.ff === undefined || /^[0-3]$/.test(t.ff), `ff=${t.ff}`); chk('mdns.ci', ['17', '18', '2'].includes(t.ci), `ci=${t.ci} (17 camera, 18 video doorbell)`); chk('mdns.sh', t.sh === undefined || Buffer.from(t.sh, 'base64').length === 4, `sh=${t.sh}`, 'should');
  chk('mdns.sf', (+t.sf & 1) === (state.pairing ? 0 : 1), `sf=${t.sf}, ${state.pairing ? 'paired by us' : 'unpaired expected'}`, state.pairing ? 'must' : 'should'); info.txt = t;
}

// ================================================================== pair / unpair
async function cmdPair() {
  if (state.pairing) { skip('pair', 'state file already holds a pairing'); return; }
  if (!/^\d{3}-?\d{2}-?\d{3}$/.test(opt.pin)) return chk('pair.pin', false, 'give --pin 123-45-678');
  const pin = opt.pin.replace(/-/g, '').replace(/^(\d{3})(\d{2})(\d{3})$/, '$1-$2-$3');
  await must('pair.setup', async () => {
    const c = watch(await plain()); const n = {}; const t0 = Date.now(); let r;
    r = await pairSetup(c, pin, state.controller, n);
    chk('pair.setup', true, `accessory ${r.accessoryId} in ${Date.now() - t0} ms`);
    chk('pair.contenttype', /application\/pairing\+tlv8/.test(n.ct || ''), n.ct);
    chk('pair.salt', n.saltLen === 16, `salt ${n.saltLen} bytes`); chk('pair.B', n.bLen === 384, `B ${n.bLen} bytes`, n.bLen >= 380 ? 'should' : 'must');
    chk('pair.id', /^([0-9A-F]{2}:){5}[0-9A-F]{2}$/i.test(r.accessoryId), r.accessoryId);
    state.pairing = r; state.host = opt.host; state.port = opt.port; save();
    // the same TCP connection must be usable for pair-verify
    await pairVerify(c, r, state.controller).then(() => chk('pair.verify.sameconn', true, 'pair-verify on the pair-setup connection'), e => chk('pair.verify.sameconn', false, e.message, 'should'));
    c.close();
  });
}
async function cmdVerify() {
  await must('verify', async () => { const c = await verified(); chk('verify', true, 'pair-verify completed'); const r = await c.json('GET', '/accessories'); chk('verify.request', r.status === 200, `GET /accessories ${r.status} in ${r.ms} ms`); chk('verify.frames', c.frameStats.maxPlain <= 1024, `largest frame ${c.frameStats.maxPlain} bytes`); main = c; });
}
async function cmdUnpair() {
  await must('unpair', async () => {
    if (!state.pairing) return skip('unpair', 'not paired');
    const c = await S(); const other = await verified();
    const ident2 = newIdentity(); await P.addPairing(c, ident2.id, ident2.pk, 0);
    const r = await P.removePairing(c, state.controller.id);
    chk('unpair.reply', r.status === 200 && tlvState(r) === 2 && !tlvErr(r), `http ${r.status} state ${tlvState(r)} error ${tlvErr(r)}`);
    chk('unpair.closes.self', await c.waitClose(5000), 'connection that removed itself is closed by the accessory', 'should'); chk('unpair.closes.others', await other.waitClose(5000), 'other sessions of the removed controller are closed');
    const old = state.pairing; main = null; db = null;
    await sleep(300);
    try { await session(opt.host, opt.port, old, state.controller); chk('unpair.verify.rejected', false, 'removed admin can still pair-verify'); } catch (e) { chk('unpair.verify.rejected', e.code === 2, e.message, e.code ? 'must' : 'should'); }
    try { await session(opt.host, opt.port, old, ident2); chk('unpair.lastadmin.clears', false, 'a non-admin pairing survived removal of the last admin'); } catch (e) { chk('unpair.lastadmin.clears', true, 'removing the last admin removed every pairing'); }
    state.pairing = null; save();
    const p = await plain(); const m2 = await p.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0])); chk('unpair.repairable', tlvState(m2) === 2 && !tlvErr(m2) && !!m2.tlv[T.PublicKey], `pair-setup M1 after unpairing: error ${tlvErr(m2)}`); p.close();
  });
}

// ================================================================== database
// order-independent fingerprint of the database without values
const dbShape = j => JSON.stringify(j.accessories.map(a => [a.aid, a.services.map(s => [s.iid, short(s.type), [...(s.linked || [])].sort(), s.characteristics.map(x => [x.iid, short(x.type), x.format, [...x.perms].sort()]).sort((p, q) => p[0] - q[0])]).sort((p, q) => p[0] - q[0])]));
async function cmdDb() {
  await must('db', async () => {
    const c = await S(); const r = await c.json('GET', '/accessories');
    chk('db.http', r.status === 200 && /application\/hap\+json/.test(r.headers['content-type'] || ''), `${r.status} ${r.headers['content-type']} ${r.body.length} bytes ${r.ms} ms`);
    if (!r.json) return chk('db.json', false, 'body is not JSON'); if (o.dump) fs.writeFileSync(o.dump, JSON.stringify(r.json, null, 1));
    db = new Db(r.json); info.tlv = validateDb(db, chk, info, o.shape);
    const r2 = await c.json('GET', '/accessories'); const shape = dbShape; chk('db.stable', shape(r.json) === shape(r2.json), 'instance ids identical on a second read');
    // every readable characteristic through /characteristics
    const ids = []; for (const s of db.acc.services) for (const x of s.characteristics) if (x.perms.includes('pr')) ids.push([db.aid, x.iid]);
    const g = await c.get(ids); const bad = (g.json?.characteristics || []).filter(x => x.status); info.unreadable = bad.map(b => { for (const s of db.acc.services) for (const x of s.characteristics) if (x.iid === b.iid) return `${cname(short(x.type))}:${b.status}`; });
    const only209 = (info.unreadable || []).every(x => /^SelectedCameraRecordingConfiguration/.test(x));
    chk('db.readall', g.json?.characteristics?.length === ids.length && only209 && (g.status === 200 || g.status === 207), `http ${g.status}, ${ids.length} asked, ${g.json?.characteristics?.length} answered, failing: ${info.unreadable || 'none'}`);
  });
}

// ================================================================== characteristics
async function cmdChars() {
  await must('chars', async () => {
    const c = await S(), d = await getDb(); const md = d.id('85', '22'), nm = d.id('3E', '23'), idf = d.id('3E', '14'), actIn = [['110', 'B0'], ['204', 'B0'], ['112', '11A']].find(x => d.id(...x)), act = actIn && d.id(...actIn);
    let r = await c.get([md], '&meta=1&perms=1&type=1&ev=1'); let x = r.json?.characteristics?.[0] || {};
    chk('chars.get.flags', r.status === 200 && x.format === 'bool' && Array.isArray(x.perms) && short(x.type) === '22' && x.ev === false, JSON.stringify(x));
    r = await c.get([md]); x = r.json?.characteristics?.[0] || {}; chk('chars.get.plain', r.status === 200 && 'value' in x && x.aid === d.aid && x.iid === md[1] && !('format' in x) && !('perms' in x), JSON.stringify(x));
    r = await c.get([md, [d.aid, 99999]]); chk('chars.get.multistatus', r.status === 207 && r.json?.characteristics?.length === 2 && r.json.characteristics.every(k => 'status' in k) && r.json.characteristics.some(k => k.status !== 0) && r.json.characteristics.some(k => k.status === 0 && 'value' in k), `${r.status} ${r.body}`);
    r = await c.get([[d.aid, 99999]]); chk('chars.get.missing', r.status === 207 && [-70409, -70410].includes(statusOf(r)), `${r.status} ${r.body}`);
    r = await c.get([idf]); chk('chars.get.writeonly', r.status === 207 && statusOf(r) === -70405, `${r.status} ${r.body}`);
    r = await c.json('GET', '/characteristics'); chk('chars.get.noid', r.status >= 400 && r.status < 500, `${r.status}`);
    r = await c.put([{ aid: nm[0], iid: nm[1], value: 'x' }]); chk('chars.put.readonly', (r.status === 207 || r.status === 400) && statusOf(r) === -70404, `${r.status} ${r.body}`);
    r = await c.put([{ aid: nm[0], iid: nm[1], ev: true }]); chk('chars.put.ev.unsupported', (r.status === 207 || r.status === 400) && statusOf(r) === -70406, `${r.status} ${r.body}`);
    r = await c.put([{ aid: idf[0], iid: idf[1], value: true }]); chk('chars.identify.paired', r.status === 204, `Identify=true -> ${r.status} ${r.body}`);
    const ch = act && d.char(...actIn); const rng = await c.put([{ aid: act[0], iid: act[1], value: 7 }]); if (okWrite(rng)) await c.put([{ aid: act[0], iid: act[1], value: val(ch, ch.value) }]); chk('chars.put.range', rng.status !== 204 && statusOf(rng) === -70410, `Active=7 -> ${rng.status} ${rng.body}`, 'should');
    r = await c.put([{ aid: d.aid, iid: 99999, value: 1 }]); chk('chars.put.missing', r.status !== 204 && [-70409, -70410].includes(statusOf(r)), `${r.status} ${r.body}`);
    r = await iso(x => x.request('PUT', '/characteristics', '{not json')); chk('chars.put.badjson', r.status >= 400 && r.status < 500, `malformed JSON -> ${r.status} (400 expected)`, r.status >= 500 || r.status === 'closed' ? 'should' : 'must');
    r = await iso(x => x.json('GET', '/nosuch')); chk('chars.404', r.status === 404, `unknown path -> ${r.status}`, r.status === 'closed' ? 'should' : 'must');
    // events
    const c2 = await verified();
    chk('events.subscribe', okWrite(await c2.put([{ aid: act[0], iid: act[1], ev: true }])) && okWrite(await c.put([{ aid: act[0], iid: act[1], ev: true }])), 'subscribe to Active on two sessions');
    r = await c2.get([act], '&ev=1'); chk('events.ev.flag', r.json?.characteristics?.[0]?.ev === true, `${r.body}`);
    const cur = ch.value ? 1 : 0; c.events.length = 0; c2.events.length = 0;
    const w = c2.waitChar(k => k.iid === act[1], 3000); const t0 = Date.now(); await c.put([{ aid: act[0], iid: act[1], value: val(ch, !cur) }]); const ev = await w;
    chk('events.delivered', !!ev && !!ev.value === !cur, ev ? `EVENT after ${ev.at - t0} ms` : 'no event within 3 s'); await sleep(700);
    chk('events.notoriginator', !c.events.some(k => k.iid === act[1]), 'writer received no EVENT for its own write');
    await c2.put([{ aid: act[0], iid: act[1], ev: false }]); c2.events.length = 0; await c.put([{ aid: act[0], iid: act[1], value: val(ch, cur) }]); await sleep(900); chk('events.unsubscribe', !c2.events.some(k => k.iid === act[1]), 'no EVENT after ev:false');
    // subscriptions die with the connection
    c2.close(); const c3 = await verified(); r = await c3.get([act], '&ev=1'); chk('events.perconnection', r.json?.characteristics?.[0]?.ev === false, 'new session starts without subscriptions'); c3.close();
    // write response
    const sds = d.id('129', '131'); if (!sds) skip('chars.writeresponse', 'no data stream'); else { r = await c.put([{ aid: sds[0], iid: sds[1], value: tlv([1, 0], [2, 0], [3, crypto.randomBytes(32)]).toString('base64'), r: true }]);
    chk('chars.writeresponse', r.status === 207 && statusOf(r) === 0 && typeof r.json?.characteristics?.[0]?.value === 'string', `${r.status} ${r.body}`.slice(0, 200), r.status === 200 && typeof r.json?.characteristics?.[0]?.value === 'string' ? 'should' : 'must'); }
    // timed writes
    const tw = d.acc.services.flatMap(s => s.characteristics).find(k => k.perms.includes('tw')); info.timedWriteChars = d.acc.services.flatMap(s => s.characteristics).filter(k => k.perms.includes('tw')).map(k => cname(short(k.type)));
    r = await iso(x => x.timedPut([{ aid: act[0], iid: act[1], value: val(ch, cur) }])); chk('timed.write', !r.prepareFailed && okWrite(r), `${r.status} ${r.body}`, tw ? 'must' : 'should');
    if (tw) {
      const v = val(tw, tw.value); r = await c.put([{ aid: d.aid, iid: tw.iid, value: v }]); chk('timed.required', statusOf(r) === -70410, `unprepared write to a tw characteristic -> ${r.status} ${r.body}`);
      await c.json('PUT', '/prepare', { ttl: 300, pid: 77 }); await sleep(700); r = await c.put([{ aid: d.aid, iid: tw.iid, value: v }], { pid: 77 }); chk('timed.expired', statusOf(r) === -70410, `expired pid -> ${r.status} ${r.body}`);
      await c.json('PUT', '/prepare', { ttl: 3000, pid: 78 }); r = await c.put([{ aid: d.aid, iid: tw.iid, value: v }], { pid: 79 }); chk('timed.wrongpid', statusOf(r) === -70410, `wrong pid -> ${r.status} ${r.body}`);
    } else skip('timed.required', 'no characteristic with tw');
    // pipelining: two requests in one segment
    const two = Promise.all([c.get([md]), c.get([nm])]); const [a, b] = await two; chk('http.pipelined', a.status === 200 && b.status === 200 && b.json?.characteristics?.[0]?.iid === nm[1], 'two back-to-back requests answered in order');
    // request split over many tiny frames
    const raw = c.httpBytes('GET', `/characteristics?id=${nm.join('.')}`); const res = new Promise((ok, no) => { c.pending.push({ res: ok, rej: no }); setTimeout(() => no(new Error('no reply to fragmented request')), 4000 * P.patience.times); }); for (let i = 0; i < raw.length; i += 7) { c.sock.write(c.frames(raw.subarray(i, i + 7))); } const sp = await res.catch(e => e); chk('http.fragmented', sp?.status === 200, sp?.message || 'request in 7-byte frames answered');
  });
}

// ================================================================== snapshot
async function snap(c, body, timeout = 15000) { const r = await c.request('POST', '/resource', body, 'application/hap+json', timeout); try { r.json = JSON.parse(r.body); } catch {} r.jpeg = M.jpegInfo(r.body); return r; }
async function cmdSnapshot() {
  await must('snapshot', async () => {
    const c = await S(), d = await getDb(); await writeChars(c, [['21A', '21B', 1], ['21A', '223', 1], ['21A', '225', 1], ...d.svcs('110').map((_, n) => ['110', 'B0', 1, n])]);
    const sizes = [[1920, 1080], [1280, 720], [640, 360], [320, 240]]; info.snapshots = [];
    for (const [w, h] of sizes) for (const reason of w === 640 ? [0, 1] : [0]) {
      const r = await snap(c, { 'image-width': w, 'image-height': h, 'resource-type': 'image', reason, aid: d.aid }); info.snapshots.push({ w, h, reason, http: r.status, bytes: r.body.length, ms: r.ms, got: r.jpeg && `${r.jpeg.width}x${r.jpeg.height}` });
      chk(`snapshot.${w}x${h}${reason ? '.event' : ''}`, r.status === 200 && !!r.jpeg?.width && r.jpeg.eoi, `${r.status} ${r.headers['content-type']} ${r.body.length} B ${r.ms} ms -> ${r.jpeg?.width}x${r.jpeg?.height}`);
      chk(`snapshot.${w}x${h}.ct`, /image\/jpeg/.test(r.headers['content-type'] || ''), r.headers['content-type']); chk(`snapshot.${w}x${h}.time`, r.ms < 5000, `${r.ms} ms`, 'should'); chk(`snapshot.${w}x${h}.size`, r.jpeg?.width <= w && r.jpeg?.height <= h && r.jpeg?.width >= w / 2, `asked ${w}x${h}, got ${r.jpeg?.width}x${r.jpeg?.height}`, 'should');
    }
    let r = await snap(c, { 'image-width': 640, 'image-height': 360, 'resource-type': 'image' }); chk('snapshot.noreason', r.status === 200 && !!r.jpeg, `request without reason -> ${r.status}`);
    r = await iso(x => snap(x, { 'image-width': 640, 'image-height': 360, 'resource-type': 'sound' })); chk('snapshot.badtype', r.status >= 400 || (r.status === 207 && !!r.json?.status), `resource-type sound -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`, 'should');
    r = await iso(x => snap(x, '{"image-width":')); chk('snapshot.badjson', r.status >= 400, `${r.status}`, r.status === 'closed' ? 'should' : 'must');
    const c2 = await verified(); const [a, b] = await Promise.all([snap(c, { 'image-width': 1280, 'image-height': 720, 'resource-type': 'image', reason: 0 }), snap(c2, { 'image-width': 640, 'image-height': 360, 'resource-type': 'image', reason: 1 })]); chk('snapshot.concurrent', !!a.jpeg && !!b.jpeg, `two sessions at once: ${a.status} ${a.ms} ms, ${b.status} ${b.ms} ms`);
    // a slow snapshot must not block other requests on another session
    c2.close();
  });
}

// ================================================================== live
async function liveSetup(c, n, sockets, over = {}) {
  const d = await getDb(); const id = d.id('110', '118', n); const sid = crypto.randomBytes(16), vk = crypto.randomBytes(16), vs = crypto.randomBytes(14), ak = crypto.randomBytes(16), as = crypto.randomBytes(14);
  const ip = opt.host === 'localhost' || opt.host.startsWith('127.') ? '127.0.0.1' : c.sock.localAddress;
  const reqv = tlv([1, sid], [3, tlv([1, 0], [2, ip], [3, u16(sockets.v.address().port)], [4, u16(sockets.a.address().port)])], [4, tlv([1, 0], [2, vk], [3, vs])], [5, tlv([1, 0], [2, ak], [3, as])]);
  const w = await c.put([{ aid: id[0], iid: id[1], value: reqv.toString('base64') }]); const rr = await c.get([id]);
  let ep = null; try { ep = decoders[118](rr.json.characteristics[0].value); } catch (e) { ep = { error: e.message }; }
  return { w, ep, sid, vk, vs, ak, as, n };
}
async function udp() { const s = dgram.createSocket('udp4'); await new Promise(r => s.bind(0, '127.0.0.1', r)); try { s.setRecvBufferSize(4 << 20); } catch {} return s; }
const startTlv = (L, p) => tlv([1, tlv([1, L.sid], [2, 1])], [2, tlv([1, 0], [2, tlv([1, p.profile], [2, p.level], [3, 0])], [3, tlv([1, u16(p.w)], [2, u16(p.h)], [3, p.fps])], [4, tlv([1, 99], [2, u32(p.ssrcV ?? L.ep.videoSsrc)], [3, u16(p.kbps)], [4, f32(0.5)], ...(p.mtu ? [[5, u16(p.mtu)]] : []))])],
  [3, tlv([1, p.acodec], [2, tlv([1, 1], [2, 0], [3, p.arate], [4, p.ptime])], [3, tlv([1, 110], [2, u32(p.ssrcA ?? L.ep.audioSsrc ?? 0)], [3, u16(24)], [4, f32(5)], [6, 13])], [4, 0])]);
const cmdTlv = (L, cmd) => tlv([1, tlv([1, L.sid], [2, cmd])]).toString('base64');
async function cmdLive() {
  await must('live', async () => {
    const c = await S(), d = await getDb(); await writeChars(c, [['21A', '21B', 1], ...d.svcs('110').map((_, n) => ['110', 'B0', 1, n])]);
    const sv = decoders[114](d.char('110', '114').value).codecs.find(x => x.type === 0), sa = decoders[115](d.char('110', '115').value).codecs; const ac = sa.find(x => x.type === 3) || sa.find(x => x.type === 2) || sa[0];
    const at = sv.attrs.find(x => x.w === (opt.width || 1280) && x.h === (opt.height || 720)) || sv.attrs[0]; const rates = { 8000: 0, 16000: 1, 24000: 2 }; const arateHz = ac.rates.includes(24000) ? 24000 : ac.rates[0];
    const p = { profile: Math.max(...sv.profiles), level: Math.max(...sv.levels), w: at.w, h: at.h, fps: at.fps, kbps: 1200, mtu: 0, acodec: ac.type, arate: rates[arateHz], ptime: 20 }; info.liveRequest = { ...p, arateHz };
    const stId = d.id('110', '120'); await c.put([{ aid: stId[0], iid: stId[1], ev: true }]);
    const sk = { v: await udp(), a: await udp() }; const L = await liveSetup(c, 0, sk);
    chk('live.setup.write', okWrite(L.w), `${L.w.status} ${L.w.body}`); const e = L.ep;
    if (!chk('live.setup.status', e?.status === 0, `SetupEndpoints status ${e?.status} ${e?.error || ''}`)) return;
    chk('live.setup.session', e.session === L.sid.toString('hex'), 'session id echoed'); chk('live.setup.addr', net.isIP(e.addr?.ip || '') > 0 && e.addr.video > 0 && e.addr.audio > 0 && e.addr.v === 0, JSON.stringify(e.addr));
    chk('live.setup.srtp', e.video?.suite === 0 && e.video.key.length === 16 && e.video.salt.length === 14 && e.audio?.suite === 0 && e.audio.key.length === 16 && e.audio.salt.length === 14, `video suite ${e.video?.suite} key ${e.video?.key.length} salt ${e.video?.salt.length}; audio suite ${e.audio?.suite} key ${e.audio?.key.length} salt ${e.audio?.salt.length}`); chk('live.setup.ssrc', e.videoSsrc > 0 && e.audioSsrc > 0 && e.videoSsrc !== e.audioSsrc, `ssrc video ${e.videoSsrc} audio ${e.audioSsrc}`);
    info.keysEchoed = e.video?.key.equals(L.vk); if (!e.video) return;
    const rtpIn = new M.Srtp(e.video.key, e.video.salt), rtpAlt = new M.Srtp(L.vk, L.vs), audIn = new M.Srtp(e.audio.key, e.audio.salt), audAlt = new M.Srtp(L.ak, L.as); const out = new M.Srtp(L.vk, L.vs), outA = new M.Srtp(L.ak, L.as);
    const dep = new M.H264Depay(); const V = { pk: 0, bytes: 0, badAuth: 0, altKey: 0, max: 0, sr: [], first: 0, last: 0, pts: new Set(), ssrc: new Set(), ports: new Set(), rtcpBad: 0, bye: 0 }, A = { pk: 0, bytes: 0, badAuth: 0, altKey: 0, max: 0, pts: new Set(), ssrc: new Set(), ts: [], sr: [], first: 0, sizes: [] };
    let tStart = 0, gotAfterStop = 0, stopped = 0;
    sk.v.on('message', (m, ri) => { const now = Date.now(); if (M.isRtcp(m)) { let b; try { b = rtpIn.unprotectRtcp(m); } catch { try { b = rtpAlt.unprotectRtcp(m); } catch { V.rtcpBad++; return; } } for (const q of M.rtcpPackets(b)) { if (q.pt === 200) V.sr.push({ at: now, ssrc: q.b.readUInt32BE(4), ntp: q.b.readUInt32BE(8) - 2208988800 + q.b.readUInt32BE(12) / 2 ** 32, mid: ((q.b.readUInt32BE(8) & 0xffff) * 65536 + (q.b.readUInt32BE(12) >>> 16)) >>> 0, rtp: q.b.readUInt32BE(16), pk: q.b.readUInt32BE(20), refTs: dep.ts }); if (q.pt === 203) V.bye++; } return; }
      if (stopped) { if (now - stopped > 1500) gotAfterStop++; return; } let b; try { b = rtpIn.unprotect(m); } catch { try { b = rtpAlt.unprotect(m); V.altKey++; } catch { V.badAuth++; return; } } V.first ||= now; V.last = now; V.pk++; V.bytes += m.length; V.max = Math.max(V.max, m.length); V.pts.add(b[1] & 127); V.ssrc.add(b.readUInt32BE(8)); V.ports.add(`${ri.address}:${ri.port}`); dep.push(b); });
    sk.a.on('message', m => { const now = Date.now(); if (M.isRtcp(m)) { try { for (const q of M.rtcpPackets(audIn.unprotectRtcp(m))) if (q.pt === 200) A.sr.push(now); } catch {} return; } if (stopped) return; let b; try { b = audIn.unprotect(m); } catch { try { b = audAlt.unprotect(m); A.altKey++; } catch { A.badAuth++; return; } } A.first ||= now; A.pk++; A.bytes += m.length; A.max = Math.max(A.max, m.length); A.pts.add(b[1] & 127); A.ssrc.add(b.readUInt32BE(8)); A.ts.push([b.readUInt16BE(2), b.readUInt32BE(4), now]); A.sizes.push(b.length - 12); });
    const mySsrc = crypto.randomBytes(4).readUInt32BE(0) & 0x7ffffffe; if (o.ssrc === 'own') { p.ssrcV = mySsrc; p.ssrcA = mySsrc + 1; } const selId = d.id('110', '117'); tStart = Date.now(); const r = await c.put([{ aid: selId[0], iid: selId[1], value: startTlv(L, p).toString('base64') }]); chk('live.start.write', okWrite(r), `${r.status} ${r.body} in ${r.ms} ms`);
    const rr = setInterval(() => { const s = V.sr[V.sr.length - 1]; const x = s ? { lsr: s.mid, dlsr: Math.round((Date.now() - s.at) / 1000 * 65536), ext: dep.lastSeq || 0 } : {}; sk.v.send(out.protectRtcp(M.rtcpReport(mySsrc, e.videoSsrc, x)), e.addr.video, e.addr.ip); if (opt.audio) sk.a.send(outA.protectRtcp(M.rtcpReport(mySsrc + 1, e.audioSsrc || 0)), e.addr.audio, e.addr.ip); }, 500);
    // busy on the same instance, free on the other
    await sleep(1500); const sk2 = { v: await udp(), a: await udp() }; const B = await liveSetup(await verified(), 0, sk2); chk('live.busy', B.ep?.status === 1, `second SetupEndpoints on a busy instance -> status ${B.ep?.status}`);
    let second = null; if (d.svcs('110').length > 1) { const c9 = await verified(); second = await liveSetup(c9, 1, sk2); chk('live.second.setup', second.ep?.status === 0, `second instance -> status ${second.ep?.status}`); if (second.ep?.status === 0) { let n2 = 0; sk2.v.on('message', m => { if (!M.isRtcp(m)) n2++; }); const s2 = d.id('110', '117', 1); const r2 = await c9.put([{ aid: s2[0], iid: s2[1], value: startTlv(second, { ...p, ssrcV: undefined, ssrcA: undefined, w: 640, h: 360 }).toString('base64') }]); await until(() => n2 > 0, 2500); chk('live.second.rtp', okWrite(r2) && n2 > 0, `${n2} packets on the second stream`, 'should'); await c9.put([{ aid: s2[0], iid: s2[1], value: cmdTlv(second, 0) }]); } c9.close(); }
    let tb = null; if (opt.talkback) tb = await talkback(sk.a, outA, e, arateHz, p.acodec, o.ssrc === 'own' ? mySsrc + 1 : e.audioSsrc);
    await sleep(Math.max(0, opt.liveSeconds * 1000 - (Date.now() - tStart)));
    const st = await readChar(c, '110', '120'); let sv2 = null; try { sv2 = decoders[120](st).status; } catch {} chk('live.status.inuse', sv2 === 1, `StreamingStatus while streaming: ${sv2}`, 'should');
    const dur = (V.last - V.first) / 1000; dep.flush();
    chk('live.rtp', V.pk > 0, `${V.pk} packets, ${V.badAuth} failed SRTP auth, first after ${V.first ? V.first - tStart : '-'} ms`);
    if (V.pk) {
      chk('live.rtp.auth', V.badAuth === 0 && V.altKey === 0, `${V.badAuth} bad tags; ${V.altKey} only opened with the controller's own key`); chk('live.rtp.latency', V.first - tStart < 5000, `${V.first - tStart} ms`, V.first - tStart < 10000 ? 'should' : punctual);
      chk('live.rtp.pt', V.pts.size === 1 && V.pts.has(99), `payload types ${[...V.pts]}`); chk('live.rtp.ssrc', V.ssrc.size === 1 && V.ssrc.has(e.videoSsrc), `ssrc ${[...V.ssrc]} advertised ${e.videoSsrc}`); chk('live.rtp.mtu', V.max - 10 <= 1378, `largest RTP packet ${V.max - 10} bytes before the SRTP tag (IPv4 default limit 1378)`); chk('live.rtp.mtu1200', V.max - 10 <= 1250, `largest datagram ${V.max} bytes; remote viewers need about 1200`, 'should');
      chk('live.rtp.port', [...V.ports].every(x => x.endsWith(':' + e.addr.video)), `sent from ${[...V.ports]}, advertised ${e.addr.video}`, 'should'); chk('live.rtp.loss', dep.lost === 0 && dep.reorder === 0, `${dep.lost} lost, ${dep.reorder} reordered`, 'should'); chk('live.h264.firstidr', dep.firstVcl?.t === 5 && dep.firstVcl.sps > 0 && dep.firstVcl.pps > 0, `first VCL NAL ${dep.firstVcl?.t} after ${dep.firstVcl?.sps} SPS ${dep.firstVcl?.pps} PPS`); chk('live.h264.errors', dep.err.length === 0, dep.err.slice(0, 3).join('; ')); chk('live.h264.ts', dep.tsBack === 0, 'RTP timestamps never go back');
      chk('live.h264.marker', Math.abs(dep.marker - dep.aus.length) <= 2, `${dep.marker} markers for ${dep.aus.length} access units`); const fps = dep.aus.length / dur; chk('live.h264.fps', fps >= Math.min(10, p.fps * 0.5) && fps <= p.fps * 1.3, `${dep.aus.length} frames in ${dur.toFixed(2)} s = ${fps.toFixed(1)} fps`, punctual); const span = ((dep.aus[dep.aus.length - 1].ts - dep.aus[0].ts) >>> 0) / 90000; chk('live.h264.clock', Math.abs(span - dur) < 1.0, `RTP clock advanced ${span.toFixed(2)} s in ${dur.toFixed(2)} s`, punctual);
      info.live = { seconds: +dur.toFixed(2), frames: dep.aus.length, fps: +fps.toFixed(1), kbps: Math.round(V.bytes * 8 / dur / 1000), nals: dep.n, sps: dep.sps, firstMs: V.first - tStart, maxDatagram: V.max }; chk('live.bitrate', info.live.kbps <= p.kbps * 1.6, `${info.live.kbps} kbit/s, limit asked ${p.kbps}`, 'should');
      chk('live.rtcp.sr', V.sr.length > 0, `${V.sr.length} sender reports (${V.rtcpBad} undecodable RTCP)`); if (V.sr.length) { chk('live.rtcp.sr.ssrc', V.sr.every(s => s.ssrc === e.videoSsrc), 'SR ssrc matches'); const s = V.sr[V.sr.length - 1]; chk('live.rtcp.sr.ts', s.refTs !== null && Math.abs(((s.rtp - s.refTs) | 0) / 90000) < 3, `SR rtp-vs-stream offset ${s.refTs === null ? '-' : (((s.rtp - s.refTs) | 0) / 90000).toFixed(2)} s`, 'should'); chk('live.rtcp.sr.ntp', Math.abs(s.ntp - s.at / 1000) < 30, `SR NTP clock differs from wall clock by ${(s.ntp - s.at / 1000).toFixed(1)} s`, 'should'); const iv = V.sr.length > 1 ? (V.sr[V.sr.length - 1].at - V.sr[0].at) / (V.sr.length - 1) : null; chk('live.rtcp.sr.interval', iv === null ? dur < 6 : iv <= 6000, `mean interval ${iv && Math.round(iv)} ms`, 'should'); }
      const f = opt.out.replace(/\.mp4$/, '') + '-live.h264'; fs.writeFileSync(f, Buffer.concat(dep.aus.map(a => a.data))); const ff = spawnSync('ffmpeg', ['-v', 'error', '-i', f, '-f', 'null', '-'], { encoding: 'utf8' }); chk('live.h264.decodes', !ff.error && ff.status === 0 && !ff.stderr.trim(), ff.error ? 'ffmpeg missing' : ff.stderr.slice(0, 200) || 'ffmpeg decodes it cleanly', ff.error ? 'should' : 'must'); const pr = probe(f); info.live.probe = pr?.streams?.map(s => `${s.codec_name} ${s.profile} ${s.width}x${s.height}`); const ps = pr?.streams?.[0]; if (ps) chk('live.h264.size', ps.width <= p.w && ps.height <= p.h, `asked ${p.w}x${p.h}, got ${ps.width}x${ps.height}`, 'should'); if (!opt.keep) fs.rmSync(f, { force: true });
    }
    if (opt.audio) { if (info.hasMicrophone !== false && d.svc('112')) { chk('live.audio.rtp', A.pk > 0, `${A.pk} audio packets, ${A.badAuth} failed auth`); if (A.pk > 5) { chk('live.audio.auth', A.badAuth === 0 && A.altKey === 0, `${A.badAuth} bad, ${A.altKey} with controller key`); chk('live.audio.pt', A.pts.size === 1 && A.pts.has(110), `payload types ${[...A.pts]}`); chk('live.audio.ssrc', A.ssrc.size === 1 && A.ssrc.has(e.audioSsrc), `ssrc ${[...A.ssrc]} advertised ${e.audioSsrc}`); const dts = A.ts.slice(1).map((x, i) => [(x[0] - A.ts[i][0]) & 0xffff, (x[1] - A.ts[i][1]) >>> 0]).filter(x => x[0] === 1).map(x => x[1]).sort((a, b) => a - b); const med = dts[dts.length >> 1]; const wall = (A.ts[A.ts.length - 1][2] - A.ts[0][2]) / (A.ts.length - 1); info.liveAudio = { packets: A.pk, tsIncrement: med, wallMsPerPacket: +wall.toFixed(1), impliedClock: Math.round(med / p.ptime * 1000), meanBytes: Math.round(A.sizes.reduce((a, b) => a + b, 0) / A.sizes.length), sr: A.sr.length }; chk('live.audio.ptime', Math.abs(wall - p.ptime) < 6, `${wall.toFixed(1)} ms per packet, asked ${p.ptime}`, punctual); chk('live.audio.clock', med === arateHz * p.ptime / 1000, `timestamp step ${med}, Apple devices expect ${arateHz * p.ptime / 1000} (negotiated-rate clock)`, 'should'); } } else skip('live.audio', 'no Microphone service'); }
    if (tb) { const n = await tb(); chk('live.talkback.sent', n > 20, `${n} talkback packets sent`); const alive = V.last && Date.now() - V.last < 1500; chk('live.talkback.survives', alive, 'video keeps flowing while talkback is sent', punctual); }
    // reconfigure
    const at2 = sv.attrs.find(x => x.w === 640) || at; const rc = await c.put([{ aid: selId[0], iid: selId[1], value: tlv([1, tlv([1, L.sid], [2, 4])], [2, tlv([3, tlv([1, u16(at2.w)], [2, u16(at2.h)], [3, at2.fps])], [4, tlv([3, u16(400)], [4, f32(0.5)])])]).toString('base64') }]); const before = V.pk; await until(() => V.pk > before + 10, 2500); chk('live.reconfigure', okWrite(rc) && V.pk > before, `${rc.status} ${rc.body}; ${V.pk - before} packets afterwards`);
    // stop with the wrong session id must not stop ours
    const bogus = { sid: crypto.randomBytes(16) }; const b4 = V.pk; const wr = await c.put([{ aid: selId[0], iid: selId[1], value: cmdTlv(bogus, 0) }]); await sleep(1200); chk('live.stop.foreign', V.pk > b4, `end command for an unknown session -> ${wr.status}; stream ${V.pk > b4 ? 'continued' : 'stopped'}`, 'should');
    const evw = c.waitChar(k => k.iid === stId[1], 2500); const rs = await c.put([{ aid: selId[0], iid: selId[1], value: cmdTlv(L, 0) }]).catch(e => ({ status: 'closed', body: e.message })); stopped = Date.now(); chk('live.stop.write', rs.status !== 'closed' && okWrite(rs), rs.status === 'closed' ? 'the accessory dropped the HAP session on the end command' : `${rs.status} ${rs.body}`); const evs = await evw; await sleep(3200); chk('live.stop.silence', gotAfterStop === 0, `${gotAfterStop} RTP packets more than 1.5 s after stop`); const v3 = decoders[120](await readChar(await S(), '110', '120')).status; chk('live.stop.available', v3 === 0, `StreamingStatus ${v3}`); clearInterval(rr); info.streamingStatusEventToWriter = !!evs;
    for (const s of [sk.v, sk.a, sk2.v, sk2.a]) s.close();
    if (opt.slow) await liveTimeouts(p);
  });
}
async function liveTimeouts(p) { // controller goes silent / HAP session dies
  for (const mode of ['rtcp-silence', 'session-closed']) {
    const c = await verified(), d = await getDb(); const sk = { v: await udp(), a: await udp() }; const L = await liveSetup(c, 0, sk); if (!chk(`live.${mode}.setup`, L.ep?.status === 0, `status ${L.ep?.status}`)) continue; let last = 0; sk.v.on('message', m => { if (!M.isRtcp(m)) last = Date.now(); }); const sel = d.id('110', '117'); await c.put([{ aid: sel[0], iid: sel[1], value: startTlv(L, p).toString('base64') }]); await sleep(4000); if (mode === 'session-closed') c.close(); const t0 = Date.now(), lim = mode === 'rtcp-silence' ? 50000 : 8000; while (Date.now() - t0 < lim && Date.now() - last < 3000) await sleep(250);
    const quiet = Date.now() - last >= 3000; chk(`live.${mode}`, quiet && last > 0, quiet ? `stream ended ${((last - t0) / 1000 + (mode === 'rtcp-silence' ? 4 : 0)).toFixed(1)} s after ${mode}` : `still streaming after ${lim / 1000} s`, 'should'); if (!c.closed) { await c.put([{ aid: sel[0], iid: sel[1], value: cmdTlv(L, 0) }]).catch(() => {}); c.close(); } const c4 = await S(); await sleep(500); const v = decoders[120](await readChar(c4, '110', '120')).status; chk(`live.${mode}.available`, v === 0, `StreamingStatus ${v}`, 'should'); sk.v.close(); sk.a.close();
  }
}
async function talkback(sock, srtp, e, rate, codec, ssrc) { // Opus tone from ffmpeg, re-stamped and encrypted
  if (codec !== 3) { skip('live.talkback', 'AAC-ELD talkback not generated'); return null; }
  const inS = await udp(); const ff = spawn('ffmpeg', ['-v', 'error', '-re', '-f', 'lavfi', '-i', 'sine=frequency=880', '-ac', '1', '-ar', String(rate), '-c:a', 'libopus', '-b:a', '24k', '-frame_duration', '20', '-application', 'voip', '-f', 'rtp', `rtp://127.0.0.1:${inS.address().port}`], { stdio: 'ignore' }); ff.on('error', () => {}); let n = 0, seq = 1000, ts = 5000; inS.on('message', m => { if (M.isRtcp(m)) return; const h = Buffer.alloc(12); h[0] = 0x80; h[1] = 110; h.writeUInt16BE(seq++ & 0xffff, 2); h.writeUInt32BE(ts >>> 0, 4); ts += rate / 50; h.writeUInt32BE(ssrc >>> 0, 8); sock.send(srtp.protect(Buffer.concat([h, m.subarray(12)])), e.addr.audio, e.addr.ip); n++; });
  return async () => { const t = Date.now(); while (n <= 20 && Date.now() - t < 4000 * P.patience.times) await sleep(50); ff.kill('SIGKILL'); inS.close(); return n; };
}
function probe(f) { const r = spawnSync('ffprobe', ['-v', 'error', '-show_streams', '-show_format', '-of', 'json', f], { encoding: 'utf8' }); try { return JSON.parse(r.stdout); } catch { return null; } }

// ================================================================== recording
function chooseSelected(d) {
  const g = decoders[205](d.char('204', '205').value), v = decoders[206](d.char('204', '206').value), a = decoders[207](d.char('204', '207').value); const vc = v.codecs.find(c => c.type === 0), at = vc.attrs.find(x => x.w === (opt.width || 1920) && x.h === (opt.height || 1080)) || vc.attrs[0]; const au = a.codecs.find(x => x.type === 0) || a.codecs[0]; const rid = [3, 2, 5, 1, 4, 0].find(x => au.rateIds.includes(x)); const frag = g.containers[0].fragment; const sel = { prebuffer: g.prebuffer, triggers: 1, fragment: frag, profile: Math.max(...vc.profiles), level: Math.max(...vc.levels), bitrate: 2000, iframe: frag, width: at.w, height: at.h, fps: at.fps, audioCodec: au.type, channels: au.channels, rateId: rid, rate: au.rates[au.rateIds.indexOf(rid)] };
  sel.tlv = tlv([1, tlv([1, u32(sel.prebuffer)], [2, u64(1)], [3, tlv([1, 0], [2, tlv([1, u32(frag)])])])], [2, tlv([1, 0], [2, tlv([1, sel.profile], [2, sel.level], [3, u32(sel.bitrate)], [4, u32(sel.iframe)])], [3, tlv([1, u16(at.w)], [2, u16(at.h)], [3, at.fps])])], [3, tlv([1, au.type], [2, tlv([1, au.channels], [2, au.bitrate[0] ?? 0], [3, rid], [4, u32(64)])])]).toString('base64'); return sel;
}
async function enableRecording(c, sel, audio = 1) {
  const d = await getDb();
  const r0 = await writeChars(c, [['21A', '21B', 1], ['21A', '223', 1], ['21A', '225', 1], ...d.svcs('110').map((_, n) => ['110', 'B0', 1, n])]); chk('rec.enable.mode', r0.ok, r0.why);
  const r1 = await writeChars(c, [['204', '209', sel.tlv]]); chk('rec.enable.selected', r1.ok, r1.why); const r2 = await writeChars(c, [['204', 'B0', 1]]); chk('rec.enable.active', r2.ok, r2.why); const r3 = await writeChars(c, [['204', '226', audio]]); chk('rec.enable.audio', r3.ok, r3.why); return r0.ok && r1.ok && r2.ok;
}
async function hdsOpen(c, quiet) {
  const d = await getDb(), id = d.id('129', '131'), salt = crypto.randomBytes(32); const r = await c.put([{ aid: id[0], iid: id[1], value: tlv([1, 0], [2, 0], [3, salt]).toString('base64'), r: true }]); const v = r.json?.characteristics?.[0]?.value; let m = {}; try { m = tlvMap(Buffer.from(v, 'base64')); } catch {}
  const st = m[1] ? P.le(m[1]) : undefined, asalt = m[3], port = m[2] ? P.le(tlvMap(m[2])[1] || Buffer.alloc(1)) : 0;
  if (!quiet) { chk('hds.setup', r.status === 207 || r.status === 200, `http ${r.status}`); chk('hds.setup.207', r.status === 207 && statusOf(r) === 0, `write response uses http ${r.status}`, 'should'); chk('hds.setup.status', st === 0, `status ${st}`); chk('hds.setup.port', port > 0 && m[2] && tlvMap(m[2])[1]?.length === 2, `TCP port ${port}`); chk('hds.setup.salt', asalt?.length === 32, `accessory salt ${asalt?.length} bytes`); }
  if (st !== 0 || !port || !asalt) throw new Error(`SetupDataStreamTransport failed: http ${r.status} ${r.body}`); const h = new HdsConn(opt.host, port, c.shared, salt, asalt); await h.connect(); return h;
}
async function hdsHello(h, quiet) { const t0 = Date.now(); const r = await h.request('control', 'hello', {}); if (!quiet) chk('hds.hello', r.header.status === 0 && r.header.protocol === 'control' && r.header.response === 'hello', `${JSON.stringify(r.header)} in ${Date.now() - t0} ms`); return r; }
const dsOpen = (h, streamId, type = 'ipcamera.recording', target = 'controller') => h.request('dataSend', 'open', { target, type, streamId, reason: 'recording' });
async function cmdRecord() {
  await must('record', async () => {
    let c = await S(); const d = await getDb(); const sel = chooseSelected(d); info.selected = { ...sel, tlv: undefined }; const md = d.id('85', '22');
    if (!await enableRecording(c, sel)) return; const rb = await readChar(c, '204', '209'); let same = rb === sel.tlv; if (!same) { try { same = JSON.stringify(decoders[209](rb)) === JSON.stringify(decoders[209](sel.tlv)); } catch {} } chk('rec.selected.readback', same, same ? 'SelectedCameraRecordingConfiguration reads back' : `read ${rb}`); chk('rec.active.readback', !!(await readChar(c, '204', 'B0')), 'Active reads back 1');
    const c2 = await verified(); await c2.put([{ aid: md[0], iid: md[1], ev: true }]); const sub = await c.put([{ aid: md[0], iid: md[1], ev: true }]); chk('rec.motion.subscribe', okWrite(sub), `${sub.status}`);
    if (opt.warmup) await sleep(opt.warmup * 1000); // let the accessory fill its prebuffer
    let motion = await readChar(c, '85', '22'); info.motionInitially = motion; const tTrig = Date.now();
    if (!motion) { const w = c.waitChar(k => k.iid === md[1] && !!k.value, opt.motionTimeout * 1000), w2 = c2.waitChar(k => k.iid === md[1] && !!k.value, opt.motionTimeout * 1000); if (opt.trigger) await sh(opt.trigger); const ev = await w; chk('rec.motion.event', !!ev, ev ? `MotionDetected event ${ev.at - tTrig} ms after the trigger` : `no motion event in ${opt.motionTimeout} s`); if (ev) { chk('rec.motion.fast', !opt.trigger || ev.at - tTrig < 1500, `${ev.at - tTrig} ms`, 'should'); chk('rec.motion.allsessions', !!(await Promise.race([w2, sleep(1000)])), 'second session got the event too'); } else return; } else chk('rec.motion.event', true, 'motion already active');
    c2.close();
    const h = await hdsOpen(c); h.on('violation', v => chk('hds.frame', false, v, /unknown id/.test(v) ? 'should' : 'must')); await hdsHello(h); const R = new Recording(1); let closedBy = null; const late = []; let ours = false; h.on('hds-event', (pr, ev, m, at) => { if (pr !== 'dataSend') return; if (ev === 'data') { if (Number(m.streamId) === 1) { if (ours) late.push(at); else R.onData(m, at); } } else if (ev === 'close' && Number(m.streamId) === 1) closedBy = { reason: m.reason, at }; });
    const bad = await dsOpen(h, 77, 'bogus.type').catch(e => ({ error: e.message })); chk('hds.open.badtype', bad.header ? bad.header.status !== 0 : false, bad.error || JSON.stringify({ ...bad.header, message: bad.message }), 'should');
    const t0 = Date.now(); const op = await dsOpen(h, 1); const tOpen = op.at; chk('hds.open', op.header.status === 0 && (op.message.status === 0 || op.message.status === undefined), JSON.stringify({ h: op.header, m: op.message }) + ` ${tOpen - t0} ms`); if (op.header.status !== 0) return; chk('hds.open.status', op.message.status === 0, `message ${JSON.stringify(op.message)}`, 'should');
    const dup = await (async () => { const hb = await hdsOpen(c, true); await hdsHello(hb, true); const r = await dsOpen(hb, 2).catch(e => ({ error: e.message })); if (r.header?.status === 0) hb.event('dataSend', 'close', { streamId: 2, reason: 0 }); await sleep(200); hb.close(); return r; })().catch(e => ({ error: e.message })); info.secondOpen = dup.header ? { header: dup.header.status, message: dup.message } : dup.error; chk('hds.open.concurrent', !!dup.header && (dup.header.status !== 0 ? dup.message?.status === 2 : true), `second dataSend open while recording -> ${JSON.stringify(info.secondOpen)} (busy=2 expected, or served)`, 'should');
    const end = tOpen + opt.seconds * 1000; let offDone = false; while (Date.now() < end + 9000 && !closedBy && !R.eos && !h.closed) { await sleep(100); if (Date.now() >= end && !offDone) { offDone = true; if (opt.triggerOff) await sh(opt.triggerOff); } if (offDone && Date.now() > end + 5000) break; }
    ours = true; const tc = Date.now(); if (R.eos) h.event('dataSend', 'ack', { streamId: 1, endOfStream: true }); if (!closedBy && !h.closed) h.event('dataSend', 'close', { streamId: 1, reason: 0 }); await sleep(2500); info.rec = { endedBy: closedBy ? `accessory close reason ${closedBy.reason}` : R.eos ? 'endOfStream' : h.closed ? 'connection lost' : 'hub close', segments: R.segments.length, chunks: R.chunks, maxChunk: R.maxChunk, bytes: R.segments.reduce((a, s) => a + s.data.length, 0), hdsTags: [...h.stats.tags].map(t => t.toString(16)).join(' '), maxFrame: h.stats.maxPayload };
    chk('rec.ended', !closedBy && (R.eos || !h.closed), info.rec.endedBy); chk('rec.close.quiet', late.filter(x => x > tc + 1000).length === 0, `${late.length} data events after our close, ${late.filter(x => x > tc + 1000).length} later than 1 s`, punctual);
    chk('rec.chunks', R.err.length === 0, R.err.slice(0, 6).join('; ') || `${R.chunks} chunks, largest ${R.maxChunk}`); chk('rec.totalsize', !R.noTotal, 'dataTotalSize on the first chunk of every segment', 'should'); if (R.extraMeta.size) info.rec.extraMetadata = [...R.extraMeta]; chk('rec.partial', !R.cur || R.eos === false, R.cur ? 'closed in the middle of a segment (normal when the hub closes)' : 'no partial segment', 'should');
    if (!chk('rec.segments', R.segments.length >= 3, `${R.segments.length} segments (init + media)`)) { if (R.segments.length < 2) return; }
    const want = { width: sel.width, height: sel.height, profile: sel.profile, level: sel.level, rate: sel.rate, audioCodec: sel.audioCodec }; const an = M.analyseRecording(R.segments, want); info.rec.init = an.f.init; info.rec.fragments = an.f.fragments?.map(f => ({ ...f, at: f.at - tOpen })); info.rec.seconds = an.f.seconds; info.rec.firstTfdt = an.f.firstTfdt; info.rec.firstMfhd = an.f.firstMfhd;
    chk('rec.fmp4', an.err.length === 0, an.err.slice(0, 8).join('; ') || 'init, IDR starts, mfhd sequence and tfdt continuity are all right'); an.warn.slice(0, 8).forEach((w, i) => chk(`rec.fmp4.note${i}`, false, w, 'should'));
    chk('rec.starts.zero', an.f.firstMfhd === 1 && Object.values(an.f.firstTfdt || {}).every(x => x < 1), `first mfhd ${an.f.firstMfhd}, first tfdt ${JSON.stringify(an.f.firstTfdt)} s (shipping cameras restart both per recording)`, 'should'); const fl = an.f.fragments || []; const lim = sel.fragment / 1000; const longest = Math.max(...fl.map(x => x.secs)); chk('rec.fragment.length', longest <= lim * 1.125 && longest > 0, `longest fragment ${longest} s, negotiated ${lim} s`); chk('rec.fragment.steady', fl.slice(0, -1).every(x => x.secs >= lim * 0.4), `durations ${fl.map(x => x.secs).join(' ')}`, 'should'); chk('rec.fragment.onemoof', fl.every(x => x.moofs === 1), `moofs per fragment ${fl.map(x => x.moofs).join(' ')}`, 'should'); chk('rec.audio.present', (an.f.init?.tracks || []).some(t => t.handler === 'soun'), 'audio track present with RecordingAudioActive=1', 'should');
    const firstMedia = R.segments[1]?.firstAt - tOpen; chk('rec.latency.init', R.segments[0].at - tOpen < 5000 * P.patience.times, `init after ${R.segments[0].at - tOpen} ms`); chk('rec.latency.media', firstMedia < 8000 * P.patience.times, `first fragment after ${firstMedia} ms (hub gives up at about 8 s)`); let gap = 0; for (let i = 2; i < R.segments.length; i++) gap = Math.max(gap, R.segments[i].firstAt - R.segments[i - 1].at); chk('rec.cadence', gap < 8000 * P.patience.times, `longest silence between fragments ${gap} ms`); chk('rec.cadence.tight', gap < 6000, `${gap} ms`, 'should');
    let cum = 0, lead = -1e9; fl.slice(0, 3).forEach(x => { cum += x.secs; lead = Math.max(lead, cum - (x.at - tOpen) / 1000); }); info.rec.prebufferLead = +lead.toFixed(2); chk('rec.prebuffer', lead >= 0.8 * sel.prebuffer / 1000, `delivered media runs ${lead.toFixed(2)} s ahead of the open (negotiated prebuffer ${sel.prebuffer / 1000} s)`, 'should');
    fs.writeFileSync(opt.out, Buffer.concat(R.segments.map(s => s.data))); const pr = probe(opt.out); if (pr) { info.rec.probe = { duration: pr.format?.duration, streams: pr.streams?.map(s => `${s.codec_type} ${s.codec_name} ${s.profile} ${s.width ? s.width + 'x' + s.height + ' ' + s.avg_frame_rate : s.sample_rate}`) }; chk('rec.ffprobe', pr.streams?.some(s => s.codec_type === 'video'), JSON.stringify(info.rec.probe)); const ff = spawnSync('ffmpeg', ['-v', 'error', '-i', opt.out, '-f', 'null', '-'], { encoding: 'utf8' }); chk('rec.decodes', ff.status === 0 && !ff.stderr.trim(), ff.stderr.slice(0, 300) || 'ffmpeg decodes it cleanly'); } else skip('rec.ffprobe', 'ffprobe not available');
    // the same connection must serve the next event
    if (!h.closed) { const R2 = new Recording(5); h.on('hds-event', (p_, ev, m, at) => { if (ev === 'data' && Number(m.streamId) === 5) R2.onData(m, at); }); let again = null; for (let i = 0; i < 8; i++) { again = await dsOpen(h, 5).catch(e => ({ error: e.message })); if (again.header?.status === 0 || again.error) break; await sleep(2000); } chk('rec.again.open', again.header?.status === 0, again.error || JSON.stringify({ h: again.header, m: again.message })); if (again.header?.status === 0) { const t = Date.now(); await until(() => R2.segments.length >= 2 || h.closed, 10000); chk('rec.again.data', R2.segments.length >= 2, `${R2.segments.length} segments ${Date.now() - t} ms after the second open`); chk('rec.again.rules', R2.err.length === 0, R2.err.slice(0, 4).join('; ')); if (R2.segments.length >= 2) { const a2 = M.analyseRecording(R2.segments, {}); chk('rec.again.fmp4', a2.err.length === 0, a2.err.slice(0, 4).join('; ') || `first tfdt ${JSON.stringify(a2.f.firstTfdt)} first mfhd ${a2.f.firstMfhd}`); info.rec.again = { firstTfdt: a2.f.firstTfdt, firstMfhd: a2.f.firstMfhd, initSame: R2.segments[0].data.equals(R.segments[0].data) }; } if (!h.closed) h.event('dataSend', 'close', { streamId: 5, reason: 0 }); await sleep(500); } }
    // closing the HAP session must close its data stream
    const cx = await verified(); const hx = await hdsOpen(cx, true); await hdsHello(hx, true); cx.close(); chk('hds.follows.session', await hx.waitClose(5000), 'HDS connection closes with its HAP session', 'should'); hx.close();
    h.close();
  });
}
async function cmdHds() { // data stream abuse; each probe gets its own data stream
  const { Int64 } = await import('./hds.mjs');
  const t = (id, fn) => must(id, async () => { const c = await S(); const h = await hdsOpen(c, true); h.on('error', () => {}); try { await fn(h); } finally { h.close(); } await sleep(100); const ok = await alive().catch(() => false); if (!ok) { chk(id + '.alive', false, 'accessory stopped answering (crashed?) after this probe'); await sleep(3000); } });
  const idle = must('hds.unclaimed', async () => { const h = await hdsOpen(await S(), true); const gone = await h.waitClose(15000); h.close(); return gone; }); // while the others are at it
  await t('hds.garbage', async g => { g.sock.write(crypto.randomBytes(200)); chk('hds.garbage', await g.waitClose(12000), 'garbage first frame closes the connection'); });
  await t('hds.wrongkey', async w => { w.wk = crypto.randomBytes(32); w.send({ protocol: 'control', request: 'hello', id: new Int64(1) }, {}); chk('hds.wrongkey', await w.waitClose(12000), 'well-formed frame under a wrong key closes the connection'); });
  await t('hds.replay', async r => { await hdsHello(r, true); const f = r.frame(r.payload({ protocol: 'dataSend', event: 'ack' }, { streamId: 999, endOfStream: false })); r.sock.write(f); await sleep(100); r.sock.write(f); chk('hds.replay', await r.waitClose(5000), 'replayed frame closes the connection'); });
  await t('hds.badtag', async r => { await hdsHello(r, true); const f = r.frame(r.payload({ protocol: 'dataSend', event: 'ack' }, { streamId: 999 })); f[f.length - 1] ^= 1; r.sock.write(f); chk('hds.badtag', await r.waitClose(5000), 'corrupted tag closes the connection'); });
  await t('hds.truncated', async r => { await hdsHello(r, true); const f = r.frame(r.payload({ protocol: 'dataSend', event: 'ack' }, { streamId: 999 })); r.sock.write(f.subarray(0, f.length - 6)); await sleep(300); r.sock.end(); await r.waitClose(2000); chk('hds.truncated', true, 'half a frame then FIN'); });
  await t('hds.split', async r => { const f = r.frame(r.payload({ protocol: 'control', request: 'hello', id: new Int64(9) }, {})); const p = new Promise((a, b) => { r.pending.set(9, { res: a, rej: b }); setTimeout(() => b(new Error('no hello response')), 4000 * P.patience.times); }); for (let i = 0; i < f.length; i += 5) { r.sock.write(f.subarray(i, i + 5)); await sleep(5); } chk('hds.split', (await p.catch(() => null))?.header?.status === 0, 'hello delivered five bytes at a time is answered'); });
  await t('hds.oversize', async z => { await hdsHello(z, true); z.sock.write(Buffer.from([1, 0xff, 0xff, 0xff])); z.sock.write(Buffer.alloc(1000)); chk('hds.oversize', await z.waitClose(5000), 'frame announcing 16 MiB closes the connection', 'should'); });
  await t('hds.badpayload', async z => { await hdsHello(z, true); z.sock.write(z.frame(Buffer.from([200, 0xef, 0x41]))); z.sock.write(z.frame(Buffer.from([1, 0xe0, 0xa7]))); z.sock.write(z.frame(Buffer.alloc(0))); await z.waitClose(1500); chk('hds.badpayload', true, z.closed ? 'undecodable payloads close the connection' : 'undecodable payloads ignored'); });
  await t('hds.nohello', async n => { n.sock.write(n.frame(n.payload({ protocol: 'dataSend', request: 'open', id: 5 }, { type: 'ipcamera.recording', target: 'controller', streamId: 1 }))); let early = false; n.on('hds-event', () => { early = true; }); const nc = await n.waitClose(4000); chk('hds.nohello', nc && !early, nc ? 'dataSend before hello closes the connection' : early ? 'data sent before hello' : 'connection left open', 'should'); });
  chk('hds.idle', await idle, 'a connection that never says hello is dropped (10 s)', 'should');
}

// ================================================================== operating modes
async function cmdModes() {
  await must('modes', async () => {
    const c = await S(), d = await getDb(); const sel = chooseSelected(d); await enableRecording(c, sel); const img = reason => snap(c, { 'image-width': 640, 'image-height': 360, 'resource-type': 'image', ...(reason === undefined ? {} : { reason }) });
    const is = (r, s) => r.status === 207 && r.json?.status === s;
    if (d.char('21A', '223')) { await writeChars(c, [['21A', '223', 0]]); let r = await img(1); chk('modes.eventsnap.off', is(r, -70412), `reason=1 with EventSnapshotsActive=0 -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`); r = await img(); chk('modes.eventsnap.noreason', is(r, -70401), `no reason -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`, 'should'); r = await img(0); chk('modes.eventsnap.periodic', r.status === 200 && !!r.jpeg, `reason=0 -> ${r.status}`); await writeChars(c, [['21A', '223', 1]]); }
    if (d.char('21A', '225')) { await writeChars(c, [['21A', '225', 0]]); let r = await img(0); chk('modes.periodic.off', is(r, -70412), `reason=0 with PeriodicSnapshotsActive=0 -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`); r = await img(1); chk('modes.periodic.event', r.status === 200 && !!r.jpeg, `reason=1 -> ${r.status}`); await writeChars(c, [['21A', '225', 1]]); }
    // recording switched off
    const records = !o['no-record']; let h = null, r = null;
    if (records) { await writeChars(c, [['204', 'B0', 0]]); h = await hdsOpen(c, true); await hdsHello(h, true); r = await dsOpen(h, 11).catch(e => ({ error: e.message })); chk('modes.rec.inactive', r.header?.status === 6 && r.message?.status === 1, `dataSend open with Active=0 -> ${r.error || JSON.stringify([r.header.status, r.message])} (6 / 1 not-allowed)`); h.close(); await writeChars(c, [['204', 'B0', 1]]); }
    // camera off while recording
    const sens = d.id('85', '75'); let closed = null, data = 0; const cs = await verified(); if (sens) await cs.put([{ aid: sens[0], iid: sens[1], ev: true }]);
    if (records) { h = await hdsOpen(c, true); await hdsHello(h, true); h.on('hds-event', (p, ev, m) => { if (ev === 'close') closed = m; if (ev === 'data') data++; }); r = await dsOpen(h, 12).catch(e => ({ error: e.message })); if (r.header?.status === 0) await until(() => data, 8000); chk('modes.rec.running', r.header?.status === 0 && data > 0, r.error || JSON.stringify([r.header?.status, r.message, data])); } else skip('modes.rec', 'not asked for');
    cs.events.length = 0; const told = sens && cs.waitChar(k => k.iid === sens[1] && !k.value, 3000);
    await writeChars(c, [['21A', '21B', 0]]); if (told) chk('modes.off.told', !!(await told), 'the other session hears that the sensor is off', 'should'); if (records) await until(() => closed || h.closed, 3000); if (records) chk('modes.off.closesrec', closed?.reason === 1 || h.closed, `running recording ends: ${closed ? 'close reason ' + closed.reason : h.closed ? 'connection closed' : 'nothing'} (1 = not allowed)`); chk('modes.off.statusactive', !sens || (await readChar(c, '85', '75')) == false, 'motion sensor StatusActive follows HomeKitCameraActive', 'should');
    r = await img(0); chk('modes.off.snapshot', is(r, -70412), `snapshot while off -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`); const sk = { v: await udp(), a: await udp() }; const L = await liveSetup(c, 0, sk); chk('modes.off.live', !okWrite(L.w) || L.ep?.status === 2, `SetupEndpoints while off -> http ${L.w.status} ${statusOf(L.w)} status ${L.ep?.status}`); if (records) { r = await dsOpen(h, 13).catch(e => ({ error: e.message })); chk('modes.off.rec', r.header ? r.header.status !== 0 : true, r.error || JSON.stringify([r.header.status, r.message])); h.close(); } cs.close();
    if (opt.trigger) { const md = d.id('85', '22'); const cm = await verified(); await cm.put([{ aid: md[0], iid: md[1], ev: true }]); if (opt.triggerOff) await sh(opt.triggerOff); await sleep(500); cm.events.length = 0; await sh(opt.trigger); await sleep(1500); chk('modes.off.nomotion', !cm.events.some(k => k.iid === md[1] && k.value), 'no MotionDetected event while the camera is off', 'should'); if (opt.triggerOff) await sh(opt.triggerOff); cm.close(); }
    await writeChars(c, [['21A', '21B', 1]]);
    // streaming disabled only (Active on RTP management)
    await writeChars(c, d.svcs('110').map((_, n) => ['110', 'B0', 0, n])); const L2 = await liveSetup(c, 0, sk); chk('modes.nostream.live', !okWrite(L2.w) || L2.ep?.status === 2, `SetupEndpoints with RTP Active=0 -> http ${L2.w.status} ${statusOf(L2.w)} status ${L2.ep?.status}`); r = await img(0); chk('modes.nostream.snapshot', is(r, -70412), `snapshot with every RTP Active=0 -> ${r.status} ${r.jpeg ? 'jpeg' : r.body}`, 'should'); await writeChars(c, d.svcs('110').map((_, n) => ['110', 'B0', 1, n])); sk.v.close(); sk.a.close(); r = await img(0); chk('modes.restored', r.status === 200 && !!r.jpeg, `snapshot after switching back on -> ${r.status}`);
    // audio off
    if (!records) return;
    const w0 = await writeChars(c, [['204', '226', 0]]); if (w0.ok && d.char('204', '226')) { await sleep(1500); h = await hdsOpen(c, true); await hdsHello(h, true); const R = new Recording(21); h.on('hds-event', (p, ev, m, at) => { if (ev === 'data' && Number(m.streamId) === 21) R.onData(m, at); }); r = { }; for (let i = 0; i < 8; i++) { r = await dsOpen(h, 21).catch(e => ({ error: e.message })); if (r.header?.status === 0 || r.error) break; await sleep(2000); } await until(() => R.segments.length >= 2 || h.closed, 10000); if (R.segments.length) { const i0 = M.parseInit(R.segments[0].data); const aud = i0.tracks.find(x => x.handler === 'soun'); let n = 0; if (aud && R.segments[1]) for (const m of M.parseFragment(R.segments[1].data, i0).moofs) for (const tr of m.trafs) if (tr.id === aud.id) n += tr.samples.length; chk('modes.audio.off', !aud || n === 0, aud ? `audio track with ${n} samples although RecordingAudioActive=0` : 'no audio track'); } else chk('modes.audio.off', false, 'no data ' + JSON.stringify(r.message || r.error)); if (!h.closed) h.event('dataSend', 'close', { streamId: 21, reason: 0 }); await sleep(300); h.close(); } await writeChars(c, [['204', '226', 1]]);
  });
}

// ================================================================== pairings
async function cmdPairings() {
  await must('pairings', async () => {
    const c = await S(), d = await getDb(); let L = await P.listPairings(c); chk('pairings.list', L.state === 2 && !L.error && L.list.some(x => x.id === state.controller.id && x.perm === 1 && x.pk === state.controller.pk), JSON.stringify(L.list.map(x => [x.id, x.perm])));
    const u = newIdentity(); let r = await P.addPairing(c, u.id, u.pk, 0); chk('pairings.add', tlvState(r) === 2 && !tlvErr(r), `error ${tlvErr(r)}`); L = await P.listPairings(c); chk('pairings.list2', L.list.length >= 2 && L.list.some(x => x.id === u.id && x.perm === 0), JSON.stringify(L.list.map(x => [x.id.slice(0, 8), x.perm]))); if (L.list.length > 1) chk('pairings.list.separator', L.items.some(i => i.t === 0xff && !i.v.length) , 'entries separated by a zero-length 0xFF item');
    const uc = await verified(u).catch(e => { chk('pairings.user.verify', false, e.message); return null; });
    if (uc) { chk('pairings.user.verify', true, 'non-admin pair-verify'); r = await uc.json('GET', '/accessories'); chk('pairings.user.read', r.status === 200, `${r.status}`); r = await P.addPairing(uc, newIdentity().id, newIdentity().pk, 1); chk('pairings.user.add', tlvErr(r) === 2, `non-admin add -> error ${tlvErr(r)}`); const ll = await P.listPairings(uc); chk('pairings.user.list', ll.error === 2, `non-admin list -> error ${ll.error}`); r = await P.removePairing(uc, newIdentity().id); chk('pairings.user.remove', tlvErr(r) === 2, `non-admin remove -> error ${tlvErr(r)}`); const ch = d.char('204', 'B0'); if (ch) { r = await uc.put([{ aid: d.aid, iid: ch.iid, value: val(ch, ch.value) }]); chk('pairings.user.adminchar', statusOf(r) === -70401, `non-admin write of recording Active -> ${r.status} ${r.body}`, 'should'); } }
    r = await P.addPairing(c, u.id, newIdentity().pk, 0); chk('pairings.add.otherkey', tlvErr(r) === 1, `same id, different key -> error ${tlvErr(r)} (1 expected)`); r = await P.addPairing(c, u.id, u.pk, 1); L = await P.listPairings(c); chk('pairings.add.perm', !tlvErr(r) && L.list.find(x => x.id === u.id)?.perm === 1, 'same id and key updates permissions');
    r = await P.removePairing(c, u.id); chk('pairings.remove', tlvState(r) === 2 && !tlvErr(r), `error ${tlvErr(r)}`); if (uc) chk('pairings.remove.closes', await uc.waitClose(5000), 'sessions of the removed controller are closed'); r = await P.removePairing(c, u.id); chk('pairings.remove.again', !tlvErr(r), `removing an unknown id -> error ${tlvErr(r)} (success expected)`); try { await session(opt.host, opt.port, state.pairing, u); chk('pairings.removed.verify', false, 'removed controller can still verify'); } catch (e) { chk('pairings.removed.verify', e.code === 2, e.message, e.code === undefined ? 'should' : 'must'); }
    // capacity
    const many = []; let refused = 0; for (let i = 0; i < 16; i++) { const k = newIdentity(); r = await P.addPairing(c, k.id, k.pk, 0); if (tlvErr(r)) { refused = tlvErr(r); break; } many.push(k); } info.pairingsAccepted = many.length + 1; chk('pairings.capacity', many.length >= 15, `${many.length + 1} pairings held, refusal ${refused || 'none'}`); if (refused) chk('pairings.maxpeers', refused === 4, `refused with error ${refused} (4 = max peers)`);
    // every controller that there can be, some of them twice; one change is told to all but its author
    const open = []; for (let i = 0; i < 20; i++) { try { open.push(await verified(many[i % many.length])); } catch (e) { break; } } const alive = await Promise.all(open.map(x => x.json('GET', '/characteristics?id=1.2').then(q => q.status > 0, () => false))); chk('pairings.sessions', alive.filter(Boolean).length >= 20, `${alive.filter(Boolean).length} concurrent controller sessions besides ours`);
    const sw = d.char('21A', '223') || d.char('204', 'B0'); if (sw && open.length) { const on = (await c.get([[d.aid, sw.iid]])).json?.characteristics?.[0]?.value; const own = v => [{ aid: d.aid, iid: sw.iid, value: v }]; for (const x of open) await x.put([{ aid: d.aid, iid: sw.iid, ev: true }]); const t = Date.now(), waits = open.map(x => x.waitChar(k => k.iid === sw.iid, 5000)); await c.put(own(val(sw, !on))); const heard = (await Promise.all(waits)).filter(Boolean); chk('pairings.sessions.events', heard.length === open.length, `${heard.length} of ${open.length} sessions were told, the last after ${Date.now() - t} ms`); await c.put(own(val(sw, !!on))); }
    for (const x of open) x.close(); for (const k of many) await P.removePairing(c, k.id); L = await P.listPairings(c); chk('pairings.cleaned', L.list.length === 1, `${L.list.length} pairings left`);
    r = await c.request('POST', '/identify'); chk('identify.paired', r.status === 400, `POST /identify while paired -> ${r.status} ${r.body}`);
    const p = await plain(); r = await p.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0])); chk('pairsetup.paired', tlvErr(r) === 6 && tlvState(r) === 2, `pair-setup while paired -> error ${tlvErr(r)} (6 = unavailable)`); p.close();
  });
}

// ================================================================== negative tests
const alive = async () => { const p = await plain(); const r = await p.tlv('/pair-verify', tlv([T.State, 1], [T.PublicKey, crypto.randomBytes(32)])); p.close(); return r.status === 200; };
async function unauth(tag) {
  for (const [m, u, b] of [['GET', '/accessories'], ['GET', '/characteristics?id=1.2'], ['PUT', '/characteristics', { characteristics: [{ aid: 1, iid: 2, value: true }] }], ['POST', '/resource', { 'image-width': 64, 'image-height': 64, 'resource-type': 'image' }], ['PUT', '/prepare', { ttl: 1000, pid: 1 }]]) { const p = await plain(); const r = await p.json(m, u, b, 5000).catch(e => ({ status: p.closed ? 'closed' : 0, err: e.message })); chk(`${tag}.470 ${m} ${u.split('?')[0]}`, r.status === 470, `${r.status} ${r.err || r.body}`, r.status === 'closed' ? 'should' : 'must'); p.close(); }
  const p = await plain(); const r = await p.tlv('/pairings', tlv([T.State, 1], [T.Method, 5])).catch(e => ({ status: 'closed', tlv: {} })); chk(`${tag}.470 POST /pairings`, r.status === 470 || (r.status === 200 && tlvErr(r) === 2), `${r.status} error ${tlvErr(r)}`, r.status === 'closed' ? 'should' : 'must'); p.close();
}
async function garbage(tag) {
  for (const [n, path_, b] of [['empty', '/pair-setup', Buffer.alloc(0)], ['truncated', '/pair-setup', Buffer.from([6, 1])], ['overrun', '/pair-setup', Buffer.from([6, 200, 1])], ['random', '/pair-setup', crypto.randomBytes(300)], ['state9', '/pair-setup', tlv([T.State, 9])], ['m3first', '/pair-setup', tlv([T.State, 3], [T.PublicKey, crypto.randomBytes(384)], [T.Proof, crypto.randomBytes(64)])], ['m5first', '/pair-setup', tlv([T.State, 5], [T.Encrypted, crypto.randomBytes(100)])], ['pv-empty', '/pair-verify', Buffer.alloc(0)], ['pv-short', '/pair-verify', tlv([T.State, 1], [T.PublicKey, Buffer.alloc(5)])], ['pv-m3first', '/pair-verify', tlv([T.State, 3], [T.Encrypted, crypto.randomBytes(80)])], ['pv-random', '/pair-verify', crypto.randomBytes(200)]]) { const p = await plain(); const r = await p.tlv(path_, b, 4000).catch(e => ({ status: p.closed ? 'closed' : 'hang', tlv: {} })); const ok = r.status === 'closed' || (typeof r.status === 'number' && (r.status >= 400 || tlvErr(r) > 0)); chk(`${tag}.garbage.${n}`, ok, `http ${r.status} error ${tlvErr(r)}`, n === 'overrun' ? 'should' : 'must'); p.close(); }
  const p = await plain(); p.sock.write('GARBAGE\r\n\r\n'); const cl = await p.waitClose(3000); chk(`${tag}.garbage.http`, true, cl ? 'closed' : 'left open'); p.close();
  const q = await plain(); q.sock.write('GET /accessories HTTP/1.1\r\nHost: x\r\nX: ' + 'a'.repeat(200000) + '\r\n\r\n'); await q.waitClose(2000); q.close();
  chk(`${tag}.garbage.alive`, await alive().catch(() => false), 'accessory still answers afterwards');
  if (!o['no-huge']) { const k = await plain(); k.sock.write('POST /pair-setup HTTP/1.1\r\nHost: x\r\nContent-Type: application/pairing+tlv8\r\nContent-Length: 99999999999\r\n\r\n'); await k.waitClose(1000); k.close(); await sleep(300); chk(`${tag}.hugelength.alive`, await alive().catch(() => false), 'accessory survives a pairing request announcing 99 GB'); }
}
async function cmdNegUnpaired() {
  await must('negative-unpaired', async () => {
    if (state.pairing) return skip('negative-unpaired', 'already paired'); await unauth('unpaired'); let p = await plain(); let r = await p.request('POST', '/identify'); chk('unpaired.identify', r.status === 204, `POST /identify -> ${r.status}`); p.close(); await garbage('unpaired');
    const pin = opt.pin.replace(/-/g, '').replace(/^(\d{3})(\d{2})(\d{3})$/, '$1-$2-$3'); const wrong = pin === '111-22-333' ? '111-22-334' : '111-22-333';
    const tryPair = async (id, pn, want, opts, lvl) => { const c = await plain(); try { await pairSetup(c, pn, newIdentity(), {}, opts); chk(id, false, 'pair-setup succeeded'); } catch (e) { const refused = want.includes(e.code), other = e.code === undefined || (e.http >= 400); chk(id, refused || other, e.message); if (!refused && other) chk(id + '.tlv', false, `refused, but without a TLV error (${e.message})`, 'should'); } c.close(); };
    await tryPair('unpaired.wrongpin', wrong, [2]); await tryPair('unpaired.A0', pin, [2, 1], { srp: { A: 0n } }); await tryPair('unpaired.A=N', pin, [2, 1], { srp: { A: P.SRP_N } }); await tryPair('unpaired.A0.emptyS', pin, [2, 1], { srp: { A: 0n, emptyS: true } }); await tryPair('unpaired.badsig', pin, [2], { badSig: true }); await tryPair('unpaired.corruptM5', pin, [2], { corruptM5: true });
    // busy: two controllers in pair-setup at once
    const a = await plain(), b = await plain(); await a.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0])); const m = await b.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0])); chk('unpaired.busy', tlvErr(m) === 7, `second controller during pair-setup -> error ${tlvErr(m)} (7 = busy)`, 'should'); a.close(); b.close(); await sleep(200); const d = await plain(); const mm = await d.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0])); chk('unpaired.busy.released', !tlvErr(mm), `after both hang up -> error ${tlvErr(mm)}`); d.close();
    const f = await plain(); const fl = await f.tlv('/pair-setup', tlv([T.State, 1], [T.Method, 0], [T.Flags, u32(0x10)])); info.transientFlag = { error: tlvErr(fl), flagsEchoed: fl.tlv[T.Flags]?.toString('hex') }; f.close(); await sleep(100);
    try { await session(opt.host, opt.port, { accessoryId: 'x', accessoryPk: '00'.repeat(32) }, newIdentity()); } catch (e) { info.verifyUnpaired = e.message; }
  });
}
async function cmdMaxTries() { // locks the accessory until restart: throwaway targets only
  await must('maxtries', async () => {
    const c = await plain(); let seen = null, n = 0; for (; n < opt.maxtries; n++) { try { await pairSetup(c.closed ? await plain() : c, '111-22-333', newIdentity()); } catch (e) { if (e.code !== 2 && e.code !== undefined) { seen = e.code; break; } } } chk('maxtries', seen === 5, `error ${seen} after ${n} wrong codes (5 = max tries, at 100)`); const k = await plain(); try { await pairSetup(k, opt.pin, newIdentity()); chk('maxtries.locked', false, 'right code still accepted'); } catch (e) { chk('maxtries.locked', e.code === 5, e.message); } k.close(); c.close();
  });
}
async function cmdNegative() {
  await must('negative', async () => {
    if (!state.pairing) return skip('negative', 'not paired'); await unauth('paired'); await garbage('paired');
    const pv = async (id, opts, want, ident = state.controller, lvl) => { const c = await plain(); try { await pairVerify(c, state.pairing, ident, opts); chk(id, false, 'accepted', lvl); } catch (e) { chk(id, want.includes(e.code), e.message, e.code === undefined ? 'should' : lvl); } c.close(); };
    await pv('verify.badsig', { badSig: true }, [2]); await pv('verify.unknownid', {}, [2], newIdentity()); await pv('verify.stolenid', { id: state.controller.id }, [2], newIdentity()); await pv('verify.corrupt', { corruptM3: true }, [2]); await pv('verify.zerokey', { zeroKey: true }, [1, 2], state.controller, 'should');
    let c = await verified(); c.removeAllListeners('violation'); const get = () => c.httpBytes('GET', '/characteristics?id=1.2');
    const dead = async (id, fn, lvl = 'must') => { c = await verified(); c.removeAllListeners('violation'); c.pending.push({ res() { c.answered = true; }, rej() {} }); await fn(c); const k = await c.waitClose(4000); chk(id, k && !c.answered, k ? 'connection closed' : c.answered ? 'request was answered' : 'connection left open', lvl); c.close(); };
    await dead('frame.badtag', async x => { const f = x.frames(get()); f[f.length - 1] ^= 1; x.sock.write(f); }); await dead('frame.badlen', async x => { const f = x.frames(get()); f[0] ^= 3; x.sock.write(Buffer.concat([f, Buffer.alloc(64)])); }); await dead('frame.plaintext', async x => { x.sock.write(get()); x.sock.write(Buffer.alloc(40000, 32)); }); await dead('frame.skippednonce', async x => { x.enc.wc += 1; x.sock.write(x.frames(get())); });
    { c = await verified(); c.removeAllListeners('violation'); const f = c.frames(get()); let n = 0; c.pending.push({ res() { n++; }, rej() {} }, { res() { n++; }, rej() {} }); c.sock.write(f); await sleep(400); c.sock.write(f); const k = await c.waitClose(4000); chk('frame.replay', k && n === 1, `replayed frame: ${n} answer(s), ${k ? 'closed' : 'open'}`); c.close(); }
    { c = await verified(); c.removeAllListeners('violation'); const big = Buffer.concat([get().subarray(0, -2), Buffer.from('X-P: ' + 'b'.repeat(3000) + '\r\n\r\n')]); const l = u16(big.length); c.pending.push({ res() { c.answered = true; }, rej() {} }); c.sock.write(Buffer.concat([l, P.seal(c.enc.wk, c.enc.wc++, big, l)])); const k = await c.waitClose(2500); chk('frame.oversize', !c.answered, `frame of ${big.length} plaintext bytes: ${k ? 'closed' : c.answered ? 'accepted' : 'ignored'}`, 'should'); c.close(); }
    { c = await verified(); const f = c.frames(get()); const p = new Promise((a, b) => c.pending.push({ res: a, rej: b })); c.sock.write(f.subarray(0, 9)); await sleep(300); c.sock.write(f.subarray(9)); const r = await Promise.race([p.catch(() => null), sleep(4000 * P.patience.times)]); chk('frame.split', r?.status === 200 || r?.status === 207, 'a frame arriving in two TCP segments is answered'); c.close(); }
    { c = await verified(); c.sock.write(c.frames(get()).subarray(0, 20)); await sleep(200); c.sock.end(); await c.waitClose(2000); c.close(); }
    chk('negative.alive', await alive().catch(() => false) && (await (await S()).json('GET', '/accessories')).status === 200, 'accessory still serves the paired controller');
  });
}
async function cmdPersist() { // settings, pairing and ids must survive a restart of the accessory
  await must('persist', async () => {
    if (!o.restart) return skip('persist', 'give --restart "<command that restarts the accessory>"');
    let c = await S(), d = await getDb(); const sel = chooseSelected(d); await enableRecording(c, sel); await writeChars(c, [['21A', '223', 0]]); const before = dbShape(d.json); await sleep(+(o.settle || 1) * 1000);
    await sh(o.restart); let up = false; const t = Date.now(); while (Date.now() - t < 30000 * P.patience.times) { await sleep(300); try { c = await verified(); up = true; break; } catch (e) { if (typeof e.code === 'number') { chk('persist.pairing', false, e.message); return; } } } if (!chk('persist.up', up, `pair-verify ${Date.now() - t} ms after the restart command`)) return; main = c; const r = await c.json('GET', '/accessories'); db = new Db(r.json); chk('persist.ids', dbShape(db.json) === before, 'instance ids and metadata unchanged'); const rb = await readChar(c, '204', '209'); let same = rb === sel.tlv; if (!same) { try { same = JSON.stringify(decoders[209](rb)) === JSON.stringify(decoders[209](sel.tlv)); } catch {} } chk('persist.selected', same, `SelectedCameraRecordingConfiguration ${same ? 'kept' : 'lost: ' + rb}`); chk('persist.active', !!(await readChar(c, '204', 'B0')), 'recording Active kept'); const ra = await readChar(c, '204', '226'); chk('persist.audio', ra === undefined || !!ra, 'RecordingAudioActive kept'); chk('persist.camera', !!(await readChar(c, '21A', '21B')), 'HomeKitCameraActive kept'); chk('persist.eventsnap', !(await readChar(c, '21A', '223')), 'EventSnapshotsActive=0 kept'); await writeChars(c, [['21A', '223', 1]]);
    if (o['no-record']) return skip('persist.records', 'not asked for');
    const h = await hdsOpen(c, true); await hdsHello(h, true); const R = new Recording(31); h.on('hds-event', (p, ev, m, at) => { if (ev === 'data') R.onData(m, at); }); const op = await dsOpen(h, 31).catch(e => ({ error: e.message })); const t1 = Date.now(); await until(() => R.segments.length >= 2 || h.closed, 12000); chk('persist.records', R.segments.length >= 2 && !R.err.length, op.error || `open ${op.header?.status}, ${R.segments.length} segments ${Date.now() - t1} ms after, no configuration written since the restart`); if (!h.closed) h.event('dataSend', 'close', { streamId: 31, reason: 0 }); await sleep(200); h.close();
  });
}
async function cmdCut() { // the plug is pulled again and again, while a recording runs and a switch is being written
  await must('cut', async () => {
    if (!o.restart) return skip('cut', 'give --restart "<command that pulls the plug and starts the accessory again>"');
    let held = 0; const each = (id, ok, detail) => ok ? !!++held : chk(id, false, detail); // of hundreds of rounds only what fails is told
    let c = await S(); const d = await getDb(), sel = chooseSelected(d); await enableRecording(c, sel); await sleep(+(o.settle || 1) * 1000);
    const sw = [['21A', '223'], ['21A', '225'], ['204', '226'], ['110', 'B0']].filter(x => d.id(...x)), is = sw.map(() => 1), waits = [0, 15, 60, 200, 5, 400];
    for (let n = 0; n < +(o.rounds || 4); n++) {
      const h = await hdsOpen(c, true); h.on('error', () => {}); await hdsHello(h, true); const R = new Recording(n + 1); h.on('hds-event', (p, ev, m, at) => { if (ev === 'data') R.onData(m, at); });
      const op = await dsOpen(h, n + 1).catch(e => ({ error: e.message })), t0 = Date.now(); while (!R.segments.length && Date.now() - t0 < 12000 * P.patience.times && !h.closed) await sleep(20);
      each(`cut.${n}.runs`, op.header?.status === 0 && R.segments.length > 0, op.error || `open ${op.header?.status}, beginning after ${Date.now() - t0} ms`);
      const at = n % sw.length, want = 1 - is[at], gone = c; gone.removeAllListeners('violation'); const write = writeChars(c, [[...sw[at], want]]).catch(() => {}); await sleep(waits[n % waits.length]);
      await sh(o.restart); gone.close(); await write; each(`cut.${n}.dies`, await h.waitClose(5000), 'the data stream dies with the accessory'); h.close();
      const t = Date.now(); c = null; while (!c && Date.now() - t < 30000 * P.patience.times) { await sleep(100); try { c = await verified(); } catch (e) { if (typeof e.code === 'number') { each(`cut.${n}.pairing`, false, e.message); return; } } } if (!each(`cut.${n}.up`, !!c, `${Date.now() - t} ms`)) return; main = c;
      each(`cut.${n}.selected`, await readChar(c, '204', '209') === sel.tlv, 'SelectedCameraRecordingConfiguration kept'); each(`cut.${n}.active`, !!(await readChar(c, '204', 'B0')) && !!(await readChar(c, '21A', '21B')), 'recording and camera stay active');
      for (let k = 0; k < sw.length; k++) { const v = +!!(await readChar(c, ...sw[k])); each(`cut.${n}.${sw[k][1]}`, v === is[k] || (k === at && v === want), `${cname(sw[k][1])} ${v}, was ${is[k]}${k === at ? ' or ' + want : ''}`); is[k] = v; }
    }
    chk('cut.rounds', held > 0, `${+(o.rounds || 4)} rounds, ${held} checks held`);
    const h = await hdsOpen(c, true); await hdsHello(h, true); const R = new Recording(99); h.on('hds-event', (p, ev, m, at) => { if (ev === 'data') R.onData(m, at); }); const op = await dsOpen(h, 99).catch(e => ({ error: e.message })), t1 = Date.now(); while (R.segments.length < 2 && Date.now() - t1 < 12000 * P.patience.times && !h.closed) await sleep(50);
    const bad = R.segments.length < 2 ? [] : M.analyseRecording(R.segments, { audio: is[2] === 1 ? undefined : false }).err; chk('cut.records', R.segments.length >= 2 && !R.err.length && !bad.length, op.error || `${R.segments.length} segments ${Date.now() - t1} ms after the open; ${[...R.err, ...bad].slice(0, 4).join('; ')}`); h.event('dataSend', 'close', { streamId: 99, reason: 0 }); await sleep(100); h.close();
  });
}
async function cmdBell() { // the bell is heard by all who asked, once, and has no value to read
  await must('bell', async () => {
    const c = await S(), d = await getDb(), id = d.id('121', '73'); if (!id) return skip('bell', 'no Doorbell service');
    const reads = async tag => { const v = await readChar(c, '121', '73'); chk(`bell.${tag}`, v === null, `ProgrammableSwitchEvent reads ${JSON.stringify(v)}`); };
    await reads('reads'); if (!o.ring) return skip('bell.ring', 'give --ring "<command that rings>"');
    const both = [c, await verified()]; for (const x of both) chk('bell.subscribe', okWrite(await x.put([{ aid: id[0], iid: id[1], ev: true }])), 'subscribe to ProgrammableSwitchEvent');
    for (const x of both) x.events.length = 0; const t = Date.now(), waits = both.map(x => x.waitChar(k => k.iid === id[1], 10000)); await sh(o.ring); const heard = await Promise.all(waits); await sleep(1500);
    chk('bell.event', heard.every(k => k?.value === 0), `heard ${JSON.stringify(heard)} (0 = single press)`); const late = Math.max(...heard.map(k => (k?.at ?? Infinity) - t)); chk('bell.prompt', late < 1500, `${late} ms after the command`, 'should');
    chk('bell.once', both.every(x => x.events.filter(k => k.iid === id[1]).length === 1), `${both.map(x => x.events.filter(k => k.iid === id[1]).length)} events for one press`); await reads('reads.after'); both[1].close();
  });
}
async function cmdSwitch() { // the camera's switches in the Home app: --active 0|1, --recording 0|1
  await must('switch', async () => { const c = await S(); if (o.recording !== undefined) { await enableRecording(c, chooseSelected(await getDb())); const r = await writeChars(c, [['204', 'B0', +o.recording]]); chk('switch.recording', r.ok, r.why); } if (o.active === undefined) return; const w = await writeChars(c, [['21A', '21B', +o.active]]); chk('switch', w.ok, w.why); const v = await readChar(c, '21A', '21C'); info.thirdParty = v; chk('switch.thirdparty', v === undefined || v === !!v || v === +!!v, `ThirdPartyCameraActive reads ${v}`); });
}
async function cmdHold() { const c = await S(), d = await getDb(); const subs = d.acc.services.flatMap(s => s.characteristics).filter(x => x.perms.includes('ev')).map(x => ({ aid: d.aid, iid: x.iid, ev: true })); await c.put(subs); c.on('char', e => console.error(new Date().toISOString(), JSON.stringify(e))); await c.waitClose((+o.seconds || 600) * 1000); chk('hold', true, 'done'); }

// ================================================================== run
const table = { discover: cmdDiscover, pair: cmdPair, verify: cmdVerify, db: cmdDb, chars: cmdChars, snapshot: cmdSnapshot, live: cmdLive, record: cmdRecord, hds: cmdHds, modes: cmdModes, pairings: cmdPairings, 'negative-unpaired': cmdNegUnpaired, negative: cmdNegative, maxtries: cmdMaxTries, unpair: cmdUnpair, hold: cmdHold, persist: cmdPersist, bell: cmdBell, switch: cmdSwitch, cut: cmdCut };
(async () => {
  let list = cmds.flatMap(c => c === 'all' ? [...(o.discover ? ['discover'] : []), 'negative-unpaired', 'pair', 'verify', 'db', 'chars', 'negative', 'snapshot', 'live', ...(o['no-record'] ? [] : ['record']), 'modes', ...(o['no-record'] ? [] : ['hds']), ...(o.ring ? ['bell'] : []), 'pairings', ...(o.restart ? ['persist'] : []), 'unpair'] : [c]);
  const t0 = Date.now(); if (!opt.port && state.port && !list.includes('discover')) { opt.port = state.port; if (!o.host && state.host) opt.host = state.host; }
  process.on('unhandledRejection', e => chk('internal', false, e?.stack || e));
  for (const n of list) {
    area = n; report.target = `${opt.host}:${opt.port}`; if (!opt.port && n !== 'discover') { chk('args', false, 'give --port or run discover first'); break; }
    if (!state.pairing && !['discover', 'pair', 'negative-unpaired', 'maxtries'].includes(n)) { skip(n, 'not paired'); continue; }
    const t = Date.now(); try { await table[n](); } catch (e) { chk(n + '.crash', false, e.stack); } (info.ms ||= {})[n] = Date.now() - t;
  }
  report.target = `${opt.host}:${opt.port}`; report.duration_ms = Date.now() - t0; report.failed = report.checks.filter(c => c.status === 'fail').map(c => c.id); report.warned = report.checks.filter(c => c.status === 'warn').map(c => c.id);
  for (const c of conns) c.close(); process.stdout.write(JSON.stringify(report, (k, v) => v?.type === 'Buffer' ? Buffer.from(v.data).toString('hex') : v, 1) + '\n', () => process.exit(report.ok ? 0 : 1));
})();
