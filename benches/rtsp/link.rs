//! RTSP as far as these measurements need it, epoll, and the processor time of another process.

use nix::libc;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

/// What has come on a connection and is not yet looked at.
pub struct Inbox {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

/// Something whole.
pub enum Item {
    /// A packet on a channel: where it lies.
    Packet(u8, usize, usize),
    /// A request or an answer with its body.
    Text(String),
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { bytes: vec![0; 256 * 1024], from: 0, to: 0 }
    }
}

impl Inbox {
    /// Reads once. None when there is nothing; an error at the end.
    pub fn read(&mut self, stream: &TcpStream) -> io::Result<Option<usize>> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.bytes.len() - self.to < 128 * 1024 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let mut stream = stream;
        match stream.read(&mut self.bytes[self.to..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.to += n;
                Ok(Some(n))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a packet.
    pub fn slice(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    /// The next whole item.
    pub fn next(&mut self) -> Option<Item> {
        let rest = &self.bytes[self.from..self.to];
        if *rest.first()? == b'$' {
            let len = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
            let channel = rest[1];
            rest.get(..4 + len)?;
            let at = self.from + 4;
            self.from = at + len;
            return Some(Item::Packet(channel, at, at + len));
        }
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let body: usize = header(&head, "Content-Length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let whole = rest.get(..end + body)?;
        let text = String::from_utf8_lossy(whole).into_owned();
        self.from += end + body;
        Some(Item::Text(text))
    }
}

/// A header's value.
pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Asks, and waits for the answer.
pub fn ask(stream: &TcpStream, inbox: &mut Inbox, request: &str) -> io::Result<String> {
    let mut to = stream;
    to.write_all(request.as_bytes())?;
    loop {
        while let Some(item) = inbox.next() {
            if let Item::Text(answer) = item {
                if answer.starts_with("RTSP/1.0 200") {
                    return Ok(answer);
                }
                return Err(io::Error::other(format!("{request}is answered {answer}")));
            }
        }
        inbox.read(stream)?;
    }
}

/// Tells what is readable.
pub struct Epoll(RawFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes a number, gives a descriptor or -1.
        match unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(Epoll(fd)),
        }
    }

    pub fn add(&self, what: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        // SAFETY: `event` lives through the call, which copies it.
        match unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, what.as_raw_fd(), &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Numbers of what is readable, after at most so many milliseconds; -1 is for ever.
    pub fn wait(&self, ms: i32, out: &mut Vec<usize>) {
        out.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: the array has as many places as are told.
        let n = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), 256, ms) };
        out.extend(events.iter().take(n.max(0) as usize).map(|e| e.u64 as usize));
    }
}

/// Nanoseconds of processor time that a process has taken with all its threads.
pub fn cpu(pid: i32) -> io::Result<u64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both write into what they are given, which lives through the call.
    let done = unsafe {
        let found = libc::clock_getcpuclockid(pid, &mut clock);
        if found == 0 { libc::clock_gettime(clock, &mut time) } else { -1 }
    };
    match done {
        0 => Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64),
        _ => Err(io::Error::last_os_error()),
    }
}
