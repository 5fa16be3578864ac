//! One data stream of a hub, without its socket: what the hub says, and what is said to it. The first
//! words have to be a greeting; then recordings are opened and closed, one after another. What a hub
//! says that cannot be read ends the connection; what it says and nobody understands is told so.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::frame::{self, HEAD, Keys};
use super::value::{self, Value, Writer};
use crate::net::limits::HDS_OUT;
use std::fmt;

/// Why a recording is refused or over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Reason {
    Normal = 0,
    NotAllowed = 1,
    Busy = 2,
    Cancelled = 3,
    Unsupported = 4,
    Unexpected = 5,
    Timeout = 6,
    BadData = 7,
    Protocol = 8,
    Invalid = 9,
}

impl Reason {
    /// From a hub's number.
    pub fn of(number: i64) -> Reason {
        match number {
            0 => Reason::Normal,
            1 => Reason::NotAllowed,
            2 => Reason::Busy,
            3 => Reason::Cancelled,
            4 => Reason::Unsupported,
            6 => Reason::Timeout,
            7 => Reason::BadData,
            8 => Reason::Protocol,
            9 => Reason::Invalid,
            _ => Reason::Unexpected,
        }
    }

    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Reason::Normal => "it has what it wanted",
            Reason::NotAllowed => "it is not allowed",
            Reason::Busy => "busy",
            Reason::Cancelled => "cancelled",
            Reason::Unsupported => "unsupported",
            Reason::Unexpected => "something unexpected has happened",
            Reason::Timeout => "it took too long",
            Reason::BadData => "the data are bad",
            Reason::Protocol => "the protocol was not kept",
            Reason::Invalid => "nothing suitable was selected",
        }
    }
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Its frames are not right.
    Frame(frame::Error),
    /// A message is not one.
    Value(value::Error),
    /// A message lacks what it is about.
    Header,
    /// Something else than a greeting came first.
    Manners,
    /// Nothing came at all.
    Silent,
    /// The first frame is of nobody who was expected.
    Stranger,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Frame(e) => e.fmt(f),
            Error::Value(e) => e.fmt(f),
            Error::Header => {
                f.write_str("data stream: expected a protocol, and an event, request or response")
            }
            Error::Manners => f.write_str("data stream: expected a hello first"),
            Error::Silent => f.write_str("data stream: nobody has said hello"),
            Error::Stranger => f.write_str("data stream: nobody's key opens the first frame"),
        }
    }
}

impl std::error::Error for Error {}

impl From<frame::Error> for Error {
    fn from(e: frame::Error) -> Error {
        Error::Frame(e)
    }
}

impl From<value::Error> for Error {
    fn from(e: value::Error) -> Error {
        Error::Value(e)
    }
}

/// What a hub wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A recording, under a number of its own; to be answered with [`Session::opened`].
    Open {
        /// The request.
        id: i64,
        /// The recording.
        stream: i64,
        /// Whether it is of a kind that there is.
        known: bool,
    },
    /// No more of it.
    Close {
        /// The recording.
        stream: i64,
        /// Why.
        reason: Reason,
    },
    /// It has seen the end.
    Ack {
        /// The recording.
        stream: i64,
    },
}

/// A part of a recording on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The recording.
    pub stream: i64,
    /// The segment: 1 begins the file, those behind it are fragments.
    pub segment: u32,
    /// The part of the segment, from 1.
    pub number: u32,
    /// Bytes of this part.
    pub len: usize,
    /// Bytes of the segment.
    pub total: usize,
    /// The last part of its segment.
    pub last: bool,
    /// And nothing comes behind it.
    pub end: bool,
}

/// A data stream.
pub struct Session {
    keys: Keys,
    /// As it came, not yet opened.
    input: Vec<u8>,
    greeted: bool,
}

/// Header statuses.
const NO_PROTOCOL: i64 = 5;
const HEADER_ERROR: i64 = 3;
const REFUSED: i64 = 6;
/// Bytes around the data of a [`Chunk`] at most.
pub const AROUND: usize = 256;

