//! Files and byte streams: bytes to frames and back. Everything here is pure and bounded: chunks of
//! any size in, frames out, nothing knows where the bytes come from.

pub mod adts;
pub mod fmp4;
pub mod wav;
