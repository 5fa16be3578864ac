//! WebSocket (RFC 6455), both ends of it: the opening, and messages cut into frames. Bytes go in as
//! they come from a socket and payload comes out where it lies, unmasked in place; headers for what
//! goes out are made beside the payload, so that one gathered write sends both. No socket, no clock,
//! no randomness and, once it is open, no allocation: whoever pumps the bytes owns them.

mod frame;
mod opening;
mod reader;
mod text;

pub use frame::{HEAD, Head, Opcode, emit, emit_close, mask, seal};
pub use opening::{Answer, Asked, Opening, OpeningError, Refused, accept, key};
pub use reader::{Control, Event, FrameError, Kind, Reader, Side};

/// Reasons to close (RFC 6455 §7.4) that are given here.
pub mod code {
    /// All is said.
    pub const DONE: u16 = 1000;
    /// This end goes away.
    pub const AWAY: u16 = 1001;
    /// A frame that must not be.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is none.
    pub const TEXT: u16 = 1007;
    /// A message beyond the bound.
    pub const TOO_LONG: u16 = 1009;
}

#[cfg(test)]
mod tests;
