//! A publisher with exact times in a thread of its own, and readers who look at every packet. What
//! the server takes meanwhile is read from its own processor clock, at the same pictures for all.

use super::link::{Epoll, Inbox, Item, ask, cpu, header};
use super::stream::{FPS, GOP, Maker, Watcher, sdp};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pictures whose times are kept.
const KEPT: usize = 4096;
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked for.
pub struct Plan {
    address: SocketAddr,
    path: String,
    pid: i32,
    readers: usize,
    udp: bool,
    seconds: u64,
    settle: Duration,
    spacing: Duration,
    /// Publishes nothing: the stream has a source of its own.
    silent: bool,
    /// Sends what is published to two ports instead, for a server that takes it so.
    feed: Option<[u16; 2]>,
}

impl Plan {
    pub fn read(address: &str, path: &str, pid: &str, more: &[&str]) -> io::Result<Plan> {
        let wrong = |what: &str| io::Error::other(format!("{what} is not understood"));
        let address = address.parse().map_err(|_| wrong(address))?;
        let pid = pid.parse().map_err(|_| wrong(pid))?;
        let mut plan = Plan {
            address,
            path: path.to_owned(),
            pid,
            readers: 1,
            udp: false,
            seconds: 4,
            settle: Duration::from_secs(1),
            spacing: Duration::from_millis(30),
            silent: false,
            feed: None,
        };
        for word in more {
            let (key, value) = word.split_once('=').ok_or_else(|| wrong(word))?;
            let number: u64 = value.parse().map_err(|_| wrong(word))?;
            match key {
                "readers" => plan.readers = number as usize,
                "udp" => plan.udp = number != 0,
                "seconds" => plan.seconds = number,
                "settle" => plan.settle = Duration::from_millis(number),
                "spacing" => plan.spacing = Duration::from_millis(number),
                "silent" => plan.silent = number != 0,
                "feed" => plan.feed = Some([number as u16, number as u16 + 2]),
                _ => return Err(wrong(word)),
            }
        }
        Ok(plan)
    }
}

/// What publisher and readers know of each other.
struct Board {
    begin: Instant,
    /// When each picture was sent, in nanoseconds since `begin`.
    sent: Vec<AtomicU64>,
    /// Pictures sent.
    pictures: AtomicU64,
    ends: AtomicBool,
}

impl Board {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn sent(&self, number: u64) -> u64 {
        self.sent[number as usize % KEPT].load(SeqCst)
    }
}

fn publish(plan: &Plan, board: &Board) -> io::Result<()> {
    let url = format!("rtsp://{}/{}", plan.address, plan.path);
    let stream = if plan.feed.is_none() { Some(TcpStream::connect(plan.address)?) } else { None };
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    if let Some(stream) = &stream {
        let mut inbox = Inbox::default();
        stream.set_nodelay(true)?;
        let body = sdp();
        let len = body.len();
        let announce = format!(
            "ANNOUNCE {url} RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{body}"
        );
        ask(stream, &mut inbox, &announce)?;
        let mut session = String::new();
        for track in 0..2 {
            let (a, b) = (2 * track, 2 * track + 1);
            let answer = ask(
                stream,
                &mut inbox,
                &format!(
                    "SETUP {url}/trackID={track} RTSP/1.0\r\nCSeq: {}\r\n{session}Transport: RTP/AVP/TCP;unicast;interleaved={a}-{b};mode=record\r\n\r\n",
                    2 + track
                ),
            )?;
            let id = header(&answer, "Session").and_then(|s| s.split(';').next()).unwrap_or("").to_owned();
            session = format!("Session: {id}\r\n");
        }
        ask(
            stream,
            &mut inbox,
            &format!("RECORD {url} RTSP/1.0\r\nCSeq: 4\r\n{session}Range: npt=0-\r\n\r\n"),
        )?;
        stream.set_nonblocking(false)?;
    }
    let mut maker = Maker::default();
    let mut out = Vec::with_capacity(64 * 1024);
    let start = board.now();
    for step in 0u64.. {
        // a picture every 40 ms; sound 10 and 30 ms after it
        let due = start + step * 10_000_000;
        let wait = due.saturating_sub(board.now());
        if wait > 0 {
            thread::sleep(Duration::from_nanos(wait));
        }
        if board.ends.load(SeqCst) {
            return Ok(());
        }
        out.clear();
        let mut each = |channel: u8, packet: &[u8]| match plan.feed {
            Some(ports) => {
                let _ = socket.send_to(packet, ("127.0.0.1", ports[usize::from(channel / 2)]));
            }
            None => {
                out.extend_from_slice(&[b'$', channel]);
                out.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                out.extend_from_slice(packet);
            }
        };
        let number = step / 4;
        if step.is_multiple_of(4) {
            if step.is_multiple_of(500) {
                each(1, &report(0x1111, (number * 90_000 / FPS) as u32));
            }
            board.sent[number as usize % KEPT].store(board.now(), SeqCst);
            maker.picture(number, each);
        } else if step % 2 == 1 {
            maker.sound(each);
        }
        if let Some(mut stream) = stream.as_ref() {
            stream.write_all(&out)?;
        }
        if step.is_multiple_of(4) {
            board.pictures.store(number + 1, SeqCst);
        }
    }
    Ok(())
}

