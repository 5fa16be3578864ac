//! RTSP over WebSocket: what a browser speaks, and cameras behind a web server. Python's `websockets`
//! is the strict one on the other side, ffmpeg and gst-rtsp-server stand behind it.
#![cfg(all(feature = "rtsp", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use support::*;

/// A player as a page has one: plays, and says what came of it. Ways: `count` so many pictures,
/// `witness` until it is told on its input and five more, `slow` reads little until it is told.
const PLAYER: &str = r#"
import asyncio, json, socket, sys, websockets
ws_url, rtsp, way, want, save = sys.argv[1:6]
want = int(want)
told = False
async def main():
    global told
    s = socket.socket()
    if way == 'slow':
        # so that little is under way, however much the system would like to hold
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    s.connect(('127.0.0.1', int(ws_url.split(':')[2].split('/')[0])))
    s.setblocking(False)
    ws = await websockets.connect(ws_url, sock=s, subprotocols=['soap', 'rtsp.onvif.org'], max_size=None,
        max_queue=4, ping_interval=None, open_timeout=60, close_timeout=60)
    buf, seen = bytearray(), dict(frames=0, missed=0, odd=0, answers=0, skips=0)
    file = open(save, 'wb') if save else None
    async def item():
        while True:
            if buf[:1] == b'$':
                n = 4 + int.from_bytes(buf[2:4], 'big')
                if len(buf) >= max(n, 4):
                    got = bytes(buf[:n]); del buf[:n]
                    return got[1], got[4:]
            elif buf:
                assert b'RTSP/1.0 '.startswith(bytes(buf[:9])), bytes(buf[:40])
                end = buf.find(b'\r\n\r\n') + 4
                if end > 3:
                    head = bytes(buf[:end]).decode()
                    n = end + sum(int(l.split(':')[1]) for l in head.split('\r\n') if l.startswith('Content-Length'))
                    if len(buf) >= n:
                        text = bytes(buf[:n]).decode(); del buf[:n]
                        return None, text
            message = await asyncio.wait_for(ws.recv(), 60)
            assert isinstance(message, bytes)
            # each packet and each answer is a message of its own here
            seen['odd'] += not (message[:5] == b'RTSP/' or
                message[:1] == b'$' and len(message) == 4 + int.from_bytes(message[2:4], 'big'))
            buf.extend(message)
    cseq, session = 0, ''
    def request(verb, path='', more=''):
        nonlocal cseq
        cseq += 1
        return f'{verb} {rtsp}{path} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{more}\r\n'.encode()
    async def answer():
        while True:
            channel, data = await item()
            if channel is None:
                return data
    async def ask(verb, path='', more=''):
        await ws.send(request(verb, path, more))
        text = await answer()
        assert text.startswith('RTSP/1.0 200') and f'CSeq: {cseq}\r\n' in text, text
        return text
    await ask('OPTIONS')
    await ask('DESCRIBE')
    text = await ask('SETUP', '/trackID=0', 'Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n')
    session = 'Session: ' + [l for l in text.split('\r\n') if l.startswith('Session: ')][0][9:].split(';')[0] + '\r\n'
    await ask('SETUP', '/trackID=1', 'Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n')
    await ask('PLAY')
    print('plays', flush=True)
    async def wait():
        global told
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        told = True
    waits = asyncio.create_task(wait()) if way != 'count' else None
    last, whole, left, asked, unit = None, False, want, False, bytearray()
    while left > 0:
        if way == 'slow' and not told:
            await asyncio.sleep(0.1)
        channel, data = await item()
        if channel is None:
            seen['answers'] += 1
        if channel != 0:
            continue
        seq = int.from_bytes(data[2:4], 'big')
        if last is not None and (last + 1) & 0xffff != seq:
            seen['missed'] += 1
            whole = False
            unit.clear()
        last = seq
        at = 12 + 4 * (data[0] & 15)
        payload, marker = data[at:], data[1] & 0x80
        kind = payload[0] & 31
        if kind == 7:
            whole = True
        if file and whole:
            if kind == 28:
                if payload[1] & 0x80:
                    unit.extend(b'\0\0\0\1' + bytes([payload[0] & 0xe0 | payload[1] & 31]))
                unit.extend(payload[2:])
            else:
                unit.extend(b'\0\0\0\1' + payload)
        if marker and whole:
            if file:
                file.write(unit)
            unit.clear()
            seen['frames'] += 1
            # what was skipped lies behind what was under way
            left -= way == 'count' or told and (way == 'witness' or seen['missed'] > 0)
        if seen['frames'] == 5 and not asked and way == 'count':
            asked = True
            # a request in parts, another byte by byte, and a ping between
            text = request('GET_PARAMETER')
            await ws.send([text[:1], text[1:20], b'', text[20:]])
            pong = await ws.ping(b'are you there')
            for byte in request('GET_PARAMETER'):
                await ws.send(bytes([byte]))
            waiting = asyncio.create_task(asyncio.wait_for(pong, 60))
    if way == 'count':
        await waiting
    if file:
        file.close()
    await ask('TEARDOWN')
    await ws.close()
    seen.update(protocol=ws.subprotocol, code=ws.close_code, extensions=len(ws.extensions))
    print(json.dumps(seen), flush=True)
    # a thread may wait for its input for ever
    import os
    os._exit(0)