impl Session {
    /// Of a hub that has these keys and has said this so far.
    pub fn new(keys: Keys, input: Vec<u8>) -> Session {
        Session { keys, input, greeted: false }
    }

    /// Whether the hub has greeted.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Takes what the hub says.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that the hub wants, if it has said all of it. Answers to what needs no decision
    /// are appended to `out`.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Heard>, Error> {
        let begun = out.len();
        loop {
            let Some((payload, len)) = self.keys.open(&mut self.input)? else { return Ok(None) };
            let heard = match read(payload)? {
                Said::Request { protocol: "control", topic: "hello", id, .. } => {
                    self.greeted = true;
                    answer(&mut self.keys, out, ("control", "hello"), id, 0, None);
                    None
                }
                _ if !self.greeted => return Err(Error::Manners),
                Said::Request { protocol: "dataSend", topic: "open", id, message } => {
                    let stream = message.int("streamId");
                    let known = message.text("type") == Some("ipcamera.recording")
                        && message.text("target") == Some("controller");
                    Some(Heard::Open { id, stream: stream.unwrap_or(-1), known: known && stream.is_some() })
                }
                Said::Request { protocol, topic, id, .. } => {
                    let known = matches!(protocol, "control" | "dataSend");
                    let status = if known { HEADER_ERROR } else { NO_PROTOCOL };
                    answer(&mut self.keys, out, (protocol, topic), id, status, None);
                    None
                }
                Said::Event { protocol: "dataSend", topic, message } => {
                    match (topic, message.int("streamId")) {
                        ("close", Some(stream)) => {
                            let reason = Reason::of(message.int("reason").unwrap_or(0));
                            Some(Heard::Close { stream, reason })
                        }
                        ("ack", Some(stream)) if message.get("endOfStream") == Some(&Value::Bool(true)) => {
                            Some(Heard::Ack { stream })
                        }
                        _ => None,
                    }
                }
                Said::Event { .. } => None,
            };
            self.input.drain(..len);
            if heard.is_some() || out.len() - begun > HDS_OUT {
                return Ok(heard);
            }
        }
    }

    /// Answers a [`Heard::Open`].
    pub fn opened(&mut self, id: i64, result: Result<(), Reason>, out: &mut Vec<u8>) {
        let (status, reason) = match result {
            Ok(()) => (0, Reason::Normal),
            Err(reason) => (REFUSED, reason),
        };
        answer(&mut self.keys, out, ("dataSend", "open"), id, status, Some(reason));
    }

    /// Says that a recording is over.
    pub fn close(&mut self, stream: i64, reason: Reason, out: &mut Vec<u8>) {
        let from = begin(out, ("dataSend", "event", "close"), None);
        let mut w = Writer(out);
        w.dict(2);
        w.text("streamId");
        w.int(stream);
        w.text("reason");
        w.int(reason as i64);
        self.keys.seal(out, from);
    }

    /// Says that nothing more comes of a recording, where no part of it could.
    pub fn end(&mut self, stream: i64, out: &mut Vec<u8>) {
        let from = begin(out, ("dataSend", "event", "data"), None);
        let mut w = Writer(out);
        w.dict(3);
        w.text("streamId");
        w.int(stream);
        w.text("packets");
        w.none();
        w.text("endOfStream");
        w.bool(true);
        self.keys.seal(out, from);
    }

    /// Begins a part of a recording: `chunk.len` bytes of it have to be appended, then
    /// [`Session::end_chunk`] with what this has returned.
    pub fn begin_chunk(&mut self, chunk: &Chunk, out: &mut Vec<u8>) -> usize {
        let from = begin(out, ("dataSend", "event", "data"), None);
        let mut w = Writer(out);
        w.dict(if chunk.end { 3 } else { 2 });
        w.text("streamId");
        w.int(chunk.stream);
        w.text("packets");
        w.only();
        w.dict(2);
        w.text("data");
        w.data_head(chunk.len);
        from
    }

    /// Says what these bytes were, and seals them.
    pub fn end_chunk(&mut self, chunk: &Chunk, from: usize, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.text("metadata");
        w.dict(if chunk.number == 1 { 5 } else { 4 });
        w.text("dataType");
        w.text(if chunk.segment == 1 { "mediaInitialization" } else { "mediaFragment" });
        w.text("dataSequenceNumber");
        w.int(chunk.segment.into());
        w.text("dataChunkSequenceNumber");
        w.int(chunk.number.into());
        w.text("isLastDataChunk");
        w.bool(chunk.last);
        if chunk.number == 1 {
            w.text("dataTotalSize");
            w.int(i64::try_from(chunk.total).unwrap_or(i64::MAX));
        }
        if chunk.end {
            w.text("endOfStream");
            w.bool(true);
        }
        self.keys.seal(out, from);
    }
}

