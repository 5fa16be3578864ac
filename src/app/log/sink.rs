//! Where lines go: a stream (stderr, stdout), a file of bounded size, or the system's log. A sink
//! never holds the thread: what cannot be written at once is dropped and counted, and the count is
//! told with the next line that gets through.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use log::Level;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::line::{Format, Line};
use crate::net::process::standard;

/// A log file's largest size, twice: itself and the one before it (`.1`).
pub const FILE_BYTES: u64 = 256 * 1024;

/// Where the log goes, by its name in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// `stderr`
    #[default]
    Stderr,
    /// `stdout`
    Stdout,
    /// `syslog`: the datagram socket `/dev/log`.
    Syslog,
    /// `file:/path`
    File(PathBuf),
    /// `none`: only the ring.
    None,
}

impl Output {
    /// By its name in the configuration.
    pub fn parse(name: &str) -> Option<Output> {
        Some(match name {
            "" | "stderr" => Output::Stderr,
            "stdout" => Output::Stdout,
            "syslog" => Output::Syslog,
            "none" => Output::None,
            "file" => Output::File("streamd.log".into()),
            _ => Output::File(name.strip_prefix("file:").filter(|p| !p.is_empty())?.into()),
        })
    }
}

/// An open output.
pub struct Sink {
    kind: Kind,
    format: Format,
    stamp: bool,
    /// The line being written; for a stream that took half of it, the other half.
    line: Vec<u8>,
    lost: u32,
}

enum Kind {
    None,
    Stream { file: File, how: How },
    File { file: Option<File>, path: PathBuf, size: u64, limit: u64 },
    Syslog { socket: Option<UnixDatagram>, path: PathBuf },
}

/// How to write to a stream without waiting.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Opened by us as non-blocking, or a plain file, which never says "later".
    Write,
    /// A terminal or pipe shared with others, whose mode is not ours to change: ask first.
    Poll,
    Socket,
}

impl Sink {
    /// No output at all.
    pub const fn none() -> Sink {
        Sink { kind: Kind::None, format: Format::Text, stamp: true, line: Vec::new(), lost: 0 }
    }

    /// Opens `output`; `stamp` is whether lines of text begin with the time.
    pub fn open(output: &Output, format: Format, stamp: bool) -> io::Result<Sink> {
        let sink = match output {
            Output::None => Sink::none(),
            Output::Stderr => Sink::stream(standard(2).try_clone_to_owned()?, format)?,
            Output::Stdout => Sink::stream(standard(1).try_clone_to_owned()?, format)?,
            Output::Syslog => Sink::syslog(Path::new("/dev/log")),
            Output::File(path) => Sink::file(path, FILE_BYTES, format)?,
        };
        Ok(Sink { stamp, ..sink })
    }

    fn new(kind: Kind, format: Format) -> Sink {
        let format = if format == Format::Auto { Format::Text } else { format };
        Sink { kind, format, stamp: true, line: Vec::new(), lost: 0 }
    }

    fn stream(fd: OwnedFd, format: Format) -> io::Result<Sink> {
        let mut file = File::from(fd);
        let kind = file.metadata()?.file_type();
        let how = if kind.is_socket() {
            How::Socket
        } else if kind.is_fifo() || kind.is_char_device() {
            // a door of our own to the same pipe or terminal; O_NONBLOCK on the given one would be
            // set for the shell and every child as well
            let door = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
            match OpenOptions::new().write(true).custom_flags(flags).open(door) {
                Ok(own) => {
                    file = own;
                    How::Write
                }
                Err(_) => How::Poll,
            }
        } else {
            How::Write
        };
        let plain =
            std::env::var_os("NO_COLOR").is_some() || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let format =
            if format == Format::Auto && !plain && file.is_terminal() { Format::Color } else { format };
        Ok(Sink::new(Kind::Stream { file, how }, format))
    }

    fn file(path: &Path, limit: u64, format: Format) -> io::Result<Sink> {
        let (file, size) = append(path)?;
        Ok(Sink::new(Kind::File { file: Some(file), path: path.into(), size, limit }, format))
    }

    fn syslog(path: &Path) -> Sink {
        Sink::new(Kind::Syslog { socket: None, path: path.into() }, Format::Text)
    }