asyncio.run(asyncio.wait_for(main(), 170))
"#;

/// Stands between: `out` takes RTSP by TCP and carries it to streamd's WebSocket, `in` is the web
/// server of a camera and carries it to its TCP. Cuts the bytes and the messages as it likes, and
/// wants its pings answered.
const BRIDGE: &str = r#"
import asyncio, base64, hashlib, http, random, re, sys, websockets
mode, target, auth = sys.argv[1:4]
cut = random.Random(7)
md5 = lambda *parts: hashlib.md5(':'.join(parts).encode()).hexdigest()
async def join(ws, reader, writer):
    # a camera drops packets of who does not take them at once: they wait here instead
    came = asyncio.Queue()
    async def take():
        while data := await reader.read(65536):
            came.put_nowait(data)
        came.put_nowait(b'')
    async def there():
        while data := await came.get():
            at = cut.randrange(len(data))
            await ws.send(cut.choice([data, [data[:at], data[at:]], [data, b''], [b'', data[:at], b'', data[at:]]]))
            if cut.randrange(20) == 0:
                await ws.send(b'')
            if cut.randrange(20) == 0:
                pong = await ws.ping(b'?' * cut.choice([1, 125]))
                pong.add_done_callback(lambda _: print('pong', flush=True))
    async def back():
        async for message in ws:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
    taking = asyncio.create_task(take())
    tasks = {asyncio.create_task(there()), asyncio.create_task(back())}
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in [taking, *rest]: task.cancel()
    for task in done:
        if task.exception() and not isinstance(task.exception(), (OSError, websockets.ConnectionClosed)):
            print('broken', repr(task.exception()), flush=True)
    writer.close()
    await ws.close()
    print('closed', ws.close_code, flush=True)
async def from_tcp(reader, writer):
    async with websockets.connect(target, subprotocols=['rtsp.onvif.org'], max_size=None) as ws:
        assert ws.subprotocol == 'rtsp.onvif.org'
        await join(ws, reader, writer)
async def from_ws(ws, path):
    assert ws.subprotocol == 'rtsp.onvif.org', ws.subprotocol
    print('opened', flush=True)
    host, port = target.split(':')
    await join(ws, *await asyncio.open_connection(host, int(port)))
async def gate(path, headers):
    if not path.startswith('/ws'):
        return http.HTTPStatus.NOT_FOUND, [], b''
    said = headers.get('Authorization', '')
    if auth == 'basic':
        good = said == 'Basic ' + base64.b64encode(b'admin:pa:ss').decode()
    elif auth == 'digest':
        f = dict(re.findall(r'(\w+)="?([^",]+)"?', said))
        good = said.startswith('Digest') and f['uri'] == path and f['response'] == md5(
            md5('admin', 'cam', 'pa:ss'), 'n1', f['nc'], f['cnonce'], 'auth', md5('GET', path))
    else:
        good = True
    if not good:
        ask = 'Basic realm="cam"' if auth == 'basic' else 'Digest realm="cam", nonce="n1", qop="auth"'
        return http.HTTPStatus.UNAUTHORIZED, [('WWW-Authenticate', ask)], b'no'
