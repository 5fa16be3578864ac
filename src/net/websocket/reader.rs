//! Frames as they come, cut anywhere. Payload is unmasked where it lies and handed out piece by piece,
//! however long its frame is; only a control frame's payload (125 bytes) is kept. What the standard
//! forbids ends the connection with the code that it names.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::code;
use super::frame::{CONTROL, FIN, HEAD, MASKED, Opcode, emit, mask};
use super::text::Utf8;
use std::fmt;
use std::ops::Range;

/// Which end of the connection this is: a client masks what it sends, a server must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This end was opened.
    Server,
    /// This end opened.
    Client,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8, checked.
    Text,
    /// Bytes.
    Binary,
}

/// What a control frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// To be answered with [`Reader::answer`].
    Ping,
    /// An answer to our ping, or nothing.
    Pong,
    /// The end, with its code if it has one: to be answered the same way, then closed.
    Close(Option<u16>),
}

/// What the bytes taken were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing whole; all of the input was taken.
    More,
    /// A piece of a message, perhaps an empty one.
    Data {
        /// What the message is made of.
        kind: Kind,
        /// Where the piece lies in the input, unmasked.
        at: Range<usize>,
        /// The message ends with it.
        end: bool,
    },
    /// A control frame; its payload is [`Reader::payload`].
    Control(Control),
}

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A reserved bit is set: no extension was agreed.
    Reserved,
    /// An opcode that does not exist.
    Opcode(u8),
    /// A client's frame without a mask, or a server's with one.
    Mask,
    /// A control frame that is cut or has more than 125 bytes.
    Control,
    /// A length with its highest bit set, or written longer than need be.
    Length,
    /// A continuation of nothing, or a message inside another.
    Order,
    /// A goodbye with half a code, or one that must not be sent.
    CloseCode,
    /// Text that is not UTF-8.
    Text,
    /// A message longer than this end takes.
    TooLong,
}

impl FrameError {
    /// The code to close with.
    pub const fn code(self) -> u16 {
        match self {
            FrameError::Text => code::TEXT,
            FrameError::TooLong => code::TOO_LONG,
            _ => code::PROTOCOL,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let FrameError::Opcode(opcode) = self {
            return write!(f, "WebSocket frame with the unknown opcode {opcode}");
        }
        f.write_str(match self {
            FrameError::Reserved => "WebSocket frame with a reserved bit, and no extension was agreed",
            FrameError::Mask => "WebSocket frame masked like one of the other side",
            FrameError::Control => "WebSocket control frame that is cut or longer than 125 bytes",
            FrameError::Length => "WebSocket frame with a length that is not the shortest form",
            FrameError::Order => "WebSocket frame out of order among a message's frames",
            FrameError::CloseCode => "WebSocket goodbye with a code that must not be sent",
            FrameError::Text => "WebSocket text that is not UTF-8",
            _ => "WebSocket message longer than expected here",
        })
    }
}

impl std::error::Error for FrameError {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Data,
    Control(Opcode),
    /// The goodbye has come: nothing after it counts.
    Over,
}

/// Reads one direction of a connection.
pub struct Reader {
    side: Side,
    most: u64,
    state: State,
    head: [u8; HEAD],
    have: usize,
    /// Payload of this frame that is still to come.
    left: u64,
    key: [u8; 4],
    /// How far into the key the next byte is.
    phase: usize,
    last: bool,
    /// The message that has begun, and its bytes so far.
    message: Option<Kind>,
    size: u64,
    text: Utf8,
    control: [u8; CONTROL],
    control_len: usize,
}

impl Reader {
    /// For this end; messages have at most `most` bytes. Who hands a stream on as it comes needs no
    /// bound and gives `u64::MAX`.
    pub fn new(side: Side, most: u64) -> Reader {
        Reader {
            side,
            most,
            state: State::Head,
            head: [0; HEAD],
            have: 0,
            left: 0,
            key: [0; 4],
            phase: 0,
            last: false,
            message: None,
            size: 0,
            text: Utf8::default(),
            control: [0; CONTROL],
            control_len: 0,
        }
    }

    /// The payload of the last control frame: behind a goodbye's code stands its reason.
    pub fn payload(&self) -> &[u8] {
        self.control.get(..self.control_len).unwrap_or(&[])
    }

    /// Appends the answer to the last ping, or to the goodbye.
    pub fn answer(&self, control: Control, out: &mut Vec<u8>, key: Option<[u8; 4]>) {
        match control {
            Control::Ping => emit(out, Opcode::Pong, self.payload(), key),
            Control::Close(_) => emit(out, Opcode::Close, self.payload().get(..2).unwrap_or(&[]), key),
            Control::Pong => {}
        }
    }

