//! What touches the network and the system: sockets, HTTP, users, workers, clocks, signals.

pub mod clock;
pub mod mask;
pub mod signals;
pub mod worker;
