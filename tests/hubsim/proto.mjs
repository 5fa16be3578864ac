// HAP controller primitives: TLV8, SRP-6a, pair-setup, pair-verify, encrypted HTTP session.
// Node >= 18, standard library only.
import crypto from 'node:crypto';
import net from 'node:net';
import { EventEmitter } from 'node:events';

// ---------------------------------------------------------------- TLV8
export const T = { Method: 0, Identifier: 1, Salt: 2, PublicKey: 3, Proof: 4, Encrypted: 5, State: 6, Error: 7,
  RetryDelay: 8, Certificate: 9, Signature: 10, Permissions: 11, FragmentData: 12, FragmentLast: 13, Flags: 0x13, Separator: 0xff };

const asBuf = v => Buffer.isBuffer(v) ? v : typeof v === 'number' ? Buffer.from([v]) : Buffer.from(v);
export function tlv(...pairs) { // tlv([type, value], ...)
  const out = [];
  for (const [t, v0] of pairs) {
    const v = asBuf(v0);
    if (!v.length) { out.push(Buffer.from([t, 0])); continue; }
    for (let o = 0; o < v.length; o += 255) { const s = v.subarray(o, o + 255); out.push(Buffer.from([t, s.length]), s); }
  }
  return Buffer.concat(out);
}
export class TlvError extends Error {}
// strict list decoder: [{t, v}], merges continuation fragments (previous len==255 and same type)
export function tlvItems(buf) {
  const items = []; let o = 0, prev = null;
  while (o < buf.length) {
    if (o + 2 > buf.length) throw new TlvError('truncated TLV header');
    const t = buf[o], l = buf[o + 1]; o += 2;
    if (o + l > buf.length) throw new TlvError(`TLV type ${t} length ${l} overruns buffer`);
    const v = buf.subarray(o, o + l); o += l;
    if (prev && prev.t === t && prev.last === 255) { prev.v = Buffer.concat([prev.v, v]); prev.last = l; }
    else { prev = { t, v, last: l }; items.push(prev); }
  }
  return items;
}
export function tlvMap(buf) { const m = {}; for (const { t, v } of tlvItems(buf)) if (!(t in m)) m[t] = v; return m; }
// values of one type that may repeat (separated by zero-length items, or simply repeated)
export const tlvAll = (buf, type) => tlvItems(buf).filter(i => i.t === type && !(i.t === 0 && i.v.length === 0)).map(i => i.v);
export function le(v) { let n = 0n; for (let i = v.length - 1; i >= 0; i--) n = (n << 8n) | BigInt(v[i]); return Number(n); }
export const u8 = n => Buffer.from([n & 255]);
export const u16 = n => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
export const u32 = n => { const b = Buffer.alloc(4); b.writeUInt32LE(n >>> 0); return b; };
export const u64 = n => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
export const f32 = n => { const b = Buffer.alloc(4); b.writeFloatLE(n); return b; };