/// A message of a hub.
enum Said<'a> {
    Request { protocol: &'a str, topic: &'a str, id: i64, message: Value<'a> },
    Event { protocol: &'a str, topic: &'a str, message: Value<'a> },
}

fn read(payload: &[u8]) -> Result<Said<'_>, Error> {
    let (&len, rest) = payload.split_first().ok_or(Error::Header)?;
    let (header, message) = rest.split_at_checked(usize::from(len)).ok_or(Error::Header)?;
    let (header, message) = (Value::parse(header)?, Value::parse(message)?);
    let protocol = header.text("protocol").ok_or(Error::Header)?;
    if let Some(topic) = header.text("request") {
        let id = header.int("id").ok_or(Error::Header)?;
        return Ok(Said::Request { protocol, topic, id, message });
    }
    // an answer to what was never asked is as good as an event that nobody knows
    let topic = header.text("event").or(header.text("response")).ok_or(Error::Header)?;
    Ok(Said::Event { protocol, topic, message })
}

/// Begins a frame with its header; where it begins.
fn begin(
    out: &mut Vec<u8>,
    (protocol, sort, topic): (&str, &str, &str),
    answer: Option<(i64, i64)>,
) -> usize {
    let from = out.len();
    out.extend_from_slice(&[0; HEAD + 1]);
    let header = out.len();
    let mut w = Writer(out);
    w.dict(if answer.is_some() { 4 } else { 2 });
    w.text("protocol");
    w.text(protocol);
    w.text(sort);
    w.text(topic);
    if let Some((id, status)) = answer {
        w.text("id");
        w.long(id);
        w.text("status");
        w.long(status);
    }
    let len = out.len() - header;
    if let Some(place) = out.get_mut(header - 1) {
        *place = u8::try_from(len).unwrap_or(u8::MAX);
    }
    from
}

fn answer(
    keys: &mut Keys,
    out: &mut Vec<u8>,
    (protocol, topic): (&str, &str),
    id: i64,
    status: i64,
    reason: Option<Reason>,
) {
    /// With longer names a header would not fit behind its length.
    const LONGEST: usize = 64;
    let known = if protocol.len().max(topic.len()) > LONGEST { ("", "") } else { (protocol, topic) };
    let from = begin(out, (known.0, "response", known.1), Some((id, status)));
    let mut w = Writer(out);
    match reason {
        None => w.dict(0),
        Some(reason) => {
            w.dict(1);
            w.text("status");
            w.int(reason as i64);
        }
    }
    keys.seal(out, from);
}

#[cfg(test)]
pub mod testing {
    //! A hub.
    use super::super::frame::testing::hub;
    use super::*;
    use crate::homekit::crypto::Key;

    /// A hub's end of a data stream.
    pub struct Hub {
        keys: Keys,
        id: i64,
    }

    impl Hub {
        /// With these keys.
        pub fn new(shared: &Key, theirs: &Key, ours: &Key) -> Hub {
            Hub { keys: hub(shared, theirs, ours), id: 0 }
        }

        /// Any message.
        pub fn say(&mut self, header: &Value<'_>, message: &Value<'_>) -> Vec<u8> {
            let mut head = Vec::new();
            header.write(&mut Writer(&mut head));
            let mut out = vec![0; HEAD];
            out.push(head.len() as u8);
            out.extend(head);
            message.write(&mut Writer(&mut out));
            self.keys.seal(&mut out, 0);
            out
        }

