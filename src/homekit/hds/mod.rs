//! HomeKit's data stream, by which hubs fetch recordings: [`value`] is its data format, [`frame`] its
//! cipher, [`session`] what is said, [`server`] the port. It knows nothing of cameras and of what is in a
//! recording.

pub mod frame;
pub mod server;
pub mod session;
pub mod value;