// ---------------------------------------------------------------- crypto helpers
export const sha512 = (...b) => { const h = crypto.createHash('sha512'); for (const x of b) h.update(x); return h.digest(); };
export const hkdf = (ikm, salt, info, len = 32) => Buffer.from(crypto.hkdfSync('sha512', ikm, Buffer.isBuffer(salt) ? salt : Buffer.from(salt), Buffer.from(info), len));
const nonce12 = n => { const b = Buffer.alloc(12); if (typeof n === 'string') b.write(n, 12 - n.length, 'latin1'); else b.writeBigUInt64LE(BigInt(n), 4); return b; };
export function seal(key, nonce, plain, aad) {
  const c = crypto.createCipheriv('chacha20-poly1305', key, nonce12(nonce), { authTagLength: 16 });
  if (aad) c.setAAD(aad, { plaintextLength: plain.length });
  const e = Buffer.concat([c.update(plain), c.final()]);
  return Buffer.concat([e, c.getAuthTag()]);
}
export function open(key, nonce, data, aad) {
  if (data.length < 16) throw new Error('AEAD data shorter than tag');
  const d = crypto.createDecipheriv('chacha20-poly1305', key, nonce12(nonce), { authTagLength: 16 });
  const ct = data.subarray(0, data.length - 16);
  if (aad) d.setAAD(aad, { plaintextLength: ct.length });
  d.setAuthTag(data.subarray(data.length - 16));
  return Buffer.concat([d.update(ct), d.final()]);
}
const ED_PK = Buffer.from('302a300506032b6570032100', 'hex'), ED_SK = Buffer.from('302e020100300506032b657004220420', 'hex');
const X_PK = Buffer.from('302a300506032b656e032100', 'hex');
const edPub = raw => crypto.createPublicKey({ key: Buffer.concat([ED_PK, raw]), format: 'der', type: 'spki' });
const edPriv = seed => crypto.createPrivateKey({ key: Buffer.concat([ED_SK, seed]), format: 'der', type: 'pkcs8' });
export function newIdentity(id) {
  const seed = crypto.randomBytes(32);
  const pub = crypto.createPublicKey(edPriv(seed)).export({ format: 'der', type: 'spki' }).subarray(-32);
  return { id: id || crypto.randomUUID().toUpperCase(), seed: seed.toString('hex'), pk: Buffer.from(pub).toString('hex') };
}
export const edSign = (seedHex, msg) => crypto.sign(null, msg, edPriv(Buffer.from(seedHex, 'hex')));
export const edVerify = (pk, msg, sig) => sig.length === 64 && crypto.verify(null, msg, edPub(pk), sig);

// ---------------------------------------------------------------- SRP-6a (RFC 5054 3072-bit group, g=5, SHA-512)
const N = BigInt('0x' + `FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF`);
const G = 5n, NLEN = 384;
const b2n = b => BigInt('0x' + (b.length ? Buffer.from(b).toString('hex') : '0'));
const n2b = (n, len) => { let h = n.toString(16); if (h.length & 1) h = '0' + h; const b = Buffer.from(h, 'hex'); return len && b.length < len ? Buffer.concat([Buffer.alloc(len - b.length), b]) : b; };
const pad = n => n2b(n, NLEN);
function modpow(b, e, m) { b %= m; let r = 1n; for (; e > 0n; e >>= 1n) { if (e & 1n) r = r * b % m; b = b * b % m; } return r; }
export class SrpClient {
  constructor(pin, salt, Bbuf, opts = {}) {
    const I = Buffer.from('Pair-Setup'), B = b2n(Bbuf);
    if (B % N === 0n) throw new Error('SRP B is zero mod N');
    const k = b2n(sha512(pad(N), pad(G)));
    const x = b2n(sha512(salt, sha512(I, Buffer.from(':'), Buffer.from(pin))));
    const a = b2n(crypto.randomBytes(32));
    const A = opts.A !== undefined ? opts.A : modpow(G, a, N);
    this.A = pad(A);
    const Bp = pad(B);
    const u = b2n(sha512(this.A, Bp));
    let base = (B - k * modpow(G, x, N)) % N; if (base < 0n) base += N;
    const S = opts.A !== undefined ? 0n : modpow(base, a + u * x, N);
    // HAP pads S, A and B to 384 bytes before hashing (fast-srp-hap, pyatv do); leadingZero notes ambiguous sessions.
    this.leadingZero = n2b(S).length < NLEN || this.A[0] === 0 || Bp[0] === 0;
    this.K = sha512(opts.A !== undefined ? (opts.emptyS ? Buffer.alloc(0) : pad(0n)) : pad(S));
    const hN = sha512(n2b(N)), hG = sha512(n2b(G)); for (let i = 0; i < 64; i++) hN[i] ^= hG[i];
    this.M1 = sha512(hN, sha512(I), salt, this.A, Bp, this.K);
    this.M2 = sha512(this.A, this.M1, this.K);
  }
}
export const SRP_N = N;

