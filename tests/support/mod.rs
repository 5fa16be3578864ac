//! What the tests of the built program share: starting it in a folder of its own, speaking HTTP to it
//! with nothing but sockets, and waiting with a bound. Whatever was started is ended by its own number.
#![allow(dead_code)]

pub mod clock;
pub mod neighbour;
pub mod rtsp;
pub mod unshare;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
pub use streamd::net::json::{Value, parse};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_streamd");
/// Another build of it, where a test is run for that one.
pub fn program() -> String {
    std::env::var("STREAMD_PROGRAM").unwrap_or_else(|_| PROGRAM.to_owned())
}

/// No wait is longer; on a good day all of them are far shorter.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes away with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("streamd-test-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running streamd; killed when dropped.
pub struct Streamd {
    pub child: Child,
    pub port: u16,
    pub folder: Folder,
}

/// What every configuration of a test begins with, so that nothing meets anything else.
pub fn head(folder: &Folder) -> String {
    format!("ctl: {{socket: {}}}\n", folder.path("s").display())
}

/// The usual one: a demo camera behind a free port.
pub const DEMO: &str =
    "api: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:?width=160&height=96 # the door\n";

impl Streamd {
    /// Starts it with that text as its configuration file (the control socket is added).
    pub fn start(config: &str) -> Streamd {
        let folder = Folder::new();
        let text = head(&folder) + config;
        folder.write("streamd.yaml", text);
        Streamd::start_in(folder, &[])
    }

    /// Starts it on the file that is there.
    pub fn start_in(folder: Folder, more: &[&str]) -> Streamd {
        Streamd::start_as(folder, |command| {
            command.args(more);
        })
    }

