//! Cameras that speak RTSP, as sources: gst-rtsp-server plays the camera, `streamd probe` and the
//! running program watch it, and ffmpeg has to decode what came without a word of complaint.
#![cfg(feature = "rtsp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use streamd::net::json::{self, Value};

/// The camera: port, users, transports and pipeline from its arguments; says its port when ready.
const CAMERA: &str = r#"
import sys, gi
gi.require_version('Gst', '1.0')
gi.require_version('GstRtsp', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
port, auth, carrier, onvif, launch = sys.argv[1:6]
onvif = onvif == 'onvif'
server = GstRtspServer.RTSPOnvifServer() if onvif else GstRtspServer.RTSPServer()
server.set_address('127.0.0.1')
server.set_service(port)
factory = GstRtspServer.RTSPOnvifMediaFactory() if onvif else GstRtspServer.RTSPMediaFactory()
if onvif:
    factory.set_media_gtype(GstRtspServer.RTSPOnvifMedia)
    factory.set_backchannel_launch(sys.argv[6])
factory.set_launch(launch)
# a speaker that is added to media which already plays stays mute now and then
factory.set_shared(not onvif)
trans = {'tcp': GstRtsp.RTSPLowerTrans.TCP, 'udp': GstRtsp.RTSPLowerTrans.UDP,
         'both': GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP}[carrier]
factory.set_protocols(trans)
if auth != 'none':
    keeper = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string('media.factory.role', 'user')
    if auth == 'basic':
        keeper.add_basic(GstRtspServer.RTSPAuth.make_basic('admin', 'pa:ss'), token)
    else:
        keeper.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        keeper.add_digest('admin', 'pa:ss', token)
    server.set_auth(keeper)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role('user', 'media.factory.access', True)
    permissions.add_permission_for_role('user', 'media.factory.construct', True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory('/ch0', factory)
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"#;

const H264: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=400 ! rtph264pay name=pay0 pt=96";
const H265: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=10/1 ! \
    x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=400 log-level=none ! rtph265pay name=pay0 pt=96";
const PCMA: &str = "audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8";
const AAC: &str = "audiotestsrc is-live=true ! audio/x-raw,rate=16000,channels=1 ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97";
const OPUS: &str =
    "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay name=pay1 pt=98";

/// How long something may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

struct Camera {
    child: Child,
    port: u16,
    arguments: Vec<String>,
}

impl Camera {
    fn new(auth: &str, carrier: &str, launch: &[&str]) -> Camera {
        let launch = format!("( {} )", launch.join(" "));
        Camera::start(vec!["0".into(), auth.into(), carrier.into(), "plain".into(), launch])
    }

    fn start(arguments: Vec<String>) -> Camera {
        let mut child = Command::new("/usr/bin/python3")
            .arg("-c")
            .arg(CAMERA)
            .args(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed for this test");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port =
            line.trim().parse().expect("python3-gi and gir1.2-gst-rtsp-server-1.0 are needed for this test");
        Camera { child, port, arguments }
    }

    fn url(&self, user: &str) -> String {
        format!("rtsp://{user}127.0.0.1:{}/ch0", self.port)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The same camera after it lost its power.
    fn again(&mut self) {
        self.kill();
        let mut arguments = std::mem::take(&mut self.arguments);
        arguments[0] = self.port.to_string();
        *self = Camera::start(arguments);
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("streamd-rtsp-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn streamd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_streamd"))
}

/// What `streamd probe` says of a source.
fn probe(source: &str, frames: u32, save: &str) -> Result<Value, String> {
    let output = streamd()
        .args(["probe", "-c", "{}", "--json", "--seconds", "60"])
        .args(["--frames", &frames.to_string(), "--save", save, source])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(json::parse(&output.stdout).unwrap())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn int(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_int).unwrap_or(-1)
}

/// Frames that ffmpeg decodes; it has to do it in silence.
fn decoded(file: &str) -> i64 {
    // Of sound alone ffmpeg says that it guesses the layout or the length: only errors count there.
    let level = if file.ends_with(".wav") || file.ends_with(".aac") { "error" } else { "warning" };
    let mut check = Command::new("ffmpeg");
    check.args(["-v", level, "-err_detect", "explode", "-i", file, "-f", "null", "-"]);
    let output = check.output().expect("ffmpeg is needed for this test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{file}: {said}");
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=nb_read_frames",
            "-of",
            "csv=p=0",
            file,
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// Watches a camera and checks its picture, and its sound if there is one.
fn watch(name: &str, source: &str, video: (&str, &str), sound: Option<(&str, &str, i64)>) -> Value {
    let folder = Folder::new(name);
    let seen = probe(source, 30, &folder.file("a")).unwrap();
    assert_eq!(text(&seen, "format"), "rtsp");
    let tracks = seen.get("tracks").unwrap().items();
    assert_eq!(tracks.len(), 1 + usize::from(sound.is_some()), "{name}");
    let picture = &tracks[0];
    assert_eq!(text(picture, "codec"), video.0);
    assert_eq!((int(picture, "width"), int(picture, "height")), (320, 240), "{name}");
    assert_eq!(int(picture, "gaps"), 0, "{name}");
    let frames = int(picture, "frames");
    assert!(frames >= 15 && int(picture, "key_frames") >= 2, "{name}: {frames} frames");
    assert_eq!(decoded(&folder.file(video.1)), frames, "{name}: frames were lost on the way");
    if let Some((codec, file, rate)) = sound {
        let track = &tracks[1];
        assert_eq!(
            (text(track, "codec"), int(track, "rate"), int(track, "gaps")),
            (codec, rate, 0),
            "{name}"
        );
        assert!(int(track, "frames") >= 10, "{name}");
        if !file.is_empty() {
            assert!(decoded(&folder.file(file)) > 0, "{name}");
        }
    }
    seen
}

#[test]
fn a_camera_by_tcp() {
    let camera = Camera::new("none", "both", &[H264, PCMA]);
    watch("tcp", &camera.url(""), ("H264", "a.h264"), Some(("PCMA", "a.wav", 8000)));
}

#[test]
fn a_camera_by_udp_with_digest() {
    let camera = Camera::new("digest", "both", &[H264, AAC]);
    let source = format!("{}#transport=udp", camera.url("admin:pa%3Ass@"));
    watch("udp", &source, ("H264", "a.h264"), Some(("MPEG4-GENERIC", "a.aac", 16_000)));
}

#[test]
fn a_camera_with_basic_and_opus() {
    let camera = Camera::new("basic", "tcp", &[H264, OPUS]);
    watch("basic", &camera.url("admin:pa:ss@"), ("H264", "a.h264"), Some(("OPUS", "", 48_000)));
}

#[test]
fn a_camera_of_h265_without_sound() {
    let camera = Camera::new("none", "tcp", &[H265]);
    watch("h265", &camera.url(""), ("H265", "a.h265"), None);
}

/// One asks for UDP and the camera has only TCP, the other way round, and only one media is wanted.
#[test]
fn the_other_transport_is_tried() {
    let camera = Camera::new("none", "tcp", &[H264, PCMA]);
    watch("fall-back", &format!("{}#transport=udp#media=video", camera.url("")), ("H264", "a.h264"), None);
    let camera = Camera::new("none", "udp", &[H264]);
    watch("only-udp", &camera.url(""), ("H264", "a.h264"), None);
    let refused = probe(&format!("{}#transport=tcp", camera.url("")), 4, "/nowhere/a").unwrap_err();
    assert!(refused.contains("SETUP was answered with 461"), "{refused}");
}

#[test]
fn a_wrong_password_or_path_is_said_in_a_sentence_without_the_password() {
    let camera = Camera::new("digest", "tcp", &[H264]);
    for (source, want) in [
        (camera.url("admin:secret@"), "the user name or the password is wrong"),
        (camera.url(""), "a user name and a password are needed"),
        (camera.url("admin:pa:ss@").replace("ch0", "ch9"), "no stream at this address"),
        (format!("{}#transport=smoke", camera.url("")), "expected tcp, udp or ws://host/path"),
        ("rtsps://127.0.0.1/ch0".to_string(), "no TLS"),
    ] {
        let said = probe(&source, 2, "/nowhere/a").unwrap_err();
        assert!(
            said.contains(want) && !said.contains("secret") && !said.contains("pa:ss"),
            "{source}: {said}"
        );
    }
}

/// A camera with the manners of several: sends us elsewhere first (301), knows only SHA-256 (new
/// Hikvision OEM), checks each answer with Python's own hashes, gives another session id and channel
/// than asked, sends packets before the answer to PLAY, line ends before `$`, junk between, asks
/// OPTIONS of us, and notes a goodbye.
const ODD: &str = r#"
import hashlib, os, re, socket, struct, sys, threading, time
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
h = lambda *parts: hashlib.sha256(':'.join(parts).encode()).hexdigest()
def serve(s):
    f, nonce, seen = s.makefile('rb'), os.urandom(8).hex(), set()
    def say(head, body=''):
        s.sendall(('RTSP/1.0 %s\r\nCSeq: %s\r\nContent-Length: %d\r\n\r\n%s' % (head, cseq, len(body), body)).encode())
    def rtp(n):
        return struct.pack('>BBHIIBBHII', 36, 4, 172, 0, 0, 0, 0, 0, 0, 0)[:4] + struct.pack('>BBHII', 128, 8, n, n * 160, 7) + bytes([n % 251]) * 160
    while True:
        lines = []
        while f.peek(1)[:1] == b'$':
            f.read(struct.unpack('>HH', f.read(4))[1])
        while (line := f.readline()) not in (b'\r\n', b''):
            lines.append(line.decode().strip())
        if not lines: return
        verb, uri = lines[0].split(' ')[:2]
        if verb == 'RTSP/1.0':
            print('ANSWERED', flush=True)
            continue
        fields = dict(l.split(': ', 1) for l in lines[1:])
        cseq = fields['CSeq']
        print(verb, flush=True)
        if uri.endswith('/old'):
            say('301 Moved\r\nLocation: ' + uri.replace('/old', '/new'))
            return s.close()
        auth = dict(re.findall(r'(\w+)="?([^",]+)"?', fields.get('Authorization', '')))
        good = auth.get('nonce') == nonce and auth['uri'] == uri and auth['nc'] not in seen and auth['response'] == h(
            h('admin', 'IP, Camera', 'pass'), nonce, auth['nc'], auth['cnonce'], 'auth', h(verb, uri))
        if not good:
            say('401 Unauthorized\r\nWWW-Authenticate: Basic realm="x", Digest qop="auth", realm="IP, Camera", nonce="%s", algorithm=SHA-256' % nonce)
            continue
        seen.add(auth['nc'])
        if verb == 'DESCRIBE':
            say('200 OK\r\nContent-Base: 192.168.1.1:554/new/', 'v=0\ns=\ns=x\nm=audio 0 RTP/AVP 8 \na=control:track1')
        elif verb == 'SETUP':
            assert uri.endswith('/new/track1'), uri
            say('200 OK\r\nSession:  4 ;timeout=4\r\nTransport: RTP/AVP;unicast;ssrc= 7;interleaved=4')
        elif verb == 'PLAY':
            s.sendall(rtp(0)); say('200 OK')
            def flow():
                for n in range(1, 1000):
                    s.sendall((b'\r\n' if n % 7 == 0 else b'') + (b'junk!' if n % 11 == 0 else b'') + rtp(n))
                    if n == 20: s.sendall(b'OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n')
                    time.sleep(0.02)
            def flowing():
                try: flow()
                except OSError: pass
            threading.Thread(target=flowing, daemon=True).start()
        elif verb == 'OPTIONS': say('200 OK\r\nPublic: OPTIONS, GET_PARAMETER')
        else: say('200 OK')
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn a_camera_with_odd_manners() {
    let mut child =
        Command::new("/usr/bin/python3").arg("-uc").arg(ODD).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let port = told.recv_timeout(PATIENCE).unwrap();
    let folder = Folder::new("odd");
    // four seconds: long enough for a keepalive every two
    let seen = probe(&format!("rtsp://admin:pass@127.0.0.1:{port}/old"), 200, &folder.file("a"));
    let mut said = Vec::new();
    while said.last().is_none_or(|verb| verb != "TEARDOWN") {
        said.push(told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no goodbye: {said:?} {seen:?}")));
    }
    let _ = child.kill();
    let _ = child.wait();
    let seen = seen.unwrap_or_else(|e| panic!("{e} {said:?}"));
    let track = &seen.get("tracks").unwrap().items()[0];
    assert_eq!((text(track, "codec"), int(track, "gaps")), ("PCMA", 0), "{seen:?} {said:?}");
    assert!(int(track, "frames") > 50 && int(track, "bytes") == int(track, "frames") * 160, "{seen:?}");
    let count = |verb: &str| said.iter().filter(|v| *v == verb).count();
    assert!(count("GET_PARAMETER") >= 1 && count("OPTIONS") == 1, "{said:?}");
    assert_eq!((count("ANSWERED"), count("TEARDOWN"), count("PLAY")), (1, 1, 1), "{said:?}");
}

/// Ports behind which there is no camera, or one that was taken over.
#[test]
fn whatever_answers_streamd_says_what_was_wrong() {
    let endless = b"RTSP/1.0 200 OK\r\nA: ".iter().copied().chain(std::iter::repeat_n(b'a', 1 << 20));
    let garbage = std::iter::repeat_n(b"$\x63\xff\xffxyz ", 1 << 17).flatten().copied();
    for (answer, want) in [
        (Vec::new(), "closed instead of an answer to DESCRIBE"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "closed instead of an answer"),
        (endless.collect::<Vec<_>>(), "RTSP"),
        (garbage.collect(), ""),
        (
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n".to_vec(),
            "body of 99999999 bytes",
        ),
        (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_vec(), "SDP without a media line"),
        (b"RTSP/1.0 302 X\r\nCSeq: 1\r\nLocation: http://x/\r\n\r\n".to_vec(), "expected an rtsp:// address"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(&answer);
        });
        let said = probe(&format!("rtsp://127.0.0.1:{port}/#backchannel=0"), 2, "/nowhere/a").unwrap_err();
        thread.join().unwrap();
        assert!(said.contains(want) && said.contains(&port.to_string()), "{want}: {said}");
    }
}

/// The program itself, with what it was asked to stream.
struct House {
    child: Child,
    api: String,
}

impl House {
    fn new(config: &str) -> House {
        let mut child = streamd()
            .args(["-c", "{api: {listen: '127.0.0.1:0'}, ctl: {socket: ''}, rtsp: {listen: ''}, open: true}"])
            .args(["-c", &format!("{{{config}}}")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serves = log.find(|line| line.contains("serves")).expect("streamd ended");
        let api = serves.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let api = api.unwrap_or_else(|| panic!("no address in: {serves}")).to_owned();
        // nobody may stop because nobody reads what he says
        std::thread::spawn(move || log.for_each(|line| eprintln!("streamd: {line}")));
        House { child, api }
    }

    fn ask(&self, method: &str, target: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.api).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.api
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).ok()?;
        let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
        let status = String::from_utf8_lossy(all.get(9..12)?).parse().ok()?;
        Some((status, all.split_off(end + 4)))
    }

    fn stream(&self) -> Option<Value> {
        json::parse(&self.ask("GET", "/api/streams?src=cam")?.1).ok()
    }

    /// Asks until the stream is as it should be.
    fn until(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < end {
            if let Some(stream) = self.stream() {
                if good(&stream) {
                    return stream;
                }
                last = Some(stream);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("not {what}: {last:?}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn producer(stream: &Value) -> &Value {
    &stream.get("producers").unwrap().items()[0]
}

/// Frames of the first track so far.
fn frames(stream: &Value) -> i64 {
    producer(stream).get("receivers").and_then(|r| r.items().first()).map_or(0, |r| int(r, "frames"))
}

fn viewers(stream: &Value) -> Vec<i64> {
    stream.get("consumers").unwrap().items().iter().map(|v| int(v, "id")).collect()
}

/// A camera that restarts is dialled again, and whoever watched it watches on.
#[test]
fn a_camera_that_restarts_keeps_its_viewers() {
    let mut camera = Camera::new("digest", "tcp", &[H264, PCMA]);
    let url = camera.url("admin:pa%3Ass@");
    let house = House::new(&format!("streams: {{cam: \"{url}\"}}, preload: {{cam: \"video&audio\"}}"));
    let before = house.until("watched", |s| frames(s) > 20 && viewers(s).len() == 1);
    assert_eq!(text(producer(&before), "protocol"), "rtsp+tcp");
    assert!(!format!("{before:?}").contains("pa%3Ass"), "the password is shown: {before:?}");
    camera.kill();
    house.until("lost", |s| text(producer(s), "state") != "running");
    camera.again();
    let seen = frames(&before);
    let after = house.until("back", |s| int(producer(s), "connections") >= 2 && frames(s) > seen + 30);
    assert_eq!(viewers(&after), viewers(&before), "the viewer was sent away");
    let read = |r: &Value| int(r, "childs") == 1;
    assert!(producer(&after).get("receivers").unwrap().items().iter().all(read), "{after:?}");
}

/// What is said comes out of the camera's speaker (ONVIF back channel), over a connection that is
/// there only while something is said.
#[test]
fn the_cameras_speaker_is_heard() {
    let folder = Folder::new("speaker");
    let heard = folder.file("heard.mulaw");
    let back = format!(
        "( capsfilter caps=\"application/x-rtp, media=audio, payload=0, clock-rate=8000, encoding-name=PCMU\" \
         name=depay_backchannel ! rtppcmudepay ! filesink async=false buffer-mode=unbuffered location={heard} )"
    );
    // Where the speaker alone is set up, gst-rtsp-server lets the pictures run into nothing, calls
    // that an error, and now and then is mute for it: the pictures are told not to mind.
    let patient = "! errorignore ignore-notlinked=true convert-to=ok ! rtp";
    let launch = format!("( {H264} {PCMA} )").replace("! rtp", patient);
    let camera = Camera::start(vec!["0".into(), "none".into(), "both".into(), "onvif".into(), launch, back]);
    let source = camera.url("");
    let house = House::new(&format!("streams: {{cam: \"{source}\"}}, preload: {{cam: \"video&audio\"}}"));
    let stream = house.until("watched", |s| frames(s) > 5);
    let medias: Vec<_> =
        producer(&stream).get("medias").unwrap().items().iter().filter_map(Value::as_str).collect();
    assert!(medias.iter().any(|m| m.contains("sendonly") && m.contains("PCMU")), "{medias:?}");
    // The demo camera says the seconds.
    let (status, body) =
        house.ask("POST", "/api/streams?dst=cam&src=demo:%3Faudio=ulaw%26width=64%26height=64").unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let (send, done) = mpsc::channel();
    let file = heard.clone();
    std::thread::spawn(move || {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if fs::metadata(&file).is_ok_and(|m| m.len() >= 16_000) {
                let _ = send.send(());
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let came = done.recv_timeout(2 * PATIENCE);
    assert!(came.is_ok(), "nothing was heard: {:?}", house.stream());
    let sound = fs::read(&heard).unwrap();
    let different = sound.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(different > 200, "only silence was heard: {different}");
    // The picture went on meanwhile.
    let now = frames(&house.stream().unwrap());
    house.until("watched on", |s| frames(s) > now + 10);
}