// ---------------------------------------------------------------- HTTP over HAP session
// A slow accessory, or one on a busy machine, is given this many times the usual time.
export const patience = { times: 1 };
export class HapConn extends EventEmitter {
  constructor(host, port) {
    super(); this.setMaxListeners(100);
    this.host = host; this.port = port; this.enc = null; this.raw = Buffer.alloc(0); this.plain = Buffer.alloc(0);
    this.pending = []; this.closed = false; this.events = []; this.frameStats = { frames: 0, maxPlain: 0, bad: 0 };
  }
  connect(timeout = 5000) {
    return new Promise((res, rej) => {
      const s = this.sock = net.connect({ host: this.host, port: this.port });
      s.setNoDelay(true);
      const t = setTimeout(() => { s.destroy(); rej(new Error('connect timeout')); }, timeout * patience.times);
      s.once('connect', () => { clearTimeout(t); res(this); });
      s.on('error', e => { clearTimeout(t); this.lastError = e; rej(e); });
      s.on('close', () => { this.closed = true; for (const p of this.pending.splice(0)) p.rej(new Error('connection closed')); this.emit('close'); });
      s.on('data', d => this._data(d));
    });
  }
  _data(d) {
    if (!this.enc) { this.plain = Buffer.concat([this.plain, d]); return this._parse(); }
    this.raw = Buffer.concat([this.raw, d]);
    while (this.raw.length >= 2) {
      const l = this.raw.readUInt16LE(0);
      if (l > 1024) { this.frameStats.bad++; this.emit('violation', `encrypted frame with ${l} plaintext bytes (max 1024)`); }
      if (this.raw.length < 2 + l + 16) break;
      let p;
      try { p = open(this.enc.rk, this.enc.rc, this.raw.subarray(2, 2 + l + 16), this.raw.subarray(0, 2)); }
      catch (e) { this.frameStats.bad++; this.emit('violation', 'frame failed authentication: ' + e.message); this.sock.destroy(); return; }
      this.enc.rc++; this.frameStats.frames++; this.frameStats.maxPlain = Math.max(this.frameStats.maxPlain, l);
      this.raw = this.raw.subarray(2 + l + 16);
      this.plain = Buffer.concat([this.plain, p]);
    }
    this._parse();
  }
  _parse() {
    for (;;) {
      const i = this.plain.indexOf('\r\n\r\n'); if (i < 0) return;
      const lines = this.plain.subarray(0, i).toString('latin1').split('\r\n');
      const m = /^(HTTP\/1\.[01]|EVENT\/1\.0) (\d{3})/.exec(lines[0]);
      if (!m) { this.emit('violation', 'bad status line: ' + JSON.stringify(lines[0].slice(0, 80))); this.sock.destroy(); return; }
      const headers = {}; for (const l of lines.slice(1)) { const c = l.indexOf(':'); if (c > 0) headers[l.slice(0, c).trim().toLowerCase()] = l.slice(c + 1).trim(); }
      let body, end; const o = i + 4; const status = +m[2];
      if (/chunked/i.test(headers['transfer-encoding'] || '')) {
        const parts = []; let p = o, ok = false;
        for (;;) {
          const e = this.plain.indexOf('\r\n', p); if (e < 0) break;
          const n = parseInt(this.plain.subarray(p, e).toString('latin1'), 16);
          if (!(n >= 0)) { this.emit('violation', 'bad chunk size'); this.sock.destroy(); return; }
          if (this.plain.length < e + 2 + n + 2) break;
          if (n === 0) { end = e + 4; ok = true; break; }
          parts.push(this.plain.subarray(e + 2, e + 2 + n)); p = e + 2 + n + 2;
        }
        if (!ok) return;
        body = Buffer.concat(parts);
      } else {
        const n = headers['content-length'] !== undefined ? +headers['content-length'] : 0;
        if (this.plain.length < o + n) return;
        body = this.plain.subarray(o, o + n); end = o + n;
      }
      body = Buffer.from(body); this.plain = this.plain.subarray(end);
      const msg = { proto: m[1], status, headers, body, at: Date.now() };
      if (m[1] === 'EVENT/1.0') {
        let j; try { j = JSON.parse(body); } catch { this.emit('violation', 'EVENT body is not JSON'); continue; }
        if (!/application\/hap\+json/.test(headers['content-type'] || '')) this.emit('violation', 'EVENT content-type ' + headers['content-type']);
        for (const c of j.characteristics || []) { const ev = { ...c, at: msg.at }; this.events.push(ev); this.emit('char', ev); }
        this.emit('event', j);
      } else {
        const p = this.pending.shift(); if (p) { p.res(msg); } else this.emit('violation', 'unsolicited response ' + status);
      }
    }
  }
  enableEncryption(shared) {
    this.shared = shared;
    this.enc = { wk: hkdf(shared, 'Control-Salt', 'Control-Write-Encryption-Key'), rk: hkdf(shared, 'Control-Salt', 'Control-Read-Encryption-Key'), wc: 0, rc: 0 };
  }
  frames(buf) { // encrypt into wire frames
    const out = [];
    for (let o = 0; o < buf.length; o += 1024) {
      const p = buf.subarray(o, o + 1024), l = u16(p.length);
      out.push(l, seal(this.enc.wk, this.enc.wc++, p, l));
    }
    return Buffer.concat(out);
  }
  write(buf) { this.sock.write(this.enc ? this.frames(buf) : buf); }
  httpBytes(method, path, body, ct, extra = '') {
    const b = body === undefined ? Buffer.alloc(0) : Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    let h = `${method} ${path} HTTP/1.1\r\nHost: ${this.host}:${this.port}\r\n`;
    if (body !== undefined) h += `Content-Type: ${ct || 'application/hap+json'}\r\nContent-Length: ${b.length}\r\n`;
    else if (method === 'POST') h += 'Content-Length: 0\r\n';
    return Buffer.concat([Buffer.from(h + extra + '\r\n'), b]);
  }
  request(method, path, body, ct, timeout = 10000) {
    return new Promise((res, rej) => {
      if (this.closed) return rej(new Error('connection closed'));
      const t0 = Date.now();
      const p = { res: m => { clearTimeout(t); m.ms = Date.now() - t0; res(m); }, rej: e => { clearTimeout(t); rej(e); } };
      const t = setTimeout(() => { const i = this.pending.indexOf(p); if (i >= 0) this.pending[i] = { res() {}, rej() {} }; rej(new Error(`timeout ${method} ${path}`)); }, timeout * patience.times);
      this.pending.push(p);
      this.write(this.httpBytes(method, path, body, ct));
    });
  }
  async json(method, path, body, timeout) {
    const r = await this.request(method, path, body, undefined, timeout);
    r.json = undefined; if (r.body.length) { try { r.json = JSON.parse(r.body); } catch { r.badJson = true; } }
    return r;
  }
  async tlv(path, buf, timeout = 15000) {
    const r = await this.request('POST', path, buf, 'application/pairing+tlv8', timeout);
    try { r.items = tlvItems(r.body); r.tlv = tlvMap(r.body); } catch (e) { r.tlv = {}; r.items = []; r.tlvError = e.message; }
    return r;
  }
  // convenience
  get(ids, q = '') { return this.json('GET', `/characteristics?id=${ids.map(i => i.join('.')).join(',')}${q}`); }
  put(chars, top = {}) { return this.json('PUT', '/characteristics', { characteristics: chars, ...top }); }
  async timedPut(chars, ttl = 3000 * patience.times) {
    const pid = Math.floor(Math.random() * 2 ** 40);
    const p = await this.json('PUT', '/prepare', { ttl, pid });
    if (p.status !== 200 || p.json?.status !== 0) return { ...p, prepareFailed: true };
    return this.put(chars, { pid });
  }
  // the event, or null when it did not come in time or cannot come any more
  waitChar(pred, ms) {
    return new Promise(res => {
      const end = c => { clearTimeout(t); this.off('char', h); this.off('close', gone); res(c); };
      const t = setTimeout(() => end(null), ms * patience.times);
      const h = c => { if (pred(c)) end(c); }, gone = () => end(null);
      if (this.closed) return end(null);
      this.on('char', h); this.once('close', gone);
    });
  }
  waitClose(ms) { return this.closed ? Promise.resolve(true) : new Promise(res => { const t = setTimeout(() => res(false), ms * patience.times); this.once('close', () => { clearTimeout(t); res(true); }); }); }
  close() { try { this.sock?.destroy(); } catch {} }
}