    /// Whether the goodbye has come.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes bytes up to the next event: how many, and the event. The same bytes must not be given
    /// twice; what was taken of a [`Event::Data`] may be used until the buffer is.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(usize, Event), FrameError> {
        let mut used = 0;
        loop {
            match self.state {
                State::Over => return Ok((bytes.len(), Event::More)),
                State::Head => {
                    let Some(byte) = bytes.get(used) else { return Ok((used, Event::More)) };
                    used += 1;
                    self.push(*byte)?;
                    // a frame without payload is whole here
                    if self.state == State::Head || self.left > 0 {
                        continue;
                    }
                }
                _ if used == bytes.len() => return Ok((used, Event::More)),
                _ => {}
            }
            let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - used);
            let at = used..used + n;
            used += n;
            self.left -= n as u64;
            let piece = bytes.get_mut(at.clone()).unwrap_or(&mut []);
            if self.side == Side::Server {
                mask(piece, self.key, self.phase);
                self.phase = (self.phase + n) % 4;
            }
            if let State::Control(opcode) = self.state {
                if let Some(place) = self.control.get_mut(self.control_len..self.control_len + n) {
                    place.copy_from_slice(piece);
                    self.control_len += n;
                }
                if self.left == 0 {
                    self.state = State::Head;
                    return Ok((used, Event::Control(self.whole(opcode)?)));
                }
                continue;
            }
            let Some(kind) = self.message else { return Err(FrameError::Order) };
            if kind == Kind::Text && !self.text.push(piece) {
                return Err(FrameError::Text);
            }
            let mut end = false;
            if self.left == 0 {
                self.state = State::Head;
                if self.last {
                    (self.message, self.size, end) = (None, 0, true);
                    if !self.text.end() {
                        return Err(FrameError::Text);
                    }
                }
            }
            if n > 0 || end {
                return Ok((used, Event::Data { kind, at, end }));
            }
        }
    }

    /// Takes everything, and leaves what messages carried at the front of `bytes`: for a stream that
    /// flows in messages without regard to where they end. Gives its length. `control` is called for
    /// each control frame in its place.
    pub fn strip(
        &mut self,
        bytes: &mut [u8],
        control: &mut dyn FnMut(&Reader, Control),
    ) -> Result<usize, FrameError> {
        let (mut done, mut kept) = (0, 0);
        while let Some(rest) = bytes.get_mut(done..).filter(|r| !r.is_empty()) {
            let (used, event) = self.read(rest)?;
            match event {
                Event::Data { at, .. } => {
                    let (from, to) = (done + at.start, done + at.end);
                    bytes.copy_within(from..to, kept);
                    kept += to - from;
                }
                Event::Control(what) => control(self, what),
                Event::More => {}
            }
            done += used;
        }
        Ok(kept)
    }

    /// One more byte of a header.
    fn push(&mut self, byte: u8) -> Result<(), FrameError> {
        if let Some(place) = self.head.get_mut(self.have) {
            *place = byte;
            self.have += 1;
        }
        let [first, second, rest @ ..] = self.head;
        if self.have == 1 {
            return if first & 0x70 != 0 { Err(FrameError::Reserved) } else { Ok(()) };
        }
        let opcode = Opcode::parse(first & 15).ok_or(FrameError::Opcode(first & 15))?;
        let short = second & !MASKED;
        if self.have == 2 {
            if (second & MASKED != 0) != (self.side == Side::Server) {
                return Err(FrameError::Mask);
            }
            if opcode.is_control() {
                if first & FIN == 0 || usize::from(short) > CONTROL {
                    return Err(FrameError::Control);
                }
            } else if (opcode == Opcode::Continuation) != self.message.is_some() {
                return Err(FrameError::Order);
            }
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let key = if self.side == Side::Server { 4 } else { 0 };
        if self.have < 2 + extended + key {
            return Ok(());
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, &b| n << 8 | u64::from(b));
        let length = match extended {
            0 => u64::from(short),
            n => number(rest.get(..n).unwrap_or(&[])),
        };
        let least = match extended {
            0 => 0,
            2 => 126,
            _ => 1 << 16,
        };
        if length < least || length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        if let Some(four) = rest.get(extended..).and_then(|r| r.first_chunk()).filter(|_| key > 0) {
            self.key = *four;
        }
        (self.have, self.phase, self.left) = (0, 0, length);
        if opcode.is_control() {
            (self.state, self.control_len) = (State::Control(opcode), 0);
            return Ok(());
        }
        (self.state, self.last) = (State::Data, first & FIN != 0);
        match opcode {
            Opcode::Text => self.message = Some(Kind::Text),
            Opcode::Binary => self.message = Some(Kind::Binary),
            _ => {}
        }
        self.size = self.size.saturating_add(length);
        if self.size > self.most { Err(FrameError::TooLong) } else { Ok(()) }
    }

    /// A control frame is whole.
    fn whole(&mut self, opcode: Opcode) -> Result<Control, FrameError> {
        match opcode {
            Opcode::Ping => return Ok(Control::Ping),
            Opcode::Close => {}
            _ => return Ok(Control::Pong),
        }
        let code = match self.payload() {
            [] => None,
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(FrameError::CloseCode);
                }
                if std::str::from_utf8(reason).is_err() {
                    return Err(FrameError::Text);
                }
                Some(code)
            }
            _ => return Err(FrameError::CloseCode),
        };
        self.state = State::Over;
        Ok(Control::Close(code))
    }
}