    /// Writes a line, or counts it as lost.
    pub fn put(&mut self, line: &Line) {
        if matches!(self.kind, Kind::None) {
            return;
        }
        if self.lost > 0 {
            let text = format!("… {} messages could not be written here", self.lost);
            if !self.one(&Line { level: Level::Warn, module: "log", text: &text, ..*line }) {
                self.lost = self.lost.saturating_add(1);
                return;
            }
            self.lost = 0;
        }
        if !self.one(line) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn one(&mut self, line: &Line) -> bool {
        let buf = &mut self.line;
        match &mut self.kind {
            Kind::None => true,
            Kind::Stream { file, how } => {
                if !buf.is_empty() {
                    push_out(file, *how, buf);
                }
                if !buf.is_empty() {
                    return false; // the other half of an earlier line is still here
                }
                line.write(self.format, self.stamp, buf);
                let taken = push_out(file, *how, buf);
                if !taken {
                    buf.clear();
                }
                taken
            }
            Kind::File { file, path, size, limit } => {
                buf.clear();
                line.write(self.format, self.stamp, buf);
                if *size > 0 && *size + buf.len() as u64 > *limit {
                    *file = None;
                    let mut old = path.clone().into_os_string();
                    old.push(".1");
                    // where it cannot be renamed it is begun again: the bound holds
                    if std::fs::rename(&*path, old).is_err() {
                        let _ = File::create(&*path);
                    }
                }
                if file.is_none() {
                    let Ok((again, len)) = append(path) else { return false };
                    (*file, *size) = (Some(again), len);
                }
                let done = file.as_mut().is_some_and(|f| f.write_all(buf).is_ok());
                if done {
                    *size += buf.len() as u64;
                } else {
                    *file = None; // full, or gone: look again with the next line
                }
                done
            }
            Kind::Syslog { socket, path } => {
                buf.clear();
                // RFC 3164 without a time: every local daemon puts its own, in its own time zone
                let severity = match line.level {
                    Level::Error => 3,
                    Level::Warn => 4,
                    Level::Info => 6,
                    Level::Debug | Level::Trace => 7,
                };
                const DAEMON: u32 = 3 << 3;
                let (pid, module) = (std::process::id(), line.module);
                let _ = write!(buf, "<{}>streamd[{pid}]: [{module}] {}", DAEMON + severity, line.text);
                // twice: the daemon may have been restarted since
                for _ in 0..2 {
                    if socket.is_none() {
                        *socket = connect(path).ok();
                    }
                    match socket.as_ref().map(|s| s.send(buf)) {
                        Some(Ok(_)) => return true,
                        Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => return false,
                        _ => *socket = None,
                    }
                }
                false
            }
        }
    }
}

/// Writes what a stream takes at once and removes it from `buf`; false if it took nothing.
fn push_out(file: &mut File, how: How, buf: &mut Vec<u8>) -> bool {
    let written = match how {
        How::Write => file.write(buf).ok(),
        How::Socket => send(file.as_raw_fd(), buf, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).ok(),
        How::Poll => {
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
            let ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0);
            // a pipe that is ready takes a page
            ready.then(|| file.write(buf.get(..4096).unwrap_or(buf)).ok()).flatten()
        }
    };
    let Some(written) = written.filter(|&n| n > 0) else { return false };
    buf.drain(..written.min(buf.len()));
    true
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Time;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn put(sink: &mut Sink, text: &str) {
        let time = Time::from_nanos(1_500_000_000);
        sink.put(&Line { time, wall: None, level: Level::Info, module: "app", text });
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("streamd-sink-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Fills the stream, reads all of it, and expects the lost lines to be told once there is room.
    fn stuck_reader(mut sink: Sink, mut reader: impl Read) {
        const LINES: usize = 5000;
        for i in 0..LINES {
            put(&mut sink, &format!("{i:04} {}", "x".repeat(200)));
        }
        let lost = sink.lost as usize;
        assert!(lost > 0 && lost < LINES, "{lost}");
        let mut got = Vec::new();
        let mut chunk = vec![0; 4096];
        while got.len() < (LINES - lost) * 200 / 2 {
            let n = reader.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..n]);
        }
        put(&mut sink, "there again");
        drop(sink);
        reader.read_to_end(&mut got).unwrap();
        let text = String::from_utf8(got).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), LINES - lost + 2);
        assert!(lines[..lines.len() - 2].iter().all(|l| l.len() == "up 1.500s INF [app] 0000 ".len() + 200));
        let told = format!("up 1.500s WRN [log] … {lost} messages could not be written here");
        assert_eq!(lines[lines.len() - 2..], [told.as_str(), "up 1.500s INF [app] there again"]);
    }

    #[test]
    fn a_stuck_reader_of_stderr_does_not_hold_the_camera() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let sink = Sink::stream(writer, Format::Auto).unwrap();
        assert!(matches!(sink.kind, Kind::Stream { how: How::Write, .. }));
        stuck_reader(sink, File::from(reader));

        let (reader, writer) = nix::unistd::pipe().unwrap();
        let kind = Kind::Stream { file: File::from(writer), how: How::Poll };
        stuck_reader(Sink::new(kind, Format::Text), File::from(reader));

        let (writer, reader) = UnixStream::pair().unwrap();
        stuck_reader(Sink::stream(writer.into(), Format::Auto).unwrap(), reader);
    }

    #[test]
    fn the_mode_of_a_shared_pipe_stays_as_it_was() {
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        let kept = writer.try_clone().unwrap();
        let _sink = Sink::stream(writer, Format::Auto).unwrap();
        let flags = nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & nix::libc::O_NONBLOCK, 0);
    }

    #[test]
    fn a_log_file_stays_within_its_bound_and_keeps_the_newest() {
        let dir = dir("file");
        let path = dir.join("log");
        let mut sink = Sink::file(&path, 1000, Format::Auto).unwrap();
        for i in 0..200 {
            put(&mut sink, &format!("line {i}"));
            assert!(std::fs::metadata(&path).unwrap().len() <= 1000);
        }
        let new = std::fs::read_to_string(&path).unwrap();
        let old = std::fs::read_to_string(dir.join("log.1")).unwrap();
        assert!(old.len() <= 1000 && old.len() > 900);
        assert!(new.ends_with("line 199\n"));
        let both = old + &new;
        let first: u32 = both.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(both.lines().count() as u32, 200 - first);
        // after a restart it goes on in the same file
        let mut sink = Sink::file(&path, 1000, Format::Auto).unwrap();
        put(&mut sink, "again");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 199\nup 1.500s INF [app] again\n"));
        std::fs::remove_dir_all(&dir).unwrap();
        put(&mut sink, "nobody reads this, and nothing breaks");
        assert!(Sink::file(&path, 1000, Format::Auto).is_err());
    }

    #[test]
    fn the_system_log_may_come_late_and_be_restarted() {
        let dir = dir("syslog");
        let path = dir.join("dev-log");
        let mut sink = Sink::syslog(&path);
        put(&mut sink, "too early");
        let pid = std::process::id();
        let mut buf = [0; 256];
        for round in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            put(&mut sink, "hello");
            if round == 0 {
                let n = daemon.recv(&mut buf).unwrap();
                let lost = format!("<28>streamd[{pid}]: [log] … 1 messages could not be written here");
                assert_eq!(std::str::from_utf8(&buf[..n]).unwrap(), lost);
            }
            let n = daemon.recv(&mut buf).unwrap();
            assert_eq!(std::str::from_utf8(&buf[..n]).unwrap(), format!("<30>streamd[{pid}]: [app] hello"));
            drop(daemon);
            std::fs::remove_file(&path).unwrap();
        }
        // a daemon that does not read
        let daemon = UnixDatagram::bind(&path).unwrap();
        for _ in 0..5000 {
            put(&mut sink, "flood");
        }
        assert!(sink.lost > 0);
        drop(daemon);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn outputs_are_named_as_the_predecessor_names_them() {
        assert_eq!(Output::parse(""), Some(Output::Stderr));
        assert_eq!(Output::parse("file:/tmp/x.log"), Some(Output::File("/tmp/x.log".into())));
        assert_eq!(Output::parse("file:"), None);
        assert_eq!(Output::parse("printer"), None);
        assert_eq!(Format::parse("json"), Some(Format::Json));
        assert_eq!(Format::parse("xml"), None);
    }
}
