//! HomeKit: the camera as an accessory in Apple's Home. Pairing, the encrypted session, the table of
//! services and characteristics. It knows tracks and sockets, never the configuration or the program:
//! what it needs from them comes in through traits.

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