    /// Starts it on the file that is there, in a way of its own.
    pub fn start_as(folder: Folder, how: impl FnOnce(&mut Command)) -> Streamd {
        let log = std::fs::File::options().create(true).append(true).open(folder.path("log")).unwrap();
        let mut command = Command::new(program());
        command.arg("-c").arg(folder.path("streamd.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        how(&mut command);
        let child = command.spawn().unwrap();
        let mut it = Streamd { child, port: 0, folder };
        it.ready();
        it
    }

    /// Waits until it answers, and learns its port.
    pub fn ready(&mut self) {
        let status = wait_for("streamd to answer at its control socket", || {
            if let Ok(Some(code)) = self.child.try_wait() {
                panic!("streamd has ended with {code}: {}", self.log());
            }
            self.try_local("GET", "/api/status", "").map(|a| a.json())
        });
        let url = status.get("listening").map_or(&[][..], Value::items).iter().find_map(|l| {
            l.as_str()?.strip_prefix("API http://")?.trim_end_matches('/').parse::<SocketAddr>().ok()
        });
        self.port = url.map_or(0, |a| a.port());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path("s")
    }

    pub fn file(&self) -> String {
        std::fs::read_to_string(self.folder.path("streamd.yaml")).unwrap()
    }

    /// Writes the whole file anew, with the control socket in it.
    pub fn set_file(&self, config: &str) {
        self.folder.write("streamd.yaml", head(&self.folder) + config);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A request by TCP.
    pub fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        self.ask_with(method, target, &[], body)
    }

    pub fn ask_with(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect();
        request(&mut stream, method, target, fields, body).unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// Where it serves RTSP, without a slash at the end.
    pub fn rtsp(&self) -> String {
        let status = self.local("GET", "/api/status", "").json();
        let mut all = items(&status, "listening").iter().filter_map(Value::as_str);
        let found = all.find_map(|l| l.strip_prefix("RTSP ")).expect("it serves RTSP");
        found.trim_end_matches('/').replace("[::]", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
    }

    /// A request over the control socket.
    pub fn local(&self, method: &str, target: &str, body: &str) -> Answer {
        self.try_local(method, target, body).unwrap()
    }

    fn try_local(&self, method: &str, target: &str, body: &str) -> Option<Answer> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        request(&mut stream, method, target, &[], body).ok()
    }

    /// `streamd ctl …`
    pub fn ctl(&self, args: &[&str]) -> Run {
        let socket = self.socket();
        let mut all = vec!["ctl", "--socket", socket.to_str().unwrap()];
        all.extend(args);
        run(&all, "")
    }

    pub fn stream(&self, name: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/streams?src={name}"), "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let status = wait_for("streamd to end", || child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }
}

impl Drop for Streamd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of streamd\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child process that does not outlive its test.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        match parse(&self.body) {
            Ok(value) => value,
            Err(e) => panic!("{e}: {}", self.text()),
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// One request on a connection of its own.
pub fn request<S: Read + Write>(
    stream: &mut S,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "Host") {
        head.push_str("Host: camera\r\n");
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.push_str(body);
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    answer(&bytes)
        .ok_or_else(|| std::io::Error::other(format!("no answer: {}", String::from_utf8_lossy(&bytes))))
}

/// Reads one whole answer that ended with its connection.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
    let mut answer = Answer { status, fields, body: bytes[end + 4..].to_vec() };
    if answer.field("transfer-encoding") == Some("chunked") {
        let mut rest = &answer.body[..];
        let mut body = Vec::new();
        while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).ok()?, 16).ok()?;
            if size == 0 || rest.len() < at + 2 + size {
                break;
            }
            body.extend_from_slice(&rest[at + 2..at + 2 + size]);
            rest = rest.get(at + 4 + size..).unwrap_or_default();
        }
        answer.body = body;
    }
    Some(answer)
}

/// What a command said.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs streamd to its end.
pub fn run(args: &[&str], stdin: &str) -> Run {
    tool(&program(), args, stdin)
}

/// Runs a test again in a network of its own, where only loopback is, groups too; true inside.
pub fn alone_with_groups(test: &str) -> bool {
    let script = "ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo";
    alone(test, "-n", script)
}

/// A script that pulls the program's plug and starts it again with the same file, as often as it is run: the
/// new one's number is in `pid` of its folder then.
pub fn restart_script(it: &Streamd) -> String {
    let path = |name| it.folder.path(name).display().to_string();
    format!(
        "old=$(cat '{4}' 2>/dev/null || echo {0})\n\
         kill -9 $old\n\
         until ! [ -e /proc/$old ] || \
             grep -q '^State:.Z' /proc/$old/status && [ $(ls /proc/$old/task | wc -l) = 1 ]; do sleep 0.05; done\n\
         (exec '{1}' -c '{2}' </dev/null >/dev/null 2>>'{3}') & echo $! >'{4}'",
        it.pid(),
        program(),
        path("streamd.yaml"),
        path("log"),
        path("pid"),
    )
}

/// Runs a test again by itself, in namespaces of its own (`unshare`'s words) that a script prepares;
/// true inside.
pub fn alone(test: &str, namespaces: &str, script: &str) -> bool {
    long_alone(test, namespaces, script, 240)
}

/// The same for one that takes its time: so many seconds at most.
pub fn long_alone(test: &str, namespaces: &str, script: &str, seconds: u32) -> bool {
    if std::env::var_os("ALONE").is_some() {
        return true;
    }
    let script = format!("{script} && exec \"$0\" --exact \"$1\" --nocapture");
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    command.arg(seconds.to_string());
    unshare::begin(&mut command, namespaces, &script);
    command.arg(me).arg(test);
    let out = command.env("ALONE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let complaints = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}{complaints}");
    false
}

/// Runs a program to its end, which has to come.
pub fn tool(program: &str, args: &[&str], stdin: &str) -> Run {
    long_tool(program, args, stdin, PATIENCE)
}

/// The same for one that takes its time also on a good day.
pub fn long_tool(program: &str, args: &[&str], stdin: &str, patience: Duration) -> Run {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} is needed for this test: {e}"));
    let mut guard = Guard(child);
    guard.0.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap_or_default();
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let out = read(Box::new(guard.0.stdout.take().unwrap()));
    let err = read(Box::new(guard.0.stderr.take().unwrap()));
    let name = format!("{program} {} to end", args.join(" "));
    let status = wait_long(&name, patience, || guard.0.try_wait().unwrap());
    let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
    Output { status, stdout, stderr }.into()
}

pub fn curl(args: &[&str]) -> Run {
    let mut all = vec!["-sS", "--max-time", "20"];
    all.extend(args);
    tool("curl", &all, "")
}

pub fn ffmpeg(args: &[&str]) -> Run {
    let mut all = vec!["-hide_banner", "-nostdin", "-y"];
    all.extend(args);
    let run = tool("ffmpeg", &all, "");
    assert_eq!(run.code, 0, "ffmpeg {}: {}", args.join(" "), run.err);
    run
}

/// Asks again and again until there is something; fails with a sentence when there never is.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_long(what, PATIENCE, ask)
}

fn wait_long<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "waited {patience:?} in vain for {what}");
        pause(20);
    }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

#[allow(clippy::disallowed_methods)]
pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

pub fn int(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_int).unwrap_or(-1)
}

pub fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).map_or(&[][..], Value::items)
}

/// The first source of a stream.
pub fn producer(stream: &Value) -> &Value {
    items(stream, "producers").first().unwrap()
}

pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(b as char),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
