//! Every bound of the program, in one place: bytes, counts and times that a peer could otherwise
//! grow. Each names what happens beyond it. A number here is a promise about memory on a camera
//! with 64 MB; raise it only with the reason beside it.

use std::time::Duration;

// ---- The loop ----

/// Bytes that one connection may move before it lets others run: a ready socket never waits.
pub const YIELD_BYTES: usize = 64 * 1024;
/// Messages that one connection may handle before it lets others run.
pub const YIELD_MESSAGES: u32 = 16;

// ---- Sockets ----

/// Connections waiting in the kernel for `accept`; beyond it the kernel refuses.
pub const LISTEN_BACKLOG: i32 = 64;
/// Pause after `accept` failed for want of descriptors or memory, so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

// ---- HTTP: bytes and counts ----

/// Bytes of a request head, first line included; beyond it 431.
pub const HTTP_HEAD: usize = 16 * 1024;
/// Bytes of a request line; beyond it 414.
pub const HTTP_LINE: usize = 8 * 1024;
/// Header fields of a request, and trailer fields of a chunked body; beyond it 431.
pub const HTTP_FIELDS: usize = 64;
/// Pairs of a query or a form; beyond it 400.
pub const HTTP_QUERY_PAIRS: usize = 64;
/// Bytes of a request body where the route says nothing else; beyond it 413.
pub const HTTP_BODY: usize = 64 * 1024;
/// Bytes of one chunk's size line, extensions included; beyond it 400.
pub const HTTP_CHUNK_LINE: usize = 256;
/// Bytes of the trailer fields of a chunked body; beyond it 431.
pub const HTTP_TRAILERS: usize = 4 * 1024;
/// Bytes read at once from a connection; pipelined requests wait in here and in the kernel.
pub const HTTP_READ: usize = 4 * 1024;
/// Bytes of a refused request's body that are read and thrown away to keep the connection.
pub const HTTP_DRAIN: usize = 64 * 1024;
/// Requests on one connection; after the last the connection is closed in good order.
pub const HTTP_REQUESTS: u32 = 1000;
/// Connections of one server; beyond it the longest idle one is closed, or the new one gets 503.
pub const HTTP_CONNECTIONS: usize = 128;
/// Connections from one address (a /64 in IPv6), local ones excepted; beyond it as above.
pub const HTTP_CONNECTIONS_PEER: usize = 48;
/// Routes of one router; beyond it a route is not added, which is an error at start.
pub const HTTP_ROUTES: usize = 256;

// ---- HTTP: times ----

/// From the first byte of a request to the end of its head; beyond it 408.
pub const HTTP_HEAD_TIME: Duration = Duration::from_secs(10);
/// For a whole request body of the default size; beyond it 408.
pub const HTTP_BODY_TIME: Duration = Duration::from_secs(30);
/// Between two requests on one connection; beyond it the connection is closed without a word.
pub const HTTP_IDLE_TIME: Duration = Duration::from_secs(60);
/// Without one byte taken by the peer while we write; beyond it the connection is closed.
pub const HTTP_WRITE_TIME: Duration = Duration::from_secs(10);
/// Bytes a second that a reader of a fixed body has to take on average, after `HTTP_WRITE_TIME`.
pub const HTTP_WRITE_RATE: usize = 2 * 1024;
/// How long a refused peer's last bytes are read, so that it sees the answer and not a reset.
pub const HTTP_LINGER_TIME: Duration = Duration::from_millis(1000);

// ---- Authentication ----

