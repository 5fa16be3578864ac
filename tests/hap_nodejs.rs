//! A second judge of the data stream: HAP-NodeJS, which most of the world's home-made cameras speak with. Its
//! parser reads what ours writes, ours reads what it writes, and its connection plays a hub at our port. What it
//! takes: node, and the packages that `scripts/test` fetches.
#![cfg(feature = "homekit")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use streamd::homekit::crypto::sha512;
use streamd::homekit::hds::server::{DataStreams, Reel, Reels, Segment};
use streamd::homekit::hds::session::Reason;
use streamd::homekit::hds::value::{Value, Writer};
use streamd::net::executor::LocalExecutor;
use streamd::net::limits::HDS_CHUNK;
use streamd::net::reactor::Timer;
use support::{Guard, PATIENCE, tool};

/// Where npm has put what `scripts/test` asks it for.
fn package() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/peers/node_modules/@homebridge/hap-nodejs");
    assert!(folder.exists(), "{} is made by scripts/test", folder.display());
    folder
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

fn written(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut Writer(&mut out));
    out
}

/// As the scripts below show a value.
fn show(value: &Value<'_>) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Real32(bits) => format!("f32:{}", hex(&bits.to_le_bytes())),
        Value::Real64(bits) => format!("f64:{}", hex(&bits.to_le_bytes())),
        Value::Date(bits) => format!("date:{}", hex(&bits.to_le_bytes())),
        Value::Uuid(bytes) => format!("uuid:{}", hex(bytes)),
        Value::Text(text) => format!("text:{}", hex(text.as_bytes())),
        Value::Data(data) => format!("data:{}", hex(data)),
        Value::Array(items) => format!("[{}]", join(items.iter().map(show).collect())),
        Value::Dict(pairs) => {
            let pairs = pairs.iter().map(|(k, v)| format!("{}={}", hex(k.as_bytes()), show(v)));
            format!("{{{}}}", join(pairs.collect()))
        }
    }
}

/// Shows what their values are; how they keep some is their business.
const SHOW: &str = r#"
const [folder] = process.argv.slice(1);
const D = require(folder + '/dist/lib/datastream');
const { DataStreamParser, DataStreamReader, DataStreamWriter } = D;
const show = v => {
  if (v === null || typeof v === 'boolean' || typeof v === 'number') return String(v);
  if (typeof v === 'string') return 'text:' + Buffer.from(v).toString('hex');
  if (Buffer.isBuffer(v)) return 'data:' + v.toString('hex');
  if (Array.isArray(v)) return '[' + v.map(show).join(',') + ']';
  if (v instanceof D.UUID) return 'uuid:' + v.value.replace(/-/g, '').toLowerCase();
  const bits = (n, value) => { const b = Buffer.alloc(n); n === 4 ? b.writeFloatLE(value) : b.writeDoubleLE(value); return b.toString('hex'); };
  if (v instanceof D.Float32) return 'f32:' + bits(4, v.value);
  if (v instanceof D.Float64) return 'f64:' + bits(8, v.value);
  if (v instanceof D.SecondsSince2001) return 'date:' + bits(8, v.value);
  if (v instanceof D.ValueWrapper) return String(v.value);
  return '{' + Object.entries(v).map(([k, x]) => Buffer.from(k).toString('hex') + '=' + show(x)).join(',') + '}';
};
const encode = v => { const w = new DataStreamWriter(); DataStreamParser.encode(v, w); return w.getData().toString('hex'); };
"#;

/// Reads ours from lines of hexadecimal digits, shows it, and writes it again.
const READS: &str = r#"
const lines = require('fs').readFileSync(0, 'utf8').trim().split('\n');
for (const line of lines) {
  const reader = new DataStreamReader(Buffer.from(line, 'hex'));
  const value = DataStreamParser.decode(reader);
  const rest = reader.data.length - reader.readerIndex;
  let again = '-';
  try { again = encode(value); } catch {}
  console.log(show(value), rest, again);
}
"#;

