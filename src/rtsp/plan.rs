//! What is wanted of a camera, what its description gave, what comes next, and why it may be given up.

use super::message::Method;
use super::transport::Transport;
use super::url::Url;
use crate::media::{Codec, Kind};
use crate::net::quoted::Quoted;
use crate::net::sdp::{Format, MediaDescription, SdpError};
use std::fmt;
use std::time::Duration;

/// A camera has this long to answer.
pub const ANSWER: Duration = Duration::from_secs(5);
/// Redirects that are followed.
pub const REDIRECTS: u8 = 5;

/// Why a camera is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialogueError {
    /// It answers a request with this status.
    Status(Method, u16, String),
    /// The name or the password is wrong.
    Refused,
    /// It wants a name and a password, and there is none.
    NoAccount,
    /// It wants to be answered in a way that is not spoken here; which.
    Challenge(String),
    /// Its description cannot be read.
    Sdp(SdpError),
    /// Nothing in its description can be received.
    Nothing,
    /// It sends us from place to place.
    Redirects,
    /// It sends us where we cannot go.
    Location(String),
    /// Its transport is none of ours.
    Transport(String),
    /// No answer to a request.
    Silent(Method),
    /// No packet for this long.
    NoData(Duration),
    /// It has ended the session.
    Ended,
    /// The connection broke before it answered.
    Closed(Method),
}

impl fmt::Display for DialogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DialogueError as E;
        match self {
            E::Status(method, 404, _) => {
                write!(f, "no stream at this address ({} was answered with 404)", method.name())
            }
            E::Status(method, status, reason) => {
                write!(f, "{} was answered with {status} {reason}", method.name())
            }
            E::Refused => f.write_str("the user name or the password is wrong"),
            E::NoAccount => {
                f.write_str("a user name and a password are needed: rtsp://name:password@host/path")
            }
            E::Challenge(what) => {
                write!(
                    f,
                    "the camera offers {what} as authentication, expected Digest (MD5, SHA-256) or Basic"
                )
            }
            E::Sdp(e) => e.fmt(f),
            E::Nothing => f.write_str("nothing in the description can be received here"),
            E::Redirects => write!(f, "more than {REDIRECTS} redirects"),
            E::Location(to) => write!(f, "redirected to {}, expected an rtsp:// address", Quoted(to)),
            E::Transport(what) => write!(f, "SETUP was answered with the transport {}", Quoted(what)),
            E::Silent(method) => write!(f, "no answer to {} within {} s", method.name(), ANSWER.as_secs()),
            E::NoData(time) => write!(f, "no data for {} s", time.as_secs()),
            E::Ended => f.write_str("the camera has ended the session"),
            E::Closed(method) => {
                write!(f, "the connection was closed instead of an answer to {}", method.name())
            }
        }
    }
}

impl std::error::Error for DialogueError {}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To see and hear.
    Watch,
    /// To speak, and nothing else.
    Talk,
}

/// By what the packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Interleaved with the messages.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What is wanted of a camera.
#[derive(Clone)]
pub struct Plan {
    /// Its address, with its user.
    pub url: Url,
    /// What for.
    pub role: Role,
    /// Ask for the speaker too.
    pub back_channel: bool,
    /// Kinds of media that are wanted.
    pub kinds: Vec<Kind>,
    /// What is tried first.
    pub carrier: Carrier,
    /// The other carrier may be tried too.
    pub fall_back: bool,
    /// How long it may be silent.
    pub silence: Duration,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for input or the deadline.
    Wait,
    /// Close the connection (after [`super::dialogue::Dialogue::teardown`]), make one to [`super::dialogue::Dialogue::url`] and call
    /// [`super::dialogue::Dialogue::begin`].
    Dial,
    /// The tracks are known: have two ports ready for each if [`super::dialogue::Dialogue::carrier`] is UDP, and call
    /// [`super::dialogue::Dialogue::setup`].
    Described,
    /// Everything is set up: call [`super::dialogue::Dialogue::play`].
    Ready,
    /// Packets flow.
    Playing,
    /// Receiver reports are due.
    Report,
}

/// A media of the description that is used.
#[derive(Clone, Debug)]
pub struct Track {
    /// As described.
    pub media: MediaDescription,
    /// The format that is read; of a speaker the first.
    pub format: Format,
    /// Its codec.
    pub codec: Codec,
    /// What was agreed, once it was.
    pub transport: Option<Transport>,
    /// What SETUP asks for.
    pub url: String,
}