/// Users of the `users` list; beyond it the configuration is refused.
pub const USERS: usize = 64;
/// Bytes of an Authorization header that are looked at; beyond it the attempt fails.
pub const AUTH_HEADER: usize = 2 * 1024;
/// How long a digest nonce is good; then the client is told `stale` and asks again by itself.
pub const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces whose counters are remembered; a client whose nonce was forgotten is told `stale`.
pub const NONCES: usize = 64;
/// Pairs of address and user name whose failures are counted; the least guilty is forgotten.
pub const FAILURES: usize = 128;
/// Failures from one address for one name before answers are slowed.
pub const FAILURES_FREE: u32 = 5;
/// Failures from one address over all names before answers are slowed.
pub const FAILURES_FREE_ADDRESS: u32 = 30;
/// The longest that a failure delays the next attempt.
pub const FAILURE_DELAY: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
pub const FAILURE_LIFE: Duration = Duration::from_secs(900);
/// How long after the start the first visitor may set the admin's password.
pub const SETUP_TIME: Duration = Duration::from_secs(15 * 60);

// ---- JSON ----

/// Levels of arrays and objects; beyond it the document is refused.
pub const JSON_DEPTH: usize = 32;
/// Bytes of a document; beyond it refused.
pub const JSON_BYTES: usize = 256 * 1024;
/// Values of a document, all levels together; beyond it refused.
pub const JSON_VALUES: usize = 8192;
/// Members of one object; beyond it refused (names are compared with each other).
pub const JSON_MEMBERS: usize = 256;

// ---- The local client (`streamd ctl`) ----

/// Bytes of an answer that `ctl` reads; beyond it an error.
pub const CLIENT_ANSWER: usize = 4 * 1024 * 1024;
/// How long `ctl` waits for the next bytes of an answer.
pub const CLIENT_TIME: Duration = Duration::from_secs(10);

// ---- mDNS ----

/// Services that are announced; beyond it one is not, which is an error to whoever offered it.
pub const MDNS_SERVICES: usize = 32;
/// Interfaces, each counted once for IPv4 and once for IPv6; those beyond it are not served.
pub const MDNS_LINKS: usize = 16;
/// Addresses of one interface that are told; the others are not.
pub const MDNS_ADDRESSES: usize = 8;
/// Bytes of a service's attributes; beyond it the service is refused.
pub const MDNS_TXT: usize = 1000;
/// Bytes of a packet that we send: one frame of Ethernet by either protocol.
pub const MDNS_PACKET: usize = 1440;
/// Bytes of a packet that we read (RFC 6762 section 17); what is longer is cut and then broken.
pub const MDNS_READ: usize = 9000;
/// Askers whose known answers we wait for; the next one is answered without.
pub const MDNS_ASKERS: usize = 8;
/// Packets a second to single askers; beyond it none.
pub const MDNS_UNICAST: u32 = 50;

// ---- HomeKit ----

/// Connections of one accessory; beyond it the longest idle one is closed, a stranger's first. Sixteen
/// controllers have their places whatever strangers do.
pub const HOMEKIT_CONNECTIONS: usize = 32;
/// Connections of one accessory that are nobody's yet; beyond it the oldest of them is closed, of the
/// same address first, the one that is being paired last.
pub const HOMEKIT_STRANGERS: usize = 12;
/// Bytes of a request's body; beyond it the connection ends. The largest real one is under 2 KB.
pub const HOMEKIT_BODY: usize = 16 * 1024;
/// Bytes of answers that wait to be written; with so many no further request is looked at.
pub const HOMEKIT_OUT: usize = 16 * 1024;
/// Bytes that are read at once.
pub const HOMEKIT_READ: usize = 4 * 1024;
/// How long a stranger may say nothing; then its connection is closed. A controller may for ever.
pub const HOMEKIT_STRANGER_TIME: Duration = Duration::from_secs(60);
/// The same for the one that is being paired: somebody types eight digits.
pub const HOMEKIT_TYPING_TIME: Duration = Duration::from_secs(300);
/// Without one byte taken by the peer while we write; beyond it the connection is closed.
pub const HOMEKIT_WRITE_TIME: Duration = Duration::from_secs(20);
/// How long a picture may take; beyond it the controller gets none. It waits for no more than ten.
pub const HOMEKIT_SNAPSHOT_TIME: Duration = Duration::from_secs(8);
/// Between two writes of values to flash; what changes meanwhile is written together.
pub const HOMEKIT_SAVE_PAUSE: Duration = Duration::from_millis(250);
/// Before values that could not be written are tried again.
pub const HOMEKIT_SAVE_RETRY: Duration = Duration::from_secs(30);