        /// A request.
        pub fn request(&mut self, protocol: &str, topic: &str, message: &Value<'_>) -> Vec<u8> {
            self.id += 1;
            let header = Value::Dict(vec![
                ("protocol", Value::Text(protocol)),
                ("request", Value::Text(topic)),
                ("id", Value::Int(self.id)),
            ]);
            self.say(&header, message)
        }

        /// An event.
        pub fn event(&mut self, topic: &str, message: &Value<'_>) -> Vec<u8> {
            let header =
                Value::Dict(vec![("protocol", Value::Text("dataSend")), ("event", Value::Text(topic))]);
            self.say(&header, message)
        }

        /// Seals what stands behind a frame's head.
        pub fn seal_raw(&mut self, frame: &mut Vec<u8>) {
            self.keys.seal(frame, 0);
        }

        /// A greeting.
        pub fn hello(&mut self) -> Vec<u8> {
            self.request("control", "hello", &Value::Dict(vec![]))
        }

        /// A recording is asked for.
        pub fn open(&mut self, stream: i64) -> Vec<u8> {
            let message = Value::Dict(vec![
                ("target", Value::Text("controller")),
                ("type", Value::Text("ipcamera.recording")),
                ("streamId", Value::Int(stream)),
                ("reason", Value::Text("recording")),
            ]);
            self.request("dataSend", "open", &message)
        }

        /// A recording is enough.
        pub fn close(&mut self, stream: i64, reason: i64) -> Vec<u8> {
            let message = Value::Dict(vec![("streamId", Value::Int(stream)), ("reason", Value::Int(reason))]);
            self.event("close", &message)
        }

