//! What touches the network and the system: sockets, HTTP, users, workers, clocks.

pub mod clock;
pub mod worker;

pub mod mask;
