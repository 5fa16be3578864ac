//! HomeKit: the camera as an accessory in Apple's Home. Pairing, the encrypted session, the table of
//! services and characteristics. It knows tracks and sockets, never the configuration or the program:
//! what it needs from them comes in through traits.
//!
//! Some functions here, and in other rooms, are called at one place and yet kept apart from it by
//! `inline(never)`: on MIPS with its few registers one long function is longer than its parts.

pub mod accessory;
pub mod camera;
pub mod characteristics;
pub mod crypto;
pub mod database;
pub mod frame;
pub mod hds;
pub mod http;
pub mod live;
pub mod pairing;
pub mod payload;
pub mod qr;
pub mod recording;
pub mod server;
pub mod session;
pub mod tlv8;
