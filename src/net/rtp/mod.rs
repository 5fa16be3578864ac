//! RTP (RFC 3550) and the payload formats in which streamd's codecs travel in it. Frames in, packet
//! descriptions out ([`pay`]); packets in, whole access units out ([`depay`]); packets that came by
//! UDP put back in order ([`reorder`]). Bytes and times come in as arguments; nothing here knows a
//! socket, a clock or a stream.

pub mod depay;
pub mod jpeg;
pub mod packet;
pub mod pay;
pub mod reorder;

pub use packet::{Header, Packet, RtpError, is_rtcp, seq_diff};
