//! The client's end of RTSP inside a WebSocket: how a connection to a camera becomes one, also behind a
//! password, and the messages around our bytes and the camera's. What is said is not known here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::answering::{Account, Challenge, choose};
use super::dialogue::DialogueError;
use super::url::Url;
use super::websocket::PROTOCOLS;
use crate::net::digest::hex;
use crate::net::limits::WS_HEAD;
use crate::net::random;
use crate::net::reactor::Async;
use crate::net::websocket::{
    Answer, FrameError, Opening, OpeningError, Reader, Side, code, emit_close, key, seal,
};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// The port of `ws://`.
pub const PORT: u16 = 80;

/// Why there is no WebSocket.
#[derive(Debug)]
pub enum UpgradeError {
    /// The connection broke.
    Io(io::Error),
    /// The answer is none of a WebSocket.
    Opening(OpeningError),
    /// The camera wants a password, or a better one.
    Account(DialogueError),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed instead of an answer to the WebSocket")
            }
            UpgradeError::Io(e) => e.fmt(f),
            UpgradeError::Opening(e) => e.fmt(f),
            UpgradeError::Account(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for UpgradeError {}

impl From<io::Error> for UpgradeError {
    fn from(e: io::Error) -> UpgradeError {
        UpgradeError::Io(e)
    }
}

impl From<OpeningError> for UpgradeError {
    fn from(e: OpeningError) -> UpgradeError {
        UpgradeError::Opening(e)
    }
}

/// What the camera answers.
pub enum Opened {
    /// It is one, with what has come already.
    Pipe(Pipe, Vec<u8>),
    /// It asks for a password: to be opened again on a new connection.
    Asked(Challenge),
}

/// Asks for a WebSocket at `place`, with an answer to a challenge if there was one.
pub async fn open(
    socket: &Async<TcpStream>,
    place: &Url,
    challenge: Option<&Challenge>,
) -> Result<Opened, UpgradeError> {
    let public = place.public();
    let rest = public.split_once("://").map_or("", |(_, rest)| rest);
    let (host, target) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, "/"));
    let account = Account { user: place.user.clone(), password: place.password.clone() };
    let authorization =
        challenge.map(|challenge| account.answer(challenge, "GET", target, 1, &hex(&random::bytes::<8>())));
    let (key, protocols) = (key(random::bytes()), PROTOCOLS.join(", "));
    let opening =
        Opening { host, target, key: &key, protocols: &protocols, authorization: authorization.as_deref() };
    let request = opening.request();
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        match socket.get_ref().write(rest) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
            Ok(n) => rest = rest.get(n..).unwrap_or(&[]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let mut came = Vec::new();
    let (answer, used) = loop {
        let mut bytes = [0; 1024];
        let n = socket.read_with(|mut s| s.read(&mut bytes)).await?;
        if n == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        came.extend_from_slice(bytes.get(..n).unwrap_or(&[]));
        if let Some(whole) = Answer::read(&came)? {
            break whole;
        }
        debug_assert!(came.len() < WS_HEAD);
    };
    if answer.status == 401 {
        let why = match (account.is_empty(), challenge) {
            (true, _) => DialogueError::NoAccount,
            (false, Some(_)) => DialogueError::Refused,
            (false, None) => match choose(answer.all("WWW-Authenticate")) {
                Ok(challenge) => return Ok(Opened::Asked(challenge)),
                Err(offered) => DialogueError::Challenge(offered),
            },
        };
        return Err(UpgradeError::Account(why));
    }
    answer.check(&opening)?;
    came.drain(..used);
    Ok(Opened::Pipe(Pipe { reader: Reader::new(Side::Client, u64::MAX), sealed: 0 }, came))
}

/// The messages of a connection.
pub struct Pipe {
    reader: Reader,
    /// So many of the bytes that wait are messages already.
    sealed: usize,
}

impl Pipe {
    /// Leaves what the messages in `bytes` carry at their front, and gives its length; pings and
    /// goodbyes are answered.
    pub fn read(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<usize, FrameError> {
        self.seal(out);
        let n = self.reader.strip(bytes, &mut |reader, what| reader.answer(what, out, Some(random::bytes())));
        self.sealed = out.len();
        n
    }

    /// Makes a message of what is not one yet.
    pub fn seal(&mut self, out: &mut Vec<u8>) {
        if out.len() > self.sealed {
            seal(out, self.sealed, Some(random::bytes()));
            self.sealed = out.len();
        }
    }

    /// So many bytes have left.
    pub fn left(&mut self, n: usize) {
        self.sealed = self.sealed.saturating_sub(n);
    }

    /// Whether the camera has said goodbye.
    pub fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    /// Says goodbye.
    pub fn part(&mut self, out: &mut Vec<u8>) {
        self.seal(out);
        if !self.is_over() {
            emit_close(out, code::DONE, Some(random::bytes()));
        }
        self.sealed = out.len();
    }
}