export class PairError extends Error { constructor(step, code, msg, http) { super(`${step}: ${msg || 'error ' + code}`); this.step = step; this.code = code; this.http = http; } }
const st = r => r.tlv?.[T.State]?.[0], er = r => r.tlv?.[T.Error] ? le(r.tlv[T.Error]) : 0;

export async function pairSetup(conn, pin, ident, notes = {}, opts = {}) {
  const flags = opts.flags !== undefined ? [[T.Flags, u32(opts.flags)]] : [];
  const m2 = await conn.tlv('/pair-setup', tlv([T.State, 1], [T.Method, opts.method ?? 0], ...flags));
  notes.m2 = m2;
  if (er(m2)) throw new PairError('M2', er(m2));
  if (st(m2) !== 2 || !m2.tlv[T.PublicKey] || !m2.tlv[T.Salt]) throw new PairError('M2', 0, `malformed M2 (http ${m2.status})`);
  notes.saltLen = m2.tlv[T.Salt].length; notes.bLen = m2.tlv[T.PublicKey].length; notes.ct = m2.headers['content-type'];
  const srp = new SrpClient(pin, m2.tlv[T.Salt], m2.tlv[T.PublicKey], opts.srp || {});
  notes.leadingZero = srp.leadingZero;
  const m4 = await conn.tlv('/pair-setup', tlv([T.State, 3], [T.PublicKey, srp.A], [T.Proof, srp.M1]));
  notes.m4 = m4;
  if (er(m4)) throw new PairError('M4', er(m4));
  if (st(m4) !== 4 || !m4.tlv[T.Proof]) throw new PairError('M4', 0, `malformed M4 (http ${m4.status})`, m4.status);
  notes.proofOk = m4.tlv[T.Proof].equals(srp.M2);
  if (!notes.proofOk) throw new PairError('M4', 0, 'accessory SRP proof M2 mismatch');
  if (opts.stopAfterM4) return { K: srp.K };
  const ek = hkdf(srp.K, 'Pair-Setup-Encrypt-Salt', 'Pair-Setup-Encrypt-Info');
  const ix = hkdf(srp.K, 'Pair-Setup-Controller-Sign-Salt', 'Pair-Setup-Controller-Sign-Info');
  const pk = Buffer.from(ident.pk, 'hex'), id = Buffer.from(ident.id);
  let sig = edSign(ident.seed, Buffer.concat([ix, id, pk]));
  if (opts.badSig) { sig = Buffer.from(sig); sig[5] ^= 1; }
  let sub = seal(ek, 'PS-Msg05', tlv([T.Identifier, id], [T.PublicKey, pk], [T.Signature, sig]));
  if (opts.corruptM5) { sub = Buffer.from(sub); sub[3] ^= 1; }
  const m6 = await conn.tlv('/pair-setup', tlv([T.State, 5], [T.Encrypted, sub]));
  notes.m6 = m6;
  if (er(m6)) throw new PairError('M6', er(m6));
  if (st(m6) !== 6 || !m6.tlv[T.Encrypted]) throw new PairError('M6', 0, `malformed M6 (http ${m6.status})`, m6.status);
  const inner = tlvMap(open(ek, 'PS-Msg06', m6.tlv[T.Encrypted]));
  const ax = hkdf(srp.K, 'Pair-Setup-Accessory-Sign-Salt', 'Pair-Setup-Accessory-Sign-Info');
  const ok = edVerify(inner[T.PublicKey], Buffer.concat([ax, inner[T.Identifier], inner[T.PublicKey]]), inner[T.Signature]);
  if (!ok) throw new PairError('M6', 0, 'accessory signature invalid');
  return { accessoryId: inner[T.Identifier].toString(), accessoryPk: inner[T.PublicKey].toString('hex') };
}