// ---- Live view (HomeKit) ----

/// Viewers of one camera at once; the next one is told that it is busy.
pub const LIVE_VIEWERS: usize = 4;
/// Bytes of an RTP packet without its tag, whatever more a viewer takes: remote paths lose longer ones.
pub const LIVE_PACKET: u16 = 1200;
/// From the setup to the start; beyond it the place is free again.
pub const LIVE_START: Duration = Duration::from_secs(30);
/// Without a report of the viewer; beyond it the view ends.
pub const LIVE_SILENCE: Duration = Duration::from_secs(30);
/// How long a viewer may pause.
pub const LIVE_PAUSE: Duration = Duration::from_secs(300);
/// Key frames are asked for a viewer at most this often.
pub const LIVE_KEY: Duration = Duration::from_millis(500);
/// Datagrams from elsewhere than the viewer's address that are looked at in a second; the rest is not.
pub const LIVE_STRANGERS: u32 = 50;

// ---- Recordings for hubs (HomeKit data streams) ----

/// Bytes of what a hub says at once; beyond it the connection ends. The longest real one is under 300.
pub const HDS_FRAME: usize = 16 * 1024;
/// Data streams of one accessory that were agreed on and not yet connected; beyond it the hub is told
/// that the camera is busy.
pub const HDS_EXPECTED: usize = 8;
/// Connections to the data streams of one accessory; beyond it a new one is closed, a stranger's first.
pub const HDS_CONNECTIONS: usize = 12;
/// From the agreement to the connection, and from there to the first words; beyond it none.
pub const HDS_TIME: Duration = Duration::from_secs(10);
/// Without one byte taken by the hub while we send; beyond it the connection is closed.
pub const HDS_WRITE_TIME: Duration = Duration::from_secs(10);
/// Bytes of a recording that are sealed and sent at once: what hubs know from other cameras.
pub const HDS_CHUNK: usize = 256 * 1024;
/// Bytes of a connection's send queue in the system, which doubles them.
pub const HDS_SEND_BUFFER: usize = 128 * 1024;
/// Bytes of answers that wait to be written; with so many nothing more is read.
pub const HDS_OUT: usize = 4 * 1024;
/// After the end of a recording that we end, for the hub to say that it has it.
pub const HDS_END_TIME: Duration = Duration::from_secs(12);
/// A recording's length; a hub that never ends it is told that it is over.
pub const RECORDING_TIME: Duration = Duration::from_secs(180);

// ---- WebSocket ----

/// Bytes of a message that is collected before it is read; beyond it the connection ends with 1009.
/// What is a stream of bytes is handed on as it comes and has no such bound.
pub const WS_MESSAGE: u64 = 64 * 1024;
/// Bytes of the answer to our opening; beyond it the connection is given up.
pub const WS_HEAD: usize = 8 * 1024;
/// Protocols of an opening that are looked at.
pub const WS_PROTOCOLS: usize = 16;

// ---- RTSP ----

/// The bounds of RTSP, server and client.
pub mod rtsp {
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
    /// Bytes of the cookie that joins the two halves of an HTTP tunnel; beyond it 400.
    pub const COOKIE: usize = 64;
    /// Bytes that wait between the halves of a tunnel; beyond it the upper one is not read.
    pub const TUNNELLED: usize = 16 << 10;
    /// Frames of a viewer's voice that wait for the converter or the speaker; beyond it lost.
    pub const SAID: usize = 16;
    /// Bytes of one such frame; beyond it lost.
    pub const SAID_BYTES: usize = 4096;
    /// Bytes of a datagram; what is beyond it is not read.
    pub const DATAGRAM: usize = 2048;
}