        /// The next message at the beginning of what was heard, if it is whole: header, message.
        pub fn hear<'b>(&mut self, heard: &'b mut [u8]) -> Option<(Value<'b>, Value<'b>, usize)> {
            let (payload, whole) = self.keys.hear(heard)?;
            let (head, rest) = payload.split_first().unwrap();
            let (header, message) = rest.split_at(usize::from(*head));
            Some((Value::parse(header).unwrap(), Value::parse(message).unwrap(), whole))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Hub;
    use super::*;

    const SHARED: [u8; 32] = [1; 32];

    fn pair() -> (Session, Hub) {
        let keys = Keys::new(&SHARED, &[2; 32], &[3; 32]);
        (Session::new(keys, Vec::new()), Hub::new(&SHARED, &[2; 32], &[3; 32]))
    }

    fn say(session: &mut Session, bytes: &[u8]) -> (Result<Option<Heard>, Error>, Vec<u8>) {
        let mut out = Vec::new();
        session.receive(bytes);
        (session.next(&mut out), out)
    }

    fn status(hub: &mut Hub, mut answer: Vec<u8>) -> (Option<i64>, Option<i64>) {
        let (header, message, _) = hub.hear(&mut answer).unwrap();
        assert!(header.text("response").is_some());
        (header.int("status"), message.int("status"))
    }

    #[test]
    fn a_hub_greets_records_and_goes_on() {
        let (mut session, mut hub) = pair();
        let (heard, out) = say(&mut session, &hub.hello());
        assert_eq!(heard, Ok(None));
        assert!(session.is_greeted());
        assert_eq!(status(&mut hub, out), (Some(0), None));
        for stream in [1, 2, 300] {
            let (heard, out) = say(&mut session, &hub.open(stream));
            let Ok(Some(Heard::Open { id, stream: theirs, known: true })) = heard else {
                panic!("{heard:?}")
            };
            assert_eq!((theirs, out.len()), (stream, 0));
            let mut out = Vec::new();
            session.opened(id, if stream == 2 { Err(Reason::Busy) } else { Ok(()) }, &mut out);
            let expected = if stream == 2 { (Some(6), Some(2)) } else { (Some(0), Some(0)) };
            assert_eq!(status(&mut hub, out), expected);
            let mut out = Vec::new();
            let data = vec![7u8; 100_000];
            let chunk = Chunk {
                stream,
                segment: 2,
                number: 1,
                len: data.len(),
                total: data.len(),
                last: true,
                end: false,
            };
            let from = session.begin_chunk(&chunk, &mut out);
            out.extend_from_slice(&data);
            session.end_chunk(&chunk, from, &mut out);
            assert!(out.len() - data.len() <= AROUND);
            let (header, message, _) = hub.hear(&mut out).unwrap();
            assert_eq!((header.text("event"), message.int("streamId")), (Some("data"), Some(stream)));
            let Some(Value::Array(packets)) = message.get("packets") else { panic!() };
            assert_eq!(packets[0].get("data"), Some(&Value::Data(&data)));
            let metadata = packets[0].get("metadata").unwrap();
            assert_eq!(metadata.text("dataType"), Some("mediaFragment"));
            assert_eq!(
                (metadata.int("dataSequenceNumber"), metadata.int("dataTotalSize")),
                (Some(2), Some(100_000))
            );
            assert_eq!(metadata.get("isLastDataChunk"), Some(&Value::Bool(true)));
            assert_eq!(message.get("endOfStream"), None);
            let (heard, _) = say(&mut session, &hub.close(stream, 6));
            assert_eq!(heard, Ok(Some(Heard::Close { stream, reason: Reason::Timeout })));
        }
    }

    #[test]
    fn what_nobody_understands_is_told_so() {
        let (mut session, mut hub) = pair();
        let (_, out) = say(&mut session, &hub.hello());
        status(&mut hub, out);
        let mut out = Vec::new();
        for reply in [("whatever", "x", 5), ("dataSend", "x", 3), ("control", "x", 3)] {
            let (heard, out) = say(&mut session, &hub.request(reply.0, reply.1, &Value::Dict(vec![])));
            assert_eq!(heard, Ok(None));
            assert_eq!(status(&mut hub, out), (Some(reply.2), None));
        }
        for event in ["data", "ack", "close", "x"] {
            let (heard, out) = say(&mut session, &hub.event(event, &Value::Dict(vec![])));
            assert_eq!((heard, out.len()), (Ok(None), 0), "an event is never answered");
        }
        let ack = Value::Dict(vec![("streamId", Value::Int(4)), ("endOfStream", Value::Bool(true))]);
        assert_eq!(say(&mut session, &hub.event("ack", &ack)).0, Ok(Some(Heard::Ack { stream: 4 })));
        // a kind of recording that there is none of
        let open = Value::Dict(vec![("type", Value::Text("bogus")), ("streamId", Value::Int(1))]);
        let heard = say(&mut session, &hub.request("dataSend", "open", &open)).0;
        assert!(matches!(heard, Ok(Some(Heard::Open { known: false, .. }))));
        session.close(1, Reason::NotAllowed, &mut out);
        session.end(1, &mut out);
        let (header, message, len) = hub.hear(&mut out).unwrap();
        assert_eq!((header.text("event"), message.int("reason")), (Some("close"), Some(1)));
        out.drain(..len);
        let (_, message, _) = hub.hear(&mut out).unwrap();
        assert_eq!(message.get("endOfStream"), Some(&Value::Bool(true)));
    }

    #[test]
    fn rudeness_and_rubbish_end_it() {
        let (mut session, mut hub) = pair();
        assert_eq!(say(&mut session, &hub.open(1)).0, Err(Error::Manners));
        for payload in [&[200u8, 0xef, 0x41][..], &[1, 0xe0, 0xa7], &[], &[1, 0xe0, 0xe0], &[0, 0xe0]] {
            let (mut session, mut hub) = pair();
            say(&mut session, &hub.hello()).0.unwrap();
            let mut frame = [&[0; HEAD], payload].concat();
            hub.seal_raw(&mut frame);
            assert!(say(&mut session, &frame).0.is_err(), "{payload:?}");
        }
    }

    #[test]
    fn a_greeting_may_come_in_any_pieces() {
        let (mut session, mut hub) = pair();
        let mut all = hub.hello();
        all.extend(hub.open(1));
        let mut out = Vec::new();
        let mut heard = None;
        for byte in all {
            session.receive(&[byte]);
            heard = heard.or(session.next(&mut out).unwrap());
        }
        assert!(matches!(heard, Some(Heard::Open { stream: 1, known: true, .. })));
    }
}
