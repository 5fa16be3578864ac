//! Signals as something to await: they are blocked for the whole process, before its first thread,
//! and read from a descriptor. Nothing of ours ever runs inside a signal handler.

use crate::net::reactor::Async;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;

/// What the process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// End, and leave everything in order (TERM, INT).
    End,
    /// Read the configuration again (HUP).
    Reload,
}

/// The signals that streamd listens to.
pub struct Signals {
    fd: Async<SignalFd>,
}

impl Signals {
    /// Blocks the signals and listens to them. To be called before any thread is started, because a
    /// thread inherits what is blocked.
    pub fn new() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd: Async::new(fd)? })
    }

    /// The next one.
    pub async fn next(&self) -> io::Result<Told> {
        loop {
            self.fd.readable().await?;
            match self.fd.get_ref().read_signal()? {
                Some(info) if info.ssi_signo == Signal::SIGHUP as u32 => return Ok(Told::Reload),
                Some(_) => return Ok(Told::End),
                None => {}
            }
        }
    }
}
