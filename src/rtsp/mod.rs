//! RTSP 1.0 (RFC 2326): what viewers, recorders and cameras say to each other about media that flows
//! as RTP. Here is the wire ([`message`], [`transport`]), the choice of tracks in a URL ([`filter`])
//! and the state of one session ([`session`]), all of it pure: bytes and times in, values out.

pub mod answering;
pub mod backchannel;
pub mod cast;
pub mod client;
mod connection;
pub mod consumer;
mod datagrams;
pub mod dialogue;
pub mod filter;
pub mod flow;
pub mod ingest;
pub mod intake;
pub mod live;
pub mod message;
pub mod producer;
mod requests;
pub mod server;
pub mod session;
pub mod transport;
mod tunnel;
pub mod udp;
pub mod url;

pub use message::{Headers, Item, Method, ParseError, Parser, Reply, Request, Response};
pub use url::Url;

/// Every bound of the room.
pub mod limits {
    use std::time::Duration;

    /// Bytes of a message before its body; beyond it 413.
    pub const HEAD: usize = 8 << 10;
    /// Bytes of one header line; beyond it 400.
    pub const LINE: usize = 4 << 10;
    /// Headers of a message; beyond it 400.
    pub const HEADERS: usize = 64;
    /// Bytes of a request's URI; beyond it 414.
    pub const URI: usize = 1 << 10;
    /// Bytes of a request's body (ANNOUNCE brings SDP); beyond it 413.
    pub const REQUEST_BODY: usize = 16 << 10;
    /// Bytes of a response's body (DESCRIBE brings SDP); beyond it the connection ends.
    pub const RESPONSE_BODY: usize = 64 << 10;
    /// Bytes of an interleaved frame from a viewer: its receiver reports and its voice.
    pub const VIEWER_FRAME: usize = 2 << 10;
    /// Bytes of an interleaved frame from a camera or a publisher: whatever 16 bits say.
    pub const MEDIA_FRAME: usize = 65_535;
    /// Bytes that are read from a publisher at once.
    pub const PUBLISHER_BUFFER: usize = 16 << 10;
    /// Bytes between messages that are nothing, before a camera is given up.
    pub const GARBAGE: usize = 256 << 10;
    /// The highest channel looked for among garbage.
    pub const GARBAGE_CHANNEL: u8 = 20;
    /// Alternatives in a Transport header; more are not looked at.
    pub const TRANSPORTS: usize = 8;
    /// Tracks of a session; beyond it 453.
    pub const TRACKS: usize = 8;
    /// SETUP requests of a session; beyond it 453.
    pub const SETUPS: u32 = 32;
    /// Media asked for in a URL, and codecs in each; beyond it 400.
    pub const WISHES: usize = 16;
    /// Connections of all peers; beyond it the oldest stranger is closed, or the new one gets 503.
    pub const CONNECTIONS: usize = 192;
    /// Connections from one address (a /64 in IPv6), this machine's excepted; beyond it as above.
    pub const CONNECTIONS_PEER: usize = 32;
    /// Sessions of all connections; beyond it 453.
    pub const SESSIONS: usize = 160;
    /// Bytes of a connection's send queue in the system, which doubles them.
    pub const SEND_BUFFER: usize = 128 << 10;
    /// Bytes of answers that wait for the peer to read them; beyond it no request is read.
    pub const ANSWERS: usize = 16 << 10;
    /// From the connection to the end of the first request; beyond it the connection is closed.
    pub const FIRST: Duration = Duration::from_secs(10);
    /// Between requests of a connection without a session; beyond it the connection is closed.
    pub const IDLE: Duration = Duration::from_secs(20);
    /// Without one byte taken by the peer while we send; beyond it the connection is closed.
    pub const STUCK: Duration = Duration::from_secs(10);
    /// How long a refused peer's last bytes are read, so that it sees the answer and not a reset.
    pub const LINGER: Duration = Duration::from_secs(1);
    /// How long a session lives without a sign of life: told in its Session header.
    pub const SESSION: Duration = Duration::from_secs(60);
}