/// A sender's report.
fn report(ssrc: u32, time: u32) -> Vec<u8> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = vec![0x80, 200, 0, 6];
    out.extend(ssrc.to_be_bytes());
    out.extend((wall.as_secs() as u32).wrapping_add(2_208_988_800).to_be_bytes());
    out.extend((((u64::from(wall.subsec_nanos())) << 32) / 1_000_000_000).to_be_bytes()[4..].iter());
    out.extend(time.to_be_bytes());
    out.extend([0; 8]);
    out
}

struct Reader {
    stream: TcpStream,
    inbox: Inbox,
    /// Pictures, their reports, sound, its reports.
    sockets: Vec<UdpSocket>,
    watcher: Watcher,
    asked: u64,
    /// Time to the first whole key frame.
    first: Option<u64>,
}

impl Reader {
    fn enter(plan: &Plan, board: &Board) -> io::Result<Reader> {
        let stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        let mut inbox = Inbox::default();
        let url = format!("rtsp://{}/{}", plan.address, plan.path);
        let describe = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n");
        let described = ask(&stream, &mut inbox, &describe)?;
        let base = header(&described, "Content-Base").unwrap_or(&url).trim_end_matches('/').to_owned();
        let medias = described.split("\r\nm=").skip(1);
        let controls = medias.filter_map(|m| m.lines().find_map(|l| l.strip_prefix("a=control:")));
        let mut session = String::new();
        let mut sockets = Vec::new();
        for (at, control) in controls.take(2).enumerate() {
            let control =
                if control.starts_with("rtsp:") { control.to_owned() } else { format!("{base}/{control}") };
            let transport = if plan.udp {
                let pair = pair()?;
                let port = pair[0].local_addr()?.port();
                sockets.extend(pair);
                format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)
            } else {
                format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * at, 2 * at + 1)
            };
            let setup = format!(
                "SETUP {control} RTSP/1.0\r\nCSeq: {}\r\n{session}Transport: {transport}\r\n\r\n",
                at + 2
            );
            let answer = ask(&stream, &mut inbox, &setup)?;
            let id = header(&answer, "Session").and_then(|s| s.split(';').next()).unwrap_or("").to_owned();
            session = format!("Session: {id}\r\n");
        }
        let asked = board.now();
        let play = format!("PLAY {base}/ RTSP/1.0\r\nCSeq: 4\r\n{session}Range: npt=0-\r\n\r\n");
        (&stream).write_all(play.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Reader { stream, inbox, sockets, watcher: Watcher::default(), asked, first: None })
    }
}

/// An even port and its neighbour.
fn pair() -> io::Result<[UdpSocket; 2]> {
    for _ in 0..200 {
        let one = UdpSocket::bind("127.0.0.1:0")?;
        let port = one.local_addr()?.port();
        if port % 2 == 1 {
            continue;
        }
        if let Ok(two) = UdpSocket::bind(("127.0.0.1", port + 1)) {
            let _ = nix::sys::socket::setsockopt(&one, nix::sys::socket::sockopt::RcvBuf, &(1 << 20));
            one.set_nonblocking(true)?;
            return Ok([one, two]);
        }
    }
    Err(io::Error::other("no pair of ports is free"))
}

/// The readers, and what they have seen in the time that counts.
struct Crowd<'a> {
    plan: &'a Plan,
    board: Arc<Board>,
    epoll: Epoll,
    readers: Vec<Reader>,
    ready: Vec<usize>,
    datagram: Vec<u8>,
    /// Pictures that count.
    window: std::ops::Range<u64>,
    /// From publisher to reader, each picture of each reader.
    lags: Vec<u64>,
    /// When each picture came to the first reader and to the last.
    pairs: Vec<[u64; 2]>,
}