async def main():
    if mode == 'out':
        server = await asyncio.start_server(from_tcp, '127.0.0.1', 0)
    else:
        server = await websockets.serve(from_ws, '127.0.0.1', 0, subprotocols=['rtsp.onvif.org'],
            process_request=gate, max_size=None)
    print(list(server.sockets)[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"#;

/// A camera by TCP.
const CAMERA: &str = r#"
import gi
gi.require_version('Gst', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address('127.0.0.1')
server.set_service('0')
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch('( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 ! '
    'x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=400 ! rtph264pay name=pay0 pt=96 '
    'audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8 )')
factory.set_shared(True)
server.get_mount_points().add_factory('/ch0', factory)
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"#;

/// A script at work, and what it says.
struct Script {
    guard: Guard,
    out: BufReader<ChildStdout>,
}

impl Script {
    fn start(text: &str, args: &[&str]) -> Script {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-uc", text]).args(args);
        let mut child: Child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed for this test");
        let out = BufReader::new(child.stdout.take().unwrap());
        Script { guard: Guard(child), out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert!(
            !line.is_empty(),
            "python3-websockets, python3-gi and gst-rtsp-server are needed for this test"
        );
        line.trim().to_owned()
    }

    /// Reads until a line begins like this.
    fn until(&mut self, word: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(word) {
                return line;
            }
        }
    }

    fn tell(&mut self) {
        self.guard.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
}

fn start(more: &str) -> (Streamd, String) {
    let config = "api: {listen: \"127.0.0.1:0\"}\nrtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  inbox:\n  \
                  cam: demo:sub?audio=alaw\n  big: demo:sub?audio=alaw&bitrate=3000000\n";
    let it = Streamd::start(&format!("{config}{more}"));
    let status = it.local("GET", "/api/status", "").json();
    let rtsp = items(&status, "listening").iter().find_map(|l| l.as_str()?.strip_prefix("RTSP rtsp://"));
    let address = rtsp.expect("it serves RTSP").trim_end_matches('/').to_owned();
    (it, address)
}

fn play(address: &str, name: &str, way: &str, frames: u32, save: &str) -> Script {
    let (ws, rtsp) = (format!("ws://{address}/any/path"), format!("rtsp://{address}/{name}"));
    let mut script = Script::start(PLAYER, &[&ws, &rtsp, way, &frames.to_string(), save]);
    assert_eq!(script.line(), "plays");
    script
}

fn result(script: &mut Script) -> Value {
    parse(script.line().as_bytes()).unwrap()
}

/// Pictures that ffmpeg decodes of a file, in silence.
fn decoded(file: &str) -> usize {
    let check =
        tool("ffmpeg", &["-v", "warning", "-err_detect", "explode", "-i", file, "-f", "framecrc", "-"], "");
    assert!(check.code == 0 && check.err.is_empty(), "{file}: {}", check.err);
    check.out.lines().filter(|l| !l.starts_with('#')).count()
}

fn rtsp_consumers(it: &Streamd, name: &str) -> Vec<Value> {
    let stream = it.stream(name);
    items(&stream, "consumers").iter().filter(|c| text(c, "format_name") == "rtsp").cloned().collect()
}

/// A page plays: every picture comes, each packet in a message of its own; requests in parts are
/// read, pings answered, and the goodbye too.
#[test]
fn a_page_plays_every_picture() {
    let (it, address) = start("");
    let file = it.folder.path("a.h264");
    let mut script = play(&address, "cam", "count", 30, file.to_str().unwrap());
    let seen = result(&mut script);
    assert_eq!((int(&seen, "frames"), int(&seen, "missed"), int(&seen, "odd")), (30, 0, 0), "{seen:?}");
    assert_eq!((text(&seen, "protocol"), int(&seen, "code")), ("rtsp.onvif.org", 1000), "{seen:?}");
    assert_eq!((int(&seen, "answers"), int(&seen, "extensions")), (2, 0), "{seen:?}");
    assert_eq!(decoded(file.to_str().unwrap()), 30);
    wait_until("the viewer to be gone", || rtsp_consumers(&it, "cam").is_empty());
}

/// Whoever reads too slowly skips pictures; the messages stay whole, and what comes after the gap
/// can be decoded.
#[test]
fn a_slow_page_gets_whole_messages_after_a_gap() {
    let (it, address) = start("");
    let file = it.folder.path("a.h264");
    let mut script = play(&address, "big", "slow", 10, file.to_str().unwrap());
    let viewer = wait_for("pictures to be skipped", || {
        rtsp_consumers(&it, "big").into_iter().find(|c| int(c, "drops") > 0)
    });
    assert_eq!(text(&viewer, "protocol"), "rtsp+ws");
    script.tell();
    let seen = result(&mut script);
    assert!(int(&seen, "missed") > 0 && int(&seen, "odd") == 0, "{seen:?}");
    assert_eq!(int(&seen, "code"), 1000, "{seen:?}");
    let frames = int(&seen, "frames");
    assert_eq!(decoded(file.to_str().unwrap()) as i64, frames);
}

/// ffmpeg knows no WebSocket; through a bridge it publishes and watches by one all the same.
#[test]
fn ffmpeg_publishes_and_watches_through_a_bridge() {
    let (it, address) = start("");
    let mut bridge = Script::start(BRIDGE, &["out", &format!("ws://{address}/rtsp"), ""]);
    let url = format!("rtsp://127.0.0.1:{}/inbox", bridge.line());
    let publish = "-v fatal -re -f lavfi -i testsrc=size=320x240:rate=25 -c:v libx264 -preset ultrafast \
                   -tune zerolatency -g 25 -f rtsp -rtsp_transport tcp";
    let mut command = Command::new("ffmpeg");
    command.args(publish.split_whitespace()).arg(&url);
    let _publisher = Guard(command.stdin(Stdio::null()).spawn().expect("ffmpeg is needed for this test"));
    wait_until("the publisher", || !items(&it.stream("inbox"), "producers").is_empty());
    let stream = it.stream("inbox");
    assert_eq!(text(producer(&stream), "protocol"), "rtsp+ws");
    let args = ["-v", "error", "-rtsp_transport", "tcp", "-i", &url, "-map", "0:v", "-frames:v", "20"];
    let all: Vec<&str> = ["55", "ffmpeg"].into_iter().chain(args).chain(["-f", "framecrc", "-"]).collect();
    let seen = tool("timeout", &all, "");
    assert_eq!(seen.out.lines().filter(|l| !l.starts_with('#')).count(), 20, "{}", seen.err);
}

/// What `streamd probe` says of a source; its picture lands in a file.
fn probe(source: &str, save: &str) -> Run {
    run(&["probe", "-c", "{}", "--json", "--seconds", "55", "--frames", "30", "--save", save, source], "")
}

fn watched(source: &str, folder: &Folder) {
    let save = folder.path("a");
    let look = || {
        let seen = probe(source, save.to_str().unwrap());
        assert_eq!(seen.code, 0, "{source}: {}", seen.err);
        parse(seen.out.as_bytes()).unwrap()
    };
    let whole = |seen: &Value| items(seen, "tracks").iter().all(|t| int(t, "gaps") == 0);
    // on a busy machine the camera itself may leave something out: then once more
    let seen = (0..4).map(|_| look()).find(whole).unwrap_or_else(look);
    assert_eq!(text(&seen, "format"), "rtsp");
    let tracks = items(&seen, "tracks");
    assert_eq!((tracks.len(), text(&tracks[0], "codec"), text(&tracks[1], "codec")), (2, "H264", "PCMA"));
    assert_eq!((int(&tracks[0], "gaps"), int(&tracks[1], "gaps")), (0, 0), "{source}");
    let frames = int(&tracks[0], "frames");
    assert!(frames >= 10, "{source}: {frames}");
    assert_eq!(decoded(&format!("{}.h264", save.display())) as i64, frames, "{source}");
}

/// streamd watches streamd by WebSocket, with a key, and passes on what it sees in the same way.
#[test]
fn streamd_watches_streamd() {
    let (camera, address) = start("users:\n  - {name: anna, password: geheim}\n");
    let source = |user: &str| format!("rtsp+ws://{user}@{address}/cam#backchannel=0");
    watched(&source("anna:geheim"), &camera.folder);
    for (user, want) in [("anna:falsch", "password is wrong"), ("", "password are needed")] {
        let said = probe(&source(user), "/nowhere/a");
        assert!(said.code != 0 && said.err.contains(want), "{user}: {}", said.err);
    }
    let (keeper, again) = start(&format!("  far: {}\n", source("anna:geheim")));
    watched(&format!("rtsp+ws://{again}/far"), &keeper.folder);
    let far = keeper.stream("far");
    assert_eq!(text(producer(&far), "protocol"), "rtsp+ws");
    wait_until("the camera to be left", || {
        items(&keeper.stream("far"), "consumers").is_empty() && rtsp_consumers(&camera, "cam").is_empty()
    });
}

/// A camera behind a web server that wants Digest or Basic, cuts messages anywhere and pings.
#[test]
fn a_camera_behind_a_web_server() {
    let mut camera = Script::start(CAMERA, &[]);
    let port = camera.line();
    let folder = Folder::new();
    for auth in ["none", "digest", "basic"] {
        let mut bridge = Script::start(BRIDGE, &["in", &format!("127.0.0.1:{port}"), auth]);
        let web = bridge.line();
        let user = if auth == "none" { "" } else { "admin:pa%3Ass@" };
        watched(&format!("rtsp://{user}127.0.0.1:{port}/ch0#transport=ws://127.0.0.1:{web}/ws?x=1"), &folder);
        assert_eq!(bridge.line(), "opened");
        bridge.until("pong");
        bridge.until("closed");
        let save = folder.path("b");
        let save = save.to_str().unwrap();
        let refused = |source: String, want: &str| {
            let said = probe(&source, save);
            assert!(said.code != 0 && said.err.contains(want), "{source}: {}", said.err);
            assert!(!said.err.contains("pa:ss") && !said.err.contains("pa%3Ass"), "{}", said.err);
        };
        refused(format!("rtsp+ws://{user}127.0.0.1:{web}/other"), "no WebSocket at this address");
        if auth != "none" {
            refused(format!("rtsp+ws://127.0.0.1:{web}/ws"), "a user name and a password are needed");
            refused(
                format!("rtsp+ws://admin:wrong@127.0.0.1:{web}/ws"),
                "the user name or the password is wrong",
            );
        }
    }
}

/// A connection that says what it is told.
struct Raw(TcpStream);

impl Raw {
    fn new(address: &str) -> Raw {
        let stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        // whoever is thrown out may not be able to finish
        let _ = self.0.write_all(bytes);
    }

    /// The head of the answer to a GET with these fields.
    fn get(&mut self, fields: &str) -> String {
        self.send(format!("GET /x HTTP/1.1\r\nHost: 127.0.0.1:1\r\n{fields}\r\n").as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// One that is a WebSocket.
    fn open(address: &str) -> Raw {
        let mut raw = Raw::new(address);
        let head = raw.get(GOOD);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        raw
    }

    /// Everything until the end of the connection.
    fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let read = self.0.read_to_end(&mut all);
        assert!(read.is_ok() || !all.is_empty(), "{read:?}");
        all
    }
}

const GOOD: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Masked with zeros, which is a mask too.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let mut out = vec![first];
    match n {
        0..126 => out.push(0x80 | n as u8),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// Openings that are none get a status, and pages of other sites stay outside while there is no key.
#[test]
fn openings_that_are_refused() {
    let (_it, address) = start("");
    let ask = |fields: &str| Raw::new(&address).get(fields);
    for (from, to, status) in [
        ("Version: 13", "Version: 8", "426"),
        ("websocket", "h2c", "426"),
        ("n: Upgrade", "n: close", "426"),
        ("dGhl", "", "400"),
        ("Sec-WebSocket-Key", "X", "400"),
    ] {
        let head = ask(&GOOD.replace(from, to));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {head}");
        assert!(head.contains("Sec-WebSocket-Version: 13\r\n"), "{head}");
    }
    let head = ask(&format!("{GOOD}Sec-WebSocket-Protocol: soap, rtsp.onvif.org\r\n"));
    assert!(head.contains("\r\nSec-WebSocket-Protocol: rtsp.onvif.org\r\n"), "{head}");
    assert!(!ask(&format!("{GOOD}Sec-WebSocket-Protocol: soap\r\n")).contains("Socket-Protocol"));
    // a page may be anybody's: that it is shown on this machine opens nothing
    let mut page = Raw::new(&address);
    assert!(page.get(&format!("{GOOD}Origin: http://evil.example\r\n")).starts_with("HTTP/1.1 101 "));
    page.send(&frame(0x82, format!("DESCRIBE rtsp://{address}/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n").as_bytes()));
    page.send(&frame(0x88, &[]));
    let said = page.rest();
    assert!(String::from_utf8_lossy(&said).contains("RTSP/1.0 403 "), "{}", String::from_utf8_lossy(&said));
    let (_open, address) = start("open: true\n");
    let origin = |name: &str| Raw::new(&address).get(&format!("{GOOD}Origin: http://{name}\r\n"));
    assert!(origin("evil.example").starts_with("HTTP/1.1 403 "));
    assert!(origin("127.0.0.1:1984").starts_with("HTTP/1.1 101 "));
}

fn descriptors(it: &Streamd) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", it.pid())).unwrap().count()
}

/// Whatever comes instead of messages: the right goodbye, and nobody else notices.
#[test]
fn hostile_messages_hurt_nobody_else() {
    let (it, address) = start("");
    let mut witness = play(&address, "cam", "witness", 5, "");
    let before = descriptors(&it);
    let options = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
    let part = [&frame(0x02, &options[..9])[..], &frame(0x80, &options[9..])].concat();
    let masked = {
        let mut bytes = vec![0x81, 0x80 | options.len() as u8, 1, 2, 3, 4];
        bytes.extend(options.iter().enumerate().map(|(i, b)| b ^ (i as u8 % 4 + 1)));
        bytes
    };
    // what is sent, what is answered before the goodbye, and its code
    let cases: &[(Vec<u8>, &str, u16)] = &[
        (part, "RTSP/1.0 200 OK", 0),
        (masked, "RTSP/1.0 200 OK", 0),
        (vec![0x82, 0x01, b'x'], "", 1002),
        (vec![0xc2, 0x80, 0, 0, 0, 0], "", 1002),
        (vec![0x83, 0x80, 0, 0, 0, 0], "", 1002),
        (vec![0x89, 0xfe, 0, 126], "", 1002),
        (frame(0x09, b"?"), "", 1002),
        (frame(0x80, b"more of nothing"), "", 1002),
        ([frame(0x02, b"OPT"), frame(0x82, b"IONS")].concat(), "", 1002),
        (vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0], "", 1002),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "", 1002),
        (frame(0x81, b"\xff\xfe"), "", 1007),
        (frame(0x88, &1005u16.to_be_bytes()), "", 1002),
        (frame(0x88, &[3]), "", 1002),
        (frame(0x88, &4000u16.to_be_bytes()), "", 4000),
        (frame(0x82, b"\0\x01\x02 garbage"), "RTSP/1.0 400 Bad Request", 1000),
        (frame(0x82, b"$\0\xff\xff"), "RTSP/1.0 413 ", 1000),
        (frame(0x82, b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), "HTTP/1.0 400 ", 1000),
        (frame(0x82, b"GET /x HTTP/1.1\r\nx-sessioncookie: a\r\n\r\n"), "HTTP/1.0 400 ", 1000),
    ];
    for (bytes, answer, code) in cases {
        for cut in [1, bytes.len()] {
            let mut raw = Raw::open(&address);
            for piece in bytes.chunks(cut) {
                raw.send(piece);
            }
            if *code == 0 {
                raw.send(&frame(0x88, &[]));
            }
            let said = raw.rest();
            let told = String::from_utf8_lossy(&said);
            assert!(told.contains(answer), "{bytes:x?}: {said:x?}");
            let goodbye =
                if *code == 0 { vec![0x88, 0] } else { [&[0x88, 2][..], &code.to_be_bytes()].concat() };
            assert!(said.ends_with(&goodbye), "{bytes:x?}: {said:x?}");
        }
    }
    // a message behind the GET in one packet is read too
    let mut raw = Raw::new(&address);
    let early = format!("GET / HTTP/1.1\r\n{GOOD}\r\n");
    raw.send(&[early.as_bytes(), &frame(0x82, options), &frame(0x88, &[])].concat());
    assert!(String::from_utf8_lossy(&raw.rest()).contains("RTSP/1.0 200 OK"));
    // pings that nobody reads the answers of, messages of nothing, frames that promise much
    let mut crowd: Vec<Raw> = (0..20).map(|_| Raw::open(&address)).collect();
    for raw in &mut crowd {
        raw.0.set_nonblocking(true).unwrap();
        raw.send(&frame(0x89, &[7; 125]).repeat(5000));
        raw.send(&[0x02, 0x80, 0, 0, 0, 0]);
        raw.send(&[0x00, 0x80, 0, 0, 0, 0].repeat(20_000));
    }
    for _ in 0..20 {
        let mut raw = Raw::open(&address);
        raw.send(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        raw.send(&options.repeat(100));
        crowd.push(raw);
    }
    drop(crowd);
    witness.tell();
    let seen = result(&mut witness);
    assert_eq!((int(&seen, "missed"), int(&seen, "odd")), (0, 0), "{seen:?}");
    wait_until("the descriptors to be back", || descriptors(&it) < before);
}