export async function pairVerify(conn, pairing, ident, opts = {}) {
  const kp = crypto.generateKeyPairSync('x25519');
  let pub = kp.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  if (opts.zeroKey) pub = Buffer.alloc(32);
  const m2 = await conn.tlv('/pair-verify', tlv([T.State, 1], [T.PublicKey, pub]));
  if (er(m2)) throw new PairError('M2', er(m2));
  const sp = m2.tlv[T.PublicKey];
  if (st(m2) !== 2 || sp?.length !== 32 || !m2.tlv[T.Encrypted]) throw new PairError('M2', 0, `malformed M2 (http ${m2.status})`);
  if (opts.zeroKey) return { accepted: true };
  const shared = crypto.diffieHellman({ privateKey: kp.privateKey, publicKey: crypto.createPublicKey({ key: Buffer.concat([X_PK, sp]), format: 'der', type: 'spki' }) });
  const ek = hkdf(shared, 'Pair-Verify-Encrypt-Salt', 'Pair-Verify-Encrypt-Info');
  let inner; try { inner = tlvMap(open(ek, 'PV-Msg02', m2.tlv[T.Encrypted])); } catch (e) { throw new PairError('M2', 0, 'cannot decrypt PV-Msg02'); }
  if (inner[T.Identifier]?.toString() !== pairing.accessoryId) throw new PairError('M2', 0, `accessory id ${inner[T.Identifier]} differs from pairing`);
  if (!edVerify(Buffer.from(pairing.accessoryPk, 'hex'), Buffer.concat([sp, inner[T.Identifier], pub]), inner[T.Signature])) throw new PairError('M2', 0, 'accessory signature invalid');
  const id = Buffer.from(opts.id || ident.id);
  let sig = edSign(ident.seed, Buffer.concat([pub, id, sp])); if (opts.badSig) { sig = Buffer.from(sig); sig[7] ^= 1; }
  let sub = seal(ek, 'PV-Msg03', tlv([T.Identifier, id], [T.Signature, sig])); if (opts.corruptM3) { sub = Buffer.from(sub); sub[1] ^= 1; }
  const m4 = await conn.tlv('/pair-verify', tlv([T.State, 3], [T.Encrypted, sub]));
  if (er(m4)) throw new PairError('M4', er(m4));
  if (st(m4) !== 4) throw new PairError('M4', 0, `malformed M4 (http ${m4.status})`);
  conn.enableEncryption(shared);
  return { shared };
}
export async function session(host, port, pairing, ident, timeout) {
  const c = new HapConn(host, port); await c.connect(timeout); await pairVerify(c, pairing, ident); return c;
}
// ---- /pairings
export const addPairing = (c, id, pkHex, perm) => c.tlv('/pairings', tlv([T.State, 1], [T.Method, 3], [T.Identifier, id], [T.PublicKey, Buffer.from(pkHex, 'hex')], [T.Permissions, perm]));
export const removePairing = (c, id) => c.tlv('/pairings', tlv([T.State, 1], [T.Method, 4], [T.Identifier, id]));
export async function listPairings(c) {
  const r = await c.tlv('/pairings', tlv([T.State, 1], [T.Method, 5]));
  const list = []; let cur = null;
  for (const { t, v } of r.items) {
    if (t === T.Identifier) { cur = { id: v.toString() }; list.push(cur); }
    else if (t === T.PublicKey && cur) cur.pk = v.toString('hex');
    else if (t === T.Permissions && cur) cur.perm = v[0];
  }
  return { ...r, list, error: er(r), state: st(r) };
}
export const tlvErr = er, tlvState = st;