impl Crowd<'_> {
    /// Reads for some time, at least `until`.
    fn read(&mut self, until: impl Fn(&Board, &[Reader]) -> bool) -> io::Result<()> {
        let limit = Instant::now() + PATIENCE + self.plan.settle + Duration::from_secs(self.plan.seconds);
        while !until(&self.board, &self.readers) {
            if Instant::now() > limit {
                return Err(io::Error::other("what should have come has not"));
            }
            self.epoll.wait(5, &mut self.ready);
            for number in std::mem::take(&mut self.ready) {
                self.look(number)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, number: usize) -> io::Result<()> {
        let (at, socket) = (number / 4, number % 4);
        let Crowd { readers, board, window, lags, pairs, datagram, .. } = self;
        let last = readers.len() - 1;
        let Some(reader) = readers.get_mut(at) else { return Ok(()) };
        let Reader { stream, inbox, sockets, watcher, asked, first } = reader;
        let mut whole = |packet: &[u8], now: u64| {
            let Some(picture) = watcher.packet(packet) else { return };
            if picture.key && first.is_none() {
                *first = Some(now - *asked);
            }
            if window.contains(&picture.number) {
                lags.push(now.saturating_sub(board.sent(picture.number)));
                let place = &mut pairs[(picture.number - window.start) as usize];
                if at == 0 {
                    place[0] = now;
                }
                if at == last {
                    place[1] = now;
                }
            }
        };
        if socket == 0 {
            if inbox.read(stream)?.is_none() {
                return Ok(());
            }
            let now = board.now();
            while let Some(item) = inbox.next() {
                if let Item::Packet(0, from, to) = item {
                    whole(inbox.slice(from, to), now);
                }
            }
        } else if let Some(socket) = sockets.get(socket - 1) {
            while let Ok(n) = socket.recv(datagram) {
                if n > 12 && datagram[1] & 0x7f == 96 {
                    whole(&datagram[..n], board.now());
                }
            }
        }
        Ok(())
    }
}

fn part(of: &mut [u64], share: usize) -> u64 {
    of.sort_unstable();
    of.get((of.len() * share / 1000).min(of.len().saturating_sub(1))).copied().unwrap_or(0)
}

pub fn run(plan: Plan) -> io::Result<()> {
    let board = Arc::new(Board {
        begin: Instant::now(),
        sent: (0..KEPT).map(|_| AtomicU64::new(0)).collect(),
        pictures: AtomicU64::new(0),
        ends: AtomicBool::new(false),
    });
    let plan = Arc::new(plan);
    let publisher = (!plan.silent).then(|| {
        let (plan, board) = (plan.clone(), board.clone());
        thread::spawn(move || publish(&plan, &board))
    });
    let mut crowd = Crowd {
        plan: &plan,
        board: board.clone(),
        epoll: Epoll::new()?,
        readers: Vec::new(),
        ready: Vec::new(),
        datagram: vec![0; 2048],
        window: 0..0,
        lags: Vec::new(),
        pairs: Vec::new(),
    };
    let done = measure(&plan, &board, &mut crowd);
    board.ends.store(true, SeqCst);
    if let Some(publisher) = publisher
        && let Ok(said) = publisher.join()
    {
        said.map_err(|e| io::Error::other(format!("publishing: {e}")))?;
    }
    done
}

fn measure(plan: &Plan, board: &Board, crowd: &mut Crowd<'_>) -> io::Result<()> {
    let begun = |board: &Board, _: &[Reader]| plan.silent || board.pictures.load(SeqCst) > GOP;
    crowd.read(begun)?;
    for number in 0..plan.readers {
        let reader = Reader::enter(plan, board)?;
        crowd.epoll.add(&reader.stream, 4 * number)?;
        for (at, socket) in reader.sockets.iter().enumerate().filter(|(at, _)| at % 2 == 0) {
            crowd.epoll.add(socket, 4 * number + at + 1)?;
        }
        crowd.readers.push(reader);
        let next = Instant::now() + plan.spacing;
        crowd.read(|_, _| Instant::now() >= next)?;
    }
    crowd.read(|_, readers| readers.iter().all(|r| r.first.is_some()))?;
    let settled = Instant::now() + plan.settle;
    crowd.read(|_, _| Instant::now() >= settled)?;
    if !plan.silent {
        let first = board.pictures.load(SeqCst) + 1;
        let end = first + plan.seconds * FPS;
        crowd.pairs = vec![[0; 2]; (end - first) as usize];
        crowd.window = first..end;
        let lost = |crowd: &Crowd<'_>| crowd.readers.iter().map(|r| r.watcher.lost).sum::<u64>();
        let before = lost(crowd);
        crowd.read(|board, _| board.pictures.load(SeqCst) >= first)?;
        let from = (cpu(plan.pid)?, board.now());
        crowd.read(|board, _| board.pictures.load(SeqCst) >= end)?;
        let to = (cpu(plan.pid)?, board.now());
        let late = Instant::now() + Duration::from_millis(300);
        crowd.read(|_, _| Instant::now() >= late)?;
        println!("cpu {}", (to.0 - from.0) * 1_000_000 / (to.1 - from.1));
        println!("expected {}", (end - first) * plan.readers as u64);
        println!("came {}", crowd.lags.len());
        println!("lost {}", lost(crowd) - before);
        println!("p50 {}", part(&mut crowd.lags, 500) / 1000);
        println!("p99 {}", part(&mut crowd.lags, 990) / 1000);
        let seen = crowd.pairs.iter().filter(|p| p[0] > 0 && p[1] > 0);
        let mut later: Vec<u64> = seen.map(|p| p[1].saturating_sub(p[0])).collect();
        println!("later {}", part(&mut later, 500) / 1000);
        println!("latest {}", part(&mut later, 990) / 1000);
    }
    let mut firsts: Vec<u64> = crowd.readers.iter().filter_map(|r| r.first).collect();
    println!("first {}", part(&mut firsts, 500) / 1000);
    println!("longest {}", part(&mut firsts, 1000) / 1000);
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", plan.pid))?;
    let private = maps.lines().filter_map(|l| l.strip_prefix("Private_Dirty:")).next().unwrap_or("");
    println!("private {}", private.trim().trim_end_matches(" kB"));
    Ok(())
}