#[test]
fn their_parser_reads_what_we_write() {
    let (long, huge) = ("x".repeat(255), "y".repeat(70_000));
    let data: Vec<u8> = (0..=255).collect();
    let large = data.repeat(300);
    let text = Value::Text;
    let dict = |pairs: usize| {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
        Value::Dict((0..pairs).map(|i| (keys[i], Value::Int(i as i64))).collect())
    };
    let mut values = vec![
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        text(""),
        text("a"),
        text("12345678901234567890123456789012"),
        text("123456789012345678901234567890123"),
        text(&long),
        text(&huge),
        text("Tür, 門, 🚪"),
        Value::Data(&data[..33]),
        Value::Data(&data[..255]),
        Value::Data(&data),
        Value::Data(&large),
        Value::Array(vec![]),
        Value::Array((0..12).map(Value::Int).collect()),
        Value::Array((0..14).map(Value::Int).collect()),
        Value::Array((0..15).map(Value::Int).collect()),
        Value::Array(vec![Value::Array(vec![Value::Array(vec![text("deep")]), Value::Null]), dict(2)]),
        dict(0),
        dict(14),
        dict(15),
        dict(16),
        // the same once more: written in full, and read so
        Value::Array(vec![text("again"), text("again"), Value::Int(300), Value::Int(300)]),
        // a part of a recording
        Value::Dict(vec![
            ("streamId", Value::Int(70_000)),
            (
                "packets",
                Value::Array(vec![Value::Dict(vec![
                    ("data", Value::Data(&large)),
                    (
                        "metadata",
                        Value::Dict(vec![
                            ("dataType", text("mediaFragment")),
                            ("dataSequenceNumber", Value::Int(2)),
                            ("isLastDataChunk", Value::Bool(true)),
                            ("dataTotalSize", Value::Int(4_000_000)),
                        ]),
                    ),
                ])]),
            ),
            ("endOfStream", Value::Bool(true)),
        ]),
    ];
    // theirs takes 39 in one byte for a mistake, though it writes it so itself
    values.extend((-1..39).map(Value::Int));
    for n in [40i64, 127, 128, 255, 32_767, 32_768, i32::MAX.into(), 1 << 40, (1 << 53) - 1] {
        values.extend([Value::Int(n), Value::Int(-n)]);
    }
    let lines: Vec<String> = values.iter().map(|v| hex(&written(v))).collect();
    let script = [SHOW, READS].concat();
    let run = tool("node", &["-e", &script, package().to_str().unwrap()], &lines.join("\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(run.out.lines().count(), values.len());
    let (mut same, mut read) = (0, 0);
    for ((value, line), ours) in values.iter().zip(run.out.lines()).zip(&lines) {
        let mut words = line.split(' ');
        assert_eq!(words.next().unwrap(), show(value));
        assert_eq!(words.next(), Some("0"), "{}: nothing is left over", show(value));
        let again = words.next().unwrap();
        same += usize::from(again == ours);
        // its writer has its own faults: texts beyond ASCII, and numbers of more than 32 bits
        let beyond = |v: &Value<'_>| match v {
            Value::Int(n) => !(-32_768..=0xffff_ffff).contains(n),
            Value::Text(text) => !text.is_ascii() && text.len() <= 32,
            _ => false,
        };
        if again != "-" && !beyond(value) {
            assert_eq!(Value::parse(&unhex(again)).map(|v| show(&v)), Ok(show(value)));
            read += 1;
        }
    }
    // most of it is written the same by both, byte for byte
    assert!(same > 65 && read > 70, "{same} {read}");
}

/// Writes all that it can write, and what it means.
const WRITES: &str = r#"
const raw = (means, how) => { const w = new DataStreamWriter(); how(w); console.log(w.getData().toString('hex'), means); };
const tell = v => console.log(encode(v), show(v));
[null, true, false, -1, 0, 38, 39, 40, 127, 128, -2, -128, -129, 32767, -32768, 70000, 0x7fffffff].forEach(tell);
[new D.Int8(-5), new D.Int16(1), new D.Int32(-70000), new D.Int32(3), new D.Int64(7), new D.Float32(1.5), new D.Float64(-0.1), 2.5 ].slice(0, 7).forEach(tell);
tell(new D.SecondsSince2001(7e8)); tell(new D.UUID('00112233-4455-6677-8899-aabbccddeeff'));
for (const n of [0, 1, 32, 33, 255, 256, 65535, 65536]) { tell('z'.repeat(n)); tell(Buffer.alloc(n, 7)); }
tell([]); tell([1, 'a', [true]]); tell(Array.from({ length: 13 }, (_, i) => i)); tell({}); tell({ a: 1, b: { c: [null] } });
tell(Object.fromEntries(Array.from({ length: 15 }, (_, i) => ['k' + i, i])));
// what was written once is referred to
tell(['same', 'same', 'other', 'same', 'other']); tell({ x: 'x', y: 'x', z: 1000, w: [1000, 1000] });
tell([true, 5, 'a', 300, 'a', 300, -1, new D.Float32(1.5), new D.Float32(1.5), new D.UUID('00112233-4455-6677-8899-aabbccddeeff'), new D.UUID('00112233-4455-6677-8899-aabbccddeeff')]);
const b = Buffer.from('here and there'); tell([b, b]);
tell(Array.from({ length: 60 }, (_, i) => 's' + i % 50));
const hi = Buffer.from('hi');
raw('text:6869', w => w.writeUTF8_Length8('hi')); raw('text:6869', w => w.writeUTF8_Length16LE('hi')); raw('text:6869', w => w.writeUTF8_Length32LE('hi'));
raw('text:6869', w => w.writeUTF8_Length64LE('hi')); raw('text:6869', w => w.writeUTF8_NULL_terminated('hi'));
raw('data:6869', w => w.writeData_Length8(hi)); raw('data:6869', w => w.writeData_Length16LE(hi)); raw('data:6869', w => w.writeData_Length32LE(hi));
raw('data:6869', w => w.writeData_Length64LE(hi)); raw('data:6869', w => w.writeData_terminated(hi));
"#;

#[test]
fn our_parser_reads_what_they_write() {
    let script = [SHOW, WRITES].concat();
    let run = tool("node", &["-e", &script, package().to_str().unwrap()], "");
    assert_eq!(run.code, 0, "{}", run.err);
    let mut tags: Vec<u8> = Vec::new();
    for line in run.out.lines() {
        let (bytes, means) = line.split_once(' ').unwrap();
        let bytes = unhex(bytes);
        tags.extend(bytes.first().copied());
        let value = Value::parse(&bytes).unwrap_or_else(|e| panic!("{means}: {e}"));
        assert_eq!(show(&value), means);
        // and what we make of it is read again
        assert_eq!(Value::parse(&written(&value)), Ok(value));
    }
    tags.sort_unstable();
    tags.dedup();
    assert!(tags.len() > 40, "{} tags were seen", tags.len());
}

/// Segments of these lengths, whose bytes count up.
struct Film {
    left: Vec<usize>,
    next: u8,
    ends: bool,
}

struct Shop {
    sold: Cell<u32>,
}

const SEGMENTS: [usize; 3] = [651, 2 * HDS_CHUNK + 100, 5000];

impl Reels for Shop {
    fn open(&self) -> Result<Box<dyn Reel>, Reason> {
        self.sold.set(self.sold.get() + 1);
        // the second one ends by itself, the third is not allowed
        match self.sold.get() {
            3 => Err(Reason::NotAllowed),
            n => Ok(Box::new(Film { left: SEGMENTS.to_vec(), next: 0, ends: n == 2 })),
        }
    }
}

impl Reel for Film {
    fn over(&mut self, _: &mut Context<'_>) -> Option<Reason> {
        None
    }

    fn segment(&mut self, _: &mut Context<'_>) -> Poll<Result<Segment, Reason>> {
        if self.left.is_empty() {
            return Poll::Pending;
        }
        let len = self.left.remove(0);
        Poll::Ready(Ok(Segment { len, end: self.ends && self.left.is_empty() }))
    }

    fn take(&mut self, len: usize, out: &mut Vec<u8>) -> bool {
        for _ in 0..len {
            out.push(self.next);
            self.next = self.next.wrapping_add(1);
        }
        true
    }
}

/// Their accessory's connection as a hub: what it sends is sealed with what an accessory opens with.
const HUB: &str = r#"
const [folder, port, shared, theirs, ours] = process.argv.slice(1);
const { DataStreamConnection } = require(folder + '/dist/lib/datastream');
const crypto = require('crypto');
const hap = require(folder + '/dist/lib/util/hapCrypto');
const bytes = text => Buffer.from(text, 'hex');
const key = info => hap.HKDF('sha512', Buffer.concat([bytes(theirs), bytes(ours)]), bytes(shared), Buffer.from(info), 32);
const late = setTimeout(() => { console.log('late'); process.exit(1); }, 55000);
const socket = require('net').connect(+port, '127.0.0.1');
const c = new DataStreamConnection(socket);
clearTimeout(c.helloTimer);
c.accessoryToControllerEncryptionKey = key('HDS-Write-Encryption-Key');
c.controllerToAccessoryEncryptionKey = key('HDS-Read-Encryption-Key');
c.state = 2;
let heard = [], wake = () => {};
const told = what => message => { heard.push({ what, message }); wake(); };
c.addProtocolHandler('dataSend', { eventHandler: { data: told('data'), close: told('close') } });
const next = async () => { while (!heard.length) await new Promise(r => { wake = r; }); return heard.shift(); };
const ask = (protocol, topic, message) => new Promise((ok, no) => c.sendRequest(protocol, topic, message, (e, status, message) => e ? no(e) : ok(`${status} ${JSON.stringify(message)}`)));
const open = streamId => ask('dataSend', 'open', { target: 'controller', type: 'ipcamera.recording', streamId, reason: 'recording' });
const film = async id => {
  let hash = crypto.createHash('sha512'), number = 0;
  for (let left = 3; left;) {
    const { what, message } = await next();
    if (what !== 'data' || message.streamId !== id || message.packets.length !== 1) throw new Error(what + JSON.stringify(message));
    const { data, metadata: m } = message.packets[0];
    hash.update(data); number++;
    console.log(m.dataType, m.dataSequenceNumber, m.dataChunkSequenceNumber, m.isLastDataChunk, m.dataTotalSize, data.length, message.endOfStream);
    if (m.isLastDataChunk) left--;
  }
  console.log(number, hash.digest('hex').slice(0, 16));
};
(async () => {
  await new Promise(r => socket.on('connect', r));
  console.log('hello', await ask('control', 'hello', {}));
  console.log('open', await open(1));
  await film(1);
  console.log('again', await open(2));
  c.sendEvent('dataSend', 'close', { streamId: 1, reason: 0 });
  console.log('open', await open(300));
  await film(300);
  c.sendEvent('dataSend', 'ack', { streamId: 300, endOfStream: true });
  const { what, message } = await next();
  console.log(what, JSON.stringify(message));
  console.log('open', await open(70000));
  console.log('unknown', await ask('dataSend', 'whatever', {}));
  c.close();
})().then(() => { clearTimeout(late); process.exit(0); }, e => { console.log('failed', e.stack); process.exit(1); });
"#;

#[test]
fn their_connection_records_at_our_port() {
    let executor = Rc::new(LocalExecutor::new());
    let server = DataStreams::new(executor.clone(), Rc::new(Shop { sold: Cell::new(0) }));
    let [shared, theirs, ours] = [1u8, 2, 3].map(|n| [n; 32]);
    let port = server.expect(1, &shared, &theirs, &ours).unwrap().to_string();
    let package = package();
    let mut args = vec!["-e", HUB, package.to_str().unwrap(), &port];
    let keys = [shared, theirs, ours].map(|key| hex(&key));
    args.extend(keys.iter().map(String::as_str));
    let child = Command::new("node")
        .args(&args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("node is needed for this test");
    let mut child = Guard(child);
    let end = Instant::now() + PATIENCE;
    let status = executor.block_on(async {
        loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not come to its end");
            Timer::after(Duration::from_millis(10)).await;
        }
    });
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.0.stdout.take().unwrap(), &mut said).unwrap();
    let film: Vec<u8> = (0..SEGMENTS.iter().sum::<usize>()).map(|at| at as u8).collect();
    let hash = &hex(&sha512(&[&film]))[..16];
    let parts = |end: &str| {
        format!(
            "mediaInitialization 1 1 true 651 651 undefined\n\
             mediaFragment 2 1 false 524388 262144 undefined\n\
             mediaFragment 2 2 false undefined 262144 undefined\n\
             mediaFragment 2 3 true undefined 100 undefined\n\
             mediaFragment 3 1 true 5000 5000 {end}\n5 {hash}\n"
        )
    };
    let expected = format!(
        "hello 0 {{}}\nopen 0 {{\"status\":0}}\n{}again 6 {{\"status\":2}}\nopen 0 {{\"status\":0}}\n{}\
         close {{\"streamId\":300,\"reason\":0}}\nopen 6 {{\"status\":1}}\nunknown 3 {{}}\n",
        parts("undefined"),
        parts("true")
    );
    assert_eq!(said, expected);
    assert!(status.is_some_and(|s| s.success()));
}
