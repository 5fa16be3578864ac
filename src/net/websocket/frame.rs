//! What stands before a payload on the wire, and payloads with it in one buffer.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// Bytes of the longest header.
pub const HEAD: usize = 14;
/// Bytes of the longest payload of a control frame.
pub(super) const CONTROL: usize = 125;
pub(super) const FIN: u8 = 0x80;
pub(super) const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// A message of text.
    Text = 1,
    /// A message of bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// I am.
    Pong = 10,
}

impl Opcode {
    pub(super) fn parse(byte: u8) -> Option<Opcode> {
        use Opcode::*;
        [Continuation, Text, Binary, Close, Ping, Pong].into_iter().find(|o| *o as u8 == byte)
    }

    /// Whether it is of the connection and not of a message.
    pub fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// A frame's header as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; HEAD],
    len: u8,
}

impl Head {
    /// For a payload of that many bytes. `last` says that the message ends with it; a client gives
    /// the key with which it masks the payload.
    pub fn new(opcode: Opcode, last: bool, payload: u64, key: Option<[u8; 4]>) -> Head {
        let mut head = Head { bytes: [0; HEAD], len: 0 };
        head.push(&[opcode as u8 | if last { FIN } else { 0 }]);
        let masked = if key.is_some() { MASKED } else { 0 };
        match (u16::try_from(payload), payload as u8) {
            (Ok(..=125), short) => head.push(&[masked | short]),
            (Ok(middle), _) => {
                head.push(&[masked | 126]);
                head.push(&middle.to_be_bytes());
            }
            (Err(_), _) => {
                head.push(&[masked | 127]);
                head.push(&payload.to_be_bytes());
            }
        }
        if let Some(key) = key {
            head.push(&key);
        }
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        let from = usize::from(self.len);
        if let Some(place) = self.bytes.get_mut(from..from + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// Masks or unmasks bytes that begin `offset` bytes into the payload.
pub fn mask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let word = u32::from_ne_bytes(key);
    let (words, rest) = bytes.as_chunks_mut();
    for four in words {
        *four = (u32::from_ne_bytes(*four) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

/// Appends a whole message, or a control frame, of which the payload's first 125 bytes count.
pub fn emit(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    let payload = if opcode.is_control() { payload.get(..CONTROL).unwrap_or(payload) } else { payload };
    out.extend_from_slice(Head::new(opcode, true, payload.len() as u64, key).bytes());
    let from = out.len();
    out.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, out.get_mut(from..)) {
        mask(payload, key, 0);
    }
}

/// Appends a goodbye with its code.
pub fn emit_close(out: &mut Vec<u8>, code: u16, key: Option<[u8; 4]>) {
    emit(out, Opcode::Close, &code.to_be_bytes(), key);
}

/// Makes one message of the bytes from `from` on, where they stand; of none, nothing. For streams of
/// bytes that are queued before they leave.
pub fn seal(bytes: &mut Vec<u8>, from: usize, key: Option<[u8; 4]>) {
    let Some(payload) = bytes.get_mut(from..).filter(|p| !p.is_empty()) else { return };
    if let Some(key) = key {
        mask(payload, key, 0);
    }
    let head = Head::new(Opcode::Binary, true, payload.len() as u64, key);
    bytes.splice(from..from, head.bytes().iter().copied());
}
